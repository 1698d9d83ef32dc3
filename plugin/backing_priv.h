/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kinds of backing share with backing.c, which does for all of them: the pool of queues,
 * short transfers. */
#ifndef UZRAM_BACKING_PRIV_H
#define UZRAM_BACKING_PRIV_H

#include <errno.h>
#include <string.h>

#include "backing.h"

/* For backing_nbd.c alone: to trim is a request there. */
#define BACKING_TRIM ((enum backing_op)2)

struct backing_ops {
	const char *kind;
	int (*start)(struct backing *b, struct uz_error *e); /* may be NULL, as stop and expect */
	void (*stop)(struct backing *b);
	void (*close)(struct backing *b); /* frees b */
	uint64_t (*allocated)(struct backing *b);
	int (*trim)(struct backing *b, uint64_t offset, uint64_t len);
	void (*expect)(struct backing *b, uint64_t offset, const void *bytes, size_t len);
	/* One request without queues, before the start; -> io->res. */
	void (*direct_io)(struct backing *b, struct backing_io *io);
	/* 0 or an errno. q->driver is theirs. */
	int (*queue_init)(struct backing_queue *q);
	void (*queue_fini)(struct backing_queue *q);
	/*
	 * Starts io->part bytes at io->offset + io->done. `more`: reap with `want` follows at
	 * once, so it may be left to that to tell the system.
	 */
	void (*submit)(struct backing_queue *q, struct backing_io *io, bool more);
	/* One that has its io->res; want: how many to sleep for if there is none, 0: do not. */
	struct backing_io *(*reap)(struct backing_queue *q, unsigned want);
};

struct backing_queue {
	struct backing *backing;
	struct backing_queue *next; /* in the list of idle ones */
	void *scratch;
	unsigned out; /* submitted, not reaped */
	void *driver;
};

struct backing {
	const struct backing_ops *ops;
	struct backing_info info; /* fixed, but for can_punch */
	_Atomic bool can_punch;
	bool locked, started;
	_Atomic bool stopped;
	char name[256]; /* for messages */

	pthread_mutex_t lock; /* guards the next three; innermost */
	pthread_cond_t idle_cond;
	struct backing_queue *idle;
	unsigned nr_queues, max_queues;
};

/* In every kind's own structure, first. */
void backing_init(
	struct backing *b, const struct backing_ops *ops, const struct backing_config *config);
void backing_fini(struct backing *b);
struct backing_queue *backing_queue_create(struct backing *b);
void backing_queue_destroy(struct backing_queue *q);

struct backing *backing_nbd_open(const struct backing_config *config, struct uz_error *e);
struct backing *backing_file_open(const struct backing_config *config, struct uz_error *e);

/* backing_file.c: what both ways to do a file's I/O share. */
struct backing_file {
	struct backing b;
	int fd;
	bool is_block;
	void *driver; /* of the threads */
	uint64_t dev, ino; /* what nobody else of this process has: a device's number, and 0 */
	struct backing_file *next;
};
bool backing_uring_works(void);
extern const struct backing_ops backing_uring_ops, backing_threads_ops;
void backing_file_close(struct backing *b);
uint64_t backing_file_allocated(struct backing *b);
int backing_file_trim(struct backing *b, uint64_t offset, uint64_t len);
/* io->res by pread() or pwrite(). */
void backing_file_io(struct backing *b, struct backing_io *io);

#endif
