/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wb-bench: the second tier alone, without NBD, on one file.
 *	uzram	fills a disk, writes it back by one command, reads it back (and decompresses)
 *	raw	the same pages as they are, 4096 bytes each at a place of its own, by the same
 *		backing.c: what zram does, were it here
 * Pages of one word are left out on both sides: neither writes them. Reads go to groups of pages
 * in random order: `uzram` asks for a group at once, `raw` for its pages one by one, as many in
 * flight as wanted all the time. Prints one line of JSON.
 */
#include <config.h>

#include "inproc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/backing.h"
#include "plugin/disk.h"
#include "streams/zcomp.h"

#define FILL_PAGES 32 /* in a request that fills the disk */

struct bench {
	const unsigned char **pages; /* of the data */
	uint64_t nr;
	unsigned depth, group, threads;
	bool verify;
	uint32_t *order; /* of the groups */
	uint64_t nr_groups;
	_Atomic uint64_t next;
	struct disk *disk; /* or: */
	struct backing *backing;
};

static void *buffer(size_t bytes)
{
	void *p = aligned_alloc(PAGE_SIZE, bytes);

	if (!p)
		die("no memory");
	memset(p, 0, bytes);
	return p;
}

static void map_data(struct bench *b, const char *path, uint64_t max)
{
	b->pages = map_pages(path, max, &b->nr);
	b->nr -= b->nr % FILL_PAGES;
}

static void shuffle(struct bench *b)
{
	uint64_t state = 88172645463325252u;

	b->nr_groups = b->nr / b->group;
	b->order = malloc(b->nr_groups * sizeof(*b->order));
	if (!b->order || !b->nr_groups)
		die("too little data");
	for (uint64_t i = 0; i < b->nr_groups; i++) {
		uint64_t j;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		j = state % (i + 1);
		b->order[i] = b->order[j];
		b->order[j] = (uint32_t)i;
	}
}

static void print_phase(const char *name, struct times begin)
{
	struct times took = times_since(begin);

	printf(",\"%s\":{\"wall\":%.6f,\"cpu\":%.6f}", name, took.wall, took.cpu);
}

/* The next group's first page. */
static bool next_group(struct bench *b, uint64_t *first)
{
	uint64_t i = atomic_fetch_add(&b->next, 1);

	if (i >= b->nr_groups)
		return false;
	*first = (uint64_t)b->order[i] * b->group;
	return true;
}

static void check(const struct bench *b, uint64_t page, const void *buf)
{
	if (b->verify && memcmp(buf, b->pages[page], PAGE_SIZE) != 0)
		die("page %" PRIu64 " differs", page);
}

static void run_threads(struct bench *b, void *(*worker)(void *))
{
	pthread_t threads[64];

	atomic_store(&b->next, 0);
	for (unsigned i = 0; i < b->threads; i++)
		if (pthread_create(&threads[i], NULL, worker, b) != 0)
			die("no thread");
	for (unsigned i = 0; i < b->threads; i++)
		pthread_join(threads[i], NULL);
}

/* --- uzram --- */

static void fill_disk(struct bench *b)
{
	unsigned char *buf = buffer(FILL_PAGES * PAGE_SIZE);

	for (uint64_t i = 0; i < b->nr; i += FILL_PAGES) {
		for (unsigned k = 0; k < FILL_PAGES; k++)
			memcpy(buf + k * PAGE_SIZE, b->pages[i + k], PAGE_SIZE);
		if (disk_write(b->disk, buf, FILL_PAGES * PAGE_SIZE, i * PAGE_SIZE, false) != 0)
			die("write: %s", strerror(errno));
	}
	free(buf);
}

static void *read_disk(void *opaque)
{
	struct bench *b = opaque;
	unsigned char *buf = buffer(b->group * PAGE_SIZE);
	uint64_t first;

	while (next_group(b, &first)) {
		if (disk_read(b->disk, buf, b->group * PAGE_SIZE, first * PAGE_SIZE) != 0)
			die("read: %s", strerror(errno));
		for (unsigned k = 0; k < b->group; k++)
			check(b, first + k, buf + k * PAGE_SIZE);
	}
	free(buf);
	return NULL;
}

static void run_uzram(struct bench *b, const char *path)
{
	struct disk_config config = { .name = "bench", .size = b->nr * PAGE_SIZE,
		.algorithm = zcomp_find("lz4"), .level = ZCOMP_LEVEL_UNSET, .through = true,
		.stage = STAGE_DEFAULT, .batch = BATCH_DEFAULT, .backing = path,
		.backing_size = b->nr * PAGE_SIZE + (16 << 20), .backing_overwrite = true,
		.wb_high = WB_HIGH_DEFAULT, .wb_low = WB_LOW_DEFAULT, .wb_batch = b->depth,
		.promote = PROMOTE_NEVER };
	struct disk_wb_request request = { .modes = WB_ALL };
	struct disk_wb_result result = { 0 };
	struct disk_stat st;
	struct times begin;
	struct uz_error e;

	b->disk = disk_create(&config, &e);
	if (!b->disk || disk_start(b->disk, &e) != 0)
		die("%s", e.text);
	fill_disk(b);
	disk_get_stat(b->disk, &st);
	printf("\"compressed\":%" PRIu64, st.mm.compr_data_size);
	begin = times_now();
	if (disk_writeback(b->disk, &request, NULL, NULL, &result, &e) != 0)
		die("%s", e.text);
	print_phase("write", begin);
	if (result.pages != b->nr || result.errors)
		die("%" PRIu64 " pages were written back", result.pages);
	disk_get_stat(b->disk, &st);
	printf(",\"bytes\":%" PRIu64 ",\"io\":\"%s\"", st.bd.bytes_used, st.bd.kind);
	begin = times_now();
	run_threads(b, read_disk);
	print_phase("read", begin);
	disk_destroy(b->disk);
}

/* --- raw --- */

static void reaped(struct bench *b, struct backing_io *io)
{
	if (io->error)
		die("page %" PRIu64 ": %s", io->offset / PAGE_SIZE, strerror(io->error));
	if (io->op == BACKING_READ)
		check(b, io->offset / PAGE_SIZE, io->buf);
}

/* Pages one by one, `depth` of them in flight. */
struct window {
	struct bench *b;
	struct backing_queue *queue;
	struct backing_io *ios;
	unsigned char *bufs;
	unsigned used, out;
};

static void window_open(struct window *w, struct bench *b)
{
	*w = (struct window){ .b = b, .queue = backing_queue_get(b->backing) };
	w->ios = calloc(b->depth, sizeof(*w->ios));
	w->bufs = buffer(b->depth * PAGE_SIZE);
	if (!w->queue || !w->ios)
		die("no memory");
}

static void window_send(struct window *w, enum backing_op op, uint64_t page)
{
	struct backing_io *io;
	unsigned i = w->used;

	if (i < w->b->depth) {
		w->used++;
	} else {
		io = backing_reap(w->queue, true);
		reaped(w->b, io);
		w->out--;
		i = (unsigned)(io - w->ios);
	}
	io = &w->ios[i];
	*io = (struct backing_io){ .op = op, .buf = w->bufs + i * PAGE_SIZE,
		.offset = page * PAGE_SIZE, .len = PAGE_SIZE };
	/* As zram, which copies the page to the request's. */
	if (op == BACKING_WRITE)
		memcpy(io->buf, w->b->pages[page], PAGE_SIZE);
	backing_submit(w->queue, io, 1);
	w->out++;
}

static void window_close(struct window *w)
{
	for (; w->out; w->out--)
		reaped(w->b, backing_reap(w->queue, true));
	backing_queue_put(w->queue);
	free(w->ios);
	free(w->bufs);
}

static void *read_raw(void *opaque)
{
	struct bench *b = opaque;
	struct window w;
	uint64_t first;

	window_open(&w, b);
	while (next_group(b, &first))
		for (unsigned k = 0; k < b->group; k++)
			window_send(&w, BACKING_READ, first + k);
	window_close(&w);
	return NULL;
}

static void run_raw(struct bench *b, const char *path)
{
	struct backing_config config = { .where = path, .size = b->nr * PAGE_SIZE,
		.overwrite = true };
	struct backing_info info;
	struct uz_error e;
	struct window w;
	struct times begin;

	b->backing = backing_open(&config, &e);
	if (!b->backing || backing_start(b->backing, &e) != 0)
		die("%s", e.text);
	backing_get_info(b->backing, &info);
	begin = times_now();
	window_open(&w, b);
	for (uint64_t i = 0; i < b->nr; i++)
		window_send(&w, BACKING_WRITE, i);
	window_close(&w);
	printf("\"bytes\":%" PRIu64 ",\"io\":\"%s\"", b->nr * PAGE_SIZE, info.kind);
	print_phase("write", begin);
	begin = times_now();
	run_threads(b, read_raw);
	print_phase("read", begin);
	backing_close(b->backing);
}

int main(int argc, char **argv)
{
	struct bench b = { .depth = 32, .group = 32, .threads = 1 };
	const char *data = NULL, *mode = "";
	uint64_t max = UINT64_MAX;
	int opt;

	while ((opt = getopt(argc, argv, "f:m:n:d:b:c:V")) != -1) {
		switch (opt) {
		case 'f':
			data = optarg;
			break;
		case 'm':
			mode = optarg;
			break;
		case 'n':
			max = strtoull(optarg, NULL, 10);
			break;
		case 'd':
			b.depth = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'b':
			b.group = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			b.threads = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'V':
			b.verify = true;
			break;
		default:
			optind = argc;
		}
	}
	if (!data || optind != argc - 1 || (strcmp(mode, "uzram") && strcmp(mode, "raw")) ||
		!b.depth || b.depth > BACKING_DEPTH || !b.group || !b.threads || b.threads > 64)
		die("usage: wb-bench -f DATA -m uzram|raw [-n PAGES] [-d IN-FLIGHT] [-b GROUP] "
		    "[-c THREADS] [-V] FILE");
	map_data(&b, data, max);
	shuffle(&b);
	printf("{\"pages\":%" PRIu64 ",", b.nr);
	if (strcmp(mode, "raw") == 0)
		run_raw(&b, argv[optind]);
	else
		run_uzram(&b, argv[optind]);
	puts("}");
	free(b.order);
	free(b.pages);
	return 0;
}
