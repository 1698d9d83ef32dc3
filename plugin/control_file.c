/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket's file: made, told from what else may lie there, removed.
 *
 * Checking what lies there, removing it and binding are several steps; a lock
 * on the directory makes them one, so that two servers that start together
 * cannot each take the other's fresh socket for a dead one.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "control_priv.h"

#define LOCK_WAIT_MS 5000
#define BACKLOG	     128

/* Files that go if the process exits before it serves. */
static pthread_mutex_t unserved_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ctl_file *unserved;

/* While the directory is locked, or best effort. */
static void remove_file(struct ctl_file *file)
{
	struct stat st;

	if (!file->remove)
		return;
	file->remove = false;
	if (lstat(file->path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
		unlink(file->path);
}

/* Does nothing when the server closed its files in good order. */
static void remove_unserved(void)
{
	struct ctl_file *file;

	for (file = unserved; file; file = file->next)
		remove_file(file);
}

/* The child is the server: nbdkit goes into the background, or runs a command,
 * in the parent. */
static void forget_in_parent(void)
{
	struct ctl_file *file;

	for (file = unserved; file; file = file->next)
		file->remove = false;
}

static void hook_exit(void)
{
	atexit(remove_unserved);
	pthread_atfork(NULL, forget_in_parent, NULL);
}

static void unserved_add(struct ctl_file *file)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, hook_exit);
	LOCK_SCOPE(&unserved_lock);
	file->next = unserved;
	unserved = file;
}

void ctl_file_keep(struct ctl_file *file)
{
	struct ctl_file **at;

	LOCK_SCOPE(&unserved_lock);
	for (at = &unserved; *at; at = &(*at)->next) {
		if (*at == file) {
			*at = file->next;
			return;
		}
	}
}

/* The directory of `path`, locked; -1 with *e. */
static int lock_directory(const char *path, struct uz_error *e)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	CLEANUP_FREE char *dir = strdup(path);
	CLEANUP_CLOSE int fd = -1;
	int waited, locked;
	char *slash;

	if (!dir)
		return uz_fail(e, ENOMEM, "control=%s: no memory", path);
	slash = strrchr(dir, '/');
	slash[slash == dir] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return uz_fail(e, errno, "control=%s: cannot open the directory %s: %s", path, dir,
			strerror(errno));
	/* Anyone may lock /tmp: not for ever. */
	for (waited = 0; waited < LOCK_WAIT_MS; waited += 10) {
		locked = flock(fd, LOCK_EX | LOCK_NB);
		if (locked == 0) {
			locked = fd;
			fd = -1;
			return locked;
		}
		if (errno != EWOULDBLOCK && errno != EINTR)
			return uz_fail(e, errno, "control=%s: cannot lock the directory %s: %s",
				path, dir, strerror(errno));
		nanosleep(&pause, NULL);
	}
	return uz_fail(
		e, EBUSY, "control=%s: another process keeps the directory %s locked", path, dir);
}

/* What lies there goes if it is a dead server's socket. The directory is locked. */
static int clear_place(const struct sockaddr_un *addr, const char *path, struct uz_error *e)
{
	CLEANUP_CLOSE int probe = -1;
	struct stat st;

	if (lstat(path, &st) != 0) {
		if (errno == ENOENT)
			return 0;
		return uz_fail(e, errno, "control=%s: %s", path, strerror(errno));
	}
	if (!S_ISSOCK(st.st_mode))
		return uz_fail(e, EEXIST,
			"control=%s: there is a file of another kind there, not a socket", path);
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return uz_fail(e, errno, "control=%s: socket: %s", path, strerror(errno));
	/* EAGAIN: alive, and too busy to take us. */
	if (connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
		return uz_fail(e, EADDRINUSE, "control=%s: in use by a running server", path);
	if (errno == EPROTOTYPE)
		return uz_fail(
			e, EEXIST, "control=%s: there is a socket of another kind there", path);
	if (errno != ECONNREFUSED)
		return uz_fail(e, errno, "control=%s: cannot tell whether a server uses it: %s",
			path, strerror(errno));
	if (unlink(path) != 0 && errno != ENOENT)
		return uz_fail(e, errno, "control=%s: cannot remove a dead server's socket: %s",
			path, strerror(errno));
	return 0;
}

static int bind_private(
	struct ctl_file *file, const struct sockaddr_un *addr, const char *path, struct uz_error *e)
{
	struct stat st;
	mode_t old;
	int ret, err;

	file->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (file->fd < 0)
		return uz_fail(e, errno, "control=%s: socket: %s", path, strerror(errno));
	old = umask(0177);
	ret = bind(file->fd, (const struct sockaddr *)addr, sizeof(*addr));
	err = errno;
	umask(old);
	if (ret != 0)
		return uz_fail(
			e, err, "control=%s: cannot make the socket: %s", path, strerror(err));
	if (lstat(file->path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return uz_fail(e, EIO, "control=%s: the new socket has gone", path);
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	file->remove = true;
	/* Under the lock: a socket that does not listen yet looks dead. */
	if (listen(file->fd, BACKLOG) != 0)
		return uz_fail(e, errno, "control=%s: listen: %s", path, strerror(errno));
	return 0;
}

/* The socket is that group's, too. By a descriptor: nobody can put another file in its place. */
static int give_to_group(struct ctl_file *file, const char *group, struct uz_error *e)
{
	struct group buf, *found = NULL;
	CLEANUP_CLOSE int fd = -1;
	char names[16384], self[32];
	struct stat st;
	int err;

	err = getgrnam_r(group, &buf, names, sizeof(names), &found);
	if (!found)
		return uz_fail(e, err ? err : EINVAL, "control-group=%s: %s", group,
			err ? strerror(err) : "there is no group of that name");
	fd = open(file->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_dev != file->dev || st.st_ino != file->ino)
		return uz_fail(e, EIO, "control-group=%s: the new socket has gone", group);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fchownat(fd, "", (uid_t)-1, found->gr_gid, AT_EMPTY_PATH) != 0 ||
		chmod(self, 0660) != 0)
		return uz_fail(e, errno, "control-group=%s: cannot give the socket to the group: %s",
			group, strerror(errno));
	return 0;
}

static int absolute(struct ctl_file *file, const char *path, struct uz_error *e)
{
	CLEANUP_FREE char *cwd = NULL;

	if (path[0] == '/') {
		file->path = strdup(path);
	} else {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return uz_fail(e, errno, "control=%s: the current directory: %s", path,
				strerror(errno));
		if (asprintf(&file->path, "%s/%s", cwd, path) < 0)
			file->path = NULL;
	}
	return file->path ? 0 : uz_fail(e, ENOMEM, "control=%s: no memory", path);
}

int ctl_file_bind(struct ctl_file *file, const char *path, const char *group, struct uz_error *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	CLEANUP_CLOSE int dir = -1;

	*file = (struct ctl_file){ .fd = -1 };
	if (!*path)
		return uz_fail(e, EINVAL, "control=: it needs the path of a socket");
	if (strlen(path) >= sizeof(addr.sun_path))
		return uz_fail(e, ENAMETOOLONG,
			"control=%s: a socket's path has %zu bytes at most, this one has %zu", path,
			sizeof(addr.sun_path) - 1, strlen(path));
	strcpy(addr.sun_path, path);
	if (absolute(file, path, e) != 0)
		return -1;
	dir = lock_directory(file->path, e);
	if (dir < 0 || clear_place(&addr, path, e) != 0 ||
		bind_private(file, &addr, path, e) != 0 ||
		(group && give_to_group(file, group, e) != 0)) {
		ctl_file_close(file);
		return -1;
	}
	unserved_add(file);
	return 0;
}

void ctl_file_close(struct ctl_file *file)
{
	ctl_file_keep(file);
	/* First the file: a socket that is there and refuses looks dead to others. */
	if (file->path)
		remove_file(file);
	free(file->path);
	file->path = NULL;
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}
