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

static json_t *bd_document(const struct disk_stat *st)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "bd_count",
		N(st->bd.bd_count), "bd_reads", N(st->bd.bd_reads), "bd_writes",
		N(st->bd.bd_writes), "bytes_used", N(st->bd.bytes_used), "bytes_allocated",
		N(st->bd.bytes_allocated), "bytes_written", N(st->bd.bytes_written),
		"checksum_errors", N(st->bd.checksum_errors), "read_errors",
		N(st->bd.read_errors), "write_errors", N(st->bd.write_errors), "capacity",
		N(st->bd.capacity), "promoted", N(st->bd.promoted), "decompressed",
		N(st->bd.decompressed));
}

/* How it is set, and what it does. NULL: there is no backing. */
static json_t *writeback_document(const struct disk_stat *st)
{
	return json_pack("{s:s, s:s, s:b, s:i, s:i, s:i, s:s, s:b, s:I, s:I, s:I, s:f}", "mode",
		st->wb.automatic ? "auto" : "manual", "backing", st->bd.kind, "paused",
		st->bd.paused, "high", st->wb.high, "low", st->wb.low, "batch", st->wb.batch,
		"promote", disk_promote_names[st->wb.promote], "limit_enable",
		st->wb.limit_enable, "limit", N(st->wb.limit), "passes", N(st->wb.passes),
		"throttled", N(st->wb.throttled), "throttled_ms",
		(double)st->wb.throttled_ns / 1e6);
}

/* [[s, pages, bytes], ...]: younger than so many seconds, and not than the one before. */
static json_t *ages_document(struct disk *disk)
{
	json_t *array = json_array();
	struct disk_ages ages;

	disk_get_ages(disk, &ages);
	for (unsigned i = 0; array && i < DISK_AGES; i++) {
		json_t *limit = i < DISK_AGES - 1 ? json_integer(disk_age_limits[i]) : json_null();

		if (json_array_append_new(array, json_pack("[o, I, I]", limit, N(ages.pages[i]),
			    N(ages.bytes[i]))) != 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* The time that bucket i begins with, in us. */
static double edge(unsigned i)
{
	return i ? (double)(UINT64_C(1) << (i - 1)) / 1000 : 0;
}

/*
 * The time within which `share` of the requests were done: their bucket is known,
 * and inside it they are taken to be spread evenly. The last one has no end.
 */
static json_t *quantile(const uint64_t *counts, uint64_t total, double share)
{
	double before = 0, wanted = (double)total * share;
	unsigned i;

	for (i = 0; total && i < DISK_LATENCY_BUCKETS - 1; i++) {
		if (counts[i] && before + (double)counts[i] >= wanted)
			return json_real(edge(i) + (edge(i + 1) - edge(i)) * (wanted - before) /
							   (double)counts[i]);
		before += (double)counts[i];
	}
	return total ? json_real(edge(i)) : json_null();
}

/* [[us, requests that took less, and not less than the one before], ...], none empty. */
static json_t *buckets(const uint64_t *counts)
{
	json_t *array = json_array();
	unsigned i;

	for (i = 0; array && i < DISK_LATENCY_BUCKETS; i++) {
		json_t *upper;

		if (!counts[i])
			continue;
		upper = i < DISK_LATENCY_BUCKETS - 1 ? json_real(edge(i + 1)) : json_null();
		if (json_array_append_new(array, json_pack("[o, I]", upper, N(counts[i]))) != 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

json_t *histogram_document(const uint64_t *counts, uint64_t sum_ns)
{
	uint64_t total = 0;
	unsigned i, last = 0;

	for (i = 0; i < DISK_LATENCY_BUCKETS; i++) {
		total += counts[i];
		if (counts[i])
			last = i;
	}
	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "count", N(total), "mean",
		total ? json_real((double)sum_ns / (double)total / 1000) : json_null(), "p50",
		quantile(counts, total, 0.5), "p99", quantile(counts, total, 0.99), "max",
		total && last < DISK_LATENCY_BUCKETS - 1 ? json_real(edge(last + 1)) : json_null(),
		"buckets", buckets(counts));
}

static json_t *latency_document(const struct disk_stat *st)
{
	json_t *document = json_object();
	int op;

	for (op = 0; document && op < NR_DISK_OPS; op++) {
		if (json_object_set_new(document, disk_op_names[op],
			    histogram_document(st->latency[op], st->latency_sum_ns[op])) != 0) {
			json_decref(document);
			return NULL;
		}
	}
	return document;
}

static json_t *stage_document(const struct disk_stat *st)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I}", "write", st->stage.behind ? "behind" : "through",
		"pages", N(st->stage.pages), "pages_max", N(st->stage.pages_max), "coalesced",
		N(st->stage.coalesced), "direct", N(st->stage.direct));
}

/* [[pages, batches of up to so many, and more than those before], ...], none empty. */
static json_t *batch_sizes(const struct disk_stat *st)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && i < BATCH_BUCKETS; i++)
		if (st->streams.batch_sizes[i] &&
			json_array_append_new(array, json_pack("[i, I]", 1 << i,
				N(st->streams.batch_sizes[i]))) != 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *streams_document(const struct disk_stat *st)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "managed", N(st->streams.managed),
		"percpu", N(st->streams.percpu), "fallback", N(st->streams.fallback), "raw",
		N(st->streams.raw), "batches", N(st->streams.batches), "batch_pages",
		N(st->streams.batch_pages), "batch_sizes", batch_sizes(st));
}

static json_t *disk_document(struct registry *registry, struct disk *disk)
{
	struct disk_stat st;
	json_t *level = NULL, *writeback = NULL;

	disk_get_stat(disk, &st);
	if (st.level != ZCOMP_LEVEL_UNSET)
		level = json_integer(st.level);
	if (st.has_backing) {
		writeback = writeback_document(&st);
		if (!writeback) {
			json_decref(level);
			return NULL;
		}
	}
	/* o* and o? differ: a missing level is left out, a missing part is no memory. */
	return json_pack("{s:s, s:I, s:s, s:o*, s:I, s:I, s:o, s:o, s:o, s:o*, s:o, s:o, s:o, s:I, "
			 "s:I, s:I, s:I, s:I, s:I, s:o}",
		"name", disk_name(disk), "size", N(st.size), "algorithm", st.algorithm, "level",
		level, "clients", N(registry_clients(registry, disk)), "limit_used",
		N(st.limit_used), "mm_stat", mm_document(&st), "io_stat", io_document(&st),
		"bd_stat", bd_document(&st), "writeback", writeback, "ages", ages_document(disk),
		"stage", stage_document(&st), "streams", streams_document(&st), "zero_pages",
		N(st.zero_pages), "table_bytes", N(st.table_bytes), "reserve_bytes",
		N(st.reserve_bytes), "reads", N(st.reads), "writes", N(st.writes),
		"trims", N(st.trims), "latency_us", latency_document(&st));
}

/* As zramctl counts: DATA over TOTAL. null with nothing stored. */
static json_t *ratio(const struct disk_stat *st)
{
	if (!st->mm.orig_data_size || !st->mm.mem_used_total)
		return json_null();
	return json_real((double)st->mm.orig_data_size / (double)st->mm.mem_used_total);
}

/* zramctl's columns, under zramctl's names. */
static json_t *list_row(struct registry *registry, struct disk *disk)
{
	struct disk_stat st;

	disk_get_stat(disk, &st);
	return json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I}",
		"name", disk_name(disk), "disksize", N(st.size), "data", N(st.mm.orig_data_size),
		"compr", N(st.mm.compr_data_size), "algorithm", st.algorithm, "streams",
		N(zcomp_nr_streams()), "zero_pages", N(st.mm.same_pages), "total",
		N(st.mm.mem_used_total), "mem_limit", N(st.mm.mem_limit), "mem_used",
		N(st.mm.mem_used_max), "migrated", N(st.mm.pages_compacted), "comp_ratio",
		ratio(&st), "wb", N(st.bd.bytes_used));
}

typedef json_t *row_fn(struct registry *registry, struct disk *disk);

/* NULL: no memory. */
static json_t *all_rows(struct registry *registry, row_fn *row)
{
	json_t *array = json_array();
	struct disk *disk;

	if (!array)
		return NULL;
	for (disk = ctl_next_disk(registry, NULL); disk; disk = ctl_next_disk(registry, disk)) {
		if (json_array_append_new(array, row(registry, disk)) != 0) {
			registry_put(registry, disk);
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

json_t *stat_document(struct registry *registry, struct disk *disk)
{
	/* o*: left out without an accelerator. */
	return json_pack("{s:i, s:o, s:o*}", "version", STAT_VERSION, "disks",
		disk ? json_pack("[o]", disk_document(registry, disk)) :
		       all_rows(registry, disk_document),
		"accel", accel_document(registry));
}

json_t *list_document(struct registry *registry)
{
	return json_pack("{s:o}", "disks", all_rows(registry, list_row));
}
