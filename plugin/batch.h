/* SPDX-License-Identifier: BSD-3-Clause */
/* batch: staged pages compressed on a per-CPU stream, up to STAGE_BATCH_MAX at once. */
#ifndef UZRAM_BATCH_H
#define UZRAM_BATCH_H

#include "disk_priv.h"

struct batch;

/* Tokens that workers use: those of number `nr` are its own (page_take()). */
#define BATCH_TOKENS STAGE_BATCH_MAX
static inline uint32_t batch_token(unsigned nr)
{
	return 1 + nr * BATCH_TOKENS;
}

/* Buffers for one worker, touched if `touch`. NULL: no memory. */
struct batch *batch_create(unsigned nr, bool touch);
void batch_free(struct batch *batch);

/* One more batch, of n pages, in the disk's counters. */
void batch_count(struct page_io *io, unsigned n);

/*
 * Compresses the disk's oldest staged pages; `fallback`: though the accelerator was wanted. Returns how many entries it took off the list; *left
 * still wait there.
 */
unsigned batch_run(struct batch *batch, struct disk *disk, bool fallback, unsigned *left);

#endif
