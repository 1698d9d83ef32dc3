/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated accelerator when things go wrong, one thing at a time: fault attributes, timeouts,
 * corruption, lost wake-ups, resets and failure, the verbs, the end with a full queue.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include "accel-fixture.h"
#include "accel_sim/accel_priv.h"

#include <cmocka.h>

/* --- attributes --- */

static void test_parse(void **state)
{
	static const char *const bad[] = { "", "busy", "busy:", "busy:1", "busy:1,2", "busy:1,2,3",
		"busy:1,2,3,", "busy:1,2,3,4,5", "busy:1,101,0,-1", "busy:1,-1,0,-1",
		"busy:x,1,0,-1", "busy:1,1,0,-2", "nothing:1,1,0,-1", "busy: 1,1,0,-1",
		"busy:1,1,0,1x", ":1,1,0,1", "busy:4294967296,1,0,1", "busy:1,1,0,2147483648",
		"busy:1,1,18446744073709551616,1", "BUSY:1,1,1,1", "hw_error:1,1,0,-1" };
	static const char *const kinds[NR_ACCEL_FAULTS] = { "busy", "timeout", "hw-error",
		"overflow", "corrupt", "init" };
	struct accel_fault f;
	enum accel_fault_kind kind;
	char spec[64], err[256];

	for (unsigned i = 0; i < NR_ACCEL_FAULTS; i++) {
		assert_string_equal(accel_fault_names[i], kinds[i]);
		snprintf(spec, sizeof(spec), "%s:7,50,123456789012,-1", kinds[i]);
		assert_int_equal(accel_fault_parse(spec, &kind, &f, err, sizeof(err)), 0);
		assert_int_equal(kind, i);
		assert_int_equal(f.interval, 7);
		assert_int_equal(f.probability, 50);
		assert_int_equal(f.space, 123456789012);
		assert_int_equal(f.times, -1);
	}
	assert_int_equal(accel_fault_parse("corrupt:0,100,0,3", &kind, &f, err, sizeof(err)), 0);
	assert_int_equal(f.times, 3);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(err, 0, sizeof(err));
		if (accel_fault_parse(bad[i], &kind, &f, err, sizeof(err)) != -1)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_true(strlen(err) > 10);
		assert_null(strchr(err, '\n'));
	}
}

/* Statuses of n pages in a row, as letters. */
static void trace(struct fx_rig *r, unsigned n, char *letters)
{
	for (unsigned i = 0; i < n; i++)
		letters[i] = "SIZHTACN-"[fx_rig_page(r)];
	letters[n] = 0;
}

static unsigned count(const char *s, char c)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == c;
	return n;
}

static void test_attributes(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		struct accel_fault f = { 0 };
		char s[301], again[301];

		fx_rig_open(&r);
		trace(&r, 20, s);
		assert_string_equal(s, "SSSSSSSSSSSSSSSSSSSS");
		/* Every third. */
		fx_fault(r.dev, ACCEL_FAULT_HW_ERROR, 3, 100, -1);
		trace(&r, 30, s);
		assert_int_equal(count(s, 'H'), 10);
		assert_int_equal(count(s, 'S'), 20);
		for (unsigned i = 3; i < 30; i++)
			assert_int_equal(s[i], s[i - 3]);
		/* Four times. */
		fx_fault(r.dev, ACCEL_FAULT_HW_ERROR, 1, 100, 4);
		trace(&r, 10, s);
		assert_string_equal(s, "HHHHSSSSSS");
		/* After five pages, six times. */
		f = (struct accel_fault){ .probability = 100, .space = 5 * FX_PAGE, .times = 6 };
		accel_set_fault(r.dev, ACCEL_FAULT_OVERFLOW, &f);
		trace(&r, 20, s);
		assert_string_equal(s, "SSSSSIIIIIISSSSSSSSS");
		/* Never. */
		fx_fault(r.dev, ACCEL_FAULT_HW_ERROR, 1, 0, -1);
		trace(&r, 20, s);
		assert_int_equal(count(s, 'S'), 20);
		assert_int_equal(fx_stats(r.dev).resets, 0);
		/* Now and then: 300 x 30 %, 5 sigma = 40. */
		fx_fault(r.dev, ACCEL_FAULT_OVERFLOW, 1, 30, -1);
		trace(&r, 300, s);
		assert_in_range(count(s, 'I'), 50, 130);
		trace(&r, 300, again);
		assert_string_not_equal(s, again);
		fx_rig_close(&r);
	}
}

/* The same seed makes the same faults, whoever carries the wake-ups. */
static void test_seeds(void **state)
{
	char first[201] = "", s[201];

	for (unsigned i = 0; i < 7; i++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[i % 3]) };

		r.profile.engines = i < 3 ? 1 : 2;
		r.profile.seed = i < 6 ? 42 : 43;
		fx_rig_open(&r);
		fx_fault(r.dev, ACCEL_FAULT_OVERFLOW, 1, 20, -1);
		fx_fault(r.dev, ACCEL_FAULT_HW_ERROR, 2, 30, -1);
		fx_fault(r.dev, ACCEL_FAULT_CORRUPT, 3, 30, -1);
		trace(&r, 200, s);
		assert_true(count(s, 'I') && count(s, 'H') && count(s, 'C') && count(s, 'S'));
		if (!i)
			memcpy(first, s, sizeof(s));
		else if (i < 6)
			assert_string_equal(s, first);
		else
			assert_string_not_equal(s, first);
		fx_rig_close(&r);
	}
}

static void test_busy(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		struct accel_stats st;

		fx_rig_open(&r);
		fx_fault(r.dev, ACCEL_FAULT_BUSY, 1, 100, 10);
		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(fx_host_submit(&r.host, 20), 0);
		assert_int_equal(fx_host_submit(&r.host, 20), 20);
		fx_host_finish(&r.host);
		fx_fault(r.dev, ACCEL_FAULT_BUSY, 1, 10, -1);
		for (unsigned i = 0; i < 300; i++) {
			fx_host_submit(&r.host, 30);
			fx_host_finish(&r.host);
		}
		st = fx_stats(r.dev);
		assert_true(r.host.accepted < r.host.asked);
		assert_true(r.host.accepted > 300);
		assert_int_equal(st.submitted, r.host.asked);
		assert_int_equal(st.accepted, r.host.accepted);
		assert_int_equal(st.busy, r.host.asked - r.host.accepted);
		assert_int_equal(st.status[ACCEL_SUCCESS], r.host.accepted);
		fx_rig_close(&r);
	}
}

static void test_init(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct accel_profile p = fx_profile(fx_transports[t]);
		struct accel_device *dev;
		char err[256] = "";

		p.faults[ACCEL_FAULT_INIT] = (struct accel_fault){ .probability = 100,
			.times = -1 };
		assert_null(accel_open(&p, err, sizeof(err)));
		assert_non_null(strstr(err, "init"));
		assert_null(strchr(err, '\n'));
		p = fx_profile(fx_transports[t]);
		dev = fx_open(&p);
		fx_fault(dev, ACCEL_FAULT_INIT, 1, 100, 2);
		assert_int_equal(accel_unplug(dev), 0);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(accel_plug(dev), -1);
			assert_int_equal(errno, EIO);
			assert_int_not_equal(accel_get_state(dev), ACCEL_ENABLED);
		}
		assert_int_equal(accel_plug(dev), 0);
		assert_int_equal(accel_get_state(dev), ACCEL_ENABLED);
		accel_close(dev);
	}
}

/* --- timeouts --- */

/* One operation is stuck: it alone times out, and not early. */
static void test_timeout(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		for (unsigned polling = 0; polling < 2; polling++) {
			struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
			uint64_t start;

			r.profile.timeout_ms = 300;
			fx_rig_open(&r);
			fx_fault(r.dev, ACCEL_FAULT_TIMEOUT, 1, 100, 1);
			start = fx_now();
			assert_int_equal(fx_host_submit(&r.host, 20), 20);
			accel_doorbell(r.host.qp);
			while (accel_in_flight(r.host.qp)) {
				if (polling)
					fx_sleep_ms(1);
				else
					accel_wait(r.host.qp, 20, 60 * FX_SEC);
				fx_host_reap(&r.host, 20);
				assert_true(fx_now() - start < 20 * FX_SEC);
			}
			assert_true(fx_now() - start >= FX_SEC / 4);
			assert_int_equal(r.host.status[ACCEL_TIMEOUT], 1);
			if (FX_SLOW == 1) /* else even the others may take too long */
				assert_int_equal(r.host.status[ACCEL_SUCCESS], 19);
			assert_int_equal(fx_stats(r.dev).resets, 0);
			fx_rig_close(&r);
		}
	}
}

/* A codec that takes too long: the operation ends when the engine has let go of its buffers. */
static void test_slow_codec(void **state)
{
	for (unsigned t = FX_THREADED; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };

		r.profile.timeout_ms = 30;
		fx_rig_open(&r);
		fx_gate_close(&r.codec->gate);
		assert_int_equal(fx_host_submit(&r.host, 5), 5);
		accel_doorbell(r.host.qp);
		assert_true(fx_gate_await(&r.codec->gate, 1));
		/* Those behind it have timed out, and are seen by a host that waits. */
		assert_int_equal(accel_wait(r.host.qp, 4, 20 * FX_SEC), 4);
		assert_int_equal(fx_host_reap(&r.host, 5), 4);
		assert_int_equal(r.host.status[ACCEL_TIMEOUT], 4);
		assert_int_equal(accel_wait(r.host.qp, 1, FX_SEC / 5), 0);
		fx_host_check(&r.host);
		fx_gate_open(&r.codec->gate);
		assert_int_equal(accel_wait(r.host.qp, 1, 20 * FX_SEC), 1);
		assert_int_equal(fx_host_reap(&r.host, 5), 1);
		assert_int_equal(r.host.status[ACCEL_TIMEOUT], 5);
		fx_sleep_ms(20);
		fx_host_check(&r.host);
		fx_rig_close(&r);
	}
}

/* --- corrupt --- */

static void test_corrupt(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };

		r.profile.max_resets = 1000;
		fx_rig_open(&r);
		r.host.decompress = true;
		fx_fault(r.dev, ACCEL_FAULT_CORRUPT, 2, 100, -1);
		for (unsigned i = 0; i < 60; i++) {
			fx_host_submit(&r.host, 10);
			fx_host_finish(&r.host); /* looks at the bytes of each success */
		}
		assert_int_equal(r.host.status[ACCEL_SUCCESS] + r.host.status[ACCEL_CORRUPT] +
					 r.host.status[ACCEL_ABORTED],
			r.host.accepted);
		assert_true(r.host.status[ACCEL_CORRUPT] > r.host.accepted / 4);
		assert_true(r.host.status[ACCEL_SUCCESS] >= r.host.accepted / 4);
		fx_rig_close(&r);
	}
}

/* --- lost wake-ups --- */

static void test_lost_wakes(void **state)
{
	for (unsigned t = FX_THREADED; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		uint64_t start, longest = 0;

		r.profile.poll_usecs = 0;
		r.profile.timeout_ms = 200 * FX_SLOW;
		fx_rig_open(&r);
		for (unsigned i = 0; i < 6; i++) {
			fx_sleep_ms(20); /* everybody sleeps */
			accel_debug_drop_wakes(r.dev, 1 + i % 2);
			start = fx_now();
			assert_int_equal(fx_host_submit(&r.host, 16), 16);
			accel_doorbell(r.host.qp);
			assert_int_equal(accel_wait(r.host.qp, 16, 60 * FX_SEC), 16);
			if (fx_now() - start > longest)
				longest = fx_now() - start;
			assert_int_equal(fx_host_reap(&r.host, 16), 16);
		}
		accel_debug_drop_wakes(r.dev, 0);
		print_message("%s: %lu wake-ups lost, recovered after %lu ms at most\n",
			fx_transport_names[t], (unsigned long)fx_stats(r.dev).lost_wakes,
			(unsigned long)(longest / 1000000));
		assert_true(fx_stats(r.dev).lost_wakes >= 6);
		assert_true(longest < 10 * FX_SEC);
		assert_int_equal(r.host.status[ACCEL_SUCCESS], 96);
		fx_rig_close(&r);
	}
}

/* --- resets --- */

static struct {
	pthread_mutex_t lock;
	enum accel_state seen[256];
	unsigned nr;
} hook = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void on_state(void *opaque, enum accel_state s)
{
	accel_get_state(opaque); /* no lock is held */
	pthread_mutex_lock(&hook.lock);
	if (hook.nr < 256)
		hook.seen[hook.nr++] = s;
	pthread_mutex_unlock(&hook.lock);
}

static unsigned hook_count(enum accel_state s)
{
	unsigned n = 0;

	pthread_mutex_lock(&hook.lock);
	for (unsigned i = 0; i < hook.nr; i++)
		n += hook.seen[i] == s;
	pthread_mutex_unlock(&hook.lock);
	return n;
}

static void await_resets(struct accel_device *dev, unsigned n)
{
	uint64_t end = fx_now() + 10 * FX_SEC;

	while (fx_stats(dev).resets < n) {
		CHECK(fx_now() < end, "%lu resets", (unsigned long)fx_stats(dev).resets);
		usleep(200);
	}
}

static void test_resets(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[t]) };
		char s[64];

		fx_rig_open(&r);
		hook.nr = 0;
		accel_set_state_hook(r.dev, on_state, r.dev);
		/* Seven in a row are none too many, again and again. */
		for (unsigned i = 0; i < 5; i++) {
			fx_fault(r.dev, ACCEL_FAULT_HW_ERROR, 1, 100, 7);
			trace(&r, 8, s);
			assert_string_equal(s, "HHHHHHHS");
		}
		assert_int_equal(fx_stats(r.dev).resets, 0);
		/* The eighth makes a reset; one success, and resets are forgiven. */
		for (unsigned i = 0; i < 6; i++) {
			fx_fault(r.dev, ACCEL_FAULT_HW_ERROR, 1, 100, 8);
			trace(&r, 8, s);
			assert_string_equal(s, "HHHHHHHH");
			await_resets(r.dev, i + 1);
			assert_int_equal(fx_rig_page(&r), ACCEL_SUCCESS);
			assert_int_equal(fx_stats(r.dev).resets, i + 1);
		}
		assert_int_equal(hook_count(ACCEL_FAILED), 0);
		assert_int_equal(hook_count(ACCEL_RESETTING), 6);
		/* Incompressible is no fault. */
		fx_fault(r.dev, ACCEL_FAULT_OVERFLOW, 1, 100, 40);
		trace(&r, 40, s);
		assert_int_equal(count(s, 'I'), 40);
		assert_int_equal(fx_stats(r.dev).resets, 6);
		fx_rig_close(&r);
	}
}

/* With timeouts of a few ms a busy machine makes one now and then. */
static void await_success(struct fx_rig *r)
{
	for (unsigned i = 0; i < 7; i++) {
		if (fx_rig_page(r) == ACCEL_SUCCESS)
			return;
	}
	fail_msg("no success");
}

static void test_failed(void **state)
{
	static const enum accel_fault_kind kinds[] = { ACCEL_FAULT_HW_ERROR, ACCEL_FAULT_CORRUPT,
		ACCEL_FAULT_TIMEOUT };

	for (unsigned k = 0; k < 9; k++) {
		struct fx_rig r = { .profile = fx_profile(fx_transports[k % 3]) };
		enum accel_fault_kind kind = kinds[k / 3];
		struct accel_stats st;
		unsigned pages = 0;

		if (kind == ACCEL_FAULT_TIMEOUT)
			r.profile.timeout_ms = 30;
		fx_rig_open(&r);
		hook.nr = 0;
		accel_set_state_hook(r.dev, on_state, r.dev);
		fx_fault(r.dev, kind, 1, 100, -1);
		while (fx_rig_page(&r) != NR_ACCEL_STATUS)
			assert_true(pages++ < 50);
		fx_await_state(r.dev, ACCEL_FAILED);
		st = fx_stats(r.dev);
		assert_in_range(pages, 8 * 3, 8 * 4);
		assert_in_range(st.resets, 3, 4);
		assert_int_equal(hook_count(ACCEL_FAILED), 1);
		assert_int_equal(st.accepted, r.host.accepted);
		assert_int_equal(st.completed, r.host.accepted);
		/* Failed: takes nothing, verbs say so, plug is the way out. */
		assert_int_equal(fx_host_submit(&r.host, 4), 0);
		assert_int_equal(accel_reset(r.dev), -1);
		assert_int_equal(errno, ENODEV);
		assert_int_equal(accel_drain(r.dev), -1);
		assert_int_equal(errno, ENODEV);
		assert_int_equal(accel_get_state(r.dev), ACCEL_FAILED);
		fx_fault(r.dev, kind, 1, 0, -1);
		assert_int_equal(accel_plug(r.dev), 0);
		assert_int_equal(accel_get_state(r.dev), ACCEL_ENABLED);
		assert_int_equal(hook_count(ACCEL_ENABLED) > 0, 1);
		await_success(&r);
		/* It starts afresh: another eight make a reset, no failure. */
		st = fx_stats(r.dev);
		fx_fault(r.dev, kind, 1, 100, 8);
		for (unsigned i = 0; i < 8; i++)
			fx_rig_page(&r);
		await_resets(r.dev, (unsigned)st.resets + 1);
		await_success(&r);
		fx_rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_seeds),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_init),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_slow_codec),
		cmocka_unit_test(test_corrupt),
		cmocka_unit_test(test_lost_wakes),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
