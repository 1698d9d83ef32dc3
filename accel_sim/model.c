/* SPDX-License-Identifier: BSD-3-Clause */
/* The modelled clock: see model.h. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "accel_sim/model.h"

struct accel_model {
	struct accel_profile profile;
	uint32_t nr_engines;

	/* The latest submit time of all queue pairs; only grows. */
	_Alignas(64) _Atomic uint64_t latest_submit;

	_Alignas(64) pthread_mutex_t lock; /* innermost; guards what follows */
	uint64_t shared_free;		   /* when the shared bandwidth has moved all so far */
	uint64_t latest_delivered;
	uint64_t served, busy_ns;
	uint64_t totals_from; /* clock at which the totals begin */
	/*
	 * A binary heap of engines, the one that is free first on top. `place` finds an engine in
	 * it. Times only grow, so an engine only sinks.
	 */
	uint32_t *heap, *place;
	uint64_t *free_at; /* by engine */
};

struct accel_model *accel_model_new(const struct accel_profile *profile)
{
	uint32_t n = profile->devices * profile->engines;
	struct accel_model *model = aligned_alloc(64, sizeof(*model));

	if (!model)
		return NULL;
	memset(model, 0, sizeof(*model));
	model->profile = *profile;
	model->nr_engines = n;
	model->heap = calloc(n, sizeof(*model->heap));
	model->place = calloc(n, sizeof(*model->place));
	model->free_at = calloc(n, sizeof(*model->free_at));
	pthread_mutex_init(&model->lock, NULL);
	if (!model->heap || !model->place || !model->free_at) {
		accel_model_free(model);
		return NULL;
	}
	for (uint32_t i = 0; i < n; i++)
		model->heap[i] = model->place[i] = i;
	return model;
}

void accel_model_free(struct accel_model *model)
{
	if (!model)
		return;
	pthread_mutex_destroy(&model->lock);
	free(model->heap);
	free(model->place);
	free(model->free_at);
	free(model);
}

uint64_t accel_model_submit(struct accel_model *model, struct accel_model_qp *qp, unsigned n)
{
	uint64_t latest = atomic_load_explicit(&model->latest_submit, memory_order_relaxed);
	uint64_t first;

	if (qp->in_flight == 0 && qp->clock < latest)
		qp->clock = latest;
	first = qp->clock + model->profile.submit_ns;
	qp->clock += (uint64_t)n * model->profile.submit_ns;
	qp->in_flight += n;
	while (latest < qp->clock) {
		if (atomic_compare_exchange_weak_explicit(&model->latest_submit, &latest, qp->clock,
			    memory_order_relaxed, memory_order_relaxed))
			break;
	}
	return first;
}

void accel_model_seen(struct accel_model_qp *qp, uint64_t delivered)
{
	qp->in_flight--;
	if (qp->clock < delivered)
		qp->clock = delivered;
}

/* The finalizer of splitmix64 (public domain, Vigna): every bit of x counts. */
static uint64_t hash64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static uint64_t service_time(const struct accel_profile *p, unsigned opcode, uint32_t bytes,
	uint64_t seq)
{
	bool decomp = opcode == ACCEL_DECOMPRESS;
	uint64_t per_byte = decomp ? p->decomp_per_byte_ps : p->per_byte_ps;
	uint64_t ns = (decomp ? p->decomp_base_ns : p->base_ns) + bytes * per_byte / 1000;
	uint64_t half = ns * p->jitter / 100;
	uint64_t part; /* of 2^24 */

	if (half == 0)
		return ns;
	part = hash64(hash64(p->seed) ^ seq) >> 40;
	return ns - half + ((2 * half * part) >> 24);
}

static bool free_before(const struct accel_model *m, uint32_t a, uint32_t b)
{
	return m->free_at[a] < m->free_at[b] || (m->free_at[a] == m->free_at[b] && a < b);
}

/* The engine is busy until `done`. */
static void engine_take(struct accel_model *m, uint32_t engine, uint64_t done)
{
	uint32_t at = m->place[engine];

	m->free_at[engine] = done;
	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= m->nr_engines)
			break;
		if (child + 1 < m->nr_engines && free_before(m, m->heap[child + 1], m->heap[child]))
			child++;
		if (!free_before(m, m->heap[child], engine))
			break;
		m->heap[at] = m->heap[child];
		m->place[m->heap[at]] = at;
		at = child;
	}
	m->heap[at] = engine;
	m->place[engine] = at;
}

/*
 * With swapped queues an engine takes all that a queue has gathered; what comes while it works on
 * that waits for the next swap, and any engine's.
 */
static uint32_t choose_engine(struct accel_model *m, struct accel_model_qp *qp, uint64_t t_submit)
{
	uint32_t engine;

	if (m->profile.fetch != ACCEL_FETCH_SWAP)
		return m->heap[0];
	if (qp->gather_engine && t_submit <= qp->gather_ns)
		return qp->gather_engine - 1;
	engine = m->heap[0];
	qp->gather_engine = engine + 1;
	qp->gather_ns = t_submit > m->free_at[engine] ? t_submit : m->free_at[engine];
	return engine;
}

void accel_model_serve(struct accel_model *m, struct accel_model_qp *qp, uint64_t t_submit,
	unsigned opcode, uint32_t bytes, uint64_t seq, struct accel_model_times *times)
{
	const struct accel_profile *p = &m->profile;
	uint64_t service = service_time(p, opcode, bytes, seq), start, done, delivered;
	uint32_t engine;

	pthread_mutex_lock(&m->lock);
	engine = choose_engine(m, qp, t_submit);
	start = t_submit > m->free_at[engine] ? t_submit : m->free_at[engine];
	done = start + service;
	if (p->shared_bps) {
		uint64_t from = m->shared_free > start ? m->shared_free : start;

		m->shared_free = from + bytes * (uint64_t)1000000000 / p->shared_bps;
		if (done < m->shared_free)
			done = m->shared_free;
	}
	engine_take(m, engine, done);
	delivered = done + (m->latest_delivered > t_submit ? p->deliver_busy_ns : p->deliver_ns);
	if (p->order == ACCEL_IN_ORDER) {
		if (delivered < qp->last_delivered)
			delivered = qp->last_delivered;
		qp->last_delivered = delivered;
	}
	if (m->latest_delivered < delivered)
		m->latest_delivered = delivered;
	m->served++;
	if (done > m->totals_from)
		m->busy_ns += done - (start > m->totals_from ? start : m->totals_from);
	pthread_mutex_unlock(&m->lock);

	times->wait = start - t_submit;
	times->service = done - start;
	times->deliver = delivered - done;
	times->delivered = delivered;
	times->engine = engine;
}

void accel_model_get_totals(struct accel_model *m, struct accel_model_totals *totals)
{
	pthread_mutex_lock(&m->lock);
	totals->served = m->served;
	totals->busy_ns = m->busy_ns;
	totals->elapsed_ns = m->latest_delivered - m->totals_from;
	totals->engines = m->nr_engines;
	pthread_mutex_unlock(&m->lock);
}

/* What engines do beyond the latest delivery cannot be: so busy time from here on fits in. */
void accel_model_reset_totals(struct accel_model *m)
{
	pthread_mutex_lock(&m->lock);
	m->served = m->busy_ns = 0;
	m->totals_from = m->latest_delivered;
	pthread_mutex_unlock(&m->lock);
}
