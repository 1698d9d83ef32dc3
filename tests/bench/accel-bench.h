/* SPDX-License-Identifier: BSD-3-Clause */
/* accel-bench's parts. */
#ifndef ACCEL_BENCH_H
#define ACCEL_BENCH_H

#include "die.h"

#include "accel_sim/accel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_LIST 16

/* Numbers or names of a comma-separated option. */
struct list {
	unsigned n;
	unsigned values[MAX_LIST];
};

struct bench {
	struct accel_profile profile; /* with --set */
	bool json;
	unsigned rounds;
	struct list transports, engines, depths, batches; /* engines: 0: the profile's own */
	uint8_t *pages; /* real ones, none of them of one repeated word */
	size_t nr_pages;
};


void bench_device(const struct bench *bench);	/* accel-bench.c: both clocks */
void bench_model(const struct bench *bench);	/* accel-bench-model.c: the modelled clock alone */
void bench_software(const struct bench *bench); /* accel-bench-software.c: the codec alone */

/* Nanoseconds of CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, ... */
uint64_t read_clock(int clock);

/* Sorts the values. */
double median(double *values, size_t n);

#endif
