/* SPDX-License-Identifier: BSD-3-Clause */
/* Doorbells and interrupts: when one is sent, to whom, and what it counts as. */
#include "accel_sim/accel_priv.h"

/*
 * Whoever gets true sends the wake-up. The time comes first: a sleeper that finds its flag cleared
 * never goes by an old one.
 */
static bool claim(_Atomic uint32_t *sleeping, _Atomic uint64_t *sent, uint64_t now)
{
	uint32_t yes = 1;

	if (!atomic_load(sleeping))
		return false;
	atomic_store(sent, now);
	return atomic_compare_exchange_strong(sleeping, &yes, 0);
}

/*
 * Enough engines for the work: a wake-up costs as much as several quick pages, so few of those wake
 * one engine, and none if one is awake. Of a slow codec's each is worth one, and an engine that is
 * at work is of no use to the others.
 */
static unsigned engines_wanted(struct accel_qp *qp)
{
	unsigned per_wake = qp->pace_ns ? WAKE_NS / qp->pace_ns : OPS_PER_WAKE;

	if (per_wake > OPS_PER_WAKE)
		per_wake = OPS_PER_WAKE;
	if (per_wake < 1)
		per_wake = 1;
	return (qp_unfetched(qp) + atomic_load(&qp->nr_running) + per_wake - 1) / per_wake;
}

void ring_engines(struct accel_qp *qp)
{
	struct accel_device *dev = qp->dev;
	struct port *from = &qp->port;
	struct host_stats *hs = &qp->hs;
	unsigned want = engines_wanted(qp), awake = 0;
	bool rung = false;

	for (unsigned i = 0; i < dev->nr_engines; i++)
		awake += atomic_load(&dev->engines[i].sleeping) == 0;
	for (unsigned i = 0; awake < want && i < dev->nr_engines; i++) {
		struct engine *e = &dev->engines[i];

		if (!claim(&e->sleeping, &e->rung_at, now_ns()))
			continue;
		port_notify(dev, from, &e->port);
		rung = true;
		awake++;
	}
	if (rung)
		count_add(&hs->doorbells, 1);
	else
		count_add(&hs->doorbells_suppressed, 1);
}

/* A wake-up that was sent so long ago has been lost. */
static bool overdue(struct accel_device *dev, uint64_t sent, uint64_t now)
{
	return sent && now > sent && now - sent > timeout_ns(dev) / 8;
}

unsigned rescue_engines(struct accel_device *dev, struct port *from, uint64_t now)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < dev->nr_engines; i++) {
		struct engine *e = &dev->engines[i];
		uint64_t sent = atomic_load(&e->rung_at);

		if (claim(&e->sleeping, &e->rung_at, now)) {
			port_notify(dev, from, &e->port);
		} else if (atomic_load(&e->asleep) && overdue(dev, sent, now) &&
			atomic_compare_exchange_strong(&e->rung_at, &sent, now)) {
			port_notify(dev, from, &e->port);
			lost++;
		}
	}
	return lost;
}

static bool due_now(struct accel_qp *qp, uint32_t ready, uint64_t now)
{
	const struct accel_profile *profile = &qp->dev->profile;

	return ready >= profile->coalesce || atomic_load(&qp->batch_ended) ||
		qp_pending(qp) == 0 ||
		now >= atomic_load(&qp->first_done) + profile->coalesce_usecs * (uint64_t)1000;
}

static void wake_owner(struct accel_qp *qp, struct port *from)
{
	if (qp->dev->profile.transport != ACCEL_INLINE) {
		port_notify(qp->dev, from, &qp->port);
		return;
	}
	pthread_mutex_lock(&qp->wait_lock);
	pthread_cond_signal(&qp->wait_cond);
	pthread_mutex_unlock(&qp->wait_lock);
}

void interrupt(struct accel_qp *qp, struct port *from, uint64_t now, bool at_once)
{
	uint32_t ready;

	if (!atomic_load(&qp->sleeping))
		return;
	ready = qp_ready(qp);
	if (ready < atomic_load(&qp->need) || !(at_once || due_now(qp, ready, now)))
		return;
	if (!claim(&qp->sleeping, &qp->irq_at, now))
		return;
	atomic_store(&qp->batch_ended, false);
	atomic_fetch_add(&qp->interrupts, 1);
	wake_owner(qp, from);
}

uint64_t interrupt_due(struct accel_qp *qp, uint64_t now)
{
	uint64_t due;

	if (!atomic_load(&qp->sleeping) || qp_ready(qp) < atomic_load(&qp->need))
		return UINT64_MAX;
	due = atomic_load(&qp->first_done) + qp->dev->profile.coalesce_usecs * (uint64_t)1000;
	return due > now ? due - now : 0;
}

void accel_kick(struct accel_qp *qp)
{
	atomic_store(&qp->kicked, 1);
	if (claim(&qp->sleeping, &qp->irq_at, now_ns()))
		wake_owner(qp, NULL);
}

void count_lost(struct accel_device *dev, _Atomic uint64_t *sent, counter_t *lost)
{
	if (overdue(dev, atomic_load(sent), now_ns()))
		count_add(lost, 1);
}
