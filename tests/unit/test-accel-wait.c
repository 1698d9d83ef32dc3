/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated accelerator: who waits for whom. Orders, parallel engines, waiting and kicks,
 * doorbells and interrupts, several threads on one device.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_setaffinity() */
#endif
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include "accel-fixture.h"

#include <cmocka.h>

/* Engine threads are as many as CPUs at most. */
static bool rig_has_threads(struct fx_rig *r, unsigned n)
{
	if (accel_nr_engine_threads(r->dev) >= n)
		return true;
	print_message("needs %u CPUs\n", n);
	return false;
}

/* --- engines and orders --- */

static void test_parallel_engines(void **state)
{
	for (unsigned t = FX_THREADED; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };

		r.profile.engines = 2;
		fx_rig_open(&r);
		if (rig_has_threads(&r, 2)) {
			fx_gate_close(&r.codec->gate);
			assert_int_equal(fx_host_submit(&r.host, 16), 16);
			accel_doorbell(r.host.qp);
			assert_true(fx_gate_await(&r.codec->gate, 2));
			assert_int_equal(fx_host_reap(&r.host, 16), 0);
			assert_int_equal(accel_wait(r.host.qp, 1, FX_SEC / 50), 0);
			fx_gate_open(&r.codec->gate);
			fx_host_finish(&r.host);
		}
		fx_rig_close(&r);
	}
}

/* The first operation stands at a gate while the other engine does the rest. */
static void test_orders(void **state)
{
	static unsigned char src[FX_PAGE], dst[8][FX_OUT];

	for (unsigned k = 0; k < 4; k++) {
		struct fx_rig r = { .profile = fx_profile(k / 2 ? ACCEL_MSGRING : ACCEL_EVENTFD) };
		bool in_order = k % 2;
		struct fx_codec *gated = fx_codec_new();
		struct accel_op ops[8] = { 0 };
		struct accel_cpl cpls[8];

		r.profile.engines = 2;
		r.profile.order = in_order ? ACCEL_IN_ORDER : ACCEL_OUT_OF_ORDER;
		fx_rig_open(&r);
		fx_gate_close(&gated->gate);
		for (unsigned i = 0; i < 8; i++)
			ops[i] = (struct accel_op){ .tag = i,
				.src = src,
				.dst = dst[i],
				.src_len = FX_PAGE,
				.dst_room = FX_OUT,
				.codec = i ? &r.codec->codec : &gated->codec };
		if (rig_has_threads(&r, 2)) {
			struct accel_qp *qp = r.host.qp;
			uint64_t end = fx_now() + 10 * FX_SEC;

			assert_int_equal(accel_enqueue_burst(qp, ops, 8), 8);
			accel_doorbell(qp);
			assert_true(fx_gate_await(&gated->gate, 1));
			while (r.codec->calls < 7 && fx_now() < end)
				fx_sleep_ms(1);
			assert_int_equal(r.codec->calls, 7);
			if (in_order) {
				assert_int_equal(accel_wait(qp, 1, FX_SEC / 20), 0);
				assert_int_equal(accel_dequeue_burst(qp, cpls, 8), 0);
			} else {
				assert_int_equal(accel_wait(qp, 7, 10 * FX_SEC), 7);
				assert_int_equal(accel_dequeue_burst(qp, cpls, 8), 7);
				for (unsigned i = 0; i < 7; i++)
					assert_int_not_equal(cpls[i].tag, 0);
			}
			fx_gate_open(&gated->gate);
			assert_int_equal(accel_wait(qp, 8, 10 * FX_SEC), in_order ? 8 : 1);
			assert_int_equal(accel_dequeue_burst(qp, cpls, 8), in_order ? 8 : 1);
			for (unsigned i = 0; i < (in_order ? 8 : 1); i++)
				assert_int_equal(cpls[i].tag, i);
		}
		fx_gate_open(&gated->gate);
		fx_rig_close(&r);
		fx_codec_free(gated);
	}
}

/* --- waiting --- */

struct waiter {
	struct accel_qp *qp;
	unsigned min, got;
	uint64_t timeout, took;
	_Atomic bool started, done;
};

static void *wait_thread(void *opaque)
{
	struct waiter *w = opaque;
	uint64_t start = fx_now();

	w->started = true;
	w->got = accel_wait(w->qp, w->min, w->timeout);
	w->took = fx_now() - start;
	w->done = true;
	return NULL;
}

static void start_waiter(pthread_t *thread, struct waiter *w)
{
	CHECK(!pthread_create(thread, NULL, wait_thread, w), "thread");
	while (!w->started)
		fx_sleep_ms(1);
}

static void test_wait(void **state)
{
	for (unsigned t = FX_THREADED; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		struct waiter w = { .min = 4, .timeout = 60 * FX_SEC };
		pthread_t thread;
		uint64_t start;

		fx_rig_open(&r);
		/* Nothing in flight, nothing to wait for. */
		start = fx_now();
		assert_int_equal(accel_wait(r.host.qp, 1, 30 * FX_SEC), 0);
		assert_int_equal(accel_wait(r.host.qp, 0, 30 * FX_SEC), 0);
		assert_true(fx_now() - start < 5 * FX_SEC);

		fx_gate_close(&r.codec->gate);
		assert_int_equal(fx_host_submit(&r.host, 4), 4);
		accel_doorbell(r.host.qp);
		/* A kick that comes too early is not lost; several are one. */
		accel_kick(r.host.qp);
		accel_kick(r.host.qp);
		start = fx_now();
		assert_int_equal(accel_wait(r.host.qp, 4, 60 * FX_SEC), 0);
		assert_true(fx_now() - start < 30 * FX_SEC);
		start = fx_now();
		assert_int_equal(accel_wait(r.host.qp, 4, FX_SEC / 5), 0);
		assert_true(fx_now() - start >= FX_SEC / 5 - FX_SEC / 100);
		assert_true(fx_now() - start < 10 * FX_SEC);
		assert_int_equal(accel_wait(r.host.qp, 1, 0), 0);
		assert_int_equal(accel_wait(r.host.qp, 0, 30 * FX_SEC), 0);

		/* A kick ends a long wait. */
		w.qp = r.host.qp;
		start_waiter(&thread, &w);
		fx_sleep_ms(50);
		assert_false(w.done);
		accel_kick(r.host.qp);
		pthread_join(thread, NULL);
		assert_int_equal(w.got, 0);
		assert_true(w.took < 30 * FX_SEC);

		/* So does the last completion; more than is in flight is taken as that. */
		w = (struct waiter){ .qp = r.host.qp, .min = 1000, .timeout = 60 * FX_SEC };
		start_waiter(&thread, &w);
		fx_sleep_ms(50);
		assert_false(w.done);
		fx_gate_open(&r.codec->gate);
		pthread_join(thread, NULL);
		assert_int_equal(w.got, 4);
		assert_true(w.took < 30 * FX_SEC);
		fx_host_finish(&r.host);
		fx_rig_close(&r);
	}
}

/* Kicks all the time, from two threads, while pages pass: nothing is lost or late. */
struct kicker {
	struct accel_qp *qp;
	_Atomic bool stop;
};

static void *kick_thread(void *opaque)
{
	struct kicker *k = opaque;

	while (!k->stop)
		accel_kick(k->qp);
	return NULL;
}

static void test_kicks(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		struct kicker k = { 0 };
		pthread_t threads[2];

		r.profile.poll_usecs = 0;
		fx_rig_open(&r);
		k.qp = r.host.qp;
		for (unsigned i = 0; i < 2; i++)
			pthread_create(&threads[i], NULL, kick_thread, &k);
		for (unsigned i = 0; i < 200 / FX_SLOW; i++) {
			fx_host_submit(&r.host, 1 + i % 40);
			fx_host_finish(&r.host);
		}
		k.stop = true;
		for (unsigned i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(r.host.status[ACCEL_SUCCESS], r.host.accepted);
		fx_rig_close(&r);
	}
}

/* Without a doorbell accel_wait() rings; and nobody who only polls waits for ever. */
static void test_no_doorbell(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		uint64_t end;

		fx_rig_open(&r);
		fx_sleep_ms(20); /* engines are asleep */
		assert_int_equal(fx_host_submit(&r.host, 8), 8);
		assert_int_equal(accel_wait(r.host.qp, 8, 20 * FX_SEC), 8);
		assert_int_equal(fx_host_reap(&r.host, 8), 8);
		fx_sleep_ms(20);
		assert_int_equal(fx_host_submit(&r.host, 8), 8);
		accel_doorbell(r.host.qp);
		end = fx_now() + 20 * FX_SEC;
		while (accel_in_flight(r.host.qp) && fx_now() < end) {
			fx_host_reap(&r.host, 8);
			fx_sleep_ms(1);
		}
		assert_int_equal(accel_in_flight(r.host.qp), 0);
		fx_rig_close(&r);
	}
}

/* --- interrupts and doorbells --- */

/* Interrupts while the host waits for n pages, one or more at a time, given as `batches` doorbells.
 */
static uint64_t interrupts(enum accel_transport transport, unsigned coalesce, unsigned usecs,
	unsigned n, unsigned batches, unsigned page_usecs)
{
	struct fx_rig r = { .profile = fx_profile(transport) };
	struct accel_stats before, after;

	r.profile.coalesce = coalesce;
	r.profile.coalesce_usecs = usecs;
	r.profile.poll_usecs = 0;
	fx_rig_open(&r);
	fx_gate_close(&r.codec->gate);
	r.codec->usecs = page_usecs;
	before = fx_stats(r.dev);
	for (unsigned i = 0; i < batches; i++) {
		assert_int_equal(fx_host_submit(&r.host, n / batches), n / batches);
		accel_doorbell(r.host.qp);
	}
	after = fx_stats(r.dev);
	/* None while the engine is awake: it stands at the gate. */
	assert_true(after.doorbells - before.doorbells <= 1);
	assert_int_equal(after.doorbells + after.doorbells_suppressed - before.doorbells -
				 before.doorbells_suppressed,
		batches);
	fx_gate_open(&r.codec->gate);
	for (unsigned done = 0; done < n;) {
		unsigned got = accel_wait(r.host.qp, 1, 30 * FX_SEC);

		assert_true(got > 0);
		assert_int_equal(fx_host_reap(&r.host, got), got);
		done += got;
	}
	after = fx_stats(r.dev);
	fx_rig_close(&r);
	return after.interrupts - before.interrupts;
}

/*
 * At least `low`: a host that is slow to come back takes several interrupts for one, so it may try
 * again; never more than `high`.
 */
static void expect_interrupts(const char *what, unsigned t, unsigned coalesce, unsigned usecs,
	unsigned batches, uint64_t low, uint64_t high)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < 10 && n < low; i++) {
		n = interrupts(fx_transports[t], coalesce, usecs, 64, batches, 1000);
		assert_true(n <= high);
	}
	print_message("%s, by %s: %lu interrupts\n", fx_transport_names[t], what, (unsigned long)n);
	assert_true(n >= low);
}

static void test_interrupts(void **state)
{
	const unsigned never = 50 * 1000 * 1000; /* us: longer than any wait here */

	/* 64 pages of a millisecond or more. */
	for (unsigned t = FX_THREADED; t < FX_NR_TRANSPORTS; t++) {
		expect_interrupts("count", t, 8, never, 1, 5, 9);
		expect_interrupts("time", t, 4096, 8000, 1, 4, 64);
		expect_interrupts("batch", t, 4096, never, 4, 4, 4);
		expect_interrupts("none of them", t, 4096, never, 1, 1, 1);
	}
}

/* More is asked for than the interrupts gather; and less. */
static void test_min(void **state)
{
	for (unsigned t = FX_THREADED; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		struct accel_stats st;

		r.profile.coalesce = 8;
		r.profile.coalesce_usecs = 1000;
		r.profile.poll_usecs = 0;
		fx_rig_open(&r);
		r.codec->usecs = 500;
		assert_int_equal(fx_host_submit(&r.host, 100), 100);
		accel_doorbell(r.host.qp);
		assert_in_range(accel_wait(r.host.qp, 60, 60 * FX_SEC), 60, 100);
		st = fx_stats(r.dev);
		assert_in_range(st.interrupts, 0, 1);
		for (unsigned done = 0; done < 100;) {
			assert_true(accel_wait(r.host.qp, 1, 60 * FX_SEC) > 0);
			done += fx_host_reap(&r.host, 100);
		}
		fx_rig_close(&r);
	}
}

static void spin_ns(uint64_t ns)
{
	uint64_t start = fx_now();

	while (fx_now() - start < ns)
		;
}

/* Pages there and back; how long it took. */
static uint64_t trip(struct accel_qp *qp, const struct accel_op *op, bool poll, uint64_t dice)
{
	uint64_t start = fx_now();
	unsigned done = 0, n = poll ? 2 : 1;
	struct accel_cpl cpl;

	assert_int_equal(accel_enqueue_burst(qp, op, 1), 1);
	accel_doorbell(qp);
	if (poll) { /* a second one comes at any time, also while the engine goes to sleep */
		spin_ns((dice >> 16) % (256u << dice % 9));
		assert_int_equal(accel_enqueue_burst(qp, op, 1), 1);
		accel_doorbell(qp);
	} else { /* the completion comes at any time, also while the host goes to sleep */
		spin_ns((dice >> 16) % (256u << dice % 9));
		assert_int_equal(accel_wait(qp, 1, 20 * FX_SEC), 1);
	}
	while (done < n) {
		done += accel_dequeue_burst(qp, &cpl, 1);
		assert_true(fx_now() - start < 20 * FX_SEC);
	}
	return fx_now() - start;
}

/*
 * Both sides fall asleep all the time, each at any moment of the other's doing. What is forgotten
 * then is found a second later at the earliest: a busy machine may make one trip so long, not more.
 */
static void test_falling_asleep(void **state)
{
	static unsigned char src[FX_PAGE], dst[FX_OUT];

	for (unsigned k = 0; k < 4; k++) {
		struct accel_profile p = fx_profile(k % 2 ? ACCEL_MSGRING : ACCEL_EVENTFD);
		struct fx_codec *codec = fx_codec_new();
		struct accel_op op = fx_op(codec, src, dst);
		struct accel_device *dev;
		struct accel_qp *qp;
		uint64_t rng = k + 1;
		unsigned slow = 0;

		p.poll_usecs = 0;
		p.coalesce_usecs = 5000000; /* or that would find it */
		p.real_payload = false;
		dev = fx_open(&p);
		qp = fx_qp(dev);
		for (unsigned i = 0; i < 10000 / FX_SLOW; i++) {
			slow += trip(qp, &op, k < 2, fx_next(&rng)) > FX_SEC * 9 / 10;
			assert_true(slow <= 1);
		}
		assert_int_equal(fx_stats(dev).lost_wakes, 0);
		accel_qp_put(qp);
		accel_close(dev);
		fx_codec_free(codec);
	}
}

/* --- several threads --- */

struct crowd {
	struct accel_device *dev;
	struct fx_codec *codec;
	struct fx_corpus *corpus;
	pthread_mutex_t lock;
	uint64_t accepted, status[NR_ACCEL_STATUS], refused;
};

struct crowd_member {
	struct crowd *crowd;
	unsigned id;
};

static void *crowd_thread(void *opaque)
{
	struct crowd_member *m = opaque;
	struct crowd *c = m->crowd;
	uint64_t rng = m->id * 1234567 + 89;

	for (unsigned round = 0; round < 40 / FX_SLOW + 1;) {
		struct fx_host h;

		if (!fx_host_init(&h, c->dev, c->codec, c->corpus, fx_next(&rng))) {
			CHECK(errno == EBUSY, "accel_qp_get: %s", strerror(errno));
			pthread_mutex_lock(&c->lock);
			c->refused++;
			pthread_mutex_unlock(&c->lock);
			fx_sleep_ms(1);
			continue;
		}
		h.decompress = true;
		for (unsigned i = 0; i < 20; i++) {
			fx_host_submit(&h, 1 + (unsigned)(fx_next(&rng) % 60));
			accel_doorbell(h.qp);
			if (fx_next(&rng) % 2)
				accel_wait(h.qp, 1 + (unsigned)(fx_next(&rng) % 40), 10 * FX_SEC);
			fx_host_reap(&h, 64);
		}
		fx_host_finish(&h);
		pthread_mutex_lock(&c->lock);
		c->accepted += h.accepted;
		for (unsigned i = 0; i < NR_ACCEL_STATUS; i++)
			c->status[i] += h.status[i];
		pthread_mutex_unlock(&c->lock);
		fx_host_free(&h);
		round++;
	}
	return NULL;
}

static void test_more_threads_than_queue_pairs(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct accel_profile p = fx_profile(fx_transports[t]);
		struct crowd c = { .lock = PTHREAD_MUTEX_INITIALIZER };
		struct crowd_member members[5];
		pthread_t threads[5];
		struct accel_stats st;

		p.queues = 3;
		p.engines = 2;
		p.order = t % 2 ? ACCEL_OUT_OF_ORDER : ACCEL_IN_ORDER;
		c.corpus = fx_corpus_new(64);
		c.codec = fx_codec_new();
		c.dev = fx_open(&p);
		c.codec->nr_threads = accel_nr_engine_threads(c.dev);
		for (unsigned i = 0; i < 5; i++) {
			members[i] = (struct crowd_member){ &c, i };
			pthread_create(&threads[i], NULL, crowd_thread, &members[i]);
		}
		for (unsigned i = 0; i < 5; i++)
			pthread_join(threads[i], NULL);
		st = fx_stats(c.dev);
		print_message("%s: %lu operations, %lu times no queue pair\n",
			fx_transport_names[t], (unsigned long)c.accepted, (unsigned long)c.refused);
		assert_int_equal(st.accepted, c.accepted);
		assert_int_equal(st.completed, c.accepted);
		assert_int_equal(st.in_flight, 0);
		assert_int_equal(st.lost_wakes, 0);
		assert_int_equal(c.status[ACCEL_SUCCESS], c.accepted);
		for (unsigned i = 0; i < NR_ACCEL_STATUS; i++)
			assert_int_equal(st.status[i], c.status[i]);
		accel_close(c.dev);
		fx_codec_free(c.codec);
		fx_corpus_free(c.corpus);
	}
}

/* --- fairness --- */

struct glutton {
	struct fx_host *host;
	_Atomic bool stop;
	_Atomic uint64_t done;
};

/* Keeps its queue pair full. */
static void *glutton_thread(void *opaque)
{
	struct glutton *g = opaque;

	while (!g->stop) {
		fx_host_submit(g->host, 16);
		accel_doorbell(g->host->qp);
		accel_wait(g->host->qp, 1, FX_SEC);
		g->done += fx_host_reap(g->host, 16);
	}
	fx_host_finish(g->host);
	return NULL;
}

/* Engines that take turns in emptying one queue pair's swapped queue look at the others. */
static void test_swapped_queues_are_fair(void **state)
{
	struct fx_rig r = { .profile = fx_profile(ACCEL_MSGRING) };
	struct fx_host other = { 0 };
	struct glutton g = { .host = &other };
	uint64_t before, worst = 0;
	pthread_t thread;

	r.profile.engines = 2;
	r.profile.fetch = ACCEL_FETCH_SWAP;
	r.profile.queue_depth = 16;
	r.profile.coalesce = 1;
	fx_rig_open(&r);
	r.codec->usecs = 100;
	CHECK(fx_host_init(&other, r.dev, r.codec, r.corpus, 6), "no queue pair");
	pthread_create(&thread, NULL, glutton_thread, &g);
	for (unsigned i = 0; i < 20 && rig_has_threads(&r, 2); i++) {
		fx_sleep_ms(5);
		before = g.done;
		assert_int_equal(fx_host_submit(&r.host, 1), 1);
		fx_host_finish(&r.host);
		if (worst < g.done - before)
			worst = g.done - before;
	}
	g.stop = true;
	pthread_join(thread, NULL);
	print_message("%lu operations of the other were done meanwhile\n", (unsigned long)worst);
	assert_true(worst <= 16 * 16);
	fx_host_free(&other);
	fx_rig_close(&r);
}

/* --- one CPU for both sides --- */

/* The calling thread, or the engine of that name. */
static bool pin(const char *name, unsigned cpu)
{
	struct dirent *entry;
	cpu_set_t set;
	DIR *tasks;
	bool ok = false;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (!name)
		return sched_setaffinity(0, sizeof(set), &set) == 0;
	tasks = opendir("/proc/self/task");
	while (tasks && (entry = readdir(tasks))) {
		char path[300], line[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		f = fopen(path, "r");
		if (f && fgets(line, sizeof(line), f) && strcspn(line, "\n") == strlen(name) &&
			strncmp(line, name, strlen(name)) == 0)
			ok = sched_setaffinity(atoi(entry->d_name), sizeof(set), &set) == 0;
		if (f)
			fclose(f);
	}
	if (tasks)
		closedir(tasks);
	return ok;
}

static uint64_t thread_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * FX_SEC + (uint64_t)ts.tv_nsec;
}

/*
 * Host and engine on one CPU, where neither is to spin; on another CPU an engine that sleeps, and
 * an owner that has not waited for long: they are no reason to.
 */
static void test_no_spinning_on_one_cpu(void **state)
{
	struct fx_rig r = { .profile = fx_profile(ACCEL_MSGRING) };
	struct fx_host idle = { 0 };
	cpu_set_t saved;
	uint64_t cpu;

	r.profile.engines = 2;
	r.profile.poll_usecs = 2000;
	sched_getaffinity(0, sizeof(saved), &saved);
	fx_rig_open(&r);
	CHECK(fx_host_init(&idle, r.dev, r.codec, r.corpus, 6), "no queue pair");
	if (rig_has_threads(&r, 2) && pin("accel-0", 0) && pin("accel-1", 1) && pin(NULL, 1)) {
		/* Enough for both engines to be woken. */
		fx_host_submit(&idle, 64);
		fx_host_finish(&idle);
		assert_true(pin(NULL, 0));
		fx_sleep_ms(100);
		cpu = thread_cpu();
		for (unsigned i = 0; i < 200; i++) {
			assert_int_equal(fx_host_submit(&r.host, 1), 1);
			fx_host_finish(&r.host);
		}
		cpu = (thread_cpu() - cpu) / 200;
		print_message("%lu us of the host's CPU for each\n", (unsigned long)(cpu / 1000));
		assert_true(cpu < 500000);
		sched_setaffinity(0, sizeof(saved), &saved);
	}
	fx_host_free(&idle);
	fx_rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parallel_engines),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_kicks),
		cmocka_unit_test(test_no_doorbell),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_min),
		cmocka_unit_test(test_falling_asleep),
		cmocka_unit_test(test_more_threads_than_queue_pairs),
		cmocka_unit_test(test_swapped_queues_are_fair),
		cmocka_unit_test(test_no_spinning_on_one_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
