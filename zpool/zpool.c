/* SPDX-License-Identifier: BSD-3-Clause */
/* The pool's life, allocation and freeing. zpool.h is the manual, pool.h the structures. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pool.h"

/*
 * Address space alone. PROT_NONE, so that it counts against no limit on memory that a process
 * may come to use; what the pool uses is made accessible as it grows.
 */
static void *reserve(size_t len)
{
	void *p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* A huge page would make resident what nobody touched. */
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

static size_t spans_len(uint64_t nr_spans)
{
	return nr_spans * sizeof(struct span);
}

static size_t huge_len(const struct zpool *pool, uint64_t nr_spans)
{
	return nr_spans * pool->span_pages * sizeof(uint64_t);
}

static void unmap(struct zpool *pool)
{
	if (pool->base)
		munmap(pool->base, pool->max_spans << pool->span_shift);
	if (pool->spans)
		munmap(pool->spans, spans_len(pool->max_spans));
	if (pool->huge_hdr)
		munmap(pool->huge_hdr, huge_len(pool, pool->max_spans));
	pool->base = NULL;
	pool->spans = NULL;
	pool->huge_hdr = NULL;
}

static bool map(struct zpool *pool, uint64_t max_spans)
{
	pool->max_spans = max_spans;
	pool->base = reserve(max_spans << pool->span_shift);
	pool->spans = reserve(spans_len(max_spans));
	pool->huge_hdr = reserve(huge_len(pool, max_spans));
	if (pool->base && pool->spans && pool->huge_hdr)
		return true;
	unmap(pool);
	return false;
}

/* The first `nr_spans` become usable. */
static bool use(struct zpool *pool, uint64_t nr_spans)
{
	if (mprotect(pool->base, nr_spans << pool->span_shift, PROT_READ | PROT_WRITE) == -1 ||
		mprotect(pool->spans, spans_len(nr_spans), PROT_READ | PROT_WRITE) == -1 ||
		mprotect(pool->huge_hdr, huge_len(pool, nr_spans), PROT_READ | PROT_WRITE) == -1)
		return false;
	pool->nr_spans = nr_spans;
	return true;
}

/*
 * Twice the data, as a class may leave up to half of its spans' addresses
 * unused, and room for each class to begin.
 */
static uint64_t spans_for(const struct zpool *pool, uint64_t bytes, uint64_t most)
{
	if (bytes >= ZPOOL_MAX_RESERVE / 2)
		return most;
	bytes = (bytes * 2 >> pool->span_shift) + 2 * NR_CLASSES;
	return bytes < most ? bytes : most;
}

static bool map_and_use(struct zpool *pool, uint64_t bytes)
{
	for (uint64_t max = ZPOOL_MAX_RESERVE >> pool->span_shift; max >= 8; max /= 2) {
		if (!map(pool, max))
			continue;
		for (uint64_t nr = spans_for(pool, bytes, max); nr >= 8; nr /= 2)
			if (use(pool, nr))
				return true;
		unmap(pool);
	}
	return false;
}

/*
 * A locked pool's spans come from the reserve, resident as a whole: half a span is left unused in
 * each of 256 classes. For a small pool that would be much, so its spans are smaller.
 */
static unsigned span_shift_for(const struct zpool_config *config)
{
	unsigned shift = SPAN_SHIFT_MAX;

	while (config->locked && shift > SPAN_SHIFT_MIN &&
		config->reserve < (uint64_t)NR_CLASSES * 64 << shift)
		shift--;
	return shift;
}

struct zpool *zpool_create(const struct zpool_config *config)
{
	struct zpool *pool = aligned_alloc(64, sizeof(*pool));

	if (!pool)
		return NULL;
	memset(pool, 0, sizeof(*pool));
	pool->span_shift = span_shift_for(config);
	pool->span_pages = 1u << (pool->span_shift - ZPAGE_SHIFT);
	if (!map_and_use(pool, config->reserve)) {
		free(pool);
		errno = ENOMEM;
		return NULL;
	}
	pool->move = config->move;
	pool->opaque = config->opaque;
	pool->locked = config->locked;
	pool->fresh = 1;
	pthread_mutex_init(&pool->span_lock, NULL);
	pthread_mutex_init(&pool->compact_lock, NULL);
	for (unsigned i = 0; i < NR_CLASSES; i++)
		class_setup(&pool->classes[i], i, pool->span_pages);
	return pool;
}

int zpool_grow(struct zpool *pool, uint64_t bytes)
{
	uint64_t nr_spans = spans_for(pool, bytes, pool->max_spans);
	bool ok;

	pthread_mutex_lock(&pool->span_lock);
	ok = nr_spans <= pool->nr_spans || use(pool, nr_spans);
	pthread_mutex_unlock(&pool->span_lock);
	return ok ? 0 : -1;
}

bool zpool_reset(struct zpool *pool)
{
	bool empty;

	/* zpool_settle() may be between its class and the list that a span goes to. */
	pthread_mutex_lock(&pool->compact_lock);
	pthread_mutex_lock(&pool->span_lock);
	empty = atomic_load(&pool->pages) == 0;
	if (empty && !pool->reserve_target) {
		pool->free = NULL;
		pool->fresh = 1;
		madvise(pool->spans, spans_len(pool->nr_spans), MADV_DONTNEED);
		madvise(pool->huge_hdr, huge_len(pool, pool->nr_spans), MADV_DONTNEED);
	}
	pthread_mutex_unlock(&pool->span_lock);
	pthread_mutex_unlock(&pool->compact_lock);
	if (empty) {
		zpool_reset_compacted(pool);
		zpool_reset_max_used(pool);
	}
	return empty;
}

void zpool_destroy(struct zpool *pool)
{
	if (!pool)
		return;
	for (unsigned i = 0; i < NR_CLASSES; i++)
		pthread_mutex_destroy(&pool->classes[i].lock);
	pthread_mutex_destroy(&pool->span_lock);
	pthread_mutex_destroy(&pool->compact_lock);
	unmap(pool);
	free(pool);
}

/* An allocation on its way: what is asked, and the pages that it is the first to count. */
struct request {
	size_t size;
	struct span *span;
	unsigned from, to; /* of its pages; none if equal */
};

/*
 * New pages are faulted in by a system call, not by touching them: 0.1 us of a page written by two
 * connections at once. A class that has many takes some ahead: one for each 128 it has, at most.
 */
#define AHEAD_SHIFT 7
#define AHEAD_MAX   8

static void touch_ahead(struct zpool *pool, struct size_class *c, struct request *r)
{
	uint64_t ahead = c->pages >> AHEAD_SHIFT;
	unsigned pages = r->span->touched + (unsigned)(ahead < AHEAD_MAX ? ahead : AHEAD_MAX);

	span_touch_pages(pool, c, r->span, pages < c->npages ? pages : c->npages, 0);
}

/* A cell of `span`, which has a free one; -1 when it needs a page too many. */
static int take_cell(struct zpool *pool, struct size_class *c, struct span *span, struct request *r)
{
	uint64_t max = atomic_load_explicit(&pool->max_pages, memory_order_relaxed);
	int cell = span_first_free(span);

	r->span = span;
	r->from = r->to = span->touched;
	if (!span_touch(pool, c, span, cell, max))
		return -1;
	class_unkeep(c, span);
	if (span->touched > r->from && !max)
		touch_ahead(pool, c, r);
	r->to = span->touched;
	cell_set_used(span, cell);
	class_rebucket(c, span);
	c->objects++;
	c->bytes += r->size;
	return cell;
}

/* A new span for the class, on its list, with no cell used yet. NULL with errno. */
static struct span *class_grow(struct zpool *pool, struct size_class *c)
{
	uint64_t max = atomic_load_explicit(&pool->max_pages, memory_order_relaxed);
	struct span *span;
	bool faulted;

	/* A locked pool's come from the reserve, resident as a whole. */
	if (pool->locked && max &&
		atomic_load_explicit(&pool->pages, memory_order_relaxed) + c->npages > max) {
		errno = ENOSPC;
		return NULL;
	}
	span = span_get(pool, c, &faulted);
	if (!span) {
		errno = ENOMEM;
		return NULL;
	}
	c->spans++;
	if (faulted) /* resident, so counted; other classes may have come to the bound meanwhile */
		span_touch(pool, c, span, c->ncells - 1, 0);
	class_link(c, span);
	return span;
}

/* From the fullest span that needs no forbidden page; one span a bucket is tried. */
static zhandle_t class_take(struct zpool *pool, struct size_class *c, struct request *r)
{
	for (int i = NR_BUCKETS - 1; i >= 0; i--) {
		struct span *span = c->partial[i];
		int cell = span ? take_cell(pool, c, span, r) : -1;

		if (cell >= 0)
			return cell_handle(pool, span, c, cell);
	}
	return 0;
}

static zhandle_t class_alloc(struct zpool *pool, struct size_class *c, struct request *r)
{
	zhandle_t handle;

	pthread_mutex_lock(&c->lock);
	handle = class_take(pool, c, r);
	if (!handle) {
		struct span *span = class_grow(pool, c);
		int cell = span ? take_cell(pool, c, span, r) : -1;

		if (cell >= 0) {
			handle = cell_handle(pool, span, c, cell);
		} else if (span) {
			errno = ENOSPC;
			class_drop(pool, c, span);
			span_put(pool, span);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return handle;
}

zhandle_t zpool_alloc(struct zpool *pool, size_t size, uint64_t owner)
{
	unsigned index = class_of(size);
	struct request request = { .size = size }, *r = &request;
	zhandle_t handle = class_alloc(pool, &pool->classes[index], r);

	/* No page to be had: one that is kept; or a larger cell that lies free and touched. */
	if (!handle && zpool_give_back(pool))
		handle = class_alloc(pool, &pool->classes[index], r);
	for (unsigned i = index + 1; !handle && i < NR_CLASSES; i++) {
		struct size_class *c = &pool->classes[i];

		pthread_mutex_lock(&c->lock);
		handle = class_take(pool, c, r);
		pthread_mutex_unlock(&c->lock);
	}
	if (!handle)
		return 0;
	/* Out of the lock: from here on memory may have to be waited for. */
	if (r->to > r->from)
		span_populate(pool, r->span, r->from, r->to);
	hdr_store(pool, handle, owner, size);
	return handle;
}

void zpool_keep_pages(struct zpool *pool, uint64_t bytes)
{
	struct size_class *c = &pool->classes[CLASS_HUGE];

	pthread_mutex_lock(&c->lock);
	c->keep = bytes >> ZPAGE_SHIFT;
	pthread_mutex_unlock(&c->lock);
}

bool zpool_give_back(struct zpool *pool)
{
	struct size_class *c = &pool->classes[CLASS_HUGE];
	bool any = false;
	struct span *span;

	do {
		pthread_mutex_lock(&c->lock);
		span = class_kept(c);
		if (span)
			class_drop(pool, c, span);
		pthread_mutex_unlock(&c->lock);
		if (span)
			span_put(pool, span);
		any = any || span;
	} while (span);
	return any;
}

void zpool_free(struct zpool *pool, zhandle_t handle)
{
	struct span *span = handle_span(pool, handle);
	struct size_class *c = &pool->classes[span->cls];
	size_t size = zpool_size(pool, handle);
	bool empty;

	pthread_mutex_lock(&c->lock);
	cell_set_free(span, handle_cell(pool, c, handle));
	c->objects--;
	c->bytes -= size;
	empty = span->nr_free == c->ncells && !class_keep(c, span);
	if (empty)
		class_drop(pool, c, span);
	else if (!span->kept)
		class_rebucket(c, span);
	pthread_mutex_unlock(&c->lock);
	if (empty)
		span_put(pool, span);
}

bool zpool_shrink(struct zpool *pool, zhandle_t handle, size_t size)
{
	struct size_class *c = &pool->classes[handle_span(pool, handle)->cls];
	uint64_t hdr = hdr_load(pool, handle);

	if (class_of(size) > (unsigned)(c - pool->classes))
		return false;
	pthread_mutex_lock(&c->lock);
	c->bytes += size - hdr_size(hdr);
	pthread_mutex_unlock(&c->lock);
	hdr_store(pool, handle, hdr_owner(hdr), size);
	return true;
}

void *zpool_object(const struct zpool *pool, zhandle_t handle)
{
	char *cell = pool->base + (handle << CELL_SHIFT);

	return handle_span(pool, handle)->cls == CLASS_HUGE ? cell : cell + HDR_SIZE;
}

void zpool_prefetch(const struct zpool *pool, zhandle_t handle, size_t bytes)
{
	const char *cell = pool->base + (handle << CELL_SHIFT);

	__builtin_prefetch(handle_span(pool, handle), 1);
	for (size_t i = 0; i < bytes + HDR_SIZE; i += 64)
		__builtin_prefetch(cell + i);
}

size_t zpool_size(const struct zpool *pool, zhandle_t handle)
{
	return hdr_size(hdr_load(pool, handle));
}

uint64_t zpool_owner(const struct zpool *pool, zhandle_t handle)
{
	return hdr_owner(hdr_load(pool, handle));
}

size_t zpool_charge(size_t size)
{
	unsigned index = class_of(size);

	return index == CLASS_HUGE ? ZPAGE_SIZE : (index + 1) << CELL_SHIFT;
}

size_t zpool_cell(const struct zpool *pool, zhandle_t handle)
{
	return pool->classes[handle_span(pool, handle)->cls].cell;
}

void zpool_copy(struct zpool *pool, zhandle_t from, zhandle_t to)
{
	uint64_t hdr = hdr_load(pool, from);

	hdr_store(pool, to, hdr_owner(hdr), hdr_size(hdr));
	memcpy(zpool_object(pool, to), zpool_object(pool, from), hdr_size(hdr));
}

void zpool_set_max(struct zpool *pool, uint64_t bytes)
{
	uint64_t pages = bytes >> ZPAGE_SHIFT;

	if (bytes && !pages)
		pages = 1;
	if (bytes && pool->locked)
		pages += NR_CLASSES * pool->span_pages / 2;
	atomic_store(&pool->max_pages, pages);
}

void zpool_reset_max_used(struct zpool *pool)
{
	atomic_store(&pool->pages_max, atomic_load(&pool->pages));
}

void zpool_reset_compacted(struct zpool *pool)
{
	atomic_store(&pool->pages_compacted, 0);
}

void zpool_get_stats(struct zpool *pool, struct zpool_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	for (unsigned i = 0; i < NR_CLASSES; i++) {
		struct size_class *c = &pool->classes[i];

		pthread_mutex_lock(&c->lock);
		stats->objects += c->objects;
		stats->bytes += c->bytes;
		stats->charged += c->objects * c->cell;
		stats->pages += c->pages;
		stats->spans += c->spans;
		if (i == CLASS_HUGE)
			stats->huge = c->objects;
		pthread_mutex_unlock(&c->lock);
	}
	stats->pages_max = atomic_load_explicit(&pool->pages_max, memory_order_relaxed);
	stats->pages_compacted = atomic_load_explicit(&pool->pages_compacted, memory_order_relaxed);
	pthread_mutex_lock(&pool->span_lock);
	stats->reserve_pages = pool->nr_reserved * pool->span_pages;
	pthread_mutex_unlock(&pool->span_lock);
}
