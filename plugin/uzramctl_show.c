/* SPDX-License-Identifier: BSD-3-Clause */
/* uzramctl's answers for people. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <inttypes.h>
#include <string.h>

#include "uzramctl.h"

#define TEXT_MAX 128

enum kind { TEXT, SIZE, COUNT, RATIO, YES_NO };

/* As zramctl writes sizes: 63B, 4K, 1.5G. Rounded to a tenth. */
static void human(char *buf, size_t len, uint64_t bytes)
{
	unsigned exp = 0, tenths;
	uint64_t whole, rest;

	while (exp < 60 && bytes >> (exp + 10))
		exp += 10;
	whole = bytes >> exp;
	rest = bytes & ((UINT64_C(1) << exp) - 1);
	/* Ten bits of it will do. */
	tenths = exp ? ((unsigned)(rest >> (exp - 10)) * 10 + 512) >> 10 : 0;
	if (tenths == 10) {
		whole++;
		tenths = 0;
	}
	if (tenths)
		snprintf(buf, len, "%" PRIu64 ".%u%c", whole, tenths, "BKMGTPE"[exp / 10]);
	else
		snprintf(buf, len, "%" PRIu64 "%c", whole, "BKMGTPE"[exp / 10]);
}

/* false: there is no such value. */
static bool format(char *buf, const json_t *value, enum kind kind)
{
	if (!value)
		return false;
	strcpy(buf, "-");
	if (kind == TEXT && json_is_string(value))
		snprintf(buf, TEXT_MAX, "%s", json_string_value(value));
	else if (kind == SIZE && json_is_integer(value))
		human(buf, TEXT_MAX, json_integer_value(value));
	else if (kind == COUNT && json_is_integer(value))
		snprintf(buf, TEXT_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (kind == RATIO && json_is_number(value))
		snprintf(buf, TEXT_MAX, "%.4f", json_number_value(value));
	else if (kind == YES_NO && json_is_boolean(value))
		strcpy(buf, json_is_true(value) ? "yes" : "no");
	return true;
}

static const struct {
	const char *heading, *key;
	enum kind kind;
} columns[] = {
	{ "NAME", "name", TEXT },
	{ "DISKSIZE", "disksize", SIZE },
	{ "DATA", "data", SIZE },
	{ "COMPR", "compr", SIZE },
	{ "ALGORITHM", "algorithm", TEXT },
	{ "STREAMS", "streams", COUNT },
	{ "ZERO-PAGES", "zero_pages", COUNT },
	{ "TOTAL", "total", SIZE },
	{ "MEM-LIMIT", "mem_limit", SIZE },
	{ "MEM-USED", "mem_used", SIZE },
	{ "MIGRATED", "migrated", COUNT },
	{ "COMP-RATIO", "comp_ratio", RATIO },
	{ "WB", "wb", SIZE },
};

/* What stands in a cell; row NULL: the heading. */
static void cell(char *buf, const json_t *row, size_t column)
{
	if (!row)
		strcpy(buf, columns[column].heading);
	else if (!format(buf, json_object_get(row, columns[column].key), columns[column].kind))
		strcpy(buf, "-");
}

static void print_row(const json_t *row, const int *widths)
{
	char buf[TEXT_MAX];
	size_t c;

	for (c = 0; c < ARRAY_SIZE(columns); c++) {
		cell(buf, row, c);
		printf("%s%*s", c ? " " : "", columns[c].kind == TEXT ? -widths[c] : widths[c],
			buf);
	}
	putchar('\n');
}

void show_list(json_t *answer)
{
	json_t *disks = json_object_get(answer, "disks");
	int widths[ARRAY_SIZE(columns)];
	char buf[TEXT_MAX];
	json_t *row;
	size_t i, c;

	for (c = 0; c < ARRAY_SIZE(columns); c++) {
		widths[c] = strlen(columns[c].heading);
		json_array_foreach(disks, i, row)
		{
			cell(buf, row, c);
			if ((int)strlen(buf) > widths[c])
				widths[c] = strlen(buf);
		}
	}
	print_row(NULL, widths);
	json_array_foreach(disks, i, row) print_row(row, widths);
}

/* Of a disk, or of the part that is named. */
static const struct line {
	const char *part, *key;
	enum kind kind;
	const char *note;
} lines[] = {
	{ NULL, "size", SIZE, "as clients see it" },
	{ NULL, "algorithm", TEXT, "" },
	{ NULL, "level", COUNT, "of the algorithm" },
	{ NULL, "clients", COUNT, "connections of clients" },
	{ NULL, "limit_used", SIZE, "of mem_limit: objects and table" },
	{ "mm_stat", "orig_data_size", SIZE, "stored, before compression" },
	{ "mm_stat", "compr_data_size", SIZE, "stored, after compression" },
	{ "mm_stat", "mem_used_total", SIZE, "memory of the pool" },
	{ "mm_stat", "mem_limit", SIZE, "0B: none" },
	{ "mm_stat", "mem_used_max", SIZE, "most memory of the pool so far" },
	{ "mm_stat", "same_pages", COUNT, "pages of one repeated word, no memory" },
	{ "mm_stat", "pages_compacted", COUNT, "pages given back by compaction" },
	{ "mm_stat", "huge_pages", COUNT, "pages stored raw, incompressible" },
	{ "mm_stat", "huge_pages_since", COUNT, "the same, ever" },
	{ "io_stat", "failed_reads", COUNT, "" },
	{ "io_stat", "failed_writes", COUNT, "" },
	{ "io_stat", "invalid_io", COUNT, "" },
	{ "io_stat", "notify_free", COUNT, "pages freed by trim or zero" },
	{ "writeback", "backing", TEXT, "how the backing is reached" },
	{ "bd_stat", "bd_count", COUNT, "pages written back, there now" },
	{ "bd_stat", "bd_reads", COUNT, "pages read from there" },
	{ "bd_stat", "bd_writes", COUNT, "pages written there, ever" },
	{ "bd_stat", "bytes_used", SIZE, "live records, with headers" },
	{ "bd_stat", "bytes_allocated", SIZE, "what they take there" },
	{ "bd_stat", "capacity", SIZE, "what it can hold" },
	{ "bd_stat", "bytes_written", SIZE, "ever, cleaning included" },
	{ "bd_stat", "promoted", COUNT, "pages read that stay in memory" },
	{ "bd_stat", "checksum_errors", COUNT, "damaged records" },
	{ "bd_stat", "read_errors", COUNT, "" },
	{ "bd_stat", "write_errors", COUNT, "" },
	{ "writeback", "mode", TEXT, "auto: cold pages go there by themselves" },
	{ "writeback", "paused", YES_NO, "yes: it failed too often, and is tried again later" },
	{ "writeback", "high", COUNT, "percent of mem_limit, from where on they go" },
	{ "writeback", "low", COUNT, "percent, down to where" },
	{ "writeback", "batch", COUNT, "pages on their way at once" },
	{ "writeback", "promote", TEXT, "when a page that is read stays in memory" },
	{ "writeback", "limit_enable", YES_NO, "" },
	{ "writeback", "limit", COUNT, "pages that may be written, if limit_enable" },
	{ "writeback", "passes", COUNT, "automatic ones" },
	{ "writeback", "throttled", COUNT, "requests to write that were slowed" },
	{ "stage", "write", TEXT, "compressed after acknowledging, or before" },
	{ "stage", "pages", COUNT, "pages that wait for compression" },
	{ "stage", "pages_max", COUNT, "the most so far" },
	{ "stage", "coalesced", COUNT, "writes to pages that waited already" },
	{ "stage", "direct", COUNT, "pages compressed by their writer" },
	{ "streams", "managed", COUNT, "pages compressed by the accelerator" },
	{ "streams", "percpu", COUNT, "pages compressed in software" },
	{ "streams", "fallback", COUNT, "of percpu: meant for the accelerator" },
	{ "streams", "raw", COUNT, "pages tried, and stored raw" },
	{ "streams", "batches", COUNT, "given to a compressor" },
	{ "streams", "batch_pages", COUNT, "pages in them" },
	{ NULL, "zero_pages", COUNT, "of same_pages, those of zeroes" },
	{ NULL, "table_bytes", SIZE, "memory of the slot table" },
	{ NULL, "reserve_bytes", SIZE, "memory kept ready for swap" },
	{ NULL, "reads", COUNT, "pages, ever" },
	{ NULL, "writes", COUNT, "pages, ever" },
	{ NULL, "trims", COUNT, "pages, ever" },
};

static void show_line(const json_t *disk, const struct line *line)
{
	const json_t *from = line->part ? json_object_get(disk, line->part) : disk;
	char buf[TEXT_MAX];

	/* Without a second tier it would be zeroes. */
	if (line->part && strcmp(line->part, "bd_stat") == 0 && !json_object_get(disk, "writeback"))
		return;
	if (!format(buf, json_object_get(from, line->key), line->kind))
		return;
	printf("  %-16s %10s%s%s\n", line->key, buf, *line->note ? "  " : "", line->note);
}

static void show_ratio(const json_t *disk)
{
	json_t *mm = json_object_get(disk, "mm_stat");
	double data = json_number_value(json_object_get(mm, "orig_data_size"));
	double compressed = json_number_value(json_object_get(mm, "compr_data_size"));
	double memory = json_number_value(json_object_get(mm, "mem_used_total"));

	if (data <= 0 || compressed <= 0 || memory <= 0)
		return;
	printf("  %-16s %10.2f  orig_data_size / compr_data_size\n", "ratio", data / compressed);
	printf("  %-16s %10.2f  orig_data_size / mem_used_total\n", "", data / memory);
}

/* An end of the ages, which are whole: 600 is "10 min". */
static void age_text(char *buf, size_t len, json_int_t seconds)
{
	static const struct {
		json_int_t seconds;
		const char *unit;
	} units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
	size_t i = 0;

	while (i + 1 < ARRAY_SIZE(units) && seconds < units[i].seconds)
		i++;
	snprintf(buf, len, "%" JSON_INTEGER_FORMAT " %s", seconds / units[i].seconds,
		units[i].unit);
}

/* Those ages that any page has. */
static void show_ages(const json_t *disk)
{
	json_t *ages = json_object_get(disk, "ages"), *age;
	char end[32], size[TEXT_MAX];
	json_int_t last = 0;
	size_t i;

	json_array_foreach(ages, i, age)
	{
		json_int_t pages = json_integer_value(json_array_get(age, 1));
		json_t *limit = json_array_get(age, 0);

		age_text(end, sizeof(end), json_is_null(limit) ? last : json_integer_value(limit));
		last = json_integer_value(limit);
		if (!pages)
			continue;
		human(size, sizeof(size), json_integer_value(json_array_get(age, 2)));
		printf("  %-16s %10" JSON_INTEGER_FORMAT "  pages accessed %s %s ago, in %s\n",
			"age", pages, json_is_null(limit) ? "more than" : "less than", end, size);
	}
}

/* The requests of one kind. */
static void show_latency(const char *op, json_t *latency)
{
	json_int_t count = json_integer_value(json_object_get(latency, "count"));

	if (!count)
		return;
	printf("  %-16s %10" JSON_INTEGER_FORMAT "  requests: p50 %.1f us, p99 %.1f us\n", op, count,
		json_number_value(json_object_get(latency, "p50")),
		json_number_value(json_object_get(latency, "p99")));
}

void show_stat(json_t *answer)
{
	json_t *disk, *latency;
	const char *op;
	size_t i, l;

	json_array_foreach(json_object_get(answer, "disks"), i, disk)
	{
		printf("%s%s\n", i ? "\n" : "",
			json_string_value(json_object_get(disk, "name")) ?: "-");
		for (l = 0; l < ARRAY_SIZE(lines); l++) {
			show_line(disk, &lines[l]);
			/* After the limit: before the table that it sums up. */
			if (strcmp(lines[l].key, "limit_used") == 0)
				show_ratio(disk);
		}
		show_ages(disk);
		json_object_foreach(json_object_get(disk, "latency_us"), op, latency)
			show_latency(op, latency);
	}
}

void show_compact(json_t *answer)
{
	json_int_t pages = 0;
	const char *name = "-";
	char buf[TEXT_MAX];

	json_unpack(answer, "{s:s, s:I}", "name", &name, "pages_compacted", &pages);
	human(buf, sizeof(buf), (uint64_t)pages * PAGE_SIZE);
	printf("%s: %" JSON_INTEGER_FORMAT " pages (%s) given back\n", name, pages, buf);
}

void show_verify(json_t *answer)
{
	json_int_t pages = 0;
	const char *name = "-";

	json_unpack(answer, "{s:s, s:I}", "name", &name, "pages", &pages);
	printf("%s: %" JSON_INTEGER_FORMAT " pages, none bad\n", name, pages);
}

void show_idle(json_t *answer)
{
	json_int_t pages = 0;
	const char *name = "-";

	json_unpack(answer, "{s:s, s:I}", "name", &name, "pages", &pages);
	printf("%s: %" JSON_INTEGER_FORMAT " pages marked idle\n", name, pages);
}

void show_writeback(json_t *answer)
{
	json_int_t pages = 0, written = 0, gained = 0;
	char sizes[2][TEXT_MAX];
	const char *name = "-";

	json_unpack(answer, "{s:s, s:I, s:I, s:I}", "name", &name, "pages", &pages,
		"bytes_written", &written, "bytes_gained", &gained);
	human(sizes[0], TEXT_MAX, (uint64_t)written);
	human(sizes[1], TEXT_MAX, (uint64_t)gained);
	printf("%s: %" JSON_INTEGER_FORMAT " pages written back: %s written, %s of memory gained%s\n",
		name, pages, sizes[0], sizes[1],
		json_is_true(json_object_get(answer, "budget_ended")) ?
			"; the writeback-limit has ended it" : "");
}

void show_metrics(json_t *answer)
{
	fputs(json_string_value(json_object_get(answer, "text")) ?: "", stdout);
}

void show_nothing(json_t *answer)
{
}
