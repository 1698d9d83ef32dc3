/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zpool-bench: the allocator alone. For pools of several sizes:
 *
 *	fill    ns an object to allocate and write it, into new memory
 *	churn   ns a pair of free and alloc of random objects, nothing written,
 *	        in one thread and in one thread per CPU
 *	memory  resident bytes of the process over bytes of the objects: filled;
 *	        after every object was replaced twice by one of another size, in
 *	        random order; with a random half freed; compacted
 *	compact ms to compact that half
 *
 * Object sizes follow those of LZ4 over pages of real programs, libraries and
 * text; given a file, those of its own pages.
 */
#include <config.h>

#include "zpool/zpool.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lz4.h>

#define PAGE 4096u

/* Sizes of LZ4's results for 512 MiB of /usr, at each 32nd of the pages. */
static const uint16_t quantiles[] = { 27, 453, 691, 865, 1009, 1143, 1266, 1356, 1430, 1492, 1561,
	1635, 1711, 1788, 1868, 1950, 2031, 2114, 2194, 2270, 2346, 2419, 2490, 2570, 2653, 2740,
	2833, 2938, 3058, 3187, 3312, 3496, 4096 };
#define NR_STEPS (sizeof(quantiles) / sizeof(quantiles[0]) - 1)

struct bench {
	struct zpool *pool;
	zhandle_t *handles; /* by owner; 0: freed */
	uint32_t *order;
	size_t count;
	const uint16_t *sizes; /* of the data's pages, NULL: the quantiles */
	size_t nr_sizes;
};

static void __attribute__((noreturn)) die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

static size_t random_size(const struct bench *bench, uint64_t *state)
{
	uint64_t r = next_random(state) >> 16;
	size_t step;

	if (bench->sizes)
		return bench->sizes[r % bench->nr_sizes];
	step = r % NR_STEPS;
	return quantiles[step] +
	       (r / NR_STEPS) % (uint64_t)(quantiles[step + 1] - quantiles[step] + 1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* Of the process, in bytes. */
static uint64_t resident(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	char line[256];
	uint64_t kib = 0;

	if (!f)
		die("/proc/self/smaps_rollup");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Rss: %" SCNu64, &kib) == 1)
			break;
	}
	fclose(f);
	return kib * 1024;
}

static bool move(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to)
{
	struct bench *bench = opaque;

	if (bench->handles[owner] != from)
		return false;
	memcpy(zpool_object(bench->pool, to), zpool_object(bench->pool, from),
		zpool_size(bench->pool, from));
	bench->handles[owner] = to;
	return true;
}

/* Replaces object i; writes it if told to. */
static void replace(struct bench *bench, size_t i, uint64_t *state, bool write)
{
	size_t size = random_size(bench, state);

	if (bench->handles[i])
		zpool_free(bench->pool, bench->handles[i]);
	bench->handles[i] = zpool_alloc(bench->pool, size, i);
	if (!bench->handles[i])
		die("zpool_alloc");
	if (write)
		memset(zpool_object(bench->pool, bench->handles[i]), 0x5a, size);
}

static double fill(struct bench *bench, uint64_t *state)
{
	uint64_t begin = now();

	for (size_t i = 0; i < bench->count; i++)
		replace(bench, i, state, true);
	return (double)(now() - begin) / bench->count;
}

static void shuffle(struct bench *bench, uint64_t *state)
{
	for (size_t i = bench->count - 1; i > 0; i--) {
		size_t j = next_random(state) % (i + 1);
		uint32_t t = bench->order[i];

		bench->order[i] = bench->order[j];
		bench->order[j] = t;
	}
}

struct churner {
	struct bench *bench;
	size_t first, end; /* the objects that are this thread's, in bench->order */
	uint64_t turns, state;
};

static void *churn_thread(void *arg)
{
	struct churner *c = arg;

	for (uint64_t done = 0; done < c->turns;) {
		for (size_t i = c->first; i < c->end && done < c->turns; i++, done++)
			replace(c->bench, c->bench->order[i], &c->state, false);
	}
	return NULL;
}

/* ns of a thread for a pair of free and alloc. */
static double churn(struct bench *bench, unsigned nr_threads, uint64_t turns)
{
	struct churner *churners = calloc(nr_threads, sizeof(*churners));
	pthread_t *threads = calloc(nr_threads, sizeof(*threads));
	uint64_t begin;

	if (!churners || !threads)
		die("calloc");
	begin = now();
	for (unsigned i = 0; i < nr_threads; i++) {
		churners[i] = (struct churner){ .bench = bench,
			.first = bench->count * i / nr_threads,
			.end = bench->count * (i + 1) / nr_threads,
			.turns = turns,
			.state = 88172645463325252u + i };
		if (pthread_create(&threads[i], NULL, churn_thread, &churners[i]) != 0)
			die("pthread_create");
	}
	for (unsigned i = 0; i < nr_threads; i++)
		pthread_join(threads[i], NULL);
	free(churners);
	free(threads);
	return (double)(now() - begin) / turns;
}

static double overhead(const struct bench *bench, uint64_t before)
{
	struct zpool_stats stats;

	zpool_get_stats(bench->pool, &stats);
	return (double)(resident() - before) / stats.bytes;
}

static void run(size_t count, const uint16_t *sizes, size_t nr_sizes, unsigned cpus)
{
	struct bench bench = { .count = count, .sizes = sizes, .nr_sizes = nr_sizes };
	struct zpool_config config = {
		.reserve = (uint64_t)count * PAGE * 2, .move = move, .opaque = &bench
	};
	uint64_t state = 88172645463325252u, before, begin;
	double fill_ns, filled, replaced, halved, compacted, compact_ms, one, all;

	bench.handles = malloc(count * sizeof(*bench.handles));
	bench.order = malloc(count * sizeof(*bench.order));
	if (!bench.handles || !bench.order)
		die("malloc");
	memset(bench.handles, 0, count * sizeof(*bench.handles));
	for (size_t i = 0; i < count; i++)
		bench.order[i] = i;
	before = resident();
	bench.pool = zpool_create(&config);
	if (!bench.pool)
		die("zpool_create");

	fill_ns = fill(&bench, &state);
	filled = overhead(&bench, before);
	for (int turn = 0; turn < 2; turn++) {
		shuffle(&bench, &state);
		for (size_t i = 0; i < count; i++)
			replace(&bench, bench.order[i], &state, true);
	}
	replaced = overhead(&bench, before);
	one = churn(&bench, 1, 2000000);
	all = churn(&bench, cpus, 2000000);
	/* The churn wrote nothing into its objects: as after the fill again. */
	shuffle(&bench, &state);
	for (size_t i = 0; i < count; i++)
		replace(&bench, bench.order[i], &state, true);
	shuffle(&bench, &state);
	for (size_t i = 0; i < count / 2; i++) {
		zpool_free(bench.pool, bench.handles[bench.order[i]]);
		bench.handles[bench.order[i]] = 0;
	}
	halved = overhead(&bench, before);
	begin = now();
	zpool_compact(bench.pool, NULL, NULL);
	compact_ms = (now() - begin) / 1e6;
	compacted = overhead(&bench, before);
	zpool_destroy(bench.pool);

	printf("%8zu  %7.0f %8.0f %8.0f  %8.4f %8.4f %8.4f %9.4f  %9.1f\n", count, fill_ns, one,
		all, filled, replaced, halved, compacted, compact_ms);
	fflush(stdout);
	free(bench.handles);
	free(bench.order);
}

/* The objects that a disk would store of the file's pages. */
static uint16_t *read_sizes(const char *path, size_t *nr)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const char *data;
	char out[2 * PAGE];
	uint16_t *sizes;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	data = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	sizes = malloc(st.st_size / PAGE * sizeof(*sizes) + 1);
	if (data == MAP_FAILED || !sizes)
		die(path);
	*nr = 0;
	for (const char *page = data; page + PAGE <= data + st.st_size; page += PAGE) {
		int n;

		if (memcmp(page, page + 8, PAGE - 8) == 0)
			continue;
		n = LZ4_compress_default(page, out, PAGE, sizeof(out));
		sizes[(*nr)++] = n < (int)PAGE ? n : (int)PAGE;
	}
	if (*nr == 0) {
		fprintf(stderr, "%s: no page to compress\n", path);
		exit(EXIT_FAILURE);
	}
	munmap((void *)data, st.st_size);
	close(fd);
	return sizes;
}

int main(int argc, char **argv)
{
	static const size_t counts[] = { 64, 256, 1024, 4096, 16384, 131072 };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint16_t *sizes = NULL;
	size_t nr = 0;

	if (argc > 2) {
		fprintf(stderr, "usage: %s [FILE]\n", argv[0]);
		return EXIT_FAILURE;
	}
	if (argc == 2)
		sizes = read_sizes(argv[1], &nr);
	printf("%8s  %7s %8s %8s  %8s %8s %8s %9s  %9s\n", "objects", "fill ns", "churn ns",
		"all cpus", "filled", "replaced", "half", "compacted", "compact ms");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		run(counts[i], sizes, nr, cpus > 0 ? cpus : 1);
	free(sizes);
	return 0;
}
