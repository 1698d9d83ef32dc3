/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing to the log: records gather in chunks, chunks fill segments, many are on their way. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <assert.h>
#include <sched.h>

#include "log_priv.h"

struct chunk_record {
	uint64_t owner, cookie;
	uint32_t at; /* in the chunk */
	uint16_t len;
	uint16_t codec;
};

struct chunk {
	struct backing_io io;
	struct chunk *next;  /* in the list of unused ones */
	struct segment *seg; /* pinned */
	uint64_t offset;     /* on the backing */
	uint32_t room, used; /* bytes */
	unsigned nr;
	struct chunk_record records[LOG_CHUNK_RECORDS];
};

struct log_writer {
	struct log *log;
	struct log_writer_config config;
	struct backing_queue *queue;
	bool cleaner;
	struct log_writer *next; /* in log->writers; log->lock */

	/* Who uses the rest now: the writer's thread, or for a moment log_writers_tidy(). */
	_Atomic bool used;
	struct segment *seg; /* open; NULL: none */
	struct chunk *chunk; /* that fills; NULL: none */
	struct chunk *unused;
	bool reserved; /* the next record's room is promised */
	unsigned in_flight;
	int error; /* first since the last commit */
	unsigned nr_chunks;
	struct chunk **chunks;
};

/*
 * No mutex: a writer belongs to one thread, which may have a slot locked in log_append(), and is
 * called back, to lock slots, in other calls.
 */
static bool try_use(struct log_writer *w)
{
	return !atomic_exchange_explicit(&w->used, true, memory_order_acquire);
}

static struct log_writer *use(struct log_writer *w)
{
	while (!try_use(w))
		sched_yield();
	return w;
}

static void unuse(struct log_writer **w)
{
	atomic_store_explicit(&(*w)->used, false, memory_order_release);
}

#define USE_SCOPE(w) __attribute__((cleanup(unuse), unused)) struct log_writer *used_ = use(w)

/* --- chunks --- */

static bool tell(struct log_writer *w, const struct chunk_record *r, log_loc_t loc, int err)
{
	return w->config.written(w->config.opaque, r->owner, r->cookie, loc, err);
}

static void chunk_release(struct log_writer *w, struct chunk *c)
{
	seg_put(w->log, c->seg, SEG_PIN);
	c->seg = NULL;
	c->next = w->unused;
	w->unused = c;
}

static void chunk_failed(struct log_writer *w, struct chunk *c, int err)
{
	w->error = w->error ?: err;
	for (unsigned i = 0; i < c->nr; i++)
		tell(w, &c->records[i], 0, err);
	/* What lies there is worth nothing, and the next chunk had better go elsewhere. */
	if (w->seg == c->seg) {
		w->seg = NULL;
		seg_close(w->log, c->seg);
	}
	chunk_release(w, c);
}

static void chunk_written(struct log_writer *w, struct chunk *c)
{
	struct log *log = w->log;
	uint32_t bytes = 0;

	/* They live before anybody knows of them: who does may free them at once. */
	for (unsigned i = 0; i < c->nr; i++)
		bytes += LOG_RECORD(c->records[i].len);
	seg_add_live(log, c->seg, c->nr, bytes);
	for (unsigned i = 0; i < c->nr; i++) {
		const struct chunk_record *r = &c->records[i];
		log_loc_t loc = make_loc(c->offset + r->at, r->len);

		if (!tell(w, r, loc, 0))
			log_free(log, loc);
	}
	chunk_release(w, c);
}

/* Takes what is done off the queue; with `wait`, at least one. */
static void collect(struct log_writer *w, bool wait)
{
	struct backing_io *io;

	while (w->in_flight && (io = backing_reap(w->queue, wait))) {
		struct chunk *c = io->opaque;

		w->in_flight--;
		wait = false;
		log_count(w->log, LOG_BYTES_WRITTEN, io->error ? io->done : io->len);
		log_count(w->log, LOG_WRITES, 1);
		if (io->error) {
			log_count(w->log, LOG_WRITE_ERRORS, 1);
			chunk_failed(w, c, io->error);
		} else {
			chunk_written(w, c);
		}
	}
}

static void chunk_send(struct log_writer *w)
{
	struct log *log = w->log;
	struct chunk *c = w->chunk;
	unsigned char *buf = c->io.buf;
	uint32_t len = round_up(c->used, log->info.block);

	w->chunk = NULL;
	for (unsigned i = 0; i < c->nr; i++) {
		const struct chunk_record *r = &c->records[i];

		record_seal(c->seg, c->offset + r->at, (struct log_header *)(buf + r->at), r->owner,
			r->codec, r->len);
	}
	memset(buf + c->used, 0, len - c->used);
	c->io.len = len;
	c->seg->fill += len;
	seg_extend(log, c->seg, c->seg->fill);
	w->in_flight++;
	backing_submit(w->queue, &c->io, 1);
}

/* Another chunk, with room for a record of `size` bytes. 0, or -1 with errno. */
static int chunk_begin(struct log_writer *w, uint32_t size)
{
	struct log *log = w->log;
	struct chunk *c;

	while (!w->unused)
		collect(w, true);
	if (w->seg && seg_size(log) - w->seg->fill < round_up(size, log->info.block)) {
		seg_close(log, w->seg);
		w->seg = NULL;
	}
	if (!w->seg)
		w->seg = seg_take(log, w->cleaner);
	if (!w->seg) {
		errno = ENOSPC;
		return -1;
	}
	c = w->unused;
	w->unused = c->next;
	c->seg = w->seg;
	seg_pin(c->seg);
	c->offset = seg_offset(log, c->seg) + c->seg->fill;
	c->room = min_u64(log->chunk, seg_size(log) - c->seg->fill);
	c->used = 0;
	c->nr = 0;
	c->io.op = BACKING_WRITE;
	c->io.offset = c->offset;
	c->io.opaque = c;
	w->chunk = c;
	return 0;
}

/* --- what callers call --- */

static bool has_room(const struct log_writer *w, uint32_t len)
{
	const struct chunk *c = w->chunk;

	return c && c->nr < LOG_CHUNK_RECORDS && c->used + LOG_RECORD(len) <= c->room;
}

static int reserve(struct log_writer *w, uint32_t len)
{
	if (!len || len > LOG_MAX_LEN) {
		errno = EINVAL;
		return -1;
	}
	if (has_room(w, len))
		return 0;
	if (w->chunk)
		chunk_send(w);
	if (atomic_load(&w->log->stopped)) {
		errno = ESHUTDOWN;
		return -1;
	}
	collect(w, false);
	return chunk_begin(w, LOG_RECORD(len));
}

int log_reserve(struct log_writer *w, uint32_t len)
{
	int ret;

	USE_SCOPE(w);
	ret = reserve(w, len);
	w->reserved = ret == 0;
	return ret;
}

int log_append(struct log_writer *w, uint64_t owner, unsigned codec, uint64_t cookie,
	const void *bytes, uint32_t len)
{
	struct chunk_record *r;
	struct chunk *c;
	unsigned char *p;

	if (owner > LOG_MAX_OWNER || codec > LOG_MAX_CODEC) {
		errno = EINVAL;
		return -1;
	}
	USE_SCOPE(w);
	if (reserve(w, len) == -1)
		return -1;
	w->reserved = false;
	c = w->chunk;
	p = (unsigned char *)c->io.buf + c->used;
	r = &c->records[c->nr++];
	*r = (struct chunk_record){
		.owner = owner, .cookie = cookie, .at = c->used, .len = len, .codec = codec
	};
	memcpy(p + sizeof(struct log_header), bytes, len);
	memset(p + sizeof(struct log_header) + len, 0, LOG_RECORD(len) - 12 - len);
	c->used += LOG_RECORD(len);
	return 0;
}

void log_flush(struct log_writer *w)
{
	USE_SCOPE(w);
	w->reserved = false;
	if (w->chunk && w->chunk->nr)
		chunk_send(w);
	collect(w, false);
}

void log_push(struct log_writer *w)
{
	USE_SCOPE(w);
	w->reserved = false;
	if (w->chunk && w->chunk->used >= 8 * w->log->info.block) /* half of one, on average */
		chunk_send(w);
	collect(w, false);
}

int log_commit(struct log_writer *w)
{
	int err;

	USE_SCOPE(w);
	w->reserved = false;
	if (w->chunk && w->chunk->nr)
		chunk_send(w);
	while (w->in_flight)
		collect(w, true);
	err = w->error;
	w->error = 0;
	if (!err)
		return 0;
	errno = err;
	return -1;
}

void log_writers_tidy(struct log *log)
{
	struct segment *tidy[16];
	unsigned nr = 0;

	pthread_mutex_lock(&log->lock);
	for (struct log_writer *w = log->writers; w && nr < ARRAY_SIZE(tidy); w = w->next) {
		if (!try_use(w))
			continue;
		/* Nothing but the writer's own pin. */
		if (w->seg && w->seg->fill && !w->reserved && !w->in_flight &&
			(!w->chunk || !w->chunk->nr) &&
			atomic_load(&w->seg->refs) == SEG_PIN * (w->chunk ? 2 : 1)) {
			tidy[nr++] = w->seg;
			w->seg->state = SEG_CLOSED;
			w->seg = NULL;
			/* An empty chunk of it is one to be begun anew. */
			if (w->chunk) {
				atomic_fetch_sub(&w->chunk->seg->refs, SEG_PIN);
				w->chunk->seg = NULL;
				w->chunk->next = w->unused;
				w->unused = w->chunk;
				w->chunk = NULL;
			}
		}
		unuse(&w);
	}
	pthread_mutex_unlock(&log->lock);
	while (nr)
		seg_put(log, tidy[--nr], SEG_PIN);
}

/* --- life --- */

static void writer_free(struct log_writer *w)
{
	for (unsigned i = 0; i < w->nr_chunks; i++) {
		free(w->chunks[i]->io.buf);
		free(w->chunks[i]);
	}
	free(w->chunks);
	if (w->queue)
		backing_queue_put(w->queue);
	free(w);
}

static int add_chunk(struct log_writer *w)
{
	struct chunk *c = backing_alloc(sizeof(*c), true);
	void *buf = backing_alloc(w->log->chunk, true);

	if (!c || !buf) {
		free(c);
		free(buf);
		return -1;
	}
	memset(c, 0, sizeof(*c));
	c->io.buf = buf;
	c->next = w->unused;
	w->unused = c;
	w->chunks[w->nr_chunks++] = c;
	return 0;
}

struct log_writer *log_writer_new(
	struct log *log, const struct log_writer_config *config, bool cleaner)
{
	unsigned n = config->chunks ?: 8;
	struct log_writer *w;

	if (n > BACKING_DEPTH) {
		errno = EINVAL;
		return NULL;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->log = log;
	w->config = *config;
	w->cleaner = cleaner;
	w->queue = backing_queue_get(log->backing);
	w->chunks = calloc(n, sizeof(*w->chunks));
	if (!w->queue || !w->chunks)
		goto failed;
	while (w->nr_chunks < n)
		if (add_chunk(w) == -1)
			goto failed;
	pthread_mutex_lock(&log->lock);
	w->next = log->writers;
	log->writers = w;
	pthread_mutex_unlock(&log->lock);
	return w;
failed:
	writer_free(w);
	errno = ENOMEM;
	return NULL;
}

struct log_writer *log_writer_create(struct log *log, const struct log_writer_config *config)
{
	return log_writer_new(log, config, false);
}

void log_writer_destroy(struct log_writer *w)
{
	struct log *log = w->log;
	struct log_writer **at;

	log_commit(w);
	pthread_mutex_lock(&log->lock);
	for (at = &log->writers; *at != w; at = &(*at)->next)
		;
	*at = w->next;
	pthread_mutex_unlock(&log->lock);
	if (w->chunk)
		chunk_release(w, w->chunk);
	w->chunk = NULL;
	if (w->seg)
		seg_close(log, w->seg);
	writer_free(w);
}
