/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters, kept where one thread writes them and summed when asked for; words for people. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "accel_sim/accel_priv.h"

const char *const accel_status_names[NR_ACCEL_STATUS] = {
	[ACCEL_SUCCESS] = "success",
	[ACCEL_INCOMPRESSIBLE] = "incompressible",
	[ACCEL_ZERO] = "zero",
	[ACCEL_HW_ERROR] = "hw-error",
	[ACCEL_TIMEOUT] = "timeout",
	[ACCEL_ABORTED] = "aborted",
	[ACCEL_CORRUPT] = "corrupt",
	[ACCEL_NOT_PROCESSED] = "not-processed",
};

const char *const accel_stage_names[NR_ACCEL_STAGES] = {
	[ACCEL_STAGE_WAIT] = "wait",
	[ACCEL_STAGE_SERVICE] = "service",
	[ACCEL_STAGE_DELIVER] = "deliver",
	[ACCEL_STAGE_TOTAL] = "total",
};

static void (*_Atomic warn_hook)(const char *line);

void accel_set_warn_hook(void (*hook)(const char *line))
{
	atomic_store(&warn_hook, hook);
}

void accel_warn(const char *fmt, ...)
{
	void (*hook)(const char *) = atomic_load(&warn_hook);
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (hook)
		hook(line);
	else
		fprintf(stderr, "%s\n", line);
}

void accel_explain(char *err, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
}

void hist_add(struct hist *h, uint64_t value)
{
	unsigned bits = value ? 64 - (unsigned)__builtin_clzll(value) : 0;

	count_add(&h->bucket[bits < ACCEL_BUCKETS ? bits : ACCEL_BUCKETS - 1], 1);
	count_add(&h->sum, value);
}

static void hist_sum(struct accel_histogram *sum, struct hist *h)
{
	sum->sum += relaxed_load(&h->sum);
	for (unsigned i = 0; i < ACCEL_BUCKETS; i++) {
		uint64_t n = relaxed_load(&h->bucket[i]);

		sum->bucket[i] += n;
		sum->count += n;
	}
}

static void add_host(struct accel_stats *st, struct accel_qp *qp)
{
	struct host_stats *hs = &qp->hs;
	uint64_t most = relaxed_load(&hs->in_flight_max);
	/* In this order, so that each is at least the next, whatever is counted meanwhile. */
	uint64_t reaped = relaxed_load(&hs->reaped), accepted = relaxed_load(&hs->accepted);

	st->reaped += reaped;
	st->accepted += accepted;
	st->submitted += relaxed_load(&hs->submitted);
	st->ring_full += relaxed_load(&hs->ring_full);
	st->doorbells += relaxed_load(&hs->doorbells);
	st->doorbells_suppressed += relaxed_load(&hs->doorbells_suppressed);
	st->spurious_wakes += relaxed_load(&hs->spurious);
	st->lost_wakes += relaxed_load(&hs->lost);
	st->faults[ACCEL_FAULT_BUSY] += relaxed_load(&hs->busy_faults);
	if (most > st->in_flight_max)
		st->in_flight_max = most;
	hist_sum(&st->batches, &hs->batches);
	hist_sum(&st->wall[ACCEL_STAGE_DELIVER], &hs->deliver);
	hist_sum(&st->wall[ACCEL_STAGE_TOTAL], &hs->total);
}

static void add_device(struct accel_stats *st, struct accel_qp *qp)
{
	struct dev_stats *ds = &qp->ds;

	for (unsigned i = 0; i < NR_ACCEL_STATUS; i++) {
		uint64_t n = relaxed_load(&ds->status[i]);

		st->status[i] += n;
		st->completed += n;
	}
	for (unsigned i = 0; i < NR_ACCEL_FAULTS; i++)
		st->faults[i] += relaxed_load(&ds->faults[i]);
	st->bytes_in += relaxed_load(&ds->bytes_in);
	st->bytes_out += relaxed_load(&ds->bytes_out);
	st->interrupts += atomic_load(&qp->interrupts);
	hist_sum(&st->wall[ACCEL_STAGE_WAIT], &ds->wait);
	hist_sum(&st->wall[ACCEL_STAGE_SERVICE], &ds->service);
	for (unsigned i = 0; i < NR_ACCEL_STAGES; i++)
		hist_sum(&st->model[i], &ds->model[i]);
}

/* All counters since the device was opened. */
static void sum_up(struct accel_device *dev, struct accel_stats *st)
{
	struct accel_qp *qp;

	memset(st, 0, sizeof(*st));
	for_each_qp(dev, qp, i) {
		add_device(st, qp);
		add_host(st, qp);
	}
	for (unsigned i = 0; i < dev->nr_engines; i++) {
		struct engine *e = &dev->engines[i];

		st->wall_busy_ns += relaxed_load(&e->busy_ns);
		st->spurious_wakes += relaxed_load(&e->spurious);
		st->lost_wakes += relaxed_load(&e->lost);
	}
	st->busy = st->submitted - st->accepted;
	st->in_flight = st->accepted - st->reaped;
	st->lost_wakes += atomic_load(&dev->verb_lost);
	st->resets = atomic_load(&dev->resets);
	st->faults[ACCEL_FAULT_INIT] += atomic_load(&dev->init_faults);
}

static void hist_subtract(struct accel_histogram *h, const struct accel_histogram *base)
{
	h->count -= base->count;
	h->sum -= base->sum;
	for (unsigned i = 0; i < ACCEL_BUCKETS; i++)
		h->bucket[i] -= base->bucket[i];
}

static void subtract(struct accel_stats *st, const struct accel_stats *base)
{
	st->submitted -= base->submitted;
	st->accepted -= base->accepted;
	st->busy -= base->busy;
	st->completed -= base->completed;
	st->reaped -= base->reaped;
	for (unsigned i = 0; i < NR_ACCEL_STATUS; i++)
		st->status[i] -= base->status[i];
	st->bytes_in -= base->bytes_in;
	st->bytes_out -= base->bytes_out;
	st->ring_full -= base->ring_full;
	st->doorbells -= base->doorbells;
	st->doorbells_suppressed -= base->doorbells_suppressed;
	st->interrupts -= base->interrupts;
	st->spurious_wakes -= base->spurious_wakes;
	st->lost_wakes -= base->lost_wakes;
	st->resets -= base->resets;
	for (unsigned i = 0; i < NR_ACCEL_FAULTS; i++)
		st->faults[i] -= base->faults[i];
	hist_subtract(&st->batches, &base->batches);
	for (unsigned i = 0; i < NR_ACCEL_STAGES; i++) {
		hist_subtract(&st->wall[i], &base->wall[i]);
		hist_subtract(&st->model[i], &base->model[i]);
	}
	st->wall_busy_ns -= base->wall_busy_ns;
}

void accel_get_stats(struct accel_device *dev, struct accel_stats *stats)
{
	struct accel_model_totals model;

	pthread_mutex_lock(&dev->stats_lock);
	sum_up(dev, stats);
	subtract(stats, &dev->stats_base);
	stats->wall_elapsed_ns = now_ns() - dev->stats_from;
	accel_model_get_totals(dev->model, &model);
	pthread_mutex_unlock(&dev->stats_lock);
	stats->model_elapsed_ns = model.elapsed_ns;
	stats->model_busy_ns = model.busy_ns;
	stats->model_engines = model.engines;
}

void accel_reset_stats(struct accel_device *dev)
{
	struct accel_qp *qp;

	pthread_mutex_lock(&dev->stats_lock);
	sum_up(dev, &dev->stats_base);
	for_each_qp(dev, qp, i)
		relaxed_store(&qp->hs.in_flight_max,
			relaxed_load(&qp->hs.accepted) - relaxed_load(&qp->hs.reaped));
	dev->stats_from = now_ns();
	accel_model_reset_totals(dev->model);
	pthread_mutex_unlock(&dev->stats_lock);
}
