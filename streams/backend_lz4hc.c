/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LZ4 HC: slower to compress, read by the same decompressor.
 *
 * A reset stream and "continue" do what LZ4_compress_HC_extStateHC() does,
 * without clearing 256 KiB of tables in front of each page (2 us of 36).
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>

#include "streams/backend.h"
#include "streams/managed.h"

_Static_assert(LZ4_COMPRESSBOUND(ZCOMP_PAGE_SIZE) <= ZCOMP_BUFFER_SIZE, "lz4hc output fits");

static int lz4hc_create_ctx(struct zcomp_params *params, struct zcomp_ctx *ctx)
{
	size_t size = ((size_t)LZ4_sizeofStateHC() + 63) & ~(size_t)63;

	/* LZ4_createStreamHC() would leave its tables untouched. */
	ctx->context = aligned_alloc(64, size);
	if (!ctx->context)
		return -ENOMEM;
	LZ4_initStreamHC(ctx->context, size);
	return backend_warm_up(&backend_lz4hc, params, ctx);
}

static void lz4hc_destroy_ctx(struct zcomp_ctx *ctx)
{
	free(ctx->context);
	ctx->context = NULL;
}

static int lz4hc_compress(struct zcomp_params *params, struct zcomp_ctx *ctx, struct zcomp_req *req)
{
	int n;

	LZ4_resetStreamHC_fast(ctx->context, params->level);
	n = LZ4_compress_HC_continue(ctx->context, req->src, req->dst, (int)req->src_len,
				     (int)req->dst_len);
	if (n <= 0)
		return -ENOSPC;
	req->dst_len = (size_t)n;
	return 0;
}

static int lz4hc_decompress(struct zcomp_params *params, struct zcomp_ctx *ctx,
			    struct zcomp_req *req)
{
	int n = LZ4_decompress_safe(req->src, req->dst, (int)req->src_len, (int)req->dst_len);

	(void)params;
	(void)ctx;
	return n == (int)req->dst_len ? 0 : -EINVAL;
}

static int lz4hc_setup_params(struct zcomp_params *params)
{
	return backend_setup(&backend_lz4hc, params);
}

const struct zcomp_ops backend_lz4hc = {
	.name = "lz4hc",
	.description = "packs better than lz4, decompresses as fast",
	.level_min = 1,
	.level_max = LZ4HC_CLEVEL_MAX,
	.level_default = LZ4HC_CLEVEL_DEFAULT,
	.setup_params = lz4hc_setup_params,
	.release_params = managed_release,
	.create_ctx = lz4hc_create_ctx,
	.destroy_ctx = lz4hc_destroy_ctx,
	.compress = lz4hc_compress,
	.decompress = lz4hc_decompress,
	.get_stream = managed_get_stream,
	.put_stream = managed_put_stream,
};
