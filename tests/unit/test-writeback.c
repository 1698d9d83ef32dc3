/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The second tier, one rule a test. Content is compared with a copy in memory throughout; memory
 * and records with the counters, by disk_check().
 */
#include "wb-pages.h"

/* --- one way and the other --- */

static void everything_goes_and_comes_back(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct disk_stat before = stat_of(disk), st;
	struct disk_wb_result r = wb_all(disk, WB_ALL);

	st = stat_of(disk);
	assert_int_equal(r.pages, before.mm.orig_data_size / 4096 - before.mm.same_pages);
	assert_int_equal(st.bd.bd_count, r.pages);
	assert_int_equal(st.bd.bd_writes, r.pages);
	assert_int_equal(st.mm.compr_data_size, 0);
	assert_int_equal(st.mm.mem_used_total, 0);
	assert_int_equal(st.mm.huge_pages, 0);
	assert_int_equal(st.mm.same_pages, before.mm.same_pages);
	assert_int_equal(st.mm.orig_data_size, before.mm.orig_data_size);
	assert_int_equal(st.bd.bytes_used, r.bytes_written);
	assert_int_equal(before.limit_used - st.limit_used, r.bytes_gained);
	assert_true(st.bd.bytes_used <= before.mm.compr_data_size + 16 * r.pages);
	assert_int_equal(r.errors, 0);
	assert_true(disk_check(disk));
	assert_content(disk);
	assert_int_equal(stat_of(disk).bd.bd_reads, r.pages);
	assert_int_equal(wb_all(disk, WB_ALL).pages, 0);
	end(disk);
}

/* An oracle for "no decompression": the codec itself counts. */
static _Atomic unsigned decoded;

static int counting_decompress(
	struct zcomp_params *params, struct zcomp_ctx *ctx, struct zcomp_req *req)
{
	decoded++;
	return zcomp_find("lz4")->decompress(params, ctx, req);
}

static void no_decompression(void **state)
{
	struct disk *disk = wb_disk((struct disk_config){ .size = 16 * MIB });
	struct zcomp_ops counting = *zcomp_find("lz4");
	struct uz_error e;

	counting.decompress = counting_decompress;
	assert_int_equal(disk_set_algorithm(disk, &counting, ZCOMP_LEVEL_UNSET, &e), 0);
	fill_pages();
	write_pages(disk);
	assert_true(wb_all(disk, WB_ALL).pages > 0);
	for (unsigned i = 0; i < PAGES; i += 2)
		disk_trim(disk, 4096, i * 4096);
	while (log_clean(disk->log, 100))
		;
	assert_int_equal(decoded, 0);
	assert_int_equal(stat_of(disk).bd.decompressed, 0);
	disk_read(disk, out, sizeof(out), 0);
	assert_int_equal(decoded, stat_of(disk).bd.bd_reads - PAGES / 2 / NR_KINDS);
	end(disk);
}

static void overwrite_and_trim_free_the_record(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });

	wb_all(disk, WB_ALL);
	for (unsigned i = 0; i < PAGES; i += 3) {
		make(in + i * 4096, 4096, i % 7 % NR_KINDS);
		assert_int_equal(disk_write(disk, in + i * 4096, 4096, i * 4096, false), 0);
	}
	for (unsigned i = 1; i < PAGES; i += 3) {
		memset(in + i * 4096, 0, 4096);
		assert_int_equal(disk_trim(disk, 4096, i * 4096), 0);
	}
	assert_true(disk_check(disk));
	assert_content(disk);
	wb_all(disk, WB_ALL);
	assert_content(disk);
	end(disk);
}

/* Kernel a95556ac2f53 (a partial write onto a written-back slot), e3668b371329 (a sub-page discard
 * that never ended). */
static void parts_of_backed_pages(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });

	for (unsigned i = 0; i < 400; i++) {
		uint64_t at = rng() % (sizeof(in) - 9000), len = 1 + rng() % 9000;

		if (i % 50 == 0)
			wb_all(disk, WB_ALL);
		if (i % 3 == 0) {
			memset(in + at, (int)rng(), len);
			assert_int_equal(disk_write(disk, in + at, len, at, false), 0);
		} else if (i % 3 == 1) {
			memset(in + at, 0, len);
			assert_int_equal(disk_trim(disk, len, at), 0);
		} else {
			assert_int_equal(disk_read(disk, out, len, at), 0);
			assert_memory_equal(out, in + at, len);
		}
	}
	assert_content(disk);
	end(disk);
}

/* The slot's codec is the one that made the record, whatever the disk's is now. */
static void codecs_are_kept(void **state)
{
	static const char *const specs[] = { "zstd:1", "lz4", "deflate:1", "lz4hc", "none" };
	struct disk *disk = filled((struct disk_config){ 0 });
	const struct zcomp_ops *ops;
	struct uz_error e;
	char err[256];
	int level;

	for (unsigned i = 0; i < PAGES; i++) {
		zcomp_parse(specs[i % 5], &ops, &level, err, sizeof(err));
		assert_int_equal(disk_set_algorithm(disk, ops, level, &e), 0);
		make(in + i * 4096, 4096, TEXT + i % 3);
		assert_int_equal(disk_write(disk, in + i * 4096, 4096, i * 4096, false), 0);
	}
	assert_int_equal(wb_all(disk, WB_ALL).pages, PAGES);
	assert_content(disk);
	end(disk);
}

static int count_data(void *opaque, uint64_t offset, uint64_t length, bool hole)
{
	if (!hole)
		*(uint64_t *)opaque += length;
	return 0;
}

static void shown_as_data_with_its_flags(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct disk_block b[PAGES], c[PAGES];
	uint64_t next, data = 0;

	assert_int_equal(disk_blocks(disk, 0, PAGES - 1, b, PAGES, &next), PAGES);
	wb_all(disk, WB_ALL);
	assert_int_equal(disk_blocks(disk, 0, PAGES - 1, c, PAGES, &next), PAGES);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(b[i].size, c[i].size);
		assert_string_equal(b[i].algorithm, c[i].algorithm);
		if (i % NR_KINDS == ZEROES || i % NR_KINDS == WORD)
			assert_string_equal(c[i].flags, "s");
		else
			assert_string_equal(c[i].flags, i % NR_KINDS == RANDOM ? "wh" : "w");
	}
	disk_extents(disk, sizeof(in), 0, false, count_data, &data);
	assert_int_equal(data, sizeof(in));
	end(disk);
}

/* --- modes --- */

static void modes_take_what_they_say(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct disk_wb_range ranges[] = { { 2, 2 }, { 10, 20 }, { 500, 10000 }, { 99999, 99999 } };
	struct disk_wb_request by_range = { .ranges = ranges, .nr_ranges = ARRAY_SIZE(ranges) };
	unsigned raw = 0, objects = 0, want = 0;
	struct disk_wb_result r;
	struct uz_error e;

	for (unsigned i = 0; i < PAGES; i++) {
		raw += i % NR_KINDS == RANDOM;
		objects += i % NR_KINDS == RANDOM || i % NR_KINDS == TEXT || i % NR_KINDS == HALF;
	}
	assert_int_equal(wb_all(disk, WB_IDLE).pages, 0);
	assert_int_equal(wb_all(disk, WB_HUGE_IDLE).pages, 0);
	assert_int_equal(wb_all(disk, 0).pages, 0);
	assert_int_equal(wb_all(disk, WB_HUGE).pages, raw);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(state_of(disk, i) == 'w', i % NR_KINDS == RANDOM);
	write_pages(disk);
	assert_int_equal(wb_all(disk, WB_INCOMPRESSIBLE).pages, raw);
	write_pages(disk);
	assert_int_equal(disk_idle(disk, 0), objects);
	disk_read(disk, out, 100 * 4096, 0);
	assert_int_equal(wb_all(disk, WB_HUGE_IDLE).pages, raw - 20);
	assert_int_equal(wb_all(disk, WB_IDLE).pages, objects - raw - 40);
	write_pages(disk);
	assert_int_equal(disk_writeback(disk, &by_range, NULL, NULL, &r, &e), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		bool in_range = i == 2 || (i >= 10 && i <= 20) || i >= 500;

		if (i % NR_KINDS <= WORD)
			continue;
		want += in_range;
		assert_int_equal(state_of(disk, i) == 'w', in_range);
	}
	assert_int_equal(r.pages, want);
	assert_content(disk);
	end(disk);
}

static void idle_until_accessed(void **state)
{
	struct disk *disk = wb_disk((struct disk_config){ .size = 16 * MIB });
	struct table_ref ref;

	make(in, 10 * 4096, RANDOM);
	assert_int_equal(disk_write(disk, in, 10 * 4096, 0, false), 0);
	assert_int_equal(disk_idle(disk, 0), 10);
	disk_read(disk, out, 4096, 0);
	disk_write(disk, in + 4096, 4096, 4096, false);
	disk_read(disk, out, 1, 2 * 4096 + 5);
	disk_write(disk, in + 3 * 4096, 1, 3 * 4096, false);
	assert_true(disk_check(disk));
	assert_int_equal(wb_all(disk, WB_IDLE).pages, 6);
	/* By age; and one that is younger is not idle any more. */
	disk_write(disk, in, 10 * 4096, 0, false);
	assert_int_equal(disk_idle(disk, 0), 10);
	assert_true(table_get(disk->table, 0, false, &ref));
	for (unsigned i = 0; i < 5; i++)
		table_slot(&ref, i)->ac_time = uz_seconds() - 100;
	table_put(disk->table, &ref, 0);
	assert_int_equal(disk_idle(disk, 50), 5);
	assert_int_equal(wb_all(disk, WB_IDLE).pages, 5);
	assert_int_equal(state_of(disk, 4), 'w');
	assert_int_equal(state_of(disk, 5), 'm');
	assert_int_equal(disk_idle(disk, 1000000), 0);
	end(disk);
}

static void ages_are_counted(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct disk_ages ages;
	struct table_ref ref;
	uint64_t pages = 0;

	wb_all(disk, WB_HUGE);
	assert_true(table_get(disk->table, 0, false, &ref));
	for (unsigned i = 0; i < 7; i++)
		table_slot(&ref, i)->ac_time = uz_seconds() - 2000;
	table_put(disk->table, &ref, 0);
	disk_get_ages(disk, &ages);
	assert_int_equal(ages.pages[4], 7);
	for (unsigned i = 0; i < DISK_AGES; i++)
		pages += ages.pages[i];
	assert_int_equal(pages, PAGES);
	end(disk);
}

/* --- budget --- */

static void budget(unsigned batch)
{
	struct disk *disk = filled((struct disk_config){ .wb_batch = batch });
	struct disk_wb_result r;
	struct uz_error e;
	uint64_t all = stat_of(disk).mm.orig_data_size / 4096 - stat_of(disk).mm.same_pages;

	disk_set_wb_limit(disk, 100, &e);
	disk_set_wb_limit_enable(disk, true, &e);
	r = wb_all(disk, WB_ALL);
	assert_true(r.budget_ended);
	assert_int_equal(r.pages, 100);
	assert_int_equal(stat_of(disk).bd.bd_count, 100);
	assert_int_equal(stat_of(disk).wb.limit, 0);
	assert_int_equal(wb_all(disk, WB_ALL).pages, 0);
	/* What was not written in the end is given back, and taken for others. */
	disk_set_wb_limit(disk, 50, &e);
	wb_fault(FAULT_WRITE, 1000, 2);
	r = wb_all(disk, WB_ALL);
	wb_fault(FAULT_WRITE, 0, 0);
	assert_true(r.errors >= 2);
	assert_int_equal(r.pages, 50);
	assert_true(r.budget_ended);
	assert_int_equal(stat_of(disk).wb.limit, 0);
	/* Enough for all: what is left stays. */
	disk_set_wb_limit(disk, 1000, &e);
	r = wb_all(disk, WB_ALL);
	assert_false(r.budget_ended);
	assert_int_equal(r.pages, all - 150);
	assert_int_equal(stat_of(disk).wb.limit, 1000 - r.pages);
	assert_content(disk);
	end(disk);
}

static void budget_is_exact(void **state)
{
	budget(1);
	budget(32);
	budget(256);
}

/* With limit_enable off nothing is counted; the largest go first. */
static void largest_first(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	unsigned raw = 0;
	struct uz_error e;

	for (unsigned i = 0; i < PAGES; i++)
		raw += i % NR_KINDS == RANDOM;
	disk_set_wb_limit(disk, raw + 10, &e);
	disk_set_wb_limit_enable(disk, true, &e);
	assert_int_equal(wb_all(disk, WB_ALL).pages, raw + 10);
	for (unsigned i = 0; i < PAGES; i++) {
		if (i % NR_KINDS == RANDOM)
			assert_int_equal(state_of(disk, i), 'w');
		if (i % NR_KINDS == TEXT)
			assert_int_equal(state_of(disk, i), 'm');
	}
	disk_set_wb_limit_enable(disk, false, &e);
	wb_all(disk, WB_ALL);
	assert_int_equal(stat_of(disk).wb.limit, 0);
	end(disk);
}

/* So that a request for neighbours is one I/O. */
static void in_order_if_all_can_go(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct log_stats log;

	wb_all(disk, WB_ALL);
	assert_content(disk);
	log_get_stats(disk->log, &log);
	/* 32 records at a time; a few more I/Os where chunks and segments end. */
	assert_in_range(log.reads, log.records_read / 32, log.records_read / 32 * 3);
	end(disk);
}

/* With a log that could not take them all, the largest are those that go. */
static void largest_first_if_not_all_fit(void **state)
{
	struct disk *disk = filled(
		(struct disk_config){ .backing_size = 64 * 1024 + 8 * 64 * 1024 });
	struct disk_wb_request request = { .modes = WB_ALL };
	struct disk_wb_result r = { 0 };
	unsigned small = 0, large = 0;
	struct uz_error e;

	disk_writeback(disk, &request, NULL, NULL, &r, &e);
	assert_true(r.full);
	for (unsigned i = 0; i < PAGES; i++) {
		small += i % NR_KINDS == TEXT && state_of(disk, i) == 'w';
		large += i % NR_KINDS == RANDOM && state_of(disk, i) == 'w';
	}
	assert_int_equal(small, 0);
	assert_true(large > 50);
	assert_content(disk);
	end(disk);
}

static void batches_bound_what_is_in_flight(void **state)
{
	static const unsigned batches[] = { 1, 2, 7, 32, 256 };
	struct disk_wb_range range = { 0, 49 };
	struct disk_wb_request request = { .ranges = &range, .nr_ranges = 1 };
	struct disk *slow = filled((struct disk_config){ .wb_batch = 1 });
	struct disk_wb_result r;
	struct uz_error e;
	uint64_t start;

	/* One by one, each 20 ms late: it cannot take less than their sum. */
	wb_fault(FAULT_DELAY, 1000, -1);
	start = uz_nsec();
	assert_int_equal(disk_writeback(slow, &request, NULL, NULL, &r, &e), 0);
	assert_true(r.pages >= 20 && uz_nsec() - start >= r.pages * 20000000);
	wb_fault(FAULT_DELAY, 0, 0);
	end(slow);
	for (unsigned i = 0; i < ARRAY_SIZE(batches); i++) {
		struct disk *disk = filled((struct disk_config){ .wb_batch = batches[i] });

		wb_all(disk, WB_ALL);
		assert_content(disk);
		end(disk);
	}
}

/* --- promotion --- */

static void promotion(void **state)
{
	struct disk *disk = filled((struct disk_config){ .promote = PROMOTE_SECOND_READ });
	struct disk_stat st;
	struct uz_error e;
	uint64_t n, huge_since = stat_of(disk).mm.huge_pages_since;

	n = wb_all(disk, WB_ALL).pages;
	assert_content(disk);
	st = stat_of(disk);
	assert_int_equal(st.bd.bd_count, n);
	assert_int_equal(st.bd.promoted, 0);
	assert_content(disk);
	st = stat_of(disk);
	assert_int_equal(st.bd.bd_count, 0);
	assert_int_equal(st.bd.promoted, n);
	assert_int_equal(st.bd.bd_reads, 2 * n);
	assert_int_equal(st.bd.bytes_used, 0);
	assert_int_equal(st.mm.huge_pages_since, huge_since);
	assert_content(disk);
	assert_int_equal(stat_of(disk).bd.bd_reads, 2 * n);
	/* Once written back anew, the count begins anew. */
	wb_all(disk, WB_ALL);
	assert_content(disk);
	assert_int_equal(stat_of(disk).bd.bd_count, n);
	disk_set_promote(disk, PROMOTE_NEVER, &e);
	for (int i = 0; i < 3; i++)
		assert_content(disk);
	assert_int_equal(stat_of(disk).bd.bd_count, n);
	disk_set_promote(disk, PROMOTE_READ, &e);
	assert_content(disk);
	assert_int_equal(stat_of(disk).bd.bd_count, 0);
	/* Not to above the watermark. */
	wb_all(disk, WB_ALL);
	disk_set_limit(disk, 100000);
	assert_content(disk);
	st = stat_of(disk);
	assert_true(st.bd.bd_count > 0 && st.limit_used <= 90000);
	assert_content(disk);
	end(disk);
}

/* --- without a backing --- */

static void without_a_backing_it_is_refused(void **state)
{
	struct disk *disk = new_disk("lz4", 16 * MIB, 0);
	struct disk_wb_request request = { .modes = WB_ALL };
	struct disk_wb_result r;
	struct uz_error e;

	assert_int_equal(disk_start(disk, &e), 0);
	assert_int_equal(disk_writeback(disk, &request, NULL, NULL, &r, &e), -1);
	assert_int_equal(e.code, ENODEV);
	assert_int_equal(disk_set_wb_limit(disk, 1, &e), -1);
	assert_int_equal(disk_set_wb_auto(disk, true, &e), -1);
	assert_false(stat_of(disk).has_backing);
	disk_stop(disk);
	disk_destroy(disk);
}

/* --- by itself --- */

static void full_memory_moves_out_by_itself(void **state)
{
	struct disk *disk = wb_disk((struct disk_config){ .size = 64 * MIB,
		.mem_limit = MIB,
		.wb_auto = true,
		.stage = MIB / 2,
		.batch = 32,
		.promote = PROMOTE_SECOND_READ });
	uint64_t seed[16];
	struct disk_stat st;

	for (unsigned i = 0; i < 16; i++) {
		seed[i] = rng_state;
		fill_pages();
		assert_int_equal(disk_write(disk, in, sizeof(in), i * sizeof(in), false), 0);
		st = stat_of(disk);
		assert_true(st.limit_used <= MIB);
		assert_true(st.mm.mem_used_total <= MIB + MIB / 10);
	}
	assert_true(st.bd.bd_count > 16 * PAGES / 3);
	for (unsigned i = 0; i < 16; i++) {
		rng_state = seed[i];
		fill_pages();
		assert_int_equal(disk_read(disk, out, sizeof(out), i * sizeof(out)), 0);
		assert_memory_equal(in, out, sizeof(in));
	}
	assert_int_equal(stat_of(disk).io.failed_writes, 0);
	end(disk);
}

static void oldest_go_first(void **state)
{
	struct disk *disk = wb_disk((struct disk_config){
		.size = 16 * MIB, .mem_limit = MIB, .wb_auto = true, .wb_high = 60, .wb_low = 50 });
	unsigned old = 0, young = 0;
	struct table_ref ref;

	make(in, sizeof(in), RANDOM);
	assert_int_equal(disk_write(disk, in, 140 * 4096, 0, false), 0);
	assert_true(table_get(disk->table, 0, false, &ref));
	for (unsigned i = 0; i < 140; i++)
		table_slot(&ref, i)->ac_time = uz_seconds() - (i % 2 ? 1000 : 5);
	table_put(disk->table, &ref, 0);
	assert_int_equal(disk_write(disk, in + 140 * 4096, 20 * 4096, 140 * 4096, false), 0);
	for (int i = 0; i < 500 && stat_of(disk).limit_used > MIB / 2; i++)
		usleep(10000);
	assert_true(stat_of(disk).limit_used <= MIB / 2);
	for (unsigned i = 0; i < 160; i++)
		if (state_of(disk, i) == 'w')
			*(i < 140 && i % 2 ? &old : &young) += 1;
	assert_true(old >= 20 && young == 0);
	end(disk);
}

/* Both tiers full: ENOSPC, what is there stays readable, and room made is room. */
static void full_is_when_both_are(void **state)
{
	struct disk *disk = wb_disk((struct disk_config){
		.size = 64 * MIB, .mem_limit = MIB, .wb_auto = true, .backing_size = 4 * MIB });
	uint64_t n = 0, got;
	struct disk_stat st;

	rng_state = 42;
	make(in, 4096, RANDOM);
	while (disk_write(disk, in, 4096, n * 4096, false) == 0) {
		n++;
		make(in, 4096, RANDOM);
		assert_true(n < 64 * 256);
	}
	assert_int_equal(errno, ENOSPC);
	st = stat_of(disk);
	/* The log keeps segments for cleaning. */
	assert_true(st.bd.bytes_used > st.bd.capacity * 9 / 10);
	assert_true(st.limit_used > MIB * 8 / 10);
	assert_true(disk_check(disk));
	rng_state = 42;
	for (got = 0; got < n; got++) {
		make(in, 4096, RANDOM);
		assert_int_equal(disk_read(disk, out, 4096, got * 4096), 0);
		assert_memory_equal(in, out, 4096);
	}
	assert_int_equal(disk_trim(disk, n / 2 * 4096, 0), 0);
	for (got = 0; got < n / 3; got++)
		assert_int_equal(disk_write(disk, in, 4096, got * 4096, false), 0);
	end(disk);
}

static void a_failing_backing_is_not_waited_for(void **state)
{
	struct disk *disk = wb_disk(
		(struct disk_config){ .size = 16 * MIB, .mem_limit = MIB, .wb_auto = true });
	uint64_t start = uz_nsec(), n = 0;

	wb_fault(FAULT_WRITE, 1000, -1);
	make(in, sizeof(in), RANDOM);
	while (n < PAGES && disk_write(disk, in + n * 4096, 4096, n * 4096, false) == 0)
		n++;
	assert_int_equal(errno, ENOSPC);
	assert_true(n > 200 && n < 256);
	assert_true(stat_of(disk).bd.paused);
	assert_int_equal(disk_read(disk, out, n * 4096, 0), 0);
	assert_memory_equal(in, out, n * 4096);
	/* It is tried again by itself. */
	wb_fault(FAULT_WRITE, 0, 0);
	while (stat_of(disk).bd.paused && uz_nsec() - start < UINT64_C(60) * 1000000000)
		usleep(10000);
	assert_false(stat_of(disk).bd.paused);
	assert_int_equal(disk_write(disk, in, sizeof(in), 0, false), 0);
	assert_int_equal(disk_read(disk, out, sizeof(out), 0), 0);
	assert_memory_equal(in, out, sizeof(in));
	end(disk);
}

static void space_on_the_backing_is_kept_small(void **state)
{
	struct disk *disk = wb_disk(
		(struct disk_config){ .size = 64 * MIB, .mem_limit = 2 * MIB, .wb_auto = true });
	struct disk_stat st;
	uint64_t segment, bound, worst = 0;
	struct log_stats log;

	log_get_stats(disk->log, &log);
	segment = log.segment;
	make(in, sizeof(in), RANDOM);
	for (unsigned i = 0; i < 12000; i++) {
		assert_int_equal(disk_write(disk, in + rng() % PAGES * 4096, 4096,
					 rng() % 4096 * 4096, false),
			0);
		log_get_stats(disk->log, &log);
		bound = log.bytes_used / 4 * 5 + segment;
		if (log.bytes_allocated > bound + worst)
			worst = log.bytes_allocated - bound;
	}
	/* What is on its way is allocated, but does not live yet: a batch of pages, and the
	 * cleaner's three buffers. */
	print_message("%lu bytes over at most, while it was written to\n", (unsigned long)worst);
	assert_true(worst <= 32 * LOG_RECORD(4096) + 3 * log_chunk_size(disk->log));
	for (int i = 0; i < 1000; i++) {
		st = stat_of(disk);
		if (st.bd.bytes_allocated <= st.bd.bytes_used * 10 / 8 + segment)
			break;
		usleep(10000);
	}
	assert_true(st.bd.bytes_allocated <= st.bd.bytes_used * 10 / 8 + segment);
	end(disk);
}

/* Pages on their way through the stage are no reason to give up, whoever has them just now. */
static struct disk *shared_disk;

static void *writer_main(void *opaque)
{
	static _Thread_local unsigned char buf[32 * 4096];
	uint64_t base = (uintptr_t)opaque * 4 * MIB, state = (uintptr_t)opaque + 1;

	for (uint64_t at = 0; at < 4 * MIB; at += sizeof(buf)) {
		for (size_t i = 0; i < sizeof(buf); i += 8) {
			uint64_t word = i % 4096 < 1200
						? state = state * 6364136223846793005 + 1442695
						: at;

			memcpy(buf + i, &word, 8);
		}
		if (disk_write(shared_disk, buf, sizeof(buf), base + at, false) == -1)
			return "refused";
	}
	return NULL;
}

static void many_writers_in_little_memory(void **state)
{
	struct uz_error e;

	assert_int_equal(drain_start(2, false, &e), 0);
	for (int round = 0; round < 8; round++) {
		struct disk_config config = { .size = 64 * MIB,
			.mem_limit = MIB / 2,
			.wb_auto = true,
			.stage = 4 * MIB,
			.batch = 32 };
		struct disk *disk = shared_disk = wb_disk(config);
		pthread_t threads[5];
		void *refused;

		for (uintptr_t i = 0; i < 5; i++)
			pthread_create(&threads[i], NULL, writer_main, (void *)i);
		for (unsigned i = 0; i < 5; i++) {
			pthread_join(threads[i], &refused);
			assert_null(refused);
		}
		end(disk);
	}
	drain_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_goes_and_comes_back),
		cmocka_unit_test(no_decompression),
		cmocka_unit_test(overwrite_and_trim_free_the_record),
		cmocka_unit_test(parts_of_backed_pages),
		cmocka_unit_test(codecs_are_kept),
		cmocka_unit_test(shown_as_data_with_its_flags),
		cmocka_unit_test(modes_take_what_they_say),
		cmocka_unit_test(idle_until_accessed),
		cmocka_unit_test(ages_are_counted),
		cmocka_unit_test(budget_is_exact),
		cmocka_unit_test(largest_first),
		cmocka_unit_test(in_order_if_all_can_go),
		cmocka_unit_test(largest_first_if_not_all_fit),
		cmocka_unit_test(batches_bound_what_is_in_flight),
		cmocka_unit_test(promotion),
		cmocka_unit_test(without_a_backing_it_is_refused),
		cmocka_unit_test(full_memory_moves_out_by_itself),
		cmocka_unit_test(oldest_go_first),
		cmocka_unit_test(full_is_when_both_are),
		cmocka_unit_test(a_failing_backing_is_not_waited_for),
		cmocka_unit_test(space_on_the_backing_is_kept_small),
		cmocka_unit_test(many_writers_in_little_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
