/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cleaning: what is free is trimmed; what has much dead space in it is emptied, by writing its
 * live records elsewhere. A record's owner is asked twice: whether it wants the record, and, when
 * its copy is written, to refer to that.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <endian.h>

#include "log_priv.h"

#define WINDOW	    (128u << 10) /* bytes of a segment read at once */
#define LEAD	    (8u << 10)	 /* before a window: a record that began in the one before */
#define MAX_VICTIMS 8
#define RETRY	    30 /* seconds, for a segment that could not be emptied */

struct log_cleaner {
	struct log *log;
	struct log_writer *writer;
	unsigned char *buf; /* of two windows */
	struct backing_io ios[2];
};

struct victim {
	struct segment *seg;
	uint64_t live, size; /* bytes */
	bool put_off;	     /* if it is not empty in the end, it will not be soon */
};

/* --- what there is to do --- */

/*
 * Bytes allocated beyond what is aimed at. log.h promises used / 0.8 + one segment; records die
 * while the cleaner works, so its own aim is lower: used / 0.84 + half a segment.
 */
static int64_t excess(struct log *log, uint64_t allocated)
{
	return (int64_t)allocated - (int64_t)(log->used + log->used / 16 * 3 + seg_size(log) / 2);
}

double log_pressure(struct log *log)
{
	int64_t over = excess(log, log->allocated);

	return over <= 0 ? 0 : (double)over / (double)(log->used / 16 + seg_size(log) / 2);
}

/* Free segments that should be there for writers, beside the reserve. */
static uint32_t free_wanted(struct log *log)
{
	return LOG_RESERVE + 1 + (uint32_t)min_u64(log->nr_segs / 16, 8);
}

static bool is_short(struct log *log)
{
	return log->nr_free + log->nr_empty < free_wanted(log);
}

bool log_clean_wanted(struct log *log)
{
	return (log->nr_empty && atomic_load(&log->can_punch)) || excess(log, log->allocated) > 0 ||
	       is_short(log);
}

/* --- trimming --- */

/* How many were trimmed. */
static unsigned trim_empty(struct log *log)
{
	unsigned nr = 0;
	struct segment *seg;
	int err = 0;

	while (!err && !atomic_load(&log->stopped) && (seg = seg_take_empty(log))) {
		err = backing_trim(log->backing, seg_offset(log, seg), seg->extent);
		if (err ==
			EOPNOTSUPP) { /* then it will never be; nothing is allocated, so to say */
			atomic_store(&log->can_punch, false);
			err = 0;
		}
		if (err)
			log_count(log, LOG_TRIM_ERRORS, 1);
		seg_put_trimmed(log, seg, !err);
		nr += !err;
	}
	return nr;
}

/* --- moving records --- */

/* The copy is written: does its owner take it? */
static bool copy_written(void *opaque, uint64_t owner, uint64_t from, log_loc_t to, int err)
{
	struct log_cleaner *cl = opaque;
	struct log *log = cl->log;

	if (err || !log->config.move(log->config.opaque, owner, from, to))
		return false;
	log_count(log, LOG_RECORDS_MOVED, 1);
	log_free(log, from);
	return true;
}

/* -1 with errno: no room. */
static int copy_record(struct log_cleaner *cl, uint64_t offset, const unsigned char *p,
	uint64_t owner, unsigned codec, uint32_t len)
{
	struct log *log = cl->log;
	log_loc_t from = make_loc(offset, len);

	if (!log->config.move(log->config.opaque, owner, from, 0))
		return 0;
	return log_append(cl->writer, owner, codec, from, p + sizeof(struct log_header), len);
}

/*
 * The records that begin in the `len` bytes at p and end there; they lie at `offset`. Returns how
 * far it came, or -1 with errno if it could not go on. Padding, and what is damaged, is skipped
 * word by word: an intact record is known by its checksum wherever it lies.
 */
static int64_t scan(struct log_cleaner *cl, struct segment *seg, const unsigned char *p,
	uint64_t offset, uint32_t len, bool last, bool *damaged)
{
	uint32_t pos = 0;

	while (pos < len && (last || pos + LOG_RECORD(LOG_MAX_LEN) <= len)) {
		uint64_t owner;
		unsigned codec;
		uint32_t n = record_open(seg, offset + pos, p + pos, len - pos, &owner, &codec);

		if (n && copy_record(cl, offset + pos, p + pos, owner, codec, n) == -1)
			return -1;
		if (!n && *(const uint32_t *)(p + pos))
			*damaged = true;
		pos += n ? LOG_RECORD(n) : 4;
	}
	return pos;
}

/* The segment's next window, if there is one. */
static void ask(struct log_cleaner *cl, struct segment *seg, struct backing_queue *queue,
	unsigned half, uint32_t *asked)
{
	struct backing_io *io = &cl->ios[half];

	if (*asked == seg->fill)
		return;
	*io = (struct backing_io){ .op = BACKING_READ,
		.buf = cl->buf + half * (LEAD + WINDOW) + LEAD,
		.offset = seg_offset(cl->log, seg) + *asked,
		.len = min_u64(WINDOW, seg->fill - *asked) };
	*asked += io->len;
	backing_submit(queue, io, 1);
}

/*
 * One window is read while the other is looked at. What begins in one and ends in the next is
 * brought before that. 0, or an errno.
 */
static int scan_segment(
	struct log_cleaner *cl, struct segment *seg, struct backing_queue *queue, bool *damaged)
{
	uint64_t offset = seg_offset(cl->log, seg);
	const unsigned char *rest = NULL;
	uint32_t asked = 0, len = 0;

	ask(cl, seg, queue, 0, &asked);
	for (unsigned half = 0; !atomic_load(&cl->log->stopped); half ^= 1) {
		struct backing_io *io = backing_reap(queue, true);
		unsigned char *p;
		int64_t done;

		if (!io)
			return 0;
		if (io->error)
			return io->error;
		p = (unsigned char *)io->buf - len;
		if (len)
			memcpy(p, rest, len);
		len += io->len;
		ask(cl, seg, queue, half ^ 1, &asked);
		done = scan(cl, seg, p, offset, len,
			offset + len == seg_offset(cl->log, seg) + seg->fill, damaged);
		if (done == -1)
			return errno;
		rest = p + done;
		offset += done;
		len -= done;
	}
	return 0;
}

/* Copies what lives in it. 0, or -1 with errno: EIO, not all of it can be read. */
static int copy_segment(struct log_cleaner *cl, struct segment *seg)
{
	struct log *log = cl->log;
	struct backing_queue *queue = backing_queue_get(log->backing);
	bool damaged = false;
	int err;

	if (!queue)
		return -1;
	err = scan_segment(cl, seg, queue, &damaged);
	while (backing_reap(queue, true))
		; /* left out when it ended early */
	backing_queue_put(queue);
	if (err || !damaged) {
		errno = err;
		return err ? -1 : 0;
	}
	log_count(log, LOG_DAMAGED, 1);
	errno = EIO;
	return -1;
}

/* --- choosing --- */

/* What emptying it costs and gains; false: not now. */
static bool consider(
	struct log *log, struct segment *seg, bool want_free, uint32_t now, struct victim *v)
{
	v->seg = seg;
	v->live = atomic_load(&seg->live);
	/* Short of segments, what counts is how much of one is in use; else, of the space. */
	v->size = want_free ? seg_size(log) : seg->extent;
	v->put_off = false;
	/* Nothing live: a reader has it yet. Less than a twentieth is not worth the writing. */
	return seg->state == SEG_CLOSED && seg->retry <= now && v->live &&
	       v->live * 20 <= v->size * 19;
}

/* Those with the smallest share of live bytes, best first; pinned. */
static unsigned choose(struct log *log, struct victim *victims, unsigned max)
{
	uint32_t now = uz_seconds();
	bool want_free = is_short(log);
	unsigned nr = 0, n = 0;
	struct victim v;

	LOCK_SCOPE(&log->lock);
	for (uint32_t i = 0; i < log->nr_segs; i++) {
		unsigned at;

		if (!consider(log, &log->segs[i], want_free, now, &v))
			continue;
		for (at = nr; at && victims[at - 1].live * v.size > v.live * victims[at - 1].size;
			at--)
			if (at < max)
				victims[at] = victims[at - 1];
		if (at < max) {
			victims[at] = v;
			nr += nr < max;
		}
	}
	for (unsigned i = 0; i < nr; i++) {
		if (!seg_try_pin(victims[i].seg))
			continue; /* it has become free */
		victims[i].seg->state = SEG_VICTIM;
		victims[n++] = victims[i];
	}
	return n;
}

static void let_go(struct log *log, struct victim *victims, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		struct segment *seg = victims[i].seg;

		pthread_mutex_lock(&log->lock);
		seg->state = SEG_CLOSED;
		if (victims[i].put_off && atomic_load(&seg->refs) & (SEG_PIN - 1))
			seg->retry = uz_seconds() + RETRY;
		pthread_mutex_unlock(&log->lock);
		seg_put(log, seg, SEG_PIN);
	}
}

/* How many of the victims, best first, are needed. */
static unsigned enough(struct log *log, const struct victim *victims, unsigned nr)
{
	int64_t over = excess(log, log->allocated);
	int64_t lacking = (int64_t)free_wanted(log) - log->nr_free - log->nr_empty;
	uint64_t gain = 0;
	unsigned i;

	for (i = 0; i < nr && (over > 0 || lacking > (int64_t)(gain >> log->seg_shift)); i++) {
		over -= victims[i].seg->extent - victims[i].live;
		gain += seg_size(log) - victims[i].live;
	}
	return i;
}

/* How many are empty now, or as soon as those who free records of theirs just now have done so. */
static unsigned clean_some(struct log_cleaner *cl, unsigned max)
{
	struct log *log = cl->log;
	struct victim victims[MAX_VICTIMS];
	unsigned nr = choose(log, victims, min_u64(max, MAX_VICTIMS)), cleaned = 0;
	unsigned need = enough(log, victims, nr);
	int err = 0;

	let_go(log, victims + need, nr - need);
	for (unsigned i = 0; i < need && !err && !atomic_load(&log->stopped); i++) {
		if (copy_segment(cl, victims[i].seg) == 0) {
			cleaned++;
			continue;
		}
		/* The next one may be better. */
		victims[i].put_off = errno == EIO;
		err = errno == EIO ? 0 : errno;
	}
	if (log_commit(cl->writer) == -1)
		cleaned = 0; /* which of them, is of no interest */
	let_go(log, victims, need);
	log_count(log, LOG_SEGMENTS_CLEANED, cleaned);
	return cleaned;
}

unsigned log_clean(struct log *log, unsigned max)
{
	unsigned done = 0, n;

	LOCK_SCOPE(&log->clean_lock);
	log_writers_tidy(log);
	done += trim_empty(log);
	while (log->cleaner && done < max && !atomic_load(&log->stopped) && log_clean_wanted(log)) {
		n = clean_some(log->cleaner, max - done);
		log_writers_tidy(log);
		trim_empty(log);
		if (!n)
			break;
		done += n;
	}
	return done;
}

int log_cleaner_create(struct log *log)
{
	struct log_cleaner *cl = calloc(1, sizeof(*cl));

	if (!cl)
		return -1;
	cl->log = log;
	cl->buf = backing_alloc(2 * (LEAD + WINDOW), true);
	if (cl->buf)
		cl->writer = log_writer_new(log,
			&(struct log_writer_config){
				.written = copy_written, .opaque = cl, .chunks = 3 },
			true);
	if (!cl->writer) {
		free(cl->buf);
		free(cl);
		return -1;
	}
	log->cleaner = cl;
	return 0;
}

void log_cleaner_destroy(struct log *log)
{
	log_writer_destroy(log->cleaner->writer);
	free(log->cleaner->buf);
	free(log->cleaner);
	log->cleaner = NULL;
}
