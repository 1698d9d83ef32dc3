/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated accelerator's states: the verbs that change them, idle and in the middle of work;
 * abort; the end with a full queue in every state; the beginning where it cannot be.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <dirent.h>
#include <sys/resource.h>

#include "accel-fixture.h"

#include <cmocka.h>

enum verb { DRAIN, RESET, UNPLUG, PLUG };
static int (*const verbs[])(
	struct accel_device *) = { accel_drain, accel_reset, accel_unplug, accel_plug };

struct doer {
	struct accel_device *dev;
	enum verb verb;
	int result;
	uint64_t took;
	_Atomic bool started, done;
};

static void *verb_thread(void *opaque)
{
	struct doer *d = opaque;
	uint64_t start = fx_now();

	d->started = true;
	d->result = verbs[d->verb](d->dev);
	d->took = fx_now() - start;
	d->done = true;
	return NULL;
}

static void start_verb(pthread_t *thread, struct doer *d)
{
	CHECK(!pthread_create(thread, NULL, verb_thread, d), "thread");
	while (!d->started)
		fx_sleep_ms(1);
}

/* No operation is in flight. */
static void test_idle_verbs(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };

		fx_rig_open(&r);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(accel_get_state(r.dev), ACCEL_ENABLED);
			assert_int_equal(accel_drain(r.dev), 0);
			assert_int_equal(accel_get_state(r.dev), ACCEL_ENABLED);
			assert_int_equal(accel_reset(r.dev), 0);
			assert_int_equal(accel_get_state(r.dev), ACCEL_ENABLED);
			assert_int_equal(fx_rig_page(&r), ACCEL_SUCCESS);
			assert_int_equal(accel_unplug(r.dev), 0);
			assert_int_equal(accel_get_state(r.dev), ACCEL_UNPLUGGED);
			assert_int_equal(fx_host_submit(&r.host, 8), 0);
			accel_doorbell(r.host.qp);
			assert_int_equal(accel_wait(r.host.qp, 8, 20 * FX_SEC), 0);
			assert_int_equal(accel_unplug(r.dev), 0);
			for (enum verb v = DRAIN; v <= RESET; v++) {
				errno = 0;
				assert_int_equal(verbs[v](r.dev), -1);
				assert_int_equal(errno, ENODEV);
			}
			/* Queue pairs come and go without a device behind them. */
			accel_qp_put(fx_qp(r.dev));
			assert_int_equal(accel_plug(r.dev), 0);
			assert_int_equal(fx_rig_page(&r), ACCEL_SUCCESS);
		}
		assert_int_equal(r.host.status[ACCEL_SUCCESS], r.host.accepted);
		assert_string_equal(accel_state_names[ACCEL_ENABLED], "enabled");
		assert_string_equal(accel_state_names[ACCEL_DRAINING], "draining");
		assert_string_equal(accel_state_names[ACCEL_RESETTING], "resetting");
		assert_string_equal(accel_state_names[ACCEL_UNPLUGGED], "unplugged");
		assert_string_equal(accel_state_names[ACCEL_FAILED], "failed");
		fx_rig_close(&r);
	}
}

/* A page is at the gate, more behind it. Each verb waits for that page alone. */
static void test_verb_in_the_middle(void **state)
{
	static const enum accel_state states[] = { ACCEL_DRAINING, ACCEL_RESETTING,
		ACCEL_UNPLUGGED };

	for (unsigned k = 0; k < 6; k++) {
		struct fx_rig r = { .profile = fx_profile(k / 3 ? ACCEL_MSGRING : ACCEL_EVENTFD) };
		struct doer d = { .verb = (enum verb)(k % 3) };
		enum accel_state s = states[k % 3];
		unsigned good, aborted;
		pthread_t thread;

		fx_rig_open(&r);
		d.dev = r.dev;
		fx_gate_close(&r.codec->gate);
		assert_int_equal(fx_host_submit(&r.host, 100), 100);
		accel_doorbell(r.host.qp);
		assert_true(fx_gate_await(&r.codec->gate, 1));
		start_verb(&thread, &d);
		fx_await_state(r.dev, s);
		fx_sleep_ms(30);
		assert_false(d.done);
		assert_int_equal(accel_get_state(r.dev), s);
		/* Takes nothing, and no second verb. */
		assert_int_equal(fx_host_submit(&r.host, 4), 0);
		for (enum verb v = DRAIN; v <= PLUG; v++) {
			errno = 0;
			if (verbs[v](r.dev) != -1)
				fail_msg("verb %u beside verb %u", v, d.verb);
			if (v != PLUG || d.verb == UNPLUG)
				assert_true(
					errno == EBUSY || (errno == ENODEV && d.verb == UNPLUG));
		}
		fx_gate_open(&r.codec->gate);
		pthread_join(thread, NULL);
		assert_int_equal(d.result, 0);
		assert_int_equal(
			accel_get_state(r.dev), d.verb == UNPLUG ? ACCEL_UNPLUGGED : ACCEL_ENABLED);
		/* All have completed, before any was dequeued. */
		assert_int_equal(accel_wait(r.host.qp, 100, 0), 100);
		assert_int_equal(fx_host_reap(&r.host, 256), 100);
		good = (unsigned)r.host.status[ACCEL_SUCCESS];
		aborted = (unsigned)r.host.status[ACCEL_ABORTED];
		assert_int_equal(good + aborted, 100);
		if (d.verb == DRAIN)
			assert_int_equal(aborted, 0);
		else
			assert_in_range(aborted, 99, 100);
		if (d.verb == UNPLUG)
			assert_int_equal(accel_plug(r.dev), 0);
		assert_int_equal(fx_rig_page(&r), ACCEL_SUCCESS);
		assert_int_equal(fx_stats(r.dev).accepted, 101);
		assert_int_equal(fx_stats(r.dev).completed, 101);
		fx_rig_close(&r);
	}
}

/* Abort takes what no engine has begun, of one queue pair. */
static void test_abort(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		struct fx_host other;
		unsigned aborted;

		fx_rig_open(&r);
		assert_true(fx_host_init(&other, r.dev, r.codec, r.corpus, 99));
		accel_abort(r.host.qp); /* nothing there */
		if (t)
			fx_gate_close(&r.codec->gate);
		assert_int_equal(fx_host_submit(&r.host, 50), 50);
		assert_int_equal(fx_host_submit(&other, 50), 50);
		if (t) {
			accel_doorbell(r.host.qp);
			accel_doorbell(other.qp);
			assert_true(fx_gate_await(&r.codec->gate, 1));
		}
		accel_abort(r.host.qp);
		fx_gate_open(&r.codec->gate);
		fx_host_finish(&r.host);
		fx_host_finish(&other);
		aborted = (unsigned)r.host.status[ACCEL_ABORTED];
		assert_in_range(aborted, 49, 50);
		assert_int_equal(r.host.status[ACCEL_SUCCESS], 50 - aborted);
		assert_int_equal(other.status[ACCEL_SUCCESS], 50);
		assert_int_equal(fx_rig_page(&r), ACCEL_SUCCESS);
		assert_int_equal(fx_stats(r.dev).resets, 0);
		fx_host_free(&other);
		fx_rig_close(&r);
	}
}

/*
 * The end with a full queue, in every state: 4096 pages of 20 ms each would take 80 s. A stuck one
 * (its time is not up for a minute) holds nothing up either.
 */
enum how { ENABLED, STUCK, DRAINING, RESETTING, UNPLUGGED, FAILED, NR_HOW };

static void end_with_full_queue(enum accel_transport transport, enum how how)
{
	struct fx_rig r = { .profile = fx_profile(transport) };
	struct doer d = { .verb = how == DRAINING ? DRAIN : RESET };
	pthread_t thread;
	uint64_t start;
	bool beside = (how == DRAINING || how == RESETTING) && transport != ACCEL_INLINE;

	r.profile.queue_depth = ACCEL_MAX_QUEUE_DEPTH;
	r.profile.timeout_ms = 60000;
	fx_rig_open(&r);
	d.dev = r.dev;
	r.codec->usecs = 20000;
	if (how == STUCK)
		fx_fault(r.dev, ACCEL_FAULT_TIMEOUT, 1, 100, -1);
	if (how == FAILED)
		fx_fault(r.dev, ACCEL_FAULT_HW_ERROR, 1, 100, -1);
	while (fx_host_submit(&r.host, 256))
		;
	if (how != STUCK && how != FAILED)
		assert_int_equal(r.host.accepted, ACCEL_MAX_QUEUE_DEPTH);
	if (transport != ACCEL_INLINE)
		accel_doorbell(r.host.qp);
	fx_sleep_ms(30);
	if (how == UNPLUGGED)
		assert_int_equal(accel_unplug(r.dev), 0);
	if (how == FAILED && transport != ACCEL_INLINE) {
		uint64_t end = fx_now() + 20 * FX_SEC;

		while (accel_get_state(r.dev) != ACCEL_FAILED && fx_now() < end) {
			fx_host_submit(&r.host, 256);
			accel_doorbell(r.host.qp);
			fx_host_reap(&r.host, 16);
		}
		assert_int_equal(accel_get_state(r.dev), ACCEL_FAILED);
	}
	if (beside)
		start_verb(&thread, &d);
	start = fx_now();
	fx_host_put(&r.host);
	assert_true(fx_now() - start < FX_SEC * (FX_SLOW > 1 ? 5 : 1));
	if (beside) {
		pthread_join(thread, NULL);
		assert_int_equal(d.result, 0);
		assert_true(d.took < 3 * FX_SEC);
	}
	fx_host_check(&r.host);
	assert_int_equal(fx_stats(r.dev).completed, fx_stats(r.dev).accepted);
	start = fx_now();
	fx_rig_close(&r);
	assert_true(fx_now() - start < FX_SEC * (FX_SLOW > 1 ? 5 : 1));
}

static void test_end_with_full_queue(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		for (enum how how = ENABLED; how < NR_HOW; how++)
			end_with_full_queue(fx_transports[t], how);
	}
}

/* The device is closed first: queue pairs stay, with nothing behind them. */
static void test_close_first(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		uint64_t start = fx_now();

		fx_rig_open(&r);
		r.codec->usecs = 1000;
		assert_int_equal(fx_host_submit(&r.host, 128), 128);
		accel_ref(r.dev);
		accel_close(r.dev); /* not the last one */
		accel_doorbell(r.host.qp);
		assert_true(accel_wait(r.host.qp, 2, 20 * FX_SEC) >= 2);
		accel_close(r.dev);
		assert_int_equal(accel_wait(r.host.qp, 128, 20 * FX_SEC), 128);
		fx_host_finish(&r.host);
		assert_true(r.host.status[ACCEL_SUCCESS] >= 2);
		assert_int_equal(r.host.status[ACCEL_SUCCESS] + r.host.status[ACCEL_ABORTED], 128);
		assert_int_equal(fx_host_submit(&r.host, 5), 0);
		accel_doorbell(r.host.qp);
		accel_kick(r.host.qp);
		accel_abort(r.host.qp);
		assert_int_equal(accel_wait(r.host.qp, 5, FX_SEC), 0);
		assert_true(fx_now() - start < 10 * FX_SEC);
		fx_host_free(&r.host);
		fx_codec_free(r.codec);
		fx_corpus_free(r.corpus);
	}
}

static void test_bad_profiles(void **state)
{
	for (unsigned i = 0; i < 9; i++) {
		struct accel_profile p = fx_profile(ACCEL_INLINE);
		char err[256] = "";

		switch (i) {
		case 0:
			p.devices = 0;
			break;
		case 1:
			p.devices = ACCEL_MAX_DEVICES + 1;
			break;
		case 2:
			p.queues = 0;
			break;
		case 3:
			p.queues = ACCEL_MAX_QUEUES + 1;
			break;
		case 4:
			p.queue_depth = 0;
			break;
		case 5:
			p.queue_depth = ACCEL_MAX_QUEUE_DEPTH + 1;
			break;
		case 6:
			p.engines = 0;
			break;
		case 7:
			p.engines = ACCEL_MAX_ENGINES + 1;
			break;
		default:
			p.timeout_ms = 0;
		}
		assert_null(accel_open(&p, err, sizeof(err)));
		assert_true(strlen(err) > 10);
		assert_null(strchr(err, '\n'));
	}
}

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* With each possible lack of descriptors it works, or says no and leaves nothing behind. */
static void test_few_descriptors(void **state)
{
	struct rlimit was, few;
	unsigned before = count_descriptors(), opened = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	for (unsigned k = 0; k < 3 * 16; k++) {
		struct accel_profile p = fx_profile(fx_transports[k % 3]);
		struct accel_device *dev;
		struct accel_qp *qps[4];
		char err[256] = "";
		unsigned n = 0;

		p.engines = 2;
		few = was;
		few.rlim_cur = before + k / 3;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		dev = accel_open(&p, err, sizeof(err));
		if (!dev) {
			assert_true(strlen(err) > 10);
			assert_null(strchr(err, '\n'));
			assert_int_not_equal(p.transport, ACCEL_INLINE);
		} else {
			opened++;
			errno = 0;
			while (n < 4 && (qps[n] = accel_qp_get(dev)))
				n++;
			if (n < 4)
				assert_int_equal(errno, EMFILE);
			while (n)
				accel_qp_put(qps[--n]);
			accel_close(dev);
		}
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
		assert_int_equal(count_descriptors(), before);
	}
	assert_in_range(opened, 17, 47);
}

static void check_histogram(const struct accel_histogram *h, uint64_t n)
{
	uint64_t sum = 0;

	assert_int_equal(h->count, n);
	for (unsigned i = 0; i < ACCEL_BUCKETS; i++)
		sum += h->bucket[i];
	assert_int_equal(sum, n);
}

static void test_stats(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		struct accel_stats st;
		uint64_t before;

		fx_rig_open(&r);
		for (unsigned i = 0; i < 50; i++) {
			fx_host_submit(&r.host, 1 + i);
			fx_host_finish(&r.host);
		}
		st = fx_stats(r.dev);
		assert_int_equal(st.status[ACCEL_SUCCESS], 50 * 51 / 2);
		assert_int_equal(st.reaped, 50 * 51 / 2);
		assert_int_equal(st.bytes_in, 50 * 51 / 2 * FX_PAGE);
		assert_in_range(st.bytes_out, 1, 50 * 51 / 2 * FX_ROOM);
		assert_int_equal(st.in_flight_max, 50);
		check_histogram(&st.batches, 50);
		assert_int_equal(st.batches.sum, st.accepted);
		assert_int_equal(st.batches.bucket[1], 1);
		assert_int_equal(st.batches.bucket[4], 8); /* 8 to 15 */
		for (unsigned i = 0; i < NR_ACCEL_STAGES; i++) {
			check_histogram(&st.wall[i], st.accepted);
			check_histogram(&st.model[i], st.accepted);
		}
		assert_int_equal(st.model[ACCEL_STAGE_TOTAL].sum,
			st.model[ACCEL_STAGE_WAIT].sum + st.model[ACCEL_STAGE_SERVICE].sum +
				st.model[ACCEL_STAGE_DELIVER].sum);
		assert_true(st.wall[ACCEL_STAGE_SERVICE].sum > 0);
		assert_true(st.model_busy_ns > 0);
		assert_true(st.model_busy_ns <= st.model_elapsed_ns * st.model_engines);
		assert_true(st.wall_busy_ns <= st.wall_elapsed_ns * accel_nr_engine_threads(r.dev));
		accel_reset_stats(r.dev);
		before = r.host.accepted;
		fx_host_submit(&r.host, 10);
		accel_doorbell(r.host.qp);
		accel_wait(r.host.qp, 10, 20 * FX_SEC);
		st = fx_stats(r.dev);
		assert_int_equal(st.in_flight, 10);
		assert_int_equal(st.reaped, 0);
		fx_host_finish(&r.host);
		st = fx_stats(r.dev);
		assert_int_equal(st.accepted, r.host.accepted - before);
		assert_int_equal(st.completed, 10);
		assert_int_equal(st.in_flight, 0);
		assert_int_equal(st.in_flight_max, 10);
		check_histogram(&st.batches, 1);
		check_histogram(&st.wall[ACCEL_STAGE_TOTAL], 10);
		fx_rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_verbs),
		cmocka_unit_test(test_verb_in_the_middle),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_end_with_full_queue),
		cmocka_unit_test(test_close_first),
		cmocka_unit_test(test_bad_profiles),
		cmocka_unit_test(test_few_descriptors),
		cmocka_unit_test(test_stats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
