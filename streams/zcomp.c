/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams, and the zcomps that lend them their contexts.
 *
 * The process has one set of per-CPU streams, made with its first zcomp and freed
 * with its last: for each CPU one that compresses, and one that only decompresses, so
 * that a reader never waits for a compression. A zcomp has a context for both. A
 * stream's mutex is held from get to put and guards its buffers, its ctx and comp
 * fields, and its half of the contexts of its number in all zcomps.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getcpu() */
#endif
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "streams/backend.h"
#include "streams/managed.h"

#define CACHE_LINE 64

struct cpu_strm {
	struct zcomp_strm strm; /* first: a stream's address is its cpu_strm's */
	unsigned nr;
} __attribute__((aligned(CACHE_LINE)));

struct zcomp {
	const struct zcomp_ops *ops;
	struct zcomp_params params;
	unsigned nr_ctx;	 /* made so far; all of them once it is in use */
	struct zcomp_ctx ctx[]; /* one for each CPU */
};

/* `users` and `streams` change under the lock; whoever has a zcomp may read `streams`. */
static pthread_mutex_t streams_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;
static struct cpu_strm *streams; /* nr_streams that compress, and as many that do not */

static pthread_once_t nr_streams_once = PTHREAD_ONCE_INIT;
static unsigned nr_streams;

static void (*_Atomic warn_hook)(const char *line);

void zcomp_set_warn_hook(void (*hook)(const char *line))
{
	warn_hook = hook;
}

void streams_warn(const char *line)
{
	void (*hook)(const char *) = warn_hook;

	if (hook)
		hook(line);
	else
		fprintf(stderr, "%s\n", line);
}

static void count_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	nr_streams = n > 0 ? (unsigned)n : 1;
}

unsigned zcomp_nr_streams(void)
{
	pthread_once(&nr_streams_once, count_cpus);
	return nr_streams;
}

static void free_streams(void)
{
	for (unsigned i = 0; i < 2 * nr_streams; i++) {
		pthread_mutex_destroy(&streams[i].strm.lock);
		free(streams[i].strm.buffer);
		free(streams[i].strm.local_copy);
	}
	free(streams);
	streams = NULL;
}

/* Zeroed, so that no page of it is touched for the first time later. */
static void *alloc_touched(size_t size)
{
	void *p = aligned_alloc(CACHE_LINE, size);

	return p ? memset(p, 0, size) : NULL;
}

static int alloc_streams(void)
{
	bool ok = true;

	streams = alloc_touched(2 * nr_streams * sizeof(*streams));
	if (!streams)
		return -ENOMEM;
	for (unsigned i = 0; i < 2 * nr_streams; i++) {
		streams[i].nr = i % nr_streams;
		streams[i].strm.decompress_only = i >= nr_streams;
		pthread_mutex_init(&streams[i].strm.lock, NULL);
		if (streams[i].strm.decompress_only)
			continue;
		streams[i].strm.buffer = alloc_touched(ZCOMP_BUFFER_SIZE);
		streams[i].strm.local_copy = alloc_touched(ZCOMP_PAGE_SIZE);
		ok = ok && streams[i].strm.buffer && streams[i].strm.local_copy;
	}
	if (ok)
		return 0;
	free_streams();
	return -ENOMEM;
}

static int streams_use(void)
{
	int ret = 0;

	pthread_mutex_lock(&streams_lock);
	if (users == 0)
		ret = alloc_streams();
	if (ret == 0)
		users++;
	pthread_mutex_unlock(&streams_lock);
	return ret;
}

static void streams_unuse(void)
{
	pthread_mutex_lock(&streams_lock);
	if (--users == 0)
		free_streams();
	pthread_mutex_unlock(&streams_lock);
}

static int create_contexts(struct zcomp *comp)
{
	int ret = 0;

	for (unsigned i = 0; ret == 0 && i < nr_streams; i++) {
		if (comp->ops->create_ctx)
			ret = comp->ops->create_ctx(&comp->params, &comp->ctx[i]);
		comp->nr_ctx = i + 1;
	}
	return ret == 0 ? managed_create_ctx(&comp->params) : ret;
}

static void destroy_contexts(struct zcomp *comp)
{
	for (unsigned i = 0; comp->ops->destroy_ctx && i < comp->nr_ctx; i++)
		comp->ops->destroy_ctx(&comp->ctx[i]);
}

static void check_mgmt(struct zcomp *comp)
{
	char line[128];

	if (!comp->params.zstrm_mgmt || (comp->ops->get_stream && comp->ops->put_stream))
		return;
	comp->params.zstrm_mgmt = false;
	backend_explain(line, sizeof(line),
			"%s has no get_stream and put_stream: its managed streams are off",
			comp->ops->name);
	streams_warn(line);
}

static int init_zcomp(struct zcomp *comp)
{
	int ret;

	if (comp->ops->setup_params) {
		ret = comp->ops->setup_params(&comp->params);
		if (ret < 0)
			return ret;
	}
	check_mgmt(comp);
	ret = streams_use();
	if (ret < 0)
		goto release;
	ret = create_contexts(comp);
	if (ret == 0)
		return 0;

	destroy_contexts(comp);
	streams_unuse();
release:
	if (comp->ops->release_params)
		comp->ops->release_params(&comp->params);
	return ret;
}

struct zcomp *zcomp_create(const struct zcomp_ops *ops, const struct zcomp_params *params,
			   char *err, size_t errlen)
{
	size_t size = sizeof(struct zcomp) + zcomp_nr_streams() * sizeof(struct zcomp_ctx);
	struct zcomp *comp;
	int ret = -ENOMEM;

	comp = calloc(1, size);
	if (!comp)
		goto fail;
	comp->ops = ops;
	comp->params = *params;
	comp->params.zstrm_mgmt = false;
	if (params->level == ZCOMP_LEVEL_UNSET)
		comp->params.level = ops->level_default;
	ret = init_zcomp(comp);
	if (ret == 0)
		return comp;
	free(comp);
fail:
	if (ret == -EINVAL && params->dict)
		backend_explain(err, errlen, "%s takes no dictionary", ops->name);
	else
		backend_explain(err, errlen, "%s cannot be set up: %s", ops->name, strerror(-ret));
	return NULL;
}

void zcomp_destroy(struct zcomp *comp)
{
	if (!comp)
		return;
	destroy_contexts(comp);
	streams_unuse();
	if (comp->ops->release_params)
		comp->ops->release_params(&comp->params);
	free(comp);
}

const struct zcomp_ops *zcomp_backend(const struct zcomp *comp)
{
	return comp->ops;
}

bool zcomp_is_managed(const struct zcomp *comp)
{
	return comp->params.zstrm_mgmt;
}

int zcomp_level(const struct zcomp *comp)
{
	return comp->params.level;
}

/* Of nr_streams the calling CPU's if it is free, else any other, else the CPU's later. */
static struct cpu_strm *lock_cpu_strm(struct cpu_strm *of)
{
	int cpu = sched_getcpu();
	unsigned own = cpu < 0 ? 0 : (unsigned)cpu % nr_streams;

	for (unsigned i = own; i < nr_streams; i++)
		if (pthread_mutex_trylock(&of[i].strm.lock) == 0)
			return &of[i];
	for (unsigned i = 0; i < own; i++)
		if (pthread_mutex_trylock(&of[i].strm.lock) == 0)
			return &of[i];
	pthread_mutex_lock(&of[own].strm.lock);
	return &of[own];
}

struct zcomp_strm *zcomp_stream_get(struct zcomp *comp, enum zstrm_pref pref)
{
	struct zcomp_strm *zstrm;

	if (pref == ZSTRM_PREFER_MGMT && comp->params.zstrm_mgmt) {
		zstrm = comp->ops->get_stream(&comp->params);
		if (zstrm) {
			zstrm->zcomp_managed = true;
			zstrm->comp = comp;
			return zstrm;
		}
	}
	zstrm = &lock_cpu_strm(pref == ZSTRM_DECOMPRESS ? streams + nr_streams : streams)->strm;
	zcomp_stream_switch(zstrm, comp);
	return zstrm;
}

void zcomp_stream_put(struct zcomp_strm *zstrm)
{
	if (zstrm->zcomp_managed)
		zstrm->comp->ops->put_stream(&zstrm->comp->params, zstrm);
	else
		pthread_mutex_unlock(&zstrm->lock);
}

void zcomp_stream_switch(struct zcomp_strm *zstrm, struct zcomp *comp)
{
	assert(!zstrm->zcomp_managed);
	zstrm->ctx = &comp->ctx[((struct cpu_strm *)zstrm)->nr];
	zstrm->comp = comp;
}

int zcomp_compress(struct zcomp *comp, struct zcomp_strm *zstrm, const void *src, size_t *dst_len)
{
	struct zcomp_req req = {
		.src = src,
		.src_len = ZCOMP_PAGE_SIZE,
		.dst = zstrm->buffer,
		.dst_len = ZCOMP_BUFFER_SIZE,
	};
	int ret;

	assert(!zstrm->decompress_only);
	ret = comp->ops->compress(&comp->params, zstrm->ctx, &req);
	if (ret == 0)
		*dst_len = req.dst_len;
	return ret;
}

void zcomp_compress_batch(struct zcomp *comp, struct zcomp_strm *zstrm, struct zcomp_page *pages,
			  unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		struct zcomp_req req = {
			.src = pages[i].src,
			.src_len = ZCOMP_PAGE_SIZE,
			.dst = pages[i].dst,
			.dst_len = ZCOMP_BUFFER_SIZE,
		};

		pages[i].result = comp->ops->compress(&comp->params, zstrm->ctx, &req);
		pages[i].dst_len = req.dst_len;
	}
}

bool zcomp_decompress_needs_stream(const struct zcomp *comp)
{
	return comp->ops->decompress_needs_ctx;
}

int zcomp_decompress(struct zcomp *comp, struct zcomp_strm *zstrm, const void *src, size_t src_len,
		     void *dst)
{
	struct zcomp_req req = {
		.src = src,
		.src_len = src_len,
		.dst = dst,
		.dst_len = ZCOMP_PAGE_SIZE,
	};
	struct zcomp_ctx *ctx = NULL;

	/* Longer ones are never made, and some libraries take lengths as int. */
	if (src_len == 0 || src_len > ZCOMP_BUFFER_SIZE)
		return -EINVAL;
	if (comp->ops->decompress_needs_ctx) {
		if (!zstrm)
			return -EINVAL;
		ctx = zstrm->ctx;
	}
	return comp->ops->decompress(&comp->params, ctx, &req);
}
