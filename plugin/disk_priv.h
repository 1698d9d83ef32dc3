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
	/* How many requests took 2^(i-1)..2^i ns, by kind. */
	_Atomic uint64_t latency[NR_DISK_OPS][DISK_LATENCY_BUCKETS];
	_Atomic uint64_t latency_sum[NR_DISK_OPS]; /* ns */
} __attribute__((aligned(128)));

struct disk {
	/* Fixed after creation: */
	struct disk_config config;
	struct table *table;
	struct zpool *pool;

	pthread_mutex_t lock; /* guards changes of the next four; outermost */
	_Atomic uint64_t pages;
	struct zcomp *codecs[DISK_CODECS]; /* one that is set stays until reset */
	unsigned nr_codecs;
	_Atomic unsigned codec; /* for new objects */

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

/* A request of that kind, begun at `start` (uz_nsec()), is done. */
static inline void count_latency(struct disk *disk, enum disk_op op, uint64_t start)
{
	unsigned shard = likely(disk_shard) ? disk_shard : disk_shard_pick();
	uint64_t ns = uz_nsec() - start;
	unsigned bucket = ns ? 64 - (unsigned)__builtin_clzll(ns) : 0;

	if (bucket >= DISK_LATENCY_BUCKETS)
		bucket = DISK_LATENCY_BUCKETS - 1;
	atomic_fetch_add_explicit(&disk->shards[shard - 1].latency[op][bucket], 1,
		memory_order_relaxed);
	atomic_fetch_add_explicit(&disk->shards[shard - 1].latency_sum[op], ns,
		memory_order_relaxed);
}

/* Adds to what mem-limit counts; false, and no change, if that would exceed it. */
bool disk_charge(struct disk *disk, int64_t bytes);

/* After ENOSPC: true if compaction has made room. Leaves errno ENOSPC. */
bool disk_compact_for_room(struct disk *disk);

/* page_io.c: one page. The leaf is pinned by the caller; 0, or -1 with errno. */

/*
 * A request's pages: which disk and leaf, when (seconds, for their age), and what it has
 * changed so far: given to the disk's counters once, by io_end(), not page by page.
 */
struct page_io {
	struct disk *disk;
	struct table_ref ref;
	struct zcomp_strm *zstrm; /* held from the first page that needs one; io_stream_put() */
	uint32_t now;
	int live; /* slots of the leaf that became live, less those that became empty */
	int64_t charged, counts[NR_COUNTERS];
};

/* Lets the stream go, if there is one. Soon: others wait for it. */
void io_stream_put(struct page_io *io);

/* As disk_charge(), on the request's account as long as there is no limit to keep. */
bool io_charge(struct page_io *io, int64_t bytes);

/* Reads as zeroes where the slot is empty. Fills all of `dst`. */
int page_read(struct page_io *io, uint64_t index, void *dst);
int page_write(struct page_io *io, uint64_t index, const void *src);
/* `src` NULL: zeroes. offset + len <= PAGE_SIZE. */
int page_write_part(struct page_io *io, uint64_t index, const void *src, unsigned offset,
	unsigned len);
void page_free(struct page_io *io, uint64_t index);
/* A hint that it is going to be read. */
void page_prefetch(struct page_io *io, uint64_t index);
/* As page_read(), but it does not make the page young. */
int page_verify(struct page_io *io, uint64_t index, void *dst);

/* request.c: frees pages [from, end), not counted as trimmed. */
void range_free(struct page_io *io, uint64_t from, uint64_t end);

/* zpool's question, as zpool_move_fn. */
bool page_move(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to);

#endif
