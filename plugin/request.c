/* SPDX-License-Identifier: BSD-3-Clause */
/* Byte ranges: cut into leaves, those into pages and the parts of pages at the edges. */
#include "disk_priv.h"

#define LEAF_BYTES ((uint64_t)LEAF_SLOTS * PAGE_SIZE)

/* How much of `count` bytes from `offset` lies before the next multiple of `unit`. */
static uint64_t up_to(uint64_t unit, uint64_t offset, uint64_t count)
{
	return min_u64(count, unit - (offset & (unit - 1)));
}

static int read_leaf(struct disk *disk, struct table_ref *ref, char *buf, uint64_t count,
	uint64_t offset)
{
	while (count > 0) {
		uint64_t n = up_to(PAGE_SIZE, offset, count);
		struct slot *slot = table_slot(ref, offset >> PAGE_SHIFT);
		char page[PAGE_SIZE];
		bool whole = n == PAGE_SIZE;

		if (page_read(disk, slot, whole ? buf : page) == -1)
			return -1;
		if (!whole)
			memcpy(buf, page + (offset & (PAGE_SIZE - 1)), n);
		buf += n;
		offset += n;
		count -= n;
	}
	return 0;
}

static uint64_t pages_touched(uint64_t offset, uint64_t count)
{
	return count ? ((offset + count - 1) >> PAGE_SHIFT) - (offset >> PAGE_SHIFT) + 1 : 0;
}

int disk_read(struct disk *disk, void *buf, uint64_t len, uint64_t offset)
{
	char *p = buf;

	count(disk, C_READS, (int64_t)pages_touched(offset, len));
	while (len > 0) {
		uint64_t n = up_to(LEAF_BYTES, offset, len);
		struct table_ref ref;
		int ret = 0;

		if (table_get(disk->table, offset >> PAGE_SHIFT, false, &ref)) {
			ret = read_leaf(disk, &ref, p, n, offset);
			table_put(disk->table, &ref);
		} else {
			memset(p, 0, n);
		}
		if (ret == -1) {
			count(disk, C_FAILED_READS, 1);
			return -1;
		}
		p += n;
		offset += n;
		len -= n;
	}
	return 0;
}

static int write_leaf(struct disk *disk, struct table_ref *ref, const char *buf, uint64_t count,
	uint64_t offset)
{
	while (count > 0) {
		uint64_t n = up_to(PAGE_SIZE, offset, count), index = offset >> PAGE_SHIFT;
		int ret;

		if (n == PAGE_SIZE)
			ret = page_write(disk, ref, index, buf);
		else
			ret = page_write_part(disk, ref, index, buf, offset & (PAGE_SIZE - 1), n);
		if (ret == -1)
			return -1;
		buf += n;
		offset += n;
		count -= n;
	}
	return 0;
}

int disk_write(struct disk *disk, const void *buf, uint64_t len, uint64_t offset)
{
	const char *p = buf;

	count(disk, C_WRITES, (int64_t)pages_touched(offset, len));
	while (len > 0) {
		uint64_t n = up_to(LEAF_BYTES, offset, len);
		struct table_ref ref;
		int ret = -1;

		if (table_get(disk->table, offset >> PAGE_SHIFT, true, &ref)) {
			ret = write_leaf(disk, &ref, p, n, offset);
			table_put(disk->table, &ref);
		}
		if (ret == -1) {
			count(disk, C_FAILED_WRITES, 1);
			return -1;
		}
		p += n;
		offset += n;
		len -= n;
	}
	return 0;
}

static int trim_leaf(struct disk *disk, struct table_ref *ref, uint64_t count, uint64_t offset)
{
	while (count > 0) {
		uint64_t n = up_to(PAGE_SIZE, offset, count), index = offset >> PAGE_SHIFT;

		if (n == PAGE_SIZE)
			page_free(disk, ref, index);
		else if (page_write_part(disk, ref, index, NULL, offset & (PAGE_SIZE - 1), n) == -1)
			return -1;
		offset += n;
		count -= n;
	}
	return 0;
}

/* Whole pages in the range, stored or not: zram's notify_free counts both. */
static uint64_t pages_inside(uint64_t offset, uint64_t count)
{
	uint64_t first = (offset + PAGE_SIZE - 1) >> PAGE_SHIFT;
	uint64_t end = (offset + count) >> PAGE_SHIFT;

	return end > first ? end - first : 0;
}

int disk_trim(struct disk *disk, uint64_t len, uint64_t offset)
{
	uint64_t end = offset + len, whole = pages_inside(offset, len);

	count(disk, C_TRIMS, (int64_t)whole);
	count(disk, C_NOTIFY_FREE, (int64_t)whole);
	while (offset < end) {
		uint64_t last_page = (end - 1) >> PAGE_SHIFT;
		uint64_t index = table_next(disk->table, offset >> PAGE_SHIFT, last_page + 1);
		struct table_ref ref;
		uint64_t n;
		int ret;

		if (index > last_page)
			break; /* holes to the end */
		if (index > offset >> PAGE_SHIFT)
			offset = index << PAGE_SHIFT;
		n = up_to(LEAF_BYTES, offset, end - offset);
		if (table_get(disk->table, index, false, &ref)) {
			ret = trim_leaf(disk, &ref, n, offset);
			table_put(disk->table, &ref);
			if (ret == -1) {
				count(disk, C_FAILED_WRITES, 1);
				return -1;
			}
		}
		offset += n;
	}
	return 0;
}

int disk_flush(struct disk *disk)
{
	return 0;
}
