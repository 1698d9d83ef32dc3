/* SPDX-License-Identifier: BSD-3-Clause */
/* `metrics`: everything in Prometheus' text format. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "control_priv.h"
#include "streams/zcomp.h"

/* Of the buckets of 2^i ns, those that are worth a line: 0.5 us to 1 s. */
#define FIRST_BUCKET 9

struct sample {
	char name[DISK_NAME_MAX + 1];
	unsigned clients;
	struct disk_stat st;
	struct disk_ages ages;
};

/* A 64-bit member of struct disk_stat, for each disk. */
#define M(member) offsetof(struct disk_stat, member)
static const struct family {
	const char *name, *help;
	size_t at;
} families[] = {
	{ "uzram_disk_size_bytes", "Size of the disk as clients see it.", M(size) },
	{ "uzram_disk_data_bytes", "Data stored, before compression.", M(mm.orig_data_size) },
	{ "uzram_disk_compressed_bytes", "Data stored, after compression.",
		M(mm.compr_data_size) },
	{ "uzram_disk_memory_bytes", "Memory of the pool, fragmentation included.",
		M(mm.mem_used_total) },
	{ "uzram_disk_memory_max_bytes", "The most that the pool's memory has been.",
		M(mm.mem_used_max) },
	{ "uzram_disk_limit_bytes", "The limit for objects and table; 0: none.",
		M(mm.mem_limit) },
	{ "uzram_disk_limit_used_bytes", "What the limit counts: objects and table.",
		M(limit_used) },
	{ "uzram_disk_table_bytes", "Memory of the slot table.", M(table_bytes) },
	{ "uzram_disk_reserve_bytes", "Memory of the pool kept ready for swap.",
		M(reserve_bytes) },
	{ "uzram_disk_same_pages", "Stored pages of one repeated word.", M(mm.same_pages) },
	{ "uzram_disk_zero_pages", "Stored pages of zeroes.", M(zero_pages) },
	{ "uzram_disk_huge_pages", "Pages stored raw, as they do not compress.",
		M(mm.huge_pages) },
	{ "uzram_disk_huge_pages_total", "Pages that were ever stored raw.",
		M(mm.huge_pages_since) },
	{ "uzram_disk_compacted_pages_total", "Pages given back by compaction.",
		M(mm.pages_compacted) },
	{ "uzram_disk_staged_pages", "Acknowledged pages that wait for compression.",
		M(stage.pages) },
	{ "uzram_disk_coalesced_pages_total", "Writes to pages that were staged already.",
		M(stage.coalesced) },
	{ "uzram_disk_direct_pages_total", "Pages compressed by their writer.", M(stage.direct) },
	{ "uzram_disk_managed_pages_total", "Pages compressed on managed streams.",
		M(streams.managed) },
	{ "uzram_disk_percpu_pages_total", "Pages compressed on per-CPU streams.",
		M(streams.percpu) },
	{ "uzram_disk_fallback_pages_total",
		"Pages compressed on per-CPU streams that were meant for managed ones.",
		M(streams.fallback) },
	{ "uzram_disk_raw_pages_total", "Pages stored raw after compression was tried.",
		M(streams.raw) },
	{ "uzram_disk_batches_total", "Batches of staged pages.", M(streams.batches) },
	{ "uzram_disk_batch_pages_total", "Pages in batches.", M(streams.batch_pages) },
	{ "uzram_backing_pages", "Pages written back: their bytes are on the backing alone.",
		M(bd.bd_count) },
	{ "uzram_backing_read_pages_total", "Pages read from the backing.", M(bd.bd_reads) },
	{ "uzram_backing_written_pages_total", "Pages written back.", M(bd.bd_writes) },
	{ "uzram_backing_promoted_pages_total", "Pages read from the backing that stay in memory.",
		M(bd.promoted) },
	{ "uzram_backing_used_bytes", "Live records on the backing, with their headers.",
		M(bd.bytes_used) },
	{ "uzram_backing_allocated_bytes", "What the records take on the backing.",
		M(bd.bytes_allocated) },
	{ "uzram_backing_capacity_bytes", "What the backing can hold.", M(bd.capacity) },
	{ "uzram_backing_written_bytes_total", "Bytes written to the backing, cleaning included.",
		M(bd.bytes_written) },
	{ "uzram_backing_checksum_errors_total", "Records that were read damaged.",
		M(bd.checksum_errors) },
	{ "uzram_backing_read_errors_total", "Records that could not be read.",
		M(bd.read_errors) },
	{ "uzram_backing_write_errors_total", "Writes to the backing that failed.",
		M(bd.write_errors) },
	{ "uzram_writeback_limit_pages", "Pages that may still be written back, if that is limited.",
		M(wb.limit) },
	{ "uzram_writeback_passes_total", "Automatic passes that wrote something.", M(wb.passes) },
	{ "uzram_writeback_throttled_total", "Requests to write that were slowed.",
		M(wb.throttled) },
	{ "uzram_disk_read_pages_total", "Pages read.", M(reads) },
	{ "uzram_disk_written_pages_total", "Pages written.", M(writes) },
	{ "uzram_disk_trimmed_pages_total", "Pages trimmed or zeroed.", M(trims) },
	{ "uzram_disk_freed_pages_total", "Pages trimmed or zeroed, stored or not.",
		M(io.notify_free) },
	{ "uzram_disk_failed_reads_total", "Pages that could not be read.", M(io.failed_reads) },
	{ "uzram_disk_failed_writes_total", "Pages that could not be written.",
		M(io.failed_writes) },
	{ "uzram_disk_invalid_io_total", "Requests out of range.", M(io.invalid_io) },
};

/* In seconds, whatever the locale. */
static void write_seconds(FILE *f, uint64_t ns)
{
	fprintf(f, "%" PRIu64 ".%09" PRIu64, ns / 1000000000, ns % 1000000000);
}

static void head(FILE *f, const char *name, const char *help, const char *type)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_family(FILE *f, const struct family *family, const struct sample *samples,
	size_t nr)
{
	size_t len = strlen(family->name), i;
	bool total = strcmp(family->name + len - 6, "_total") == 0;

	head(f, family->name, family->help, total ? "counter" : "gauge");
	for (i = 0; i < nr; i++) {
		uint64_t value;

		memcpy(&value, (const char *)&samples[i].st + family->at, sizeof(value));
		fprintf(f, "%s{disk=\"%s\"} %" PRIu64 "\n", family->name, samples[i].name, value);
	}
}

static void write_disks(FILE *f, const struct sample *samples, size_t nr)
{
	size_t i;

	head(f, "uzram_disk_info", "The disk's algorithm and its level.", "gauge");
	for (i = 0; i < nr; i++) {
		const struct disk_stat *st = &samples[i].st;

		fprintf(f, "uzram_disk_info{disk=\"%s\",algorithm=\"%s\",level=\"", samples[i].name,
			st->algorithm);
		if (st->level != ZCOMP_LEVEL_UNSET)
			fprintf(f, "%d", st->level);
		fprintf(f, "\"} 1\n");
	}
	head(f, "uzram_disk_clients", "Connections of clients to the disk.", "gauge");
	for (i = 0; i < nr; i++)
		fprintf(f, "uzram_disk_clients{disk=\"%s\"} %u\n", samples[i].name,
			samples[i].clients);
	for (i = 0; i < ARRAY_SIZE(families); i++)
		write_family(f, &families[i], samples, nr);
}

/* What is one or the other, for each disk. */
static void write_flags(FILE *f, const struct sample *samples, size_t nr)
{
	static const char *const names[] = { "uzram_writeback_automatic",
		"uzram_writeback_limited", "uzram_writeback_paused" };
	static const char *const helps[] = { "1: cold pages are written back by themselves.",
		"1: uzram_writeback_limit_pages counts.",
		"1: writes to the backing failed too often; they are tried again later." };
	size_t i, k;

	for (k = 0; k < ARRAY_SIZE(names); k++) {
		head(f, names[k], helps[k], "gauge");
		for (i = 0; i < nr; i++) {
			const struct disk_stat *st = &samples[i].st;
			const bool values[] = { st->wb.automatic, st->wb.limit_enable,
				st->bd.paused };

			fprintf(f, "%s{disk=\"%s\"} %d\n", names[k], samples[i].name, values[k]);
		}
	}
}

/* Stored pages by their age: of those younger than so many seconds, and not than the one before. */
static void write_ages(FILE *f, const struct sample *samples, size_t nr)
{
	static const char *const names[] = { "uzram_disk_age_pages", "uzram_disk_age_bytes" };
	static const char *const helps[] = {
		"Stored pages last accessed less than so many seconds ago, by age.",
		"What they take, in memory or on the backing." };
	size_t i, k;
	unsigned a;

	for (k = 0; k < ARRAY_SIZE(names); k++) {
		head(f, names[k], helps[k], "gauge");
		for (i = 0; i < nr; i++) {
			const struct disk_ages *ages = &samples[i].ages;

			for (a = 0; a < DISK_AGES; a++) {
				fprintf(f, "%s{disk=\"%s\",younger=\"", names[k], samples[i].name);
				if (a < DISK_AGES - 1)
					fprintf(f, "%" PRIu32, disk_age_limits[a]);
				else
					fputs("+Inf", f);
				fprintf(f, "\"} %" PRIu64 "\n", k ? ages->bytes[a] : ages->pages[a]);
			}
		}
	}
}

static void write_histogram(FILE *f, const struct sample *sample, enum disk_op op)
{
	const uint64_t *counts = sample->st.latency[op];
	char labels[DISK_NAME_MAX + 64];
	uint64_t total = 0;
	int i;

	snprintf(labels, sizeof(labels), "disk=\"%s\",op=\"%s\"", sample->name,
		disk_op_names[op]);
	for (i = 0; i < DISK_LATENCY_BUCKETS; i++) {
		total += counts[i];
		if (i < FIRST_BUCKET || i == DISK_LATENCY_BUCKETS - 1)
			continue;
		fprintf(f, "uzram_request_duration_seconds_bucket{%s,le=\"", labels);
		write_seconds(f, UINT64_C(1) << i);
		fprintf(f, "\"} %" PRIu64 "\n", total);
	}
	fprintf(f, "uzram_request_duration_seconds_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", labels,
		total);
	fprintf(f, "uzram_request_duration_seconds_sum{%s} ", labels);
	write_seconds(f, sample->st.latency_sum_ns[op]);
	fprintf(f, "\nuzram_request_duration_seconds_count{%s} %" PRIu64 "\n", labels, total);
}

static void write_latency(FILE *f, const struct sample *samples, size_t nr)
{
	size_t i;
	int op;

	head(f, "uzram_request_duration_seconds",
		"Time that requests took inside the server, by kind.", "histogram");
	for (i = 0; i < nr; i++)
		for (op = 0; op < NR_DISK_OPS; op++)
			write_histogram(f, &samples[i], op);
}

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	uint64_t pages = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%*u %" SCNu64, &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void write_process(FILE *f, const struct control *control)
{
	struct rusage ru = { 0 };
	unsigned open = 0;
	size_t i;

	for (i = 0; i < CTL_CONNS_MAX; i++)
		open += control->conns[i] != NULL;
	getrusage(RUSAGE_SELF, &ru);
	head(f, "uzram_build_info", "The version that serves.", "gauge");
	fprintf(f, "uzram_build_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
	head(f, "uzram_control_connections", "Open connections to the control socket.", "gauge");
	fprintf(f, "uzram_control_connections %u\n", open);
	head(f, "process_resident_memory_bytes", "Resident memory of the server.", "gauge");
	fprintf(f, "process_resident_memory_bytes %" PRIu64 "\n", resident_bytes());
	head(f, "process_cpu_seconds_total", "CPU time of the server, user and system.", "counter");
	fputs("process_cpu_seconds_total ", f);
	write_seconds(f, (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000000 +
			(uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * 1000);
	fputc('\n', f);
}

/* All disks, each at one moment: the format wants them metric by metric. NULL: no memory. */
static struct sample *take_samples(struct registry *registry, size_t *nr)
{
	size_t room = registry_count(registry);
	struct sample *samples = calloc(room + 1, sizeof(*samples));
	struct disk *disk;

	*nr = 0;
	if (!samples)
		return NULL;
	for (disk = ctl_next_disk(registry, NULL); disk; disk = ctl_next_disk(registry, disk)) {
		struct sample *sample = &samples[*nr];

		/* One more than there were: it is in the next answer. */
		if (*nr == room)
			continue;
		snprintf(sample->name, sizeof(sample->name), "%s", disk_name(disk));
		sample->clients = registry_clients(registry, disk);
		disk_get_stat(disk, &sample->st);
		disk_get_ages(disk, &sample->ages);
		++*nr;
	}
	return samples;
}

json_t *ctl_run_metrics(const struct ctl_call *call)
{
	CLEANUP_FREE struct sample *samples = NULL;
	CLEANUP_FREE char *text = NULL;
	size_t nr, len;
	FILE *f;

	samples = take_samples(call->registry, &nr);
	if (!samples)
		return NULL;
	f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	write_process(f, call->control);
	if (nr) {
		write_disks(f, samples, nr);
		write_flags(f, samples, nr);
		write_ages(f, samples, nr);
		write_latency(f, samples, nr);
	}
	if (fclose(f) != 0)
		return NULL;
	return json_pack("{s:s}", "text", text);
}
