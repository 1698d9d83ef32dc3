/* SPDX-License-Identifier: BSD-3-Clause */
/* See stage.h. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "stage.h"

/* In a ring entry: finished, though one before it is not. */
#define DONE (UINT64_C(1) << 63)

int stage_init(struct stage *stage, unsigned pages)
{
	pthread_condattr_t attr;
	unsigned size = 1;

	while (size < pages)
		size *= 2;
	memset(stage, 0, sizeof(*stage));
	stage->ring = malloc(size * sizeof(*stage->ring));
	if (!stage->ring)
		return -1;
	memset(stage->ring, 0, size * sizeof(*stage->ring));
	stage->size = size;
	stage->max = stage->allow = pages;
	pthread_mutex_init(&stage->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&stage->done_cond, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

void stage_destroy(struct stage *stage)
{
	if (!stage->ring)
		return;
	free(stage->ring);
	stage->ring = NULL;
	pthread_cond_destroy(&stage->done_cond);
	pthread_mutex_destroy(&stage->lock);
}

unsigned stage_reserve(struct stage *stage, unsigned n)
{
	unsigned allow = atomic_load_explicit(&stage->allow, memory_order_relaxed);
	unsigned used = atomic_load_explicit(&stage->used, memory_order_relaxed), got, top;

	do {
		if (used >= allow)
			return 0;
		got = n < allow - used ? n : allow - used;
	} while (!atomic_compare_exchange_weak_explicit(&stage->used, &used, used + got,
		memory_order_relaxed, memory_order_relaxed));
	top = atomic_load_explicit(&stage->used_max, memory_order_relaxed);
	while (used + got > top && !atomic_compare_exchange_weak_explicit(&stage->used_max, &top,
		used + got, memory_order_relaxed, memory_order_relaxed))
		;
	return got;
}

void stage_allow(struct stage *stage, unsigned n)
{
	atomic_store_explicit(&stage->allow, n < stage->max ? n : stage->max,
		memory_order_relaxed);
}

void stage_unreserve(struct stage *stage, unsigned n)
{
	atomic_fetch_sub_explicit(&stage->used, n, memory_order_relaxed);
}

static uint64_t *at(struct stage *stage, uint64_t pos)
{
	return &stage->ring[pos & (stage->size - 1)];
}

unsigned stage_push(struct stage *stage, const uint64_t *index, unsigned n)
{
	LOCK_SCOPE(&stage->lock);
	for (unsigned i = 0; i < n; i++)
		*at(stage, stage->head++) = index[i];
	return (unsigned)(stage->head - stage->tail);
}

unsigned stage_pop(struct stage *stage, struct stage_entry *entries, unsigned n, unsigned *left)
{
	unsigned got = 0;

	LOCK_SCOPE(&stage->lock);
	while (got < n && stage->tail < stage->head) {
		entries[got++] = (struct stage_entry){ .index = *at(stage, stage->tail),
			.pos = stage->tail };
		stage->tail++;
	}
	*left = (unsigned)(stage->head - stage->tail);
	return got;
}

/* Under the lock: entries at the front that are finished leave the ring. */
static void retire(struct stage *stage)
{
	uint64_t before = stage->done;

	while (stage->done < stage->tail && *at(stage, stage->done) & DONE)
		stage->done++;
	if (stage->done == before)
		return;
	atomic_fetch_sub_explicit(&stage->used, (unsigned)(stage->done - before),
		memory_order_relaxed);
	if (stage->waiters)
		pthread_cond_broadcast(&stage->done_cond);
}

void stage_done(struct stage *stage, const struct stage_entry *entries, unsigned n)
{
	LOCK_SCOPE(&stage->lock);
	for (unsigned i = 0; i < n; i++)
		*at(stage, entries[i].pos) |= DONE;
	retire(stage);
}

void stage_drop(struct stage *stage)
{
	LOCK_SCOPE(&stage->lock);
	while (stage->tail < stage->head)
		*at(stage, stage->tail++) |= DONE;
	retire(stage);
}

unsigned stage_waiting(struct stage *stage)
{
	LOCK_SCOPE(&stage->lock);
	return (unsigned)(stage->head - stage->tail);
}

bool stage_cut(struct stage *stage, uint64_t *cut)
{
	LOCK_SCOPE(&stage->lock);
	*cut = stage->head;
	return stage->done < stage->head;
}

bool stage_wait(struct stage *stage, uint64_t cut, uint64_t timeout_ns)
{
	uint64_t until = uz_nsec() + timeout_ns;
	struct timespec ts = { .tv_sec = (time_t)(until / 1000000000),
		.tv_nsec = (long)(until % 1000000000) };
	int err = 0;

	LOCK_SCOPE(&stage->lock);
	stage->waiters++;
	while (stage->done < cut && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&stage->done_cond, &stage->lock, &ts);
	stage->waiters--;
	return stage->done >= cut;
}
