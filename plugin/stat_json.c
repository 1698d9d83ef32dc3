/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The documents that the control socket answers with. Names are an interface:
 * docs/stat.schema.json has them all. Bytes where the name says size, used,
 * limit or bytes, else pages.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "control_priv.h"
#include "streams/zcomp.h"

#define STAT_VERSION 1

/* json_pack's I. No counter gets near 2^63. */
#define N(x) ((json_int_t)(x))

static json_t *mm_document(const struct disk_stat *st)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "orig_data_size",
		N(st->mm.orig_data_size), "compr_data_size", N(st->mm.compr_data_size),
		"mem_used_total", N(st->mm.mem_used_total), "mem_limit", N(st->mm.mem_limit),
		"mem_used_max", N(st->mm.mem_used_max), "same_pages", N(st->mm.same_pages),
		"pages_compacted", N(st->mm.pages_compacted), "huge_pages", N(st->mm.huge_pages),
		"huge_pages_since", N(st->mm.huge_pages_since));
}

static json_t *io_document(const struct disk_stat *st)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "failed_reads", N(st->io.failed_reads),
		"failed_writes", N(st->io.failed_writes), "invalid_io", N(st->io.invalid_io),
		"notify_free", N(st->io.notify_free));
}

static json_t *disk_document(struct disk *disk)
{
	struct disk_stat st;
	json_t *level = NULL;

	disk_get_stat(disk, &st);
	if (st.level != ZCOMP_LEVEL_UNSET)
		level = json_integer(st.level);
	/* o* and o? differ: a missing level is left out, a missing part is no memory. */
	return json_pack("{s:s, s:I, s:s, s:o*, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I}",
		"name", disk_name(disk), "size", N(st.size), "algorithm", st.algorithm, "level",
		level, "limit_used", N(st.limit_used), "mm_stat", mm_document(&st), "io_stat",
		io_document(&st), "zero_pages", N(st.zero_pages), "table_bytes", N(st.table_bytes),
		"reserve_bytes", N(st.reserve_bytes), "reads", N(st.reads), "writes", N(st.writes),
		"trims", N(st.trims));
}

/* As zramctl counts: DATA over TOTAL. null with nothing stored. */
static json_t *ratio(const struct disk_stat *st)
{
	if (!st->mm.orig_data_size || !st->mm.mem_used_total)
		return json_null();
	return json_real((double)st->mm.orig_data_size / (double)st->mm.mem_used_total);
}

/* zramctl's columns, under zramctl's names. */
static json_t *list_row(struct disk *disk)
{
	struct disk_stat st;

	disk_get_stat(disk, &st);
	return json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I}",
		"name", disk_name(disk), "disksize", N(st.size), "data", N(st.mm.orig_data_size),
		"compr", N(st.mm.compr_data_size), "algorithm", st.algorithm, "streams",
		N(zcomp_nr_streams()), "zero_pages", N(st.mm.same_pages), "total",
		N(st.mm.mem_used_total), "mem_limit", N(st.mm.mem_limit), "mem_used",
		N(st.mm.mem_used_max), "migrated", N(st.mm.pages_compacted), "comp_ratio",
		ratio(&st), "wb", N(0));
}

/* `row` for one disk or for all. NULL: no memory. */
static json_t *rows(const struct disk_set *set, struct disk *disk, json_t *(*row)(struct disk *))
{
	json_t *array = json_array();
	size_t i;

	for (i = 0; array && i < set->nr; i++) {
		if (disk && set->disks[i] != disk)
			continue;
		if (json_array_append_new(array, row(set->disks[i])) != 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

json_t *stat_document(const struct disk_set *set, struct disk *disk)
{
	return json_pack(
		"{s:i, s:o}", "version", STAT_VERSION, "disks", rows(set, disk, disk_document));
}

json_t *list_document(const struct disk_set *set)
{
	return json_pack("{s:o}", "disks", rows(set, NULL, list_row));
}
