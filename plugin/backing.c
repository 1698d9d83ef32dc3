/* SPDX-License-Identifier: BSD-3-Clause */
/* What all kinds of backing have in common: a pool of queues, and transfers that stop short. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <assert.h>
#include <stdio.h>

#include "backing_priv.h"

/* Queues that somebody keeps, a log's writer and its cleaner: to wait for these would be in vain. */
#define KEPT 2

struct backing *backing_open(const struct backing_config *config, struct uz_error *error)
{
	if (uz_is_nbd_uri(config->where))
		return backing_nbd_open(config, error);
	return backing_file_open(config, error);
}

void backing_init(
	struct backing *b, const struct backing_ops *ops, const struct backing_config *config)
{
	b->ops = ops;
	b->info.kind = ops->kind;
	b->locked = config->locked;
	b->max_queues = config->queues ?: 32;
	snprintf(b->name, sizeof(b->name), "%s", config->where);
	b->info.name = b->name;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->idle_cond, NULL);
}

void backing_fini(struct backing *b)
{
	struct backing_queue *q;

	while ((q = b->idle)) {
		b->idle = q->next;
		b->nr_queues--;
		backing_queue_destroy(q);
	}
	assert(!b->nr_queues);
	pthread_cond_destroy(&b->idle_cond);
	pthread_mutex_destroy(&b->lock);
}

void *backing_alloc(size_t len, bool touch)
{
	void *p;
	int err = posix_memalign(&p, BACKING_ALIGN, len);

	if (err) {
		errno = err;
		return NULL;
	}
	if (touch)
		memset(p, 0, len);
	return p;
}

struct backing_queue *backing_queue_create(struct backing *b)
{
	struct backing_queue *q = calloc(1, sizeof(*q));
	int err = ENOMEM;

	if (!q)
		return NULL;
	q->backing = b;
	q->scratch = backing_alloc(BACKING_SCRATCH, b->locked);
	if (q->scratch)
		err = b->ops->queue_init(q);
	if (err) {
		free(q->scratch);
		free(q);
		errno = err;
		return NULL;
	}
	return q;
}

void backing_queue_destroy(struct backing_queue *q)
{
	q->backing->ops->queue_fini(q);
	free(q->scratch);
	free(q);
}

int backing_start(struct backing *b, struct uz_error *error)
{
	unsigned n = b->locked ? b->max_queues : (unsigned)min_u64(b->max_queues, KEPT + 1);

	if (b->ops->start && b->ops->start(b, error) == -1)
		return -1;
	/* One more than are kept: who cannot have a new one waits for that. */
	while (b->nr_queues < n) {
		struct backing_queue *q = backing_queue_create(b);

		if (!q)
			return uz_fail(error, errno, "backing %s: %s", b->name, strerror(errno));
		q->next = b->idle;
		b->idle = q;
		b->nr_queues++;
	}
	b->started = true;
	return 0;
}

void backing_stop(struct backing *b)
{
	atomic_store(&b->stopped, true);
	if (b->ops->stop)
		b->ops->stop(b);
}

void backing_close(struct backing *b)
{
	backing_stop(b);
	b->ops->close(b);
}

void backing_get_info(struct backing *b, struct backing_info *info)
{
	*info = b->info;
	info->can_punch = atomic_load_explicit(&b->can_punch, memory_order_relaxed);
}

uint64_t backing_allocated(struct backing *b)
{
	return b->ops->allocated(b);
}

int backing_trim(struct backing *b, uint64_t offset, uint64_t len)
{
	int err;

	if (!atomic_load_explicit(&b->can_punch, memory_order_relaxed))
		return EOPNOTSUPP;
	err = b->ops->trim(b, offset, len);
	if (err == EOPNOTSUPP)
		atomic_store_explicit(&b->can_punch, false, memory_order_relaxed);
	return err;
}

void backing_expect(struct backing *b, uint64_t offset, const void *bytes, size_t len)
{
	if (b->ops->expect)
		b->ops->expect(b, offset, bytes, len);
}

/* --- queues --- */

struct backing_queue *backing_queue_get(struct backing *b)
{
	struct backing_queue *q;
	bool tried = false;

	pthread_mutex_lock(&b->lock);
	while (!(q = b->idle)) {
		if (tried || b->nr_queues == b->max_queues) {
			pthread_cond_wait(&b->idle_cond, &b->lock);
			continue;
		}
		b->nr_queues++;
		pthread_mutex_unlock(&b->lock);
		q = backing_queue_create(b);
		if (q)
			return q;
		/* No memory, or descriptor, for another one now: those that are there will do. */
		tried = true;
		pthread_mutex_lock(&b->lock);
		if (!--b->nr_queues) {
			pthread_mutex_unlock(&b->lock);
			return NULL;
		}
	}
	b->idle = q->next;
	pthread_mutex_unlock(&b->lock);
	return q;
}

void backing_queue_put(struct backing_queue *q)
{
	struct backing *b = q->backing;

	assert(!q->out);
	pthread_mutex_lock(&b->lock);
	q->next = b->idle;
	b->idle = q;
	pthread_cond_signal(&b->idle_cond);
	pthread_mutex_unlock(&b->lock);
}

void *backing_scratch(struct backing_queue *q)
{
	return q->scratch;
}

static void io_begin(struct backing_queue *q, struct backing_io *io)
{
	io->queue = q;
	io->done = 0;
	io->part = io->len;
	io->error = 0;
	q->out++;
	assert(q->out <= BACKING_DEPTH);
}

/* True when it is done; false: the rest is to be asked for, as io->part. */
static bool io_end(struct backing_io *io)
{
	if (io->res == -EINTR || io->res == -EAGAIN)
		return false;
	if (io->res < 0) {
		io->error = -io->res;
		return true;
	}
	if (io->res == 0) { /* neither an end of file nor a full one is expected */
		io->error = EIO;
		return true;
	}
	io->done += io->res;
	io->part = io->len - io->done;
	return !io->part;
}

/* The next that is done. Parts that stopped short are sent again on the way. */
static struct backing_io *reap(struct backing_queue *q, unsigned want)
{
	struct backing_io *io;

	while (q->out && (io = q->backing->ops->reap(q, want))) {
		if (io_end(io)) {
			q->out--;
			return io;
		}
		q->backing->ops->submit(q, io, false);
	}
	return NULL;
}

void backing_submit(struct backing_queue *q, struct backing_io *ios, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		io_begin(q, &ios[i]);
		q->backing->ops->submit(q, &ios[i], i + 1 < n);
	}
}

struct backing_io *backing_reap(struct backing_queue *q, bool wait)
{
	return reap(q, wait ? 1 : 0);
}

int backing_run(struct backing_queue *q, struct backing_io *ios, unsigned n)
{
	struct backing_io *io;
	int err = 0;

	assert(!q->out);
	for (unsigned i = 0; i < n; i++) {
		io_begin(q, &ios[i]);
		q->backing->ops->submit(q, &ios[i], true);
	}
	while ((io = reap(q, q->out)))
		err = err ?: io->error;
	return err;
}

static int one_io(struct backing *b, struct backing_io *io)
{
	struct backing_queue *q;
	int err;

	if (!b->started) {
		io->part = io->len;
		do
			b->ops->direct_io(b, io);
		while (!io_end(io));
		return io->error;
	}
	q = backing_queue_get(b);
	if (!q)
		return errno;
	err = backing_run(q, io, 1);
	backing_queue_put(q);
	return err;
}

int backing_pread(struct backing *b, void *buf, uint32_t len, uint64_t offset)
{
	return one_io(b, &(struct backing_io){
				 .op = BACKING_READ, .buf = buf, .len = len, .offset = offset });
}

int backing_pwrite(struct backing *b, void *buf, uint32_t len, uint64_t offset)
{
	return one_io(b, &(struct backing_io){
				 .op = BACKING_WRITE, .buf = buf, .len = len, .offset = offset });
}
