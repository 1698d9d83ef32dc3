/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults: null_blk's attributes, decided by hash and not by a generator that threads share. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel_sim/accel_priv.h"

const char *const accel_fault_names[NR_ACCEL_FAULTS] = {
	[ACCEL_FAULT_BUSY] = "busy",
	[ACCEL_FAULT_TIMEOUT] = "timeout",
	[ACCEL_FAULT_HW_ERROR] = "hw-error",
	[ACCEL_FAULT_OVERFLOW] = "overflow",
	[ACCEL_FAULT_CORRUPT] = "corrupt",
	[ACCEL_FAULT_INIT] = "init",
};

/* A number at *p, up to `max`, and what ends it. */
static bool number(const char **p, char end, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;

	if (**p < '0' || **p > '9')
		return false;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		unsigned digit = (unsigned)(**p - '0');

		if (v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*value = v;
	return *(*p)++ == end;
}

static bool parse_attributes(const char *p, struct accel_fault *fault)
{
	uint64_t interval, probability, space, times = 0;
	bool endless;

	if (!number(&p, ',', UINT32_MAX, &interval) || !number(&p, ',', 100, &probability) ||
		!number(&p, ',', INT64_MAX, &space))
		return false;
	endless = strcmp(p, "-1") == 0;
	if (!endless && !number(&p, '\0', INT32_MAX, &times))
		return false;
	*fault = (struct accel_fault){
		.interval = (uint32_t)interval,
		.probability = (uint32_t)probability,
		.space = space,
		.times = endless ? -1 : (int32_t)times,
	};
	return true;
}

int accel_fault_parse(const char *spec, enum accel_fault_kind *kind, struct accel_fault *fault,
	char *err, size_t errlen)
{
	size_t len = strcspn(spec, ":");

	for (unsigned i = 0; i < NR_ACCEL_FAULTS; i++) {
		if (strlen(accel_fault_names[i]) != len ||
			strncmp(spec, accel_fault_names[i], len) != 0)
			continue;
		if (spec[len] != ':' || !parse_attributes(spec + len + 1, fault))
			break;
		*kind = i;
		return 0;
	}
	accel_explain(err, errlen,
		"%s: not KIND:INTERVAL,PROBABILITY,SPACE,TIMES with KIND one of busy, timeout, "
		"hw-error, overflow, corrupt, init; PROBABILITY 0 to 100; TIMES -1: without end",
		spec);
	return -1;
}

void accel_set_fault(struct accel_device *dev, enum accel_fault_kind kind,
	const struct accel_fault *fault)
{
	struct fault_point *point = &dev->faults[kind];

	atomic_store(&point->on, false);
	atomic_store(&point->interval, fault->interval ? fault->interval : 1);
	atomic_store(&point->probability, fault->probability);
	atomic_store(&point->space, fault->space);
	atomic_store(&point->times, fault->times);
	atomic_store(&point->on, fault->probability > 0 && fault->times != 0);
}

/* murmur3's finalizer (public domain). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
	x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
	return x ^ (x >> 33);
}

static bool passes_free(struct fault_point *point, uint32_t bytes)
{
	uint64_t space = atomic_load(&point->space);

	while (space)
		if (atomic_compare_exchange_weak(&point->space, &space,
			    space > bytes ? space - bytes : 0))
			return true;
	return false;
}

static bool spend(struct fault_point *point)
{
	int64_t times = atomic_load(&point->times);

	while (times > 0)
		if (atomic_compare_exchange_weak(&point->times, &times, times - 1))
			return true;
	return times < 0;
}

bool fault_hits(struct accel_device *dev, enum accel_fault_kind kind, unsigned qp, uint64_t seq,
	uint32_t bytes)
{
	struct fault_point *point = &dev->faults[kind];
	uint64_t draw = mix(mix(mix(dev->profile.seed + kind) + qp) + seq);

	if (passes_free(point, bytes))
		return false;
	if ((seq + 1) % atomic_load(&point->interval) != 0)
		return false;
	return draw % 100 < atomic_load(&point->probability) && spend(point);
}
