/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * drain: the threads that compress what the disks have staged, a batch at a time, on per-CPU
 * streams. The process has one set of them, for all its disks.
 *
 * Waking costs a writer more than storing a page, so a page never wakes anybody: a batch does; and
 * as long as there is work now and then one idle worker naps for NAP at a time, and looks. When
 * there was none for a while all sleep, and the next page wakes one.
 *
 * When writers alone keep all cores busy, staging is a detour: a worker that finds itself short of
 * CPU while as many writers as CPUs are active tells them to compress for themselves for a while.
 *
 * Locks: the drain's own, outside of the stage's; held for a list walk.
 */
#ifndef UZRAM_DRAIN_H
#define UZRAM_DRAIN_H

#include "util.h"

#define DRAIN_WORKERS_MAX 64

struct disk;

/* A disk's place among those that are served; the drain's alone. */
struct drain_client {
	struct drain_client *next;
	struct disk *disk;
	unsigned users; /* workers busy with it */
};

/*
 * `workers` 0: one for each CPU. `touch`: all memory that they use is faulted in. 0, or -1 with *e
 * filled. After the last fork.
 */
int drain_start(unsigned workers, bool touch, struct uz_error *e);
/* What is staged stays staged: raw, and readable. */
void drain_stop(void);
bool drain_running(void);
unsigned drain_workers(void);

void drain_add(struct drain_client *client, struct disk *disk);
/* Waits for workers that are busy with it: a batch's time. */
void drain_remove(struct drain_client *client);

/* A writer has put pages on the disk's list: `waiting` wait there now. */
void drain_pushed(struct disk *disk, unsigned waiting);
/* Somebody waits: what the disk has staged is to be compressed now. */
void drain_wake(struct disk *disk);

#endif
