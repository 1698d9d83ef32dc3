/* SPDX-License-Identifier: BSD-3-Clause */
/* The accelerator's profiles: names, every field by its key, what is refused and how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "accel_sim/accel.h"

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static struct accel_profile get_profile(const char *name)
{
	const struct accel_profile *p = accel_profile_find(name);

	assert_non_null(p);
	return *p;
}

static void names(void **state)
{
	char list[64], *save, *name;
	unsigned n = 0;

	snprintf(list, sizeof(list), "%s", accel_profile_names());
	for (name = strtok_r(list, ", ", &save); name; name = strtok_r(NULL, ", ", &save), n++)
		assert_string_equal(get_profile(name).name, name);
	assert_int_equal(n, 5);
	assert_null(accel_profile_find(""));
	assert_null(accel_profile_find("IAA"));
	assert_null(accel_profile_find("iaa2"));
}

#define FIELD(m) offsetof(struct accel_profile, m), sizeof(((struct accel_profile *)0)->m)

static const struct good {
	const char *key, *value;
	size_t offset, size;
	uint64_t expected;
} good[] = {
	{ "devices", "8", FIELD(devices), 8 },
	{ "queue-depth", "4096", FIELD(queue_depth), 4096 },
	{ "queues", "64", FIELD(queues), 64 },
	{ "engines", "1024", FIELD(engines), 1024 },
	{ "transport", "inline", FIELD(transport), ACCEL_INLINE },
	{ "transport", "eventfd", FIELD(transport), ACCEL_EVENTFD },
	{ "transport", "msgring", FIELD(transport), ACCEL_MSGRING },
	{ "coalesce", "1", FIELD(coalesce), 1 },
	{ "coalesce-usecs", "0", FIELD(coalesce_usecs), 0 },
	{ "poll-usecs", "1000000", FIELD(poll_usecs), 1000000 },
	{ "submit-ns", "7", FIELD(submit_ns), 7 },
	{ "base-ns", "1000000000", FIELD(base_ns), 1000000000 },
	{ "per-byte-ps", "0", FIELD(per_byte_ps), 0 },
	{ "decomp-base-ns", "1", FIELD(decomp_base_ns), 1 },
	{ "decomp-per-byte-ps", "2", FIELD(decomp_per_byte_ps), 2 },
	{ "deliver-ns", "3", FIELD(deliver_ns), 3 },
	{ "deliver-busy-ns", "4", FIELD(deliver_busy_ns), 4 },
	{ "jitter", "100", FIELD(jitter), 100 },
	{ "shared-bps", "1000000000000000", FIELD(shared_bps), 1000000000000000 },
	{ "order", "in", FIELD(order), ACCEL_IN_ORDER },
	{ "order", "out", FIELD(order), ACCEL_OUT_OF_ORDER },
	{ "fetch", "swap", FIELD(fetch), ACCEL_FETCH_SWAP },
	{ "fetch", "ring", FIELD(fetch), ACCEL_FETCH_RING },
	{ "caps", "compress", FIELD(decompress), 0 },
	{ "caps", "both", FIELD(decompress), 1 },
	{ "zero-detect", "yes", FIELD(zero_detect), 1 },
	{ "zero-detect", "off", FIELD(zero_detect), 0 },
	{ "dst-limit", "8192", FIELD(dst_limit), 8192 },
	{ "payload", "none", FIELD(real_payload), 0 },
	{ "payload", "real", FIELD(real_payload), 1 },
	{ "verify", "1", FIELD(verify), 1 },
	{ "timeout-ms", "1", FIELD(timeout_ms), 1 },
	{ "max-resets", "0", FIELD(max_resets), 0 },
	{ "seed", "18446744073709551615", FIELD(seed), UINT64_MAX },
};

/* Exactly the named field, and it alone. */
static void overrides(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct accel_profile p, expected;
		const struct good *g = &good[i];
		char err[256] = "";

		/* From both sides, so that a value that was there already is no proof. */
		for (unsigned fill = 0; fill < 2; fill++) {
			memset(&p, fill, sizeof(p));
			memset(&expected, fill, sizeof(p));
			memcpy((char *)&expected + g->offset, &g->expected, g->size);
			assert_int_equal(accel_profile_set(&p, g->key, g->value, err, sizeof(err)), 0);
			assert_memory_equal(&p, &expected, sizeof(p));
			assert_string_equal(err, "");
		}
	}
}

static void codecs(void **state)
{
	struct accel_profile p = get_profile("iaa");
	char err[256] = "";

	assert_string_equal(p.codecs, "");
	assert_int_equal(accel_profile_set(&p, "codecs", "deflate lz4", err, sizeof(err)), 0);
	assert_string_equal(p.codecs, "deflate lz4");
	assert_int_equal(accel_profile_set(&p, "codecs",
		"a name that is much too long for the field that it has", err, sizeof(err)), -1);
	assert_non_null(strstr(err, "at most 47"));
	assert_string_equal(p.codecs, "deflate lz4");
}

static void refused(void **state)
{
	/* words: what the line must contain besides key=value */
	static const struct {
		const char *key, *value, *words;
	} rows[] = {
		{ "devices", "0", "allowed is 1 to 8 (devices)" },
		{ "devices", "9", "1 to 8" },
		{ "queue-depth", "0", "1 to 4096 (operations)" },
		{ "queue-depth", "4097", "1 to 4096" },
		{ "queue-depth", "-1", "1 to 4096" },
		{ "queue-depth", "+1", "1 to 4096" },
		{ "queue-depth", " 1", "1 to 4096" },
		{ "queue-depth", "1 ", "1 to 4096" },
		{ "queue-depth", "1k", "1 to 4096" },
		{ "queue-depth", "0x10", "1 to 4096" },
		{ "queue-depth", "", "1 to 4096" },
		{ "queue-depth", "18446744073709551617", "1 to 4096" },
		{ "queues", "65", "1 to 64" },
		{ "engines", "1025", "1 to 1024" },
		{ "transport", "futex", "msgring, eventfd, inline" },
		{ "transport", "", "msgring, eventfd, inline" },
		{ "coalesce", "0", "1 to 4096" },
		{ "coalesce-usecs", "1000001", "0 to 1000000 (microseconds)" },
		{ "poll-usecs", "1000001", "0 to 1000000" },
		{ "submit-ns", "1000000001", "0 to 1000000000 (nanoseconds)" },
		{ "base-ns", "4294967297", "0 to 1000000000" },
		{ "per-byte-ps", "1.5", "0 to 1000000000 (picoseconds)" },
		{ "decomp-base-ns", "x", "0 to 1000000000" },
		{ "decomp-per-byte-ps", "x", "0 to 1000000000" },
		{ "deliver-ns", "x", "0 to 1000000000" },
		{ "deliver-busy-ns", "x", "0 to 1000000000" },
		{ "jitter", "101", "0 to 100 (percent)" },
		{ "shared-bps", "1000000000000001", "0 to 1000000000000000" },
		{ "order", "random", "out, in" },
		{ "fetch", "both", "ring, swap" },
		{ "caps", "decompress", "compress, both" },
		{ "zero-detect", "maybe", "yes or no" },
		{ "dst-limit", "8193", "1 to 8192" },
		{ "payload", "memcpy", "none, real" },
		{ "verify", "2", "yes or no" },
		{ "timeout-ms", "0", "1 to 3600000 (milliseconds)" },
		{ "max-resets", "1000001", "0 to 1000000" },
		{ "seed", "18446744073709551616", "0 to 18446744073709551615" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct accel_profile p = get_profile("iaa"), before = p;
		char err[256] = "", start[64];

		snprintf(start, sizeof(start), "%s=%s: ", rows[i].key, rows[i].value);
		if (accel_profile_set(&p, rows[i].key, rows[i].value, err, sizeof(err)) != -1)
			fail_msg("%s accepted", start);
		assert_ptr_equal(strstr(err, start), err);
		if (!strstr(err, rows[i].words) || strchr(err, '\n'))
			fail_msg("\"%s\" without \"%s\"", err, rows[i].words);
		assert_memory_equal(&p, &before, sizeof(p));
	}
}

/* The keys in messages are the keys that there are. */
static void keys(void **state)
{
	char list[512], err[512] = "", *save, *key;
	struct accel_profile p = get_profile("iaa");
	unsigned n = 0;

	snprintf(list, sizeof(list), "%s", accel_profile_keys());
	for (key = strtok_r(list, ", ", &save); key; key = strtok_r(NULL, ", ", &save), n++) {
		bool found = strcmp(key, "codecs") == 0;

		for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
			if (strcmp(good[i].key, key) != 0)
				continue;
			found = true;
			assert_int_equal(accel_profile_set(&p, key, good[i].value, err,
				sizeof(err)), 0);
		}
		if (!found)
			fail_msg("%s is listed and not tested", key);
	}
	assert_int_equal(n, 28);
	assert_int_equal(accel_profile_set(&p, "queue_depth", "1", err, sizeof(err)), -1);
	assert_non_null(strstr(err, "queue_depth"));
	assert_non_null(strstr(err, "queue-depth"));
	assert_non_null(strstr(err, "seed"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(overrides),
		cmocka_unit_test(codecs),
		cmocka_unit_test(refused),
		cmocka_unit_test(keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
