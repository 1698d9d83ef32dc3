/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk in-process, one behaviour a test, and a random walk beside a shadow copy. */
#include "disk-fixture.h"
#include "zpool/pool.h"

static bool all_zero(const void *buf, size_t len)
{
	const unsigned char *p = buf;

	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static void empty_reads_as_zeroes(void **state)
{
	struct disk *disk = new_disk("lz4", 3 * MIB + 1, 0);
	char buf[10000];

	assert_int_equal(disk_size(disk), 3 * MIB + 4096);
	assert_string_equal(disk_name(disk), "default");
	memset(buf, 1, sizeof(buf));
	assert_int_equal(disk_read(disk, buf, sizeof(buf), MIB - 5000), 0);
	assert_true(all_zero(buf, sizeof(buf)));
	assert_empty(disk);
	disk_destroy(disk);
}

static void every_codec_and_kind(void **state)
{
	static const char *const specs[] = { "lz4", "lz4:8", "lz4hc", "lz4hc:3", "zstd", "zstd:1",
		"zstd:-5", "deflate", "deflate:1", "none" };
	static unsigned char in[64 * 4096], out[64 * 4096];

	for (size_t s = 0; s < ARRAY_SIZE(specs); s++) {
		struct disk *disk = new_disk(specs[s], 16 * MIB, 0);
		struct disk_stat st;

		for (unsigned i = 0; i < 64; i++)
			make(in + i * 4096, 4096, i % NR_KINDS);
		assert_int_equal(disk_write(disk, in, sizeof(in), MIB - 12 * 4096, false), 0);
		assert_int_equal(disk_read(disk, out, sizeof(out), MIB - 12 * 4096), 0);
		assert_memory_equal(in, out, sizeof(in));
		st = stat_of(disk);
		assert_int_equal(st.mm.orig_data_size, sizeof(in));
		assert_int_equal(st.mm.same_pages, 26); /* 13 of each kind, 12 of RANDOM */
		assert_int_equal(st.zero_pages, 13);
		assert_int_equal(st.mm.huge_pages, strcmp(specs[s], "none") ? 12 : 38);
		assert_int_equal(st.mm.huge_pages_since, st.mm.huge_pages);
		assert_stats_add_up(disk);
		assert_int_equal(disk_trim(disk, 16 * MIB, 0), 0);
		assert_empty(disk);
		assert_int_equal(stat_of(disk).io.notify_free, 4096);
		disk_destroy(disk);
	}
}

static void parts_of_pages(void **state)
{
	struct disk *disk = new_disk("zstd", MIB, 0);
	unsigned char page[4096], in[512];

	make(page, 4096, TEXT);
	disk_write(disk, page, 4096, 8192, false);
	for (unsigned i = 0; i < 8; i++) {
		make(in, 512, RANDOM);
		memcpy(page + i * 512, in, 512);
		assert_int_equal(disk_write(disk, in, 512, 8192 + i * 512, false), 0);
	}
	for (unsigned offset = 0; offset < 4096; offset += 61) {
		unsigned char out[4096];
		unsigned n = 4096 - offset < 700 ? 4096 - offset : 700;

		assert_int_equal(disk_read(disk, out, n, 8192 + offset), 0);
		assert_memory_equal(out, page + offset, n);
	}
	assert_stats_add_up(disk);
	disk_destroy(disk);
}

static void trim_frees_whole_pages_and_zeroes_edges(void **state)
{
	struct disk *disk = new_disk("lz4", MIB, 0);
	static unsigned char in[16 * 4096], out[16 * 4096];

	make(in, sizeof(in), RANDOM);
	disk_write(disk, in, sizeof(in), 0, false);
	assert_int_equal(disk_trim(disk, 3 * 4096 + 200, 4096 + 100), 0);
	assert_int_equal(stat_of(disk).io.notify_free, 2);
	assert_int_equal(stat_of(disk).mm.orig_data_size, 14 * 4096);
	memset(in + 4096 + 100, 0, 3 * 4096 + 200);
	disk_read(disk, out, sizeof(out), 0);
	assert_memory_equal(in, out, sizeof(in));
	/* Inside one page; nothing; the very end. */
	assert_int_equal(disk_trim(disk, 10, 20), 0);
	assert_int_equal(disk_trim(disk, 0, 50), 0);
	assert_int_equal(disk_trim(disk, 1, MIB - 1), 0);
	memset(in + 20, 0, 10);
	disk_read(disk, out, sizeof(out), 0);
	assert_memory_equal(in, out, sizeof(in));
	/* Zeroing part of what is a hole stores nothing. */
	assert_int_equal(stat_of(disk).mm.orig_data_size, 14 * 4096);
	assert_stats_add_up(disk);
	disk_destroy(disk);
}

struct seen {
	uint64_t next, holes, data;
	unsigned runs;
};

static int see(void *opaque, uint64_t offset, uint64_t length, bool hole)
{
	struct seen *seen = opaque;

	assert_int_equal(offset, seen->next);
	assert_true(length > 0);
	seen->next += length;
	*(hole ? &seen->holes : &seen->data) += length;
	seen->runs++;
	return 0;
}

static struct seen look(struct disk *disk, uint64_t count, uint64_t offset, bool one)
{
	struct seen seen = { .next = offset };

	assert_int_equal(disk_extents(disk, count, offset, one, see, &seen), 0);
	assert_true(seen.next <= offset + count);
	return seen;
}

static int refuse(void *opaque, uint64_t offset, uint64_t length, bool hole)
{
	return -1;
}

static void extents_are_clipped_and_merged(void **state)
{
	struct disk *disk = new_disk("lz4", 1ull << 44, 0);
	uint64_t far = (1ull << 43) + 8192;
	unsigned char page[4096];
	struct seen s;

	make(page, 4096, TEXT);
	s = look(disk, UINT32_MAX, 12345, false);
	assert_int_equal(s.runs, 1);
	assert_int_equal(s.holes, UINT32_MAX);
	disk_write(disk, page, 4096, far, false);
	disk_write(disk, page, 4096, far + 4096, false);
	disk_write(disk, page, 4096, far + 3 * 4096, false);
	s = look(disk, 1ull << 44, 0, false);
	assert_int_equal(s.runs, 5);
	assert_int_equal(s.data, 3 * 4096);
	assert_int_equal(s.holes, (1ull << 44) - 3 * 4096);
	/* Clipped inside a page, and only the first wanted. */
	s = look(disk, 50, far + 4000, false);
	assert_int_equal(s.data, 50);
	s = look(disk, 100000, far + 100, true);
	assert_int_equal(s.runs, 1);
	assert_int_equal(s.data, 8192 - 100);
	s = look(disk, 1ull << 43, far - 100000, true);
	assert_int_equal(s.holes, 100000);
	s = look(disk, 10000, far + 8292, true);
	assert_int_equal(s.holes, 4096 - 100);
	assert_int_equal(disk_extents(disk, 4096, 0, false, refuse, NULL), -1);
	/* A same-filled page of zeroes is data all the same: it was written. */
	make(page, 4096, ZEROES);
	disk_write(disk, page, 4096, 4096, false);
	assert_int_equal(look(disk, 16384, 0, false).data, 4096);
	disk_destroy(disk);
}

static void huge_disk_is_lazy(void **state)
{
	static const uint64_t sizes[] = { 1ull << 30, 1ull << 44, DISK_SIZE_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct disk *disk = new_disk("lz4", sizes[i], 0);
		uint64_t last = (disk_size(disk) - 1) & ~4095ull;
		unsigned char in[4096], out[4096];

		make(in, 4096, HALF);
		assert_int_equal(disk_write(disk, in, 4096, last, false), 0);
		assert_int_equal(disk_read(disk, out, 4096, last), 0);
		assert_memory_equal(in, out, 4096);
		assert_int_equal(stat_of(disk).table_bytes, 4096);
		assert_int_equal(look(disk, disk_size(disk), 0, false).runs, 2);
		assert_int_equal(disk_trim(disk, disk_size(disk), 0), 0);
		assert_empty(disk);
		disk_destroy(disk);
	}
}

static void limit_refuses_growth_alone(void **state)
{
	struct disk *disk = new_disk("lz4", 64 * MIB, 4 * MIB);
	unsigned char in[4096], out[4096];
	uint64_t pages = 0;

	make(in, 4096, RANDOM);
	while (disk_write(disk, in, 4096, pages * 4096, false) == 0)
		pages++;
	assert_int_equal(errno, ENOSPC);
	assert_in_range(pages, 1000, 1024);
	assert_int_equal(stat_of(disk).io.failed_writes, 1);
	assert_true(stat_of(disk).limit_used <= 4 * MIB);
	/* The page refused is as it was, and the others too. */
	disk_read(disk, out, 4096, pages * 4096);
	assert_true(all_zero(out, 4096));
	for (uint64_t i = 0; i < pages; i++) {
		disk_read(disk, out, 4096, i * 4096);
		assert_memory_equal(in, out, 4096);
	}
	/* A replacement of the same size, and smaller ones, succeed. */
	make(in, 4096, RANDOM);
	assert_int_equal(disk_write(disk, in, 4096, 0, false), 0);
	disk_read(disk, out, 4096, 0);
	assert_memory_equal(in, out, 4096);
	make(in, 4096, TEXT);
	assert_int_equal(disk_write(disk, in, 4096, 4096, false), 0);
	assert_int_equal(disk_write(disk, in, 100, 8192 + 5, false), 0);
	disk_read(disk, out, 4096, 4096);
	assert_memory_equal(in, out, 4096);
	/* But a larger one only into room that was made. */
	make(in, 4096, RANDOM);
	assert_int_equal(disk_write(disk, in, 4096, 4096, false), 0);
	assert_int_equal(disk_write(disk, in, 4096, pages * 4096, false), -1);
	assert_int_equal(disk_trim(disk, 17 * 4096, 64 * 4096), 0); /* one for a leaf */
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(disk_write(disk, in, 4096, (pages + i) * 4096, false), 0);
	assert_stats_add_up(disk);
	disk_trim(disk, 64 * MIB, 0);
	assert_empty(disk);
	disk_destroy(disk);
}

/* At the limit, with what is free in cells of other sizes only. */
static void limit_with_fragmented_pool(void **state)
{
	struct disk *disk = new_disk("lz4", 64 * MIB, 4 * MIB);
	unsigned char in[4096];
	uint64_t pages = 0, more = 0;

	do
		make(in, 4096, HALF); /* about 2 KiB each */
	while (disk_write(disk, in, 4096, pages++ * 4096, false) == 0);
	for (uint64_t i = 0; i < pages; i += 2)
		disk_trim(disk, 4096, i * 4096);
	/* Half of the charge is free, in holes of 2 KiB. Raw pages need whole ones. */
	do
		make(in, 4096, RANDOM);
	while (disk_write(disk, in, 4096, (8192 + more++) * 4096, false) == 0);
	assert_in_range(more, pages / 4 * 9 / 10, pages / 4 * 11 / 10);
	assert_true(stat_of(disk).mm.mem_used_total <= 4 * MIB * 103 / 100 + (64 << 10));
	assert_stats_add_up(disk);
	disk_destroy(disk);
}

/* Holes of 2 KiB in all of a pool that is at its bound; then raw pages can be stored by compaction
 * alone. */
static struct disk *fragmented_disk(uint64_t limit)
{
	struct disk *disk = new_disk("lz4", 64 * MIB, limit);
	unsigned char in[4096];
	uint64_t pages = 0;

	do
		make(in, 4096, HALF);
	while (disk_write(disk, in, 4096, pages++ * 4096, false) == 0);
	for (uint64_t i = 0; i < pages; i += 2)
		disk_trim(disk, 4096, i * 4096);
	return disk;
}

struct late_writer {
	struct disk *disk;
	uint64_t offset;
	unsigned char in[4096];
	int ret;
};

static void *late_write(void *opaque)
{
	struct late_writer *w = opaque;

	w->ret = disk_write(w->disk, w->in, 4096, w->offset, false);
	return NULL;
}

/* While one writer compacts for room, the others get what he makes, not ENOSPC. */
static void writers_wait_for_compaction(void **state)
{
	struct disk *disk = fragmented_disk(4 * MIB);
	struct late_writer w[4], first = { .disk = disk, .offset = 48 * MIB };
	pthread_t threads[4];

	make(first.in, 4096, RANDOM);
	for (; disk->pool->pages < disk->pool->max_pages; first.offset += 4096)
		late_write(&first);
	pthread_mutex_lock(&disk->pool->compact_lock); /* it takes its time */
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct late_writer){ .disk = disk, .offset = 32 * MIB + i * 4096 };
		make(w[i].in, 4096, RANDOM);
		pthread_create(&threads[i], NULL, late_write, &w[i]);
	}
	usleep(50000);
	pthread_mutex_unlock(&disk->pool->compact_lock);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(w[i].ret, 0);
	}
	assert_stats_add_up(disk);
	disk_destroy(disk);
}

/* A compaction that made room is followed by another one as soon as one is needed. */
static void compaction_again_and_again(void **state)
{
	struct disk *disk = fragmented_disk(4 * MIB);
	unsigned char in[4096];

	for (unsigned round = 0; round < 8; round++) {
		uint64_t pages = 0, used;

		do
			make(in, 4096, round % 2 ? HALF : RANDOM);
		while (disk_write(disk, in, 4096, 32 * MIB + pages++ * 4096, false) == 0);
		used = stat_of(disk).limit_used;
		assert_in_range(used, 4 * MIB * 9 / 10, 4 * MIB);
		for (uint64_t i = 0; i < pages; i++)
			if (i % 8)
				disk_trim(disk, 4096, 32 * MIB + i * 4096);
	}
	assert_stats_add_up(disk);
	disk_destroy(disk);
}

static void tiny_limit(void **state)
{
	struct disk *disk = new_disk("lz4", MIB, 100);
	unsigned char in[4096];

	make(in, 4096, TEXT);
	assert_int_equal(disk_write(disk, in, 4096, 0, false), -1);
	assert_int_equal(errno, ENOSPC);
	assert_empty(disk);
	disk_destroy(disk);
}

static void damaged_object_is_eio(void **state)
{
	static const char *const specs[] = { "lz4", "zstd", "deflate" };
	unsigned char in[4096], out[4096];

	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		struct disk *disk = new_disk(specs[i], MIB, 0);
		struct table_ref ref;
		uint64_t handle;

		make(in, 4096, TEXT);
		disk_write(disk, in, 4096, 4096, false);
		assert_true(table_get(disk->table, 1, false, &ref));
		handle = slot_val(table_slot(&ref, 1));
		table_put(disk->table, &ref, 0);
		memset(zpool_object(disk->pool, handle), 0xff, zpool_size(disk->pool, handle));
		assert_int_equal(disk_read(disk, out, 4096, 4096), -1);
		assert_int_equal(errno, EIO);
		assert_int_equal(disk_write(disk, in, 10, 4096, false), -1); /* cannot be patched */
		assert_int_equal(errno, EIO);
		assert_int_equal(stat_of(disk).io.failed_reads, 1);
		assert_int_equal(disk_write(disk, in, 4096, 4096, false), 0); /* but replaced */
		assert_int_equal(disk_read(disk, out, 4096, 4096), 0);
		assert_memory_equal(in, out, 4096);
		disk_destroy(disk);
	}
}

static void bad_configs_are_refused_in_words(void **state)
{
	struct disk_config config = { .algorithm = zcomp_find("lz4"), .level = ZCOMP_LEVEL_UNSET };
	struct uz_error e;

	config.size = 0;
	assert_null(disk_create(&config, &e));
	assert_non_null(strstr(e.text, "1 to 9223372036854771712"));
	config.size = (uint64_t)DISK_SIZE_MAX + 1;
	assert_null(disk_create(&config, &e));
	config.size = 1ull << 50;
	config.swap = true; /* its table alone is 4 TiB */
	assert_null(disk_create(&config, &e));
	assert_non_null(strstr(e.text, "more than half of this machine's"));
}

static unsigned lows;

static void on_low(void *opaque)
{
	lows++;
}

static void swap_disk_is_ready(void **state)
{
	struct disk_config config = { .algorithm = zcomp_find("zstd"),
		.level = ZCOMP_LEVEL_UNSET,
		.size = 64 * MIB,
		.swap = true,
		.swap_reserve = 4 * MIB };
	static unsigned char in[MIB], out[MIB];
	struct uz_error e;
	struct disk *disk = disk_create(&config, &e);
	struct disk_stat st;

	assert_non_null(disk);
	assert_int_equal(disk_prepare_swap(disk, on_low, NULL, &e), 0);
	st = stat_of(disk);
	assert_int_equal(st.table_bytes, 64 * MIB / 4096 * 16);
	assert_int_equal(st.reserve_bytes, 4 * MIB);
	make(in, sizeof(in), RANDOM);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(disk_write(disk, in, sizeof(in), i * 2 * MIB, false), 0);
	assert_true(lows > 0);
	assert_int_equal(disk_refill(disk), 0);
	assert_int_equal(stat_of(disk).reserve_bytes, 4 * MIB);
	disk_read(disk, out, sizeof(out), 4 * MIB);
	assert_memory_equal(in, out, sizeof(in));
	/* Leaves stay: they would have to be faulted in again. */
	disk_trim(disk, 64 * MIB, 0);
	assert_int_equal(stat_of(disk).table_bytes, 64 * MIB / 4096 * 16);
	disk_destroy(disk);
}

/* --- the random walk --- */

#define WALK_SIZE (3 * MIB)
static unsigned char shadow[WALK_SIZE];

static void walk_step(struct disk *disk)
{
	static unsigned char buf[300000];
	uint64_t offset = rng() % WALK_SIZE, len = 1 + rng() % (rng() % 4 ? 9000 : sizeof(buf));

	if (rng() % 2) {
		offset &= ~4095ull;
		len = (len + 4095) & ~4095ull;
	}
	if (len > sizeof(buf))
		len = sizeof(buf);
	if (len > WALK_SIZE - offset)
		len = WALK_SIZE - offset;
	switch (rng() % 8) {
	case 0:
	case 1:
		make(buf, len, rng() % NR_KINDS);
		if (disk_write(disk, buf, len, offset, false) == 0) {
			memcpy(shadow + offset, buf, len);
		} else {
			/* Up to some page it is written, from there as it was. */
			uint64_t end = offset;

			assert_int_equal(errno, ENOSPC);
			for (; end < offset + len; end = (end | 4095) + 1) {
				unsigned char now[4096];
				uint64_t n = (end | 4095) + 1 - end;

				n = n < offset + len - end ? n : offset + len - end;
				assert_int_equal(disk_read(disk, now, n, end), 0);
				if (memcmp(now, buf + (end - offset), n))
					break;
				memcpy(shadow + end, now, n);
			}
		}
		break;
	case 2:
		if (disk_trim(disk, len, offset) == 0)
			memset(shadow + offset, 0, len);
		else /* an edge may need room; the pages before it are gone */
			disk_read(disk, shadow + offset, len, offset);
		break;
	case 3:
		if (rng() % 50 == 0)
			disk_compact(disk, NULL, NULL);
		break;
	default:
		assert_int_equal(disk_read(disk, buf, len, offset), 0);
		assert_memory_equal(buf, shadow + offset, len);
	}
}

static void walk(const char *spec, uint64_t limit, unsigned steps)
{
	struct disk *disk = new_disk(spec, WALK_SIZE, limit);

	memset(shadow, 0, sizeof(shadow));
	for (unsigned i = 0; i < steps; i++) {
		walk_step(disk);
		if (i % 1000 == 0)
			assert_stats_add_up(disk);
	}
	assert_stats_add_up(disk);
	disk_trim(disk, WALK_SIZE, 0);
	assert_empty(disk);
	disk_destroy(disk);
}

/* Whoever compresses, and takes how long for it: readers have streams of their own. */
static void reads_beside_compressions(void **state)
{
	static const char *const specs[] = { "zstd", "deflate" };
	unsigned n = zcomp_nr_streams();
	struct zcomp_strm **held = calloc(n, sizeof(*held));
	unsigned char page[PAGE_SIZE];

	make(page, PAGE_SIZE, TEXT);
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		struct disk *disk = new_disk(specs[i], MIB, 0);

		assert_int_equal(disk_write(disk, page, PAGE_SIZE, 0, false), 0);
		for (unsigned k = 0; k < n; k++)
			held[k] = zcomp_stream_get(disk->codecs[disk->codec], ZSTRM_DEFAULT);
		assert_reads(disk, page, PAGE_SIZE, 0); /* or it waits for ever */
		for (unsigned k = 0; k < n; k++)
			zcomp_stream_put(held[k]);
		/* A part of a page: reads with one kind, writes with the other. */
		memset(page + 100, 'x', 50);
		assert_int_equal(disk_write(disk, page + 100, 50, 100, false), 0);
		assert_reads(disk, page, PAGE_SIZE, 0);
		disk_destroy(disk);
	}
	free(held);
}

static void random_walks(void **state)
{
	walk("lz4", 0, 10000);
	walk("zstd:1", 0, 4000);
	walk("lz4", MIB, 10000);
	walk("lz4", MIB / 4, 5000);
	walk("none", 0, 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_reads_as_zeroes),
		cmocka_unit_test(every_codec_and_kind),
		cmocka_unit_test(parts_of_pages),
		cmocka_unit_test(trim_frees_whole_pages_and_zeroes_edges),
		cmocka_unit_test(extents_are_clipped_and_merged),
		cmocka_unit_test(huge_disk_is_lazy),
		cmocka_unit_test(limit_refuses_growth_alone),
		cmocka_unit_test(limit_with_fragmented_pool),
		cmocka_unit_test(tiny_limit),
		cmocka_unit_test(writers_wait_for_compaction),
		cmocka_unit_test(compaction_again_and_again),
		cmocka_unit_test(damaged_object_is_eio),
		cmocka_unit_test(bad_configs_are_refused_in_words),
		cmocka_unit_test(swap_disk_is_ready),
		cmocka_unit_test(reads_beside_compressions),
		cmocka_unit_test(random_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
