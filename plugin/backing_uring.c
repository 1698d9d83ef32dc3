/* SPDX-License-Identifier: BSD-3-Clause */
/* Files and block devices by io_uring: a ring for each queue, which submits and sleeps in one
 * system call of the thread that wants the bytes. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <liburing.h>

#include "backing_priv.h"

struct uring_queue {
	struct io_uring ring;
	unsigned unsent;
};

static int ring_init(struct io_uring *ring)
{
	/* No interrupt to deliver completions: whoever waits for them is in the kernel anyway. */
	int ret = io_uring_queue_init(BACKING_DEPTH, ring, IORING_SETUP_COOP_TASKRUN);

	if (ret == -EINVAL) /* before Linux 5.19 */
		ret = io_uring_queue_init(BACKING_DEPTH, ring, 0);
	return -ret;
}

bool backing_uring_works(void)
{
	struct io_uring_probe *probe;
	struct io_uring ring;
	bool works;

	if (ring_init(&ring) != 0)
		return false;
	/* Not before Linux 5.6. */
	probe = io_uring_get_probe_ring(&ring);
	works = probe && io_uring_opcode_supported(probe, IORING_OP_READ);
	io_uring_free_probe(probe);
	io_uring_queue_exit(&ring);
	return works;
}

static int uring_queue_init(struct backing_queue *q)
{
	struct uring_queue *u = calloc(1, sizeof(*u));
	int err = u ? ring_init(&u->ring) : ENOMEM;

	if (err)
		free(u);
	else
		q->driver = u;
	return err;
}

static void uring_queue_fini(struct backing_queue *q)
{
	struct uring_queue *u = q->driver;

	io_uring_queue_exit(&u->ring);
	free(u);
}

/* All that is unsent goes out; sleeps until `want` are done. */
static void enter(struct uring_queue *u, unsigned want)
{
	do {
		int ret = io_uring_submit_and_wait(&u->ring, want);

		if (ret >= 0)
			u->unsent -= ret;
		else if (ret == -EAGAIN || ret == -ENOMEM)
			usleep(1000); /* no memory for requests, for now */
		else if (ret == -EBUSY)
			want = want ?: 1; /* completions must be fetched first */
		/* Interrupted, or out already: look again. */
		if (io_uring_cq_ready(&u->ring))
			want = 0;
	} while (u->unsent);
}

static void uring_submit(struct backing_queue *q, struct backing_io *io, bool more)
{
	struct backing_file *f = (struct backing_file *)q->backing;
	struct uring_queue *u = q->driver;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring); /* as many as BACKING_DEPTH */
	char *buf = (char *)io->buf + io->done;

	if (io->op == BACKING_READ)
		io_uring_prep_read(sqe, f->fd, buf, io->part, io->offset + io->done);
	else
		io_uring_prep_write(sqe, f->fd, buf, io->part, io->offset + io->done);
	io_uring_sqe_set_data(sqe, io);
	u->unsent++;
	if (!more)
		enter(u, 0);
}

static struct backing_io *uring_reap(struct backing_queue *q, unsigned want)
{
	struct uring_queue *u = q->driver;
	struct io_uring_cqe *cqe;
	struct backing_io *io;

	if (u->unsent)
		enter(u, want);
	while (io_uring_peek_cqe(&u->ring, &cqe) != 0 || !cqe) {
		if (!want)
			return NULL;
		enter(u, want);
	}
	io = io_uring_cqe_get_data(cqe);
	io->res = cqe->res;
	io_uring_cqe_seen(&u->ring, cqe);
	return io;
}

const struct backing_ops backing_uring_ops = {
	.kind = "io_uring",
	.close = backing_file_close,
	.allocated = backing_file_allocated,
	.trim = backing_file_trim,
	.direct_io = backing_file_io,
	.queue_init = uring_queue_init,
	.queue_fini = uring_queue_fini,
	.submit = uring_submit,
	.reap = uring_reap,
};
