/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log: compressed objects packed back to back on a backing (backing.h).
 *
 *	superblock | segment | segment | ...		64 KiB, then segments of equal size
 *	segment: chunk, chunk, ...			a chunk is written in one go
 *	chunk: record, record, ..., zeroes		up to a block's border
 *	record: header of 12 bytes, 1 to 4096 bytes, 0 to 3 zeroes
 *
 * A record belongs to an owner (a slot's index) and is found by its location. The owner keeps the
 * location, and the log asks it by config.move when it wants a record elsewhere.
 *
 * Writing
 *	struct log_writer *w = log_writer_create(log, &writer_config);
 *	log_reserve(w, len);			may sleep, may call `written`
 *	... lock the slot, see that the object is still there ...
 *	log_append(w, owner, codec, cookie, bytes, len);	does neither, after log_reserve()
 *	... unlock ...
 *	log_commit(w);				all written, all outcomes told
 *
 *	Records gather in a chunk in memory; full chunks are on their way while the next fills.
 *	When a chunk is written, or has failed, writer_config.written is called for each of its
 *	records, in whichever thread uses the writer then. So nobody knows a location before its
 *	bytes are on the backing, and no read ever has to look into a buffer.
 *
 * Reading
 *	lock the slot; log_pin(log, loc); unlock; log_read(); log_read_end(); log_unpin().
 *	As long as a location is pinned its segment is neither reused nor trimmed, so a record
 *	that does not match its checksum is damaged, never stale. The checksum also depends on
 *	where the record lies and on a number that its segment gets each time it is filled: what
 *	an earlier use left there never passes, nor does a write that the backing lost.
 *
 * Freeing
 *	log_free() when the owner does not refer to the record any more. A segment is free when
 *	its last record was freed and its last pin is gone. log_clean() trims free ones, and
 *	empties others by moving their records.
 *
 * Locks
 *	log_pin(), log_unpin(), log_free(), log_get_stats() and log_append() after log_reserve()
 *	may be called with a slot locked; none of them sleeps but for a short mutex.
 *	`written` is called with no lock held, `move` with that of log_clean(); they may lock
 *	slots, but must not use the writer, nor clean: so a slot must not be locked around any
 *	other call here. A writer belongs to one thread at a time; one thread cleans at a time,
 *	others wait. Everything else may be called from any thread.
 */
#ifndef UZRAM_LOG_H
#define UZRAM_LOG_H

#include "backing.h"

#define LOG_MAX_LEN	PAGE_SIZE
#define LOG_MAX_OWNER	((UINT64_C(1) << 48) - 2)
#define LOG_MAX_CODEC	15
#define LOG_READ_MAX	32			  /* records of one log_read() */
#define LOG_RECORD(len) (((len) + 12u + 3) & ~3u) /* bytes with header, of len bytes */

/*
 * Where a record is: its offset in units of 4 bytes << 13 | its length. Never 0; the top 5 bits
 * are (so a backing may have 256 TiB), and are the caller's to use, if it gives them back as 0.
 */
typedef uint64_t log_loc_t;
#define LOG_LOC_BITS 59

static inline uint32_t log_loc_len(log_loc_t loc)
{
	return loc & 8191;
}

static inline uint64_t log_loc_offset(log_loc_t loc)
{
	return (loc >> 13) * 4;
}

struct log;
struct log_writer;

/*
 * With `to` 0: does `owner` refer to `from`? Else: if it still does, make it refer to `to`. True
 * for yes, done. Then the log frees `from`; otherwise it forgets `to`.
 */
typedef bool log_move_fn(void *opaque, uint64_t owner, log_loc_t from, log_loc_t to);

struct log_config {
	bool overwrite;	   /* whatever is there may go */
	uint32_t segment;  /* bytes, a power of two, 64 KiB to 128 MiB; 0: what suits the size */
	log_move_fn *move; /* NULL: records never move */
	void *opaque;
};

/*
 * Looks at what is on the backing, and takes possession: writes a superblock. Refused with
 * *error (and nothing changed), unless `overwrite`: EEXIST what is not ours; EINVAL made for
 * another size or by another version; EBUSY in use, or left so on a backing that cannot be
 * locked; EINVAL, always, too small. The backing stays the caller's, to close after the log.
 * Before or after backing_start().
 */
struct log *log_open(
	struct backing *backing, const struct log_config *config, struct uz_error *error);

/* After backing_start(), before anything else: notes who has it now. 0, or -1 with *error. */
int log_start(struct log *log, struct uz_error *error);

/*
 * For tear-down: appends are refused with ESHUTDOWN, log_clean() returns soon, nothing waits for a
 * server that has vanished (backing_stop()). Reads go on.
 */
void log_stop(struct log *log);

/* No writer is left, nothing is pinned. Gives the space back and marks the store as not in use;
 * what of that fails is no matter. */
void log_close(struct log *log);

/* --- writing --- */

struct log_writer_config {
	/*
	 * A record's outcome. err 0: it is at `loc`; true: the owner refers to it now; false: it
	 * does not want it any more, the record is dead. Else `loc` is 0, and err says why
	 * (ENOSPC: no room below the backing; ECANCELED: the writer went before it was sent).
	 */
	bool (*written)(void *opaque, uint64_t owner, uint64_t cookie, log_loc_t loc, int err);
	void *opaque;
	unsigned chunks; /* buffers, so the most that is in flight, and one to fill; 0: 8 */
};

/* NULL with errno. Its memory: log_chunk_size() x chunks. */
struct log_writer *log_writer_create(struct log *log, const struct log_writer_config *config);
/* Commits first. */
void log_writer_destroy(struct log_writer *writer);

/*
 * Room for a record of `len` bytes in a chunk. 0, or -1 with errno: ENOSPC, no free segment but
 * those that cleaning needs: log_clean() may help; ESHUTDOWN.
 */
int log_reserve(struct log_writer *writer, uint32_t len);

/*
 * 0, or -1 with errno: EINVAL, a parameter out of range; and what log_reserve() says. After a
 * log_reserve() for as much, with no other call for this writer between, it always finds room.
 */
int log_append(struct log_writer *writer, uint64_t owner, unsigned codec, uint64_t cookie,
	const void *bytes, uint32_t len);

/* Sends what has gathered, and tells the outcomes that are known; does not wait. */
void log_flush(struct log_writer *writer);
/* The same, but what has gathered stays if more than a sixteenth of it would be padding. */
void log_push(struct log_writer *writer);
/* Sends what has gathered, and waits for all outcomes. 0, or the first error since the last
 * commit. */
int log_commit(struct log_writer *writer);

/* --- reading --- */

static inline bool log_loc_valid(log_loc_t loc)
{
	return loc && loc >> LOG_LOC_BITS == 0;
}

void log_pin(struct log *log, log_loc_t loc);
void log_unpin(struct log *log, log_loc_t loc);

struct log_req {
	log_loc_t loc; /* pinned */
	uint64_t owner;
	/* out: */
	int error;	   /* 0; EIO: the backing cannot read it, or it is damaged; ENOTCONN */
	const void *bytes; /* log_loc_len(loc) of them */
	unsigned codec;
};

struct log_reading {
	struct backing_queue *queue;
};

/*
 * Fetches n <= LOG_READ_MAX records, all at once, near ones by one I/O. Their bytes stay valid
 * until log_read_end(), which is to follow in any case, and soon: a queue of the backing is held.
 * Returns how many have an error.
 */
unsigned log_read(struct log *log, struct log_req *reqs, unsigned n, struct log_reading *reading);
void log_read_end(struct log_reading *reading);

void log_free(struct log *log, log_loc_t loc);

/* --- cleaning --- */

/* Is there something for log_clean() to do? Cheap. */
bool log_clean_wanted(struct log *log);

/*
 * How far bytes_allocated has come from what log_clean() aims at to what it promises: 0 to 1, and
 * beyond. Who frees records faster than it can follow had better wait for it. Cheap.
 */
double log_pressure(struct log *log);

/*
 * Trims free segments, and empties the ones with the least live bytes, at most `max` of them,
 * until bytes_allocated <= bytes_used / 0.8 + one segment (and what is on its way), with some room
 * to spare, and there are free ones. Returns how many segments it made free or trimmed; 0: nothing
 * can be done now. Moves at most a segment's records, a chunk in flight, at once; nobody waits for
 * it.
 */
unsigned log_clean(struct log *log, unsigned max);

struct log_stats {
	uint64_t records;	  /* live */
	uint64_t bytes_used;	  /* of live records, with headers */
	uint64_t bytes_allocated; /* of segments, as far as written and not trimmed since */
	uint64_t capacity;	  /* bytes of segments that records can have */
	uint64_t segment;	  /* bytes of one */
	uint64_t segments_free;
	uint64_t bytes_written;	       /* ever, padding and moved records included */
	uint64_t writes, write_errors; /* chunks */
	uint64_t reads, read_errors;   /* I/Os for log_read(); records that got no bytes */
	uint64_t records_read;
	uint64_t checksum_errors; /* records read that were damaged */
	uint64_t segments_cleaned;
	uint64_t records_moved;
	uint64_t damaged; /* places a cleaner could not make sense of */
	uint64_t trim_errors;
};

void log_get_stats(struct log *log, struct log_stats *stats);
uint32_t log_chunk_size(struct log *log);

/*
 * For tests, when nobody else uses it: are all segments as they should be, and do exactly these
 * records live? One line on stderr if not.
 */
bool log_check(struct log *log, const log_loc_t *locs, size_t n);

#endif
