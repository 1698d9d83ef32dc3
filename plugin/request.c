/* SPDX-License-Identifier: BSD-3-Clause */
/* Byte ranges: cut into leaves, those into pages and the parts of pages at the edges. */
#include "disk_priv.h"

#define LEAF_BYTES ((uint64_t)LEAF_SLOTS * PAGE_SIZE)

/* How much of `count` bytes from `offset` lies before the next multiple of `unit`. */
static uint64_t up_to(uint64_t unit, uint64_t offset, uint64_t count)
{
	return min_u64(count, unit - (offset & (unit - 1)));
}

static uint64_t pages_touched(uint64_t offset, uint64_t len)
{
	return len ? ((offset + len - 1) >> PAGE_SHIFT) - (offset >> PAGE_SHIFT) + 1 : 0;
}

struct page_io io_begin(struct disk *disk, uint64_t start)
{
	return (struct page_io){ .disk = disk, .now = (uint32_t)(start / 1000000000) };
}

/* What the request changed, to the disk's counters. */
void io_end(struct page_io *io)
{
	if (io->disk->behind)
		io_stage_end(io);
	if (io->charged)
		atomic_fetch_add_explicit(&io->disk->charged, (uint64_t)io->charged,
			memory_order_relaxed);
	for (unsigned i = 0; i < NR_COUNTERS; i++)
		if (io->counts[i])
			count(io->disk, i, io->counts[i]);
	if (io->disk->log && !io->upkeep &&
		(evict_wanted(io->disk) ||
			(io->counts[C_BACKED] < 0 && log_clean_wanted(io->disk->log))))
		evict_kick(io->disk);
}

void io_flush(struct page_io *io)
{
	io_end(io);
	io->charged = 0;
	memset(io->counts, 0, sizeof(io->counts));
}

/*
 * A request keeps its stream for some pages, as getting one means locked instructions, and these
 * wait until the page before has left the store buffer. Not for many: others may need it.
 */
#define STREAM_PAGES 32

static void page_done(struct page_io *io, uint64_t index)
{
	if ((index + 1) % STREAM_PAGES == 0)
		io_stream_put(io);
}

static int read_leaf(struct page_io *io, char *buf, uint64_t len, uint64_t offset)
{
	while (len > 0) {
		uint64_t n = up_to(PAGE_SIZE, offset, len), index = offset >> PAGE_SHIFT;
		char page[PAGE_SIZE];
		bool whole = n == PAGE_SIZE;
		int ret;

		/* Objects lie anywhere: fetch the next while this one is decoded. */
		if (len > n && ((index + 1) & (LEAF_SLOTS - 1)))
			page_prefetch(io, index + 1);
		ret = page_read(io, index, whole ? buf : page);
		if (ret == -1)
			return -1;
		if (!whole) {
			if (ret == 1)
				gather_fetch(io);
			memcpy(buf, page + (offset & (PAGE_SIZE - 1)), n);
		}
		page_done(io, index);
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

static int read_range(struct page_io *io, char *buf, uint64_t len, uint64_t offset)
{
	struct table *table = io->disk->table;

	while (len > 0) {
		uint64_t n = up_to(LEAF_BYTES, offset, len);
		int ret = 0;

		if (table_get(table, offset >> PAGE_SHIFT, false, &io->ref)) {
			ret = read_leaf(io, buf, n, offset);
			io_leaf_put(io);
		} else {
			memset(buf, 0, n);
		}
		if (ret == -1)
			return -1;
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int disk_read(struct disk *disk, void *buf, uint64_t len, uint64_t offset)
{
	uint64_t start = uz_nsec();
	struct page_io io = io_begin(disk, start);
	struct page_gather gather;
	int ret;

	if (unlikely(disk->log)) {
		gather.n = gather.failed = 0;
		io.gather = &gather;
	}
	ret = read_range(&io, buf, len, offset);
	if (unlikely(disk->log)) {
		gather_fetch(&io);
		if (gather.failed) {
			errno = EIO;
			ret = -1;
		}
	}
	io.counts[C_READS] = (int64_t)pages_touched(offset, len);
	io.counts[C_FAILED_READS] = ret == -1;
	io_end(&io);
	count_latency(disk, DISK_READ, start);
	return ret;
}

static int write_leaf(struct page_io *io, const char *buf, uint64_t len, uint64_t offset)
{
	while (len > 0) {
		uint64_t n = up_to(PAGE_SIZE, offset, len), index = offset >> PAGE_SHIFT;
		int ret;

		if (n == PAGE_SIZE)
			ret = page_write(io, index, buf);
		else
			ret = page_write_part(io, index, buf, offset & (PAGE_SIZE - 1), n);
		if (ret == -1)
			return -1;
		page_done(io, index);
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

static int write_range(struct page_io *io, const char *buf, uint64_t len, uint64_t offset)
{
	struct table *table = io->disk->table;

	while (len > 0) {
		uint64_t n = up_to(LEAF_BYTES, offset, len);
		int ret;

		while (unlikely(!table_get(table, offset >> PAGE_SHIFT, true, &io->ref)))
			if (errno != ENOSPC || !(io_wait_for_room(io) || evict_wait(io)))
				return -1;
		ret = write_leaf(io, buf, n, offset);
		io_leaf_put(io);
		if (ret == -1)
			return -1;
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

/* Are writers told to compress for themselves? Staged pages they still overwrite where they are. */
static bool alone(struct disk *disk, uint64_t now)
{
	unsigned shard = likely(disk_shard) ? disk_shard : disk_shard_pick();

	atomic_store_explicit(&disk->shards[shard - 1].wrote_at, now, memory_order_relaxed);
	return now < atomic_load_explicit(&disk->alone_until, memory_order_relaxed);
}

int disk_write(struct disk *disk, const void *buf, uint64_t len, uint64_t offset, bool fua)
{
	uint64_t start = uz_nsec(), pages = pages_touched(offset, len);
	struct page_io io = io_begin(disk, start);
	int ret;

	evict_throttle(disk, &io);
	io.through = fua || !disk->behind || !drain_running();
	if (!io.through && !alone(disk, start))
		io.room = stage_reserve(&disk->stage, (unsigned)min_u64(pages, UINT32_MAX));
	ret = write_range(&io, buf, len, offset);
	io.counts[C_WRITES] = (int64_t)pages;
	io.counts[C_FAILED_WRITES] = ret == -1;
	io_end(&io);
	count_latency(disk, DISK_WRITE, start);
	return ret;
}

static int trim_leaf(struct page_io *io, uint64_t len, uint64_t offset)
{
	while (len > 0) {
		uint64_t n = up_to(PAGE_SIZE, offset, len), index = offset >> PAGE_SHIFT;

		if (n == PAGE_SIZE)
			page_free(io, index);
		else if (page_write_part(io, index, NULL, offset & (PAGE_SIZE - 1), n) == -1)
			return -1;
		offset += n;
		len -= n;
	}
	return 0;
}

static int trim_range(struct page_io *io, uint64_t len, uint64_t offset)
{
	struct table *table = io->disk->table;
	uint64_t end = offset + len;

	while (offset < end) {
		uint64_t last_page = (end - 1) >> PAGE_SHIFT;
		uint64_t index = table_next(table, offset >> PAGE_SHIFT, last_page + 1);
		uint64_t n;
		int ret = 0;

		if (index > last_page)
			break; /* holes to the end */
		if (index > offset >> PAGE_SHIFT)
			offset = index << PAGE_SHIFT;
		n = up_to(LEAF_BYTES, offset, end - offset);
		if (table_get(table, index, false, &io->ref)) {
			ret = trim_leaf(io, n, offset);
			io_leaf_put(io);
		}
		if (ret == -1)
			return -1;
		offset += n;
	}
	return 0;
}

void range_free(struct page_io *io, uint64_t from, uint64_t end)
{
	trim_range(io, (end - from) * PAGE_SIZE, from * PAGE_SIZE);
	io_end(io);
}

/* Whole pages in the range, stored or not: zram's notify_free counts both. */
static uint64_t pages_inside(uint64_t offset, uint64_t len)
{
	uint64_t first = (offset + PAGE_SIZE - 1) >> PAGE_SHIFT;
	uint64_t end = (offset + len) >> PAGE_SHIFT;

	return end > first ? end - first : 0;
}

int disk_trim(struct disk *disk, uint64_t len, uint64_t offset)
{
	uint64_t start = uz_nsec(), whole = pages_inside(offset, len);
	struct page_io io = io_begin(disk, start);
	int ret = trim_range(&io, len, offset);

	io.counts[C_TRIMS] = io.counts[C_NOTIFY_FREE] = (int64_t)whole;
	io.counts[C_FAILED_WRITES] = ret == -1;
	io_end(&io);
	count_latency(disk, DISK_TRIM, start);
	return ret;
}

/* How long a flush waits before it asks the workers again: nothing is lost if they do not hear. */
#define FLUSH_AGAIN (2 * 1000 * 1000ull) /* ns */

void disk_stage_wait(struct disk *disk)
{
	uint64_t cut;

	if (disk->behind && stage_cut(&disk->stage, &cut))
		do
			drain_wake(disk);
		while (!stage_wait(&disk->stage, cut, FLUSH_AGAIN) && drain_running());
}

int disk_flush(struct disk *disk)
{
	uint64_t start = uz_nsec();

	disk_stage_wait(disk);
	count_latency(disk, DISK_FLUSH, start);
	return 0;
}
