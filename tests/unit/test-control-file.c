/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket's file: made, refused, taken over, removed. */
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
#include <sys/wait.h>

#include "control-fixture.h"

static void refused(const char *where, int code, const char *why)
{
	struct uz_error e = { 0 };
	struct control *c = control_bind(where, NULL, &e);

	assert_null(c);
	if (e.code != code || !strstr(e.text, why) || !strstr(e.text, where))
		fail_msg("%s: %s", where, e.text);
}

/* A socket that nobody holds. */
static void make_stale(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
}

static void test_bind(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char other[128], longest[200];
	struct uz_error e;
	struct stat st;
	int fd;

	make_stale();
	start(1, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	refused(path, EADDRINUSE, "in use by a running server");
	expect_served();
	stop(NULL);

	/* Bound, but not serving yet: no less alive. */
	control = control_bind(path, NULL, &e);
	assert_non_null(control);
	refused(path, EADDRINUSE, "in use by a running server");
	assert_int_equal(stop(NULL), 0);

	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	refused(path, EEXIST, "a file of another kind");
	unlink(path);
	assert_int_equal(symlink("/nowhere", path), 0);
	refused(path, EEXIST, "a file of another kind");
	unlink(path);
	refused(dir, EEXIST, "a file of another kind");
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	refused(path, EEXIST, "a socket of another kind");
	close(fd);
	unlink(path);

	snprintf(other, sizeof(other), "%s/no/where", dir);
	refused(other, ENOENT, "cannot open the directory");
	refused("", EINVAL, "needs the path");
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "/tmp/", 5);
	longest[108] = '\0';
	refused(longest, ENAMETOOLONG, "has 107 bytes at most, this one has 108");
}

/* The group's members may connect; nobody else, and not before it is the group's. */
static void test_bind_group(void **state)
{
	const struct group *group = getgrgid(getegid());
	struct uz_error e;
	struct stat st;

	assert_null(control_bind(path, "no-such-group", &e));
	assert_int_equal(e.code, EINVAL);
	assert_string_equal(e.text, "control-group=no-such-group: there is no group of that name");
	assert_int_not_equal(access(path, F_OK), 0);
	if (!group)
		skip();
	control = control_bind(path, group->gr_name, &e);
	assert_non_null(control);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0660);
	assert_int_equal(st.st_gid, getegid());
	assert_int_equal(stop(NULL), 0);
}

static void test_bind_forbidden(void **state)
{
	if (geteuid() == 0)
		skip();
	assert_int_equal(chmod(dir, 0500), 0);
	refused(path, EACCES, "cannot make the socket: Permission denied");
	assert_int_equal(chmod(dir, 0000), 0);
	refused(path, EACCES, "cannot open the directory");
	assert_int_equal(chmod(dir, 0700), 0);
}

/* A name without a folder is the same file after chdir("/"), as nbdkit does. */
static void test_bind_relative(void **state)
{
	struct uz_error e;
	char old[4096];

	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(dir), 0);
	control = control_bind("socket", NULL, &e);
	assert_non_null(control);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(stop(NULL), 0);
	assert_int_equal(chdir(old), 0);
}

/* What another server made there since is not ours to remove. */
static void test_not_ours(void **state)
{
	struct control *second;

	start(1, 0);
	assert_int_equal(unlink(path), 0);
	second = try_start(1, 0);
	control_stop(control);
	assert_int_equal(access(path, F_OK), 0);
	control = second;
	expect_served();
}

static void wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Bound and ended before it served, as for an error in a later parameter. */
static void test_exit_unserved(void **state)
{
	struct uz_error e;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (!control_bind(path, NULL, &e) || access(path, F_OK) != 0)
			_exit(1);
		exit(0);
	}
	wait_for(pid);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* As nbdkit goes into the background: the parent's end removes nothing. */
static void test_background(void **state)
{
	int up[2], down[2];
	struct uz_error e;
	char c;
	pid_t pid;

	assert_int_equal(pipe(up), 0);
	assert_int_equal(pipe(down), 0);
	make_registry(1);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		control = control_bind(path, NULL, &e);
		close(down[1]);
		if (!control || fork() != 0)
			exit(control ? 0 : 1);
		c = control_start(control, registry, &e) == 0 ? 'y' : 'n';
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 0)
			_exit(1);
		control_stop(control);
		exit(0);
	}
	wait_for(pid);
	close(up[1]);
	assert_int_equal(read(up[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	expect_served();
	close(down[1]);
	assert_int_equal(read(up[0], &c, 1), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	close(up[0]);
	close(down[0]);
}

/* Whoever makes the socket holds a lock on its folder while it looks and binds. */
static void test_bind_waits(void **state)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct uz_error e;
	pid_t pid;

	assert_int_equal(flock(fd, LOCK_EX), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(fd);
		control = control_bind(path, NULL, &e);
		_exit(control ? 0 : 1);
	}
	sleep_ms(200);
	assert_int_not_equal(access(path, F_OK), 0);
	close(fd);
	wait_for(pid);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
}

/* Of servers that start together above a dead one's socket, one gets it. */
static void bind_race(void)
{
	enum { RACERS = 6 };
	int go[2], won[2], end[2], i, winners;
	struct uz_error e;
	pid_t pids[RACERS];
	char c;

	assert_int_equal(pipe(go) | pipe(won) | pipe(end), 0);
	make_stale();
	fflush(NULL);
	for (i = 0; i < RACERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(go[1]);
			close(end[1]);
			c = read(go[0], &c, 1) == 0 && control_bind(path, NULL, &e) ? '1' : '0';
			if (write(won[1], &c, 1) != 1 || read(end[0], &c, 1) != 0)
				_exit(1);
			exit(0);
		}
	}
	close(go[1]);
	for (i = winners = 0; i < RACERS; i++) {
		assert_int_equal(read(won[0], &c, 1), 1);
		winners += c == '1';
	}
	close(end[1]);
	for (i = 0; i < RACERS; i++)
		wait_for(pids[i]);
	close(go[0]);
	close(won[0]);
	close(won[1]);
	close(end[0]);
	assert_int_equal(winners, 1);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void test_bind_race(void **state)
{
	int round;

	for (round = 0; round < 30; round++)
		bind_race();
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_bind, stop),
		cmocka_unit_test_teardown(test_bind_group, stop),
		cmocka_unit_test_teardown(test_bind_forbidden, stop),
		cmocka_unit_test_teardown(test_bind_relative, stop),
		cmocka_unit_test_teardown(test_not_ours, stop),
		cmocka_unit_test_teardown(test_exit_unserved, stop),
		cmocka_unit_test_teardown(test_background, stop),
		cmocka_unit_test_teardown(test_bind_waits, stop),
		cmocka_unit_test_teardown(test_bind_race, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_in_dir(run);
}
