/* SPDX-License-Identifier: BSD-3-Clause */
/* The invariants of pool.h, executable. */
#include <stdio.h>

#include "pool.h"

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "zpool_check: %s:%d: not true: %s\n", __FILE__, __LINE__,  \
				#cond);                                                            \
			return false;                                                              \
		}                                                                                  \
	} while (0)

struct tally {
	uint64_t objects, bytes, spans, pages, kept;
};

static bool check_cells(struct zpool *pool, struct size_class *c, struct span *span, struct tally *t)
{
	unsigned nr_free = 0, top = 0;

	for (unsigned cell = 0; cell < SPAN_CELLS; cell++) {
		zhandle_t h;

		if (cell_is_free(span, cell)) {
			CHECK(cell < c->ncells);
			nr_free++;
			continue;
		}
		if (cell >= c->ncells)
			continue;
		h = cell_handle(pool, span, c, cell);
		CHECK(handle_cell(pool, c, h) == cell && handle_span(pool, h) == span);
		CHECK(class_of(zpool_size(pool, h)) <= (unsigned)(c - pool->classes));
		t->bytes += zpool_size(pool, h);
		t->objects++;
		top = cell + 1;
	}
	CHECK(nr_free == span->nr_free && (nr_free == c->ncells) == span->kept);
	CHECK(pages_for(c, top) <= span->touched && span->touched <= c->npages);
	t->spans++;
	t->pages += span->touched;
	t->kept += span->kept ? span->touched : 0;
	return true;
}

static bool is_linked(const struct size_class *c, const struct span *span)
{
	return (span->prev ? span->prev->next : c->partial[span->bucket]) == span;
}

static bool check_free_lists(struct zpool *pool, uint64_t *nr)
{
	uint64_t reserved = 0;

	for (struct span *s = pool->free; s; s = s->next, ++*nr)
		CHECK(!s->used);
	for (struct span *s = pool->reserved; s; s = s->next, reserved++)
		CHECK(!s->used);
	CHECK(reserved == pool->nr_reserved);
	*nr += reserved;
	return true;
}

static bool check(struct zpool *pool)
{
	static __thread struct tally sum[NR_CLASSES];
	uint64_t unused = 1, pages = 0; /* span 0 */

	for (unsigned i = 0; i < NR_CLASSES; i++)
		sum[i] = (struct tally){ 0 };
	if (!check_free_lists(pool, &unused))
		return false;
	for (uint64_t i = 1; i < pool->fresh; i++) {
		struct span *span = &pool->spans[i];
		struct size_class *c = &pool->classes[span->cls];

		if (!span->used)
			continue;
		if (!check_cells(pool, c, span, &sum[span->cls]))
			return false;
		CHECK((span->nr_free == 0) == (span->bucket == BUCKET_NONE));
		CHECK(!span->nr_free || is_linked(c, span));
		unused++;
	}
	CHECK(unused == pool->fresh);
	for (unsigned i = 0; i < NR_CLASSES; i++) {
		struct size_class *c = &pool->classes[i];

		CHECK(c->spans == sum[i].spans && c->pages == sum[i].pages);
		CHECK(c->objects == sum[i].objects && c->bytes == sum[i].bytes);
		CHECK(c->kept == sum[i].kept && c->kept <= c->keep);
		pages += c->pages;
	}
	CHECK(pages == atomic_load(&pool->pages));
	return true;
}

bool zpool_check(struct zpool *pool)
{
	bool ok;

	/* Whoever has time may be settling. */
	pthread_mutex_lock(&pool->compact_lock);
	ok = check(pool);
	pthread_mutex_unlock(&pool->compact_lock);
	return ok;
}
