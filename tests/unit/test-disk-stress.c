/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads on one disk at once, each able to tell a wrong byte.
 *  - Whole pages, written, trimmed and read by everybody: each says its index and is filled
 *    from a seed, so a torn page, or another page's, shows.
 *  - Pages cut into one lane a thread: each thread writes its lane alone, by partial writes,
 *    and must find what it wrote last; a lost read-modify-write shows.
 *  - Pages that one thread alone writes, as a whole: it must find what it wrote last, and after a
 *    flush none of them may still be staged.
 *  - Compaction, verification, extents and statistics run beside them, and, in some runs, workers
 *    that are stopped and started again.
 * Calls that lie between a step's parts (the linker's --wrap) pause at random, so that others get
 * in between more often than they would by themselves.
 * Usage: test-disk-stress [STEPS-PER-THREAD [SEED]]; with $UZRAM_TEST_SECONDS again and again,
 * with other seeds, until it has used so many seconds of CPU.
 */
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "plugin/disk_priv.h"

#define NR_THREADS  8
#define NR_PAGES    1500
#define LANE_PAGES  40
#define LANE_BYTES  (PAGE_SIZE / NR_THREADS)
#define OWN_PAGES   24 /* of each thread */
#define LANES_START ((uint64_t)NR_PAGES * PAGE_SIZE)
#define OWN_START   (LANES_START + LANE_PAGES * PAGE_SIZE)
#define DISK_BYTES  (OWN_START + NR_THREADS * OWN_PAGES * PAGE_SIZE)

/* What a run is about. */
struct run {
	const char *spec;
	uint64_t limit;	  /* bytes, 0: none */
	unsigned stage;	  /* pages, 0: write=through */
	unsigned batch, workers;
	bool restarts; /* workers come and go */
	bool alone;    /* writers may be told to compress for themselves, as there are so many */
};

static struct disk *disk;
static uint64_t steps = 6000, seed0 = 1;
static bool limited, restarts, alone;
static _Atomic bool stop;
static _Atomic uint64_t refused;

#define DIE(...)                                                                                   \
	do {                                                                                       \
		fprintf(stderr, "test-disk-stress: " __VA_ARGS__);                                 \
		fputc('\n', stderr);                                                               \
		abort();                                                                           \
	} while (0)

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

/* --- pauses --- */

static void perturb(void)
{
	static _Thread_local uint64_t s;
	unsigned what;

	if (!s)
		s = (uint64_t)(uintptr_t)&s * 0x9e3779b97f4a7c15 + seed0;
	what = next(&s) % 512;
	if (what == 0)
		usleep(next(&s) % 300);
	else if (what < 16)
		sched_yield();
}

#define WRAP(type, name, params, args)                                                             \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		perturb();                                                                         \
		return __real_##name args;                                                         \
	}

WRAP(int, zcomp_compress, (struct zcomp *c, struct zcomp_strm *z, const void *src, size_t *len),
	(c, z, src, len))
WRAP(void, zcomp_compress_batch,
	(struct zcomp *c, struct zcomp_strm *z, struct zcomp_page *pages, unsigned n),
	(c, z, pages, n))
WRAP(zhandle_t, zpool_alloc, (struct zpool *pool, size_t size, uint64_t owner), (pool, size, owner))
WRAP(void, zpool_free, (struct zpool *pool, zhandle_t handle), (pool, handle))
WRAP(unsigned, stage_push, (struct stage *stage, const uint64_t *index, unsigned n),
	(stage, index, n))
WRAP(void, stage_done, (struct stage *stage, const struct stage_entry *e, unsigned n), (stage, e, n))

/* --- content --- */

/* First 8 bytes: index; next 8: seed; the rest follows, of a compressibility it chooses. */
static void page_make(uint64_t *p, uint64_t index, uint64_t seed)
{
	uint64_t s = seed, rich = seed % 5;

	p[0] = index + 1;
	p[1] = seed;
	for (unsigned i = 2; i < PAGE_SIZE / 8; i++)
		p[i] = rich == 0 ? seed : i % (rich * 2) ? seed + i % 9 : next(&s);
}

static void page_check(const uint64_t *p, uint64_t index)
{
	uint64_t want[PAGE_SIZE / 8] = { 0 };

	if (p[0])
		page_make(want, index, p[1]);
	if (memcmp(p, want, PAGE_SIZE))
		DIE("page %lu is torn or another's: %lx %lx", (unsigned long)index,
			(unsigned long)p[0], (unsigned long)p[1]);
}

static void write_ok(int ret)
{
	if (ret == 0)
		return;
	if (errno != ENOSPC || !limited)
		DIE("write: %s", strerror(errno));
	refused++;
}

static void page_step(uint64_t *rng)
{
	uint64_t buf[8 * PAGE_SIZE / 8];
	uint64_t index = next(rng) % (NR_PAGES - 8), n = 1 + next(rng) % 8;

	switch (next(rng) % 8) {
	case 0:
	case 1:
	case 2:
		for (uint64_t i = 0; i < n; i++)
			page_make(buf + i * PAGE_SIZE / 8, index + i, next(rng) | 1);
		write_ok(disk_write(disk, buf, n * PAGE_SIZE, index * PAGE_SIZE,
			next(rng) % 8 == 0));
		break;
	case 3:
		if (disk_trim(disk, n * PAGE_SIZE, index * PAGE_SIZE) == -1)
			DIE("trim: %s", strerror(errno));
		break;
	default:
		if (disk_read(disk, buf, n * PAGE_SIZE, index * PAGE_SIZE) == -1)
			DIE("read: %s", strerror(errno));
		for (uint64_t i = 0; i < n; i++)
			page_check(buf + i * PAGE_SIZE / 8, index + i);
	}
}

struct worker {
	unsigned id;
	unsigned char lane[LANE_PAGES][LANE_BYTES];
	uint64_t own[OWN_PAGES]; /* seeds; 0: empty */
};

static void lane_step(struct worker *w, uint64_t *rng)
{
	unsigned page = next(rng) % LANE_PAGES, at = next(rng) % LANE_BYTES;
	unsigned len = 1 + next(rng) % (LANE_BYTES - at);
	uint64_t offset = LANES_START + page * PAGE_SIZE + w->id * LANE_BYTES + at;
	unsigned char buf[LANE_BYTES];

	if (next(rng) % 3) {
		if (disk_read(disk, buf, len, offset) == -1)
			DIE("read: %s", strerror(errno));
		if (memcmp(buf, w->lane[page] + at, len))
			DIE("lane %u of page %u: a write was lost", w->id, page);
		return;
	}
	memset(buf, (int)next(rng), len);
	if (next(rng) % 4 == 0) {
		memset(buf, 0, len);
		if (disk_trim(disk, len, offset) == -1) {
			write_ok(-1);
			return;
		}
	} else if (disk_write(disk, buf, len, offset, next(rng) % 8 == 0) == -1) {
		write_ok(-1);
		return;
	}
	memcpy(w->lane[page] + at, buf, len);
}

static bool is_staged(uint64_t index)
{
	struct table_ref ref;
	bool staged;

	if (!table_get(disk->table, index, false, &ref))
		return false;
	staged = slot_peek(table_slot(&ref, index)) & SLOT_STAGED;
	table_put(disk->table, &ref, 0);
	return staged;
}

static void own_check(struct worker *w, unsigned i, uint64_t index)
{
	uint64_t want[PAGE_SIZE / 8] = { 0 }, got[PAGE_SIZE / 8];

	if (w->own[i])
		page_make(want, index, w->own[i]);
	if (disk_read(disk, got, PAGE_SIZE, index * PAGE_SIZE) == -1)
		DIE("read: %s", strerror(errno));
	if (memcmp(want, got, PAGE_SIZE))
		DIE("page %lu of thread %u is not what was written last: %lx %lx, not %lx %lx",
			(unsigned long)index, w->id, (unsigned long)got[0], (unsigned long)got[1],
			(unsigned long)want[0], (unsigned long)want[1]);
}

static void own_step(struct worker *w, uint64_t *rng)
{
	unsigned i = next(rng) % OWN_PAGES;
	uint64_t first = OWN_START / PAGE_SIZE + w->id * OWN_PAGES, index = first + i;
	uint64_t page[PAGE_SIZE / 8], seed;
	bool fua;

	switch (next(rng) % 8) {
	case 0:
		disk_flush(disk);
		for (i = 0; !restarts && i < OWN_PAGES; i++)
			if (is_staged(first + i))
				DIE("page %lu is staged after a flush", (unsigned long)(first + i));
		break;
	case 1:
		if (disk_trim(disk, PAGE_SIZE, index * PAGE_SIZE) == -1)
			DIE("trim: %s", strerror(errno));
		w->own[i] = 0;
		break;
	case 2:
	case 3:
	case 4:
		seed = next(rng) | 1;
		fua = next(rng) % 8 == 0;
		page_make(page, index, seed);
		if (disk_write(disk, page, PAGE_SIZE, index * PAGE_SIZE, fua) == -1) {
			write_ok(-1);
			break;
		}
		w->own[i] = seed;
		if (fua && is_staged(index))
			DIE("page %lu is staged after FUA", (unsigned long)index);
		break;
	default:
		own_check(w, i, index);
	}
}

static void *work(void *opaque)
{
	struct worker *w = opaque;
	uint64_t rng = seed0 * 1000003 + w->id * 7919 + 1;

	for (uint64_t i = 0; i < steps; i++) {
		switch (next(&rng) % 4) {
		case 0:
			own_step(w, &rng);
			break;
		case 1:
			page_step(&rng);
			break;
		default:
			lane_step(w, &rng);
		}
		perturb();
	}
	return NULL;
}

static int no_extent(void *opaque, uint64_t offset, uint64_t length, bool hole)
{
	uint64_t *at = opaque;

	if (offset != *at || !length)
		DIE("extents are not contiguous");
	*at += length;
	return 0;
}

static void *upkeep(void *opaque)
{
	while (!stop) {
		struct disk_stat st;
		uint64_t at = 0;

		disk_compact(disk, NULL, NULL);
		disk_get_stat(disk, &st);
		disk_extents(disk, DISK_BYTES, 0, false, no_extent, &at);
		usleep(200);
		disk_settle(disk);
		if (!alone) {
			atomic_store(&disk->alone, 0);
			atomic_store(&disk->alone_until, 0);
			stage_allow(&disk->stage, disk->stage.max);
		}
	}
	return NULL;
}

static void *verify(void *opaque)
{
	while (!stop) {
		uint64_t pages, bad, next;
		struct disk_block blocks[64];

		disk_verify(disk, &pages, &bad, NULL, NULL);
		if (bad)
			DIE("%lu of %lu pages do not decode", (unsigned long)bad, (unsigned long)pages);
		disk_blocks(disk, 0, DISK_BYTES / PAGE_SIZE - 1, blocks, ARRAY_SIZE(blocks), &next);
		usleep(500);
	}
	return NULL;
}

static void start_drain(unsigned workers)
{
	struct uz_error e;

	if (drain_start(workers, false, &e) == -1)
		DIE("%s", e.text);
}

static void *restart(void *opaque)
{
	uint64_t rng = seed0 * 31 + 7;

	while (!stop) {
		usleep(next(&rng) % 4000);
		drain_stop();
		usleep(next(&rng) % 1000);
		start_drain(1 + next(&rng) % 4);
	}
	return NULL;
}

static void threads_run(void)
{
	static struct worker workers[NR_THREADS];
	pthread_t threads[NR_THREADS], keeper, verifier, restarter;

	stop = false;
	refused = 0;
	memset(workers, 0, sizeof(workers));
	for (unsigned i = 0; i < NR_THREADS; i++) {
		workers[i].id = i;
		pthread_create(&threads[i], NULL, work, &workers[i]);
	}
	pthread_create(&keeper, NULL, upkeep, NULL);
	pthread_create(&verifier, NULL, verify, NULL);
	if (restarts)
		pthread_create(&restarter, NULL, restart, NULL);
	for (unsigned i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	stop = true;
	pthread_join(keeper, NULL);
	pthread_join(verifier, NULL);
	if (restarts)
		pthread_join(restarter, NULL);
	for (unsigned t = 0; t < NR_THREADS; t++)
		for (unsigned i = 0; i < OWN_PAGES; i++)
			own_check(&workers[t], i,
				OWN_START / PAGE_SIZE + workers[t].id * OWN_PAGES + i);
}

static void make_disk(const struct run *run)
{
	struct disk_config config = { .size = DISK_BYTES,
		.mem_limit = run->limit,
		.through = !run->stage,
		.stage = run->stage * PAGE_SIZE,
		.batch = run->batch };
	struct uz_error e;

	zcomp_parse(run->spec, &config.algorithm, &config.level, e.text, sizeof(e.text));
	disk = disk_create(&config, &e);
	if (!disk)
		DIE("%s", e.text);
	limited = run->limit;
	restarts = run->restarts;
	alone = run->alone;
}

static void report(const struct run *run)
{
	struct disk_stat st;

	disk_get_stat(disk, &st);
	printf("%s limit %lu: %lu bytes in %lu, %lu refused, %lu pages compacted\n", run->spec,
		(unsigned long)run->limit, (unsigned long)st.mm.orig_data_size,
		(unsigned long)st.mm.compr_data_size, (unsigned long)refused,
		(unsigned long)st.mm.pages_compacted);
	if (run->stage)
		printf("\tstage %u: %lu batches of %lu pages, %lu coalesced, %lu direct, %lu raw, "
		       "%lu staged at most\n",
			run->stage, (unsigned long)st.streams.batches,
			(unsigned long)st.streams.batch_pages, (unsigned long)st.stage.coalesced,
			(unsigned long)st.stage.direct, (unsigned long)st.streams.raw,
			(unsigned long)st.stage.pages_max);
	if (run->limit && !refused)
		DIE("%s: the limit was never reached", run->spec);
	if (run->stage && (!st.stage.coalesced || !st.streams.batches))
		DIE("%s: the stage was not used", run->spec);
	if (run->stage && run->stage <= 16 && !st.stage.direct)
		DIE("%s: the stage was never full", run->spec);
}

static void run_one(const struct run *run)
{
	struct disk_stat st;

	make_disk(run);
	if (run->stage)
		start_drain(run->workers);
	threads_run();
	disk_flush(disk);
	drain_stop();
	if (!disk_check(disk))
		DIE("%s: the disk's counters or structures do not add up", run->spec);
	report(run);
	if (disk_trim(disk, DISK_BYTES, 0) == -1)
		DIE("trim: %s", strerror(errno));
	disk_settle(disk);
	disk_get_stat(disk, &st);
	if (st.limit_used || st.mm.mem_used_total || st.mm.orig_data_size || st.mm.huge_pages ||
		st.stage.pages || !disk_check(disk))
		DIE("%s: not empty after trimming everything", run->spec);
	disk_destroy(disk);
}

int main(int argc, char **argv)
{
	static const struct run runs[] = {
		{ .spec = "lz4" },
		{ .spec = "zstd:1" },
		{ .spec = "lz4", .limit = 600 << 10 },
		{ .spec = "lz4", .stage = 1024, .batch = 32, .workers = 2 },
		{ .spec = "lz4", .stage = 2048, .batch = 32, .workers = 2, .alone = true },
		{ .spec = "lz4", .stage = 16, .batch = 3, .workers = 4 }, /* full all the time */
		{ .spec = "zstd:1", .stage = 256, .batch = 256, .workers = 1 },
		{ .spec = "lz4", .limit = 600 << 10, .stage = 128, .batch = 8, .workers = 3 },
		{ .spec = "lz4", .stage = 512, .batch = 32, .workers = 2, .restarts = true },
	};
	const char *seconds = getenv("UZRAM_TEST_SECONDS");

	if (argc > 1)
		steps = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		seed0 = strtoull(argv[2], NULL, 0);
	do {
		for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
			run_one(&runs[i]);
		seed0++;
	} while (seconds && clock() / CLOCKS_PER_SEC < atol(seconds));
	return 0;
}
