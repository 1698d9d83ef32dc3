/* SPDX-License-Identifier: BSD-3-Clause */
/* What an administrator does to a disk, and to the set of disks: disk_admin.c, registry.c. */
#include "disk-fixture.h"

#include "plugin/registry.h"

static unsigned char in[64 * 4096], out[64 * 4096];

static void limit_is_live(void **state)
{
	struct disk *disk = new_disk("lz4", 16 * MIB, 0);

	make(in, sizeof(in), RANDOM);
	assert_int_equal(disk_write(disk, in, sizeof(in), 0, false), 0);
	disk_set_limit(disk, 100000); /* below what is used */
	assert_int_equal(stat_of(disk).mm.mem_limit, 100000);
	assert_int_equal(disk_write(disk, in, 4096, MIB / 2, false), -1);
	assert_int_equal(disk_write(disk, in, 4096, 0, false), 0);
	disk_read(disk, out, sizeof(in), 0);
	assert_memory_equal(in, out, sizeof(in));
	disk_set_limit(disk, 0);
	assert_int_equal(disk_write(disk, in, 4096, MIB / 2, false), 0);
	assert_true(disk_check(disk));
	disk_destroy(disk);
}

static void algorithm_is_live(void **state)
{
	static const char *const specs[] = { "zstd", "deflate:1", "lz4hc", "none", "lz4:9", "lz4" };
	struct disk *disk = new_disk("lz4", 16 * MIB, 0);
	struct disk_block blocks[64];
	struct uz_error e;
	uint64_t next;

	make(in, sizeof(in), TEXT);
	for (unsigned i = 0; i < 64; i++) {
		const struct zcomp_ops *ops;
		char err[256];
		int level;

		zcomp_parse(specs[i % 6], &ops, &level, err, sizeof(err));
		assert_int_equal(disk_set_algorithm(disk, ops, level, &e), 0);
		assert_int_equal(disk_write(disk, in + i * 4096, 4096, i * 4096, false), 0);
		assert_string_equal(stat_of(disk).algorithm, ops->name);
	}
	disk_read(disk, out, sizeof(in), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(disk_blocks(disk, 0, UINT64_MAX, blocks, 64, &next), 64);
	assert_string_equal(blocks[0].algorithm, "zstd");
	assert_string_equal(blocks[1].algorithm, "deflate");
	assert_string_equal(blocks[3].algorithm, "-"); /* none stores raw */
	assert_string_equal(blocks[3].flags, "h");
	/* A slot has room for 16 codecs. */
	for (int level = 1; level <= 12; level++)
		assert_int_equal(disk_set_algorithm(disk, zcomp_find("zstd"), level, &e),
			level <= 11 ? 0 : -1);
	assert_non_null(strstr(e.text, "16"));
	assert_int_equal(disk_set_algorithm(disk, zcomp_find("lz4"), 9, &e), 0); /* had it */
	assert_true(disk_check(disk));
	disk_destroy(disk);
}

static void resize_larger_keeps_and_smaller_drops(void **state)
{
	static const uint64_t sizes[] = { MIB, 300 * MIB, 1ull << 34, 1ull << 44, DISK_SIZE_MAX };
	struct disk *disk = new_disk("lz4", 4096, 0);
	struct uz_error e;

	make(in, 4096 * ARRAY_SIZE(sizes), HALF);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(disk_resize(disk, sizes[i], &e), 0);
		assert_int_equal(disk_size(disk), sizes[i]);
		assert_int_equal(disk_write(disk, in + i * 4096, 4096, sizes[i] - 4096, false), 0);
		for (size_t k = 0; k <= i; k++) {
			assert_int_equal(disk_read(disk, out, 4096, sizes[k] - 4096), 0);
			assert_memory_equal(out, in + k * 4096, 4096);
		}
	}
	assert_int_equal(disk_resize(disk, 0, &e), -1);
	assert_int_equal(disk_resize(disk, UINT64_MAX, &e), -1);
	assert_non_null(strstr(e.text, "1 to 9223372036854771712"));
	for (size_t i = ARRAY_SIZE(sizes) - 1; i-- > 0;) {
		assert_int_equal(disk_resize(disk, sizes[i], &e), 0);
		assert_int_equal(stat_of(disk).mm.orig_data_size, (i + 1) * 4096);
		assert_int_equal(stat_of(disk).io.notify_free, 0);
	}
	assert_true(disk_check(disk));
	disk_destroy(disk);
}

static uint64_t resident(void)
{
	unsigned long size, rss;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &size, &rss), 2);
	fclose(f);
	return (uint64_t)rss * 4096;
}

/* A disk grown far beyond what its pool was made for holds its data. */
static void grown_pool_holds_what_it_must(void **state)
{
	struct disk *disk = new_disk("none", 4096, 0);
	struct uz_error e;

	assert_int_equal(disk_resize(disk, 256 * MIB, &e), 0);
	make(in, sizeof(in), RANDOM);
	for (uint64_t at = 0; at < 256 * MIB; at += sizeof(in))
		assert_int_equal(disk_write(disk, in, sizeof(in), at, false), 0);
	assert_int_equal(stat_of(disk).mm.mem_used_total, 256 * MIB);
	disk_destroy(disk);
}

static void reset_gives_everything_back(void **state)
{
	struct disk *disk = new_disk("lz4", 64 * MIB, 0);
	uint64_t before, again;

	disk_reset(disk); /* what it takes by itself is there */
	before = resident();
	for (unsigned round = 0; round < 2; round++) {
		struct disk_stat st;

		make(in, sizeof(in), HALF);
		for (uint64_t at = 0; at < 64 * MIB; at += sizeof(in))
			assert_int_equal(disk_write(disk, in, sizeof(in), at, false), 0);
		disk_read(disk, out, sizeof(out), 0);
		disk_reset(disk);
		st = stat_of(disk);
		for (const uint64_t *p = &st.mm.orig_data_size; p < &st.latency_sum_ns[0]; p++)
			assert_int_equal(*p, 0);
		assert_int_equal(st.limit_used, 0);
		assert_int_equal(st.size, 64 * MIB);
		disk_read(disk, out, sizeof(out), 0);
		for (size_t i = 0; i < sizeof(out); i++)
			assert_int_equal(out[i], 0);
		assert_true(disk_check(disk));
	}
	again = resident();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(again <= before + (256 << 10));
#else
	(void)again;
	(void)before;
#endif
	disk_destroy(disk);
}

static void verify_finds_what_does_not_decode(void **state)
{
	struct disk *disk = new_disk("zstd", MIB, 0);
	struct table_ref ref;
	uint64_t pages, bad;

	make(in, sizeof(in), TEXT);
	make(in, 4096, WORD);
	make(in + 4096, 4096, RANDOM);
	disk_write(disk, in, sizeof(in), 4096 * 100, false);
	assert_true(disk_verify(disk, &pages, &bad, NULL, NULL));
	assert_int_equal(pages, 64);
	assert_int_equal(bad, 0);
	for (unsigned i = 130; i < 133; i++) {
		zhandle_t h;

		assert_true(table_get(disk->table, i, false, &ref));
		h = slot_val(table_slot(&ref, i));
		memset(zpool_object(disk->pool, h), 0xff, zpool_size(disk->pool, h));
		table_put(disk->table, &ref, 0);
	}
	assert_true(disk_verify(disk, &pages, &bad, NULL, NULL));
	assert_int_equal(pages, 64);
	assert_int_equal(bad, 3);
	disk_destroy(disk);
}

static bool stop_now(void *opaque, unsigned done, unsigned total)
{
	return false;
}

static void verify_can_be_stopped(void **state)
{
	struct disk *disk = new_disk("lz4", MIB, 0);
	uint64_t pages, bad;

	make(in, sizeof(in), TEXT);
	disk_write(disk, in, sizeof(in), 0, false);
	assert_false(disk_verify(disk, &pages, &bad, stop_now, NULL));
	disk_destroy(disk);
}

static void blocks_list_what_is_stored(void **state)
{
	struct disk *disk = new_disk("lz4", 1ull << 40, 0);
	uint64_t far = (1ull << 40) / 4096 - 1, next;
	struct disk_block blocks[8];

	make(in, 4096, WORD);
	make(in + 4096, 4096, TEXT);
	make(in + 8192, 4096, RANDOM);
	disk_write(disk, in, 3 * 4096, 255 * 4096, false); /* across two leaves */
	disk_write(disk, in + 4096, 4096, far * 4096, false);
	assert_int_equal(disk_blocks(disk, 0, far, blocks, 8, &next), 4);
	assert_int_equal(next, far + 1);
	assert_int_equal(blocks[0].index, 255);
	assert_string_equal(blocks[0].flags, "s");
	assert_int_equal(blocks[0].size, 0);
	assert_int_equal(blocks[1].index, 256);
	assert_string_equal(blocks[1].flags, "");
	assert_in_range(blocks[1].size, 1, 1000);
	assert_string_equal(blocks[1].algorithm, "lz4");
	assert_true(blocks[1].age <= 5);
	assert_string_equal(blocks[2].flags, "h");
	assert_int_equal(blocks[2].size, 4096);
	assert_int_equal(blocks[3].index, far);
	/* A window, and a few at a time. */
	assert_int_equal(disk_blocks(disk, 256, 257, blocks, 8, &next), 2);
	assert_int_equal(next, 258);
	assert_int_equal(disk_blocks(disk, 0, far, blocks, 2, &next), 2);
	assert_int_equal(next, 257);
	assert_int_equal(disk_blocks(disk, next, far, blocks, 8, &next), 2);
	assert_int_equal(disk_blocks(disk, 300, 400, blocks, 8, &next), 0);
	assert_int_equal(next, 401);
	disk_destroy(disk);
}

static void drop_stats_keeps_what_is_stored(void **state)
{
	struct disk *disk = new_disk("lz4", MIB, 0);
	struct disk_stat st;

	make(in, sizeof(in), RANDOM);
	disk_write(disk, in, sizeof(in), 0, false);
	disk_read(disk, out, sizeof(in), 0);
	disk_trim(disk, 32 * 4096, 0);
	disk_flush(disk);
	st = stat_of(disk);
	assert_int_equal(st.mm.huge_pages_since, 64);
	assert_int_equal(st.reads, 64);
	assert_int_equal(st.mm.mem_used_max, 64 * 4096);
	for (unsigned op = 0; op < NR_DISK_OPS; op++) {
		uint64_t n = 0;

		for (unsigned b = 0; b < DISK_LATENCY_BUCKETS; b++)
			n += st.latency[op][b];
		assert_int_equal(n, 1);
	}
	disk_drop_stats(disk);
	st = stat_of(disk);
	assert_int_equal(st.mm.orig_data_size, 32 * 4096);
	assert_int_equal(st.mm.huge_pages, 32);
	assert_int_equal(st.mm.huge_pages_since, 0);
	assert_int_equal(st.mm.mem_used_max, st.mm.mem_used_total);
	assert_int_equal(st.reads + st.writes + st.trims + st.io.notify_free, 0);
	assert_int_equal(st.latency_sum_ns[DISK_WRITE], 0);
	assert_true(disk_check(disk));
	disk_destroy(disk);
}

/* --- the registry --- */

static struct disk *named_disk(const char *name)
{
	struct disk_config config = { .size = MIB, .algorithm = zcomp_find("lz4"),
		.level = ZCOMP_LEVEL_UNSET };
	struct uz_error e;

	strcpy(config.name, name);
	return disk_create(&config, &e);
}

static void names(void **state)
{
	struct uz_error e;

	assert_int_equal(registry_check_name("a.B_9-z", &e), 0);
	assert_int_equal(registry_check_name("default", &e), 0);
	assert_int_equal(registry_check_name("", &e), -1);
	assert_int_equal(registry_check_name("a/b", &e), -1);
	assert_int_equal(registry_check_name("huge_idle", &e), -1);
	assert_non_null(strstr(e.text, "word of uzramctl"));
}

static void registry_holds(void **state)
{
	struct registry *reg = registry_create();
	struct disk *a = named_disk("a"), *b = named_disk("b"), *twin = named_disk("a"), *d;
	struct uz_error e;

	assert_null(registry_next(reg, NULL));
	assert_null(registry_attach(reg, "", &e));
	assert_int_equal(registry_add(reg, a, &e), 0);
	assert_int_equal(registry_add(reg, b, &e), 0);
	assert_int_equal(registry_add(reg, twin, &e), -1);
	assert_int_equal(e.code, EEXIST);
	disk_destroy(twin);
	assert_int_equal(registry_count(reg), 2);

	/* Attached: it may be used and kept, but not had alone, nor removed. */
	assert_ptr_equal(registry_attach(reg, "", &e), a);
	assert_null(registry_attach(reg, "c", &e));
	assert_int_equal(e.code, ENOENT);
	assert_int_equal(registry_clients(reg, a), 1);
	d = registry_get(reg, "a");
	assert_ptr_equal(d, a);
	assert_int_equal(registry_alone(reg, d, "reset", &e), -1);
	assert_non_null(strstr(e.text, "1 client is attached to disk \"a\""));
	assert_int_equal(registry_keep(reg, d, "compaction", &e), 0);
	assert_int_equal(registry_keep(reg, d, "verify", &e), -1);
	assert_non_null(strstr(e.text, "compaction of disk \"a\" is running"));
	registry_detach(reg, a);
	assert_int_equal(registry_alone(reg, d, "reset", &e), -1);
	assert_int_equal(registry_remove(reg, "a", &e), -1);
	assert_int_equal(e.code, EBUSY);
	registry_release(reg, d);

	/* Alone: nobody else gets it. */
	assert_int_equal(registry_alone(reg, d, "reset", &e), 0);
	assert_null(registry_attach(reg, "a", &e));
	assert_int_equal(e.code, EBUSY);
	assert_int_equal(registry_keep(reg, d, "verify", &e), -1);
	registry_share(reg, d);
	assert_int_equal(registry_remove(reg, "a", &e), -1); /* still used */
	registry_put(reg, d);
	assert_int_equal(registry_remove(reg, "a", &e), 0);
	assert_int_equal(registry_remove(reg, "a", &e), -1);
	assert_int_equal(e.code, ENOENT);
	d = registry_next(reg, NULL);
	assert_ptr_equal(d, b);
	assert_null(registry_next(reg, b));
	registry_put(reg, d);
	registry_destroy(reg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit_is_live),
		cmocka_unit_test(algorithm_is_live),
		cmocka_unit_test(resize_larger_keeps_and_smaller_drops),
		cmocka_unit_test(grown_pool_holds_what_it_must),
		cmocka_unit_test(reset_gives_everything_back),
		cmocka_unit_test(verify_finds_what_does_not_decode),
		cmocka_unit_test(verify_can_be_stopped),
		cmocka_unit_test(blocks_list_what_is_stored),
		cmocka_unit_test(drop_stats_keeps_what_is_stored),
		cmocka_unit_test(names),
		cmocka_unit_test(registry_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
