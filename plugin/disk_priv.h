/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the disk share: disk.c (life, limit), page_io.c (one page), request.c
 * (byte ranges), extents.c, stat.c. */
#ifndef UZRAM_DISK_PRIV_H
#define UZRAM_DISK_PRIV_H

#include <errno.h>
#include <string.h>

#include "disk.h"
#include "streams/zcomp.h"
#include "table.h"
#include "zpool/zpool.h"

/* Codecs a disk has had: a slot keeps the number of the one that made its object. */
#define DISK_CODECS 16

/* Counters, sharded so that threads do not share cache lines; wrap-around adds up. */
enum counter {
	C_STORED, /* slots not empty */
	C_SAME,
	C_ZERO,
	C_HUGE,
	C_HUGE_SINCE,
	C_READS,
	C_WRITES,
	C_TRIMS,
	C_NOTIFY_FREE,
	C_FAILED_READS,
	C_FAILED_WRITES,
	NR_COUNTERS
};

#define NR_SHARDS 16

struct counter_shard {
	_Atomic uint64_t c[NR_COUNTERS];
} __attribute__((aligned(128)));

struct disk {
	/* Fixed after creation: */
	struct disk_config config;
	uint64_t pages;
	struct table *table;
	struct zpool *pool;
	struct zcomp *codecs[DISK_CODECS];
	unsigned codec; /* for new objects */

	_Atomic uint64_t mem_limit;
	_Atomic uint64_t compacted_at; /* uz_nsec() of the last compaction out of need */
	/* Cells and leaves, in bytes. Changes with every page: a line of its own. */
	_Atomic uint64_t charged __attribute__((aligned(64)));
	struct counter_shard shards[NR_SHARDS];
};

/* This thread's shard, from 1; 0 until its first count. */
extern _Thread_local unsigned disk_shard;
unsigned disk_shard_pick(void);

static inline void count(struct disk *disk, enum counter counter, int64_t n)
{
	unsigned shard = likely(disk_shard) ? disk_shard : disk_shard_pick();

	atomic_fetch_add_explicit(&disk->shards[shard - 1].c[counter], (uint64_t)n,
		memory_order_relaxed);
}

uint64_t disk_counter(struct disk *disk, enum counter counter);

/* Adds to what mem-limit counts; false, and no change, if that would exceed it. */
bool disk_charge(struct disk *disk, int64_t bytes);

/* After zpool_alloc() said ENOSPC: true if compaction may have made room. */
bool disk_compact_for_room(struct disk *disk);

/* page_io.c: one page. The leaf is pinned by the caller; 0, or -1 with errno. */

/* Reads as zeroes where `slot` is empty. Fills all of `dst`. */
int page_read(struct disk *disk, struct slot *slot, void *dst);
int page_write(struct disk *disk, struct table_ref *ref, uint64_t index, const void *src);
/* `src` NULL: zeroes. offset + len <= PAGE_SIZE. */
int page_write_part(struct disk *disk, struct table_ref *ref, uint64_t index, const void *src,
	unsigned offset, unsigned len);
void page_free(struct disk *disk, struct table_ref *ref, uint64_t index);

/* zpool's question, as zpool_move_fn. */
bool page_move(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to);

#endif
