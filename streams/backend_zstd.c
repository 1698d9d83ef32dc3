/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zstandard. A page's frame has no magic number and no content size (4.6 bytes a
 * page less, at no cost); both are known here. The library derives its tables'
 * sizes from the source's, so that none need be set: with and without
 * ZSTD_getCParams(level, 4096, 0) it takes the same time and gives the same bytes.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
/* For the names of parameters; every function used is of the stable interface. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#include "streams/backend.h"
#include "streams/managed.h"

_Static_assert(ZSTD_COMPRESSBOUND(ZCOMP_PAGE_SIZE) <= ZCOMP_BUFFER_SIZE, "zstd output fits");

/* A frame header's first byte without size, checksum and dictionary. */
#define PLAIN_FRAME	  0
#define FRAME_HEADER_SIZE 2 /* and the window's size */
#define BLOCK_HEADER_SIZE 3
#define BLOCK_RLE	  1

struct zstd_ctx {
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
};

static void zstd_destroy_ctx(struct zcomp_ctx *ctx)
{
	struct zstd_ctx *zctx = ctx->context;

	if (!zctx)
		return;
	ZSTD_freeCCtx(zctx->cctx);
	ZSTD_freeDCtx(zctx->dctx);
	free(zctx);
	ctx->context = NULL;
}

static bool set_cparam(struct zstd_ctx *zctx, ZSTD_cParameter param, int value)
{
	return !ZSTD_isError(ZSTD_CCtx_setParameter(zctx->cctx, param, value));
}

static int zstd_create_ctx(struct zcomp_params *params, struct zcomp_ctx *ctx)
{
	struct zstd_ctx *zctx = calloc(1, sizeof(*zctx));

	ctx->context = zctx;
	if (!zctx)
		return -ENOMEM;
	zctx->cctx = ZSTD_createCCtx();
	zctx->dctx = ZSTD_createDCtx();
	if (!zctx->cctx || !zctx->dctx)
		return -ENOMEM;
	if (!set_cparam(zctx, ZSTD_c_compressionLevel, params->level) ||
	    !set_cparam(zctx, ZSTD_c_contentSizeFlag, 0) ||
	    !set_cparam(zctx, ZSTD_c_checksumFlag, 0) ||
	    !set_cparam(zctx, ZSTD_c_dictIDFlag, 0) ||
	    !set_cparam(zctx, ZSTD_c_format, ZSTD_f_zstd1_magicless) ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(zctx->dctx, ZSTD_d_format, ZSTD_f_zstd1_magicless)))
		return -ENOTSUP;
	return backend_warm_up(&backend_zstd, params, ctx);
}

static int zstd_compress(struct zcomp_params *params, struct zcomp_ctx *ctx, struct zcomp_req *req)
{
	struct zstd_ctx *zctx = ctx->context;
	size_t n = ZSTD_compress2(zctx->cctx, req->dst, req->dst_len, req->src, req->src_len);

	(void)params;
	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall ? -ENOSPC : -EIO;
	req->dst_len = n;
	return 0;
}

/*
 * Exactly one frame, and nothing behind it. The library would go on and take what
 * follows for another frame, perhaps of a legacy format whose decoders allocate;
 * and without magic numbers, libzstd 1.5.4 reads beyond a rest of under 4 bytes.
 */
static bool is_one_frame(const uint8_t *src, size_t len)
{
	size_t pos = FRAME_HEADER_SIZE;
	uint32_t header;

	if (*src != PLAIN_FRAME)
		return false;
	do {
		if (pos + BLOCK_HEADER_SIZE > len)
			return false;
		header = src[pos] | src[pos + 1] << 8 | (uint32_t)src[pos + 2] << 16;
		pos += BLOCK_HEADER_SIZE + ((header >> 1 & 3) == BLOCK_RLE ? 1 : header >> 3);
	} while (!(header & 1));
	return pos == len;
}

static int zstd_decompress(struct zcomp_params *params, struct zcomp_ctx *ctx,
			   struct zcomp_req *req)
{
	struct zstd_ctx *zctx = ctx->context;
	size_t n;

	(void)params;
	if (!is_one_frame(req->src, req->src_len))
		return -EINVAL;
	n = ZSTD_decompressDCtx(zctx->dctx, req->dst, req->dst_len, req->src, req->src_len);
	return n == req->dst_len ? 0 : -EINVAL;
}

static int zstd_setup_params(struct zcomp_params *params)
{
	return backend_setup(&backend_zstd, params);
}

const struct zcomp_ops backend_zstd = {
	.name = "zstd",
	.description = "packs best for its speed; negative levels are faster",
	.level_min = -ZSTD_BLOCKSIZE_MAX, /* ZSTD_minCLevel(), as a constant */
	.level_max = 22,
	.level_default = ZSTD_CLEVEL_DEFAULT,
	.decompress_needs_ctx = true,
	.setup_params = zstd_setup_params,
	.release_params = managed_release,
	.create_ctx = zstd_create_ctx,
	.destroy_ctx = zstd_destroy_ctx,
	.compress = zstd_compress,
	.decompress = zstd_decompress,
	.get_stream = managed_get_stream,
	.put_stream = managed_put_stream,
};
