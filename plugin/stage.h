/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stage: the bounded list of a disk's slots whose raw object waits for compression.
 *
 * It knows page indexes and nothing of slots: an entry says "look at this page", so one whose page
 * was trimmed or has been compressed meanwhile does no harm. Positions count up from 0 for ever;
 * an entry keeps its place in the ring until all before it are done, so that "everything staged
 * before now" is one number (a sequence cut), whatever order entries are finished in.
 *
 *	writer: stage_reserve(), store the page, stage_push()
 *	worker: stage_pop(), compress, publish, stage_done()
 *	flush:  stage_wait(cut)
 *
 * One mutex, innermost, held for a copy of a few words. Any thread may call anything.
 */
#ifndef UZRAM_STAGE_H
#define UZRAM_STAGE_H

#include "util.h"

#define STAGE_BATCH_MAX 256 /* pages given to a compressor at once, at most */

struct stage_entry {
	uint64_t index; /* page */
	uint64_t pos;
};

struct stage {
	/* Fixed: */
	uint64_t *ring; /* page index; see DONE in stage.c */
	unsigned size;	/* of the ring, a power of two */
	unsigned max;	/* entries */

	_Atomic unsigned used; /* reserved, waiting or being compressed */
	_Atomic unsigned used_max;
	_Atomic unsigned allow; /* entries that writers may use now, up to max */

	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	uint64_t head; /* next to push */
	uint64_t tail; /* next to pop */
	uint64_t done; /* all before are finished */
	unsigned waiters;
};

/* For `pages` entries, memory touched. 0, or -1 with errno. */
int stage_init(struct stage *stage, unsigned pages);
void stage_destroy(struct stage *stage);

/* Room for up to n entries; returns for how many. What is not pushed is given back. */
unsigned stage_reserve(struct stage *stage, unsigned n);
void stage_unreserve(struct stage *stage, unsigned n);

/* From now on writers get n entries at most, if that is less than all. */
void stage_allow(struct stage *stage, unsigned n);

/* Takes n of what was reserved. Returns how many wait now, these included. */
unsigned stage_push(struct stage *stage, const uint64_t *index, unsigned n);

/* The oldest up to n entries; in *left how many still wait. */
unsigned stage_pop(struct stage *stage, struct stage_entry *entries, unsigned n, unsigned *left);
void stage_done(struct stage *stage, const struct stage_entry *entries, unsigned n);

/* How many wait to be popped. */
unsigned stage_waiting(struct stage *stage);

/* The position after the last entry, for stage_wait(); false: nothing is staged. */
bool stage_cut(struct stage *stage, uint64_t *cut);
/* Until all entries before `cut` are done, or timeout_ns have passed: then false. */
bool stage_wait(struct stage *stage, uint64_t cut, uint64_t timeout_ns);

/* Forgets what waits; what was popped is still to be finished. */
void stage_drop(struct stage *stage);

#endif
