/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the disk share: disk.c (life, limit), page_io.c (one page), page_stage.c (one
 * staged page), page_backed.c (one that is written back), request.c (byte ranges), extents.c,
 * writeback.c and evict.c (writeback.h). */
#ifndef UZRAM_DISK_PRIV_H
#define UZRAM_DISK_PRIV_H

#include <errno.h>
#include <string.h>

#include "disk.h"
#include "drain.h"
#include "stage.h"
#include "streams/zcomp.h"
#include "table.h"
#include "writeback.h"
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
	C_COALESCED, /* written again while staged */
	C_DIRECT,    /* compressed by their writer, though writes go behind */
	C_PERCPU,    /* compressed on a per-CPU stream */
	C_MANAGED,   /* on a managed one */
	C_FALLBACK,  /* on a per-CPU one, though a managed one was wanted */
	C_KEPT_RAW,  /* compression tried, and stored raw */
	C_BATCHES,
	C_BATCH_PAGES,
	C_BACKED, /* slots that are written back */
	C_BD_READS,
	C_BD_WRITES,
	C_PROMOTED,
	C_WB_DECODED, /* pages decompressed by a pass: none */
	C_THROTTLED,
	C_THROTTLED_NS,
	NR_COUNTERS
};

#define NR_SHARDS 16

struct counter_shard {
	_Atomic uint64_t c[NR_COUNTERS];
	/* How many requests took 2^(i-1)..2^i ns, by kind. */
	_Atomic uint64_t latency[NR_DISK_OPS][DISK_LATENCY_BUCKETS];
	_Atomic uint64_t latency_sum[NR_DISK_OPS]; /* ns */
	_Atomic uint64_t wrote_at; /* ns, uz_nsec() */
} __attribute__((aligned(128)));

struct disk {
	/* Fixed after creation: */
	struct disk_config config;
	struct table *table;
	struct zpool *pool;

	pthread_mutex_t lock; /* guards changes of the next four, and
			      * resets; outermost */
	_Atomic uint64_t pages;
	struct zcomp *codecs[DISK_CODECS]; /* one that is set stays until reset */
	unsigned nr_codecs;
	_Atomic unsigned codec; /* for new objects */
	struct {		/* as of the last scan */
		pthread_mutex_t lock; /* below the disk's, which its holder only tries */
		struct disk_ages ages;
		uint64_t at, took; /* ns */
	} scanned;

	/* write=behind: */
	bool behind;
	bool managed; /* staged pages are for managed streams, if there are any */
	struct stage stage;
	struct drain_client drain;
	_Atomic unsigned batch; /* pages given to a compressor at once */
	_Atomic uint64_t batch_hist[BATCH_BUCKETS];
	_Atomic uint64_t alone, alone_until; /* ns: until then writers compress for themselves */

	struct log *log; /* NULL: no second tier, and no slot is SLOT_BACKED */
	struct writeback wb;

	_Atomic uint64_t mem_limit;
	struct { /* compaction out of need */
		pthread_mutex_t lock;  /* taken holding nothing but a leaf's pin */
		_Atomic unsigned made; /* how often it has made room */
		uint64_t vain_at, vain_charged; /* when it did not: ns, and bytes of cells then */
	} compacting;
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

/* More is charged than should stay in memory. */
static inline bool evict_wanted(struct disk *disk)
{
	return atomic_load_explicit(&disk->charged, memory_order_relaxed) >
	       atomic_load_explicit(&disk->wb.high_bytes, memory_order_relaxed);
}

/* How many threads have written in the last moment. */
unsigned disk_writers(struct disk *disk, uint64_t now);

/* What waits for compression stays raw; no other thread has anything of it after. No I/O may run. */
void disk_drop_stage(struct disk *disk);

/*
 * Objects that zpool_settle() moves at once where somebody waits, for room or for a worker: a
 * quarter of a millisecond, and several spans' worth, so that it makes room if there are holes.
 */
#define SETTLE_STEPS 512

/* Memory that only staging needed goes back to the system; see zpool_settle(). */
void disk_settle(struct disk *disk);
bool disk_settle_some(struct disk *disk, unsigned long steps);

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

/*
 * After ENOSPC: true if compaction has made room since compacting.made was `made`, before the try;
 * by another writer, too, who is waited for. Leaves errno ENOSPC.
 */
bool disk_compact_for_room(struct disk *disk, unsigned made);

/* page_io.c: one page. The leaf is pinned by the caller; 0, or -1 with errno. */

/* Staged pages that a request gathers before it puts them on the list. */
#define STAGED_MAX 32

/*
 * A request's pages: which disk and leaf, when (seconds, for their age), and what it has
 * changed so far: given to the disk's counters once, by io_end(), not page by page.
 */
struct page_io {
	struct disk *disk;
	struct table_ref ref;
	uint64_t leaf; /* its number, if io_leaf() got it */
	struct zcomp_strm *zstrm; /* held from the first page that needs one; io_stream_put() */
	uint32_t now; /* 0: it makes no page young */
	bool through; /* compressed before it is acknowledged */
	uint64_t patient_until; /* ns; 0: it has not waited for room yet */
	int live; /* slots of the leaf that became live, less those that became empty */
	int64_t charged, counts[NR_COUNTERS];
	unsigned room;	    /* entries of the stage that the request may still use */
	unsigned nr_staged; /* used, and not on the list yet */
	uint64_t staged[STAGED_MAX];
	struct page_gather *gather; /* reading, where there is a log */
	bool upkeep;		    /* a pass: nobody waits */
	struct room_wait wait;
};

/* Lets the stream go, if there is one. Soon: others wait for it. */
void io_stream_put(struct page_io *io);

/* As disk_charge(), on the request's account as long as there is no limit to keep. */
bool io_charge(struct page_io *io, int64_t bytes);

static inline uint32_t slot_state(const struct slot *slot)
{
	return slot_peek(slot) & ~SLOT_LOCK;
}

/* What says nothing of a slot's content: whether anybody has a copy of it, and who used it. */
#define SLOT_ASIDE (SLOT_TOKEN | SLOT_WRITEBACK | SLOT_IDLE | SLOT_READ_ONCE)

static inline bool has_object(uint32_t flags)
{
	return slot_type(flags) == SLOT_OBJECT || slot_type(flags) == SLOT_RAW;
}

/* What a slot held at some moment; compared by content, so no re-use can deceive. */
struct page_snap {
	uint32_t flags;
	uint64_t val;
	size_t len;
	unsigned char bytes[PAGE_SIZE];
};

bool snap_holds(struct disk *disk, struct slot *slot, const struct page_snap *snap);

/* Frees what a slot held that had these flags and this value. Not with a slot locked. */
void content_free(struct disk *disk, uint32_t flags, uint64_t val);

/* The page that a slot's flags, value and object's bytes mean. 0, or -1 with errno EIO. */
int decode(struct page_io *io, uint32_t flags, uint64_t val, const void *bytes, size_t len,
	void *dst);

/* The content that a slot is to have. */
struct page_new {
	uint32_t flags;
	uint64_t val;	   /* a fill word; or a cell's handle, 0 if none could be had */
	const void *bytes; /* what is to go there */
	size_t len;
};

/* The locked slot's content becomes `new`, if the limit allows its growth; the caller frees what it
 * held, and unlocks it with new->flags. */
bool slot_replace(struct page_io *io, struct slot *slot, uint32_t old, const struct page_new *new);

/*
 * Gives the slot its new content, and frees whichever object is left over. With `snap`, only if
 * the slot still holds that: else EAGAIN. ENOSPC leaves the slot as it is.
 */
int page_publish(struct page_io *io, uint64_t index, const struct page_new *new,
	const struct page_snap *snap);

/* Would an object of so many bytes take a whole page? Then the page is stored raw. */
static inline bool too_large(size_t len)
{
	return len > PAGE_SIZE || zpool_charge(len) == PAGE_SIZE;
}

/* Counts what a slot holds, or, with n -1, held. */
void count_state(struct page_io *io, uint32_t flags, uint64_t val, int n);

/*
 * Reads as zeroes where the slot is empty. Fills all of `dst`; or, for a page that is written back,
 * returns 1: io->gather has it now, and `dst` is filled by gather_fetch(), if not before.
 */
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

/* page_stage.c: a page's way through the stage. */

/*
 * Stores the page raw, to be compressed later. 0; or -1: EAGAIN as page_publish(), or ENOSPC when
 * there is no room in the list or the limit, so that it must be compressed first.
 */
int page_stage(struct page_io *io, uint64_t index, const void *src, const struct page_snap *snap);

/*
 * After ENOSPC: what is staged takes more than it will when it is compressed, so waits for that.
 * True: another try may pay. No stream is held. Leaves errno ENOSPC.
 */
bool io_wait_for_room(struct page_io *io);

/*
 * A cell for an object, 0 without memory. At the limit a whole page may be all there is, where
 * nothing would be saved; but then raw pages that have gone have left holes, which are closed first.
 */
zhandle_t io_cell(struct page_io *io, size_t len, uint64_t index);

/* What the request has staged goes on the list, and what it reserved there beyond is given back. */
void io_stage_push(struct page_io *io);
void io_stage_end(struct page_io *io);

/*
 * Copies the page, if it is staged and nobody has it, and marks it with the token, which no other
 * operation may have meanwhile. False: there is nothing to do.
 */
bool page_take(struct page_io *io, uint64_t index, uint32_t token, void *copy);

/*
 * Publishes what became of it, if the slot still has that token: `bytes` made by codec number `codec`; or,
 * with len 0, the page stays raw for good. Without memory for the result it stays raw, too.
 */
void page_finish(struct page_io *io, uint64_t index, uint32_t token, unsigned codec,
	const void *bytes, size_t len);

/* page_backed.c: a page's way to the log and back. */

/* Pages whose records are to be fetched, each location pinned. */
struct page_gather {
	unsigned n;
	unsigned failed; /* pages that could not be read */
	struct page_fetch {
		uint64_t index;
		log_loc_t loc;
		uint32_t flags; /* of the slot */
		bool promote;
		void *dst;
	} pages[LOG_READ_MAX];
};

/* The locked slot is SLOT_BACKED: its page joins the io's gather, which has room. Returns the
 * slot's new flags. */
uint32_t gather_add(struct page_io *io, uint64_t index, struct slot *slot, uint32_t flags,
	void *dst);

/*
 * Reads them all, and those again that moved meanwhile: sleeps for the I/O, without the io's
 * stream. What cannot be read counts in gather->failed.
 */
void gather_fetch(struct page_io *io);

/* The object that a backed slot stands for, as flags for decode(). */
static inline uint32_t backed_object(uint32_t flags, log_loc_t loc)
{
	return log_loc_len(loc) == PAGE_SIZE ? slot_flags(SLOT_RAW, 0) :
					       slot_flags(SLOT_OBJECT, slot_codec(flags));
}

/* Fetches the bytes of a snapshot of a backed page, its location pinned. 0, or -1 with errno:
 * EAGAIN if the slot has changed meanwhile, EIO. */
int snap_fetch(struct page_io *io, uint64_t index, struct page_snap *snap);

/*
 * Puts the page's object into the log, after log_reserve(), if `filter` still takes it; the slot
 * notes the token. 1; 0, it is not to be written; -1 with errno.
 */
int page_send(struct page_io *io, uint64_t index, const struct wb_filter *filter, uint16_t token,
	uint64_t cookie);

/*
 * The outcome: the slot refers to `loc` (if `err` is 0), if it still has the token; or the object
 * just stays. True if it did. In *gained what that freed, of what is charged.
 */
bool page_sent(struct page_io *io, uint64_t index, uint16_t token, log_loc_t loc, int err,
	size_t *gained);

/* The log's question, as log_move_fn. */
bool page_relocate(void *opaque, uint64_t owner, log_loc_t from, log_loc_t to);

/* The leaf of `index` becomes the io's, for callers that go from page to page. False: there is none. */
bool io_leaf(struct page_io *io, uint64_t index);
void io_leaf_put(struct page_io *io);

/* request.c */
struct page_io io_begin(struct disk *disk, uint64_t start);
void io_end(struct page_io *io);
/* As io_end(), for one that goes on. */
void io_flush(struct page_io *io);

/* Until what is staged now has been compressed. */
void disk_stage_wait(struct disk *disk);

/* request.c: frees pages [from, end), not counted as trimmed. */
void range_free(struct page_io *io, uint64_t from, uint64_t end);

/* zpool's question, as zpool_move_fn. */
bool page_move(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to);

#endif
