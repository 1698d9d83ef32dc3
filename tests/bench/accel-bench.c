/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel-bench: the simulated accelerator by itself.
 *
 *	accel-bench --data FILE [--profile NAME] [--set KEY=VALUE]... [--transport LIST]
 *		[--engines LIST] [--depth LIST] [--batch LIST] [--pages N] [--rounds N] [--quick]
 *		[--json]
 *	accel-bench --model [--json]
 *	accel-bench --software --data FILE [--pages N] [--rounds N] [--quick] [--json]
 *
 * The table: one host thread keeps up to `depth` pages in flight and enqueues them `batch` at a
 * time, with a doorbell each; a real LZ4 compresses them. Where batch = depth that is a closed loop: the
 * host waits for the whole batch. Both clocks, and the CPU time of the host thread (submitting,
 * waiting, reaping) apart from that of all other threads. `direct` is LZ4 called in a loop.
 *
 * Rounds of all cases take turns; the figures are medians over the rounds, after one round of
 * warming up. --model and --software: see accel-bench-model.c and accel-bench-software.c.
 */
#include <config.h>

#include "accel-bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lz4.h>

#define PAGE	 ACCEL_PAGE_SIZE
#define DST_ROOM (2 * PAGE)
#define DIRECT	 UINT32_MAX /* in place of a transport */

enum metric {
	WALL_RATE, /* pages a second */
	HOST_NS,   /* CPU a page */
	ENGINE_NS,
	WALL_P50,
	WALL_P99,
	MODEL_RATE,
	MODEL_P50,
	MODEL_P99,
	IN_FLIGHT, /* most */
	BATCHES,
	DOORBELLS,
	INTERRUPTS,
	NR_METRICS
};

static const char *const metric_names[NR_METRICS] = { "wall_pages_s", "host_cpu_ns",
	"engine_cpu_ns", "wall_p50_ns", "wall_p99_ns", "model_pages_s", "model_p50_ns",
	"model_p99_ns", "in_flight_max", "batches", "doorbells", "interrupts" };

struct bench_case {
	unsigned transport, engines, depth, batch;
	unsigned threads; /* the device's, once it ran */
	double *rounds[NR_METRICS];
	double medians[NR_METRICS];
};

/* What a run needs, made once. */
struct host {
	struct accel_op *ops;	/* a burst */
	struct accel_cpl *cpls;
	uint8_t *dst;		/* DST_ROOM for each page in flight */
	uint32_t *free_slots, nr_free;
	uint32_t *wall, *model; /* each page's latency */
	void **states;		/* LZ4's, one an engine */
	uint64_t expected;	/* bytes that LZ4 makes of all pages */
};

uint64_t read_clock(int clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare_doubles);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void *allocate(size_t n, size_t size)
{
	void *p = aligned_alloc(PAGE, (n * size + PAGE - 1) / PAGE * PAGE);

	if (!p)
		die("out of memory");
	memset(p, 0, n * size);
	return p;
}

/* --- the codec --- */

static int compress_lz4(const struct accel_codec *codec, unsigned engine, const void *src,
	uint32_t src_len, void *dst, uint32_t *dst_len)
{
	void **states = codec->opaque;
	int made = LZ4_compress_fast_extState(states[engine], src, dst, (int)src_len, (int)*dst_len,
		1);

	if (made <= 0)
		return -ENOSPC;
	*dst_len = (uint32_t)made;
	return 0;
}

static int decompress_lz4(const struct accel_codec *codec, unsigned engine, const void *src,
	uint32_t src_len, void *dst, uint32_t *dst_len)
{
	int made = LZ4_decompress_safe(src, dst, (int)src_len, (int)*dst_len);

	(void)codec;
	(void)engine;
	if (made < 0)
		return -EINVAL;
	*dst_len = (uint32_t)made;
	return 0;
}

/* --- one run --- */

struct progress {
	const struct bench *bench;
	struct host *host;
	struct accel_qp *qp;
	const struct accel_codec *codec;
	size_t sent, reaped, total;
	uint64_t produced, batches;
};

static void send_burst(struct progress *run, unsigned batch)
{
	struct host *host = run->host;
	unsigned took;

	for (unsigned i = 0; i < batch; i++) {
		uint32_t slot = host->free_slots[host->nr_free - 1 - i];

		host->ops[i] = (struct accel_op){ .tag = slot,
			.src = run->bench->pages + (run->sent + i) % run->bench->nr_pages * PAGE,
			.dst = host->dst + (size_t)slot * DST_ROOM, .codec = run->codec,
			.src_len = PAGE, .dst_room = DST_ROOM, .opcode = ACCEL_COMPRESS };
	}
	took = accel_enqueue_burst(run->qp, host->ops, batch);
	if (took == 0 && accel_in_flight(run->qp) == 0)
		die("the device takes nothing");
	host->nr_free -= took;
	run->sent += took;
	run->batches++;
	accel_doorbell(run->qp);
}

static unsigned reap(struct progress *run)
{
	struct host *host = run->host;
	unsigned got = accel_dequeue_burst(run->qp, host->cpls, 256);

	for (unsigned i = 0; i < got; i++) {
		const struct accel_cpl *c = &host->cpls[i];

		if (c->status != ACCEL_SUCCESS && c->status != ACCEL_INCOMPRESSIBLE)
			die("a page ended as %s", accel_status_names[c->status]);
		run->produced += c->produced;
		host->wall[run->reaped] = c->wall_wait + c->wall_service + c->wall_deliver;
		host->model[run->reaped++] = c->model_wait + c->model_service + c->model_deliver;
		host->free_slots[host->nr_free++] = (uint32_t)c->tag;
	}
	return got;
}

/* Pages until `total`, never more than `depth` of them at the device. */
static void drive(struct progress *run, unsigned depth, unsigned batch)
{
	while (run->reaped < run->total) {
		size_t left = run->total - run->sent;
		unsigned next = left < batch ? (unsigned)left : batch;
		unsigned in_flight = accel_in_flight(run->qp);

		if (next > 0 && in_flight + next <= depth) {
			send_burst(run, next);
			continue;
		}
		if (reap(run) > 0)
			continue;
		accel_wait(run->qp, next > 0 ? in_flight + next - depth : in_flight, 1000000000);
	}
}

static void store_round(struct bench_case *c, unsigned round, const double *values)
{
	if (round == 0)
		return; /* warming up */
	for (unsigned m = 0; m < NR_METRICS; m++)
		c->rounds[m][round - 1] = values[m];
}

static void run_direct(const struct bench *bench, struct host *host, struct bench_case *c,
	unsigned round)
{
	double values[NR_METRICS] = { 0 };
	uint64_t wall = read_clock(CLOCK_MONOTONIC), cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
	struct accel_codec codec = { .name = "lz4", .opaque = host->states };

	host->expected = 0;
	for (size_t i = 0; i < bench->nr_pages; i++) {
		uint32_t len = DST_ROOM;

		compress_lz4(&codec, 0, bench->pages + i * PAGE, PAGE, host->dst, &len);
		host->expected += len;
	}
	values[HOST_NS] = (double)(read_clock(CLOCK_THREAD_CPUTIME_ID) - cpu) / bench->nr_pages;
	values[WALL_RATE] = bench->nr_pages * 1e9 / (read_clock(CLOCK_MONOTONIC) - wall);
	store_round(c, round, values);
}

/* Every byte was made, if the device stores all that LZ4 makes. */
static void check_output(const struct bench *bench, const struct progress *run)
{
	const struct accel_profile *p = &bench->profile;

	if (p->real_payload && p->dst_limit >= DST_ROOM && run->produced != run->host->expected)
		die("%" PRIu64 " bytes made, expected %" PRIu64, run->produced,
			run->host->expected);
}

static struct accel_device *open_device(const struct bench *bench, struct bench_case *c)
{
	struct accel_profile p = bench->profile;
	struct accel_device *dev;
	char err[256];

	p.timeout_ms = 10000; /* another process may have the CPU for long */
	p.transport = c->transport;
	p.queue_depth = c->depth;
	if (c->engines) {
		p.devices = 1;
		p.engines = c->engines;
	}
	dev = accel_open(&p, err, sizeof(err));
	if (!dev)
		die("%s", err);
	if (accel_get_profile(dev)->transport != p.transport)
		die("this kernel has not the transport asked for");
	c->threads = accel_nr_engine_threads(dev);
	return dev;
}

static void make_slots(struct host *host, unsigned depth)
{
	host->nr_free = depth;
	for (unsigned i = 0; i < depth; i++)
		host->free_slots[i] = i;
}

static void run_device(const struct bench *bench, struct host *host, struct bench_case *c,
	unsigned round)
{
	struct accel_codec codec = { .name = "lz4", .compress = compress_lz4,
		.decompress = decompress_lz4, .opaque = host->states };
	struct accel_device *dev = open_device(bench, c);
	struct progress run = { .bench = bench, .host = host, .codec = &codec,
		.qp = accel_qp_get(dev), .total = c->depth };
	uint64_t n = bench->nr_pages, wall, cpu, process;
	double values[NR_METRICS];
	struct accel_stats stats;

	if (!run.qp)
		die("no queue pair");
	make_slots(host, c->depth);
	drive(&run, c->depth, c->batch); /* engines warm */
	run = (struct progress){ .bench = bench, .host = host, .codec = &codec, .qp = run.qp,
		.total = n };
	accel_reset_stats(dev);
	wall = read_clock(CLOCK_MONOTONIC);
	process = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
	drive(&run, c->depth, c->batch);
	cpu = read_clock(CLOCK_THREAD_CPUTIME_ID) - cpu;
	process = read_clock(CLOCK_PROCESS_CPUTIME_ID) - process;
	wall = read_clock(CLOCK_MONOTONIC) - wall;
	accel_get_stats(dev, &stats);
	check_output(bench, &run);
	accel_qp_put(run.qp);
	accel_close(dev);

	qsort(host->wall, n, sizeof(*host->wall), compare_u32);
	qsort(host->model, n, sizeof(*host->model), compare_u32);
	values[WALL_RATE] = n * 1e9 / wall;
	values[HOST_NS] = (double)cpu / n;
	values[ENGINE_NS] = process > cpu ? (double)(process - cpu) / n : 0;
	values[WALL_P50] = host->wall[n / 2];
	values[WALL_P99] = host->wall[n * 99 / 100];
	values[MODEL_RATE] = stats.model_elapsed_ns ? n * 1e9 / stats.model_elapsed_ns : 0;
	values[MODEL_P50] = host->model[n / 2];
	values[MODEL_P99] = host->model[n * 99 / 100];
	values[IN_FLIGHT] = stats.in_flight_max;
	values[BATCHES] = run.batches;
	values[DOORBELLS] = stats.doorbells;
	values[INTERRUPTS] = stats.interrupts;
	store_round(c, round, values);
}

/* --- the table --- */

static const char *transport_name(unsigned transport)
{
	static const char *const names[] = { "msgring", "eventfd", "inline" };

	return transport == DIRECT ? "direct" : names[transport];
}

static void print_table(const struct bench *bench, const struct bench_case *cases, size_t n)
{
	printf("profile %s, poll-usecs %u, coalesce %u, %zu pages, %u rounds\n",
		bench->profile.name, bench->profile.poll_usecs, bench->profile.coalesce,
		bench->nr_pages, bench->rounds);
	puts("                             wall      CPU us/page   wall latency us      modelled"
	     "  modelled us    most in        door-  inter-");
	puts("transport thr depth batch  pages/s    host  engine     p50      p99       pages/s"
	     "     p50     p99  flight batches  bells   rupts");
	for (size_t i = 0; i < n; i++) {
		const double *m = cases[i].medians;

		printf("%-9s %3u %5u %5u %8.0f %7.2f %7.2f %7.1f %8.1f %13.0f %7.1f %7.1f %7.0f "
		       "%7.0f %6.0f %7.0f\n",
			transport_name(cases[i].transport), cases[i].threads, cases[i].depth,
			cases[i].batch, m[WALL_RATE], m[HOST_NS] / 1e3, m[ENGINE_NS] / 1e3,
			m[WALL_P50] / 1e3, m[WALL_P99] / 1e3, m[MODEL_RATE], m[MODEL_P50] / 1e3,
			m[MODEL_P99] / 1e3, m[IN_FLIGHT], m[BATCHES], m[DOORBELLS], m[INTERRUPTS]);
	}
}

static void print_json(const struct bench *bench, const struct bench_case *cases, size_t n)
{
	printf("{\"profile\":\"%s\",\"pages\":%zu,\"rounds\":%u,\"cases\":[", bench->profile.name,
		bench->nr_pages, bench->rounds);
	for (size_t i = 0; i < n; i++) {
		printf("%s\n{\"transport\":\"%s\",\"threads\":%u,\"depth\":%u,\"batch\":%u",
			i ? "," : "", transport_name(cases[i].transport), cases[i].threads,
			cases[i].depth, cases[i].batch);
		for (unsigned m = 0; m < NR_METRICS; m++)
			printf(",\"%s\":%.1f", metric_names[m], cases[i].medians[m]);
		putchar('}');
	}
	puts("]}");
}

static void add_case(struct bench_case **cases, size_t *n, unsigned rounds, struct bench_case c)
{
	*cases = realloc(*cases, (*n + 1) * sizeof(**cases));
	if (!*cases)
		die("out of memory");
	for (unsigned m = 0; m < NR_METRICS; m++)
		c.rounds[m] = allocate(rounds, sizeof(double));
	(*cases)[(*n)++] = c;
}

static size_t make_cases(const struct bench *bench, struct bench_case **cases)
{
	const struct list *t = &bench->transports, *e = &bench->engines, *d = &bench->depths,
			  *b = &bench->batches;
	size_t n = 0;

	add_case(cases, &n, bench->rounds, (struct bench_case){ .transport = DIRECT });
	for (unsigned i = 0; i < t->n; i++) {
		/* Inline there is one thread, the host's. */
		unsigned engines = t->values[i] == ACCEL_INLINE ? 1 : e->n;

		for (unsigned j = 0; j < engines; j++) {
			for (unsigned k = 0; k < d->n * b->n; k++) {
				struct bench_case c = { .transport = t->values[i],
					.engines = e->values[j],
					.depth = d->values[k / b->n],
					.batch = b->values[k % b->n] };

				if (c.batch <= c.depth)
					add_case(cases, &n, bench->rounds, c);
			}
		}
	}
	return n;
}

static void make_host(const struct bench *bench, struct host *host)
{
	unsigned states = (unsigned)sysconf(_SC_NPROCESSORS_CONF) + 1;

	host->ops = allocate(ACCEL_MAX_QUEUE_DEPTH, sizeof(*host->ops));
	host->cpls = allocate(256, sizeof(*host->cpls));
	host->dst = allocate(ACCEL_MAX_QUEUE_DEPTH, DST_ROOM);
	host->free_slots = allocate(ACCEL_MAX_QUEUE_DEPTH, sizeof(*host->free_slots));
	host->wall = allocate(bench->nr_pages + ACCEL_MAX_QUEUE_DEPTH, sizeof(*host->wall));
	host->model = allocate(bench->nr_pages + ACCEL_MAX_QUEUE_DEPTH, sizeof(*host->model));
	host->states = allocate(states, sizeof(*host->states));
	for (unsigned i = 0; i < states; i++)
		host->states[i] = allocate(1, (size_t)LZ4_sizeofState());
}

void bench_device(const struct bench *bench)
{
	struct bench_case *cases = NULL;
	size_t n = make_cases(bench, &cases);
	struct host host;

	make_host(bench, &host);
	for (unsigned round = 0; round <= bench->rounds; round++) {
		run_direct(bench, &host, &cases[0], round);
		for (size_t i = 1; i < n; i++)
			run_device(bench, &host, &cases[i], round);
	}
	for (size_t i = 0; i < n; i++) {
		for (unsigned m = 0; m < NR_METRICS; m++)
			cases[i].medians[m] = median(cases[i].rounds[m], bench->rounds);
	}
	if (bench->json)
		print_json(bench, cases, n);
	else
		print_table(bench, cases, n);
}
