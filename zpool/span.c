/* SPDX-License-Identifier: BSD-3-Clause */
/* Spans that no class uses: fresh, free, and the reserve kept faulted in. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Pages [from, to) of the span go back to the system: what they hold is undefined after. */
void pages_give_back(struct zpool *pool, const struct span *span, unsigned from, unsigned to)
{
	/* The system's pages may be larger than ours: only those that lie inside as a whole. */
	uintptr_t mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	uintptr_t base = (uintptr_t)span_base(pool, span);
	uintptr_t start = (base + (uintptr_t)from * ZPAGE_SIZE + mask) & ~mask;
	uintptr_t end = (base + (uintptr_t)to * ZPAGE_SIZE) & ~mask;
	char *p = (char *)start;
	size_t len = end - start;
	int saved = errno;

	if (start >= end)
		return;
	/* Plain MADV_DONTNEED fails on locked memory; before 5.18 unlock it. It is used again. */
	if (!pool->locked || madvise(p, len, MADV_DONTNEED_LOCKED) == -1) {
		if (madvise(p, len, MADV_DONTNEED) == -1 && munlock(p, len) == 0) {
			madvise(p, len, MADV_DONTNEED);
			syscall(SYS_mlock2, p, len, MLOCK_ONFAULT);
		}
	}
	errno = saved;
}

static struct span *pop(struct span **list)
{
	struct span *span = *list;

	if (span)
		*list = span->next;
	return span;
}

/*
 * For class `c`, its lock held; NULL when the address range is used up. `faulted`:
 * it came from the reserve, so all that the class will use is resident already.
 */
struct span *span_get(struct zpool *pool, const struct size_class *c, bool *faulted)
{
	struct span *span;
	bool low;

	pthread_mutex_lock(&pool->span_lock);
	span = pop(&pool->reserved);
	*faulted = span;
	if (span) {
		pool->nr_reserved--;
	} else {
		span = pop(&pool->free);
		if (!span && pool->fresh < pool->nr_spans)
			span = &pool->spans[pool->fresh++];
	}
	low = pool->nr_reserved * 2 < pool->reserve_target;
	pthread_mutex_unlock(&pool->span_lock);

	if (low && pool->low)
		pool->low(pool->low_opaque);
	if (!span)
		return NULL;
	/* A class uses the first npages only: what lies behind goes back. */
	if (*faulted)
		pages_give_back(pool, span, c->npages, pool->span_pages);
	span->cls = (uint8_t)(c - pool->classes);
	span->touched = 0;
	span->used = true;
	span->bucket = BUCKET_NONE;
	span->nr_free = c->ncells;
	memset(span->free, 0, sizeof(span->free));
	for (unsigned i = 0; i < c->ncells; i++)
		span->free[i / 64] |= UINT64_C(1) << (i % 64);
	return span;
}

/* An emptied span that its class has let go. No class lock needed. */
void span_put(struct zpool *pool, struct span *span)
{
	/* From the reserve, pages beyond `touched` may be faulted in too. */
	pages_give_back(pool, span, 0, pool->locked ? pool->span_pages : span->touched);
	pthread_mutex_lock(&pool->span_lock);
	span->used = false;
	span->next = pool->free;
	pool->free = span;
	pthread_mutex_unlock(&pool->span_lock);
}

/* Faults memory in; sleeps for it. */
static int populate(void *p, size_t len)
{
	if (madvise(p, len, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL) /* EINVAL: before Linux 5.14 */
		return -1;
	for (size_t i = 0; i < len; i += ZPAGE_SIZE)
		((volatile char *)p)[i] = ((volatile char *)p)[i];
	return 0;
}

/* A hint: what it leaves out faults in when touched. Before Linux 5.14, all. */
void span_populate(struct zpool *pool, const struct span *span, unsigned from, unsigned to)
{
	int saved = errno;

	madvise(span_base(pool, span) + (size_t)from * ZPAGE_SIZE, (size_t)(to - from) * ZPAGE_SIZE,
		MADV_POPULATE_WRITE);
	errno = saved;
}

int zpool_refill(struct zpool *pool)
{
	for (;;) {
		struct span *span = NULL;

		pthread_mutex_lock(&pool->span_lock);
		if (pool->nr_reserved < pool->reserve_target) {
			span = pop(&pool->free);
			if (!span && pool->fresh < pool->nr_spans)
				span = &pool->spans[pool->fresh++];
		}
		pthread_mutex_unlock(&pool->span_lock);
		if (!span)
			return 0;
		if (populate(span_base(pool, span), (size_t)pool->span_pages * ZPAGE_SIZE) == -1) {
			span->touched = pool->span_pages;
			span_put(pool, span);
			return -1;
		}
		pthread_mutex_lock(&pool->span_lock);
		span->next = pool->reserved;
		pool->reserved = span;
		pool->nr_reserved++;
		pthread_mutex_unlock(&pool->span_lock);
	}
}

int zpool_set_reserve(struct zpool *pool, uint64_t bytes, void (*low)(void *opaque), void *opaque)
{
	uint64_t target = (bytes + (UINT64_C(1) << pool->span_shift) - 1) >> pool->span_shift;

	pthread_mutex_lock(&pool->span_lock);
	pool->reserve_target = target;
	pool->low = low;
	pool->low_opaque = opaque;
	while (pool->nr_reserved > target) {
		struct span *span = pop(&pool->reserved);

		pool->nr_reserved--;
		pages_give_back(pool, span, 0, pool->span_pages);
		span->next = pool->free;
		pool->free = span;
	}
	pthread_mutex_unlock(&pool->span_lock);
	if (!target)
		return 0;
	/* The descriptors, too, must not be touched for the first time later. */
	if (populate(pool->spans, pool->nr_spans * sizeof(*pool->spans)) == -1 ||
	    populate(pool->huge_hdr, pool->nr_spans * pool->span_pages * sizeof(uint64_t)) == -1)
		return -1;
	return zpool_refill(pool);
}
