/* SPDX-License-Identifier: BSD-3-Clause */
/* Engine threads: look around for work, spin a little, sleep. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np(), sched_getcpu() */
#endif
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel_sim/accel_priv.h"

static bool stopping(struct engine *e)
{
	return atomic_load(&e->dev->stop);
}

/*
 * One turn of an engine at a queue pair, with the operations it runs one after another. False: a
 * reset was asked for before the turn was over, `heed_reset` given.
 */
static bool run_qp_locked(struct engine *e, struct accel_qp *qp, struct port *from, unsigned most,
	bool heed_reset)
{
	struct accel_device *dev = e->dev;
	enum accel_status status;
	struct slot *slot;
	uint32_t produced;
	uint64_t now;

	/* Its own alone: while engines overlap, there is always something gathered by some. */
	for (unsigned n = 0; n < most || qp->gathered[e->nr].first != NO_SLOT; n++) {
		slot = qp_take(qp, e->nr, e->now);
		if (!slot)
			return true;
		pthread_mutex_unlock(&qp->lock);
		status = exec_op(e, slot, &produced);
		now = now_ns();
		count_add(&e->busy_ns, now - e->now);
		e->now = now;
		atomic_store(&e->done_at, now);
		pthread_mutex_lock(&qp->lock);
		qp_finish(qp, slot, status, produced, now);
		if (heed_reset && relaxed_load(&dev->reset_wanted))
			return false;
		if (!atomic_load(&qp->sleeping))
			continue;
		pthread_mutex_unlock(&qp->lock);
		interrupt(qp, from, now, false);
		e->now = now_ns();
		pthread_mutex_lock(&qp->lock);
	}
	return true;
}

static bool run_qp(struct engine *e, struct accel_qp *qp)
{
	/* Held by another engine for a moment: there are other queue pairs. */
	if (pthread_mutex_trylock(&qp->lock) != 0)
		return true;
	e->now = now_ns();
	while (!run_qp_locked(e, qp, &e->port, OPS_PER_TURN, true)) {
		pthread_mutex_unlock(&qp->lock);
		reset_if_wanted(e->dev);
		e->now = now_ns();
		pthread_mutex_lock(&qp->lock);
	}
	pthread_mutex_unlock(&qp->lock);
	/* What was completed without being run. */
	interrupt(qp, &e->port, e->now, !state_serves(atomic_load(&e->dev->state)));
	return true;
}

void inline_run(struct accel_device *dev, struct accel_qp *qp)
{
	struct engine *e = &dev->engines[0];
	bool done = !qp_unfetched(qp) && !atomic_load(&qp->nr_gathered), heed_reset = true;

	while (!done) {
		pthread_mutex_lock(&dev->inline_lock);
		pthread_mutex_lock(&qp->lock);
		e->now = now_ns();
		done = run_qp_locked(e, qp, NULL, UINT32_MAX, heed_reset);
		pthread_mutex_unlock(&qp->lock);
		pthread_mutex_unlock(&dev->inline_lock);
		interrupt(qp, NULL, now_ns(), true);
		reset_if_wanted(dev);
		/* A verb that is running will see to it. */
		heed_reset = !atomic_load(&dev->reset_wanted);
	}
}

static bool look_around(struct engine *e)
{
	struct accel_device *dev = e->dev;
	unsigned nr = atomic_load(&dev->qps_made);
	bool any = false;

	for (unsigned i = 0; i < nr; i++) {
		struct accel_qp *qp = qp_at(dev, (e->next_qp + i) % nr);

		if (qp && qp_unfetched(qp))
			any = run_qp(e, qp);
	}
	e->next_qp++;
	return any;
}

/* What time alone brings about: interrupts of other queue pairs, timeouts, a reset. */
static void look_at_clock(struct engine *e)
{
	struct accel_device *dev = e->dev;
	struct accel_qp *qp;

	for_each_qp(dev, qp, i)
		interrupt(qp, &e->port, e->now, false);
	watchdog_poll(dev, &e->port, e->now);
	reset_if_wanted(dev);
}

static bool any_work(struct engine *e)
{
	struct accel_qp *qp;

	for_each_qp(e->dev, qp, i)
		if (qp_unfetched(qp))
			return true;
	return stopping(e) || atomic_load(&e->dev->reset_wanted);
}

static int publish_cpu(struct engine *e)
{
	int cpu = sched_getcpu();

	relaxed_store(&e->cpu, cpu);
	return cpu;
}

/* The CPU of an owner that work may soon come from; -1: it has not waited for long. */
static int owner_cpu(struct engine *e, struct accel_qp *qp)
{
	if (!atomic_load(&qp->taken) || e->now > relaxed_load(&qp->cpu_at) + OWNER_IDLE_NS)
		return -1;
	return relaxed_load(&qp->cpu);
}

/* All whom work may come from would have to run here. */
static bool owners_need_cpu(struct engine *e)
{
	int cpu = publish_cpu(e), owner;
	struct accel_qp *qp;
	bool any = false;

	for_each_qp(e->dev, qp, i) {
		owner = owner_cpu(e, qp);
		if (owner >= 0 && owner != cpu)
			return false;
		any = any || owner == cpu;
	}
	return any;
}

/* Is there work within poll_usecs? */
static bool spin(struct engine *e)
{
	uint64_t end = e->now + e->dev->profile.poll_usecs * (uint64_t)1000;

	while (e->now < end && !owners_need_cpu(e)) {
		for (unsigned i = 0; i < 16; i++) {
			if (any_work(e))
				return true;
			cpu_pause();
		}
		e->now = now_ns();
		look_at_clock(e);
	}
	return false;
}

static uint64_t sleep_time(struct engine *e)
{
	uint64_t ns = IDLE_NS, quarter = timeout_ns(e->dev) / 4, due;
	struct accel_qp *qp;

	for_each_qp(e->dev, qp, i) {
		due = interrupt_due(qp, e->now);
		if (due < ns)
			ns = due;
		if (quarter < ns && qp_pending(qp))
			ns = quarter;
	}
	return ns;
}

static void engine_sleep(struct engine *e)
{
	enum wake wake = WAKE_TIMEOUT;
	bool claimed;
	uint64_t ns;

	atomic_store(&e->asleep, 1);
	atomic_store(&e->sleeping, 1);
	e->now = now_ns();
	ns = any_work(e) ? 0 : sleep_time(e);
	if (ns)
		wake = port_sleep(&e->port, ns);
	claimed = atomic_exchange(&e->sleeping, 0) == 0;
	atomic_store(&e->asleep, 0);
	e->now = now_ns();
	if (wake == WAKE_RUNG && !any_work(e))
		count_add(&e->spurious, 1);
	if (ns && wake == WAKE_TIMEOUT && claimed)
		count_lost(e->dev, &e->rung_at, &e->lost);
}

struct start {
	struct engine *engine;
	sem_t done;
};

static void *engine_main(void *opaque)
{
	struct start *start = opaque;
	struct engine *e = start->engine;
	char name[16];

	snprintf(name, sizeof(name), "accel-%u", e->nr % 1000);
	pthread_setname_np(pthread_self(), name);
	/* Its own ring, made here: then this thread is the single issuer. */
	e->start = port_open(e->dev, &e->port, IORING_SETUP_SINGLE_ISSUER);
	sem_post(&start->done);
	if (e->start < 0)
		return NULL;
	e->now = now_ns();
	while (!stopping(e)) {
		bool any;

		publish_cpu(e);
		any = look_around(e);
		look_at_clock(e);
		if (!any && !spin(e))
			engine_sleep(e);
	}
	return NULL;
}

static int start_one(struct engine *e)
{
	struct start start = { .engine = e };
	sigset_t all, saved;
	int ret;

	sem_init(&start.done, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	ret = -pthread_create(&e->thread, NULL, engine_main, &start);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (ret == 0) {
		while (sem_wait(&start.done) == -1)
			;
		ret = e->start;
		if (ret < 0)
			pthread_join(e->thread, NULL);
	}
	sem_destroy(&start.done);
	return ret;
}

int engines_start(struct accel_device *dev, char *err, size_t errlen)
{
	if (dev->profile.transport == ACCEL_INLINE)
		return 0;
	for (unsigned i = 0; i < dev->nr_engines; i++) {
		int ret = start_one(&dev->engines[i]);

		if (ret == 0)
			continue;
		accel_explain(err, errlen, "engine thread %u of %u: %s", i + 1, dev->nr_engines,
			strerror(-ret));
		dev->nr_engines = i; /* those that run */
		return ret;
	}
	return 0;
}

void engines_stop(struct accel_device *dev)
{
	atomic_store(&dev->stop, true);
	atomic_store(&dev->drop_wakes, 0);
	if (dev->profile.transport == ACCEL_INLINE)
		return;
	/* Also those that seem awake: a wake-up may have been lost. */
	for (unsigned i = 0; i < dev->nr_engines; i++)
		port_notify(dev, NULL, &dev->engines[i].port);
	for (unsigned i = 0; i < dev->nr_engines; i++)
		pthread_join(dev->engines[i].thread, NULL);
}
