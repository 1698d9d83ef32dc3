/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pool's structures and what is always true of them (zpool_check()).
 *
 *	base                 one mapping, cut into spans of span_pages
 *	 |  span 0: unused, so that no handle is 0
 *	 |  span 1: class 37, cells of 608 bytes, back to back
 *	 |  span 2: class 255 (huge), cells of one page
 *	 `  ...
 *	spans[]              one descriptor a span
 *	huge_hdr[]           headers of huge cells, one word a page
 *
 * A handle is a cell's offset from base, in units of 16 bytes.
 *
 * Invariants, whenever no operation is in progress:
 *  1. A span is free (on pool->free, untouched by us), reserved (on
 *     pool->reserved, all its pages faulted in), fresh (index >= pool->fresh),
 *     or used: by one class, with at least one used cell, or kept, with none.
 *  2. In a used span, nr_free is the number of bits set in free[]; no bit is
 *     set at or beyond the class's ncells.
 *  3. Used cells lie inside the first `touched` pages of their span; pages behind
 *     those may be counted ahead.
 *  4. A used span with a free cell is on its class's list number `bucket`,
 *     which follows from its fullness; a full span is on none.
 *  5. A class's spans, pages, objects, charged bytes and free cells are its
 *     spans' added up; pool->pages is the classes' pages added up.
 *  6. A class's kept pages are its kept spans' touched pages, at most what it may keep.
 *  7. Every used cell's header has a length that its class can hold.
 *
 * Locks: a class's lock guards the class and its spans' descriptors; span_lock
 * guards the lists of spans not in use. Headers and cells are the object's
 * holder's; a header is read by compaction while its holder may be writing it,
 * so it is accessed as one relaxed atomic word.
 */
#ifndef ZPOOL_POOL_H
#define ZPOOL_POOL_H

#include <pthread.h>
#include <stdatomic.h>

#include "zpool.h"

#define ZPAGE_SHIFT 12
#define ZPAGE_SIZE  (1u << ZPAGE_SHIFT)
#define SPAN_SHIFT_MAX 17 /* 32 pages */
#define SPAN_SHIFT_MIN 15
#define CELL_SHIFT  4 /* classes and handles go in 16 bytes */
#define HDR_SIZE    8

#define NR_CLASSES   256
#define CLASS_HUGE   (NR_CLASSES - 1)
#define HUGE_FROM    (ZPOOL_MAX_SIZE - 16 - HDR_SIZE + 1) /* object bytes */
#define NR_BUCKETS   8
#define SPAN_CELLS   256 /* most cells of a span: bits in free[] */
#define BUCKET_NONE  0xff

struct span {
	uint64_t free[SPAN_CELLS / 64]; /* bit set: the cell is free */
	struct span *next, *prev;
	uint16_t nr_free;
	uint8_t cls;
	uint8_t bucket;	 /* list it is on, or BUCKET_NONE */
	uint8_t touched; /* pages from its start that cells have used */
	bool used;	 /* by a class */
	bool kept;	 /* emptied, but not given back: see zpool_keep_pages() */
};

struct size_class {
	pthread_mutex_t lock;
	struct span *partial[NR_BUCKETS]; /* 0: sparsest */
	uint64_t objects, bytes, spans, pages;
	uint64_t kept, keep; /* pages of kept spans, and how many it may keep */
	/* Fixed: */
	uint16_t cell;	 /* bytes */
	uint16_t ncells; /* of a span */
	uint8_t npages;	 /* of a span: what ncells reach */
	uint32_t bucket_mul; /* used cells * this >> 16 = bucket */
} __attribute__((aligned(64)));

struct zpool {
	char *base;
	struct span *spans;
	_Atomic uint64_t *huge_hdr;
	uint64_t nr_spans;  /* usable; grows under span_lock */
	uint64_t max_spans; /* reserved */
	unsigned span_shift; /* log2 of a span's addresses, in bytes */
	unsigned span_pages; /* the same in pages */
	zpool_move_fn *move;
	void *opaque;
	bool locked;

	_Atomic uint64_t max_pages; /* 0: no bound */
	_Atomic uint64_t pages __attribute__((aligned(64)));
	_Atomic uint64_t pages_max;
	_Atomic uint64_t pages_compacted;

	pthread_mutex_t span_lock __attribute__((aligned(64)));
	struct span *free;     /* touched once, given back */
	struct span *reserved; /* faulted in */
	uint64_t fresh;	       /* spans from here on were never used */
	uint64_t nr_reserved, reserve_target; /* spans */
	void (*low)(void *opaque);
	void *low_opaque;

	pthread_mutex_t compact_lock; /* one compaction at a time; outermost */
	struct size_class classes[NR_CLASSES];
};

/* span.c: spans not in use */
struct span *span_get(struct zpool *pool, const struct size_class *c, bool *faulted);
void span_put(struct zpool *pool, struct span *span);
void pages_give_back(struct zpool *pool, const struct span *span, unsigned from, unsigned to);

/* class.c: spans in use, under the class's lock */
void class_setup(struct size_class *c, unsigned index, unsigned span_pages);
void class_link(struct size_class *c, struct span *span);
void class_unlink(struct size_class *c, struct span *span);
void class_rebucket(struct size_class *c, struct span *span);
struct span *class_fullest(const struct size_class *c);
struct span *class_sparsest(const struct size_class *c);
void class_drop(struct zpool *pool, struct size_class *c, struct span *span);
bool class_keep(struct size_class *c, struct span *span);
struct span *class_kept(const struct size_class *c);
void class_unkeep(struct size_class *c, struct span *span);
void span_populate(struct zpool *pool, const struct span *span, unsigned from, unsigned to);
bool span_touch_pages(struct zpool *pool, struct size_class *c, struct span *span, unsigned pages,
	uint64_t max);
bool span_touch(struct zpool *pool, struct size_class *c, struct span *span, unsigned cell,
	uint64_t max);
void span_untouch(struct zpool *pool, struct size_class *c, struct span *span, unsigned pages);
int span_first_free(const struct span *span);

static inline char *span_base(const struct zpool *pool, const struct span *span)
{
	return pool->base + ((uint64_t)(span - pool->spans) << pool->span_shift);
}

static inline unsigned class_of(size_t size)
{
	return size >= HUGE_FROM ? CLASS_HUGE : (size + HDR_SIZE - 1) >> CELL_SHIFT;
}

/* The first `cell`s of a span reach into so many pages. */
static inline unsigned pages_for(const struct size_class *c, unsigned cells)
{
	return (cells * c->cell + ZPAGE_SIZE - 1) >> ZPAGE_SHIFT;
}

static inline zhandle_t cell_handle(const struct zpool *pool, const struct span *span,
				    const struct size_class *c, unsigned cell)
{
	return (((uint64_t)(span - pool->spans) << pool->span_shift) + (uint64_t)cell * c->cell) >>
	       CELL_SHIFT;
}

static inline struct span *handle_span(const struct zpool *pool, zhandle_t handle)
{
	return &pool->spans[handle >> (pool->span_shift - CELL_SHIFT)];
}

static inline unsigned handle_cell(const struct zpool *pool, const struct size_class *c,
	zhandle_t handle)
{
	uint64_t mask = (UINT64_C(1) << pool->span_shift) - 1;

	return (unsigned)(handle << CELL_SHIFT & mask) / c->cell;
}

/* A header: owner in the low 51 bits, length - 1 in the 12 above. */
static inline _Atomic uint64_t *handle_hdr(const struct zpool *pool, zhandle_t handle)
{
	if (handle_span(pool, handle)->cls == CLASS_HUGE)
		return &pool->huge_hdr[handle >> (ZPAGE_SHIFT - CELL_SHIFT)];
	return (_Atomic uint64_t *)(pool->base + (handle << CELL_SHIFT));
}

static inline uint64_t hdr_load(const struct zpool *pool, zhandle_t handle)
{
	return atomic_load_explicit(handle_hdr(pool, handle), memory_order_relaxed);
}

static inline void hdr_store(const struct zpool *pool, zhandle_t handle, uint64_t owner, size_t size)
{
	atomic_store_explicit(handle_hdr(pool, handle), owner | (uint64_t)(size - 1) << 51,
		memory_order_relaxed);
}

static inline uint64_t hdr_owner(uint64_t hdr)
{
	return hdr & ZPOOL_MAX_OWNER;
}

static inline size_t hdr_size(uint64_t hdr)
{
	return (size_t)((hdr >> 51) & 0xfff) + 1;
}

static inline void cell_set_used(struct span *span, unsigned cell)
{
	span->free[cell / 64] &= ~(UINT64_C(1) << (cell % 64));
	span->nr_free--;
}

static inline void cell_set_free(struct span *span, unsigned cell)
{
	span->free[cell / 64] |= UINT64_C(1) << (cell % 64);
	span->nr_free++;
}

static inline bool cell_is_free(const struct span *span, unsigned cell)
{
	return span->free[cell / 64] >> (cell % 64) & 1;
}

#endif
