/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load: what nbd-load and blk-load share: options, the data file, the order
 * of requests, and the measured window.
 *
 * A disk page p holds page p + shift of the data (modulo its length), so a
 * pass with another shift rewrites every page with other real content and a
 * later pass can still verify it. A pass visits each request of the data once;
 * workers take requests from one cursor, so they finish together.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "die.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOAD_PAGE 4096u

enum load_op { LOAD_READ, LOAD_WRITE, LOAD_TRIM };

struct load {
	enum load_op op;
	bool random;	   /* requests in a shuffled order, else ascending */
	bool verify;	   /* compare what is read with the data */
	unsigned workers;  /* threads: connections, or users of the device */
	unsigned depth;	   /* requests in flight of each worker */
	size_t request;	   /* bytes */
	uint64_t requests; /* how many this run makes */
	uint64_t pass;	   /* requests of one pass */
	uint64_t stride;   /* only every stride-th of the data's requests */
	uint64_t shift;	   /* pages */
	uint64_t seed;
	uint32_t *latency; /* ns of each request that is done; NULL: not asked for */
	atomic_uint_fast64_t nr_latency;
	pid_t server;	     /* its CPU time is reported too; 0 = none */
	const char *target;  /* socket or device */
	uint64_t data_bytes; /* of the file, cut to whole 128 KiB */
	const uint8_t *data; /* mapped twice, one after the other: a shift needs no wrap */
	uint32_t *order;     /* of the requests, when random */
	atomic_uint_fast64_t next;
	pthread_barrier_t barrier;
};

/* A worker: prepares, calls load_begin(), works, calls load_end(), cleans up. */
typedef void load_worker_fn(struct load *load, unsigned index);

/* The options of the command line; `what` names the target in the help. */
void load_init(struct load *load, int argc, char **argv, const char *what);

/* The next request's offset on the disk; false when all are taken. */
bool load_next(struct load *load, uint64_t *offset);

/* What the disk holds at `offset`, or should. */
const uint8_t *load_content(const struct load *load, uint64_t offset);

/* Checks what was read, if asked to. */
void load_check(const struct load *load, uint64_t offset, const void *buf);

/* The time of one request: the clock before it (0: nobody asks), and what it is after it. */
uint64_t load_clock(const struct load *load);
void load_timed(struct load *load, uint64_t begin);

/* The beginning and the end of the measured window: both wait for all workers. */
void load_begin(struct load *load);
void load_end(struct load *load);

/* Prints further members of the JSON object, each after a comma. */
typedef void load_more_fn(const struct load *load);

/* Runs the workers and prints one JSON line: pages, wall, cpu, server_cpu and,
 * latency_us with -t, and if `more` is not NULL, what it prints. */
void load_run(struct load *load, load_worker_fn *worker, load_more_fn *more);

#endif
