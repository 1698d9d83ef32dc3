/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel_model_run(): the model driven by modelled submitters in place of threads.
 *
 * Two kinds of event, in order of their time (then of their making): an operation arrives in its
 * queue, an operation has been delivered. Its whole way through the device is known on arrival.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "accel_sim/model.h"

#define MAX_SUBMITTERS 65536
#define MAX_OPERATIONS 100000000
#define MAX_BYTES      (1u << 20)
#define NOBODY	       UINT32_MAX

enum event_kind { ARRIVAL, DELIVERY };

struct event {
	uint64_t at, order; /* order: of making, so that equal times are no race */
	uint32_t submitter;
	enum event_kind kind;
};

struct submitter {
	uint64_t left, made;	 /* operations to enqueue; enqueued: also its number */
	uint64_t clock;		 /* when its last work ended */
	uint64_t round_begin;	 /* of the round that is being enqueued */
	uint64_t round_delivered; /* latest delivery of that round */
	uint32_t in_flight;
	uint32_t batch, to_enqueue; /* the current batch; what is left of it */
	uint32_t in_round;	 /* operations of the round so far */
	uint32_t queue;
	uint32_t next_waiter;	 /* for room in the queue; NOBODY: last */
	bool arriving;		 /* an ARRIVAL is under way, or it waits for room */
};

struct queue {
	struct accel_model_qp model;
	uint32_t used;
	uint32_t first_waiter, last_waiter;
};

struct run {
	const struct accel_profile *profile;
	const struct accel_workload *work;
	struct accel_model_result *result;
	struct accel_model *model;
	struct submitter *submitters;
	struct queue *queues;
	uint32_t nr_queues;
	uint32_t batch, depth; /* as they can be at most */
	struct event *events;  /* heap */
	size_t nr_events;
	uint64_t next_order;
	uint64_t *latencies, *rounds;
	uint64_t nr_latencies, nr_rounds;
	uint64_t in_flight;
	uint64_t sum_wait, sum_service, sum_deliver;
};

static bool event_before(const struct event *a, const struct event *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

/* There is room: a submitter has at most one arrival under way and `depth` deliveries. */
static void push_event(struct run *run, uint64_t at, enum event_kind kind, uint32_t submitter)
{
	struct event event = { at, run->next_order++, submitter, kind };
	size_t i = run->nr_events++;

	while (i > 0 && event_before(&event, &run->events[(i - 1) / 2])) {
		run->events[i] = run->events[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	run->events[i] = event;
}

static struct event pop_event(struct run *run)
{
	struct event top = run->events[0], last = run->events[--run->nr_events];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= run->nr_events)
			break;
		if (child + 1 < run->nr_events &&
			event_before(&run->events[child + 1], &run->events[child]))
			child++;
		if (!event_before(&run->events[child], &last))
			break;
		run->events[i] = run->events[child];
		i = child;
	}
	run->events[i] = last;
	return top;
}

/* The submitter is free from s->clock on: does it enqueue, or wait for a delivery? */
static void next_step(struct run *run, uint32_t id)
{
	struct submitter *s = &run->submitters[id];
	uint64_t at = s->clock;

	if (s->arriving || s->left == 0)
		return;
	if (s->to_enqueue == 0) {
		uint32_t batch = s->left < run->batch ? (uint32_t)s->left : run->batch;

		if (s->in_flight + batch > run->depth)
			return;
		s->batch = s->to_enqueue = batch;
	}
	if (s->in_round == 0)
		s->round_begin = at;
	if (run->work->pace == ACCEL_PACE_WINDOW)
		at += run->work->host_ns;
	s->arriving = true;
	push_event(run, at + run->profile->submit_ns, ARRIVAL, id);
}

/* One operation more of the submitter's round, in the order of enqueues. */
static void count_round(struct run *run, struct submitter *s, uint64_t delivered)
{
	if (s->round_delivered < delivered)
		s->round_delivered = delivered;
	s->in_round++;
	if (s->in_round == run->work->batch || s->left == 0) {
		if (s->in_round == run->work->batch)
			run->rounds[run->nr_rounds++] = s->round_delivered - s->round_begin;
		s->in_round = 0;
	}
}

static void wait_for_room(struct run *run, struct queue *queue, uint32_t id)
{
	run->result->ring_full++;
	run->submitters[id].next_waiter = NOBODY;
	if (queue->first_waiter == NOBODY)
		queue->first_waiter = id;
	else
		run->submitters[queue->last_waiter].next_waiter = id;
	queue->last_waiter = id;
}

static void arrive(struct run *run, uint32_t id, uint64_t now)
{
	struct submitter *s = &run->submitters[id];
	struct queue *queue = &run->queues[s->queue];
	struct accel_model_times times;

	if (queue->used == run->profile->queue_depth) {
		wait_for_room(run, queue, id);
		return;
	}
	queue->used++;
	accel_model_serve(run->model, &queue->model, now, run->work->opcode, run->work->bytes,
		(uint64_t)id << 32 | s->made, &times);
	push_event(run, times.delivered, DELIVERY, id);
	run->latencies[run->nr_latencies++] = times.delivered - now;
	run->sum_wait += times.wait;
	run->sum_service += times.service;
	run->sum_deliver += times.deliver;
	if (++run->in_flight > run->result->in_flight_max)
		run->result->in_flight_max = run->in_flight;
	s->made++;
	s->left--;
	s->in_flight++;
	s->to_enqueue--;
	s->arriving = false;
	s->clock = now;
	count_round(run, s, times.delivered);
	next_step(run, id);
}

static void deliver(struct run *run, uint32_t id, uint64_t now)
{
	struct submitter *s = &run->submitters[id];
	struct queue *queue = &run->queues[s->queue];
	uint32_t waiter = queue->first_waiter;

	run->in_flight--;
	queue->used--;
	s->in_flight--;
	if (waiter != NOBODY) {
		queue->first_waiter = run->submitters[waiter].next_waiter;
		push_event(run, now, ARRIVAL, waiter);
	}
	if (s->arriving || s->to_enqueue > 0)
		return;
	if (run->work->pace != ACCEL_PACE_WINDOW) {
		if (s->in_flight > 0)
			return;
		now += (uint64_t)s->batch * run->work->host_ns;
	}
	if (s->clock < now)
		s->clock = now;
	next_step(run, id);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Nearest rank; 0 when there are none. */
static uint64_t percentile(const uint64_t *sorted, uint64_t n, unsigned percent)
{
	return n ? sorted[(n * percent + 99) / 100 - 1] : 0;
}

/* a x 10^9 / b */
static uint64_t per_second(uint64_t a, uint64_t b)
{
	return b ? (uint64_t)((unsigned __int128)a * 1000000000 / b) : 0;
}

static void summarise(struct run *run)
{
	struct accel_model_result *r = run->result;
	struct accel_model_totals totals;
	uint64_t n = run->nr_latencies;

	for (uint32_t i = 0; i < run->work->submitters; i++) {
		if (r->elapsed_ns < run->submitters[i].clock)
			r->elapsed_ns = run->submitters[i].clock;
	}
	accel_model_get_totals(run->model, &totals);
	r->operations = n;
	r->ops_per_s = per_second(n, r->elapsed_ns);
	r->bytes_per_s = per_second(n * run->work->bytes, r->elapsed_ns);
	r->wait_mean = run->sum_wait / n;
	r->service_mean = run->sum_service / n;
	r->deliver_mean = run->sum_deliver / n;
	r->latency_mean = (run->sum_wait + run->sum_service + run->sum_deliver) / n;
	qsort(run->latencies, n, sizeof(*run->latencies), compare);
	qsort(run->rounds, run->nr_rounds, sizeof(*run->rounds), compare);
	r->latency_p50 = percentile(run->latencies, n, 50);
	r->latency_p99 = percentile(run->latencies, n, 99);
	r->round_p50 = percentile(run->rounds, run->nr_rounds, 50);
	r->round_p99 = percentile(run->rounds, run->nr_rounds, 99);
	if (r->elapsed_ns)
		r->engine_busy_ppm =
			(uint32_t)((unsigned __int128)totals.busy_ns * 1000000 /
				   ((unsigned __int128)r->elapsed_ns * totals.engines));
}

static bool valid(const struct accel_workload *w)
{
	return w->submitters >= 1 && w->submitters <= MAX_SUBMITTERS && w->batch >= 1 &&
	       w->operations >= 1 && w->operations <= MAX_OPERATIONS && w->bytes >= 1 &&
	       w->bytes <= MAX_BYTES && (w->pace != ACCEL_PACE_WINDOW || w->depth >= 1);
}

/* What the pace means in numbers: enqueue `batch` when then no more than `depth` are in flight. */
static void set_pace(struct run *run)
{
	const struct accel_workload *w = run->work;

	run->batch = w->pace == ACCEL_PACE_EACH ? 1 : w->batch;
	run->depth = w->pace == ACCEL_PACE_WINDOW ? w->depth : run->batch;
	if (run->batch > run->depth)
		run->batch = run->depth;
}

static bool allocate(struct run *run)
{
	const struct accel_workload *w = run->work;
	size_t in_flight = run->depth < w->operations ? run->depth : (size_t)w->operations;

	run->nr_queues = w->own_queues ? w->submitters
				       : run->profile->devices * run->profile->queues;
	/* A queue's depth bounds the deliveries under way as well. */
	if (in_flight > run->profile->queue_depth)
		in_flight = run->profile->queue_depth;
	run->model = accel_model_new(run->profile);
	run->submitters = calloc(w->submitters, sizeof(*run->submitters));
	run->queues = aligned_alloc(64, run->nr_queues * sizeof(*run->queues));
	run->events = calloc(w->submitters * (in_flight + 1), sizeof(*run->events));
	run->latencies = calloc(w->operations, sizeof(*run->latencies));
	run->rounds = calloc(w->operations / w->batch + 1, sizeof(*run->rounds));
	return run->model && run->submitters && run->queues && run->events && run->latencies &&
	       run->rounds;
}

static void start(struct run *run)
{
	const struct accel_workload *w = run->work;

	memset(run->queues, 0, run->nr_queues * sizeof(*run->queues));
	for (uint32_t i = 0; i < run->nr_queues; i++)
		run->queues[i].first_waiter = NOBODY;
	for (uint32_t i = 0; i < w->submitters; i++) {
		struct submitter *s = &run->submitters[i];

		s->left = w->operations / w->submitters + (i < w->operations % w->submitters);
		s->queue = i % run->nr_queues;
		next_step(run, i);
	}
}

int accel_model_run(const struct accel_profile *profile, const struct accel_workload *work,
	struct accel_model_result *result)
{
	struct run run = { .profile = profile, .work = work, .result = result };
	int ret = -1;

	memset(result, 0, sizeof(*result));
	if (!valid(work)) {
		errno = EINVAL;
		return -1;
	}
	set_pace(&run);
	if (!allocate(&run)) {
		errno = ENOMEM;
		goto out;
	}
	start(&run);
	while (run.nr_events > 0) {
		struct event event = pop_event(&run);

		if (event.kind == ARRIVAL)
			arrive(&run, event.submitter, event.at);
		else
			deliver(&run, event.submitter, event.at);
	}
	summarise(&run);
	ret = 0;
out:
	accel_model_free(run.model);
	free(run.submitters);
	free(run.queues);
	free(run.events);
	free(run.latencies);
	free(run.rounds);
	return ret;
}
