/* SPDX-License-Identifier: BSD-3-Clause */
/* zpool, one behaviour a test. The random walk is test-zpool-model.c. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "zpool/zpool.h"

/* A sanitizer maps and touches memory of its own: what the system counts says nothing. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define NR 4096

static zhandle_t handles[NR];
static bool busy[NR];

static bool move(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to)
{
	if (owner >= NR || handles[owner] != from || busy[owner])
		return false;
	zpool_copy(opaque ? *(struct zpool **)opaque : NULL, from, to);
	handles[owner] = to;
	return true;
}

static struct zpool *new_pool(uint64_t reserve)
{
	static struct zpool *pool; /* the callback's way to it */

	pool = zpool_create(&(struct zpool_config){
		.reserve = reserve, .move = move, .opaque = &pool });
	assert_non_null(pool);
	memset(handles, 0, sizeof(handles));
	memset(busy, 0, sizeof(busy));
	return pool;
}

static struct zpool_stats stats(struct zpool *pool)
{
	struct zpool_stats st;

	zpool_get_stats(pool, &st);
	return st;
}

static void store(struct zpool *pool, uint64_t owner, size_t size)
{
	handles[owner] = zpool_alloc(pool, size, owner);
	assert_true(handles[owner] != 0);
	memset(zpool_object(pool, handles[owner]), (int)(owner * 7 + 1), size);
}

static void check(struct zpool *pool, uint64_t owner, size_t size)
{
	const unsigned char *p = zpool_object(pool, handles[owner]);

	assert_int_equal(zpool_size(pool, handles[owner]), size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(p[i], (owner * 7 + 1) & 0xff);
}

static void drop(struct zpool *pool, uint64_t owner)
{
	zpool_free(pool, handles[owner]);
	handles[owner] = 0;
}

/* What real data compresses to, roughly: 500..3500 bytes. */
static size_t some_size(uint64_t i)
{
	return 500 + i * 2654435761u % 3000;
}

static void charge_covers_size_and_header(void **state)
{
	for (size_t size = 1; size <= ZPOOL_MAX_SIZE; size++) {
		size_t charge = zpool_charge(size);

		if (size > 4072)
			assert_int_equal(charge, 4096);
		else
			assert_in_range(charge, size + 8, size + 23);
	}
}

static void every_size_fits(void **state)
{
	struct zpool *pool = new_pool(64 << 20);

	for (size_t size = 1; size <= ZPOOL_MAX_SIZE; size++)
		store(pool, size - 1, size);
	for (size_t size = 1; size <= ZPOOL_MAX_SIZE; size++) {
		check(pool, size - 1, size);
		assert_int_equal(zpool_owner(pool, handles[size - 1]), size - 1);
	}
	assert_true(zpool_check(pool));
	zpool_destroy(pool);
}

static void owners_up_to_51_bits(void **state)
{
	struct zpool *pool = new_pool(1 << 20);
	zhandle_t h = zpool_alloc(pool, ZPOOL_MAX_SIZE, ZPOOL_MAX_OWNER);

	assert_true(zpool_owner(pool, h) == ZPOOL_MAX_OWNER);
	assert_int_equal(zpool_size(pool, h), ZPOOL_MAX_SIZE);
	zpool_destroy(pool);
}

/* One large object class must not cost a small disk a whole span. */
static void lone_object_costs_its_pages(void **state)
{
	for (size_t size = 1; size <= ZPOOL_MAX_SIZE; size += 5) {
		struct zpool *pool = new_pool(1 << 20);

		store(pool, 0, size);
		assert_int_equal(stats(pool).pages, 1);
		drop(pool, 0);
		assert_int_equal(stats(pool).pages, 0);
		assert_int_equal(stats(pool).spans, 0);
		zpool_destroy(pool);
	}
}

static void raw_page_costs_one_page(void **state)
{
	struct zpool *pool = new_pool(64 << 20);

	for (unsigned i = 0; i < NR; i++)
		store(pool, i, 4096);
	assert_int_equal(stats(pool).pages, NR);
	assert_int_equal(stats(pool).huge, NR);
	zpool_destroy(pool);
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

/* The pool's own count of pages against the system's. */
static void pages_counted_are_pages_resident(void **state)
{
	struct zpool *pool = new_pool(64 << 20);
	uint64_t before = resident(), grown;

	if (SANITIZED) {
		zpool_destroy(pool);
		print_message("SKIP: a sanitizer has memory of its own\n");
		skip();
	}
	for (unsigned i = 0; i < NR; i++)
		store(pool, i, some_size(i));
	grown = resident() - before;
	assert_in_range(grown, stats(pool).pages * 4096, stats(pool).pages * 4096 + (1 << 20));
	assert_true(stats(pool).pages * 4096 <= stats(pool).charged * 103 / 100 + (256 << 12));
	for (unsigned i = 0; i < NR; i++)
		drop(pool, i);
	assert_int_equal(stats(pool).pages, 0);
	assert_true(resident() < before + (1 << 20));
	zpool_destroy(pool);
}

static void bound_is_kept_by_larger_cells(void **state)
{
	struct zpool *pool = new_pool(16 << 20);
	unsigned n = 0;

	zpool_set_max(pool, 1 << 20);
	/* Fill with 3000s, free one, and ask for 100s: there is no page, but a cell. */
	while ((handles[n] = zpool_alloc(pool, 3000, n)))
		n++;
	assert_int_equal(errno, ENOSPC);
	assert_in_range(stats(pool).pages, 254, 256);
	drop(pool, 10);
	handles[10] = zpool_alloc(pool, 100, 10);
	assert_true(handles[10] != 0);
	assert_int_equal(zpool_size(pool, handles[10]), 100);
	assert_int_equal(zpool_cell(pool, handles[10]), zpool_charge(3000));
	while (zpool_alloc(pool, 100, 0)) /* what the last page has room for */
		;
	assert_int_equal(errno, ENOSPC);
	assert_true(stats(pool).pages <= 256);
	assert_true(zpool_check(pool));
	/* Raised, it goes on. */
	zpool_set_max(pool, 0);
	assert_true(zpool_alloc(pool, 3000, 0) != 0);
	zpool_destroy(pool);
}

static void shrink_in_place(void **state)
{
	struct zpool *pool = new_pool(1 << 20);

	store(pool, 1, 2000);
	assert_false(zpool_shrink(pool, handles[1], 2100));
	assert_int_equal(zpool_size(pool, handles[1]), 2000);
	assert_true(zpool_shrink(pool, handles[1], 2));
	assert_int_equal(zpool_size(pool, handles[1]), 2);
	assert_int_equal(stats(pool).bytes, 2);
	assert_true(zpool_shrink(pool, handles[1], 2000)); /* back: the cell is the same */
	assert_int_equal(zpool_owner(pool, handles[1]), 1);
	assert_true(zpool_check(pool));
	zpool_destroy(pool);
}

static void compaction_packs(void **state)
{
	struct zpool *pool = new_pool(64 << 20);
	uint64_t before, given;

	for (unsigned i = 0; i < NR; i++)
		store(pool, i, 1000 + i % 7 * 300);
	for (unsigned i = 0; i < NR; i++)
		if (i * 2654435761u & 0x10000)
			drop(pool, i);
	before = stats(pool).pages;
	given = zpool_compact(pool, NULL, NULL);
	assert_int_equal(given, before - stats(pool).pages);
	assert_int_equal(given, stats(pool).pages_compacted);
	assert_true(stats(pool).pages * 4096 <= stats(pool).charged * 101 / 100 + 7 * 4096);
	assert_true(given > before / 3);
	for (unsigned i = 0; i < NR; i++)
		if (handles[i])
			check(pool, i, 1000 + i % 7 * 300);
	assert_true(zpool_check(pool));
	zpool_destroy(pool);
}

static void busy_objects_stay(void **state)
{
	struct zpool *pool = new_pool(64 << 20);
	zhandle_t was[NR];

	for (unsigned i = 0; i < NR; i++)
		store(pool, i, 900);
	for (unsigned i = 0; i < NR; i++)
		if (i % 3)
			drop(pool, i);
	for (unsigned i = 0; i < NR; i++)
		busy[i] = true;
	memcpy(was, handles, sizeof(was));
	zpool_compact(pool, NULL, NULL);
	assert_memory_equal(was, handles, sizeof(was));
	assert_true(zpool_check(pool));
	for (unsigned i = 0; i < NR; i += 3)
		check(pool, i, 900);
	zpool_destroy(pool);
}

/* Moves that did not empty their span have taken pages: nothing was given back, not 2^64 - 1. */
static void compaction_in_vain_is_zero(void **state)
{
	struct zpool *pool = new_pool(64 << 20);

	for (unsigned i = 0; i < 52; i++) /* 32 and 20 */
		store(pool, i, 4096);
	for (unsigned i = 0; i < 52; i++)
		busy[i] = true;
	for (unsigned i = 0; i < 16; i++)
		drop(pool, i);
	assert_int_equal(zpool_compact(pool, NULL, NULL), 0);
	assert_int_equal(stats(pool).pages_compacted, 0);
	zpool_destroy(pool);
}

static bool stop_at_once(void *opaque, unsigned done, unsigned total)
{
	++*(unsigned *)opaque;
	assert_in_range(done, 1, total);
	return false;
}

static void progress_stops(void **state)
{
	struct zpool *pool = new_pool(1 << 20);
	unsigned calls = 0;

	zpool_compact(pool, stop_at_once, &calls);
	assert_int_equal(calls, 1);
	zpool_destroy(pool);
}

static void on_low(void *opaque)
{
	++*(unsigned *)opaque;
}

static void reserve_is_ready(void **state)
{
	struct zpool *pool = new_pool(64 << 20);
	unsigned lows = 0;
	uint64_t before = resident(), filled;

	assert_int_equal(zpool_set_reserve(pool, 8 << 20, on_low, &lows), 0);
	assert_int_equal(stats(pool).reserve_pages, 2048);
	assert_true(resident() >= before + (8 << 20));
	filled = resident();
	for (unsigned i = 0; i < 1024; i++)
		store(pool, i, 4096);
	/* 4 MiB of it used: nothing new was touched, and help not yet called. */
	assert_true(resident() <= filled + (256 << 10));
	assert_int_equal(lows, 0);
	for (unsigned i = 1024; i < 2048; i++)
		store(pool, i, 4096);
	assert_true(lows > 0);
	assert_int_equal(zpool_refill(pool), 0);
	assert_int_equal(stats(pool).reserve_pages, 2048);
	assert_int_equal(zpool_set_reserve(pool, 0, NULL, NULL), 0);
	assert_int_equal(stats(pool).reserve_pages, 0);
	assert_true(zpool_check(pool));
	/* None left of one span is less than half. */
	lows = 0;
	assert_int_equal(zpool_set_reserve(pool, 1, on_low, &lows), 0);
	store(pool, 2048, 3000);
	assert_true(lows > 0);
	zpool_destroy(pool);
}

/* Spans from the reserve are resident as a whole, but the bound is for them, too. */
static void locked_pool_keeps_its_bound(void **state)
{
	struct zpool *pool = zpool_create(&(struct zpool_config){
		.reserve = 64 << 20, .locked = true });
	unsigned lows = 0;

	assert_non_null(pool);
	zpool_set_max(pool, 1 << 20);
	assert_int_equal(zpool_set_reserve(pool, 16 << 20, on_low, &lows), 0);
	for (unsigned i = 0; i < 8192 && zpool_alloc(pool, 3000, i); i++)
		zpool_refill(pool);
	/* 32 KiB spans: half of one for each class on top. */
	assert_true(stats(pool).pages <= 256 + 256 * 8 / 2);
	zpool_destroy(pool);
}

/* MADV_DONTNEED fails on locked memory: the pool must know another way. */
static void locked_pages_go_back(void **state)
{
	struct zpool *pool = zpool_create(&(struct zpool_config){
		.reserve = 64 << 20, .locked = true });
	uint64_t before;

	assert_non_null(pool);
	if (mlockall(MCL_CURRENT | MCL_FUTURE | 4 /* MCL_ONFAULT */) == -1) {
		zpool_destroy(pool);
		print_message("SKIP: mlockall is not permitted\n");
		skip();
	}
	before = resident();
	for (unsigned i = 0; i < NR; i++)
		store(pool, i, 4096);
	assert_true(resident() >= before + (uint64_t)NR * 4096);
	for (unsigned i = 0; i < NR; i++)
		drop(pool, i);
	assert_true(resident() < before + (1 << 20));
	munlockall();
	zpool_destroy(pool);
}

static void range_is_halved_when_refused(void **state)
{
	struct rlimit limit = { 1ull << 30, 1ull << 30 };
	pid_t pid;
	int status;

	if (SANITIZED) {
		print_message("SKIP: a sanitizer's mappings leave no address space to try\n");
		skip();
	}
	pid = fork();
	if (pid == 0) {
		struct zpool *pool;

		setrlimit(RLIMIT_AS, &limit);
		pool = zpool_create(&(struct zpool_config){ .reserve = 1ull << 45 });
		_exit(pool && zpool_alloc(pool, 4096, 0) ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

static void range_used_up(void **state)
{
	struct zpool *pool = new_pool(1); /* the least: room for every class to begin */
	uint64_t n = 0;

	while (zpool_alloc(pool, 4096, 0))
		n++;
	assert_int_equal(errno, ENOMEM);
	assert_true(n > 1000);
	zpool_destroy(pool);
}

struct worker {
	struct zpool *pool;
	unsigned seed;
};

static void *hammer(void *opaque)
{
	struct worker *w = opaque;
	zhandle_t mine[64] = { 0 };
	unsigned char tag[64] = { 0 };

	for (unsigned i = 0; i < 100000; i++) {
		unsigned k = (w->seed = w->seed * 1103515245 + 12345) >> 16 & 63;
		size_t size = 1 + (w->seed >> 8) % 4096;

		if (mine[k]) {
			if (*(unsigned char *)zpool_object(w->pool, mine[k]) != tag[k])
				abort();
			zpool_free(w->pool, mine[k]);
			mine[k] = 0;
			continue;
		}
		mine[k] = zpool_alloc(w->pool, size, ZPOOL_MAX_OWNER);
		tag[k] = (unsigned char)i;
		*(unsigned char *)zpool_object(w->pool, mine[k]) = tag[k];
	}
	for (unsigned k = 0; k < 64; k++)
		if (mine[k])
			zpool_free(w->pool, mine[k]);
	return NULL;
}

static void threads_and_compaction(void **state)
{
	struct zpool *pool = new_pool(64 << 20);
	struct worker w[4];
	pthread_t t[4];

	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){ pool, i + 1 };
		assert_int_equal(pthread_create(&t[i], NULL, hammer, &w[i]), 0);
	}
	for (unsigned i = 0; i < 200; i++) {
		zpool_compact(pool, NULL, NULL);
		stats(pool);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_true(zpool_check(pool));
	assert_int_equal(stats(pool).pages, 0);
	zpool_destroy(pool);
}

/* Whole pages that come and go: what `keep` allows stays resident, and serves the next ones. */
static void emptied_pages_are_kept(void **state)
{
	struct zpool *pool = new_pool(64 << 20);
	uint64_t kept, spans;

	zpool_keep_pages(pool, 256 * 4096);
	for (unsigned round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < 1000; i++)
			assert_true(handles[i] = zpool_alloc(pool, 4096, i));
		assert_true(zpool_check(pool));
		assert_in_range(stats(pool).pages, 1000, 1040);
		for (uint64_t i = 0; i < 1000; i++)
			zpool_free(pool, handles[i]);
		assert_true(zpool_check(pool));
		kept = stats(pool).pages;
		spans = stats(pool).spans;
		assert_in_range(kept, 200, 256);
		assert_int_equal(stats(pool).objects, 0);
		/* As many as are kept need no new page. */
		for (uint64_t i = 0; i < kept; i++)
			assert_true(handles[i] = zpool_alloc(pool, 4096, i));
		assert_int_equal(stats(pool).pages, kept);
		assert_int_equal(stats(pool).spans, spans);
		assert_true(zpool_check(pool));
		for (uint64_t i = 0; i < kept; i++)
			zpool_free(pool, handles[i]);
		assert_int_equal(stats(pool).pages, kept);
	}
	/* Other classes' do not stay. */
	handles[0] = zpool_alloc(pool, 2000, 0);
	assert_true(stats(pool).pages > kept);
	zpool_free(pool, handles[0]);
	assert_int_equal(stats(pool).pages, kept);
	assert_true(zpool_give_back(pool));
	assert_false(zpool_give_back(pool));
	assert_int_equal(stats(pool).pages, 0);
	assert_int_equal(stats(pool).spans, 0);
	assert_true(zpool_check(pool));
	zpool_destroy(pool);
}

/* What is kept never stands in the way of an allocation, whatever its class. */
static void kept_pages_go_when_needed(void **state)
{
	struct zpool *pool = new_pool(64 << 20);

	zpool_keep_pages(pool, 64 << 20);
	zpool_set_max(pool, 100 * 4096);
	for (uint64_t i = 0; i < 100; i++)
		assert_true(handles[i] = zpool_alloc(pool, 4096, i));
	assert_int_equal(zpool_alloc(pool, 4096, 100), 0);
	for (uint64_t i = 0; i < 100; i++)
		zpool_free(pool, handles[i]);
	assert_int_equal(stats(pool).pages, 100);
	for (uint64_t i = 0; i < 150; i++) {
		assert_true(handles[i] = zpool_alloc(pool, 2000, i));
		assert_true(zpool_cell(pool, handles[i]) < 4096);
		assert_true(stats(pool).pages <= 100);
	}
	assert_true(zpool_check(pool));
	zpool_destroy(pool);
}

static void settling_packs_whole_pages_alone(void **state)
{
	struct zpool *pool = new_pool(64 << 20);
	struct zpool_stats before, after;

	zpool_keep_pages(pool, 1 << 20);
	for (uint64_t i = 0; i < 2000; i++) {
		assert_true(handles[i] = zpool_alloc(pool, i % 2 ? 4096 : 1000, i));
		memset(zpool_object(pool, handles[i]), (int)i, i % 2 ? 4096 : 1000);
	}
	for (uint64_t i = 0; i < 2000; i++)
		if (i % 8 > 1) { /* one of four of each kind stays */
			zpool_free(pool, handles[i]);
			handles[i] = 0;
		}
	before = stats(pool);
	assert_true(zpool_settle(pool, 1));
	assert_true(stats(pool).pages > before.pages - 100); /* most is left to do */
	assert_false(zpool_settle(pool, ULONG_MAX));
	after = stats(pool);
	/* 250 raw ones in as many pages and a span's tail; the small ones as they were. */
	assert_true(before.pages - after.pages >= 600);
	assert_in_range(after.pages, 250 + 250 * 1008 / 4096, 250 + 250 + 40);
	assert_int_equal(after.pages_compacted, 0); /* nobody asked for it */
	assert_true(zpool_check(pool));
	for (uint64_t i = 0; i < 2000; i++)
		if (handles[i])
			for (unsigned b = 0; b < (i % 2 ? 4096u : 1000u); b++)
				assert_int_equal(((unsigned char *)zpool_object(pool, handles[i]))[b],
					(unsigned char)i);
	assert_true(zpool_compact(pool, NULL, NULL) > 0);
	zpool_destroy(pool);
}

static _Atomic bool settled_enough;

static void *settle_on(void *pool)
{
	while (!settled_enough)
		zpool_settle(pool, 1);
	return NULL;
}

static bool decline(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to)
{
	return false;
}

/* An idle worker is in zpool_settle() when the owner resets the pool. */
static void reset_beside_settling(void **state)
{
	struct zpool *pool = zpool_create(&(struct zpool_config){
		.reserve = 64 << 20, .move = decline });
	pthread_t thread;
	bool whole = true;

	assert_non_null(pool);
	zpool_keep_pages(pool, 8 << 20);
	settled_enough = false;
	assert_int_equal(pthread_create(&thread, NULL, settle_on, pool), 0);
	for (unsigned round = 0; round < 500 && whole; round++) {
		for (unsigned i = 0; i < 1024; i++)
			assert_true(handles[i] = zpool_alloc(pool, 4096, i));
		for (unsigned i = 0; i < 1024; i++)
			zpool_free(pool, handles[i]);
		zpool_give_back(pool);
		whole = zpool_reset(pool) && zpool_check(pool);
	}
	settled_enough = true;
	pthread_join(thread, NULL);
	assert_true(whole);
	assert_true(zpool_check(pool));
	zpool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(charge_covers_size_and_header),
		cmocka_unit_test(every_size_fits),
		cmocka_unit_test(owners_up_to_51_bits),
		cmocka_unit_test(lone_object_costs_its_pages),
		cmocka_unit_test(raw_page_costs_one_page),
		cmocka_unit_test(pages_counted_are_pages_resident),
		cmocka_unit_test(bound_is_kept_by_larger_cells),
		cmocka_unit_test(shrink_in_place),
		cmocka_unit_test(compaction_packs),
		cmocka_unit_test(busy_objects_stay),
		cmocka_unit_test(compaction_in_vain_is_zero),
		cmocka_unit_test(progress_stops),
		cmocka_unit_test(reserve_is_ready),
		cmocka_unit_test(locked_pool_keeps_its_bound),
		cmocka_unit_test(locked_pages_go_back),
		cmocka_unit_test(range_is_halved_when_refused),
		cmocka_unit_test(range_used_up),
		cmocka_unit_test(emptied_pages_are_kept),
		cmocka_unit_test(kept_pages_go_when_needed),
		cmocka_unit_test(settling_packs_whole_pages_alone),
		cmocka_unit_test(reset_beside_settling),
		cmocka_unit_test(threads_and_compaction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
