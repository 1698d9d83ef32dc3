/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The accelerator's modelled clock: published figures, a naive second implementation, properties
 * that every queueing model has, exact numbers for fixed seeds.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "accel_sim/model.h"

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static struct accel_profile get_profile(const char *name)
{
	const struct accel_profile *p = accel_profile_find(name);

	assert_non_null(p);
	return *p;
}

static struct accel_model_result run(const struct accel_profile *p, const struct accel_workload *w)
{
	struct accel_model_result r;

	assert_int_equal(accel_model_run(p, w, &r), 0);
	assert_int_equal(r.operations, w->operations);
	assert_true(r.engine_busy_ppm <= 1000000);
	/* Each mean is rounded down by itself. */
	assert_true(r.latency_mean - (r.wait_mean + r.service_mean + r.deliver_mean) <= 3);
	return r;
}

static void assert_within(double value, double expected, double part, const char *what)
{
	if (value < expected * (1 - part) || value > expected * (1 + part))
		fail_msg("%s: %g, published %g", what, value, expected);
}

/* --- published figures --- */

static void iaa_as_published(void **state)
{
	struct accel_profile p = get_profile("iaa");
	struct accel_workload w = { .submitters = 1, .pace = ACCEL_PACE_EACH, .batch = 1,
		.operations = 8000, .bytes = 4096 };

	assert_within(run(&p, &w).round_p50, 4000, 0.1, "iaa, one page, ns");
	w.batch = 8;
	assert_within(run(&p, &w).round_p50, 33000, 0.1, "iaa, eight in a row, ns");
	w.pace = ACCEL_PACE_BATCH;
	assert_within(run(&p, &w).round_p50, 9700, 0.1, "iaa, batch of eight, ns");
	w.bytes = 65536;
	w.pace = ACCEL_PACE_EACH;
	w.batch = 1;
	assert_within(run(&p, &w).round_p50, 34500, 0.1, "iaa, 64 KiB, ns");
	w.opcode = ACCEL_DECOMPRESS;
	assert_within(run(&p, &w).round_p50, 20000, 0.1, "iaa, 64 KiB decompressed, ns");
}

static void hisi_as_published(void **state)
{
	static const struct {
		unsigned in_flight;
		double gb;
	} rows[] = { { 1, 0.56 }, { 10, 1.38 }, { 20, 3.13 }, { 30, 4.32 }, { 40, 5.62 },
		{ 50, 6.72 }, { 60, 7.25 }, { 70, 7.27 } };
	struct accel_profile p = get_profile("hisi");

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct accel_workload one = { .submitters = 1, .pace = ACCEL_PACE_WINDOW,
			.batch = 1, .depth = rows[i].in_flight, .operations = 20000,
			.bytes = 8192 };
		struct accel_workload many = { .submitters = rows[i].in_flight,
			.pace = ACCEL_PACE_EACH, .batch = 1, .operations = 20000, .bytes = 8192 };
		char what[32];

		snprintf(what, sizeof(what), "hisi, %u in flight, GB/s", rows[i].in_flight);
		assert_within(run(&p, &one).bytes_per_s / 1e9, rows[i].gb, 0.15, what);
		assert_within(run(&p, &many).bytes_per_s / 1e9, rows[i].gb, 0.15, what);
	}
}

/* Our own measurements of a thread that compresses: alone, in batches of 32, at full depth. */
static void swthread_as_measured(void **state)
{
	struct accel_profile p = get_profile("swthread");
	struct accel_workload w = { .submitters = 1, .pace = ACCEL_PACE_EACH, .batch = 1,
		.operations = 32000, .bytes = 4096 };

	assert_int_equal(p.queue_depth, 128);
	assert_int_equal(p.engines, 1);
	assert_int_equal(p.fetch, ACCEL_FETCH_SWAP);
	assert_within(run(&p, &w).round_p50, 81000, 0.1, "swthread, one page, ns");
	w.pace = ACCEL_PACE_BATCH;
	w.batch = 32;
	assert_within(run(&p, &w).round_p50, 338000, 0.1, "swthread, batch of 32, ns");
	w.pace = ACCEL_PACE_WINDOW;
	w.depth = 256; /* the ring holds half of it */
	assert_within(run(&p, &w).ops_per_s, 120000, 0.1, "swthread, pages/s");
	assert_int_equal(run(&p, &w).in_flight_max, 128);
}

/* The engine is the CPU itself: nothing to overlap, nothing to gain. */
static void software_gains_nothing(void **state)
{
	struct accel_profile p = get_profile("swthread");
	struct accel_workload w = { .submitters = 1, .pace = ACCEL_PACE_EACH, .batch = 1,
		.operations = 32000, .bytes = 4096, .host_ns = 3000 };
	uint64_t each, batch;

	p.submit_ns = p.deliver_ns = p.deliver_busy_ns = 0;
	p.per_byte_ps = 4785; /* zstd 1: 19.6 us a page */
	each = run(&p, &w).elapsed_ns;
	w.pace = ACCEL_PACE_BATCH;
	for (unsigned n = 8; n <= 32; n *= 4) {
		w.batch = n;
		batch = run(&p, &w).elapsed_ns;
		assert_true(batch * 1000 <= each * 1001 && each * 1000 <= batch * 1001);
	}
}

/* --- against a naive model --- */

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)((random_state >> 32) * n >> 32);
}

struct naive {
	uint64_t free_at[64], shared_free, latest, in_order[4];
	unsigned engines;
};

/* As the header says it, with a look at every engine. No jitter, no swapped queues. */
static void naive_serve(struct naive *n, const struct accel_profile *p, unsigned qp, uint64_t t,
	uint32_t bytes, struct accel_model_times *times)
{
	uint64_t begin, done;

	times->engine = 0;
	for (unsigned i = 1; i < n->engines; i++) {
		if (n->free_at[i] < n->free_at[times->engine])
			times->engine = i;
	}
	begin = n->free_at[times->engine] > t ? n->free_at[times->engine] : t;
	done = begin + p->base_ns + (uint64_t)bytes * p->per_byte_ps / 1000;
	if (p->shared_bps) {
		if (n->shared_free < begin)
			n->shared_free = begin;
		n->shared_free += bytes * 1000000000ull / p->shared_bps;
		if (done < n->shared_free)
			done = n->shared_free;
	}
	n->free_at[times->engine] = done;
	times->wait = begin - t;
	times->service = done - begin;
	times->delivered = done + (n->latest > t ? p->deliver_busy_ns : p->deliver_ns);
	if (p->order == ACCEL_IN_ORDER) {
		if (times->delivered < n->in_order[qp])
			times->delivered = n->in_order[qp];
		n->in_order[qp] = times->delivered;
	}
	if (n->latest < times->delivered)
		n->latest = times->delivered;
	times->deliver = times->delivered - done;
}

static void one_against_naive(unsigned round)
{
	struct accel_profile p = get_profile("iaa");
	struct accel_model_qp qps[4] = { 0 };
	struct accel_model_times got, expected;
	struct accel_model *model;
	struct naive naive = { 0 };
	uint64_t t = 0;

	p.devices = 1 + random_below(4);
	p.engines = 1 + random_below(16);
	p.jitter = 0;
	p.base_ns = random_below(5000);
	p.order = round & 1 ? ACCEL_IN_ORDER : ACCEL_OUT_OF_ORDER;
	p.shared_bps = round & 2 ? 1000000000 + (uint64_t)random_below(1000000000) * 10 : 0;
	p.deliver_ns = random_below(1000);
	p.deliver_busy_ns = random_below(10000);
	naive.engines = p.devices * p.engines;
	model = accel_model_new(&p);
	assert_non_null(model);
	for (unsigned i = 0; i < 2000; i++) {
		unsigned qp = random_below(4);
		uint32_t bytes = 1 + random_below(8192);
		/* Often an earlier time than the last: queue pairs have clocks of their own. */
		uint64_t at = t > 500 ? t - random_below(500) : t;

		t += random_below(2 * p.base_ns / naive.engines + 100);
		accel_model_serve(model, &qps[qp], at, ACCEL_COMPRESS, bytes, i, &got);
		naive_serve(&naive, &p, qp, at, bytes, &expected);
		assert_int_equal(got.engine, expected.engine);
		assert_int_equal(got.wait, expected.wait);
		assert_int_equal(got.service, expected.service);
		assert_int_equal(got.deliver, expected.deliver);
		assert_int_equal(got.delivered, expected.delivered);
		assert_int_equal(got.delivered - at, got.wait + got.service + got.deliver);
	}
	accel_model_free(model);
}

static void against_naive(void **state)
{
	random_state = 1;
	for (unsigned round = 0; round < 100; round++)
		one_against_naive(round);
}

/* --- properties --- */

/* A workload out of many, with a profile's numbers spread widely. */
static void random_case(struct accel_profile *p, struct accel_workload *w)
{
	*p = get_profile("iaa");
	p->devices = 1;
	p->engines = 1;
	p->jitter = 0;
	p->submit_ns = random_below(1000);
	p->base_ns = random_below(10000);
	p->queues = 1 + random_below(8);
	p->queue_depth = 1 + random_below(256);
	*w = (struct accel_workload){ .submitters = 1 + random_below(20),
		.own_queues = random_below(2), .pace = random_below(3),
		.batch = 1 + random_below(40), .depth = 1 + random_below(300),
		.operations = 2000 + random_below(2000), .bytes = 1 + random_below(8192),
		.host_ns = random_below(3000) };
}

static void more_engines(void **state)
{
	random_state = 2;
	for (unsigned round = 0; round < 60; round++) {
		struct accel_profile p;
		struct accel_workload w;
		uint64_t before = UINT64_MAX, now;

		random_case(&p, &w);
		for (p.engines = 1; p.engines <= 64; p.engines *= 2) {
			now = run(&p, &w).elapsed_ns;
			if (now > before)
				fail_msg("%u engines: %" PRIu64 " ns, half of them %" PRIu64,
					p.engines, now, before);
			before = now;
		}
	}
}

static void more_depth(void **state)
{
	random_state = 3;
	for (unsigned round = 0; round < 60; round++) {
		struct accel_profile p;
		struct accel_workload w;
		uint64_t before = UINT64_MAX, now;

		random_case(&p, &w);
		p.engines = 1 + random_below(16);
		p.queue_depth = 4096;
		w.own_queues = true;
		w.pace = ACCEL_PACE_WINDOW;
		w.batch = 1;
		for (w.depth = 1; w.depth <= 512; w.depth *= 2) {
			now = run(&p, &w).elapsed_ns;
			if (now > before)
				fail_msg("depth %u: %" PRIu64 " ns, half of it %" PRIu64, w.depth,
					now, before);
			before = now;
		}
	}
}

/* What no queueing system can beat: its engines' time, its bandwidth, its hosts' time. */
static void bounds(void **state)
{
	random_state = 4;
	for (unsigned round = 0; round < 100; round++) {
		struct accel_profile p;
		struct accel_workload w;
		struct accel_model_result r;
		uint64_t service, host, n;

		random_case(&p, &w);
		p.engines = 1 + random_below(32);
		if (round & 1)
			p.shared_bps = 1000000000;
		r = run(&p, &w);
		n = r.operations;
		service = p.base_ns + (uint64_t)w.bytes * p.per_byte_ps / 1000;
		host = n / w.submitters * (p.submit_ns + w.host_ns);
		assert_true(r.elapsed_ns >= n * service / p.engines);
		assert_true(r.elapsed_ns >= host);
		if (p.shared_bps)
			assert_true(r.bytes_per_s <= p.shared_bps);
		assert_true(r.service_mean >= service);
		assert_true(r.latency_p99 >= r.latency_p50 && r.latency_p50 >= service);
		if (!w.own_queues)
			assert_true(r.in_flight_max <= p.devices * p.queues * p.queue_depth);
		else if (w.pace == ACCEL_PACE_EACH)
			assert_int_equal(r.ring_full, 0);
	}
}

/* A host that waits for each page, by hand. */
static void a_queue_pair_alone(void **state)
{
	struct accel_profile p = get_profile("iaa");
	struct accel_model *model;
	struct accel_model_qp a = { 0 }, b = { 0 };
	struct accel_model_times times;
	struct accel_model_totals totals;
	uint64_t t, expected = 0;

	p.jitter = 0;
	model = accel_model_new(&p);
	for (unsigned i = 0; i < 8; i++) {
		t = accel_model_submit(model, &a, 1);
		expected += p.submit_ns;
		assert_int_equal(t, expected);
		accel_model_serve(model, &a, t, ACCEL_COMPRESS, 4096, i, &times);
		expected += p.base_ns + 4096ull * p.per_byte_ps / 1000;
		accel_model_seen(&a, times.delivered);
		assert_int_equal(a.clock, expected);
	}
	assert_int_equal(a.in_flight, 0);
	/* One that was never served: its time has passed, nothing else. */
	accel_model_submit(model, &a, 2);
	accel_model_seen(&a, 0);
	accel_model_seen(&a, 0);
	assert_int_equal(a.clock, expected + 2 * p.submit_ns);
	assert_int_equal(a.in_flight, 0);

	/* A newcomer begins at the device's time, and only then. */
	t = accel_model_submit(model, &b, 3);
	assert_int_equal(t, a.clock + p.submit_ns);
	assert_int_equal(b.clock, t + 2 * p.submit_ns);
	accel_model_submit(model, &a, 100);
	t = accel_model_submit(model, &b, 1);
	assert_int_equal(t, b.clock);
	assert_true(t < a.clock);

	accel_model_get_totals(model, &totals);
	assert_int_equal(totals.served, 8);
	assert_int_equal(totals.elapsed_ns, expected);
	assert_int_equal(totals.busy_ns, expected - 8 * p.submit_ns);
	assert_int_equal(totals.engines, 8);
	accel_model_reset_totals(model);
	accel_model_get_totals(model, &totals);
	assert_int_equal(totals.served + totals.busy_ns + totals.elapsed_ns, 0);
	accel_model_free(model);
}

/* What has gathered belongs to one engine; what came later, to the next swap. */
static void swapped_queues(void **state)
{
	struct accel_profile p = get_profile("swthread");
	struct accel_model_qp qp = { 0 };
	struct accel_model_times times;
	struct accel_model *model;
	static const struct {
		uint64_t submit, start;
		unsigned engine;
	} rows[] = { { 0, 0, 0 }, { 10, 10, 1 }, { 10, 1010, 1 }, { 20, 1000, 0 }, { 900, 2000, 0 },
		{ 1000, 3000, 0 }, { 1001, 2010, 1 } };

	p.engines = 2;
	p.jitter = 0;
	p.base_ns = 1000;
	p.per_byte_ps = 0;
	model = accel_model_new(&p);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		accel_model_serve(model, &qp, rows[i].submit, ACCEL_COMPRESS, 4096, i, &times);
		assert_int_equal(times.wait, rows[i].start - rows[i].submit);
		assert_int_equal(times.engine, rows[i].engine);
	}
	accel_model_free(model);
}

/* Uniform, both ways, no wider than said, and another one for another seed. */
static void jitter(void **state)
{
	struct accel_profile p = get_profile("iaa");
	uint64_t sum = 0, least = UINT64_MAX, most = 0, differ = 0;
	struct accel_model_times one, other;
	struct accel_model *model, *second;
	struct accel_model_qp qp = { 0 };

	p.base_ns = 100000;
	p.per_byte_ps = 0;
	p.jitter = 20;
	p.engines = 1024;
	model = accel_model_new(&p);
	p.seed++;
	second = accel_model_new(&p);
	for (uint64_t i = 0; i < 4000; i++) {
		accel_model_serve(model, &qp, 0, ACCEL_COMPRESS, 4096, i, &one);
		accel_model_serve(second, &qp, 0, ACCEL_COMPRESS, 4096, i, &other);
		sum += one.service;
		least = one.service < least ? one.service : least;
		most = one.service > most ? one.service : most;
		differ += one.service != other.service;
	}
	assert_in_range(sum / 4000, 99500, 100500);
	assert_in_range(least, 80000, 80200);
	assert_in_range(most, 119800, 120000);
	assert_true(differ > 3900);
	accel_model_free(model);
	accel_model_free(second);
}

/* --- exact numbers --- */

static void exact(void **state)
{
	static const struct {
		const char *profile;
		struct accel_workload w;
		struct accel_model_result r;
	} rows[] = {
		{ "iaa", { .submitters = 1, .pace = ACCEL_PACE_EACH, .batch = 8, .operations = 8000,
				 .bytes = 4096 },
			{ 33003392, 8000, 242399, 992867642, 3329, 3329, 3491,
				0, 3329, 0, 33012, 33621, 1, 0, 100881 } },
		{ "iaa", { .submitters = 30, .pace = ACCEL_PACE_BATCH, .batch = 8,
				 .operations = 10000, .bytes = 4096, .host_ns = 10000 },
			{ 4318026, 10000, 2315873, 9485815972, 14314, 13150, 72198,
				10986, 3327, 0, 19846, 96987, 232, 0, 963181 } },
		{ "qat", { .submitters = 7, .own_queues = true, .pace = ACCEL_PACE_WINDOW,
				 .batch = 3, .depth = 20, .operations = 5001, .bytes = 4096 },
			{ 20277857, 5001, 246623, 1010170650, 508612, 514319, 543832,
				487353, 16210, 5048, 518666, 552091, 140, 0, 999444 } },
		{ "mobile", { .submitters = 16, .pace = ACCEL_PACE_WINDOW, .batch = 1, .depth = 300,
				    .operations = 20000, .bytes = 4096 },
			{ 59959511, 20000, 333558, 1366255305, 11016605, 12280295, 12297124,
				11009857, 2997, 3750, 12328161, 12345417, 4096, 15888, 999934 } },
		{ "swthread", { .submitters = 3, .pace = ACCEL_PACE_BATCH, .batch = 32,
				      .operations = 9999, .bytes = 4096 },
			{ 81383107, 9999, 122863, 503248223, 644995, 647496, 782633,
				564868, 8126, 72000, 780264, 830910, 96, 0, 998442 } },
		{ "hisi", { .submitters = 60, .pace = ACCEL_PACE_EACH, .batch = 1,
				  .operations = 20000, .bytes = 8192, .opcode = ACCEL_DECOMPRESS },
			{ 22562300, 20000, 886434, 7261671017, 67286, 67260, 67260,
				7280, 18008, 41997, 67560, 67560, 60, 0, 997715 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct accel_profile p = get_profile(rows[i].profile);
		struct accel_model_result r = run(&p, &rows[i].w);
		const struct accel_model_result *e = &rows[i].r;

		if (memcmp(&r.elapsed_ns, &e->elapsed_ns,
			    offsetof(struct accel_model_result, engine_busy_ppm)) != 0 ||
			r.engine_busy_ppm != e->engine_busy_ppm)
			fail_msg("row %zu is now { %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
				 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
				 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
				 ", %u }",
				i, r.elapsed_ns, r.operations, r.ops_per_s, r.bytes_per_s,
				r.latency_mean, r.latency_p50, r.latency_p99, r.wait_mean,
				r.service_mean, r.deliver_mean, r.round_p50, r.round_p99,
				r.in_flight_max, r.ring_full, r.engine_busy_ppm);
	}
}

/* Also that it answers at once: the bound is ten times what a slow machine needs. */
static void a_large_machine(void **state)
{
	struct accel_profile p = get_profile("iaa");
	struct accel_workload w = { .submitters = 256, .pace = ACCEL_PACE_WINDOW, .batch = 8,
		.depth = 32, .operations = 100000, .bytes = 4096 };
	struct accel_model_result first, r;
	struct timespec begin, end;

	p.devices = 1;
	p.engines = 64;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	for (unsigned own = 0; own < 2; own++) {
		w.own_queues = own;
		first = run(&p, &w);
		r = run(&p, &w);
		assert_memory_equal(&first, &r, sizeof(r));
		/* 64 engines of 3.33 us, all busy. */
		assert_within(r.ops_per_s, 64 * 1e9 / 3329, 0.02, "64 engines, pages/s");
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9 < 4.0);
}

static void bad_workloads(void **state)
{
	static const struct accel_workload good = { .submitters = 2, .pace = ACCEL_PACE_WINDOW,
		.batch = 1, .depth = 1, .operations = 10, .bytes = 4096 };
	struct accel_profile p = get_profile("iaa");
	struct accel_model_result r;
	struct accel_workload w[8];

	for (size_t i = 0; i < ARRAY_SIZE(w); i++)
		w[i] = good;
	w[0].submitters = 0;
	w[1].submitters = 65537;
	w[2].batch = 0;
	w[3].depth = 0;
	w[4].operations = 0;
	w[5].operations = 100000001;
	w[6].bytes = 0;
	w[7].bytes = (1 << 20) + 1;
	run(&p, &good);
	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		errno = 0;
		assert_int_equal(accel_model_run(&p, &w[i], &r), -1);
		assert_int_equal(errno, EINVAL);
	}
}

/* --- several threads --- */

#define THREADS	   4
#define PER_THREAD 20000

static struct accel_model *shared_model;

static void *serve_some(void *arg)
{
	struct accel_model_qp qp = { 0 };
	struct accel_model_times times;
	uint64_t id = (uintptr_t)arg, last = 0;

	for (unsigned i = 0; i < PER_THREAD; i += 8) {
		uint64_t t = accel_model_submit(shared_model, &qp, 8), delivered[8];

		if (t < last)
			return arg;
		for (unsigned k = 0; k < 8; k++) {
			accel_model_serve(shared_model, &qp, t + k * 796, ACCEL_COMPRESS, 4096,
				id << 32 | (i + k), &times);
			delivered[k] = times.delivered;
		}
		for (unsigned k = 0; k < 8; k++)
			accel_model_seen(&qp, delivered[k]);
		last = qp.clock;
	}
	return NULL;
}

static void several_threads(void **state)
{
	struct accel_profile p = get_profile("iaa");
	struct accel_model_totals totals;
	pthread_t threads[THREADS];

	p.devices = 1;
	p.engines = 3;
	p.jitter = 0;
	shared_model = accel_model_new(&p);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, serve_some, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	accel_model_get_totals(shared_model, &totals);
	assert_int_equal(totals.served, THREADS * PER_THREAD);
	assert_int_equal(totals.busy_ns, THREADS * PER_THREAD * (1322 + 4096 * 490 / 1000));
	assert_true(totals.busy_ns <= totals.elapsed_ns * totals.engines);
	accel_model_free(shared_model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(iaa_as_published),
		cmocka_unit_test(hisi_as_published),
		cmocka_unit_test(swthread_as_measured),
		cmocka_unit_test(software_gains_nothing),
		cmocka_unit_test(against_naive),
		cmocka_unit_test(more_engines),
		cmocka_unit_test(more_depth),
		cmocka_unit_test(bounds),
		cmocka_unit_test(a_queue_pair_alone),
		cmocka_unit_test(swapped_queues),
		cmocka_unit_test(jitter),
		cmocka_unit_test(exact),
		cmocka_unit_test(a_large_machine),
		cmocka_unit_test(bad_workloads),
		cmocka_unit_test(several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
