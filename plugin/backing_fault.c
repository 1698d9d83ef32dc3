/* SPDX-License-Identifier: BSD-3-Clause */
/* A backing for tests: it passes requests on to another one, and breaks some of them. It sits
 * below what continues short transfers, so those are tried too. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "backing_priv.h"

struct fault {
	struct backing b;
	struct backing *inner;
	pthread_mutex_t rules_lock;
	struct backing_fault_rule rules[NR_FAULTS];
	uint64_t rng;
	_Atomic uint64_t hits[NR_FAULTS];
};

/* What was done to a request that is out. */
struct broken {
	void *buf; /* the caller's, while another one is used */
	int res;   /* what it will say; 0: what comes */
	bool corrupt, hang;
};

struct fault_queue {
	struct backing_queue *inner;
	unsigned inner_out;
	/* Not passed on, or back but late. */
	struct backing_io *held;
};

static struct fault *fault_of(struct backing *b)
{
	return (struct fault *)b;
}

static uint64_t rng(struct fault *f)
{
	f->rng ^= f->rng << 13;
	f->rng ^= f->rng >> 7;
	return f->rng ^= f->rng << 17;
}

static bool strikes(struct fault *f, enum backing_fault fault, uint64_t offset, uint64_t len,
	uint32_t *delay_us)
{
	struct backing_fault_rule *rule = &f->rules[fault];
	bool strikes = false;

	pthread_mutex_lock(&f->rules_lock);
	if (rule->permille && rule->times &&
		(!rule->to || (offset < rule->to && offset + len > rule->from)) &&
		rng(f) % 1000 < rule->permille) {
		strikes = true;
		if (rule->times > 0)
			rule->times--;
		if (delay_us)
			*delay_us = rule->delay_us;
		atomic_fetch_add(&f->hits[fault], 1);
	}
	pthread_mutex_unlock(&f->rules_lock);
	return strikes;
}

static bool io_strikes(struct fault *f, enum backing_fault fault, const struct backing_io *io)
{
	return strikes(f, fault, io->offset + io->done, io->part, NULL);
}

/* Half of it, in blocks; 0 if it has but one. */
static uint32_t half(struct fault *f, const struct backing_io *io)
{
	return io->part / 2 & ~(f->b.info.block - 1);
}

/* A copy with one byte wrong takes the place of the caller's buffer. */
static void corrupt_copy(struct fault *f, struct broken *broken, struct backing_io *io)
{
	unsigned char *copy = backing_alloc(io->len, false);

	if (!copy)
		return;
	memcpy(copy, io->buf, io->len);
	pthread_mutex_lock(&f->rules_lock);
	copy[io->done + rng(f) % io->part] ^= 1 + rng(f) % 255;
	pthread_mutex_unlock(&f->rules_lock);
	broken->buf = io->buf;
	io->buf = copy;
}

/* Decides on a request. False: it is not to be passed on. */
static bool decide(struct fault *f, struct broken *broken, struct backing_io *io)
{
	bool write = io->op == BACKING_WRITE;
	uint32_t delay = 0;

	if (strikes(f, FAULT_DELAY, io->offset + io->done, io->part, &delay))
		io->due = uz_nsec() + delay * 1000ull;
	if (io_strikes(f, FAULT_HANG, io)) {
		broken->hang = true;
		broken->res = -ENOTCONN;
	} else if (io_strikes(f, write ? FAULT_WRITE : FAULT_READ, io)) {
		broken->res = -EIO;
	} else if (write && io_strikes(f, FAULT_NOSPC, io)) {
		broken->res = -ENOSPC;
	} else if (write && io_strikes(f, FAULT_LOST_WRITE, io)) {
		broken->res = io->part;
	}
	if (broken->res)
		return false;
	if (write && io_strikes(f, FAULT_CORRUPT_WRITE, io))
		corrupt_copy(f, broken, io);
	if (!write)
		broken->corrupt = io_strikes(f, FAULT_CORRUPT_READ, io);
	if (half(f, io)) {
		if (write && io_strikes(f, FAULT_TORN_WRITE, io)) {
			broken->res = -EIO;
			io->part = half(f, io);
		} else if (io_strikes(f, write ? FAULT_WRITE_SHORT : FAULT_READ_SHORT, io)) {
			io->part = half(f, io);
		}
	}
	return true;
}

static void hold(struct fault_queue *fq, struct backing_io *io)
{
	io->next = fq->held;
	fq->held = io;
}

static void fault_submit(struct backing_queue *q, struct backing_io *io, bool more)
{
	struct fault *f = fault_of(q->backing);
	struct fault_queue *fq = q->driver;
	struct broken *broken = calloc(1, sizeof(*broken));

	io->due = 0;
	io->fault = broken;
	if (!broken || !decide(f, broken, io)) {
		hold(fq, io);
		return;
	}
	io->queue = fq->inner;
	fq->inner_out++;
	fq->inner->backing->ops->submit(fq->inner, io, more);
}

/* One that comes back from below. */
static void came_back(struct fault *f, struct backing_queue *q, struct backing_io *io)
{
	struct fault_queue *fq = q->driver;
	struct broken *broken = io->fault;

	fq->inner_out--;
	io->queue = q;
	if (broken->buf) {
		free(io->buf);
		io->buf = broken->buf;
	}
	if (broken->corrupt && io->res > 0) {
		pthread_mutex_lock(&f->rules_lock);
		((unsigned char *)io->buf)[io->done + rng(f) % io->res] ^= 1 + rng(f) % 255;
		pthread_mutex_unlock(&f->rules_lock);
	}
	if (!broken->res)
		broken->res = io->res;
	hold(fq, io);
}

/* The first of those held whose time has come. */
static struct backing_io *take_held(struct fault *f, struct fault_queue *fq)
{
	bool stopped = atomic_load(&f->b.stopped);
	uint64_t now = uz_nsec();

	for (struct backing_io **at = &fq->held, *io; (io = *at); at = &io->next) {
		struct broken *broken = io->fault;

		if (!stopped && (io->due > now || (broken && broken->hang)))
			continue;
		*at = io->next;
		io->res = broken ? broken->res : -ENOMEM;
		free(broken);
		return io;
	}
	return NULL;
}

static struct backing_io *fault_reap(struct backing_queue *q, unsigned want)
{
	struct fault *f = fault_of(q->backing);
	struct fault_queue *fq = q->driver;
	const struct backing_ops *ops = fq->inner->backing->ops;
	struct backing_io *io;

	for (;;) {
		unsigned wait = want && !fq->held ? 1 : 0;

		while (fq->inner_out && (io = ops->reap(fq->inner, wait))) {
			came_back(f, q, io);
			wait = 0;
		}
		io = take_held(f, fq);
		if (io || !want)
			return io;
		usleep(200);
	}
}

static int fault_start(struct backing *b, struct uz_error *e)
{
	return backing_start(fault_of(b)->inner, e);
}

static void fault_stop(struct backing *b)
{
	backing_stop(fault_of(b)->inner);
}

static void fault_close(struct backing *b)
{
	struct fault *f = fault_of(b);

	backing_fini(b);
	backing_close(f->inner);
	pthread_mutex_destroy(&f->rules_lock);
	free(f);
}

static uint64_t fault_allocated(struct backing *b)
{
	return backing_allocated(fault_of(b)->inner);
}

static int fault_trim(struct backing *b, uint64_t offset, uint64_t len)
{
	if (strikes(fault_of(b), FAULT_TRIM, offset, len, NULL))
		return EIO;
	return backing_trim(fault_of(b)->inner, offset, len);
}

static void fault_expect(struct backing *b, uint64_t offset, const void *bytes, size_t len)
{
	backing_expect(fault_of(b)->inner, offset, bytes, len);
}

static void fault_direct_io(struct backing *b, struct backing_io *io)
{
	struct backing *inner = fault_of(b)->inner;

	inner->ops->direct_io(inner, io);
}

static int fault_queue_init(struct backing_queue *q)
{
	struct fault_queue *fq = calloc(1, sizeof(*fq));

	if (!fq)
		return ENOMEM;
	fq->inner = backing_queue_create(fault_of(q->backing)->inner);
	if (!fq->inner) {
		free(fq);
		return ENOMEM;
	}
	q->driver = fq;
	return 0;
}

static void fault_queue_fini(struct backing_queue *q)
{
	struct fault_queue *fq = q->driver;

	backing_queue_destroy(fq->inner);
	free(fq);
}

static const struct backing_ops fault_ops = {
	.kind = "fault",
	.start = fault_start,
	.stop = fault_stop,
	.close = fault_close,
	.allocated = fault_allocated,
	.trim = fault_trim,
	.expect = fault_expect,
	.direct_io = fault_direct_io,
	.queue_init = fault_queue_init,
	.queue_fini = fault_queue_fini,
	.submit = fault_submit,
	.reap = fault_reap,
};

struct backing *backing_fault_wrap(struct backing *inner, uint64_t seed)
{
	struct fault *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	backing_init(&f->b, &fault_ops,
		&(struct backing_config){ .where = inner->name,
			.locked = inner->locked,
			.queues = inner->max_queues });
	f->b.info = inner->info;
	f->b.info.name = f->b.name;
	atomic_store(&f->b.can_punch, atomic_load(&inner->can_punch));
	f->inner = inner;
	f->rng = seed ?: 1;
	pthread_mutex_init(&f->rules_lock, NULL);
	return &f->b;
}

void backing_fault_set(
	struct backing *b, enum backing_fault fault, const struct backing_fault_rule *rule)
{
	struct fault *f = fault_of(b);

	pthread_mutex_lock(&f->rules_lock);
	f->rules[fault] = rule ? *rule : (struct backing_fault_rule){ 0 };
	pthread_mutex_unlock(&f->rules_lock);
}

uint64_t backing_fault_hits(struct backing *b, enum backing_fault fault)
{
	return atomic_load(&fault_of(b)->hits[fault]);
}
