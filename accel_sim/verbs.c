/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens to the device as a whole: drain, reset, unplug, plug, and its end. */
#include <errno.h>

#include "accel_sim/accel_priv.h"

const char *const accel_state_names[NR_ACCEL_STATES] = {
	[ACCEL_ENABLED] = "enabled",
	[ACCEL_DRAINING] = "draining",
	[ACCEL_RESETTING] = "resetting",
	[ACCEL_UNPLUGGED] = "unplugged",
	[ACCEL_FAILED] = "failed",
};

enum accel_state accel_get_state(const struct accel_device *dev)
{
	return (enum accel_state)atomic_load(&dev->state);
}

void accel_set_state_hook(struct accel_device *dev,
	void (*hook)(void *opaque, enum accel_state state), void *opaque)
{
	dev->hook = hook;
	dev->hook_opaque = opaque;
}

static void set_state(struct accel_device *dev, enum accel_state state)
{
	if (atomic_exchange(&dev->state, state) != (int)state && dev->hook)
		dev->hook(dev->hook_opaque, state);
}

/* Waits in small steps: verbs are rare, and what they wait for takes about a page's time. */
struct pause {
	long ns;
};

static void pause_a_little(struct pause *pause)
{
	struct timespec ts = { .tv_nsec = pause->ns };

	nanosleep(&ts, NULL);
	if (pause->ns < 1000000)
		pause->ns *= 2;
}

static bool verb_try(struct accel_device *dev)
{
	return !atomic_exchange(&dev->verb, true);
}

static int verb_begin(struct accel_device *dev)
{
	if (verb_try(dev))
		return 0;
	errno = EBUSY;
	return -1;
}

static void verb_end(struct accel_device *dev)
{
	atomic_store(&dev->verb, false);
	reset_if_wanted(dev); /* somebody may have found the verb busy */
}

/* --- aborting --- */

static void sweep(struct accel_qp *qp, struct port *from, bool running)
{
	uint64_t now = now_ns();

	pthread_mutex_lock(&qp->lock);
	qp_sweep(qp, running, now);
	pthread_mutex_unlock(&qp->lock);
	interrupt(qp, from, now, true);
}

static void wait_for_engines(struct accel_qp *qp)
{
	struct pause pause = { 10000 };

	while (atomic_load(&qp->nr_running))
		pause_a_little(&pause);
	/* The count goes down just before the completion is published. */
	pthread_mutex_lock(&qp->lock);
	pthread_mutex_unlock(&qp->lock);
}

void qp_abort(struct accel_qp *qp, struct port *from, bool running)
{
	sweep(qp, from, running);
	if (running)
		wait_for_engines(qp);
}

void accel_abort(struct accel_qp *qp)
{
	sweep(qp, NULL, false);
}

/* In a state that does not serve: no engine begins anything once a queue pair is swept. */
static void abort_all(struct accel_device *dev)
{
	struct accel_qp *qp;

	for_each_qp(dev, qp, i)
		sweep(qp, NULL, true);
	for_each_qp(dev, qp, i)
		wait_for_engines(qp);
}

/* --- reset --- */

static void do_reset(struct accel_device *dev, bool by_faults)
{
	enum accel_state then = ACCEL_ENABLED;

	set_state(dev, ACCEL_RESETTING);
	abort_all(dev);
	atomic_fetch_add(&dev->resets, 1);
	atomic_store(&dev->fault_row, 0);
	atomic_store(&dev->reset_wanted, false);
	if (by_faults && atomic_fetch_add(&dev->reset_row, 1) + 1 >= dev->profile.max_resets)
		then = ACCEL_FAILED;
	set_state(dev, then);
}

void reset_if_wanted(struct accel_device *dev)
{
	while (relaxed_load(&dev->reset_wanted) && verb_try(dev)) {
		if (atomic_exchange(&dev->reset_wanted, false) &&
			state_serves(atomic_load(&dev->state)))
			do_reset(dev, true);
		atomic_store(&dev->verb, false);
	}
}

int accel_reset(struct accel_device *dev)
{
	int ret = -1;

	if (verb_begin(dev) == -1)
		return -1;
	if (atomic_load(&dev->state) == ACCEL_ENABLED) {
		do_reset(dev, false);
		ret = 0;
	}
	verb_end(dev);
	if (ret == -1)
		errno = ENODEV;
	return ret;
}

/* --- drain --- */

static bool any_pending(struct accel_device *dev, bool *untaken)
{
	struct accel_qp *qp;
	bool any = false;

	*untaken = false;
	for_each_qp(dev, qp, i) {
		if (dev->profile.transport == ACCEL_INLINE)
			inline_run(dev, qp);
		*untaken = *untaken || qp_unfetched(qp);
		any = any || qp_pending(qp);
	}
	return any;
}

static void do_drain(struct accel_device *dev)
{
	struct pause pause = { 10000 };
	bool untaken;

	set_state(dev, ACCEL_DRAINING);
	while (any_pending(dev, &untaken)) {
		uint64_t now = now_ns();

		if (untaken)
			atomic_fetch_add(&dev->verb_lost, rescue_engines(dev, NULL, now));
		watchdog_poll(dev, NULL, now);
		if (atomic_exchange(&dev->reset_wanted, false)) {
			do_reset(dev, true);
			return;
		}
		pause_a_little(&pause);
	}
	set_state(dev, ACCEL_ENABLED);
}

int accel_drain(struct accel_device *dev)
{
	bool ok = false;

	if (verb_begin(dev) == -1)
		return -1;
	if (atomic_load(&dev->state) == ACCEL_ENABLED) {
		do_drain(dev);
		ok = atomic_load(&dev->state) == ACCEL_ENABLED;
	}
	verb_end(dev);
	if (!ok)
		errno = ENODEV;
	return ok ? 0 : -1;
}

/* --- unplug and plug --- */

static void forget_faults(struct accel_device *dev)
{
	atomic_store(&dev->fault_row, 0);
	atomic_store(&dev->reset_row, 0);
	atomic_store(&dev->reset_wanted, false);
}

int accel_unplug(struct accel_device *dev)
{
	if (verb_begin(dev) == -1)
		return -1;
	set_state(dev, ACCEL_UNPLUGGED);
	abort_all(dev);
	forget_faults(dev);
	verb_end(dev);
	return 0;
}

int accel_plug(struct accel_device *dev)
{
	int ret = 0;

	if (verb_begin(dev) == -1)
		return -1;
	if (atomic_load(&dev->state) != ACCEL_ENABLED) {
		if (fault_on(dev, ACCEL_FAULT_INIT) &&
			fault_hits(dev, ACCEL_FAULT_INIT, 0,
				atomic_fetch_add(&dev->init_tries, 1), 0)) {
			atomic_fetch_add(&dev->init_faults, 1);
			ret = -1;
		} else {
			forget_faults(dev);
			set_state(dev, ACCEL_ENABLED);
		}
	}
	verb_end(dev);
	if (ret == -1)
		errno = EIO;
	return ret;
}

/* The hook is not told: who closes a device knows. The verb is never released. */
void device_shutdown(struct accel_device *dev)
{
	struct pause pause = { 10000 };

	while (!verb_try(dev))
		pause_a_little(&pause);
	atomic_store(&dev->state, ACCEL_UNPLUGGED);
	abort_all(dev);
	engines_stop(dev);
}
