/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write=behind with its workers: what a disk holds in the end is what write=through makes of the
 * same writes; flush, stop and start; memory. The limit is test-stage-limit.c's.
 * $UZRAM_TEST_STEPS: writes for each combination of the first.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RUSAGE_THREAD */
#endif
#include <sys/mman.h>
#include <sys/resource.h>

#include "disk-fixture.h"
#include "plugin/drain_priv.h"

static bool soon(bool (*is)(void *opaque), void *opaque)
{
	uint64_t end = uz_nsec() + 10 * UINT64_C(1000000000);

	while (!is(opaque)) {
		if (uz_nsec() > end)
			return false;
		usleep(1000);
	}
	return true;
}

static bool nothing_is_staged(void *disk)
{
	return stat_of(disk).stage.pages == 0;
}

/* --- behind against through --- */

static const struct mix mix = {
	.size = 3 * MIB, .most = STEP_MAX, .mostly = 9000, .partial = true, .trims = 6, .fuas = 16
};

static void compare(const char *spec, unsigned batch, unsigned workers, uint64_t stage)
{
	static struct step step;
	const char *knob = getenv("UZRAM_TEST_STEPS");
	unsigned steps = knob ? (unsigned)atoi(knob) : 300;
	struct disk *through = new_disk(spec, mix.size, 0);
	struct disk *behind = new_behind_disk(spec, mix.size, 0, stage / PAGE_SIZE, batch);
	struct disk_stat st;

	start_drain(workers);
	for (unsigned i = 1; i <= steps; i++) {
		make_step(&step, &mix);
		do_step(through, &step);
		do_step(behind, &step);
		if (i % 100 == 0 || i == steps)
			assert_equal_disks(through, behind, mix.size, true);
	}
	st = stat_of(behind);
	for (unsigned i = 0; i < BATCH_BUCKETS; i++) /* no batch is larger than was asked for */
		assert_true(!st.streams.batch_sizes[i] || i == 0 || 1u << (i - 1) < batch);
	assert_true(st.streams.batches > 0);
	assert_true(st.stage.pages_max <= stage / PAGE_SIZE);
	drain_stop();
	disk_trim(behind, mix.size, 0);
	assert_empty(behind);
	disk_destroy(behind);
	disk_destroy(through);
}

static void behind_is_through_in_the_end(void **state)
{
	static const unsigned batches[] = { 1, 3, 32, 256 }, workers[] = { 1, 2, 4 };
	static const uint64_t stages[] = { 64 << 10, 8 << 20 };

	for (size_t b = 0; b < ARRAY_SIZE(batches); b++)
		for (size_t w = 0; w < ARRAY_SIZE(workers); w++)
			for (size_t s = 0; s < ARRAY_SIZE(stages); s++)
				compare("lz4", batches[b], workers[w], stages[s]);
	compare("zstd:1", 32, 2, 8 << 20);
	compare("deflate:1", 5, 2, 1 << 20);
	compare("none", 32, 2, 8 << 20);
}

/* --- flush --- */

static void flush_of_an_empty_stage_is_free(void **state)
{
	struct disk *disk = new_behind_disk("lz4", 4 * MIB, 0, 64, 32);
	unsigned char page[PAGE_SIZE];
	uint64_t start;

	make(page, PAGE_SIZE, TEXT);
	for (unsigned running = 0; running < 2; running++) {
		if (running) {
			start_drain(1);
			disk_write(disk, page, PAGE_SIZE, 0, false);
			disk_flush(disk);
		}
		start = uz_nsec();
		for (unsigned i = 0; i < 10000; i++)
			assert_int_equal(disk_flush(disk), 0);
		/* 20 s, if each waited for one look. */
		assert_true(uz_nsec() - start < 5 * UINT64_C(1000000000));
	}
	drain_stop();
	disk_destroy(disk);
}

static void flush_empties_the_stage(void **state)
{
	struct disk *disk = new_behind_disk("zstd:9", 64 * MIB, 0, 2048, 32);
	unsigned char *in = malloc(4 * MIB);
	uint64_t staged = 0;

	make(in, 4 * MIB, HALF);
	start_drain(1);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t n = PAGE_SIZE << rng() % 10;

		disk_write(disk, in, n, 0, false);
		staged += stat_of(disk).stage.pages;
		assert_int_equal(disk_flush(disk), 0);
		assert_int_equal(stat_of(disk).stage.pages, 0);
		for (uint64_t p = 0; p < n / PAGE_SIZE; p++)
			assert_int_equal(slot_type(flags_of(disk, p)), SLOT_OBJECT);
	}
	assert_true(staged > 0); /* there was something to wait for */
	assert_reads(disk, in, PAGE_SIZE, 0);
	drain_stop();
	free(in);
	disk_destroy(disk);
}

struct busy {
	struct disk *disk;
	uint64_t from;
	_Atomic bool stop;
	unsigned char pages[64 * PAGE_SIZE];
};

static void *write_for_ever(void *opaque)
{
	struct busy *busy = opaque;

	for (uint64_t i = 1; !busy->stop; i++) {
		memcpy(busy->pages, &i, sizeof(i));
		disk_write(busy->disk, busy->pages, sizeof(busy->pages),
			busy->from + i * 7919 % 1000 * PAGE_SIZE, false);
	}
	return NULL;
}

/* It waits for what was there when it came, whatever comes after. */
static void writers_do_not_starve_a_flush(void **state)
{
	struct disk *disk = new_behind_disk("lz4", 64 * MIB, 0, 2048, 32);
	static struct busy busy[2];
	unsigned char page[8 * PAGE_SIZE];
	pthread_t thread[2];
	uint64_t longest = 0;

	start_drain(1);
	for (unsigned i = 0; i < 2; i++) {
		busy[i].disk = disk;
		busy[i].from = (i + 1) * 16 * MIB;
		for (unsigned p = 0; p < 64; p++)
			make(busy[i].pages + p * PAGE_SIZE, PAGE_SIZE, HALF);
		pthread_create(&thread[i], NULL, write_for_ever, &busy[i]);
	}
	for (unsigned i = 0; i < 50; i++) {
		uint64_t start;

		make(page, sizeof(page), HALF);
		disk_write(disk, page, sizeof(page), 0, false);
		start = uz_nsec();
		disk_flush(disk);
		if (uz_nsec() - start > longest)
			longest = uz_nsec() - start;
		for (unsigned p = 0; p < 8; p++)
			assert_int_equal(slot_type(flags_of(disk, p)), SLOT_OBJECT);
		usleep(2000);
	}
	for (unsigned i = 0; i < 2; i++) {
		busy[i].stop = true;
		pthread_join(thread[i], NULL);
	}
	printf("the longest of 50 flushes beside two writers: %.1f ms\n", (double)longest / 1e6);
	assert_true(longest < 10 * UINT64_C(1000000000));
	drain_stop();
	disk_destroy(disk);
}

struct flusher {
	struct disk *disk;
	_Atomic bool back;
};

static void *flush_it(void *opaque)
{
	struct flusher *f = opaque;

	disk_flush(f->disk);
	f->back = true;
	return NULL;
}

static bool somebody_waits(void *opaque)
{
	struct disk *disk = opaque;

	LOCK_SCOPE(&disk->stage.lock);
	return disk->stage.waiters;
}

/* A cut is exact: entries behind it, waiting or being compressed, hold nobody up. */
static void flush_waits_for_its_own_alone(void **state)
{
	struct flusher f = { .disk = new_behind_disk("lz4", 4 * MIB, 0, 64, 32) };
	unsigned char page[PAGE_SIZE];
	struct taken first, second;
	pthread_t thread;

	start_drain(1);
	drain_remove(&f.disk->drain); /* there are workers, but we do their work */
	make(page, PAGE_SIZE, TEXT);
	assert_int_equal(staged_write(f.disk, page, PAGE_SIZE, 0), 0);
	pthread_create(&thread, NULL, flush_it, &f);
	assert_true(soon(somebody_waits, f.disk));
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(staged_write(f.disk, page, PAGE_SIZE, i * PAGE_SIZE), 0);
	assert_true(take_one(f.disk, 1, &first) && take_one(f.disk, 2, &second));
	usleep(10000); /* some of its looks */
	assert_false(f.back);
	finish_one(f.disk, &first, false);
	pthread_join(thread, NULL);
	assert_int_equal(stage_waiting(&f.disk->stage), 2);
	assert_int_equal(stat_of(f.disk).stage.pages, 3);
	finish_one(f.disk, &second, false);
	drain_stop();
	disk_destroy(f.disk);
}

/* --- alone, rewritten, stopped and started --- */

static void lone_page_is_drained_soon(void **state)
{
	struct disk *disk = new_behind_disk("lz4", 4 * MIB, 0, 2048, 32);
	unsigned char page[PAGE_SIZE];

	make(page, PAGE_SIZE, TEXT);
	for (unsigned workers = 1; workers <= 4; workers++) {
		start_drain(workers);
		/* At once; while one naps; and when all have gone to sleep, which takes 0.1 s. */
		for (unsigned i = 0; i < 4; i++) {
			usleep(i * i * 20000);
			disk_write(disk, page, PAGE_SIZE, workers * 16 * PAGE_SIZE, false);
			assert_true(soon(nothing_is_staged, disk));
		}
		drain_stop();
	}
	disk_destroy(disk);
}

static void rewrites_are_compressed_once(void **state)
{
	struct disk *disk = new_behind_disk("lz4", 4 * MIB, 0, 2048, 32);
	unsigned char page[PAGE_SIZE];
	uint64_t fewest = 100;

	start_drain(2);
	/* A worker looks every 2 ms; more often than that it has no reason to compress the page. On
	 * a busy machine 100 writes may take long, so the best of some tries counts. */
	for (unsigned try = 0; try < 20 && fewest > 5; try++) {
		uint64_t start = uz_nsec(), before = stat_of(disk).streams.percpu, now;

		for (unsigned i = 0; i < 100; i++) {
			make(page, 8, TEXT);
			make(page + 8, PAGE_SIZE - 8, try ? TEXT : ZEROES);
			disk_write(disk, page, PAGE_SIZE, 0, false);
		}
		disk_flush(disk);
		now = stat_of(disk).streams.percpu - before;
		printf("100 rewrites in %.2f ms: compressed %lu times\n",
			(double)(uz_nsec() - start) / 1e6, (unsigned long)now);
		fewest = min_u64(fewest, now);
		assert_reads(disk, page, PAGE_SIZE, 0);
	}
	assert_true(fewest <= 5);
	assert_true(stat_of(disk).stage.coalesced > 0);
	drain_stop();
	disk_destroy(disk);
}

static void stopped_drain_leaves_all_readable(void **state)
{
	struct disk *disk = new_behind_disk("zstd:19", 64 * MIB, 0, 2048, 32);
	unsigned char *in = malloc(8 * MIB);
	uint64_t direct;

	make(in, 8 * MIB, HALF);
	start_drain(1);
	disk_write(disk, in, 8 * MIB, 0, false); /* slow to compress, and long in the list */
	drain_stop();
	assert_true(stat_of(disk).stage.pages > 100);
	assert_reads(disk, in, 8 * MIB, 0);
	disk_flush(disk); /* in vain, but it comes back */
	assert_stats_add_up(disk);
	/* Without workers nothing more is staged. */
	direct = stat_of(disk).streams.percpu;
	make(in, PAGE_SIZE, TEXT);
	disk_write(disk, in, PAGE_SIZE, 32 * MIB, false);
	assert_int_equal(stat_of(disk).streams.percpu, direct + 1);
	assert_false(flags_of(disk, 32 * MIB / PAGE_SIZE) & SLOT_STAGED);
	disk_write(disk, in, PAGE_SIZE, 0, false);
	assert_int_equal(drain_workers(), 0);
	/* New ones find what the old ones left. */
	start_drain(2);
	assert_int_equal(drain_workers(), 2);
	disk_flush(disk);
	assert_int_equal(stat_of(disk).stage.pages, 0);
	drain_stop();
	assert_reads(disk, in, 8 * MIB, 0);
	assert_stats_add_up(disk);
	free(in);
	disk_destroy(disk);
}

/* Nobody sleeps through the end. */
static void stop_and_start(void **state)
{
	struct disk *disk = new_behind_disk("lz4", 4 * MIB, 0, 64, 4);
	unsigned char page[PAGE_SIZE];

	make(page, PAGE_SIZE, TEXT);
	for (unsigned i = 0; i < 1000; i++) {
		start_drain(1 + i % 4);
		if (i % 3)
			disk_write(disk, page, PAGE_SIZE, i % 64 * PAGE_SIZE, false);
		if (i % 5 == 0)
			disk_flush(disk);
		drain_stop();
	}
	disk_destroy(disk);
}

static void destroyed_while_it_is_drained(void **state)
{
	unsigned char *in = malloc(MIB);

	make(in, MIB, HALF);
	start_drain(2);
	for (unsigned i = 0; i < 60; i++) {
		/* The slow one is always in the middle of a batch. */
		struct disk *disk = new_behind_disk(i % 3 ? "lz4" : "zstd:19", 4 * MIB, 0, 2048, 8);
		struct uz_error e;

		disk_write(disk, in, i % 3 ? MIB : MIB / 16, 0, false);
		usleep(rng() % 1000 + (i % 3 ? 0 : 3000));
		if (i % 4 == 1)
			disk_reset(disk);
		else if (i % 4 == 2)
			assert_int_equal(disk_resize(disk, 100 * PAGE_SIZE, &e), 0);
		else if (i % 4 == 3)
			disk_trim(disk, 4 * MIB, 0);
		if (i % 2) {
			disk_flush(disk);
			assert_stats_add_up(disk);
		}
		disk_destroy(disk);
	}
	drain_stop();
	free(in);
}

/* --- memory --- */

struct settled {
	struct disk *disk;
	uint64_t most; /* bytes */
};

static bool has_settled(void *opaque)
{
	struct settled *s = opaque;

	return stat_of(s->disk).mm.mem_used_total <= s->most;
}

/* Pages that do not compress, each between some that do: spans with holes, when those have gone. */
static uint64_t fill_with_holes(struct disk *disk)
{
	unsigned char *in = malloc(8 * MIB);
	uint64_t raw = 0;

	for (uint64_t i = 0; i < 8 * MIB / PAGE_SIZE; i++) {
		make(in + i * PAGE_SIZE, PAGE_SIZE, i % 4 ? TEXT : RANDOM);
		raw += i % 4 == 0;
	}
	assert_int_equal(staged_write(disk, in, 8 * MIB, 0), 0);
	assert_int_equal(stat_of(disk).stage.pages, 2048);
	start_drain(2);
	disk_flush(disk);
	assert_int_equal(stat_of(disk).mm.huge_pages, raw);
	assert_reads(disk, in, 8 * MIB, 0);
	free(in);
	return raw;
}

static void what_staging_took_goes_back(void **state)
{
	struct disk *disk = new_behind_disk("lz4", 16 * MIB, 0, 2048, 32);
	uint64_t raw = fill_with_holes(disk);
	struct settled s = { .disk = disk };

	/* Raw pages, packed; the others, small; and a span that each class has begun. */
	s.most = raw * PAGE_SIZE + MIB;
	printf("%lu k before, ", (unsigned long)stat_of(disk).mm.mem_used_total >> 10);
	assert_true(soon(has_settled, &s)); /* by themselves, 0.1 s after the last work */
	printf("%lu k after, for %lu k of raw pages\n",
		(unsigned long)stat_of(disk).mm.mem_used_total >> 10,
		(unsigned long)raw * PAGE_SIZE >> 10);
	drain_stop();
	assert_stats_add_up(disk);
	disk_trim(disk, 16 * MIB, 0);
	assert_empty(disk);
	disk_destroy(disk);
}

/* Emptied spans serve the next pages: no page of the pool's is new in the second round. */
static void kept_memory_is_used_again(void **state)
{
	struct disk *disk = new_behind_disk("lz4", 16 * MIB, 0, 512, 32);
	unsigned char *in = malloc(2 * MIB);
	uint64_t most;

	make(in, 2 * MIB, TEXT);
	assert_int_equal(staged_write(disk, in, 2 * MIB, 0), 0);
	drain_by_hand(disk);
	assert_true(stat_of(disk).mm.mem_used_total > 2 * MIB);
	most = stat_of(disk).mm.mem_used_max;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(staged_write(disk, in, 2 * MIB, 0), 0);
		drain_by_hand(disk);
		assert_stats_add_up(disk);
	}
	assert_true(stat_of(disk).mm.mem_used_max <= most + MIB / 2);
	disk_settle(disk);
	assert_true(stat_of(disk).mm.mem_used_total < MIB);
	free(in);
	disk_destroy(disk);
}

/* What serves swap keeps what it has. */
static void swap_gives_nothing_back(void **state)
{
	struct disk_config config = {
		.size = 16 * MIB, .stage = 8 * MIB, .batch = 32, .swap = true
	};
	struct disk *disk = new_disk_with("lz4", &config);
	uint64_t before;

	fill_with_holes(disk);
	before = stat_of(disk).mm.mem_used_total;
	usleep(300000); /* three times what it takes without swap */
	assert_int_equal(stat_of(disk).mm.mem_used_total, before);
	drain_stop();
	disk_settle(disk);
	assert_int_equal(stat_of(disk).mm.mem_used_total, before);
	disk_destroy(disk);
}

/* A disk whose stage never empties holds up no other one's. */
static void disks_take_turns(void **state)
{
	struct disk *disks[3];
	unsigned char page[PAGE_SIZE];

	make(page, PAGE_SIZE, TEXT);
	for (unsigned i = 0; i < 3; i++) {
		disks[i] = new_behind_disk("lz4", MIB, 0, 64, 4);
		assert_int_equal(staged_write(disks[i], page, PAGE_SIZE, 0), 0);
	}
	for (unsigned from = 0; from < 10; from++) {
		unsigned served[3] = { 0 };

		for (unsigned turn = from; turn < from + 3; turn++) {
			struct drain_client *client = drain_next(DRAIN_WORKER, turn);

			assert_non_null(client);
			for (unsigned i = 0; i < 3; i++)
				served[i] += client->disk == disks[i];
			drain_leave(client, 1);
		}
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(served[i], 1);
	}
	for (unsigned i = 0; i < 3; i++)
		disk_destroy(disks[i]);
}

/* Whom the pages were listed for may not be who they are for now. */
static void new_algorithm_wakes_workers(void **state)
{
	struct disk *disk = new_behind_disk("lz4", MIB, 0, 64, 32);
	unsigned char page[PAGE_SIZE];
	struct uz_error e;
	struct page_io io;

	start_drain(2);
	usleep(300000); /* all sleep */
	make(page, PAGE_SIZE, TEXT);
	io = io_begin(disk, uz_nsec());
	io.room = stage_reserve(&disk->stage, 1);
	assert_true(table_get(disk->table, 0, true, &io.ref));
	assert_int_equal(page_write(&io, 0, page), 0);
	io_leaf_put(&io);
	assert_int_equal(io.nr_staged, 1);
	stage_push(&disk->stage, io.staged, 1); /* and no worker was told */
	io.nr_staged = io.room = 0;
	io_end(&io);
	usleep(20000);
	assert_int_equal(stat_of(disk).stage.pages, 1);
	assert_int_equal(disk_set_algorithm(disk, zcomp_find("zstd"), ZCOMP_LEVEL_UNSET, &e), 0);
	assert_true(soon(nothing_is_staged, disk));
	assert_reads(disk, page, PAGE_SIZE, 0);
	drain_stop();
	assert_stats_add_up(disk);
	disk_destroy(disk);
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/* With memory locked as swap=yes does it, a worker's buffers are there before its first batch. */
static void buffers_are_there_for_swap(void **state)
{
	struct disk_config config = { .size = MIB,
		.stage = 64 * PAGE_SIZE,
		.batch = 32,
		.swap = true,
		.locked = true,
		.swap_reserve = 4 * MIB };
	unsigned char *in = malloc(32 * PAGE_SIZE);
	struct batch *batches[2];
	struct uz_error e;
	struct disk *disk;
	unsigned left;
	long before;

	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == -1)
		skip();
	disk = new_disk_with("lz4", &config);
	assert_int_equal(disk_prepare_swap(disk, NULL, NULL, &e), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_non_null(batches[i] = batch_create(i, true));
	for (unsigned i = 0; i < 3; i++) {
		make(in, 32 * PAGE_SIZE, TEXT);
		assert_int_equal(staged_write(disk, in, 32 * PAGE_SIZE, 0), 0);
		before = faults();
		/* The first two runs touch what is not the batch's own. */
		assert_int_equal(batch_run(batches[i / 2], disk, false, &left), 32);
	}
	assert_true(faults() - before < 32); /* its pages alone are three for each of 32 */
	munlockall();
	for (unsigned i = 0; i < 2; i++)
		batch_free(batches[i]);
	disk_destroy(disk);
	free(in);
}

/* After a test that failed, too: the next one starts its own. */
static int end_workers(void **state)
{
	drain_stop();
	return 0;
}

#define drain_test(function) cmocka_unit_test_teardown(function, end_workers)

int main(void)
{
	const struct CMUnitTest tests[] = {
		drain_test(behind_is_through_in_the_end),
		drain_test(flush_of_an_empty_stage_is_free),
		drain_test(flush_empties_the_stage),
		drain_test(writers_do_not_starve_a_flush),
		drain_test(flush_waits_for_its_own_alone),
		drain_test(lone_page_is_drained_soon),
		drain_test(disks_take_turns),
		drain_test(new_algorithm_wakes_workers),
		drain_test(rewrites_are_compressed_once),
		drain_test(stopped_drain_leaves_all_readable),
		drain_test(stop_and_start),
		drain_test(destroyed_while_it_is_drained),
		drain_test(what_staging_took_goes_back),
		drain_test(kept_memory_is_used_again),
		drain_test(swap_gives_nothing_back),
		drain_test(buffers_are_there_for_swap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
