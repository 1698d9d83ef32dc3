/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads on one disk at once, each able to tell a wrong byte.
 *  - Whole pages, written, trimmed and read by everybody: each says its index and is filled
 *    from a seed, so a torn page, or another page's, shows.
 *  - Pages cut into one lane a thread: each thread writes its lane alone, by partial writes,
 *    and must find what it wrote last; a lost read-modify-write shows.
 *  - Compaction, extents and statistics run beside them.
 * Usage: test-disk-stress [STEPS-PER-THREAD [SEED]].
 */
#include <stdio.h>

#include "plugin/disk_priv.h"

#define NR_THREADS  8
#define NR_PAGES    1500
#define LANE_PAGES  40
#define LANE_BYTES  (PAGE_SIZE / NR_THREADS)
#define LANES_START ((uint64_t)NR_PAGES * PAGE_SIZE)
#define DISK_BYTES  (LANES_START + LANE_PAGES * PAGE_SIZE)

static struct disk *disk;
static uint64_t steps = 20000, seed0 = 1;
static bool limited;
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
		write_ok(disk_write(disk, buf, n * PAGE_SIZE, index * PAGE_SIZE, false));
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
	} else if (disk_write(disk, buf, len, offset, false) == -1) {
		write_ok(-1);
		return;
	}
	memcpy(w->lane[page] + at, buf, len);
}

static void *work(void *opaque)
{
	struct worker *w = opaque;
	uint64_t rng = seed0 * 1000003 + w->id * 7919 + 1;

	for (uint64_t i = 0; i < steps; i++) {
		if (next(&rng) % 2)
			lane_step(w, &rng);
		else
			page_step(&rng);
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
	}
	return NULL;
}

static void run(const char *spec, uint64_t limit)
{
	static struct worker workers[NR_THREADS];
	struct disk_config config = { .size = DISK_BYTES, .mem_limit = limit };
	pthread_t threads[NR_THREADS], keeper;
	struct disk_stat st;
	struct uz_error e;

	zcomp_parse(spec, &config.algorithm, &config.level, e.text, sizeof(e.text));
	disk = disk_create(&config, &e);
	if (!disk)
		DIE("%s", e.text);
	limited = limit;
	stop = false;
	refused = 0;
	memset(workers, 0, sizeof(workers));
	for (unsigned i = 0; i < NR_THREADS; i++) {
		workers[i].id = i;
		pthread_create(&threads[i], NULL, work, &workers[i]);
	}
	pthread_create(&keeper, NULL, upkeep, NULL);
	for (unsigned i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	stop = true;
	pthread_join(keeper, NULL);
	if (!disk_check(disk))
		DIE("%s: the disk's counters or structures do not add up", spec);
	disk_get_stat(disk, &st);
	printf("%s limit %lu: %lu bytes in %lu, %lu refused, %lu pages compacted\n", spec,
		(unsigned long)limit, (unsigned long)st.mm.orig_data_size,
		(unsigned long)st.mm.compr_data_size, (unsigned long)refused,
		(unsigned long)st.mm.pages_compacted);
	if (limit && !refused)
		DIE("%s: the limit was never reached", spec);
	if (disk_trim(disk, DISK_BYTES, 0) == -1)
		DIE("trim: %s", strerror(errno));
	disk_get_stat(disk, &st);
	if (st.limit_used || st.mm.mem_used_total || st.mm.orig_data_size || !disk_check(disk))
		DIE("%s: not empty after trimming everything", spec);
	disk_destroy(disk);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		steps = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		seed0 = strtoull(argv[2], NULL, 0);
	run("lz4", 0);
	run("zstd:1", 0);
	run("lz4", 600 << 10);
	return 0;
}
