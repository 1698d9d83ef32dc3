/* SPDX-License-Identifier: BSD-3-Clause */
/* See batch.h. */
#include <sys/mman.h>

#include "batch.h"
#include "drain_priv.h"

struct batch {
	uint32_t token; /* of page 0; page i has token + i */
	unsigned n;	/* pages taken */
	struct stage_entry entries[STAGE_BATCH_MAX];
	uint64_t index[STAGE_BATCH_MAX];
	struct zcomp_page pages[STAGE_BATCH_MAX];
	unsigned char src[STAGE_BATCH_MAX][PAGE_SIZE] __attribute__((aligned(64)));
	unsigned char dst[STAGE_BATCH_MAX][ZCOMP_BUFFER_SIZE];
};

struct batch *batch_create(unsigned nr, bool touch)
{
	struct batch *batch = mmap(NULL, sizeof(*batch), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (batch == MAP_FAILED)
		return NULL;
	/* By hand: MAP_POPULATE does nothing where MCL_ONFAULT locks memory. */
	if (touch)
		memset(batch, 0, sizeof(*batch));
	batch->token = batch_token(nr);
	for (unsigned i = 0; i < STAGE_BATCH_MAX; i++) {
		batch->pages[i].src = batch->src[i];
		batch->pages[i].dst = batch->dst[i];
	}
	return batch;
}

void batch_free(struct batch *batch)
{
	if (batch)
		munmap(batch, sizeof(*batch));
}

static void take(struct batch *batch, struct page_io *io, unsigned nr_entries)
{
	batch->n = 0;
	for (unsigned i = 0; i < nr_entries; i++) {
		uint64_t index = batch->entries[i].index;
		uint32_t token = batch->token + batch->n;

		if (io_leaf(io, index) && page_take(io, index, token, batch->src[batch->n]))
			batch->index[batch->n++] = index;
	}
	io_leaf_put(io);
}

/* The slowest codec takes milliseconds a page: who ends the server shall not wait for all. */
#define BETWEEN_LOOKS 16

static void compress(struct batch *batch, struct page_io *io, struct zcomp *comp)
{
	struct zcomp_strm *zstrm = zcomp_stream_get(comp, ZSTRM_DEFAULT);
	unsigned done = 0, n;

	for (; done < batch->n && !drain_stopping(); done += n) {
		n = batch->n - done < BETWEEN_LOOKS ? batch->n - done : BETWEEN_LOOKS;
		zcomp_compress_batch(comp, zstrm, batch->pages + done, n);
	}
	zcomp_stream_put(zstrm);
	io->counts[C_PERCPU] += done;
	batch->n = done; /* the others stay staged */
}

static void finish(struct batch *batch, struct page_io *io, unsigned codec)
{
	for (unsigned i = 0; i < batch->n; i++) {
		const struct zcomp_page *page = &batch->pages[i];
		bool good = page->result == 0 && !too_large(page->dst_len);

		if (io_leaf(io, batch->index[i]))
			page_finish(io, batch->index[i], batch->token + i, codec, page->dst,
				good ? page->dst_len : 0);
	}
	io_leaf_put(io);
}

void batch_count(struct page_io *io, unsigned n)
{
	unsigned bucket = n > 1 ? 32 - (unsigned)__builtin_clz(n - 1) : 0;

	io->counts[C_BATCHES]++;
	io->counts[C_BATCH_PAGES] += n;
	atomic_fetch_add_explicit(&io->disk->batch_hist[bucket], 1, memory_order_relaxed);
}

unsigned batch_run(struct batch *batch, struct disk *disk, bool fallback, unsigned *left)
{
	struct page_io io = io_begin(disk, uz_nsec());
	unsigned codec = atomic_load_explicit(&disk->codec, memory_order_acquire);
	unsigned n = stage_pop(&disk->stage, batch->entries,
		atomic_load_explicit(&disk->batch, memory_order_relaxed), left);

	if (!n)
		return 0;
	take(batch, &io, n);
	if (batch->n) {
		compress(batch, &io, disk->codecs[codec]);
		finish(batch, &io, codec);
		batch_count(&io, batch->n);
		io.counts[C_FALLBACK] += fallback ? batch->n : 0;
	}
	io_end(&io);
	stage_done(&disk->stage, batch->entries, n);
	return n;
}
