/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * offload-bench: the disk with its accelerator, without NBD. One thread writes page after page of
 * the data, each to be compressed by
 *	engine	 one engine of profile swthread, through managed streams
 *	software one software worker; there is no accelerator
 *	both	 that engine, and that worker where the engine's queue is full
 *	through	 the writer itself, before the page is acknowledged
 * and waits until the last one has been. The writer never has more than -w pages staged, which in
 * `engine` is less than the queue holds by a batch: so that is never full, and nobody asks for the
 * worker, which is there in all modes but the last.
 *
 * The disk is filled first, untimed; then each page is overwritten with another one's content,
 * timed. Prints one line of JSON: times in seconds, and who compressed how many pages.
 */
#include <config.h>

#include "inproc.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "accel_sim/accel.h"
#include "plugin/disk_priv.h"
#include "plugin/drain.h"
#include "plugin/offload.h"
#include "streams/zcomp.h"

#define PAUSE 100000 /* ns that the writer sleeps while enough is staged */
#define PRIME 7919   /* the data's pages are taken from all over it */

struct bench {
	const unsigned char **pages; /* of the data */
	uint64_t nr_data, nr;
	const char *mode, *algorithm;
	unsigned window, depth, batch;
	bool verify;
	struct disk *disk;
};

/* CPU seconds of each kind of thread, and what is counted. */
enum role { ENGINE, SUBMITTER, WORKER, WRITER, NR_ROLES };
static const char *const role_names[NR_ROLES] = { "engine", "submitter", "worker", "writer" };

struct sample {
	struct times times;
	double threads[NR_ROLES];
	struct disk_stat st;
};

static enum role role_of(const char *comm)
{
	if (strncmp(comm, "accel-", 6) == 0)
		return ENGINE;
	if (strncmp(comm, "uzram-accel", 11) == 0)
		return SUBMITTER;
	return strncmp(comm, "uzram-work", 10) == 0 ? WORKER : WRITER;
}

static void read_file(const char *tid, const char *name, char *buf, size_t size)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%s/%s", tid, name);
	f = fopen(path, "re");
	if (!f || !fgets(buf, (int)size, f))
		die("%s: %s", path, strerror(errno));
	fclose(f);
}

static void sample_threads(double *seconds)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *entry;
	char comm[64], line[128];

	memset(seconds, 0, NR_ROLES * sizeof(*seconds));
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		read_file(entry->d_name, "comm", comm, sizeof(comm));
		read_file(entry->d_name, "schedstat", line, sizeof(line));
		seconds[role_of(comm)] += strtod(line, NULL) * 1e-9;
	}
	if (dir)
		closedir(dir);
}

static void sample(const struct bench *b, struct sample *s)
{
	disk_get_stat(b->disk, &s->st);
	sample_threads(s->threads);
	s->times = times_now();
}

/* --- a disk, and who compresses its pages --- */

static bool is_mode(const struct bench *b, const char *mode)
{
	return strcmp(b->mode, mode) == 0;
}

static void configure_accel(const struct bench *b)
{
	struct accel_profile profile = *accel_profile_find("swthread");

	profile.queue_depth = b->depth;
	profile.timeout_ms = 10000; /* another process may have the CPU for long */
	zcomp_accel_configure(&profile);
}

static void start(struct bench *b)
{
	bool accel = is_mode(b, "engine") || is_mode(b, "both");
	struct disk_config config = { .name = "bench", .size = b->nr * PAGE_SIZE,
		.managed = accel, .through = is_mode(b, "through"), .batch = b->batch,
		.stage = (b->window + b->batch) * (uint64_t)PAGE_SIZE };
	struct uz_error e = { 0 };
	char err[256];

	if (accel)
		configure_accel(b);
	if (zcomp_parse(b->algorithm, &config.algorithm, &config.level, err, sizeof(err)) == -1)
		die("%s", err);
	b->disk = disk_create(&config, &e);
	if (!b->disk || (!config.through && drain_start(1, false, &e) == -1) ||
		disk_start(b->disk, &e) == -1)
		die("%s", e.text);
	if (zcomp_accel_start(err, sizeof(err)) == -1)
		die("%s", err);
	if (offload_start(&e) == -1)
		die("%s", e.text);
}

static void stop(struct bench *b)
{
	offload_stop();
	zcomp_accel_stop();
	drain_stop();
	disk_destroy(b->disk);
}

static uint64_t in_flight_max(void)
{
	struct accel_device *dev = zcomp_accel_ref();
	struct accel_stats st = { 0 };

	if (dev) {
		accel_get_stats(dev, &st);
		accel_close(dev);
	}
	return st.in_flight_max;
}

/* --- the work --- */

static const unsigned char *content(const struct bench *b, uint64_t page, unsigned pass)
{
	return b->pages[(page + pass) * PRIME % b->nr_data];
}

static void write_pass(struct bench *b, unsigned pass)
{
	const struct timespec pause = { .tv_nsec = PAUSE };

	for (uint64_t i = 0; i < b->nr; i++) {
		while (atomic_load(&b->disk->stage.used) >= b->window)
			nanosleep(&pause, NULL);
		if (disk_write(b->disk, content(b, i, pass), PAGE_SIZE, i * PAGE_SIZE, false) != 0)
			die("write: %s", strerror(errno));
	}
	disk_flush(b->disk);
}

static void verify_pass(struct bench *b, unsigned pass)
{
	unsigned char buf[PAGE_SIZE];

	for (uint64_t i = 0; i < b->nr; i++)
		if (disk_read(b->disk, buf, PAGE_SIZE, i * PAGE_SIZE) != 0 ||
			memcmp(buf, content(b, i, pass), PAGE_SIZE) != 0)
			die("page %" PRIu64 " differs", i);
}

static void print(const struct bench *b, const struct sample *x, const struct sample *y)
{
	const struct disk_stat *from = &x->st, *to = &y->st;

	printf("{\"pages\":%" PRIu64 ",\"wall\":%.6f,\"cpu\":%.6f,\"threads\":{", b->nr,
		y->times.wall - x->times.wall, y->times.cpu - x->times.cpu);
	for (unsigned i = 0; i < NR_ROLES; i++)
		printf("%s\"%s\":%.6f", i ? "," : "", role_names[i], y->threads[i] - x->threads[i]);
	printf("},\"managed\":%" PRIu64 ",\"percpu\":%" PRIu64 ",\"fallback\":%" PRIu64
	       ",\"direct\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"batch_pages\":%" PRIu64
	       ",\"in_flight_max\":%" PRIu64 ",\"compressed\":%" PRIu64 "}\n",
		to->streams.managed - from->streams.managed,
		to->streams.percpu - from->streams.percpu,
		to->streams.fallback - from->streams.fallback,
		to->stage.direct - from->stage.direct,
		to->streams.batches - from->streams.batches,
		to->streams.batch_pages - from->streams.batch_pages, in_flight_max(),
		to->mm.compr_data_size);
}

static void run(struct bench *b)
{
	struct sample begin, end;

	start(b);
	write_pass(b, 0);
	sample(b, &begin);
	write_pass(b, 1);
	sample(b, &end);
	if (b->verify)
		verify_pass(b, 1);
	print(b, &begin, &end);
	stop(b);
}

static void __attribute__((noreturn)) usage(void)
{
	die("usage: offload-bench -f DATA -m engine|software|both|through [-a ALGORITHM] "
	    "[-n PAGES] [-w STAGED] [-q QUEUE-DEPTH] [-b BATCH] [-V]");
}

static void check(const struct bench *b)
{
	static const char *const modes[] = { "engine", "software", "both", "through" };
	bool known = false;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		known = known || is_mode(b, modes[i]);
	if (!known || b->nr < 1 || b->batch < 1 || b->batch > STAGE_BATCH_MAX || b->depth < 1 ||
		b->depth > ACCEL_MAX_QUEUE_DEPTH || b->window < 1)
		usage();
	if (is_mode(b, "engine") && b->window + b->batch > b->depth)
		die("engine: the queue must hold -w and -b pages");
}

int main(int argc, char **argv)
{
	struct bench b = { .mode = "", .algorithm = "lz4", .window = 1024, .depth = 128,
		.batch = BATCH_DEFAULT, .nr = 32768 };
	const char *data = NULL;
	int opt;

	while ((opt = getopt(argc, argv, "f:m:a:n:w:q:b:V")) != -1) {
		switch (opt) {
		case 'f':
			data = optarg;
			break;
		case 'm':
			b.mode = optarg;
			break;
		case 'a':
			b.algorithm = optarg;
			break;
		case 'n':
			b.nr = strtoull(optarg, NULL, 10);
			break;
		case 'w':
			b.window = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'q':
			b.depth = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'b':
			b.batch = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'V':
			b.verify = true;
			break;
		default:
			usage();
		}
	}
	if (!data || optind != argc)
		usage();
	check(&b);
	b.pages = map_pages(data, UINT64_MAX, &b.nr_data);
	if (!b.nr_data)
		die("%s: no page to be compressed", data);
	run(&b);
	free(b.pages);
	return 0;
}
