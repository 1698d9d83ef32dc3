/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writeback: pages go from memory to the log (log.h), as they are: compressed, or raw.
 *
 * A pass chooses pages by a filter, and sends them, largest first, through the disk's one log
 * writer. What it sends stays in memory, readable and writable, until its bytes are on the backing;
 * then the slot refers to the record, if nobody has changed it meanwhile.
 *
 * Passes: an administrator's (disk_writeback()), and the automatic one (evict.c), a thread of each
 * disk that has a backing; that one also cleans the log. Both may be under way: the writer goes to
 * and fro between them, for a slice of pages at a time.
 *
 * Locks, outermost first: disk->lock, manual, round, the turn (a queue, so that nobody starves),
 * then a slot. The writer's I/O runs in the turn alone: I/O of clients and statistics take none of
 * these. evict.lock is innermost, held for some words.
 */
#ifndef UZRAM_WRITEBACK_H
#define UZRAM_WRITEBACK_H

#include "disk.h"
#include "log.h"

struct page_io;
struct slot;
struct wb_pass;
struct evict_ages;

#define WB_SLICE	     128	 /* pages that are sent in one turn */
#define WB_CANDIDATES_LOCKED (16u << 10) /* writeback.candidates */

/* Gains are compared in steps of 64 bytes, as zram does. */
#define WB_CLASSES (PAGE_SIZE / 64 + 1)

static inline unsigned wb_class(size_t cell)
{
	return (unsigned)((cell + 63) / 64);
}

/* The wish for room of a request that was refused. */
struct room_wait {
	bool waits, last; /* it has asked; and been told that there is no hope, once */
	uint64_t freed, round;
	uint64_t until; /* ns */
};

struct writeback {
	struct backing *backing;
	struct log_writer *writer;
	uint64_t *candidates; /* with locked memory: at hand for the automatic pass */

	_Atomic unsigned high, low, batch;
	_Atomic int promote;
	_Atomic bool automatic, limit_enable;
	_Atomic uint64_t limit; /* pages that may still be written */
	/* Bytes charged, from where on (UINT64_MAX: never): pages are evicted; until; writers
	 * slowed. */
	_Atomic uint64_t high_bytes, low_bytes, slow_bytes;

	pthread_mutex_t manual, round; /* a pass is under way */
	pthread_mutex_t turn_lock;
	pthread_cond_t turn_cond;
	uint64_t turn_next, turn_now;
	_Atomic unsigned hold; /* passes are to end: reset, tear-down */

	/* In the turn: */
	struct wb_pass *pass;
	uint16_t token;
	uint64_t chunk;	       /* number of what is being filled, to tell I/O errors apart */
	uint64_t failed_chunk; /* the last that failed */
	unsigned failures;     /* since one succeeded */
	uint32_t backoff;      /* s */
	_Atomic bool paused;
	_Atomic uint64_t retry_at; /* ns, when paused */

	struct {
		pthread_t thread;
		bool running;
		pthread_mutex_t lock;
		pthread_cond_t wake, room;
		_Atomic bool stop, asleep, kicked;
		_Atomic bool stuck; /* nothing can be freed now */
		_Atomic uint64_t stuck_until;
		_Atomic unsigned waiters;
		_Atomic uint64_t freed;	    /* bytes, ever */
		uint64_t started, finished; /* rounds; lock */
		_Atomic uint64_t clean_after; /* ns */
		struct evict_ages *ages;      /* the thread's */
	} evict;
	_Atomic uint64_t passes;
	struct log_stats since; /* as of disk_drop_stats() */
};

/* --- which pages --- */

/*
 * What a pass takes: by modes or ranges (request), or by age: older than `age` seconds, or as old,
 * and then of that class or a larger one.
 */
struct wb_filter {
	const struct disk_wb_request *request; /* NULL: by age */
	uint32_t now, age;
	unsigned class;
	unsigned from, to; /* of these classes only, the last one included */
};

/* Seconds since the access; clocks of two threads may differ by one. */
static inline uint32_t wb_age(uint32_t now, uint32_t ac_time)
{
	return now > ac_time ? now - ac_time : 0;
}

bool wb_wants(const struct wb_filter *filter, uint64_t index, uint32_t flags, uint32_t ac_time,
	size_t cell);

/*
 * Calls `fn` for each slot of pages [from, end) that is not empty, locked; it returns the slot's
 * flags. False: `hold` was set, or `go_on` (may be NULL; asked once for each leaf) said no.
 */
typedef uint32_t slot_scan_fn(void *opaque, uint64_t index, struct slot *slot, uint32_t flags);
bool wb_scan(struct disk *disk, uint64_t from, uint64_t end, slot_scan_fn *fn, void *opaque,
	bool (*go_on)(void *opaque, uint64_t index));

/* --- passes --- */

enum wb_end {
	WB_DONE,
	WB_STOPPED,
	WB_BUDGET,  /* disk_set_wb_limit() */
	WB_FULL,    /* no room in the log */
	WB_FAILING, /* writes fail again and again */
	WB_NO_MEMORY,
};

/*
 * Sends the pages that `filter` takes, classes from the largest down. `enough` is asked now and
 * then, no lock held: true ends the pass. Adds to *result. The caller has `manual` or `round`.
 */
enum wb_end wb_run(struct disk *disk, struct wb_filter *filter, bool manual,
	bool (*enough)(void *opaque, double share), void *opaque, struct disk_wb_result *result);

void wb_turn(struct disk *disk);
void wb_turn_end(struct disk *disk);

/* For what passes write. NULL with errno. */
struct log_writer *wb_new_writer(struct disk *disk);

/* --- life; all but wb_open() do nothing without a backing --- */

int wb_open(struct disk *disk, struct uz_error *e);
int wb_start(struct disk *disk, struct uz_error *e);
void wb_stop(struct disk *disk);
void wb_close(struct disk *disk);
/* No pass, no cleaning from here to the other. */
void wb_hold(struct disk *disk);
void wb_release(struct disk *disk);
/* For tests, held and with no I/O: log_check() with these. */
bool wb_check(struct disk *disk, const log_loc_t *locs, size_t n);
/* After limit, watermarks or `automatic` have changed. */
void wb_watermarks(struct disk *disk);
void wb_get_stat(struct disk *disk, struct disk_stat *stat);
void wb_drop_stats(struct disk *disk);

/* For tests: what goes between a disk and the backing it opens next. */
extern struct backing *(*wb_wrap_backing)(struct backing *backing);

/* --- evict.c: the automatic pass, and what writers see of it --- */

int evict_start(struct disk *disk, struct uz_error *e);
void evict_stop(struct disk *disk); /* does not wait */
void evict_join(struct disk *disk);

/* There may be something to do. Cheap if it is known already. */
void evict_kick(struct disk *disk);

/* So many bytes of memory were freed. */
void evict_freed(struct disk *disk, uint64_t bytes);

/* At the beginning of a write, nothing held: slows it as the limit nears, 100 ms at most, and when
 * the log's cleaner does not keep up, 4 ms. */
void evict_throttle(struct disk *disk, struct page_io *io);

/*
 * After ENOSPC: waits a moment for room. True: try again; false: there will be none, errno is
 * ENOSPC. No slot is locked; the io's stream is let go.
 */
bool evict_wait(struct page_io *io);

/* ns without anything freed, after which it does not wait any longer; for tests to change. */
extern uint64_t evict_patience;

#endif
