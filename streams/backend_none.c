/* SPDX-License-Identifier: BSD-3-Clause */
/* No compression: pages are stored as they are. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <string.h>

#include "streams/backend.h"

static int none_compress(struct zcomp_params *params, struct zcomp_ctx *ctx, struct zcomp_req *req)
{
	(void)params;
	(void)ctx;
	memcpy(req->dst, req->src, req->src_len);
	req->dst_len = req->src_len;
	return 0;
}

static int none_decompress(struct zcomp_params *params, struct zcomp_ctx *ctx,
			   struct zcomp_req *req)
{
	(void)params;
	(void)ctx;
	if (req->src_len != req->dst_len)
		return -EINVAL;
	memcpy(req->dst, req->src, req->src_len);
	return 0;
}

const struct zcomp_ops backend_none = {
	.name = "none",
	.description = "no compression",
	.setup_params = backend_no_dict,
	.compress = none_compress,
	.decompress = none_decompress,
};
