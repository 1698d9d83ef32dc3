/* SPDX-License-Identifier: BSD-3-Clause */
/* Files and block devices: opening, locking, size, space. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "backing_priv.h"

static int fail(struct uz_error *e, const struct backing_config *c, int code, const char *what)
{
	return uz_fail(e, code, "backing=%s: %s", c->where, what);
}

/* The descriptor, or -1 with *e. */
static int open_path(
	const struct backing_config *c, bool *created, bool *direct, struct uz_error *e)
{
	int flags = O_RDWR | O_CLOEXEC;
	struct stat st;
	int fd;

	*created = false;
	if (stat(c->where, &st) == -1) {
		if (errno != ENOENT)
			return fail(e, c, errno, strerror(errno));
		if (!c->size)
			return fail(e, c, ENOENT, "no such file; backing-size= would make it");
		flags |= O_CREAT | O_EXCL;
	} else if (S_ISBLK(st.st_mode)) {
		flags |= O_EXCL; /* of a device: nobody may have it mounted or claimed */
	} else if (!S_ISREG(st.st_mode)) {
		return fail(e, c, EINVAL, "neither a regular file nor a block device");
	}
	*direct = !c->no_direct;
	fd = open(c->where, flags | (*direct ? O_DIRECT : 0), 0600);
	if (fd == -1 && errno == EINVAL && *direct) {
		/* No direct I/O on this file system. Some make the file before they refuse. */
		*direct = false;
		if (flags & O_CREAT)
			unlink(c->where);
		fd = open(c->where, flags, 0600);
	}
	if (fd == -1)
		return fail(e, c, errno,
			errno == EBUSY ? "in use: mounted, or held by another program"
				       : strerror(errno));
	*created = flags & O_CREAT;
	return fd;
}

/* Another's, who had the right to open it. */
static int take_fd(const struct backing_config *c, bool *direct, struct uz_error *e)
{
	int flags = fcntl(c->fd, F_GETFL), fd;
	struct stat st;

	if (flags == -1 || fstat(c->fd, &st) == -1)
		return fail(e, c, errno, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return fail(e, c, EINVAL, "neither a regular file nor a block device");
	if ((flags & O_ACCMODE) != O_RDWR || flags & O_APPEND)
		return fail(e, c, EACCES, "not open for reading and writing");
	/* Above the standard ones, which somebody may take for what they are not. */
	fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
	if (fd == -1)
		return fail(e, c, errno, strerror(errno));
	*direct = !c->no_direct && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
	return fd;
}

static uint32_t direct_block(int fd)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
		stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_offset_align >= 512 &&
		stx.stx_dio_offset_align <= 4096 &&
		stx.stx_dio_mem_align <= stx.stx_dio_offset_align)
		return stx.stx_dio_offset_align;
#endif
	return 4096;
}

/* A file gets its size, and with `locked` its blocks. */
static int size_file(
	struct backing_file *f, const struct backing_config *c, uint64_t old, struct uz_error *e)
{
	if (old != c->size && c->size) {
		if (old && !c->overwrite)
			return uz_fail(e, EINVAL,
				"backing=%s: it has %" PRIu64 " bytes, backing-size= says %" PRIu64
				"; backing-overwrite=yes would change that",
				c->where, old, c->size);
		if (ftruncate(f->fd, 0) == -1 || ftruncate(f->fd, c->size) == -1)
			return fail(e, c, errno, strerror(errno));
		old = c->size;
	}
	if (c->locked && fallocate(f->fd, 0, 0, old) == -1 &&
		(errno != EOPNOTSUPP || (errno = posix_fallocate(f->fd, 0, old))))
		return fail(e, c, errno, strerror(errno));
	f->b.info.size = old;
	/* Beyond its end there is nothing to lose by trying. */
	atomic_store(&f->b.can_punch,
		!c->locked && fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, old,
				      4096) == 0);
	return 0;
}

static bool device_discards(dev_t dev)
{
	/* A partition's queue is its disk's. */
	static const char *const paths[] = { "/sys/dev/block/%u:%u/queue/discard_max_bytes",
		"/sys/dev/block/%u:%u/../queue/discard_max_bytes" };
	unsigned long long max = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(paths) && !max; i++) {
		char path[96];
		FILE *fp;

		snprintf(path, sizeof(path), paths[i], major(dev), minor(dev));
		fp = fopen(path, "re");
		if (fp && fscanf(fp, "%llu", &max) != 1)
			max = 0;
		if (fp)
			fclose(fp);
	}
	return max;
}

static int size_device(
	struct backing_file *f, const struct backing_config *c, dev_t dev, struct uz_error *e)
{
	uint64_t size;
	int block, readonly = 0;

	if (ioctl(f->fd, BLKGETSIZE64, &size) == -1 || ioctl(f->fd, BLKSSZGET, &block) == -1)
		return fail(e, c, errno, strerror(errno));
	if (ioctl(f->fd, BLKROGET, &readonly) == 0 && readonly)
		return fail(e, c, EROFS, "read-only");
	if (c->size && c->size != size)
		return uz_fail(e, EINVAL,
			"backing=%s: the device has %" PRIu64 " bytes, backing-size= says %" PRIu64,
			c->where, size, c->size);
	if (block > 4096)
		return fail(e, c, EINVAL, "its blocks are larger than 4096 bytes");
	f->b.info.size = size;
	f->b.info.block = block;
	atomic_store(&f->b.can_punch, !c->locked && device_discards(dev));
	return 0;
}

/*
 * All that are open. A descriptor that is passed twice is one open file, so the second lock
 * would be granted.
 */
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static struct backing_file *open_files;

static bool open_files_add(struct backing_file *f, const struct stat *st)
{
	struct backing_file *other;

	f->dev = f->is_block ? st->st_rdev : st->st_dev;
	f->ino = f->is_block ? 0 : st->st_ino;
	LOCK_SCOPE(&open_lock);
	for (other = open_files; other; other = other->next)
		if (other->is_block == f->is_block && other->dev == f->dev && other->ino == f->ino)
			return false;
	f->next = open_files;
	open_files = f;
	return true;
}

/* One that was not added is fine. */
static void open_files_del(const struct backing_file *f)
{
	struct backing_file **at;

	LOCK_SCOPE(&open_lock);
	for (at = &open_files; *at; at = &(*at)->next)
		if (*at == f) {
			*at = f->next;
			return;
		}
}

static int set_up(struct backing_file *f, const struct backing_config *c, struct uz_error *e)
{
	struct stat st;

	if (fstat(f->fd, &st) == -1)
		return fail(e, c, errno, strerror(errno));
	f->is_block = S_ISBLK(st.st_mode);
	/* Held by the open file, so a child that a fork makes holds it too. */
	if (flock(f->fd, LOCK_EX | LOCK_NB) == -1)
		return fail(e, c, errno == EWOULDBLOCK ? EBUSY : errno,
			errno == EWOULDBLOCK ? "in use: another program holds its lock"
					     : strerror(errno));
	if (!open_files_add(f, &st))
		return fail(e, c, EBUSY, "in use: another disk has it");
	f->b.info.exclusive = true;
	f->b.info.block = f->b.info.direct ? direct_block(f->fd) : 512;
	if (f->is_block)
		return size_device(f, c, st.st_rdev, e);
	return size_file(f, c, st.st_size, e);
}

struct backing *backing_file_open(const struct backing_config *c, struct uz_error *e)
{
	struct backing_file *f;
	bool created = false, direct = false;
	int fd = c->fd ? take_fd(c, &direct, e) : open_path(c, &created, &direct, e);

	if (fd == -1)
		return NULL;
	f = calloc(1, sizeof(*f));
	if (!f) {
		fail(e, c, ENOMEM, strerror(ENOMEM));
		goto failed;
	}
	f->fd = fd;
	f->b.info.direct = direct;
	f->b.info.created = created;
	if (set_up(f, c, e) == -1) {
		open_files_del(f);
		goto failed;
	}
	backing_init(&f->b,
		!c->no_uring && backing_uring_works() ? &backing_uring_ops : &backing_threads_ops,
		c);
	return &f->b;
failed:
	if (created)
		unlink(c->where);
	close(fd);
	free(f);
	return NULL;
}

void backing_file_close(struct backing *b)
{
	struct backing_file *f = (struct backing_file *)b;

	backing_fini(b);
	open_files_del(f);
	close(f->fd);
	free(f);
}

uint64_t backing_file_allocated(struct backing *b)
{
	struct backing_file *f = (struct backing_file *)b;
	struct stat st;

	if (f->is_block || fstat(f->fd, &st) == -1)
		return UINT64_MAX;
	return (uint64_t)st.st_blocks * 512;
}

int backing_file_trim(struct backing *b, uint64_t offset, uint64_t len)
{
	struct backing_file *f = (struct backing_file *)b;
	uint64_t range[2] = { offset, len };
	int ret;

	do
		ret = f->is_block ? ioctl(f->fd, BLKDISCARD, range)
				  : fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					    offset, len);
	while (ret == -1 && errno == EINTR);
	return ret == -1 ? errno : 0;
}

void backing_file_io(struct backing *b, struct backing_io *io)
{
	struct backing_file *f = (struct backing_file *)b;
	char *buf = (char *)io->buf + io->done;
	ssize_t n;

	if (io->op == BACKING_READ)
		n = pread(f->fd, buf, io->part, io->offset + io->done);
	else
		n = pwrite(f->fd, buf, io->part, io->offset + io->done);
	io->res = n == -1 ? -errno : n;
}
