/* SPDX-License-Identifier: BSD-3-Clause */
/* What the second tier's tests share beside wb-fixture.h: pages of every kind on a disk, and what
 * must hold in the end. */
#ifndef WB_PAGES_H
#define WB_PAGES_H

#include "disk-fixture.h"
#include "wb-fixture.h"

#define PAGES 512u

static unsigned char in[PAGES * 4096], out[PAGES * 4096];

/* Pages of every kind, mixed. */
static inline void fill_pages(void)
{
	for (unsigned i = 0; i < PAGES; i++)
		make(in + i * 4096, 4096, i % NR_KINDS);
}

static inline void write_pages(struct disk *disk)
{
	assert_int_equal(disk_write(disk, in, sizeof(in), 0, false), 0);
}

static inline void assert_content(struct disk *disk)
{
	memset(out, 0xa5, sizeof(out));
	assert_int_equal(disk_read(disk, out, sizeof(out), 0), 0);
	assert_memory_equal(in, out, sizeof(in));
}

static inline void assert_empties(struct disk *disk)
{
	struct disk_stat st;

	assert_int_equal(disk_trim(disk, disk_size(disk), 0), 0);
	assert_true(disk_check(disk));
	zpool_give_back(disk->pool); /* what is kept for staged pages */
	st = stat_of(disk);
	assert_int_equal(st.mm.orig_data_size, 0);
	assert_int_equal(st.mm.compr_data_size, 0);
	assert_int_equal(st.mm.mem_used_total, 0);
	assert_int_equal(st.mm.huge_pages, 0);
	assert_int_equal(st.limit_used, 0);
	assert_int_equal(st.bd.bd_count, 0);
	assert_int_equal(st.bd.bytes_used, 0);
	assert_int_equal(st.bd.decompressed, 0);
}

static inline void end(struct disk *disk)
{
	disk_flush(disk); /* or workers were busy with it */
	assert_true(disk_check(disk));
	assert_empties(disk);
	disk_destroy(disk);
}

static inline struct disk *filled(struct disk_config config)
{
	struct disk *disk;

	if (!config.size)
		config.size = 16 * MIB;
	disk = wb_disk(config);
	fill_pages();
	write_pages(disk);
	return disk;
}

static inline char state_of(struct disk *disk, uint64_t index)
{
	struct disk_block block;
	uint64_t next;

	if (!disk_blocks(disk, index, index, &block, 1, &next))
		return '-';
	if (strchr(block.flags, 'w'))
		return 'w';
	return block.flags[0] == 's' ? 's' : 'm';
}

#endif
