/* SPDX-License-Identifier: BSD-3-Clause */
/* See offload.h. */
#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "accel_sim/accel.h"
#include "drain_priv.h"
#include "offload.h"
#include "swap.h"

#define SUBMITTERS_MAX 12
#define REAP	       64

/* Tokens behind the software workers': one for each stream of each submitter. */
#define TOKEN_FIRST batch_token(DRAIN_WORKERS_MAX)
#define TOKEN_END   (SLOT_TOKEN >> SLOT_TOKEN_SHIFT)

/* What a stream is out for. */
struct out {
	struct drain_client *client; /* NULL: it is not out */
	struct stage_entry entry;
	unsigned codec;
};

struct submitter {
	pthread_t thread;
	unsigned nr, depth;
	uint32_t token; /* of stream 0; and one more than there are streams, for software */
	struct zcomp_queue *queue;
	struct out *outs;  /* by stream */
	unsigned in_flight;
	unsigned refill; /* streams that must be free, for a batch */
	unsigned turn;
	/* What a small batch costs this thread, ns of CPU, running means: */
	uint64_t page_ns; /* in software, a page */
	uint64_t trip_ns; /* by an idle device, from submission until all is published */
	uint64_t trip_since;
	bool trip;	  /* one is being measured */
	bool bypass;	  /* software does this batch, as that is cheaper */
	unsigned tries;	  /* small batches since the last trip */
	_Atomic bool full; /* no stream is free, and pages wait */
};

static struct submitter submitters[SUBMITTERS_MAX];
static unsigned nr_submitters;
static _Atomic bool running;
static _Atomic unsigned ready; /* that have a queue */
static sem_t started;

struct crew offload_crew;

bool offload_on(void)
{
	return atomic_load_explicit(&ready, memory_order_relaxed) && zcomp_accel_on();
}

bool offload_full(void)
{
	unsigned n = atomic_load_explicit(&ready, memory_order_relaxed), full = 0;

	for (unsigned i = 0; i < n; i++)
		full += atomic_load_explicit(&submitters[i].full, memory_order_relaxed);
	return n && full == n;
}

/* --- does a small batch pay? --- */

#define SMALL	   16 /* pages: larger batches are never held back, nor measured */
#define TRIP_EVERY 32 /* small batches: the device may be quicker by now */

static void mean(uint64_t *mean, uint64_t value)
{
	*mean = *mean ? (*mean * 7 + value) / 8 : value;
}

/*
 * A batch for an idle device costs a wake-up of it and one of ours, whatever its size: below so
 * many pages software is cheaper. Both are measured here, not assumed; the first batches go either way.
 */
static bool is_too_small(struct submitter *s, unsigned pages)
{
	if (s->in_flight || pages > SMALL)
		return false;
	if (!s->page_ns)
		return true;
	if (!s->trip_ns || ++s->tries >= TRIP_EVERY)
		return false;
	return pages * s->page_ns < s->trip_ns;
}

/* --- one page, when its stream is back --- */

/* On a per-CPU stream; the page is still at local_copy. */
static void finish_in_software(const struct submitter *s, struct page_io *io, const struct out *out,
	uint32_t token, struct zcomp_strm *managed)
{
	struct zcomp *comp = io->disk->codecs[out->codec];
	struct zcomp_strm *zstrm = zcomp_stream_get(comp, ZSTRM_DEFAULT);
	size_t len = 0;

	if (zcomp_compress(comp, zstrm, managed->local_copy, &len) != 0 || too_large(len))
		len = 0;
	io->counts[C_PERCPU]++;
	io->counts[C_FALLBACK] += !s->bypass;
	if (io_leaf(io, out->entry.index))
		page_finish(io, out->entry.index, token, out->codec, zstrm->buffer, len);
	zcomp_stream_put(zstrm);
}

static void finish(struct submitter *s, struct page_io *io, struct zcomp_strm *zstrm)
{
	const struct out *out = &s->outs[zstrm->nr];
	uint32_t token = s->token + zstrm->nr;
	bool fits = zstrm->result == 0 && !too_large(zstrm->dst_len);

	if (zstrm->result != 0 && zstrm->result != -ENOSPC) {
		finish_in_software(s, io, out, token, zstrm);
		return;
	}
	io->counts[C_MANAGED]++;
	if (io_leaf(io, out->entry.index))
		page_finish(io, out->entry.index, token, out->codec, zstrm->buffer,
			fits ? zstrm->dst_len : 0);
}

/* Streams of one disk, its entries done, the streams free again. */
static void finish_all(struct submitter *s, struct zcomp_strm **zstrms, unsigned n)
{
	struct drain_client *client = s->outs[zstrms[0]->nr].client;
	struct page_io io = io_begin(client->disk, uz_nsec());
	struct stage_entry entries[REAP];

	for (unsigned i = 0; i < n; i++) {
		struct out *out = &s->outs[zstrms[i]->nr];

		finish(s, &io, zstrms[i]);
		entries[i] = out->entry;
		out->client = NULL;
		zcomp_stream_put(zstrms[i]);
	}
	io_leaf_put(&io);
	io_end(&io);
	stage_done(&client->disk->stage, entries, n);
	drain_leave(client, n);
}

static bool reap(struct submitter *s)
{
	struct zcomp_strm *zstrms[REAP];
	unsigned n = s->in_flight ? zcomp_reap(s->queue, zstrms, REAP) : 0;

	s->in_flight -= n;
	for (unsigned i = 0, from = 0; i < n; i++)
		if (i + 1 == n || s->outs[zstrms[i + 1]->nr].client !=
					  s->outs[zstrms[from]->nr].client) {
			finish_all(s, zstrms + from, i + 1 - from);
			from = i + 1;
		}
	if (n && s->trip && !s->in_flight) {
		s->trip = false;
		mean(&s->trip_ns, thread_cpu() - s->trip_since);
	}
	return n;
}

/* --- giving it work --- */

/* The disk's algorithm was changed just now to one that the device has not. */
static void do_in_software(struct submitter *s, struct page_io *io, unsigned codec,
	struct zcomp_strm *zstrm, uint64_t index)
{
	uint32_t token = s->token + s->depth;
	size_t len = 0;

	if (!page_take(io, index, token, zstrm->local_copy))
		return;
	if (zcomp_compress(zstrm->comp, zstrm, zstrm->local_copy, &len) != 0 || too_large(len))
		len = 0;
	io->counts[C_PERCPU]++;
	page_finish(io, index, token, codec, zstrm->buffer, len);
}

/* Copies the page of an entry into a stream of its own. NULL: there is nothing left to do for it. */
static struct zcomp_strm *take(struct submitter *s, struct page_io *io, unsigned codec,
	struct drain_client *client, const struct stage_entry *entry)
{
	struct zcomp_strm *zstrm;

	if (!io_leaf(io, entry->index))
		return NULL;
	zstrm = zcomp_stream_get(io->disk->codecs[codec], ZSTRM_PREFER_MGMT);
	if (!zstrm->zcomp_managed) {
		do_in_software(s, io, codec, zstrm, entry->index);
	} else if (page_take(io, entry->index, s->token + zstrm->nr, zstrm->local_copy)) {
		s->outs[zstrm->nr] =
			(struct out){ .client = client, .entry = *entry, .codec = codec };
		return zstrm;
	}
	zcomp_stream_put(zstrm);
	return NULL;
}

/* Returns how many are out of our hands: all. */
static unsigned bypass(struct submitter *s, struct zcomp_strm **zstrms, unsigned n)
{
	uint64_t since = thread_cpu();

	for (unsigned i = 0; i < n; i++)
		zstrms[i]->result = -EAGAIN;
	s->bypass = true;
	finish_all(s, zstrms, n);
	s->bypass = false;
	mean(&s->page_ns, (thread_cpu() - since) / n);
	return n;
}

/* Returns how many the device accepted. */
static unsigned send(struct submitter *s, struct zcomp_strm **zstrms, unsigned n)
{
	unsigned accepted;

	s->trip = !s->in_flight && n <= SMALL;
	if (s->trip) {
		s->tries = 0;
		s->trip_since = thread_cpu();
	}
	accepted = zcomp_submit(s->queue, zstrms, n);
	s->in_flight += accepted;
	return accepted;
}

/* n of the disk's pages. */
static void submit(struct submitter *s, struct drain_client *client, unsigned n)
{
	struct disk *disk = client->disk;
	unsigned codec = atomic_load_explicit(&disk->codec, memory_order_acquire);
	struct page_io io = io_begin(disk, uz_nsec());
	struct stage_entry entries[STAGE_BATCH_MAX];
	struct zcomp_strm *zstrms[STAGE_BATCH_MAX];
	unsigned left, got, taken = 0, skipped = 0, compressed, accepted;
	bool full;

	/* Software may have kept writers from it while the device was away. */
	if (unlikely(atomic_load_explicit(&disk->stage.allow, memory_order_relaxed) <
		     disk->stage.max))
		stage_allow(&disk->stage, disk->stage.max);
	got = stage_pop(&disk->stage, entries, n, &left);
	for (unsigned i = 0; i < got; i++) {
		zstrms[taken] = take(s, &io, codec, client, &entries[i]);
		if (zstrms[taken])
			taken++;
		else
			entries[skipped++] = entries[i];
	}
	io_leaf_put(&io);
	compressed = taken + (unsigned)io.counts[C_PERCPU]; /* some are done already */
	if (compressed)
		batch_count(&io, compressed);
	io_end(&io);
	if (skipped)
		stage_done(&disk->stage, entries, skipped);
	if (!taken)
		return;
	drain_enter(client, taken);
	accepted = is_too_small(s, taken) ? bypass(s, zstrms, taken) : send(s, zstrms, taken);
	for (unsigned i = accepted; i < taken; i++)
		zstrms[i]->result = -EAGAIN;
	for (unsigned i = accepted; i < taken; i += REAP)
		finish_all(s, zstrms + i, taken - i < REAP ? taken - i : REAP);
	full = left && zcomp_queue_free(s->queue) < n;
	atomic_store_explicit(&s->full, full, memory_order_relaxed);
	if (full)
		drain_call_help(disk, left);
}

static bool feed(struct submitter *s)
{
	unsigned room = zcomp_queue_free(s->queue), batch;
	struct drain_client *client;

	/* Else a full queue would be refilled page by page. */
	if (!zcomp_accel_on() || (s->in_flight && room < s->refill))
		return false;
	client = drain_next(DRAIN_OFFLOAD, s->turn++);
	if (!client) {
		s->turn = 0;
		atomic_store_explicit(&s->full, false, memory_order_relaxed);
		return false;
	}
	batch = atomic_load_explicit(&client->disk->batch, memory_order_relaxed);
	s->refill = batch < s->depth ? batch : s->depth;
	submit(s, client, room < batch ? room : batch);
	drain_leave(client, 1);
	return true;
}

/*
 * So many completions let a batch in; or are worth looking, as waiting for each costs as much as
 * compressing it would; or all there are.
 */
static unsigned wanted(const struct submitter *s)
{
	unsigned room = zcomp_queue_free(s->queue);
	unsigned n = room < s->refill ? s->refill - room : s->refill;

	return n < s->in_flight ? n : s->in_flight;
}

/* What it holds may take its timeout; what waits behind that is not to. */
static void await_device(struct submitter *s)
{
	struct drain_client *client;

	if (zcomp_wait(s->queue, wanted(s), NAP))
		return;
	client = drain_next(DRAIN_OFFLOAD, s->turn);
	if (!client)
		return;
	atomic_store_explicit(&s->full, true, memory_order_relaxed);
	drain_leave(client, 1);
	if (offload_full())
		drain_help_now();
}

static bool any_work(void)
{
	struct drain_client *client = drain_next(DRAIN_OFFLOAD, 0);

	if (client)
		drain_leave(client, 1);
	return client;
}

/* What is in flight at the end stays staged. */
static void drop_all(struct submitter *s)
{
	zcomp_queue_put(s->queue);
	for (unsigned i = 0; i < s->depth; i++)
		if (s->outs[i].client) {
			stage_done(&s->outs[i].client->disk->stage, &s->outs[i].entry, 1);
			drain_leave(s->outs[i].client, 1);
		}
}

static void *submitter_main(void *opaque)
{
	struct submitter *s = opaque;
	unsigned naps = 0;

	if (drain_touches())
		swap_warm_thread();
	s->queue = zcomp_queue_get();
	if (s->queue)
		atomic_fetch_add(&ready, 1);
	sem_post(&started);
	while (s->queue) {
		uint32_t bell = atomic_load(&offload_crew.bell); /* before `running`: it rings once */
		bool worked;

		if (!atomic_load(&running))
			break;
		worked = reap(s);
		worked = feed(s) || worked;
		if (worked)
			naps = 0;
		else if (s->in_flight)
			await_device(s);
		else
			crew_rest(&offload_crew, bell, &naps, any_work, drain_settle);
	}
	if (s->queue)
		drop_all(s);
	return NULL;
}

/* --- life --- */

static int start_submitter(struct submitter *s, unsigned nr, unsigned depth)
{
	char name[16];
	int err;

	memset(s, 0, sizeof(*s));
	s->nr = nr;
	s->depth = depth;
	s->token = TOKEN_FIRST + nr * (depth + 1);
	/* Not calloc(), nor what compilers make one of: it is to be touched. */
	s->outs = aligned_alloc(64, (depth * sizeof(*s->outs) + 63) / 64 * 64);
	if (!s->outs)
		return ENOMEM;
	memset(s->outs, 0, depth * sizeof(*s->outs));
	snprintf(name, sizeof(name), "uzram-accel%u", nr);
	err = crew_start(&offload_crew, &s->thread, name, submitter_main, s);
	if (err)
		free(s->outs);
	return err;
}

/* One for every few CPUs: a submitter feeds several engines. */
static unsigned choose_submitters(unsigned queues, unsigned depth)
{
	unsigned n = zcomp_nr_streams() / 4;

	n = n < 1 ? 1 : n < SUBMITTERS_MAX ? n : SUBMITTERS_MAX;
	n = n < queues ? n : queues;
	while (n > 1 && TOKEN_FIRST + n * (depth + 1) > TOKEN_END)
		n--;
	return n;
}

int offload_start(struct uz_error *e)
{
	struct accel_device *dev = zcomp_accel_ref();
	unsigned depth, queues = zcomp_accel_queues(&depth), n = choose_submitters(queues, depth);
	int err = 0;

	if (!dev)
		return 0;
	accel_close(dev);
	sem_init(&started, 0, 0);
	atomic_store(&running, true);
	for (nr_submitters = 0; !err && nr_submitters < n; nr_submitters += !err)
		err = start_submitter(&submitters[nr_submitters], nr_submitters, depth);
	for (unsigned i = 0; i < nr_submitters; i++)
		while (sem_wait(&started) == -1 && errno == EINTR)
			;
	if (!err && atomic_load(&ready) == nr_submitters)
		return 0;
	offload_stop();
	return uz_fail(e, err ? err : EBUSY, "accel: cannot start its submitters: %s",
		err ? strerror(err) : "no queue pair, or no memory for one");
}

void offload_stop(void)
{
	if (!atomic_exchange(&running, false))
		return;
	atomic_store(&ready, 0);
	crew_ring(&offload_crew, INT_MAX);
	for (unsigned i = 0; i < nr_submitters; i++) {
		pthread_join(submitters[i].thread, NULL);
		free(submitters[i].outs);
	}
	atomic_store(&offload_crew.awake, 0);
	nr_submitters = 0;
	sem_destroy(&started);
}
