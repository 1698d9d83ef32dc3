/* SPDX-License-Identifier: BSD-3-Clause */
/* Size classes and the spans they use. Everything here runs under the class's lock. */
#include "pool.h"

/*
 * How many pages a span of this class spends: of the upper half of what it may the
 * number with the least unusable tail (of 16 to 32: 0.13 % in the mean; zsmalloc's 8
 * leave 1.7 %); fewer only for small cells, of which a span has SPAN_CELLS at most.
 * Under one half, too much of the address range would lie idle.
 */
static unsigned best_pages(unsigned cell, unsigned span_pages)
{
	unsigned best = 0, best_tail = 0;

	if (cell * SPAN_CELLS <= span_pages * ZPAGE_SIZE / 2)
		return cell * SPAN_CELLS / ZPAGE_SIZE;
	for (unsigned pages = span_pages; pages >= span_pages / 2; pages--) {
		unsigned bytes = pages * ZPAGE_SIZE;
		unsigned tail = bytes <= cell * SPAN_CELLS ? bytes % cell : bytes;

		if (!best || (uint64_t)tail * best < (uint64_t)best_tail * pages) {
			best = pages;
			best_tail = tail;
		}
	}
	return best;
}

void class_setup(struct size_class *c, unsigned index, unsigned span_pages)
{
	pthread_mutex_init(&c->lock, NULL);
	c->cell = index == CLASS_HUGE ? ZPAGE_SIZE : (index + 1) << CELL_SHIFT;
	c->npages = best_pages(c->cell, span_pages);
	c->ncells = c->npages * ZPAGE_SIZE / c->cell;
	c->bucket_mul = (NR_BUCKETS << 16) / c->ncells;
}

static unsigned bucket_of(const struct size_class *c, const struct span *span)
{
	unsigned bucket = (c->ncells - span->nr_free) * c->bucket_mul >> 16;

	return bucket < NR_BUCKETS ? bucket : NR_BUCKETS - 1;
}

void class_unlink(struct size_class *c, struct span *span)
{
	if (span->bucket == BUCKET_NONE)
		return;
	if (span->prev)
		span->prev->next = span->next;
	else
		c->partial[span->bucket] = span->next;
	if (span->next)
		span->next->prev = span->prev;
	span->bucket = BUCKET_NONE;
}

void class_link(struct size_class *c, struct span *span)
{
	unsigned bucket = bucket_of(c, span);

	span->bucket = bucket;
	span->prev = NULL;
	span->next = c->partial[bucket];
	if (span->next)
		span->next->prev = span;
	c->partial[bucket] = span;
}

/* After a cell was taken or freed: the list that fits its fullness, or none. */
void class_rebucket(struct size_class *c, struct span *span)
{
	if (span->nr_free && span->bucket == bucket_of(c, span))
		return;
	class_unlink(c, span);
	if (span->nr_free)
		class_link(c, span);
}

struct span *class_fullest(const struct size_class *c)
{
	for (int i = NR_BUCKETS - 1; i >= 0; i--)
		if (c->partial[i])
			return c->partial[i];
	return NULL;
}

struct span *class_sparsest(const struct size_class *c)
{
	for (unsigned i = 0; i < NR_BUCKETS; i++)
		if (c->partial[i])
			return c->partial[i];
	return NULL;
}

int span_first_free(const struct span *span)
{
	for (unsigned i = 0; i < SPAN_CELLS / 64; i++)
		if (span->free[i])
			return (int)i * 64 + __builtin_ctzll(span->free[i]);
	return -1;
}

static bool pool_add_pages(struct zpool *pool, uint64_t n, uint64_t max)
{
	uint64_t now = atomic_fetch_add_explicit(&pool->pages, n, memory_order_relaxed) + n;
	uint64_t top;

	if (max && now > max) {
		atomic_fetch_sub_explicit(&pool->pages, n, memory_order_relaxed);
		return false;
	}
	top = atomic_load_explicit(&pool->pages_max, memory_order_relaxed);
	while (now > top &&
	       !atomic_compare_exchange_weak_explicit(&pool->pages_max, &top, now,
		       memory_order_relaxed, memory_order_relaxed))
		;
	return true;
}

/*
 * Counts the span's first `pages` pages as touched; false when `max` pages in the pool (0: no
 * bound) forbid that.
 */
bool span_touch_pages(struct zpool *pool, struct size_class *c, struct span *span, unsigned pages,
	uint64_t max)
{
	if (pages <= span->touched)
		return true;
	if (!pool_add_pages(pool, pages - span->touched, max))
		return false;
	c->pages += pages - span->touched;
	span->touched = pages;
	return true;
}

/* The same for the pages that `cell` reaches into. */
bool span_touch(struct zpool *pool, struct size_class *c, struct span *span, unsigned cell,
	uint64_t max)
{
	return span_touch_pages(pool, c, span, pages_for(c, cell + 1), max);
}

/* The span's pages from number `pages` on no longer count. */
void span_untouch(struct zpool *pool, struct size_class *c, struct span *span, unsigned pages)
{
	uint64_t n = span->touched - pages;

	c->pages -= n;
	atomic_fetch_sub_explicit(&pool->pages, n, memory_order_relaxed);
}

/* May an emptied span stay with its class? Then it does. */
bool class_keep(struct size_class *c, struct span *span)
{
	if (c->kept + span->touched > c->keep)
		return false;
	c->kept += span->touched;
	span->kept = true;
	class_rebucket(c, span);
	return true;
}

/* One that is kept; NULL: none. */
struct span *class_kept(const struct size_class *c)
{
	struct span *span = c->kept ? class_sparsest(c) : NULL;

	while (span && !span->kept)
		span = span->next;
	return span;
}

/* It is used again, or goes. */
void class_unkeep(struct size_class *c, struct span *span)
{
	if (span->kept)
		c->kept -= span->touched;
	span->kept = false;
}

/* The class lets go of an emptied span; span->touched still says how far to give back. */
void class_drop(struct zpool *pool, struct size_class *c, struct span *span)
{
	class_unkeep(c, span);
	class_unlink(c, span);
	c->spans--;
	span_untouch(pool, c, span, 0);
}
