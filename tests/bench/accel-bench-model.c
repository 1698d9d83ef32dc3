/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel-bench --model: what the profiles say, with the published figures beside it. Nothing is
 * measured here: the same numbers on every machine. docs/ACCELERATOR.md discusses them.
 */
#include <config.h>

#include "accel-bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define OPERATIONS    96000 /* a multiple of all batches and submitters here */

static struct accel_profile get_profile(const char *name)
{
	return *accel_profile_find(name);
}

static struct accel_model_result run(const struct accel_profile *p, struct accel_workload w)
{
	struct accel_model_result r;

	if (!w.operations)
		w.operations = OPERATIONS;
	if (accel_model_run(p, &w, &r) != 0)
		die("the model does not run: %s", strerror(errno));
	return r;
}

static void iaa_batches(bool json)
{
	static const unsigned batches[] = { 1, 2, 4, 8, 16, 32 };
	struct accel_profile p = get_profile("iaa");

	if (!json)
		puts("iaa, one submitter, 4 KiB pages: p50 of that many pages, us\n"
		     "pages  one by one   as a batch    published");
	for (size_t i = 0; i < ARRAY_SIZE(batches); i++) {
		unsigned n = batches[i];
		struct accel_workload w = { .submitters = 1, .pace = ACCEL_PACE_EACH, .batch = n,
			.bytes = 4096 };
		double each = run(&p, w).round_p50 / 1e3, batch;

		w.pace = ACCEL_PACE_BATCH;
		batch = run(&p, w).round_p50 / 1e3;
		if (json)
			printf("%s{\"batch\":%u,\"each_us\":%.3f,\"batch_us\":%.3f}",
				i ? "," : "\"iaa\":[", n, each, batch);
		else
			printf("%5u  %10.1f   %10.1f%s\n", n, each, batch,
				n == 8 ? "  33.0 and 9.7" : "");
	}
	puts(json ? "]," : "");
}

static void hisi_curve(bool json)
{
	static const struct {
		unsigned depth;
		double published;
	} rows[] = { { 1, 0.56 }, { 10, 1.38 }, { 20, 3.13 }, { 30, 4.32 }, { 40, 5.62 },
		{ 50, 6.72 }, { 60, 7.25 }, { 70, 7.27 } };
	struct accel_profile p = get_profile("hisi");

	if (!json)
		puts("hisi, 8 KiB blocks: GB/s\nin flight   model  published  difference");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct accel_model_result r = run(&p,
			(struct accel_workload){ .submitters = 1, .pace = ACCEL_PACE_WINDOW,
				.batch = 1, .depth = rows[i].depth, .bytes = 8192 });
		double gb = r.bytes_per_s / 1e9;

		if (json)
			printf("%s{\"depth\":%u,\"gb_s\":%.3f,\"published_gb_s\":%.2f}",
				i ? "," : "\"hisi\":[", rows[i].depth, gb, rows[i].published);
		else
			printf("%9u  %6.2f     %6.2f     %+5.1f %%\n", rows[i].depth, gb,
				rows[i].published, (gb / rows[i].published - 1) * 100);
	}
	puts(json ? "]," : "");
}

/* The proof of concept's limits lifted: engines, depth and fetching are parameters. */
static void swthread_engines(bool json)
{
	static const struct {
		enum accel_fetch fetch;
		const char *name;
		unsigned depth;
	} columns[] = { { ACCEL_FETCH_SWAP, "swap", 128 }, { ACCEL_FETCH_RING, "ring", 32 },
		{ ACCEL_FETCH_RING, "ring", 128 }, { ACCEL_FETCH_RING, "ring", 512 } };
	struct accel_profile p = get_profile("swthread");

	if (!json)
		puts("swthread, one submitter in batches of 8: pages/s, engine utilisation\n"
		     "engines  two queues swapped          one ring          one ring          one "
		     "ring\n"
		     "                  depth 128          depth 32         depth 128         "
		     "depth 512");
	for (p.engines = 1; p.engines <= 8; p.engines *= 2) {
		if (!json)
			printf("%7u  ", p.engines);
		for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
			struct accel_model_result r;

			p.queue_depth = columns[i].depth;
			p.fetch = columns[i].fetch;
			r = run(&p, (struct accel_workload){ .submitters = 1,
				.pace = ACCEL_PACE_WINDOW, .batch = 8, .depth = columns[i].depth,
				.bytes = 4096 });
			if (json)
				printf("%s{\"engines\":%u,\"fetch\":\"%s\",\"depth\":%u,"
				       "\"pages_s\":%ju,\"busy_ppm\":%u}",
					p.engines == 1 && i == 0 ? "\"swthread\":[" : ",",
					p.engines, columns[i].name, columns[i].depth,
					(uintmax_t)r.ops_per_s, r.engine_busy_ppm);
			else
				printf("  %8ju %5.1f %%", (uintmax_t)r.ops_per_s,
					r.engine_busy_ppm / 1e4);
		}
		if (!json)
			putchar('\n');
	}
	puts(json ? "]," : "");
}

/* zstd on the CPU that asks for it: nothing can overlap. */
static void software_zstd(bool json)
{
	struct accel_profile p = get_profile("swthread");
	struct accel_workload w = { .submitters = 1, .pace = ACCEL_PACE_EACH, .batch = 1,
		.bytes = 4096, .host_ns = 3000 };
	double each;

	p.submit_ns = p.deliver_ns = p.deliver_busy_ns = 0;
	p.per_byte_ps = 4785; /* 19.6 us a page: zstd -1, measured */
	each = run(&p, w).ops_per_s;
	if (!json)
		puts("zstd on the submitter's own CPU: pages/s over those one by one");
	w.pace = ACCEL_PACE_BATCH;
	for (w.batch = 8; w.batch <= 32; w.batch *= 4) {
		double gain = run(&p, w).ops_per_s / each - 1;

		if (json)
			printf("%s{\"batch\":%u,\"gain\":%.6f}", w.batch == 8 ? "\"zstd\":[" : ",",
				w.batch, gain);
		else
			printf("batches of %2u  %+.2f %%\n", w.batch, gain * 100);
	}
	puts(json ? "]," : "");
}

/*
 * The zswap series' usemem: 30 processes touch memory, of which a part is compressed. A process's
 * rate of touched memory gives its time for each compressed page; without the device's part of it
 * that is host work, which batching is assumed not to change.
 */
#define PROCESSES 30

struct published {
	const char *name;
	double sequential_kb, batched_kb, zstd_kb; /* KB/s of touched memory a process */
};

static const struct published usemem[] = {
	{ "64K folios", 207565, 351723, 201077 },
	{ "PMD folios", 211573, 377183, 219013 },
};

/* ns between two compressed pages of a process; `part` of the touched pages are compressed. */
static double page_ns(double kb, double part)
{
	return 4 / kb * 1e9 / part;
}

static double usemem_kb(const struct accel_profile *p, unsigned batch, double host_ns, double part)
{
	struct accel_model_result r = run(p, (struct accel_workload){ .submitters = PROCESSES,
		.pace = batch > 1 ? ACCEL_PACE_BATCH : ACCEL_PACE_EACH, .batch = batch,
		.bytes = 4096, .host_ns = host_ns > 0 ? (uint32_t)host_ns : 0 });

	return (double)r.ops_per_s * 4 / PROCESSES / part;
}

/* Host work with which the model's rate one by one is the one given. */
static double fit_host(const struct accel_profile *p, double kb, double part)
{
	double low = 0, high = 100000;

	while (high - low > 1) {
		double middle = (low + high) / 2;

		if (usemem_kb(p, 1, middle, part) > kb)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void print_gain(bool json, bool *first, const char *name, const char *what, double part,
	double host_ns, double sequential, double batched, double published)
{
	if (json)
		printf("%s{\"run\":\"%s\",\"case\":\"%s\",\"part\":%.1f,\"host_ns\":%.0f,"
		       "\"sequential_kb\":%.0f,\"batched_kb\":%.0f,\"gain\":%.4f}",
			*first ? "\"zswap\":[" : ",", name, what, part, host_ns, sequential,
			batched, batched / sequential - 1);
	else
		printf("%-11s %-38s %4.1f  %8.1f  %10.0f  %9.0f  %+6.1f %%  %+6.1f %%\n", name,
			what, part, host_ns / 1e3, sequential, batched,
			(batched / sequential - 1) * 100, published * 100);
	*first = false;
}

/* Host work as zstd's figures show it: less what zstd itself takes. */
static void zswap_from_zstd(bool json, bool *first, const struct published *u, double gain)
{
	struct accel_profile p = get_profile("iaa"), verify = p;
	double host = page_ns(u->zstd_kb, 0.5) - 15700, batched = usemem_kb(&p, 8, host, 0.5);

	print_gain(json, first, u->name, "fitted to zstd at 15.7 us a page", 0.5, host,
		usemem_kb(&p, 1, host, 0.5), batched, gain);
	/* A second descriptor decompresses what the first made. */
	verify.base_ns += verify.submit_ns + verify.decomp_base_ns;
	verify.per_byte_ps += verify.decomp_per_byte_ps;
	print_gain(json, first, u->name, "same, one by one with verify", 0.5, host,
		usemem_kb(&verify, 1, host, 0.5), batched, gain);
	for (p.devices = 1; p.devices <= 2; p.devices++)
		print_gain(json, first, u->name,
			p.devices == 1 ? "same, one by one on one device of four"
				       : "same, one by one on two devices",
			0.5, host, usemem_kb(&p, 1, host, 0.5), batched, gain);
}

static void zswap(bool json)
{
	struct accel_profile p = get_profile("iaa");
	bool first = true;

	if (!json)
		puts("zswap, usemem with 30 processes: KB/s of touched memory a process, model\n"
		     "run         host work                              part   host us  one by one"
		     "  batches 8     gain  published");
	for (size_t i = 0; i < ARRAY_SIZE(usemem); i++) {
		const struct published *u = &usemem[i];
		double gain = u->batched_kb / u->sequential_kb - 1;

		for (double part = 1.0; part >= 0.5; part -= 0.5) {
			double host = fit_host(&p, u->sequential_kb, part);

			print_gain(json, &first, u->name, "fitted to iaa one by one", part, host,
				usemem_kb(&p, 1, host, part), usemem_kb(&p, 8, host, part), gain);
		}
		zswap_from_zstd(json, &first, u, gain);
	}
	if (json)
		puts("]");
}

void bench_model(const struct bench *bench)
{
	if (bench->json)
		putchar('{');
	iaa_batches(bench->json);
	hisi_curve(bench->json);
	swthread_engines(bench->json);
	software_zstd(bench->json);
	zswap(bench->json);
	if (bench->json)
		puts("}");
}
