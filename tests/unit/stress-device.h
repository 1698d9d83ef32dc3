/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-disk-stress's accelerator: one that gets faults of all kinds, resets, unplugs and plugs all
 * the time; and disks that come and go beside the one under test, with the device's streams out.
 */
#ifndef STRESS_DEVICE_H
#define STRESS_DEVICE_H

#include "plugin/disk.h"

#include "accel_sim/accel.h"

#define DIE(...)                                                                                   \
	do {                                                                                       \
		fprintf(stderr, "test-disk-stress: " __VA_ARGS__);                                 \
		fputc('\n', stderr);                                                               \
		abort();                                                                           \
	} while (0)

static inline uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

/* First 8 bytes: index + 1; next 8: seed; the rest follows, of a compressibility it chooses. */
void page_make(uint64_t *p, uint64_t index, uint64_t seed);

/* A run's device. */
struct device {
	const char *profile; /* NULL: none */
	enum accel_transport transport;
	unsigned depth;
	bool verify;
	bool restarts; /* it stops under load: pages in flight are counted, and never compressed */
};

/* What happened to it, added up over its starts. */
struct device_counts {
	uint64_t accepted, busy, faults, aborted, resets, failed, disks;
};

/* Before the disks are created; NULL profile: there is none. */
void device_configure(const struct device *device);
/* After drain_start(), and before drain_stop(); from one thread. */
void device_start(void);
void device_stop(void);

/* Threads that make trouble, until device_calm(). Then the device works, and has no faults. */
void device_trouble(uint64_t seed);
void device_calm(void);
/* After device_stop(), since device_configure(). */
struct device_counts device_counts(void);

#endif
