/* SPDX-License-Identifier: BSD-3-Clause */
/* Raw deflate, through libdeflate. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "streams/backend.h"
#include "streams/managed.h"

struct deflate_ctx {
	struct libdeflate_compressor *comp;
	struct libdeflate_decompressor *decomp;
};

static void deflate_destroy_ctx(struct zcomp_ctx *ctx)
{
	struct deflate_ctx *dctx = ctx->context;

	if (!dctx)
		return;
	libdeflate_free_compressor(dctx->comp);
	libdeflate_free_decompressor(dctx->decomp);
	free(dctx);
	ctx->context = NULL;
}

static int deflate_create_ctx(struct zcomp_params *params, struct zcomp_ctx *ctx)
{
	struct deflate_ctx *dctx = calloc(1, sizeof(*dctx));

	ctx->context = dctx;
	if (!dctx)
		return -ENOMEM;
	dctx->comp = libdeflate_alloc_compressor(params->level);
	dctx->decomp = libdeflate_alloc_decompressor();
	if (!dctx->comp || !dctx->decomp)
		return -ENOMEM;
	/* Only known at run time. */
	if (libdeflate_deflate_compress_bound(dctx->comp, ZCOMP_PAGE_SIZE) > ZCOMP_BUFFER_SIZE)
		return -ENOTSUP;
	return backend_warm_up(&backend_deflate, params, ctx);
}

static int deflate_compress(struct zcomp_params *params, struct zcomp_ctx *ctx,
			    struct zcomp_req *req)
{
	struct deflate_ctx *dctx = ctx->context;
	size_t n = libdeflate_deflate_compress(dctx->comp, req->src, req->src_len, req->dst,
					       req->dst_len);

	(void)params;
	if (n == 0)
		return -ENOSPC;
	req->dst_len = n;
	return 0;
}

static int deflate_decompress(struct zcomp_params *params, struct zcomp_ctx *ctx,
			      struct zcomp_req *req)
{
	struct deflate_ctx *dctx = ctx->context;
	size_t used;

	(void)params;
	/* The last NULL: exactly dst_len bytes, or an error. */
	if (libdeflate_deflate_decompress_ex(dctx->decomp, req->src, req->src_len, req->dst,
					     req->dst_len, &used, NULL) != LIBDEFLATE_SUCCESS)
		return -EINVAL;
	return used == req->src_len ? 0 : -EINVAL;
}

static int deflate_setup_params(struct zcomp_params *params)
{
	return backend_setup(&backend_deflate, params);
}

const struct zcomp_ops backend_deflate = {
	.name = "deflate",
	.description = "as zlib and gzip pack, faster",
	.level_min = 0,
	.level_max = 12,
	.level_default = 6,
	.decompress_needs_ctx = true,
	.setup_params = deflate_setup_params,
	.release_params = managed_release,
	.create_ctx = deflate_create_ctx,
	.destroy_ctx = deflate_destroy_ctx,
	.compress = deflate_compress,
	.decompress = deflate_decompress,
	.get_stream = managed_get_stream,
	.put_stream = managed_put_stream,
};
