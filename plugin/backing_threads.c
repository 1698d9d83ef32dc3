/* SPDX-License-Identifier: BSD-3-Clause */
/* Files and block devices where io_uring is forbidden: a few threads with pread and pwrite. Whoever
 * waits does some of its requests itself, so a lone one wakes nobody. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "backing_priv.h"

#define NR_THREADS 8

struct io_list {
	struct backing_io *head, *tail;
};

struct threads {
	struct backing *backing;
	pthread_mutex_t lock; /* guards all lists; not held during I/O */
	pthread_cond_t work;
	struct io_list pending;
	bool quit;
	unsigned nr;
	pthread_t thread[NR_THREADS];
};

struct threads_queue {
	pthread_cond_t cond;
	struct io_list done;
	unsigned unseen; /* pending ones no thread was woken for */
};

static void list_add(struct io_list *list, struct backing_io *io)
{
	io->next = NULL;
	io->prev = list->tail;
	if (list->tail)
		list->tail->next = io;
	else
		list->head = io;
	list->tail = io;
}

static void list_del(struct io_list *list, struct backing_io *io)
{
	*(io->prev ? &io->prev->next : &list->head) = io->next;
	*(io->next ? &io->next->prev : &list->tail) = io->prev;
}

static struct threads *threads_of(struct backing_queue *q)
{
	return ((struct backing_file *)q->backing)->driver;
}

static void do_pending(struct threads *t, struct backing_io *io)
{
	struct threads_queue *tq = io->queue->driver;

	list_del(&t->pending, io);
	pthread_mutex_unlock(&t->lock);
	backing_file_io(t->backing, io);
	pthread_mutex_lock(&t->lock);
	list_add(&tq->done, io);
	pthread_cond_signal(&tq->cond);
}

static void *threads_main(void *arg)
{
	struct threads *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->quit) {
		if (t->pending.head)
			do_pending(t, t->pending.head);
		else
			pthread_cond_wait(&t->work, &t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static int threads_start(struct backing *b, struct uz_error *e)
{
	struct backing_file *f = (struct backing_file *)b;
	struct threads *t = calloc(1, sizeof(*t));
	int err = t ? 0 : ENOMEM;

	if (t) {
		t->backing = b;
		pthread_mutex_init(&t->lock, NULL);
		pthread_cond_init(&t->work, NULL);
		f->driver = t;
		while (t->nr < NR_THREADS && !err) {
			err = pthread_create(&t->thread[t->nr], NULL, threads_main, t);
			t->nr += !err;
		}
	}
	return err ? uz_fail(e, err, "backing=%s: %s", b->name, strerror(err)) : 0;
}

static void threads_close(struct backing *b)
{
	struct threads *t = ((struct backing_file *)b)->driver;

	if (t) {
		pthread_mutex_lock(&t->lock);
		t->quit = true;
		pthread_cond_broadcast(&t->work);
		pthread_mutex_unlock(&t->lock);
		while (t->nr)
			pthread_join(t->thread[--t->nr], NULL);
		pthread_cond_destroy(&t->work);
		pthread_mutex_destroy(&t->lock);
		free(t);
	}
	backing_file_close(b);
}

static int threads_queue_init(struct backing_queue *q)
{
	struct threads_queue *tq = calloc(1, sizeof(*tq));

	if (!tq)
		return ENOMEM;
	pthread_cond_init(&tq->cond, NULL);
	q->driver = tq;
	return 0;
}

static void threads_queue_fini(struct backing_queue *q)
{
	struct threads_queue *tq = q->driver;

	pthread_cond_destroy(&tq->cond);
	free(tq);
}

static void threads_submit(struct backing_queue *q, struct backing_io *io, bool more)
{
	struct threads *t = threads_of(q);
	struct threads_queue *tq = q->driver;

	pthread_mutex_lock(&t->lock);
	list_add(&t->pending, io);
	/* With `more` the caller will wait: one of them it does itself. */
	if (!more || tq->unseen)
		pthread_cond_signal(&t->work);
	tq->unseen = more;
	pthread_mutex_unlock(&t->lock);
}

static struct backing_io *threads_reap(struct backing_queue *q, unsigned want)
{
	struct threads *t = threads_of(q);
	struct threads_queue *tq = q->driver;
	struct backing_io *io;

	pthread_mutex_lock(&t->lock);
	tq->unseen = 0;
	while (!(io = tq->done.head) && want) {
		struct backing_io *own = t->pending.head;

		while (own && own->queue != q)
			own = own->next;
		if (own)
			do_pending(t, own);
		else
			pthread_cond_wait(&tq->cond, &t->lock);
	}
	if (io)
		list_del(&tq->done, io);
	pthread_mutex_unlock(&t->lock);
	return io;
}

const struct backing_ops backing_threads_ops = {
	.kind = "threads",
	.start = threads_start,
	.close = threads_close,
	.allocated = backing_file_allocated,
	.trim = backing_file_trim,
	.direct_io = backing_file_io,
	.queue_init = threads_queue_init,
	.queue_fini = threads_queue_fini,
	.submit = threads_submit,
	.reap = threads_reap,
};
