/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * codec-loop: CPU time of liblz4 alone, page by page over the data, in a tight
 * loop with nothing around it: what no store of compressed pages can go below.
 * Mode write compresses, mode read decompresses what was compressed before the
 * measured window.
 *
 * Pages of one repeated 8-byte word are not given to the codec, and pages that
 * a store would keep as they are are not decompressed; they count as pages and
 * cost nothing.
 */
#include <config.h>

#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>

#define RAW_FROM 4073u /* bytes; a page that does not get below is kept as it is */

/* What became of a page: its bytes in the store, or why it is not there. */
struct object {
	const uint8_t *bytes;
	uint32_t size; /* 0: same-filled; LOAD_PAGE: raw */
};

static struct object *objects; /* one for each page of the data */

static bool same_filled(const uint8_t *page)
{
	return memcmp(page, page + 8, LOAD_PAGE - 8) == 0;
}

/* As the plugin calls it: room for any result, so LZ4 checks no bound. */
static int compress_page(void *state, const uint8_t *page, uint8_t *out)
{
	return LZ4_compress_fast_extState(
		state, (const char *)page, (char *)out, LOAD_PAGE, 2 * LOAD_PAGE, 1);
}

/* Compresses the worker's share of the data into a store of its own. */
static void fill_store(const struct load *load, unsigned index, void *state, uint8_t *out)
{
	uint64_t pages = load->data_bytes / LOAD_PAGE;
	uint64_t first = pages * index / load->workers, end = pages * (index + 1) / load->workers;
	uint64_t step = load->request / LOAD_PAGE;
	uint8_t *store = malloc((end - first + 1) * LOAD_PAGE);

	if (!store)
		load_die("out of memory");
	for (uint64_t p = first; p < end; p++) {
		const uint8_t *page = load->data + p * LOAD_PAGE;
		struct object *obj = &objects[p];

		if (p / step % load->stride || same_filled(page))
			continue;
		obj->size = compress_page(state, page, out);
		if (obj->size >= RAW_FROM) {
			obj->size = LOAD_PAGE;
			continue;
		}
		obj->bytes = store;
		memcpy(store, out, obj->size);
		store += obj->size;
	}
	/* The store lives as long as the process. */
}

static void do_page(const struct load *load, uint64_t p, void *state, uint8_t *out)
{
	const struct object *obj = &objects[p];

	if (load->op == LOAD_WRITE) {
		if (obj->size)
			compress_page(state, load->data + p * LOAD_PAGE, out);
	} else if (obj->bytes) {
		if (LZ4_decompress_safe((const char *)obj->bytes, (char *)out, obj->size,
			    LOAD_PAGE) != (int)LOAD_PAGE)
			load_die("a page does not decompress");
	}
}

static void worker(struct load *load, unsigned index)
{
	void *state = malloc(LZ4_sizeofState());
	size_t room = load->request + LOAD_PAGE;
	uint8_t *out = aligned_alloc(LOAD_PAGE, room);
	uint64_t offset;

	if (!state || !out)
		load_die("out of memory");
	memset(out, 0, room);
	fill_store(load, index, state, out);
	load_begin(load);
	while (load_next(load, &offset)) {
		/* Pages land where they would in a server's buffer. */
		for (size_t at = 0; at < load->request; at += LOAD_PAGE)
			do_page(load, (offset + at) / LOAD_PAGE, state,
				load->op == LOAD_WRITE ? out : out + at);
	}
	load_end(load);
	free(out);
	free(state);
}

/* Of the pages that the stride leaves. */
static void print_content(const struct load *load)
{
	uint64_t step = load->request / LOAD_PAGE, pages = 0, bytes = 0, same = 0, raw = 0;

	for (uint64_t p = 0; p < load->data_bytes / LOAD_PAGE; p++) {
		if (p / step % load->stride)
			continue;
		pages++;
		bytes += objects[p].size;
		same += objects[p].size == 0;
		raw += objects[p].size == LOAD_PAGE;
	}
	printf(",\"content\":{\"pages\":%" PRIu64 ",\"compressed_bytes\":%" PRIu64
	       ",\"same_pages\":%" PRIu64 ",\"raw_pages\":%" PRIu64 "}",
		pages, bytes, same, raw);
}

int main(int argc, char **argv)
{
	struct load load;

	load_init(&load, argc, argv, "lz4");
	if (strcmp(load.target, "lz4") != 0 || load.op == LOAD_TRIM)
		load_die("the codec is lz4, the mode read or write");
	objects = calloc(load.data_bytes / LOAD_PAGE, sizeof(*objects));
	if (!objects)
		load_die("out of memory");
	load_run(&load, worker, print_content);
	return 0;
}
