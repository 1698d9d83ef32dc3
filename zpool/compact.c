/* SPDX-License-Identifier: BSD-3-Clause */
/* Compaction: objects move from the sparsest span of a class to its fullest. */
#include <limits.h>

#include "pool.h"

/* Objects found busy in one class before the pass leaves it as it is. */
#define BUSY_MAX 16

/* The highest used cell below number `below` (at most the class's ncells), or -1. */
static int last_used(const struct span *span, int below)
{
	for (int word = (below - 1) / 64; below > 0 && word >= 0; word--) {
		uint64_t used = ~span->free[word];
		int bits = below - word * 64;

		if (bits < 64)
			used &= (UINT64_C(1) << bits) - 1;
		if (used)
			return word * 64 + 63 - __builtin_clzll(used);
	}
	return -1;
}

static bool move_object(struct zpool *pool, struct size_class *c, struct span *src, unsigned from,
	struct span *dst, unsigned to)
{
	zhandle_t h = cell_handle(pool, src, c, from);

	/* Whatever the bound: it is for a moment, until `src` is empty. */
	span_touch(pool, c, dst, to, 0);
	if (!pool->move(pool->opaque, zpool_owner(pool, h), h, cell_handle(pool, dst, c, to)))
		return false;
	cell_set_used(dst, to);
	cell_set_free(src, from);
	return true;
}

/* Pages behind the last used cell go back. */
static void trim_tail(struct zpool *pool, struct size_class *c, struct span *span)
{
	unsigned keep = pages_for(c, last_used(span, c->ncells) + 1);
	unsigned touched = span->touched;

	if (keep >= touched)
		return;
	span_untouch(pool, c, span, keep);
	/* Under the lock: else a new object could be stored there meanwhile. */
	pages_give_back(pool, span, keep, touched);
	span->touched = keep;
}

/* One object inside one span, down to its lowest hole. */
static bool slide(struct zpool *pool, struct size_class *c, struct span *span, unsigned *busy)
{
	int to = span_first_free(span);
	int from = c->ncells;

	while ((from = last_used(span, from)) > to && *busy < BUSY_MAX) {
		if (move_object(pool, c, span, from, span, to))
			return true;
		(*busy)++;
	}
	return false;
}

/* One object from the sparsest span to the fullest. */
static bool empty_one(struct zpool *pool, struct size_class *c, struct span *src, struct span *dst,
	unsigned *busy)
{
	int from = c->ncells;

	while ((from = last_used(src, from)) >= 0 && *busy < BUSY_MAX) {
		if (move_object(pool, c, src, from, dst, span_first_free(dst))) {
			class_rebucket(c, dst);
			class_rebucket(c, src);
			return true;
		}
		(*busy)++;
	}
	return false;
}

/*
 * One step under the class's lock: at most one object moves, so nobody waits
 * for more than that. Returns false when the class has nothing left to do.
 */
static bool class_step(struct zpool *pool, struct size_class *c, unsigned *busy, int64_t *pages)
{
	struct span *src, *dst, *kept, *emptied = NULL;
	bool more = false;
	uint64_t before;

	pthread_mutex_lock(&c->lock);
	before = c->pages;
	kept = class_kept(c);
	src = class_sparsest(c);
	dst = class_fullest(c);
	if (src && src == dst)
		dst = src->next; /* one bucket: any two of it */
	if (kept) {
		class_drop(pool, c, kept);
		emptied = kept;
		more = true;
	} else if (src && dst) {
		more = empty_one(pool, c, src, dst, busy);
		if (src->nr_free == c->ncells) {
			class_drop(pool, c, src);
			emptied = src;
		}
	} else if (src) {
		more = slide(pool, c, src, busy);
		if (!more)
			trim_tail(pool, c, src);
	}
	*pages += (int64_t)(before - c->pages);
	pthread_mutex_unlock(&c->lock);
	if (emptied)
		span_put(pool, emptied);
	return more;
}

/* At most `steps` of it. False: it is done. */
static bool compact_class(
	struct zpool *pool, struct size_class *c, int64_t *pages, unsigned long steps)
{
	unsigned busy = 0;

	while (class_step(pool, c, &busy, pages))
		if (--steps == 0)
			return true;
	return false;
}

bool zpool_settle(struct zpool *pool, unsigned long steps)
{
	int64_t pages = 0;
	bool more;

	/* A compaction that is running does it all. */
	if (!pool->move || pthread_mutex_trylock(&pool->compact_lock) != 0)
		return false;
	more = compact_class(pool, &pool->classes[CLASS_HUGE], &pages, steps);
	pthread_mutex_unlock(&pool->compact_lock);
	return more;
}

size_t zpool_compact(struct zpool *pool, zpool_progress_fn *progress, void *opaque)
{
	int64_t pages = 0;

	if (!pool->move)
		return 0;
	pthread_mutex_lock(&pool->compact_lock);
	/* Largest first: that is where the memory is. */
	for (unsigned i = NR_CLASSES; i-- > 0;) {
		compact_class(pool, &pool->classes[i], &pages, ULONG_MAX);
		if (progress && !progress(opaque, NR_CLASSES - i, NR_CLASSES))
			break;
	}
	/* Classes left half-way, for busy objects, have more pages than before. */
	if (pages < 0)
		pages = 0;
	atomic_fetch_add_explicit(&pool->pages_compacted, (uint64_t)pages, memory_order_relaxed);
	pthread_mutex_unlock(&pool->compact_lock);
	return (size_t)pages;
}
