/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk: one compressed RAM disk, as a plain C library. nbdkit is not known
 * here: tests, fuzzers and micro-benchmarks call it in-process.
 *
 * A page's life
 *	write -> same-filled? -> stream (compress) -> pool object, or raw
 *	read  <- fill         <- decompress, under the slot's lock
 * Each 4 KiB page has a slot of 16 bytes in a table whose leaves appear when
 * first written and go when their last page is trimmed.
 *
 * I/O calls return 0, or -1 with errno; they never log. Any number of threads
 * may call them at once on one disk. Ranges must lie inside the disk; whoever
 * serves the disk has checked that. Overlapping writes in flight at once land
 * in some order, page by page, each page whole.
 *
 * Locks, outermost first: per-CPU stream, slot (one bit), size class. See
 * docs/ARCHITECTURE.md.
 */
#ifndef UZRAM_DISK_H
#define UZRAM_DISK_H

#include "util.h"

#define DISK_NAME_MAX 64
/* The largest disk: a slot index must fit, and the size must round to a page. */
#define DISK_SIZE_MAX (INT64_MAX - (int64_t)PAGE_SIZE + 1)

struct disk;
struct zcomp_ops;

enum disk_op { DISK_READ, DISK_WRITE, DISK_TRIM, DISK_FLUSH, NR_DISK_OPS };
extern const char *const disk_op_names[NR_DISK_OPS];

/* Bucket i: requests that took at least 2^(i-1) and less than 2^i ns; the last one all above. */
#define DISK_LATENCY_BUCKETS 32

/* When a page that was written back, and is read, comes back to memory. */
enum disk_promote { PROMOTE_NEVER, PROMOTE_READ, PROMOTE_SECOND_READ, NR_DISK_PROMOTES };
extern const char *const disk_promote_names[NR_DISK_PROMOTES]; /* never read second-read */

struct disk_config {
	char name[DISK_NAME_MAX + 1]; /* as served; "" is shown as "default" */
	uint64_t size;		      /* bytes; rounded up to a page */
	const struct zcomp_ops *algorithm;
	int level;	    /* or ZCOMP_LEVEL_UNSET */
	uint64_t mem_limit; /* bytes, 0 = none */
	bool swap;	    /* disk_prepare_swap() will be called */
	bool locked;	    /* the process is going to lock its memory */
	uint64_t swap_reserve; /* bytes of pool kept ready, with swap */
	bool managed;	       /* staged pages are for managed streams, if there are any */
	bool through;	       /* compress before acknowledging; else behind, up to: */
	uint64_t stage;	       /* bytes of pages that wait for compression, up to STAGE_MAX */
	unsigned batch;	       /* pages given to a compressor at once, 1..STAGE_BATCH_MAX */

	/* The second tier. Numbers that are 0 are the defaults below. */
	const char *backing; /* path or NBD URI (backing.h), or NULL: none; for disk_create() */
	int backing_fd;	     /* that file or device, open: stays the caller's; 0: to be opened */
	uint64_t backing_size; /* bytes of a new file, or what it must have; 0: as it is */
	bool backing_overwrite;	  /* whatever is there may go */
	bool wb_auto;		  /* cold pages move by themselves: needs backing and mem_limit */
	unsigned wb_high, wb_low; /* percent of mem_limit: from where on they do, and until when */
	unsigned wb_batch;	  /* pages on their way at once, up to WB_BATCH_MAX */
	enum disk_promote promote;
	unsigned given; /* params.c's own: which of these were */
};

#define WB_HIGH_DEFAULT	 90
#define WB_LOW_DEFAULT	 80
#define WB_BATCH_DEFAULT 32
#define WB_BATCH_MAX	 256

#define STAGE_DEFAULT (UINT64_C(8) << 20)
#define STAGE_MAX     (UINT64_C(4) << 30)
#define BATCH_DEFAULT 32
#define BATCH_BUCKETS 9 /* of 1, 2, 4 .. 256 pages */

/* Asked now and then by a long operation, no lock held; false stops it. */
typedef bool disk_progress_fn(void *opaque, unsigned done, unsigned total);

/* NULL with *e filled. */
struct disk *disk_create(const struct disk_config *config, struct uz_error *e);
/* No other call may be running. */
void disk_destroy(struct disk *disk);

/*
 * After the last fork, before any I/O: the backing's queues and threads, and this disk's. 0, or -1
 * with *e filled. Without a backing there is nothing to do.
 */
int disk_start(struct disk *disk, struct uz_error *e);

/*
 * For tear-down: ends a pass and the automatic one, and what waits for a backing that has vanished.
 * Soon; I/O may still be running. disk_destroy() does it, too.
 */
void disk_stop(struct disk *disk);

const char *disk_name(const struct disk *disk); /* "default" for "" */
bool disk_is_unnamed(const struct disk *disk);	/* it was created with "" */
uint64_t disk_size(const struct disk *disk);

/* EIO: a stored object does not decode (counted in failed_reads). */
int disk_read(struct disk *disk, void *buf, uint64_t count, uint64_t offset);

/*
 * ENOSPC at mem-limit, ENOMEM when the system gives none. Pages before the one
 * that failed are written, it and those after it hold what they held.
 */
int disk_write(struct disk *disk, const void *buf, uint64_t count, uint64_t offset, bool fua);

/* Whole pages are freed, edges zeroed: reads as zeroes after. As disk_write(). */
int disk_trim(struct disk *disk, uint64_t count, uint64_t offset);

/*
 * Waits until what was staged before has been compressed. Acknowledged pages are stored either
 * way; so it cannot fail.
 */
int disk_flush(struct disk *disk);

/*
 * Calls `extent` for each run of holes or data from `offset` on, in order,
 * clipped to the range; with `one`, only for the first. A return of -1 stops
 * and is returned.
 */
typedef int disk_extent_fn(void *opaque, uint64_t offset, uint64_t length, bool hole);
int disk_extents(struct disk *disk, uint64_t count, uint64_t offset, bool one, disk_extent_fn *extent,
		 void *opaque);

/* Compacts the pool to the end; returns the 4 KiB pages given back. `progress`
 * may be NULL. */
uint64_t disk_compact(struct disk *disk, disk_progress_fn *progress, void *opaque);

/*
 * With swap, after the last fork: faults in the whole table and swap_reserve bytes of
 * pool. From then on `low` is called, inside locks, when half of that is used: it may
 * only wake a thread that calls disk_refill(). 0, or -1 with *e filled.
 */
int disk_prepare_swap(struct disk *disk, void (*low)(void *opaque), void *opaque,
	struct uz_error *e);
int disk_refill(struct disk *disk);

/* zram's columns, in zram's order and units: bytes where it says size, used or
 * limit, else pages. */
struct disk_stat {
	const char *algorithm; /* its name; the level beside it */
	int level;
	uint64_t size;
	uint64_t limit_used; /* what mem_limit counts: cells and table */
	struct {
		uint64_t orig_data_size, compr_data_size, mem_used_total, mem_limit, mem_used_max,
			same_pages, pages_compacted, huge_pages, huge_pages_since;
	} mm;
	struct {
		uint64_t failed_reads, failed_writes, invalid_io, notify_free;
	} io;
	uint64_t zero_pages;  /* of same_pages, those filled with zeroes */
	uint64_t table_bytes; /* resident slot table */
	uint64_t reserve_bytes; /* pool kept ready with swap */
	struct {
		bool behind;
		uint64_t pages, pages_max; /* places: of pages that a request may stage, that wait
					  * for compression, or are being compressed */
		uint64_t coalesced; /* writes to pages that were staged already */
		uint64_t direct;    /* pages compressed by their writer, as there was no room */
	} stage;
	struct {
		uint64_t managed, percpu; /* pages compressed on a managed or a per-CPU stream */
		uint64_t fallback;  /* of percpu: a managed one was wanted */
		uint64_t raw;	    /* compression tried, and stored raw */
		uint64_t batches, batch_pages;
		uint64_t batch_sizes[BATCH_BUCKETS]; /* batches of up to 1, 2, 4 .. pages */
	} streams;
	bool has_backing;
	struct {
		const char *kind; /* of the backing: "io_uring", "threads", "nbd" */
		uint64_t bd_count;  /* pages that are there now */
		uint64_t bd_reads, bd_writes; /* pages read from it for clients, written back; ever */
		uint64_t bytes_used;	  /* of live records, with headers */
		uint64_t bytes_allocated; /* that it takes below us */
		uint64_t bytes_written;	  /* ever, cleaning included */
		uint64_t capacity;	  /* bytes that records can have */
		uint64_t checksum_errors, read_errors, write_errors;
		uint64_t promoted;	  /* pages that came back to memory when read */
		uint64_t decompressed;	  /* by writeback: always 0, it moves compressed bytes */
		bool paused; /* writes failed again and again; tried again from time to time */
	} bd;
	struct {
		bool automatic;
		unsigned high, low, batch;
		bool limit_enable;
		uint64_t limit; /* pages that may still be written back, if limit_enable */
		uint64_t passes;    /* automatic ones that wrote something */
		uint64_t throttled, throttled_ns; /* write requests slowed, and how long */
		enum disk_promote promote;
	} wb;
	uint64_t reads, writes, trims; /* pages, ever */
	uint64_t latency[NR_DISK_OPS][DISK_LATENCY_BUCKETS]; /* requests */
	uint64_t latency_sum_ns[NR_DISK_OPS];
};
void disk_get_stat(struct disk *disk, struct disk_stat *stat);

/*
 * Stored pages and the bytes that they take (memory or backing), by age. Scans the table; if that
 * took longer than a millisecond, it is not repeated for twenty times as long.
 */
#define DISK_AGES 8
extern const uint32_t disk_age_limits[DISK_AGES]; /* s: younger than this; the last: UINT32_MAX */
struct disk_ages {
	uint64_t pages[DISK_AGES], bytes[DISK_AGES];
};
void disk_get_ages(struct disk *disk, struct disk_ages *ages);

/*
 * Administration. All may run beside I/O unless it says otherwise.
 */

/* Marks the pages in memory that nobody accessed for so many seconds (0: all) as idle, until they
 * are next accessed. How many it marked. */
uint64_t disk_idle(struct disk *disk, uint32_t seconds);

/* Which pages to write back: those that any of the modes, or ranges, takes. Empty and same-filled
 * ones never. */
enum disk_wb_mode {
	WB_HUGE = 1,		 /* stored raw */
	WB_IDLE = 2,		 /* marked idle */
	WB_HUGE_IDLE = 4,	 /* both */
	WB_INCOMPRESSIBLE = 8,	 /* no algorithm that the disk has makes it smaller */
	WB_ALL = 16,
};

struct disk_wb_request {
	unsigned modes; /* WB_*, or-ed */
	const struct disk_wb_range {
		uint64_t from, to; /* pages, the last one included */
	} *ranges;
	size_t nr_ranges;
};

struct disk_wb_result {
	uint64_t pages;		/* written back */
	uint64_t bytes_written; /* records, with headers */
	uint64_t bytes_gained;	/* of what mem_limit counts */
	uint64_t errors;	/* pages that could not be written, and stay in memory */
	bool budget_ended;	/* by the limit of disk_set_wb_limit() */
	bool full;		/* ended, as the backing has no room */
};

/*
 * Writes pages back, those that free most memory first, and waits until it is done. One at a time
 * on a disk: others fail with EBUSY; the automatic pass waits. `progress` may be NULL; if it stops
 * the pass, what has been written counts. 0, or -1 with *e filled and *result as far as it came.
 */
int disk_writeback(struct disk *disk, const struct disk_wb_request *request,
	disk_progress_fn *progress, void *opaque, struct disk_wb_result *result, struct uz_error *e);

/*
 * Settings, live. 0, or -1 with *e filled: out of range, or in need of a backing, or of a limit.
 */
int disk_set_wb_limit(struct disk *disk, uint64_t pages, struct uz_error *e);
int disk_set_wb_limit_enable(struct disk *disk, bool enable, struct uz_error *e);
int disk_set_wb_auto(struct disk *disk, bool automatic, struct uz_error *e);
int disk_set_watermarks(struct disk *disk, unsigned high, unsigned low, struct uz_error *e);
int disk_set_wb_batch(struct disk *disk, unsigned batch, struct uz_error *e);
int disk_set_promote(struct disk *disk, enum disk_promote promote, struct uz_error *e);
int disk_set_batch(struct disk *disk, unsigned batch, struct uz_error *e);

/* Counters and high-water marks begin anew; what is stored stays, and what counts it. */
void disk_drop_stats(struct disk *disk);

/* Bytes, 0: none. Below what is used: nothing is lost, but nothing may grow. */
void disk_set_limit(struct disk *disk, uint64_t limit);

/* For what is written from now on; stored objects keep their codec. 0, or -1 with *e filled. */
int disk_set_algorithm(struct disk *disk, const struct zcomp_ops *algorithm, int level,
	struct uz_error *e);

/*
 * Larger at any time: connections made from now on see it. Smaller only with no I/O running;
 * what lies beyond is dropped. 0, or -1 with *e filled.
 */
int disk_resize(struct disk *disk, uint64_t size, struct uz_error *e);

/* All content, counters and memory go; size and parameters stay. No I/O may be running, nor what
 * walks the pages: disk_blocks(), disk_idle(), disk_verify(). */
void disk_reset(struct disk *disk);

/*
 * Decodes every stored page and throws the result away; *pages is how many, *bad how many
 * did not decode. `progress` may be NULL. Returns false if that stopped it.
 */
bool disk_verify(struct disk *disk, uint64_t *pages, uint64_t *bad, disk_progress_fn *progress,
	void *opaque);

/* A stored page, as zram's block_state shows it. */
struct disk_block {
	uint64_t index;
	uint32_t age;	 /* seconds since it was last read or written */
	char flags[8];	 /* of s (same-filled) w (written back) h (raw) i (idle) r n; or "" */
	unsigned size;	 /* bytes of its object or record, 0 if same-filled */
	const char *algorithm; /* "-" if none made it */
};

/* The stored pages from..to (last included), at most `max`; how many, and in *next where to go
 * on (to + 1 at the end). */
size_t disk_blocks(struct disk *disk, uint64_t from, uint64_t to, struct disk_block *blocks,
	size_t max, uint64_t *next);

/* Every invariant of table and pool; for tests, with nothing else running. */
bool disk_check(struct disk *disk);

#endif
