/* SPDX-License-Identifier: BSD-3-Clause */
/* What drain.c (clients, software workers), crew.c (sleeping and waking) and offload.c (the accelerator's
 * submitters) share. */
#ifndef UZRAM_DRAIN_PRIV_H
#define UZRAM_DRAIN_PRIV_H

#include <time.h>

#include "batch.h"

#define NAP (2 * 1000 * 1000) /* ns */

/*
 * Threads that do the same work, and sleep together. While there is work now and then, one that is
 * idle naps, and looks; after a while without, all sleep until the bell rings.
 */
struct crew {
	_Atomic uint32_t bell; /* futex: rung to wake one */
	_Atomic unsigned awake;
	_Atomic bool napper; /* one of those asleep will look by itself */
	_Atomic bool asleep; /* all sleep until the bell rings */
};

void crew_ring(struct crew *crew, int how_many);

/* After pages were put on a list, where `waiting` are now. */
static inline void crew_pushed(struct crew *crew, unsigned waiting, unsigned batch)
{
	if (unlikely(atomic_load_explicit(&crew->asleep, memory_order_relaxed)) ||
		(waiting >= batch &&
			!atomic_load_explicit(&crew->awake, memory_order_relaxed)))
		crew_ring(crew, 1);
}

/*
 * Until there may be work. `bell` was read before the caller looked for work; `any_work` looks once
 * more, taking the stages' locks, so that a writer who pushes after that sees that all are asleep.
 * `quiet` is called before all sleep, again and again while it says that there is more to do.
 * *naps: the caller's, 0 after each work.
 */
void crew_rest(struct crew *crew, uint32_t bell, unsigned *naps, bool (*any_work)(void),
	bool (*quiet)(void));

/* Starts a thread of the crew, signals blocked. 0 or an errno. */
int crew_start(struct crew *crew, pthread_t *thread, const char *name, void *(*main)(void *),
	void *opaque);

/* Whose turn it is: the software workers', or the accelerator's submitters'. */
enum drain_who { DRAIN_WORKER, DRAIN_OFFLOAD };

/*
 * A disk with pages that wait for `who`, from number `start` of the list on; in use until
 * drain_leave() has been called as often. NULL: there is none.
 */
struct drain_client *drain_next(enum drain_who who, unsigned start);
void drain_enter(struct drain_client *client, unsigned n);
void drain_leave(struct drain_client *client, unsigned n);

/* Memory that only staging needed goes back, on each disk, a little at a time. True: there is more.
 */
bool drain_settle(void);

/* More pages wait than the caller can take: a software worker may help, if a CPU is free. */
void drain_call_help(struct disk *disk, unsigned left);
/* One is to, whatever the CPUs do: nobody else takes what waits. */
void drain_help_now(void);

/* Workers are to end. */
bool drain_stopping(void);

/* Is memory to be faulted in before it is used? As drain_start() was told. */
bool drain_touches(void);

/* CPU time of the calling thread, ns. A system call. */
static inline uint64_t thread_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* offload.c */
extern struct crew offload_crew;
/* Does it take the pages of disks that prefer managed streams, and has it no room for more? */
bool offload_on(void);
bool offload_full(void);

#endif
