/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of backends, and what they share. Internal to streams/. */
#ifndef STREAMS_BACKEND_H
#define STREAMS_BACKEND_H

#include "streams/zcomp.h"

extern const struct zcomp_ops backend_lz4;
extern const struct zcomp_ops backend_lz4hc;
extern const struct zcomp_ops backend_zstd;
extern const struct zcomp_ops backend_deflate;
extern const struct zcomp_ops backend_none;

/* For setup_params of backends that take no dictionary; managed streams, if the accelerator can. */
int backend_setup(const struct zcomp_ops *ops, struct zcomp_params *params);
int backend_no_dict(struct zcomp_params *params);

/*
 * Compresses a few kinds of page and restores them, so that a library takes and
 * touches its memory in create_ctx and not in front of the first request. 0;
 * -ENOMEM; -EIO: what came back is not what went in.
 */
int backend_warm_up(const struct zcomp_ops *ops, struct zcomp_params *params,
		    struct zcomp_ctx *ctx);

/* One line into `err`, whatever the arguments hold. */
__attribute__((format(printf, 3, 4))) void backend_explain(char *err, size_t errlen,
							    const char *fmt, ...);

#endif
