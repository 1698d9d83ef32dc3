/* SPDX-License-Identifier: BSD-3-Clause */
/* Parameters: every key with good and bad values, and the size grammar. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "plugin/params.h"
#include "streams/zcomp.h"

#include <cmocka.h>

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t size;
	} rows[] = {
		{ "0", 0 }, { "1", 1 }, { "4096", 4096 }, { "1b", 1 }, { "1k", 1024 }, { "1K", 1024 },
		{ "3M", 3 << 20 }, { "1g", 1 << 30 }, { "2T", 2ll << 40 }, { "1p", 1ll << 50 },
		{ "7E", 7ll << 60 }, { "1s", 512 }, { "2S", 1024 }, { "007", 7 },
		{ "9223372036854775807", INT64_MAX }, { "9223372036854775808", -1 }, { "8E", -1 },
		{ "99999999999999999999", -1 }, { "18014398509481984S", -1 }, { "", -1 },
		{ "-1", -1 }, { "+1", 1 }, { " 1", 1 }, { "-0", 0 }, { "1 ", -1 }, { "1kb", -1 },
		{ "1.5G", -1 }, { "0x10", -1 }, { "k", -1 }, { "1e3", -1 }, { "1Z", -1 },
		{ "abc", -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (uz_parse_size(rows[i].text) != rows[i].size)
			fail_msg("\"%s\": %lld, expected %lld", rows[i].text,
				(long long)uz_parse_size(rows[i].text), (long long)rows[i].size);
}

static void values(void **state)
{
	/* words: NULL: accepted; else all that the one line must contain. */
	static const struct {
		const char *key, *value, *words[3];
	} rows[] = {
		{ "size", "1G", { NULL } },
		{ "size", "9223372036854771712", { NULL } },
		{ "size", "0", { "size=0", "allowed is 1 to 9223372036854771712" } },
		{ "size", "9223372036854771713", { "size=9223372036854771713", "allowed" } },
		{ "size", "-4096", { "size=-4096", "not a size", "k m g t p e" } },
		{ "size", "big", { "size=big", "not a size" } },
		{ "size", "9E9", { "size=9E9" } },
		{ "algorithm", "zstd:19", { NULL } },
		{ "algorithm", "none", { NULL } },
		{ "algorithm", "lz5", { "algorithm=lz5", "lz4, lz4hc, zstd, deflate, none" } },
		{ "algorithm", "zstd:99", { "algorithm=zstd:99", "22" } },
		{ "algorithm", "zstd:", { "algorithm=zstd:" } },
		{ "algorithm", "lz4:x", { "algorithm=lz4:x", "number" } },
		{ "algorithm", "none:1", { "algorithm=none:1" } },
		{ "algorithm", "", { "algorithm=", "lz4hc" } },
		{ "mem-limit", "0", { NULL } },
		{ "mem-limit", "100M", { NULL } },
		{ "mem-limit", "x", { "mem-limit=x", "not a size" } },
		{ "write", "through", { NULL } },
		{ "write", "behind", { NULL } },
		{ "write", "back", { "write=back", "behind or through" } },
		{ "stage", "64k", { NULL } },
		{ "stage", "4095", { "stage=4095", "4k to 4g", "write=through" } },
		{ "stage", "5g", { "stage=5g", "4k to 4g" } },
		{ "stage", "much", { "stage=much", "not a size" } },
		{ "batch", "1", { NULL } },
		{ "batch", "256", { NULL } },
		{ "batch", "0", { "batch=0", "1 to 256" } },
		{ "batch", "257", { "batch=257", "1 to 256" } },
		{ "batch", "-1", { "batch=-1", "1 to 256" } },
		{ "batch", "3x", { "batch=3x", "1 to 256" } },
		{ "workers", "1", { NULL } },
		{ "workers", "64", { NULL } },
		{ "workers", "0", { "workers=0", "1 to 64" } },
		{ "workers", "65", { "workers=65", "1 to 64" } },
		{ "control", "/x", { NULL } },
		{ "control", "", { "control=", "path" } },
		{ "swap", "yes", { NULL } },
		{ "swap", "FALSE", { NULL } },
		{ "swap", "maybe", { "swap=maybe", "yes or no" } },
		{ "swap-reserve", "1M", { NULL } },
		{ "swap-reserve", "-", { "swap-reserve=-", "not a size" } },
		{ "colour", "red", { "colour=red", "no such key", "mem-limit" } },
		{ "streams", "managed", { NULL } },
		{ "streams", "percpu", { NULL } },
		{ "streams", "both", { "streams=both", "managed or percpu" } },
		{ "streams", "", { "streams=", "managed or percpu" } },
		{ "accel", "iaa", { NULL } },
		{ "accel", "hisi", { NULL } },
		{ "accel", "gpu", { "accel=gpu", "iaa, qat, mobile, swthread, hisi" } },
		{ "accel", "", { "accel=", "iaa, qat, mobile, swthread, hisi" } },
		{ "accel-queue-depth", "256", { NULL } },
		{ "accel-queue-depth", "0", { "accel-queue-depth=0", "allowed is 1 to" } },
		{ "accel-queue-depth", "-3", { "accel-queue-depth=-3", "allowed is 1 to" } },
		{ "accel-queue-depth", "many", { "accel-queue-depth=many", "operations" } },
		{ "accel-jitter", "101", { "accel-jitter=101", "0 to 100 (percent)" } },
		{ "accel-transport", "eventfd", { NULL } },
		{ "accel-transport", "pci", { "accel-transport=pci", "msgring, eventfd, inline" } },
		{ "accel-codecs", "lz4 zstd", { NULL } },
		{ "accel-verify", "perhaps", { "accel-verify=perhaps", "yes or no" } },
		{ "accel-colour", "red", { "accel-colour=red", "no such field", "queue-depth" } },
		{ "accel-", "1", { "accel-=1", "no such field" } },
		{ "accel-fault", "timeout:1,100,0,-1", { NULL } },
		{ "accel-fault", "timeout", { "accel-fault=timeout", "KIND:INTERVAL" } },
		{ "accel-fault", "timeout:1,101,0,-1", { "accel-fault=timeout:1,101,0,-1",
			"PROBABILITY 0 to 100" } },
		{ "accel-fault", "fire:1,1,0,1", { "accel-fault=fire:1,1,0,1", "hw-error" } },
		{ "backing", "/x", { NULL } },
		{ "backing", "nbd+unix:///x?socket=/y", { NULL } },
		{ "backing", "", { "backing=", "file or block device", "NBD URI" } },
		{ "backing-size", "1G", { NULL } },
		{ "backing-size", "0", { "backing-size=0", "not 0" } },
		{ "backing-size", "much", { "backing-size=much", "not a size" } },
		{ "backing-overwrite", "yes", { NULL } },
		{ "backing-overwrite", "off", { NULL } },
		{ "backing-overwrite", "x", { "backing-overwrite=x", "yes or no" } },
		{ "writeback", "manual", { NULL } },
		{ "writeback", "auto", { NULL } },
		{ "writeback", "yes", { "writeback=yes", "manual or auto" } },
		{ "high", "100", { NULL } },
		{ "high", "0", { "high=0", "1 to 100" } },
		{ "high", "101", { "high=101", "1 to 100" } },
		{ "high", "90%", { "high=90%", "1 to 100" } },
		{ "low", "1", { NULL } },
		{ "low", "100", { "low=100", "1 to 99" } },
		{ "writeback-batch", "1", { NULL } },
		{ "writeback-batch", "256", { NULL } },
		{ "writeback-batch", "0", { "writeback-batch=0", "1 to 256" } },
		{ "writeback-batch", "257", { "writeback-batch=257", "1 to 256" } },
		{ "promote", "never", { NULL } },
		{ "promote", "second-read", { NULL } },
		{ "promote", "always", { "promote=always", "never, read or second-read" } },
		{ "recompress", "zstd", { "recompress=zstd", "not supported" } },
		{ "disk", "a", { NULL } },
		{ "disk", "a b", { "disk=a b", "letters, digits, . _ -" } },
		{ "disk", "", { "disk=", "1 to 64" } },
		{ "disk", "stat", { "disk=stat", "word of uzramctl" } },
		{ "disk", "0123456789012345678901234567890123456789012345678901234567890123x",
			{ "1 to 64" } },
		{ "control-group", "adm", { NULL } },
		{ "control-group", "", { "control-group=", "group" } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct params params;
		struct uz_error e = { 0 };
		int ret;

		params_init(&params);
		ret = params_set(&params, rows[i].key, rows[i].value, &e);
		if ((ret == 0) != !rows[i].words[0])
			fail_msg("%s=%s: %d %s", rows[i].key, rows[i].value, ret, e.text);
		for (size_t w = 0; w < ARRAY_SIZE(rows[i].words) && rows[i].words[w]; w++)
			if (!strstr(e.text, rows[i].words[w]))
				fail_msg("%s=%s: \"%s\" lacks \"%s\"", rows[i].key, rows[i].value,
					e.text, rows[i].words[w]);
		assert_null(strchr(e.text, '\n'));
		params_free(&params);
	}
}

static void size_is_required(void **state)
{
	struct params params;
	struct uz_error e = { 0 };

	params_init(&params);
	assert_int_equal(params_finish(&params, &e), -1);
	assert_non_null(strstr(e.text, "size= is required"));
	params_free(&params);
}

/* Keys in order, as on the command line. */
static void set_all(struct params *params, const char *const *words)
{
	struct uz_error e = { 0 };

	params_init(params);
	for (; words[0]; words += 2)
		if (params_set(params, words[0], words[1], &e) == -1)
			fail_msg("%s", e.text);
}

static void defaults(void **state)
{
	static const char *const words[] = { "size", "1M", NULL };
	struct params params;
	struct uz_error e = { 0 };

	set_all(&params, words);
	assert_int_equal(params_finish(&params, &e), 0);
	assert_int_equal(params.nr_disks, 1);
	assert_string_equal(params.disks[0].name, "");
	assert_int_equal(params.disks[0].size, 1 << 20);
	assert_ptr_equal(params.disks[0].algorithm, zcomp_find("lz4"));
	assert_int_equal(params.disks[0].mem_limit, 0);
	assert_int_equal(params.swap_reserve, 32 << 20);
	assert_false(params.disks[0].swap);
	assert_int_equal(params.disks[0].swap_reserve, 0);
	assert_null(params.disks[0].backing);
	assert_false(params.disks[0].wb_auto || params.disks[0].backing_overwrite);
	assert_int_equal(params.disks[0].wb_high, 90);
	assert_int_equal(params.disks[0].wb_low, 80);
	assert_int_equal(params.disks[0].wb_batch, 32);
	assert_int_equal(params.disks[0].promote, PROMOTE_SECOND_READ);
	params_free(&params);
}

static void several_disks(void **state)
{
	static const char *const words[] = { "size", "1M", "algorithm", "zstd", "disk", "a", "size",
		"2M", "swap", "yes", "disk", "b", "algorithm", "lz4hc:5", "mem-limit", "7k", NULL };
	struct params params;
	struct uz_error e = { 0 };

	set_all(&params, words);
	assert_int_equal(params_finish(&params, &e), 0);
	assert_int_equal(params.nr_disks, 2);
	assert_string_equal(params.disks[0].name, "a");
	assert_int_equal(params.disks[0].size, 2 << 20);
	assert_ptr_equal(params.disks[0].algorithm, zcomp_find("zstd"));
	assert_string_equal(params.disks[1].name, "b");
	assert_int_equal(params.disks[1].size, 1 << 20);
	assert_ptr_equal(params.disks[1].algorithm, zcomp_find("lz4hc"));
	assert_int_equal(params.disks[1].level, 5);
	assert_int_equal(params.disks[1].mem_limit, 7 << 10);
	assert_true(params.disks[0].swap && params.disks[1].locked);
	assert_int_equal(params.disks[1].swap_reserve, 16 << 20);
	assert_int_equal(params_set(&params, "disk", "a", &e), -1);
	assert_non_null(strstr(e.text, "already"));
	params_free(&params);
}

static void a_disk_without_size(void **state)
{
	static const char *const words[] = { "disk", "a", "size", "2M", "disk", "b", NULL };
	struct params params;
	struct uz_error e = { 0 };

	set_all(&params, words);
	assert_int_equal(params_finish(&params, &e), -1);
	assert_non_null(strstr(e.text, "disk=b: size= is required"));
	params_free(&params);
}

static void group_needs_a_socket(void **state)
{
	static const char *const words[] = { "size", "1M", "control-group", "adm", NULL };
	struct params params;
	struct uz_error e = { 0 };

	set_all(&params, words);
	assert_int_equal(params_finish(&params, &e), -1);
	assert_non_null(strstr(e.text, "control-group=adm: allowed with control=PATH only"));
	params_free(&params);
}

/* Keys that only go together, or only apart. */
static void backings(void **state)
{
	static const struct {
		const char *const keys[16];
		const char *result; /* "auto", "manual": fine, and writeback is that of the first
				     * disk; else an error */
	} rows[] = {
		{ { "size", "1M", "backing", "x" }, "manual" },
		{ { "size", "1M", "backing", "x", "mem-limit", "1M" }, "auto" },
		{ { "size", "1M", "backing", "x", "mem-limit", "1M", "writeback", "manual" }, "manual" },
		{ { "size", "1M", "backing", "x", "mem-limit", "1M", "writeback", "auto" }, "auto" },
		{ { "size", "1M", "backing", "x", "writeback", "auto" },
			"writeback=auto: allowed with mem-limit= only" },
		{ { "size", "1M", "backing", "x", "writeback", "auto", "disk", "a" },
			"disk=a: writeback=auto: allowed with mem-limit= only" },
		{ { "size", "1M", "mem-limit", "1M" }, "manual" },
		{ { "size", "1M", "writeback", "auto" }, "writeback=: allowed with backing= only" },
		{ { "size", "1M", "backing-size", "1G" },
			"backing-size=: allowed with backing= only" },
		{ { "size", "1M", "backing-overwrite", "no" },
			"backing-overwrite=: allowed with backing= only" },
		{ { "size", "1M", "high", "95" }, "high=: allowed with backing= only" },
		{ { "size", "1M", "disk", "a", "low", "5" }, "disk=a: low=: allowed with backing= only" },
		{ { "size", "1M", "low", "5", "disk", "a", "disk", "b" },
			"low=: allowed with backing= only" },
		{ { "size", "1M", "promote", "read", "disk", "a", "disk", "b", "backing", "x" },
			"manual" },
		{ { "size", "1M", "mem-limit", "1M", "writeback", "auto", "disk", "a", "backing",
			  "x", "disk", "b" }, "auto" },
		{ { "size", "1M", "backing", "x", "high", "80" },
			"high=80 low=80: allowed is a low below high (they are 90 and 80 if left out)" },
		{ { "size", "1M", "backing", "x", "low", "90" }, "high=90 low=90: " },
		{ { "size", "1M", "backing", "x", "high", "50", "low", "49" }, "manual" },
		{ { "size", "1M", "disk", "a", "backing", "x", "disk", "b", "backing", "y" }, "manual" },
		{ { "size", "1M", "disk", "a", "backing", "x", "disk", "b", "backing", "x" },
			"backing=x: disks \"a\" and \"b\" have it" },
		{ { "size", "1M", "backing", "x", "disk", "a", "disk", "b" },
			"backing=x: disks \"a\" and \"b\" have it" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct params params;
		struct uz_error e = { 0 };
		const char *result = e.text;

		set_all(&params, rows[i].keys);
		if (params_finish(&params, &e) == 0)
			result = params.disks[0].wb_auto ? "auto" : "manual";
		if (!strstr(result, rows[i].result))
			fail_msg("row %zu: %s", i, result);
		params_free(&params);
	}
}

/* The profile is one for the process, whatever the order its keys come in. */
static void accelerators(void **state)
{
	static const struct {
		const char *const keys[20];
		const char *refusal; /* NULL: fine */
		const char *name;    /* "": no accelerator */
		unsigned depth, percent; /* of the profile; of its hw-error fault */
		bool managed;		 /* the first disk */
	} rows[] = {
		{ { "size", "1M" }, NULL, "", 0, 0, true },
		{ { "size", "1M", "streams", "percpu" }, NULL, "", 0, 0, false },
		{ { "size", "1M", "accel", "iaa" }, NULL, "iaa", 128, 0, true },
		{ { "accel", "qat", "size", "1M", "accel-queue-depth", "9" }, NULL, "qat", 9, 0, true },
		{ { "accel-queue-depth", "9", "size", "1M", "accel", "qat" }, NULL, "qat", 9, 0, true },
		{ { "accel-queue-depth", "9", "accel", "qat", "accel-queue-depth", "7", "size", "1M" },
			NULL, "qat", 7, 0, true },
		{ { "accel", "qat", "accel", "mobile", "size", "1M" }, NULL, "mobile", 512, 0, true },
		{ { "accel-fault", "hw-error:1,5,0,-1", "accel-fault", "busy:1,1,0,1", "size", "1M",
			  "accel", "iaa" }, NULL, "iaa", 128, 5, true },
		{ { "accel", "iaa", "accel-fault", "hw-error:1,5,0,-1", "accel-fault",
			  "hw-error:1,6,0,-1", "size", "1M" }, NULL, "iaa", 128, 6, true },
		{ { "size", "1M", "disk", "a", "streams", "percpu", "disk", "b", "accel", "iaa" }, NULL,
			"iaa", 128, 0, false },
		{ { "size", "1M", "streams", "percpu", "disk", "a", "streams", "managed", "disk", "b" },
			NULL, "", 0, 0, true },
		{ { "size", "1M", "accel-queue-depth", "9" },
			"accel-queue-depth=: allowed with accel=PROFILE only", NULL, 0, 0, false },
		{ { "size", "1M", "disk", "a", "accel-jitter", "9" },
			"accel-jitter=: allowed with accel=PROFILE only", NULL, 0, 0, false },
		{ { "size", "1M", "accel-fault", "hw-error:1,5,0,-1" },
			"accel-fault=: allowed with accel=PROFILE only", NULL, 0, 0, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct params params;
		struct uz_error e = { 0 };
		int ret;

		set_all(&params, rows[i].keys);
		ret = params_finish(&params, &e);
		if ((ret == -1) != !!rows[i].refusal ||
			(ret == -1 && !strstr(e.text, rows[i].refusal)))
			fail_msg("row %zu: %d %s", i, ret, e.text);
		if (ret == 0) {
			assert_int_equal(params.has_accel, *rows[i].name != '\0');
			assert_string_equal(params.accel.name, rows[i].name);
			assert_int_equal(params.accel.queue_depth, rows[i].depth);
			assert_int_equal(params.accel.faults[ACCEL_FAULT_HW_ERROR].probability,
				rows[i].percent);
			assert_int_equal(params.disks[0].managed, rows[i].managed);
		}
		params_free(&params);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(values),
		cmocka_unit_test(size_is_required),
		cmocka_unit_test(defaults),
		cmocka_unit_test(several_disks),
		cmocka_unit_test(a_disk_without_size),
		cmocka_unit_test(group_needs_a_socket),
		cmocka_unit_test(backings),
		cmocka_unit_test(accelerators),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
