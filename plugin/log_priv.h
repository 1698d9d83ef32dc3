/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the log share: log.c (life, segments), log_super.c (who owns the store),
 * log_write.c, log_read.c, log_clean.c. */
#ifndef UZRAM_LOG_PRIV_H
#define UZRAM_LOG_PRIV_H

#include <errno.h>
#include <string.h>

#include "log.h"

#define LOG_DATA	  (64u << 10) /* where segments begin */
#define LOG_MIN_SEGMENT	  (64u << 10)
#define LOG_MAX_SEGMENT	  (128u << 20) /* SEG_PIN leaves room for 2^24 records */
#define LOG_MIN_SEGMENTS  8
#define LOG_MAX_SEGMENTS  65536 /* above, segments are larger than 1 MiB, up to the largest */
#define LOG_CHUNK	  (256u << 10)
#define LOG_CHUNK_RECORDS 1024
#define LOG_RESERVE	  2 /* free segments that only the cleaner takes */

/* A record's header; little-endian. */
struct log_header {
	uint32_t crc;	  /* of the rest and the bytes, begun with record_seed() */
	uint32_t word[2]; /* (owner + 1) << 16 | (len - 1) << 4 | codec: never 0 */
};
_Static_assert(sizeof(struct log_header) == 12, "LOG_RECORD() counts on it");

enum seg_state {
	SEG_FREE,  /* nothing in it, nothing below it; on log->free */
	SEG_EMPTY, /* nothing in it, to be trimmed; on log->empty */
	SEG_TRIM,  /* is being trimmed */
	SEG_OPEN,  /* a writer's */
	SEG_CLOSED,
	SEG_VICTIM, /* closed, and being cleaned */
};

/* seg->refs: live records, and pins. An open segment's writer and each chunk on its way is a pin.
 */
#define SEG_RECORD UINT64_C(1)
#define SEG_PIN	   (UINT64_C(1) << 24)

struct segment {
	_Atomic uint64_t refs; /* at 0 nobody can add any more: the segment is free */
	_Atomic uint32_t live; /* bytes of live records */
	uint32_t fill;	       /* bytes that chunks have, or had; the writer's while open */
	uint32_t seed;	       /* another one each time it is filled */
	/* log->lock: */
	uint32_t extent; /* bytes allocated on the backing, from its start */
	uint32_t next;	 /* in its list, number + 1; 0: none */
	uint8_t state;
	uint32_t retry; /* cleaning it makes no sense before (uz_seconds()) */
};

enum log_counter {
	LOG_BYTES_WRITTEN,
	LOG_WRITES,
	LOG_WRITE_ERRORS,
	LOG_READS,
	LOG_READ_ERRORS,
	LOG_RECORDS_READ,
	LOG_CHECKSUM_ERRORS,
	LOG_SEGMENTS_CLEANED,
	LOG_RECORDS_MOVED,
	LOG_DAMAGED,
	LOG_TRIM_ERRORS,
	NR_LOG_COUNTERS
};

struct log_cleaner;

struct log {
	struct backing *backing;
	struct backing_info info;
	struct log_config config;
	unsigned char uuid[16];
	void *block; /* for the superblock */
	uint32_t seg_shift, chunk;
	uint32_t nr_segs;
	struct segment *segs;
	_Atomic bool stopped, can_punch;

	pthread_mutex_t lock; /* guards segments' lists and states; innermost */
	uint32_t free, empty; /* lists, as segment.next */
	_Atomic uint32_t nr_free, nr_empty;
	uint64_t rng;
	struct log_writer *writers;

	_Atomic uint64_t records, used, allocated;
	_Atomic uint64_t counters[NR_LOG_COUNTERS];

	pthread_mutex_t clean_lock; /* that one thread cleans; outermost */
	struct log_cleaner *cleaner;
};

static inline void log_count(struct log *log, enum log_counter counter, uint64_t n)
{
	atomic_fetch_add_explicit(&log->counters[counter], n, memory_order_relaxed);
}

static inline uint32_t seg_size(const struct log *log)
{
	return 1u << log->seg_shift;
}

static inline uint64_t seg_offset(const struct log *log, const struct segment *seg)
{
	return LOG_DATA + ((uint64_t)(seg - log->segs) << log->seg_shift);
}

static inline struct segment *seg_of(const struct log *log, log_loc_t loc)
{
	return &log->segs[(log_loc_offset(loc) - LOG_DATA) >> log->seg_shift];
}

static inline log_loc_t make_loc(uint64_t offset, uint32_t len)
{
	return offset / 4 << 13 | len;
}

static inline uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* log.c */
/* An open segment, with a pin for its writer; NULL: none left (of those a writer may have). */
struct segment *seg_take(struct log *log, bool cleaner);
/* The writer lets go of it. */
void seg_close(struct log *log, struct segment *seg);
/* A free one that is to be trimmed, or NULL; and back, when it was, or not. */
struct segment *seg_take_empty(struct log *log);
void seg_put_trimmed(struct log *log, struct segment *seg, bool trimmed);
/* `bytes` from its start are, or will be, on the backing. */
void seg_extend(struct log *log, struct segment *seg, uint32_t bytes);
void seg_pin(struct segment *seg);
/* False: it has become free. */
bool seg_try_pin(struct segment *seg);
void seg_put(struct log *log, struct segment *seg, uint64_t refs);
/* It has such a record more. */
void seg_add_live(struct log *log, struct segment *seg, unsigned records, uint32_t bytes);

/* log_super.c; each 0, or -1 with *error */
int log_super_check(struct log *log, struct uz_error *error);
int log_super_write(struct log *log, bool in_use, struct uz_error *error);

/* log_read.c */
/* Headers of the record that is to lie at `offset`. */
void record_seal(const struct segment *seg, uint64_t offset, struct log_header *header,
	uint64_t owner, unsigned codec, uint32_t len);
/*
 * Is there an intact record at `p`, which is what lies at `offset`? `avail` bytes are there. Its
 * length, and owner and codec; 0: none.
 */
uint32_t record_open(const struct segment *seg, uint64_t offset, const void *p, size_t avail,
	uint64_t *owner, unsigned *codec);

/* log_write.c */
struct log_writer *log_writer_new(
	struct log *log, const struct log_writer_config *config, bool cleaner);
/* Lets go of open segments without live records, if their writers do nothing now. */
void log_writers_tidy(struct log *log);

/* log_clean.c */
int log_cleaner_create(struct log *log);
void log_cleaner_destroy(struct log *log);

#endif
