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
 *    that are stopped and started again; in some, an accelerator with faults of all kinds, that is
 *    reset, unplugged and plugged, and other disks that use it (stress-device.h).
 * Calls that lie between a step's parts pause at random (perturb.h).
 * Usage: test-disk-stress [STEPS-PER-THREAD [SEED]]; with $UZRAM_TEST_SECONDS again and again,
 * with other seeds, until it has used so many seconds of CPU.
 */
#include <stdio.h>
#include <time.h>

#include "perturb.h"
#include "plugin/disk_priv.h"
#include "stress-device.h"

#ifdef __SANITIZE_THREAD__
#define STEPS 1500 /* each takes several times as long */
#else
#define STEPS 6000
#endif

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
	struct device device;
};

static struct disk *disk;
static uint64_t steps = STEPS, seed0 = 1;
static bool limited, restarts, alone, device;
static _Atomic bool stop;
static _Atomic uint64_t refused;

/* --- content --- */

void page_make(uint64_t *p, uint64_t index, uint64_t seed)
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

static void start_workers(unsigned workers)
{
	struct uz_error e;

	if (drain_start(workers, false, &e) == -1)
		DIE("%s", e.text);
	if (device)
		device_start();
}

static void stop_workers(void)
{
	if (device)
		device_stop();
	drain_stop();
}

static void *restart(void *opaque)
{
	uint64_t rng = seed0 * 31 + 7;

	while (!stop) {
		usleep(next(&rng) % 4000);
		stop_workers();
		usleep(next(&rng) % 1000);
		start_workers(1 + next(&rng) % 4);
	}
	return NULL;
}

static void threads_run(void)
{
	static struct worker workers[NR_THREADS];
	pthread_t threads[NR_THREADS], keeper, verifier, restarter;

	stop = false;
	refused = 0;
	if (device)
		device_trouble(seed0);
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
		.batch = run->batch,
		.managed = run->device.profile };
	struct uz_error e;

	device_configure(&run->device);
	zcomp_parse(run->spec, &config.algorithm, &config.level, e.text, sizeof(e.text));
	disk = disk_create(&config, &e);
	if (!disk)
		DIE("%s", e.text);
	limited = run->limit;
	restarts = run->restarts;
	alone = run->alone;
	device = run->device.profile;
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

static void report_device(const struct run *run)
{
	struct device_counts counts = device_counts();
	struct disk_stat st;

	disk_get_stat(disk, &st);
	printf("\t%s: %lu managed, %lu fallen back; %lu accepted, %lu refused, %lu faults, %lu "
	       "aborted, %lu resets, failed %lu times; %lu disks beside\n",
		run->device.profile, (unsigned long)st.streams.managed,
		(unsigned long)st.streams.fallback, (unsigned long)counts.accepted,
		(unsigned long)counts.busy, (unsigned long)counts.faults,
		(unsigned long)counts.aborted, (unsigned long)counts.resets,
		(unsigned long)counts.failed, (unsigned long)counts.disks);
	if (!st.streams.managed || !st.streams.fallback)
		DIE("%s: the device was not used, or always", run->spec);
	if (!counts.faults || !counts.resets || !counts.disks)
		DIE("%s: the device had no trouble", run->spec);
	if (st.streams.batch_pages > st.streams.managed + st.streams.percpu && !restarts)
		DIE("%s: fewer pages were compressed than taken", run->spec);
}

static void check_empty(const struct run *run, const char *after)
{
	struct disk_stat st;

	disk_settle(disk);
	disk_get_stat(disk, &st);
	if (st.limit_used || st.mm.mem_used_total || st.mm.orig_data_size || st.mm.huge_pages ||
		st.stage.pages || !disk_check(disk))
		DIE("%s: not empty after %s", run->spec, after);
}

/* With workers and a device in the middle of it. */
static void reset_full(const struct run *run)
{
	uint64_t page[PAGE_SIZE / 8];

	for (uint64_t i = 0; i < NR_PAGES; i++) {
		page_make(page, i, seed0 + i);
		write_ok(disk_write(disk, page, PAGE_SIZE, i * PAGE_SIZE, false));
	}
	disk_reset(disk);
	stop_workers();
	check_empty(run, "a reset");
}

static void run_one(const struct run *run)
{
	make_disk(run);
	if (run->stage)
		start_workers(run->workers);
	threads_run();
	if (device)
		device_calm();
	disk_flush(disk);
	stop_workers();
	if (!disk_check(disk))
		DIE("%s: the disk's counters or structures do not add up", run->spec);
	report(run);
	if (device)
		report_device(run);
	if (disk_trim(disk, DISK_BYTES, 0) == -1)
		DIE("trim: %s", strerror(errno));
	check_empty(run, "trimming everything");
	if (run->stage) {
		start_workers(run->workers);
		reset_full(run);
	}
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
		{ .spec = "lz4", .stage = 1024, .batch = 32, .workers = 2,
			.device = { .profile = "iaa", .transport = ACCEL_MSGRING, .depth = 128 } },
		{ .spec = "lz4", .stage = 64, .batch = 8, .workers = 1,
			.device = { .profile = "mobile", .transport = ACCEL_EVENTFD, .depth = 16 } },
		{ .spec = "deflate:1", .stage = 256, .batch = 256, .workers = 1,
			.device = { .profile = "hisi", .transport = ACCEL_INLINE, .depth = 64,
				.verify = true } },
		{ .spec = "lz4", .limit = 600 << 10, .stage = 128, .batch = 8, .workers = 2,
			.device = { .profile = "swthread", .transport = ACCEL_MSGRING, .depth = 32 } },
		{ .spec = "lz4", .stage = 512, .batch = 32, .workers = 2, .restarts = true,
			.device = { .profile = "qat", .transport = ACCEL_EVENTFD, .depth = 64,
				.restarts = true } },
	};
	const char *seconds = getenv("UZRAM_TEST_SECONDS");

	if (argc > 1)
		steps = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		seed0 = strtoull(argv[2], NULL, 0);
	setvbuf(stdout, NULL, _IOLBF, 0); /* abort() flushes nothing */
	do {
		perturb_seed(seed0);
		for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
			run_one(&runs[i]);
		seed0++;
	} while (seconds && clock() / CLOCKS_PER_SEC < atol(seconds));
	return 0;
}
