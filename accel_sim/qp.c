/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's half of a queue pair, but for waiting: see wait.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "accel_sim/accel_priv.h"

/* --- getting and putting --- */

static int map_rings(struct accel_qp *qp)
{
	size_t sq_len = (qp->mask + 1) * sizeof(struct sqe);
	void *p;

	/*
	 * Shared, as a device's would be; touched, as nothing is to be touched first later. By hand:
	 * MAP_POPULATE does nothing where MCL_ONFAULT locks memory.
	 */
	qp->rings_len = sq_len + (qp->mask + 1) * sizeof(struct accel_cpl);
	p = mmap(NULL, qp->rings_len, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	memset(p, 0, qp->rings_len);
	qp->sq = p;
	qp->cq = (struct accel_cpl *)((char *)p + sq_len);
	return 0;
}

void qp_free(struct accel_qp *qp)
{
	if (!qp)
		return;
	port_close(&qp->port);
	if (qp->sq)
		munmap(qp->sq, qp->rings_len);
	qp_device_free(qp);
	free(qp->batch_left);
	pthread_mutex_destroy(&qp->lock);
	pthread_mutex_destroy(&qp->wait_lock);
	pthread_cond_destroy(&qp->wait_cond);
	free(qp);
}

static void init_locks(struct accel_qp *qp)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&qp->lock, NULL);
	pthread_mutex_init(&qp->wait_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&qp->wait_cond, &attr);
	pthread_condattr_destroy(&attr);
}

static int init_qp(struct accel_qp *qp, struct accel_device *dev, unsigned id)
{
	int ret;

	qp->dev = dev;
	qp->id = id;
	qp->depth = dev->profile.queue_depth;
	while (qp->mask + 1 < qp->depth)
		qp->mask = 2 * qp->mask + 1;
	init_locks(qp);
	qp->accepted = qp->rung = FIRST_INDEX;
	atomic_store(&qp->sq_tail, FIRST_INDEX);
	atomic_store(&qp->sq_head, FIRST_INDEX);
	atomic_store(&qp->cq_tail, FIRST_INDEX);
	atomic_store(&qp->cq_head, FIRST_INDEX);
	qp->batch_left = calloc(qp->depth + 1, sizeof(*qp->batch_left));
	if (!qp->batch_left)
		return -ENOMEM;
	memset(qp->batch_left, 0, (qp->depth + 1) * sizeof(*qp->batch_left));
	ret = qp_device_init(qp);
	if (ret == 0)
		ret = map_rings(qp);
	if (ret == 0 && dev->profile.transport != ACCEL_INLINE)
		ret = port_open(dev, &qp->port, 0); /* no single issuer: owners change */
	return ret;
}

static struct accel_qp *make_qp(struct accel_device *dev, unsigned id)
{
	struct accel_qp *qp = aligned_alloc(CACHE_LINE, sizeof(*qp));
	int ret;

	if (!qp)
		return NULL;
	memset(qp, 0, sizeof(*qp));
	ret = init_qp(qp, dev, id);
	if (ret < 0) {
		qp_free(qp);
		errno = -ret;
		return NULL;
	}
	atomic_store(&dev->qps[id], qp);
	if (atomic_load(&dev->qps_made) <= id)
		atomic_store(&dev->qps_made, id + 1);
	return qp;
}

/* One that is free, the next in turn; one that was had before, or a new one. */
static struct accel_qp *find_qp(struct accel_device *dev)
{
	for (unsigned i = 0; i < dev->nr_qps; i++) {
		unsigned id = (dev->next_qp + i) % dev->nr_qps;
		struct accel_qp *qp = qp_at(dev, id);

		if (qp && atomic_load(&qp->taken))
			continue;
		if (!qp)
			qp = make_qp(dev, id);
		dev->next_qp = id + 1;
		return qp;
	}
	errno = EBUSY;
	return NULL;
}

struct accel_qp *accel_qp_get(struct accel_device *dev)
{
	struct accel_qp *qp;

	pthread_mutex_lock(&dev->qp_lock);
	qp = find_qp(dev);
	if (qp) {
		atomic_store(&qp->taken, true);
		atomic_store(&qp->kicked, 0);
		atomic_store(&qp->cpu, -1);
		atomic_fetch_add(&dev->holders, 1);
	}
	pthread_mutex_unlock(&dev->qp_lock);
	return qp;
}

void accel_qp_put(struct accel_qp *qp)
{
	struct accel_device *dev = qp->dev;
	uint32_t dropped;

	qp_abort(qp, NULL, true);
	dropped = accel_in_flight(qp);
	for (uint32_t i = 0; i < dropped; i++)
		accel_model_seen(&qp->model, 0);
	count_add(&qp->hs.reaped, dropped);
	atomic_store(&qp->cq_head, qp->accepted);
	if (qp->batch_open)
		atomic_fetch_sub(&qp->batch_left[qp->batch], 1);
	qp->batch_open = false;
	qp->rung = qp->accepted;
	atomic_store(&qp->taken, false);
	device_put(dev);
}

unsigned accel_in_flight(const struct accel_qp *qp)
{
	return qp->accepted - relaxed_load(&qp->cq_head);
}

/* --- submitting --- */

/* How many of the first n the `busy` fault lets pass. */
static unsigned before_busy(struct accel_qp *qp, const struct accel_op *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!fault_hits(qp->dev, ACCEL_FAULT_BUSY, qp->id, qp->busy_tries++,
			    ops[i].src_len))
			continue;
		count_add(&qp->hs.busy_faults, 1);
		return i;
	}
	return n;
}

static unsigned may_accept(struct accel_qp *qp, const struct accel_op *ops, unsigned n)
{
	unsigned room = qp->depth - accel_in_flight(qp);

	if (atomic_load_explicit(&qp->dev->state, memory_order_acquire) != ACCEL_ENABLED)
		return 0;
	if (n > room) {
		count_add(&qp->hs.ring_full, 1);
		n = room;
	}
	return fault_on(qp->dev, ACCEL_FAULT_BUSY) ? before_busy(qp, ops, n) : n;
}

/* There are more counters than operations in flight, so one is free. One too high until rung. */
static void batch_add(struct accel_qp *qp, unsigned n)
{
	if (!qp->batch_open) {
		do
			qp->batch = qp->batch < qp->depth ? qp->batch + 1 : 0;
		while (atomic_load(&qp->batch_left[qp->batch]));
		qp->batch_open = true;
		n++;
	}
	atomic_fetch_add(&qp->batch_left[qp->batch], n);
}

unsigned accel_enqueue_burst(struct accel_qp *qp, const struct accel_op *ops, unsigned n)
{
	uint32_t submit_ns = qp->dev->profile.submit_ns;
	uint64_t t_wall, t_model;

	count_add(&qp->hs.submitted, n);
	n = may_accept(qp, ops, n);
	if (n == 0)
		return 0;
	t_wall = now_ns();
	t_model = accel_model_submit(qp->dev->model, &qp->model, n);
	batch_add(qp, n);
	for (unsigned i = 0; i < n; i++) {
		struct sqe *sqe = &qp->sq[(qp->accepted + i) & qp->mask];

		memcpy(sqe, &ops[i], sizeof(*sqe));
		sqe->batch = (uint16_t)qp->batch;
		sqe->t_wall = t_wall;
		sqe->t_model = t_model;
		t_model += submit_ns;
	}
	qp->accepted += n;
	atomic_store(&qp->sq_tail, qp->accepted);
	count_add(&qp->hs.accepted, n);
	count_max(&qp->hs.in_flight_max, accel_in_flight(qp));
	return n;
}

void accel_doorbell(struct accel_qp *qp)
{
	struct accel_device *dev = qp->dev;

	if (qp->rung == qp->accepted)
		return;
	hist_add(&qp->hs.batches, qp->accepted - qp->rung);
	qp->rung = qp->accepted;
	atomic_fetch_sub(&qp->batch_left[qp->batch], 1);
	qp->batch_open = false;
	if (dev->profile.transport == ACCEL_INLINE) {
		count_add(&qp->hs.doorbells_suppressed, 1);
		inline_run(dev, qp);
		reset_if_wanted(dev);
	} else {
		ring_engines(qp);
	}
}

/* --- reaping --- */

static void note_pace(struct accel_qp *qp, uint64_t service, unsigned runs)
{
	uint32_t latest;

	if (!runs)
		return;
	latest = (uint32_t)(service / runs);
	qp->pace_ns = qp->pace_ns ? (uint32_t)((3 * (uint64_t)qp->pace_ns + latest) / 4) : latest;
}

unsigned accel_dequeue_burst(struct accel_qp *qp, struct accel_cpl *cpls, unsigned n)
{
	uint32_t head = relaxed_load(&qp->cq_head);
	uint32_t ready = atomic_load_explicit(&qp->cq_tail, memory_order_acquire) - head;
	unsigned runs = 0;
	uint64_t now, service = 0;

	if (n > ready)
		n = ready;
	if (n == 0) {
		if (qp->accepted != head)
			nothing_to_dequeue(qp);
		return 0;
	}
	now = now_ns();
	for (unsigned i = 0; i < n; i++) {
		struct accel_cpl *cpl = &cpls[i];
		uint64_t deliver;

		*cpl = qp->cq[(head + i) & qp->mask];
		deliver = now > cpl->wall_done ? now - cpl->wall_done : 0;
		cpl->wall_deliver = deliver < UINT32_MAX ? (uint32_t)deliver : UINT32_MAX;
		accel_model_seen(&qp->model,
			cpl->model_done > cpl->model_submit ? cpl->model_done : 0);
		if (cpl->pad) {
			hist_add(&qp->hs.deliver, deliver);
			hist_add(&qp->hs.total,
				(uint64_t)cpl->wall_wait + cpl->wall_service + deliver);
			service += cpl->wall_service;
			runs++;
			cpl->pad = 0;
		}
	}
	atomic_store_explicit(&qp->cq_head, head + n, memory_order_release);
	count_add(&qp->hs.reaped, n);
	note_pace(qp, service, runs);
	return n;
}
