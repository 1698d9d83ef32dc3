/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket's part in the second tier: settings, idle, writeback, statistics. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control-fixture.h"

/* What `set` may change of the second tier, and when. */
static void test_set_backing(void **state)
{
	static const struct {
		const char *line, *error, *text;
	} rows[] = {
		{ "set b.2 batch=7", NULL, NULL },
		{ "set b.2 high=50", "ENODEV", "set high: disk \"b.2\" has no backing" },
		{ "set b.2 mem-limit=1M writeback-limit=1", "ENODEV",
			"set writeback-limit: disk \"b.2\" has no backing" },
		{ "writeback b.2 all", "ENODEV", "writeback: disk \"b.2\" has no backing" },
		{ "set default writeback=auto high=70 low=60 writeback-batch=256 promote=read "
		  "writeback-limit=123456789012 writeback-limit-enable=1", NULL, NULL },
		{ "set default low=69", NULL, NULL },
		{ "set default low=70", "EINVAL",
			"set high=70 low=70: allowed is a low below high" },
		{ "set default high=69", "EINVAL",
			"set high=69 low=69: allowed is a low below high" },
		{ "set default high=101", "EINVAL", "high=101: allowed is 1 to 100" },
		{ "set default low=0", "EINVAL", "low=0: allowed is 1 to 99" },
		{ "set default writeback-batch=257", "EINVAL",
			"writeback-batch=257: allowed is 1 to 256" },
		{ "set default promote=always", "EINVAL",
			"promote=always: allowed is never, read or second-read" },
		{ "set default writeback=never", "EINVAL",
			"writeback=never: allowed is manual or auto" },
		{ "set default writeback-limit=-1", "EINVAL",
			"writeback-limit=-1: allowed is a number of pages" },
		{ "set default writeback-limit=1M", "EINVAL",
			"writeback-limit=1M: allowed is a number of pages" },
		{ "set default writeback-limit-enable=2", "EINVAL",
			"writeback-limit-enable=2: allowed is 1 or 0" },
		{ "set default batch=257", "EINVAL", "batch=257: allowed is 1 to 256" },
		{ "set default batch=1 mem-limit=0 writeback=auto", "EINVAL",
			"set writeback=auto: disk \"default\" has no mem-limit to keep" },
		{ "set default backing=/x", "EINVAL", "\"backing=/x\": allowed is " SET_KEYS },
	};
	size_t i;
	int fd;

	start(2, 0);
	disks[0].has_backing = true;
	fd = client();
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		say(fd, rows[i].line);
		say(fd, "\n");
		if (rows[i].error)
			expect_error(fd, rows[i].error, rows[i].text);
		else if (!strstr(hear(fd), "\"ok\":true"))
			fail_msg("%s", rows[i].line);
	}
	assert_int_equal(disks[1].batch, 7);
	assert_int_equal(disks[1].high, 90);
	assert_int_equal(disks[1].limit, 65536);
	assert_true(disks[0].wb_auto && disks[0].wb_limit_enable);
	assert_int_equal(disks[0].high, 70);
	assert_int_equal(disks[0].low, 69);
	assert_int_equal(disks[0].wb_batch, 256);
	assert_int_equal(disks[0].batch, 32);
	assert_int_equal(disks[0].wb_limit, 123456789012);
	assert_int_equal(disks[0].promote, PROMOTE_READ);
	assert_int_equal(disks[0].limit, 65536);
	/* A limit and what needs it, in one go, in either order. */
	say(fd, "set default writeback=manual mem-limit=0\n");
	hear(fd);
	assert_int_equal(disks[0].limit, 0);
	say(fd, "set default writeback=auto mem-limit=1M\n");
	assert_non_null(strstr(hear(fd), "\"ok\":true"));
	assert_true(disks[0].wb_auto);
	close(fd);
}

/* Idle and writeback: zram's words, and what comes of them. */
static void test_writeback(void **state)
{
	static const struct {
		const char *line, *asked; /* of the disk */
		const char *error, *text;
	} rows[] = {
		{ "writeback huge", "1", NULL, NULL },
		{ "writeback default idle", "2", NULL, NULL },
		{ "writeback type=huge_idle incompressible", "12", NULL, NULL },
		{ "writeback all", "16", NULL, NULL },
		{ "writeback page_index=5 page_indexes=0-262143 page_index=7", "0 5-5 0-262143 7-7",
			NULL, NULL },
		{ "writeback page_indexes=9-9 idle", "2 9-9", NULL, NULL },
		{ "writeback", NULL, "EINVAL", "too few arguments; usage: writeback [DISK] MODE..." },
		{ "writeback cold", NULL, "EINVAL",
			"writeback cold: allowed is huge, idle, huge_idle, incompressible, all, "
			"page_index=N, page_indexes=A-B" },
		{ "writeback idle type=", NULL, "EINVAL",
			"writeback type=: allowed is huge, idle, huge_idle, incompressible, all, "
			"page_index=N, page_indexes=A-B" },
		{ "writeback page_index=-1", NULL, "EINVAL",
			"writeback page_index=-1: allowed is page_index=N, a page's number" },
		{ "writeback page_index=", NULL, "EINVAL",
			"writeback page_index=: allowed is page_index=N, a page's number" },
		{ "writeback page_index=3-4", NULL, "EINVAL",
			"writeback page_index=3-4: allowed is page_index=N, a page's number" },
		{ "writeback page_indexes=3", NULL, "EINVAL",
			"writeback page_indexes=3: allowed is page_indexes=A-B, numbers of pages" },
		{ "writeback page_indexes=3-", NULL, "EINVAL",
			"writeback page_indexes=3-: allowed is page_indexes=A-B, numbers of pages" },
		{ "writeback page_indexes=4-3", NULL, "ERANGE",
			"writeback page_indexes=4-3: the first is behind the last" },
		{ "writeback page_index=262144", NULL, "ERANGE",
			"writeback page_index=262144: disk \"default\" has 262144 pages" },
		{ "writeback page_indexes=0-262144", NULL, "ERANGE",
			"writeback page_indexes=0-262144: disk \"default\" has 262144 pages" },
		{ "writeback page_indexes=0-99999999999999999999", NULL, "EINVAL",
			"writeback page_indexes=0-99999999999999999999: allowed is "
			"page_indexes=A-B, numbers of pages" },
		{ "idle cold", NULL, "EINVAL", "idle cold: allowed is all, or a number of seconds" },
		{ "idle 4294967296", NULL, "EINVAL",
			"idle 4294967296: allowed is all, or a number of seconds" },
		{ "idle -1", NULL, "EINVAL", "idle -1: allowed is all, or a number of seconds" },
		{ "idle", NULL, "EINVAL", "too few arguments; usage: idle [DISK] all|SECONDS" },
	};
	static const char done[] = "{\"ok\":true,\"name\":\"default\",\"pages\":3,"
		"\"bytes_written\":4,\"bytes_gained\":5,\"errors\":0,\"budget_ended\":true,"
		"\"full\":false}";
	size_t i;
	int fd, other;

	start(1, 0);
	disks[0].has_backing = true;
	disks[0].wb_result = (struct disk_wb_result){ 3, 4, 5, 0, true, false };
	fd = client();
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		strcpy(disks[0].wb_asked, "nothing");
		say(fd, rows[i].line);
		say(fd, "\n");
		if (rows[i].error)
			expect_error(fd, rows[i].error, rows[i].text);
		else
			expect_text(fd, done);
		assert_string_equal(disks[0].wb_asked, rows[i].asked ?: "nothing");
	}
	say(fd, "idle all\n");
	expect_text(fd, "{\"ok\":true,\"name\":\"default\",\"pages\":77}");
	assert_int_equal(disks[0].idle, 0);
	say(fd, "idle default 4294967295\n");
	hear(fd);
	assert_int_equal(disks[0].idle, UINT32_MAX);
	/* What went wrong tells how far it came. */
	disks[0].wb_result = (struct disk_wb_result){ 3, 4, 5, 2, false, false };
	say(fd, "writeback all\n");
	expect_text(fd, "{\"ok\":false,\"errno\":\"EIO\",\"error\":\"writeback: 2 pages of disk "
		"\\\"default\\\" could not be written, and stay in memory; 3 were written back\","
		"\"name\":\"default\",\"pages\":3,\"bytes_written\":4,\"bytes_gained\":5,"
		"\"errors\":2,\"budget_ended\":false,\"full\":false}");
	disks[0].wb_result = (struct disk_wb_result){ 3, 4, 5, 0, false, true };
	say(fd, "writeback all\n");
	assert_non_null(strstr(hear(fd), "\"errno\":\"ENOSPC\""));
	disks[0].bad = 1;
	say(fd, "writeback all\n");
	assert_non_null(strstr(hear(fd), "\"errno\":\"EBUSY\""));
	disks[0].bad = 0;
	/* One at a time; statistics do not wait. */
	atomic_store(&disks[0].release, false);
	say(fd, "writeback all --progress\n");
	assert_string_equal(hear(fd), "{\"done\":500,\"total\":1000}");
	other = client();
	say(other, "writeback all\n");
	expect_error(other, "EBUSY", "writeback of disk \"default\" is running");
	say(other, "stat\n");
	assert_non_null(strstr(hear(other), "\"bytes_used\":34000"));
	close(other);
	stop(NULL);
	while (strstr(hear(fd), "\"done\""))
		;
	close(fd);
}

/* Settings and statistics of a disk with a backing. */
static void test_backing_documents(void **state)
{
	const char *line;
	int fd;

	start(1, 0);
	disks[0].has_backing = true;
	fd = client();
	say(fd, "stat\n");
	line = hear(fd);
	assert_non_null(strstr(line, "\"bd_stat\":{\"bd_count\":31,\"bd_reads\":32,"
		"\"bd_writes\":33,\"bytes_used\":34000,\"bytes_allocated\":35000,"
		"\"bytes_written\":36000,\"checksum_errors\":38,\"read_errors\":39,"
		"\"write_errors\":40,\"capacity\":370000,\"promoted\":41,\"decompressed\":0}"));
	assert_non_null(strstr(line, "\"writeback\":{\"mode\":\"manual\","
		"\"backing\":\"io_uring\",\"paused\":true,\"high\":90,\"low\":80,\"batch\":32,"
		"\"promote\":\"second-read\",\"limit_enable\":false,\"limit\":0,\"passes\":42,"
		"\"throttled\":43,\"throttled_ms\":44.5}"));
	say(fd, "list\n");
	assert_non_null(strstr(hear(fd), "\"wb\":34000}"));
	say(fd, "metrics\n");
	line = hear(fd);
	assert_non_null(strstr(line, "\\nuzram_backing_used_bytes{disk=\\\"default\\\"} 34000\\n"));
	assert_non_null(strstr(line, "\\nuzram_writeback_paused{disk=\\\"default\\\"} 1\\n"));
	assert_non_null(strstr(line, "younger=\\\"+Inf\\\"} 400\\n"));
	close(fd);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_set_backing, stop),
		cmocka_unit_test_teardown(test_writeback, NULL),
		cmocka_unit_test_teardown(test_backing_documents, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_in_dir(run);
}
