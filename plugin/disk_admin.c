/* SPDX-License-Identifier: BSD-3-Clause */
/* What an administrator does to a disk: resize, reset, verify, list, begin counting anew. */
#include "disk_priv.h"

const char *const disk_op_names[NR_DISK_OPS] = { "read", "write", "trim", "flush" };

void disk_drop_stats(struct disk *disk)
{
	/* Not those that say what is stored now. */
	static const enum counter past[] = { C_HUGE_SINCE, C_READS, C_WRITES, C_TRIMS,
		C_NOTIFY_FREE, C_FAILED_READS, C_FAILED_WRITES, C_COALESCED, C_DIRECT, C_PERCPU,
		C_MANAGED, C_FALLBACK, C_KEPT_RAW, C_BATCHES, C_BATCH_PAGES, C_BD_READS,
		C_BD_WRITES, C_PROMOTED, C_WB_DECODED, C_THROTTLED, C_THROTTLED_NS };

	for (unsigned i = 0; i < NR_SHARDS; i++) {
		for (unsigned c = 0; c < ARRAY_SIZE(past); c++)
			atomic_store(&disk->shards[i].c[past[c]], 0);
		for (unsigned op = 0; op < NR_DISK_OPS; op++) {
			atomic_store(&disk->shards[i].latency_sum[op], 0);
			for (unsigned b = 0; b < DISK_LATENCY_BUCKETS; b++)
				atomic_store(&disk->shards[i].latency[op][b], 0);
		}
	}
	for (unsigned i = 0; i < BATCH_BUCKETS; i++)
		atomic_store(&disk->batch_hist[i], 0);
	atomic_store(&disk->stage.used_max, atomic_load(&disk->stage.used));
	zpool_reset_max_used(disk->pool);
	zpool_reset_compacted(disk->pool);
	wb_drop_stats(disk);
}

static int grow(struct disk *disk, uint64_t pages, struct uz_error *e)
{
	if (disk->config.swap)
		return uz_fail(e, ENOTSUP,
			"disk %s serves swap: all its table was faulted in at the start",
			disk_name(disk));
	if (table_grow(disk->table, pages) == -1 ||
		zpool_grow(disk->pool, pages * PAGE_SIZE) == -1)
		return uz_fail(e, ENOMEM, "no memory to make disk %s larger", disk_name(disk));
	return 0;
}

int disk_resize(struct disk *disk, uint64_t size, struct uz_error *e)
{
	uint64_t pages = (size + PAGE_SIZE - 1) / PAGE_SIZE, old;

	if (size == 0 || size > (uint64_t)DISK_SIZE_MAX)
		return uz_fail(e, EINVAL, "a disk has 1 to %lld bytes", (long long)DISK_SIZE_MAX);
	if (disk->log && pages > LOG_MAX_OWNER)
		return uz_fail(e, EINVAL, "too large for a disk with backing=");
	LOCK_SCOPE(&disk->lock);
	old = atomic_load(&disk->pages);
	if (pages > old && grow(disk, pages, e) == -1)
		return -1;
	atomic_store(&disk->pages, pages);
	/* Nobody can reach it any more: it goes, uncounted. */
	if (pages < old) {
		struct page_io io = { .disk = disk, .now = uz_seconds() };

		range_free(&io, pages, old);
	}
	return 0;
}

/* What workers have now they will find overwritten; afterwards none of them touches the disk. */
void disk_drop_stage(struct disk *disk)
{
	uint64_t cut;

	if (!disk->behind)
		return;
	stage_drop(&disk->stage);
	if (stage_cut(&disk->stage, &cut))
		while (!stage_wait(&disk->stage, cut, UINT64_C(1000000000)))
			;
}

void disk_reset(struct disk *disk)
{
	struct page_io io = { .disk = disk, .now = uz_seconds() };

	LOCK_SCOPE(&disk->lock);
	wb_hold(disk);
	disk_drop_stage(disk);
	range_free(&io, 0, atomic_load(&disk->pages));
	if (!disk->config.swap)
		table_reset(disk->table);
	wb_release(disk);
	disk_drop_stats(disk);
	pthread_mutex_lock(&disk->scanned.lock);
	disk->scanned.took = 0;
	pthread_mutex_unlock(&disk->scanned.lock);
	zpool_give_back(disk->pool);
	zpool_reset(disk->pool);
}

/* Pages of one leaf, between calls of `progress`. */
static void verify_leaf(struct page_io *io, uint64_t index, uint64_t end, uint64_t *pages,
	uint64_t *bad)
{
	char page[PAGE_SIZE];

	do {
		if (slot_type(slot_peek(table_slot(&io->ref, index))) == SLOT_EMPTY)
			continue;
		++*pages;
		if (page_verify(io, index, page) == -1)
			++*bad;
		io_stream_put(io); /* not a page's time longer than needed: others serve clients */
	} while (++index < end && (index & (LEAF_SLOTS - 1)));
	if (io->gather) {
		gather_fetch(io);
		*bad += io->gather->failed;
		io->gather->failed = 0;
	}
}

bool disk_verify(struct disk *disk, uint64_t *pages, uint64_t *bad, disk_progress_fn *progress,
	void *opaque)
{
	struct page_gather gather = { .n = 0 };
	struct page_io io = { .disk = disk, .gather = disk->log ? &gather : NULL };
	uint64_t end = atomic_load(&disk->pages), index = 0;

	*pages = *bad = 0;
	while ((index = table_next(disk->table, index, end)) < end) {
		if (progress && !progress(opaque, (unsigned)((double)index / (double)end * 1000), 1000))
			return false;
		if (table_get(disk->table, index, false, &io.ref)) {
			verify_leaf(&io, index, end, pages, bad);
			table_put(disk->table, &io.ref, 0);
		}
		index = (index | (LEAF_SLOTS - 1)) + 1;
	}
	return true;
}

static void block_of(struct disk *disk, struct slot *slot, uint64_t index, uint32_t now,
	struct disk_block *block)
{
	uint32_t flags;

	slot_lock(slot);
	flags = slot_peek(slot) & ~SLOT_LOCK;
	*block = (struct disk_block){ .index = index,
		.age = now > slot->ac_time ? now - slot->ac_time : 0,
		.algorithm = "-" };
	switch (slot_type(flags)) {
	case SLOT_EMPTY:
		break;
	case SLOT_SAME:
		strcpy(block->flags, "s");
		break;
	case SLOT_RAW:
		if (!(flags & SLOT_STAGED))
			strcpy(block->flags, "h");
		block->size = PAGE_SIZE;
		break;
	case SLOT_OBJECT:
		block->size = (unsigned)zpool_size(disk->pool, slot_val(slot));
		block->algorithm = zcomp_backend(disk->codecs[slot_codec(flags)])->name;
		break;
	case SLOT_BACKED:
		block->size = log_loc_len(slot_val(slot));
		strcpy(block->flags, block->size == PAGE_SIZE ? "wh" : "w");
		if (block->size < PAGE_SIZE)
			block->algorithm = zcomp_backend(disk->codecs[slot_codec(flags)])->name;
	}
	if (flags & SLOT_IDLE)
		strcat(block->flags, "i");
	slot_unlock(slot, flags);
}

size_t disk_blocks(struct disk *disk, uint64_t from, uint64_t to, struct disk_block *blocks,
	size_t max, uint64_t *next)
{
	uint64_t end = min_u64(to, atomic_load(&disk->pages) - 1) + 1;
	uint32_t now = uz_seconds();
	size_t n = 0;

	while (n < max && (from = table_next(disk->table, from, end)) < end) {
		struct table_ref ref;

		if (!table_get(disk->table, from, false, &ref)) {
			from = (from | (LEAF_SLOTS - 1)) + 1;
			continue;
		}
		do {
			struct slot *slot = table_slot(&ref, from);

			if (slot_type(slot_peek(slot)) != SLOT_EMPTY) {
				block_of(disk, slot, from, now, &blocks[n]);
				/* Trimmed just now? */
				n += blocks[n].flags[0] || blocks[n].size;
			}
		} while (++from < end && n < max && (from & (LEAF_SLOTS - 1)));
		table_put(disk->table, &ref, 0);
	}
	*next = from < end ? from : to + 1;
	return n;
}
