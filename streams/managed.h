/* SPDX-License-Identifier: BSD-3-Clause */
/* Managed streams: what zcomp.c and the backends need of managed.c. Internal to streams/. */
#ifndef STREAMS_MANAGED_H
#define STREAMS_MANAGED_H

#include "streams/zcomp.h"

struct managed;

/*
 * In a backend's setup_params: advertises managed streams (params->zstrm_mgmt) when the accelerator
 * has its codec. 0 or -ENOMEM.
 */
int managed_setup(const struct zcomp_ops *ops, struct zcomp_params *params);
void managed_release(struct zcomp_params *params);

/* Contexts for the engines, made when the backend can make contexts. 0 or a negative errno. */
int managed_create_ctx(struct zcomp_params *params);

/* The ops of the same names: from the calling thread's queue. */
struct zcomp_strm *managed_get_stream(struct zcomp_params *params);
void managed_put_stream(struct zcomp_params *params, struct zcomp_strm *zstrm);

/* zcomp.c: where warnings go. */
void streams_warn(const char *line);

#endif
