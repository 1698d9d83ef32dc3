/* SPDX-License-Identifier: BSD-3-Clause */
/* The log's life, and its segments: who has which, what lives in them, and when they are free. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "log_priv.h"

/* --- segments --- */

/* log->lock held, as for all that handles lists. */
static void list_push(struct log *log, uint32_t *list, _Atomic uint32_t *nr, struct segment *seg)
{
	seg->next = *list;
	*list = seg - log->segs + 1;
	(*nr)++;
}

static struct segment *list_pop(struct log *log, uint32_t *list, _Atomic uint32_t *nr)
{
	struct segment *seg = *list ? &log->segs[*list - 1] : NULL;

	if (seg) {
		*list = seg->next;
		(*nr)--;
	}
	return seg;
}

static uint32_t next_seed(struct log *log)
{
	log->rng ^= log->rng << 13;
	log->rng ^= log->rng >> 7;
	log->rng ^= log->rng << 17;
	return log->rng >> 32;
}

struct segment *seg_take(struct log *log, bool cleaner)
{
	struct segment *seg = NULL;

	LOCK_SCOPE(&log->lock);
	if (log->nr_free + log->nr_empty > (cleaner ? 0 : LOG_RESERVE)) {
		/* What is allocated already comes first. */
		seg = list_pop(log, &log->empty, &log->nr_empty);
		if (!seg)
			seg = list_pop(log, &log->free, &log->nr_free);
	}
	if (!seg)
		return NULL;
	assert(!atomic_load(&seg->refs) && !atomic_load(&seg->live));
	seg->state = SEG_OPEN;
	seg->fill = 0;
	seg->retry = 0;
	seg->seed = next_seed(log);
	atomic_store(&seg->refs, SEG_PIN);
	return seg;
}

void seg_extend(struct log *log, struct segment *seg, uint32_t bytes)
{
	LOCK_SCOPE(&log->lock);
	if (bytes > seg->extent) {
		log->allocated += bytes - seg->extent;
		seg->extent = bytes;
	}
}

static void put_free(struct log *log, struct segment *seg)
{
	seg->state = SEG_FREE;
	log->allocated -= seg->extent;
	seg->extent = 0;
	list_push(log, &log->free, &log->nr_free, seg);
}

static void put_empty(struct log *log, struct segment *seg)
{
	seg->state = SEG_EMPTY;
	list_push(log, &log->empty, &log->nr_empty, seg);
}

/* Its last reference is gone. */
static void seg_freed(struct log *log, struct segment *seg)
{
	LOCK_SCOPE(&log->lock);
	assert(seg->state == SEG_CLOSED || seg->state == SEG_VICTIM);
	/* Where nothing can be given back, free is free. */
	if (seg->extent && atomic_load(&log->can_punch))
		put_empty(log, seg);
	else
		put_free(log, seg);
}

struct segment *seg_take_empty(struct log *log)
{
	struct segment *seg;

	LOCK_SCOPE(&log->lock);
	seg = list_pop(log, &log->empty, &log->nr_empty);
	if (seg)
		seg->state = SEG_TRIM;
	return seg;
}

void seg_put_trimmed(struct log *log, struct segment *seg, bool trimmed)
{
	LOCK_SCOPE(&log->lock);
	if (trimmed)
		put_free(log, seg);
	else
		put_empty(log, seg);
}

void seg_pin(struct segment *seg)
{
	atomic_fetch_add_explicit(&seg->refs, SEG_PIN, memory_order_relaxed);
}

bool seg_try_pin(struct segment *seg)
{
	uint64_t refs = atomic_load(&seg->refs);

	while (refs && !atomic_compare_exchange_weak(&seg->refs, &refs, refs + SEG_PIN))
		;
	return refs;
}

void seg_put(struct log *log, struct segment *seg, uint64_t refs)
{
	/* Whoever comes last has seen, and comes after, what all others did. */
	if (atomic_fetch_sub_explicit(&seg->refs, refs, memory_order_acq_rel) == refs)
		seg_freed(log, seg);
}

void seg_close(struct log *log, struct segment *seg)
{
	pthread_mutex_lock(&log->lock);
	seg->state = SEG_CLOSED;
	pthread_mutex_unlock(&log->lock);
	seg_put(log, seg, SEG_PIN);
}

void seg_add_live(struct log *log, struct segment *seg, unsigned records, uint32_t bytes)
{
	atomic_fetch_add_explicit(&seg->live, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&log->used, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&log->records, records, memory_order_relaxed);
	atomic_fetch_add_explicit(&seg->refs, SEG_RECORD * records, memory_order_relaxed);
}

void log_pin(struct log *log, log_loc_t loc)
{
	seg_pin(seg_of(log, loc));
}

void log_unpin(struct log *log, log_loc_t loc)
{
	seg_put(log, seg_of(log, loc), SEG_PIN);
}

void log_free(struct log *log, log_loc_t loc)
{
	struct segment *seg = seg_of(log, loc);
	uint32_t bytes = LOG_RECORD(log_loc_len(loc));

	atomic_fetch_sub_explicit(&seg->live, bytes, memory_order_relaxed);
	atomic_fetch_sub_explicit(&log->used, bytes, memory_order_relaxed);
	atomic_fetch_sub_explicit(&log->records, 1, memory_order_relaxed);
	seg_put(log, seg, SEG_RECORD);
}

/* --- statistics --- */

void log_get_stats(struct log *log, struct log_stats *st)
{
	*st = (struct log_stats){
		.records = log->records,
		.bytes_used = log->used,
		.bytes_allocated = log->allocated,
		.capacity = (uint64_t)(log->nr_segs - LOG_RESERVE) << log->seg_shift,
		.segment = seg_size(log),
		.segments_free = log->nr_free + log->nr_empty,
		.bytes_written = log->counters[LOG_BYTES_WRITTEN],
		.writes = log->counters[LOG_WRITES],
		.write_errors = log->counters[LOG_WRITE_ERRORS],
		.reads = log->counters[LOG_READS],
		.read_errors = log->counters[LOG_READ_ERRORS],
		.records_read = log->counters[LOG_RECORDS_READ],
		.checksum_errors = log->counters[LOG_CHECKSUM_ERRORS],
		.segments_cleaned = log->counters[LOG_SEGMENTS_CLEANED],
		.records_moved = log->counters[LOG_RECORDS_MOVED],
		.damaged = log->counters[LOG_DAMAGED],
		.trim_errors = log->counters[LOG_TRIM_ERRORS],
	};
}

uint32_t log_chunk_size(struct log *log)
{
	return log->chunk;
}

#define CHECK(cond, ...)                                            \
	do {                                                        \
		if (!(cond)) {                                      \
			fprintf(stderr, "log_check: " __VA_ARGS__); \
			fputc('\n', stderr);                        \
			return false;                               \
		}                                                   \
	} while (0)

static bool check_segments(struct log *log, const uint32_t *records, const uint32_t *live)
{
	uint64_t allocated = 0;
	uint32_t nr_free = 0, nr_empty = 0;

	for (uint32_t i = 0; i < log->nr_segs; i++) {
		struct segment *seg = &log->segs[i];
		uint64_t pins = atomic_load(&seg->refs) / SEG_PIN;

		CHECK((atomic_load(&seg->refs) & (SEG_PIN - 1)) == records[i],
			"segment %u: %" PRIu64 " records, expected %u", i,
			atomic_load(&seg->refs) & (SEG_PIN - 1), records[i]);
		CHECK(atomic_load(&seg->live) == live[i], "segment %u: %u live bytes, expected %u",
			i, atomic_load(&seg->live), live[i]);
		CHECK(seg->state != SEG_TRIM && seg->state != SEG_VICTIM, "segment %u: state %u", i,
			seg->state);
		CHECK(pins == (seg->state == SEG_OPEN), "segment %u: state %u, %" PRIu64 " pins", i,
			seg->state, pins);
		CHECK(seg->state != SEG_CLOSED || records[i], "segment %u: closed and empty", i);
		CHECK(seg->state > SEG_EMPTY || !records[i], "segment %u: free, not empty", i);
		CHECK(seg->extent <= seg_size(log), "segment %u: extent %u", i, seg->extent);
		CHECK(seg->state != SEG_FREE || !seg->extent, "segment %u: free, allocated", i);
		allocated += seg->extent;
		nr_free += seg->state == SEG_FREE;
		nr_empty += seg->state == SEG_EMPTY;
	}
	CHECK(allocated == log->allocated, "%" PRIu64 " bytes allocated, expected %" PRIu64,
		(uint64_t)log->allocated, allocated);
	for (uint32_t at = log->free; at; at = log->segs[at - 1].next, nr_free--)
		CHECK(log->segs[at - 1].state == SEG_FREE, "segment %u listed as free", at - 1);
	for (uint32_t at = log->empty; at; at = log->segs[at - 1].next, nr_empty--)
		CHECK(log->segs[at - 1].state == SEG_EMPTY, "segment %u listed as empty", at - 1);
	CHECK(!nr_free && !nr_empty, "lists and states differ: %u, %u", nr_free, nr_empty);
	return true;
}

bool log_check(struct log *log, const log_loc_t *locs, size_t n)
{
	CLEANUP_FREE uint32_t *records = calloc(log->nr_segs, sizeof(*records));
	CLEANUP_FREE uint32_t *live = calloc(log->nr_segs, sizeof(*live));
	uint64_t used = 0;

	CHECK(records && live, "no memory");
	for (size_t i = 0; i < n; i++) {
		uint32_t seg = seg_of(log, locs[i]) - log->segs;
		uint32_t len = log_loc_len(locs[i]);

		CHECK(log_loc_valid(locs[i]) && len && len <= LOG_MAX_LEN && seg < log->nr_segs,
			"location %" PRIx64, locs[i]);
		records[seg]++;
		live[seg] += LOG_RECORD(len);
		used += LOG_RECORD(len);
	}
	CHECK(log->records == n, "%" PRIu64 " records, expected %zu", (uint64_t)log->records, n);
	CHECK(log->used == used, "%" PRIu64 " bytes used, expected %" PRIu64, (uint64_t)log->used,
		used);
	return check_segments(log, records, live);
}

/* --- life --- */

/* Many enough that one does not matter, few enough to look at all of them. */
static uint32_t choose_shift(uint64_t size, uint32_t segment)
{
	uint32_t shift = 16;

	if (segment)
		return 31 - __builtin_clz(segment);
	while (shift < 20 && size >> (shift + 1) >= 64)
		shift++;
	while (size >> shift > LOG_MAX_SEGMENTS && shift < 27)
		shift++;
	return shift;
}

static int set_up(struct log *log, struct uz_error *e)
{
	uint64_t size = log->info.size;
	uint32_t segment = log->config.segment;

	if (segment &&
		(segment & (segment - 1) || segment < LOG_MIN_SEGMENT || segment > LOG_MAX_SEGMENT))
		return uz_fail(e, EINVAL,
			"segments of %u bytes: not a power of two from 64 KiB to 128 MiB", segment);
	log->seg_shift = choose_shift(size, segment);
	if (size < LOG_DATA + (uint64_t)LOG_MIN_SEGMENTS * seg_size(log))
		return uz_fail(e, EINVAL,
			"backing=%s has %" PRIu64 " bytes, %" PRIu64 " are the least",
			log->info.name, size,
			LOG_DATA + (uint64_t)LOG_MIN_SEGMENTS * seg_size(log));
	if (size > UINT64_C(1) << 48)
		return uz_fail(e, EINVAL, "backing=%s has more than 256 TiB", log->info.name);
	log->nr_segs = (size - LOG_DATA) >> log->seg_shift;
	log->chunk = min_u64(LOG_CHUNK, seg_size(log));
	log->segs = calloc(log->nr_segs, sizeof(*log->segs));
	log->block = backing_alloc(LOG_DATA, true);
	if (!log->segs || !log->block || getrandom(&log->rng, sizeof(log->rng), 0) < 0 ||
		getrandom(log->uuid, sizeof(log->uuid), 0) < 0)
		return uz_fail(e, errno, "the log: %s", strerror(errno));
	log->rng |= 1;
	/* So that the first ones come first, and descriptors are faulted in. */
	for (uint32_t i = log->nr_segs; i-- > 0;)
		list_push(log, &log->free, &log->nr_free, &log->segs[i]);
	return 0;
}

static void destroy(struct log *log)
{
	pthread_mutex_destroy(&log->lock);
	pthread_mutex_destroy(&log->clean_lock);
	free(log->segs);
	free(log->block);
	free(log);
}

struct log *log_open(
	struct backing *backing, const struct log_config *config, struct uz_error *error)
{
	struct log *log = calloc(1, sizeof(*log));

	if (!log) {
		uz_fail(error, ENOMEM, "the log: %s", strerror(ENOMEM));
		return NULL;
	}
	log->backing = backing;
	log->config = *config;
	backing_get_info(backing, &log->info);
	pthread_mutex_init(&log->lock, NULL);
	pthread_mutex_init(&log->clean_lock, NULL);
	if (set_up(log, error) == -1 || log_super_check(log, error) == -1 ||
		log_super_write(log, true, error) == -1) {
		destroy(log);
		return NULL;
	}
	return log;
}

int log_start(struct log *log, struct uz_error *error)
{
	if (log_super_write(log, true, error) == -1)
		return -1;
	/* What was there before is worth nothing any more. It is no error if that stays. */
	atomic_store(&log->can_punch, log->info.can_punch);
	if (log->info.can_punch && !log->info.created &&
		backing_trim(log->backing, LOG_DATA, (uint64_t)log->nr_segs << log->seg_shift) ==
			EOPNOTSUPP)
		atomic_store(&log->can_punch, false);
	if (log->config.move && log_cleaner_create(log) == -1)
		return uz_fail(error, errno, "the log's cleaner: %s", strerror(errno));
	return 0;
}

void log_stop(struct log *log)
{
	atomic_store(&log->stopped, true);
	backing_stop(log->backing);
}

void log_close(struct log *log)
{
	struct uz_error ignored;

	if (log->cleaner)
		log_cleaner_destroy(log);
	assert(!log->writers);
	/* Through a network that may take long. */
	if (atomic_load(&log->can_punch) && (log->info.exclusive || !atomic_load(&log->stopped)))
		backing_trim(log->backing, LOG_DATA, (uint64_t)log->nr_segs << log->seg_shift);
	log_super_write(log, false, &ignored);
	destroy(log);
}
