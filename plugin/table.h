/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table: a disk's slots, one per page, in a radix tree whose leaves come and go.
 *
 *	nodes of 512 pointers ... -> node of 256 entries -> leaf of 256 slots
 *
 * A leaf (4 KiB, one MiB of disk) appears when a page in it is first written
 * and goes when nobody uses it and its last page was freed. Its entry is one
 * atomic word: the leaf's address, how many use it now (pins), and how many of
 * its slots hold something (live); so "remove it if all are zero" is a single
 * compare-and-swap. Nodes stay until the table is destroyed: they are at most a
 * 65536th of what they address.
 *
 * A slot is used between slot_lock() and slot_unlock(), its leaf pinned.
 * Slot locks are one bit: waiters spin a little, then sleep on the word. Unlocking is
 * a plain store, no locked instruction: see slot_unlock().
 */
#ifndef UZRAM_TABLE_H
#define UZRAM_TABLE_H

#include "util.h"

#define LEAF_SHIFT 8
#define LEAF_SLOTS (1u << LEAF_SHIFT)

/* slot->flags */
#define SLOT_LOCK	 (1u << 0)
#define SLOT_TYPE_SHIFT	 2
#define SLOT_TYPE	 (7u << SLOT_TYPE_SHIFT)
#define SLOT_CODEC_SHIFT 5 /* which of the disk's codecs made the object */
#define SLOT_CODEC	 (15u << SLOT_CODEC_SHIFT)
#define SLOT_STAGED	 (1u << 9) /* raw, and to be compressed */
#define SLOT_WRITEBACK	 (1u << 10) /* an object, a copy of which is on its way to the backing */
#define SLOT_IDLE	 (1u << 11) /* an object, marked by the administrator, not accessed since */
#define SLOT_READ_ONCE	 (1u << 12) /* backed, and read since it was written back */
#define SLOT_TOKEN_SHIFT 16 /* of a staged slot, or one that is written back: the operation that has
			     * a copy of it; 0: none */
#define SLOT_TOKEN	 (0xffffu << SLOT_TOKEN_SHIFT)

enum slot_type {
	SLOT_EMPTY, /* reads as zeroes; val is 0 */
	SLOT_SAME,  /* val is the 8-byte word that fills the page */
	SLOT_OBJECT, /* val is the zpool handle of compressed bytes */
	SLOT_RAW,   /* val is the zpool handle of 4096 bytes */
	SLOT_BACKED, /* val is the log location of an object's bytes, raw if 4096 */
};

struct slot {
	_Atomic uint64_t val; /* changes under the lock; see slot_val() */
	_Atomic uint32_t flags;
	uint32_t ac_time; /* uz_seconds() when last read or written */
};

struct table;
struct table_entry;

/* A pinned leaf. */
struct table_ref {
	struct table_entry *entry;
	struct slot *slots; /* LEAF_SLOTS of them */
};

/* For `pages` pages. NULL with errno. */
struct table *table_create(uint64_t pages);
void table_destroy(struct table *table);

/* For more pages than before, while it is in use. 0, or -1 with errno ENOMEM. */
int table_grow(struct table *table, uint64_t pages);

/* An empty table, that nobody else uses, gives all its memory back. */
void table_reset(struct table *table);

/*
 * Every leaf there is, faulted in and there for good: for swap. 0, or -1 with
 * errno.
 */
int table_populate(struct table *table);

/*
 * Pins the leaf of page `index`; false when it is not there (errno 0) or, with
 * `create`, cannot be had (errno ENOMEM, or ENOSPC when `charge` says so).
 * `charge` is asked for each new leaf's bytes and told, negative, when it goes.
 */
typedef bool table_charge_fn(void *opaque, int64_t bytes);
void table_on_charge(struct table *table, table_charge_fn *charge, void *opaque);
bool table_get(struct table *table, uint64_t index, bool create, struct table_ref *ref);
/* `live`: how many of its slots became live, less those that became empty, since the get. */
void table_put(struct table *table, struct table_ref *ref, int live);

/* The first page at or after `index` whose leaf is there; `end` if none is before that. */
uint64_t table_next(struct table *table, uint64_t index, uint64_t end);

/* Bytes of leaves now. */
uint64_t table_bytes(struct table *table);

static inline struct slot *table_slot(const struct table_ref *ref, uint64_t index)
{
	return &ref->slots[index & (LEAF_SLOTS - 1)];
}

static inline enum slot_type slot_type(uint32_t flags)
{
	return (flags & SLOT_TYPE) >> SLOT_TYPE_SHIFT;
}

static inline unsigned slot_codec(uint32_t flags)
{
	return (flags & SLOT_CODEC) >> SLOT_CODEC_SHIFT;
}

static inline uint32_t slot_flags(enum slot_type type, unsigned codec)
{
	return (uint32_t)type << SLOT_TYPE_SHIFT | codec << SLOT_CODEC_SHIFT;
}

static inline uint32_t slot_peek(const struct slot *slot)
{
	return atomic_load_explicit(&slot->flags, memory_order_relaxed);
}

/* Plain accesses: the lock orders them. Atomic only for who peeks without it. */
static inline uint64_t slot_val(const struct slot *slot)
{
	return atomic_load_explicit(&slot->val, memory_order_relaxed);
}

static inline void slot_set_val(struct slot *slot, uint64_t val)
{
	atomic_store_explicit(&slot->val, val, memory_order_relaxed);
}

void slot_lock_slow(struct slot *slot);
void slot_wake(struct slot *slot);

static inline bool slot_trylock(struct slot *slot)
{
	return !(atomic_fetch_or_explicit(&slot->flags, SLOT_LOCK, memory_order_acquire) &
		 SLOT_LOCK);
}

static inline void slot_lock(struct slot *slot)
{
	if (unlikely(!slot_trylock(slot)))
		slot_lock_slow(slot);
}

/* How many threads sleep for any slot, or are about to. */
extern _Atomic unsigned slot_sleepers;

/*
 * Unlocks; the slot's flags are now `flags` (slot_flags(), no lock bit).
 *
 * A locked instruction here would wait until the page just copied has left the store buffer,
 * 0.1 to 0.2 us. None is needed: a thread that goes to sleep first makes every CPU pass a fence
 * (membarrier), so either it sees this store or we see that it is there.
 */
static inline void slot_unlock(struct slot *slot, uint32_t flags)
{
	atomic_store_explicit(&slot->flags, flags, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	if (unlikely(atomic_load_explicit(&slot_sleepers, memory_order_relaxed)))
		slot_wake(slot);
}

#endif
