/* SPDX-License-Identifier: BSD-3-Clause */
/* Holes and data, for block status. */
#include "disk_priv.h"

/* A run being grown; given out when the next one differs, clipped to the request. */
struct run {
	uint64_t offset, end; /* of the request */
	uint64_t start;
	bool hole, any, one;
	disk_extent_fn *extent;
	void *opaque;
};

static int run_emit(struct run *run, uint64_t upto)
{
	if (!run->any || upto <= run->start)
		return 0;
	return run->extent(run->opaque, run->start, upto - run->start, run->hole);
}

/* From `at` on, it is hole or data. 1 stops: only the first run was wanted, it ends here. */
static int run_next(struct run *run, uint64_t at, bool hole)
{
	int ret;

	at = at < run->offset ? run->offset : at;
	if (run->any && run->hole == hole)
		return 0;
	if (run->any && run->one) {
		run->end = at;
		return 1;
	}
	ret = run_emit(run, at);
	run->start = at;
	run->hole = hole;
	run->any = true;
	return ret;
}

static int extents_of_leaf(struct disk *disk, uint64_t index, uint64_t last, struct run *run,
	uint64_t *next)
{
	struct table_ref ref;
	int ret = 0;

	*next = index;
	if (!table_get(disk->table, index, false, &ref)) {
		*next = (index | (LEAF_SLOTS - 1)) + 1;
		return run_next(run, index << PAGE_SHIFT, true);
	}
	do {
		uint32_t flags = slot_peek(table_slot(&ref, *next));

		ret = run_next(run, *next << PAGE_SHIFT, slot_type(flags) == SLOT_EMPTY);
		if (ret)
			break;
		++*next;
	} while (*next <= last && (*next & (LEAF_SLOTS - 1)));
	table_put(disk->table, &ref, 0);
	return ret;
}

int disk_extents(struct disk *disk, uint64_t count, uint64_t offset, bool one,
	disk_extent_fn *extent, void *opaque)
{
	struct run run = { .offset = offset,
		.end = offset + count,
		.one = one,
		.extent = extent,
		.opaque = opaque };
	uint64_t index = offset >> PAGE_SHIFT, last, next;
	int ret = 0;

	if (!count)
		return 0;
	last = (run.end - 1) >> PAGE_SHIFT;
	while (index <= last) {
		next = table_next(disk->table, index, last + 1);
		if (next > index)
			ret = run_next(&run, index << PAGE_SHIFT, true);
		else
			ret = extents_of_leaf(disk, index, last, &run, &next);
		if (ret)
			break;
		index = next;
	}
	if (ret == -1)
		return -1;
	return run_emit(&run, run.end);
}
