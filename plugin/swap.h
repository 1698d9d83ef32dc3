/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * swap: what a process must do to serve the swap of the kernel it runs on. When that kernel is
 * out of memory it waits for us, so we must not wait for memory: everything we touch is there
 * and locked before, and a pool of pages is kept ready by a thread of its own.
 */
#ifndef UZRAM_SWAP_H
#define UZRAM_SWAP_H

#include "registry.h"

struct swap;

/*
 * After the last fork (locks are not inherited), before other threads start: locks memory,
 * faults in what is there, marks the process an I/O flusher that the OOM killer spares, prepares
 * the disks and starts the thread that refills their reserves. What is not permitted is one
 * warning each; NULL with *e filled when memory itself cannot be had.
 */
struct swap *swap_start(struct registry *registry, struct uz_error *e);
void swap_stop(struct swap *swap); /* NULL is fine */

/* For each thread that serves requests, when it starts: faults in its stack and some heap. */
void swap_warm_thread(void);

#endif
