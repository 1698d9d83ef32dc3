/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel-bench --software: does a codec on the CPU gain from batching? The same pages compressed and
 * stored one after the other, and in batches of 8 and of 32: first all of a batch is compressed,
 * into a buffer for each page, then all of it is stored. One context, one thread. The three ways
 * take turns on each slice of the pages, in every order; the gain is the median of the slices'.
 */
#include <config.h>

#include "accel-bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lz4.h>
#include <zstd.h>

#define PAGE	  ACCEL_PAGE_SIZE
#define DST_ROOM  (2 * PAGE)
#define MAX_BATCH 32
#define SLICE	  256 /* pages */
#define WAYS	  3

static const unsigned ways[WAYS] = { 1, 8, 32 };

struct codec {
	const char *name;
	void *state;
	size_t (*compress)(void *state, const uint8_t *page, uint8_t *dst);
};

static size_t compress_lz4(void *state, const uint8_t *page, uint8_t *dst)
{
	return (size_t)LZ4_compress_fast_extState(state, (const char *)page, (char *)dst, PAGE,
		DST_ROOM, 1);
}

static size_t compress_zstd(void *state, const uint8_t *page, uint8_t *dst)
{
	size_t made = ZSTD_compressCCtx(state, dst, DST_ROOM, page, PAGE, 1);

	if (ZSTD_isError(made))
		die("%s", ZSTD_getErrorName(made));
	return made;
}

/* A slice's CPU time. Stored pages lie back to back. */
static uint64_t do_slice(const struct codec *codec, const uint8_t *pages, unsigned batch,
	uint8_t *buffers, uint8_t *store)
{
	uint64_t begin = read_clock(CLOCK_THREAD_CPUTIME_ID);
	size_t sizes[MAX_BATCH];

	for (unsigned at = 0; at < SLICE; at += batch) {
		for (unsigned i = 0; i < batch; i++)
			sizes[i] = codec->compress(codec->state, pages + (at + i) * PAGE,
				buffers + i * DST_ROOM);
		for (unsigned i = 0; i < batch; i++) {
			memcpy(store, buffers + i * DST_ROOM, sizes[i]);
			store += sizes[i];
		}
	}
	return read_clock(CLOCK_THREAD_CPUTIME_ID) - begin;
}

static void one_codec(const struct bench *bench, const struct codec *codec, bool last)
{
	size_t slices = bench->nr_pages / SLICE, n = 0;
	size_t most = slices * bench->rounds;
	uint8_t *buffers = malloc(MAX_BATCH * DST_ROOM), *store = malloc((size_t)SLICE * DST_ROOM);
	double *us = malloc(most * sizeof(double)), *gains[WAYS];

	for (unsigned w = 0; w < WAYS; w++)
		gains[w] = malloc(most * sizeof(double));
	if (!buffers || !store || !us || !gains[0] || !gains[1] || !gains[2])
		die("out of memory");
	memset(buffers, 0, MAX_BATCH * DST_ROOM);
	memset(store, 0, (size_t)SLICE * DST_ROOM);
	for (unsigned round = 0; round <= bench->rounds; round++) {
		for (size_t s = 0; s < slices; s++) {
			double took[WAYS];

			for (unsigned k = 0; k < WAYS; k++) {
				unsigned w = (k + s + round) % WAYS;

				took[w] = do_slice(codec, bench->pages + s * SLICE * PAGE, ways[w],
					buffers, store);
			}
			if (round == 0)
				continue; /* warming up */
			us[n] = took[0] / SLICE / 1e3;
			for (unsigned w = 1; w < WAYS; w++)
				gains[w][n] = took[0] / took[w] - 1;
			n++;
		}
	}
	if (bench->json)
		printf("\"%s\":{\"us\":%.3f,\"gain_8\":%.5f,\"gain_32\":%.5f}%s\n", codec->name,
			median(us, n), median(gains[1], n), median(gains[2], n), last ? "" : ",");
	else
		printf("%-8s %7.2f  %+12.2f %%  %+13.2f %%\n", codec->name, median(us, n),
			median(gains[1], n) * 100, median(gains[2], n) * 100);
	free(buffers);
	free(store);
	free(us);
	for (unsigned w = 0; w < WAYS; w++)
		free(gains[w]);
}

void bench_software(const struct bench *bench)
{
	struct codec lz4 = { "lz4", malloc((size_t)LZ4_sizeofState()), compress_lz4 };
	struct codec zstd = { "zstd", ZSTD_createCCtx(), compress_zstd };

	if (!lz4.state || !zstd.state)
		die("out of memory");
	if (bench->nr_pages < SLICE)
		die("--pages: %d are needed", SLICE);
	puts(bench->json ? "{"
			 : "codec    us/page   in batches of 8  in batches of 32 (pages/s over "
			   "those one by one)");
	one_codec(bench, &lz4, false);
	one_codec(bench, &zstd, true);
	if (bench->json)
		puts("}");
	free(lz4.state);
	ZSTD_freeCCtx(zstd.state);
}
