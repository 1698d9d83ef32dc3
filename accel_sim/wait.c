/* SPDX-License-Identifier: BSD-3-Clause */
/* The owner of a queue pair waits for completions, and watches the device meanwhile. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getcpu() */
#endif
#include <errno.h>
#include <sched.h>

#include "accel_sim/accel_priv.h"

struct wait {
	uint32_t min;
	uint64_t now, end; /* wall */
};

static bool over(struct accel_qp *qp, const struct wait *w)
{
	return qp_ready(qp) >= w->min || atomic_exchange(&qp->kicked, 0) || w->now >= w->end;
}

/*
 * At the pace of the last operations, is it worth while to spin? Only if what is missing may come
 * within poll_usecs.
 */
static bool worth_spinning(struct accel_qp *qp, const struct wait *w, uint64_t poll_ns)
{
	uint64_t missing = w->min - qp_ready(qp);

	return missing * qp->pace_ns / qp->dev->nr_engines <= poll_ns;
}

static int publish_cpu(struct accel_qp *qp, uint64_t now)
{
	int cpu = sched_getcpu();

	relaxed_store(&qp->cpu, cpu);
	relaxed_store(&qp->cpu_at, now);
	return cpu;
}

/*
 * Whoever spins there keeps the engines from what it waits for. One that sleeps, and that nobody
 * has woken, does not work elsewhere.
 */
static bool engines_need_cpu(struct accel_qp *qp, uint64_t now)
{
	struct accel_device *dev = qp->dev;
	int cpu = publish_cpu(qp, now);

	for (unsigned i = 0; i < dev->nr_engines; i++) {
		struct engine *e = &dev->engines[i];

		if (!relaxed_load(&e->sleeping) && relaxed_load(&e->cpu) != cpu)
			return false;
	}
	return true;
}

static void spin(struct accel_qp *qp, struct wait *w)
{
	uint64_t poll_ns = qp->dev->profile.poll_usecs * (uint64_t)1000, end = w->now + poll_ns;

	if (!poll_ns || !worth_spinning(qp, w, poll_ns))
		return;
	while (w->now < end && !engines_need_cpu(qp, w->now)) {
		for (unsigned i = 0; i < 32; i++) {
			if (qp_ready(qp) >= w->min || relaxed_load(&qp->kicked))
				return;
			cpu_pause();
		}
		w->now = now_ns();
		if (w->now >= w->end)
			return;
	}
}

/* Whether the device is all right: once in a while, as nobody else may be able to look. */
static void look_after_device(struct accel_qp *qp, uint64_t now)
{
	struct accel_device *dev = qp->dev;
	struct port *from = qp->port.open ? &qp->port : NULL;

	if (!state_serves(atomic_load(&dev->state)) && qp_unfetched(qp))
		qp_abort(qp, from, false);
	if (from && qp_unfetched(qp))
		count_add(&qp->hs.lost, rescue_engines(dev, from, now));
	watchdog_poll(dev, from, now);
	reset_if_wanted(dev);
}

void nothing_to_dequeue(struct accel_qp *qp)
{
	struct accel_device *dev = qp->dev;

	/* Without engine threads an owner that only polls is all there is. */
	if (dev->profile.transport == ACCEL_INLINE || !state_serves(atomic_load(&dev->state)))
		look_after_device(qp, now_ns());
}

static void fall_asleep(struct accel_qp *qp, const struct wait *w)
{
	atomic_store(&qp->batch_ended, false);
	atomic_store(&qp->need, w->min);
	atomic_store(&qp->sleeping, 1);
}

static uint64_t sleep_time(struct accel_qp *qp, const struct wait *w)
{
	uint64_t ns = w->end - w->now, quarter = timeout_ns(qp->dev) / 4;

	return ns < quarter ? ns : quarter;
}

static void sleep_in_ring(struct accel_qp *qp, struct wait *w)
{
	enum wake wake;
	bool claimed;

	fall_asleep(qp, w);
	if (qp_ready(qp) >= w->min || atomic_load(&qp->kicked)) {
		atomic_store(&qp->sleeping, 0);
		return;
	}
	wake = port_sleep(&qp->port, sleep_time(qp, w));
	claimed = atomic_exchange(&qp->sleeping, 0) == 0;
	w->now = now_ns();
	if (wake == WAKE_TIMEOUT) {
		if (claimed)
			count_lost(qp->dev, &qp->irq_at, &qp->hs.lost);
		look_after_device(qp, w->now);
	} else if (qp_ready(qp) < w->min && !atomic_load(&qp->kicked)) {
		count_add(&qp->hs.spurious, 1);
	}
}

static void sleep_inline(struct accel_qp *qp, struct wait *w)
{
	uint64_t until = w->now + sleep_time(qp, w);
	struct timespec ts = { .tv_sec = (time_t)(until / 1000000000),
		.tv_nsec = (long)(until % 1000000000) };

	pthread_mutex_lock(&qp->wait_lock);
	fall_asleep(qp, w);
	while (qp_ready(qp) < w->min && !atomic_load(&qp->kicked) &&
		pthread_cond_timedwait(&qp->wait_cond, &qp->wait_lock, &ts) != ETIMEDOUT)
		;
	atomic_store(&qp->sleeping, 0);
	pthread_mutex_unlock(&qp->wait_lock);
	w->now = now_ns();
	look_after_device(qp, w->now);
}

unsigned accel_wait(struct accel_qp *qp, unsigned min, uint64_t timeout)
{
	bool is_inline = qp->dev->profile.transport == ACCEL_INLINE;
	struct wait w = { .min = min };

	accel_doorbell(qp);
	if (w.min > accel_in_flight(qp))
		w.min = accel_in_flight(qp);
	if (qp_ready(qp) >= w.min)
		return qp_ready(qp);

	w.now = now_ns();
	w.end = timeout < UINT64_MAX - w.now ? w.now + timeout : UINT64_MAX;
	if (is_inline)
		inline_run(qp->dev, qp);
	if (!state_serves(atomic_load(&qp->dev->state)))
		look_after_device(qp, w.now);
	if (!is_inline && timeout) {
		publish_cpu(qp, w.now); /* also if it is not to spin: an engine might */
		spin(qp, &w);
	}
	while (!over(qp, &w)) {
		if (is_inline)
			sleep_inline(qp, &w);
		else
			sleep_in_ring(qp, &w);
	}
	return qp_ready(qp);
}
