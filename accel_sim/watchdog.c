/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations that take too long. There is no thread for it: engines look, whose sleep is bounded
 * while anything is in flight, and owners of queue pairs that wait.
 */
#include "accel_sim/accel_priv.h"

static uint64_t last_progress(struct accel_device *dev)
{
	uint64_t last = 0, done;

	for (unsigned i = 0; i < dev->nr_engines; i++) {
		done = atomic_load(&dev->engines[i].done_at);
		if (done > last)
			last = done;
	}
	return last;
}

/*
 * Nobody has looked for a while: the device was idle, or the whole machine stood still, and then
 * its engines deserve another chance. But not for ever.
 */
static bool looks_too_late(struct accel_device *dev, uint64_t due, uint64_t now)
{
	bool late = now > due + timeout_ns(dev) / 4;

	return !atomic_exchange(&dev->watchdog_was_late, late) && late;
}

void watchdog_run(struct accel_device *dev, struct port *from, uint64_t now)
{
	uint64_t due = atomic_load(&dev->watchdog_at);
	struct accel_qp *qp;
	bool any;

	/* One of those who come now does it. */
	if (now < due ||
		!atomic_compare_exchange_strong(&dev->watchdog_at, &due, now + timeout_ns(dev) / 4))
		return;
	if (looks_too_late(dev, due, now))
		return;
	for_each_qp(dev, qp, i) {
		if (!qp_pending(qp))
			continue;
		pthread_mutex_lock(&qp->lock);
		any = qp_expire(qp, now, last_progress(dev));
		pthread_mutex_unlock(&qp->lock);
		if (any)
			interrupt(qp, from, now, true);
	}
}
