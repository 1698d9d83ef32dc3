/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A random walk over the pool beside a shadow map: alloc, write, read, free,
 * shrink, move, compact, bounds. Usage: test-zpool-model [STEPS [SEED]].
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zpool/zpool.h"

#define NR_OWNERS 20000

struct shadow {
	zhandle_t handle; /* 0: nothing stored */
	uint32_t size, seed;
	bool busy; /* declines to move */
};

static struct shadow shadow[NR_OWNERS];
static struct zpool *pool;
static uint64_t rng_state, live, live_bytes, moves;

static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	return rng_state ^= rng_state << 17;
}

#define DIE(...)                                                                                   \
	do {                                                                                       \
		fprintf(stderr, "test-zpool-model: " __VA_ARGS__);                                 \
		fputc('\n', stderr);                                                               \
		exit(1);                                                                           \
	} while (0)

static void fill(unsigned char *p, uint32_t size, uint32_t seed)
{
	for (uint32_t i = 0; i < size; i++)
		p[i] = (unsigned char)((seed + i * 2654435761u) >> 24);
}

static void verify(uint64_t owner)
{
	struct shadow *s = &shadow[owner];
	unsigned char want[ZPOOL_MAX_SIZE];

	if (zpool_size(pool, s->handle) != s->size || zpool_owner(pool, s->handle) != owner)
		DIE("owner %lu: size or owner changed", (unsigned long)owner);
	fill(want, s->size, s->seed);
	if (memcmp(want, zpool_object(pool, s->handle), s->size))
		DIE("owner %lu: content changed", (unsigned long)owner);
}

static bool move(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to)
{
	struct shadow *s = &shadow[owner];

	(void)opaque;
	if (s->handle != from || s->busy)
		return false;
	zpool_copy(pool, from, to);
	s->handle = to;
	moves++;
	return true;
}

/* Sizes as compressors make them: a hump, with tiny and incompressible tails. */
static uint32_t pick_size(void)
{
	switch (rng() % 8) {
	case 0:
		return 1 + rng() % 64;
	case 1:
		return 4000 + rng() % 97;
	case 2:
		return 4096;
	default:
		return 1 + (rng() % 2000 + rng() % 2000);
	}
}

static void forget(uint64_t owner)
{
	zpool_free(pool, shadow[owner].handle);
	live--;
	live_bytes -= shadow[owner].size;
	shadow[owner].handle = 0;
}

static void store(uint64_t owner)
{
	struct shadow *s = &shadow[owner];
	uint32_t size = pick_size();
	zhandle_t h = zpool_alloc(pool, size, owner);

	if (!h) {
		if (errno != ENOSPC)
			DIE("alloc: %s", strerror(errno));
		return; /* at the bound: the old object must be as it was */
	}
	if (zpool_cell(pool, h) < zpool_charge(size))
		DIE("cell too small");
	if (s->handle)
		forget(owner);
	s->handle = h;
	s->size = size;
	s->seed = (uint32_t)rng();
	fill(zpool_object(pool, h), size, s->seed);
	live++;
	live_bytes += size;
}

static void shrink(uint64_t owner)
{
	struct shadow *s = &shadow[owner];
	uint32_t size = pick_size();
	bool fits = zpool_charge(size) <= zpool_cell(pool, s->handle);

	if (zpool_shrink(pool, s->handle, size) != fits)
		DIE("shrink from %u to %u: expected %d", s->size, size, fits);
	if (!fits)
		return;
	live_bytes = live_bytes + size - s->size;
	s->size = size;
	fill(zpool_object(pool, s->handle), size, s->seed);
}

static void check_all(void)
{
	struct zpool_stats st;

	if (!zpool_check(pool))
		exit(1);
	zpool_get_stats(pool, &st);
	if (st.objects != live || st.bytes != live_bytes)
		DIE("%lu objects of %lu bytes, expected %lu of %lu", (unsigned long)st.objects,
			(unsigned long)st.bytes, (unsigned long)live, (unsigned long)live_bytes);
	for (uint64_t i = 0; i < NR_OWNERS; i++)
		if (shadow[i].handle)
			verify(i);
}

static void compact(void)
{
	struct zpool_stats before, after;
	size_t given;

	for (uint64_t i = 0; i < NR_OWNERS; i++)
		shadow[i].busy = rng() % 64 == 0;
	zpool_get_stats(pool, &before);
	given = zpool_compact(pool, NULL, NULL);
	zpool_get_stats(pool, &after);
	if (before.pages - after.pages != given)
		DIE("compact says %zu pages, it was %lu", given,
			(unsigned long)(before.pages - after.pages));
	for (uint64_t i = 0; i < NR_OWNERS; i++)
		shadow[i].busy = false;
	check_all();
	/* With nobody busy: at most one page more than each class's objects need. */
	zpool_compact(pool, NULL, NULL);
	zpool_get_stats(pool, &after);
	if (after.pages * 4096 > after.charged + after.charged / 25 + 256 * 4096)
		DIE("after compaction %lu pages for %lu charged bytes", (unsigned long)after.pages,
			(unsigned long)after.charged);
}

/* Phases make the pool grow, churn, and drain by turns. */
static void step(uint64_t i)
{
	uint64_t owner = rng() % NR_OWNERS;
	unsigned phase = i / 50000 % 3;

	if (!shadow[owner].handle) {
		if (phase != 2 || rng() % 4 == 0)
			store(owner);
		return;
	}
	verify(owner);
	switch (rng() % (phase == 2 ? 3 : 8)) {
	case 0:
	case 1:
		forget(owner);
		break;
	case 2:
		shrink(owner);
		break;
	default:
		store(owner);
	}
}

static void walk(uint64_t steps, bool locked)
{
	struct zpool_stats st;

	pool = zpool_create(&(struct zpool_config){
		.reserve = 128 << 20, .locked = locked, .move = move });
	if (!pool)
		DIE("zpool_create: %s", strerror(errno));
	for (uint64_t i = 0; i < steps; i++) {
		step(i);
		if (i % 100000 == 99999)
			compact();
		if (i % 400000 == 0) /* a bound at times, sometimes below what is used */
			zpool_set_max(pool, rng() % 3 ? 0 : rng() % (24 << 20));
		if (i % 30000 == 0)
			zpool_keep_pages(pool, rng() % 3 ? rng() % (4 << 20) : 0);
		if (i % 70000 == 0)
			zpool_settle(pool, ULONG_MAX);
		if (i % 250000 == 0)
			zpool_set_reserve(pool, rng() % 2 ? 2 << 20 : 0, NULL, NULL);
	}
	check_all();
	for (uint64_t i = 0; i < NR_OWNERS; i++)
		if (shadow[i].handle)
			forget(i);
	check_all();
	zpool_give_back(pool);
	check_all();
	zpool_get_stats(pool, &st);
	if (st.pages || st.spans || st.objects)
		DIE("not empty at the end");
	zpool_destroy(pool);
}

int main(int argc, char **argv)
{
	uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 2000000;

	rng_state = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x9e3779b97f4a7c15;
	walk(steps, false);
	walk(steps, true); /* with the smaller spans of locked memory */
	printf("twice %lu steps, %lu moves\n", (unsigned long)steps, (unsigned long)moves);
	return moves ? 0 : 1;
}
