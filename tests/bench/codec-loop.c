/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * codec-loop: CPU time of liblz4 or libzstd alone, page by page over the data, in a
 * tight loop with nothing around it: what no store of compressed pages can go below.
 * Mode write compresses, mode read decompresses what was compressed before the
 * measured window.
 *
 * Pages of one repeated 8-byte word are not given to the codec, and pages that
 * a store would keep as they are are not decompressed; they count as pages and
 * cost nothing.
 */
#include <config.h>

#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
/* For the names of parameters; every function used is of the stable interface. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#define RAW_FROM 4073u /* bytes; a page that does not get below is kept as it is */

/* What became of a page: its bytes in the store, or why it is not there. */
struct object {
	const uint8_t *bytes;
	uint32_t size; /* 0: same-filled; LOAD_PAGE: raw */
};

static struct object *objects; /* one for each page of the data */

static bool same_filled(const uint8_t *page)
{
	return memcmp(page, page + 8, LOAD_PAGE - 8) == 0;
}

/* A codec as the plugin calls it. Each worker has a context of its own. */
struct codec {
	const char *name;
	void *(*create)(void);
	int (*compress)(void *ctx, const uint8_t *page, uint8_t *out); /* room: 2 pages */
	int (*decompress)(void *ctx, const uint8_t *obj, int size, uint8_t *page);
	void (*destroy)(void *ctx);
};

static void *lz4_create(void)
{
	return malloc(LZ4_sizeofState());
}

/* Room for any result, so LZ4 checks no bound. */
static int lz4_compress(void *ctx, const uint8_t *page, uint8_t *out)
{
	return LZ4_compress_fast_extState(
		ctx, (const char *)page, (char *)out, LOAD_PAGE, 2 * LOAD_PAGE, 1);
}

static int lz4_decompress(void *ctx, const uint8_t *obj, int size, uint8_t *page)
{
	(void)ctx;
	return LZ4_decompress_safe((const char *)obj, (char *)page, size, LOAD_PAGE);
}

struct zstd_ctx {
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
};

static void *zstd_create(void)
{
	struct zstd_ctx *ctx = malloc(sizeof(*ctx));

	if (!ctx)
		return NULL;
	*ctx = (struct zstd_ctx){ ZSTD_createCCtx(), ZSTD_createDCtx() };
	if (!ctx->cctx || !ctx->dctx)
		die("out of memory");
	ZSTD_CCtx_setParameter(ctx->cctx, ZSTD_c_compressionLevel, ZSTD_CLEVEL_DEFAULT);
	ZSTD_CCtx_setParameter(ctx->cctx, ZSTD_c_contentSizeFlag, 0);
	ZSTD_CCtx_setParameter(ctx->cctx, ZSTD_c_format, ZSTD_f_zstd1_magicless);
	ZSTD_DCtx_setParameter(ctx->dctx, ZSTD_d_format, ZSTD_f_zstd1_magicless);
	return ctx;
}

static int zstd_compress(void *ctx, const uint8_t *page, uint8_t *out)
{
	const struct zstd_ctx *zctx = ctx;
	size_t n = ZSTD_compress2(zctx->cctx, out, 2 * LOAD_PAGE, page, LOAD_PAGE);

	return ZSTD_isError(n) ? -1 : (int)n;
}

static int zstd_decompress(void *ctx, const uint8_t *obj, int size, uint8_t *page)
{
	const struct zstd_ctx *zctx = ctx;
	size_t n = ZSTD_decompressDCtx(zctx->dctx, page, LOAD_PAGE, obj, size);

	return ZSTD_isError(n) ? -1 : (int)n;
}

static void zstd_destroy(void *ctx)
{
	struct zstd_ctx *zctx = ctx;

	ZSTD_freeCCtx(zctx->cctx);
	ZSTD_freeDCtx(zctx->dctx);
	free(zctx);
}

static const struct codec codecs[] = {
	{ "lz4", lz4_create, lz4_compress, lz4_decompress, free },
	{ "zstd", zstd_create, zstd_compress, zstd_decompress, zstd_destroy },
};
static const struct codec *codec;

static void find_codec(const char *name)
{
	for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
		if (strcmp(codecs[i].name, name) == 0)
			codec = &codecs[i];
	}
	if (!codec)
		die("%s: allowed is lz4 zstd", name);
}

/* At least 1. */
static uint32_t compress_page(void *ctx, const uint8_t *page, uint8_t *out)
{
	int n = codec->compress(ctx, page, out);

	if (n <= 0)
		die("a page does not compress");
	return (uint32_t)n;
}

/* Compresses the worker's share of the data into a store of its own. */
static void fill_store(const struct load *load, unsigned index, void *ctx, uint8_t *out)
{
	uint64_t pages = load->data_bytes / LOAD_PAGE;
	uint64_t first = pages * index / load->workers, end = pages * (index + 1) / load->workers;
	uint64_t step = load->request / LOAD_PAGE;
	uint8_t *store = malloc((end - first + 1) * LOAD_PAGE);

	if (!store)
		die("out of memory");
	for (uint64_t p = first; p < end; p++) {
		const uint8_t *page = load->data + p * LOAD_PAGE;
		struct object *obj = &objects[p];

		if (p / step % load->stride || same_filled(page))
			continue;
		obj->size = compress_page(ctx, page, out);
		if (obj->size >= RAW_FROM) {
			obj->size = LOAD_PAGE;
			continue;
		}
		obj->bytes = store;
		memcpy(store, out, obj->size);
		store += obj->size;
	}
	/* The store lives as long as the process. */
}

static void do_page(const struct load *load, uint64_t p, void *ctx, uint8_t *out)
{
	const struct object *obj = &objects[p];

	if (load->op == LOAD_WRITE) {
		if (obj->size)
			compress_page(ctx, load->data + p * LOAD_PAGE, out);
	} else if (obj->bytes) {
		if (codec->decompress(ctx, obj->bytes, (int)obj->size, out) != (int)LOAD_PAGE)
			die("a page does not decompress");
	}
}

static void worker(struct load *load, unsigned index)
{
	void *ctx = codec->create();
	size_t room = load->request + LOAD_PAGE;
	uint8_t *out = aligned_alloc(LOAD_PAGE, room);
	uint64_t offset;

	if (!ctx || !out)
		die("out of memory");
	memset(out, 0, room);
	fill_store(load, index, ctx, out);
	load_begin(load);
	while (load_next(load, &offset)) {
		/* Pages land where they would in a server's buffer. */
		for (size_t at = 0; at < load->request; at += LOAD_PAGE)
			do_page(load, (offset + at) / LOAD_PAGE, ctx,
				load->op == LOAD_WRITE ? out : out + at);
	}
	load_end(load);
	free(out);
	codec->destroy(ctx);
}

/* Of the pages that the stride leaves. */
static void print_content(const struct load *load)
{
	uint64_t step = load->request / LOAD_PAGE, pages = 0, bytes = 0, same = 0, raw = 0;

	for (uint64_t p = 0; p < load->data_bytes / LOAD_PAGE; p++) {
		if (p / step % load->stride)
			continue;
		pages++;
		bytes += objects[p].size;
		same += objects[p].size == 0;
		raw += objects[p].size == LOAD_PAGE;
	}
	printf(",\"content\":{\"pages\":%" PRIu64 ",\"compressed_bytes\":%" PRIu64
	       ",\"same_pages\":%" PRIu64 ",\"raw_pages\":%" PRIu64 "}",
		pages, bytes, same, raw);
}

int main(int argc, char **argv)
{
	struct load load;

	load_init(&load, argc, argv, "lz4|zstd");
	find_codec(load.target);
	if (load.op == LOAD_TRIM)
		die("the mode is read or write");
	objects = calloc(load.data_bytes / LOAD_PAGE, sizeof(*objects));
	if (!objects)
		die("out of memory");
	load_run(&load, worker, print_content);
	return 0;
}
