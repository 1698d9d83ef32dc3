/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zpool: a zsmalloc-like allocator for compressed pages.
 *
 * It stores objects of 1..4096 bytes. It knows bytes and handles, nothing
 * else: what an object means is its owner's business.
 *
 *	struct zpool *pool = zpool_create(&(struct zpool_config){
 *		.reserve = 64 << 20, .move = my_move, .opaque = me });
 *	zhandle_t h = zpool_alloc(pool, len, owner);
 *	memcpy(zpool_object(pool, h), bytes, len);
 *	...
 *	zpool_free(pool, h);
 *	zpool_destroy(pool);
 *
 * Shape
 *	One large address range is reserved and cut into spans of 128 KiB of
 *	addresses (down to 32 KiB in small locked pools). A span belongs to one size class; classes go in steps of 16
 *	bytes. User space has contiguous addresses, so cells lie back to back
 *	across page borders and an object never needs a bounce copy. Pages are
 *	touched only as far as cells are used, so one lone object costs one or
 *	two pages and never a whole span. A span that empties goes back to the
 *	system at once.
 *	Each object has a header of 8 bytes (owner and length), except objects
 *	of more than 4072 bytes: they take exactly one page and their header
 *	lies apart.
 *
 * Moving
 *	zpool_compact() moves objects. It asks the owner by the move callback
 *	for each one; an owner that is busy says no, and the object stays.
 *
 * Locks
 *	One mutex per class, held for one operation or for the move of one
 *	object; one mutex for free spans, innermost. A caller may hold locks of
 *	its own around any call here (order: caller's, class, span list), but
 *	the move callback runs inside the class lock and so must only *try* for
 *	the caller's locks. Different objects may be used from different
 *	threads freely; one object's bytes are the caller's to guard.
 */
#ifndef ZPOOL_H
#define ZPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZPOOL_MAX_SIZE	 4096 /* bytes, the largest object */
#define ZPOOL_MAX_OWNER	 ((UINT64_C(1) << 51) - 1)
#define ZPOOL_MAX_RESERVE (UINT64_C(256) << 30) /* bytes of address space */

struct zpool;

/* A place in the pool; 0 is never one. Valid until freed or moved. */
typedef uint64_t zhandle_t;

/*
 * Asks the owner to let an object move. Called by zpool_compact() with a class
 * lock held: it must not block, nor call the pool, but for zpool_copy(). To agree:
 * take the owner's lock (by trying), see that the owner still refers to `from`,
 * zpool_copy() it, let the owner refer to `to`, return true. To decline: return
 * false. `owner` may be out of date, when the object is being stored or freed
 * just now: whoever it names then does not refer to `from`.
 */
typedef bool zpool_move_fn(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to);

/* For the move callback alone: the whole object, with its header. */
void zpool_copy(struct zpool *pool, zhandle_t from, zhandle_t to);

struct zpool_config {
	uint64_t reserve;     /* bytes of data it must hold at most, see zpool_grow(); the address
	                       * range is ZPOOL_MAX_RESERVE, halved while refused */
	bool locked;	      /* the process locks its memory: give pages back by
	                       * MADV_DONTNEED_LOCKED (Linux 5.18), as MADV_DONTNEED fails then */
	zpool_move_fn *move;  /* NULL: objects never move */
	void *opaque;
};

/* NULL with errno (ENOMEM) when even a small range is refused. */
struct zpool *zpool_create(const struct zpool_config *config);

/* Every object and byte goes. No other call may be running. */
void zpool_destroy(struct zpool *pool);

/* It must hold so many bytes of data from now on. 0, or -1 with errno. */
int zpool_grow(struct zpool *pool, uint64_t bytes);

/*
 * For an empty pool that nobody else uses: as if new, its descriptors' memory given back, its
 * counters zero. False, and no change, when it holds objects.
 */
bool zpool_reset(struct zpool *pool);

/*
 * A cell for `size` bytes (1..ZPOOL_MAX_SIZE), its content undefined, noted as
 * belonging to `owner` (up to ZPOOL_MAX_OWNER). Returns 0 with errno ENOSPC when
 * zpool_set_max() forbids another page and no larger free cell is left, or
 * ENOMEM when the address range is used up. Never sleeps for memory itself;
 * the first touch of the cell may, as any touch of new memory.
 */
zhandle_t zpool_alloc(struct zpool *pool, size_t size, uint64_t owner);

void zpool_free(struct zpool *pool, zhandle_t handle);

/*
 * Gives an existing object another length, if its cell is large enough;
 * false, and no change, if not. For replacing content in place when the pool is
 * full. The caller holds whatever lock keeps readers and the mover out.
 */
bool zpool_shrink(struct zpool *pool, zhandle_t handle, size_t size);

/* The object's bytes; zpool_size() of them are the caller's. */
void *zpool_object(const struct zpool *pool, zhandle_t handle);
size_t zpool_size(const struct zpool *pool, zhandle_t handle);

/*
 * A hint that the object's first `bytes` are going to be read, or, with 0, that it is going to be
 * freed. Any handle will do: nothing is accessed.
 */
void zpool_prefetch(const struct zpool *pool, zhandle_t handle, size_t bytes);
uint64_t zpool_owner(const struct zpool *pool, zhandle_t handle);

/* What an object of `size` bytes is charged: its class's cell, in bytes. */
size_t zpool_charge(size_t size);

/* What this object takes: its cell, larger than zpool_charge() if it had to
 * take a larger one. Bytes. */
size_t zpool_cell(const struct zpool *pool, zhandle_t handle);

/*
 * The most memory objects may take, in bytes, 0 = no bound. Pages above a
 * lowered bound stay until freed or compacted. A locked pool, whose spans are resident as a
 * whole, may take half a span for each class on top.
 */
void zpool_set_max(struct zpool *pool, uint64_t bytes);

/*
 * Moves objects from the sparsest spans to the fullest, class by class, until no
 * class has more than one partly used span and that one no hole, and gives the
 * emptied pages back. Other threads are held up by one object's move at most;
 * a second caller waits for the first. `progress`, if not NULL, is called
 * between classes and may return false to stop. Returns the number of 4 KiB
 * pages given back.
 */
typedef bool zpool_progress_fn(void *opaque, unsigned done, unsigned total);
size_t zpool_compact(struct zpool *pool, zpool_progress_fn *progress, void *opaque);

/*
 * Keeps at least `bytes` of free spans faulted in, so that allocation needs no
 * new memory; 0 gives them back. zpool_refill() tops the reserve up (and may
 * sleep for memory); `low` is called by an allocation that finds less than
 * half of it left, with locks held: it may only wake the thread that refills.
 * Both return 0, or -1 with errno.
 */
int zpool_set_reserve(struct zpool *pool, uint64_t bytes, void (*low)(void *opaque), void *opaque);
int zpool_refill(struct zpool *pool);

/*
 * For objects of whole pages that come and go: up to `bytes` of their emptied spans stay resident
 * for the next ones, counted in zpool_stats' `pages`. zpool_give_back() lets them go, true if there
 * were any; an allocation that can get no other page does so itself. zpool_settle() also moves
 * such objects together, `steps` of them (half a microsecond each) at most, as zpool_compact()
 * would, and does nothing beside one; true: there are more. Both for a thread that has time.
 */
void zpool_keep_pages(struct zpool *pool, uint64_t bytes);
bool zpool_give_back(struct zpool *pool);
bool zpool_settle(struct zpool *pool, unsigned long steps);

struct zpool_stats {
	uint64_t objects;	  /* objects stored */
	uint64_t bytes;		  /* their sizes added up */
	uint64_t charged;	  /* their cells added up */
	uint64_t huge;		  /* objects that take a page of their own */
	uint64_t pages;		  /* 4 KiB pages touched for objects, now */
	uint64_t pages_max;	  /* most ever, or since zpool_reset_max_used() */
	uint64_t pages_compacted; /* given back by zpool_compact(), ever */
	uint64_t reserve_pages;	  /* faulted in and free, see zpool_set_reserve() */
	uint64_t spans;		  /* spans in use */
};

/* Adds up the classes one by one; a moment's inconsistency between them is
 * possible under load. */
void zpool_get_stats(struct zpool *pool, struct zpool_stats *stats);
void zpool_reset_max_used(struct zpool *pool);
void zpool_reset_compacted(struct zpool *pool);

/*
 * Checks every span and class against the invariants in zpool/pool.h; true if
 * all hold, else one line on stderr for the first that does not. Linear in the
 * pool's size; no other call but zpool_settle() may be running. For tests.
 */
bool zpool_check(struct zpool *pool);

#endif
