/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of write=behind with an accelerator share: a process that has one, from
 * configure() to power_off(); what must add up; and clients that verify what they read.
 *
 * Tests are run through offload_test(): one that fails leaves threads behind, which clean_up()
 * ends, so that the next one starts as the first did.
 */
#ifndef OFFLOAD_FIXTURE_H
#define OFFLOAD_FIXTURE_H

#include "disk-fixture.h"

#include "accel_sim/accel.h"
#include "plugin/drain_priv.h"
#include "plugin/offload.h"

#define offload_test(function) cmocka_unit_test_teardown(function, clean_up)
int clean_up(void **state);

#define NR_PROFILES   5
#define NR_TRANSPORTS 3
extern const char *const all_profiles[NR_PROFILES];
extern const enum accel_transport all_transports[NR_TRANSPORTS];
extern const char *const transport_names[NR_TRANSPORTS]; /* by enum accel_transport */

/* A number from the environment. */
unsigned knob(const char *name, unsigned usual);
/* $UZRAM_TEST_STEPS */
unsigned steps(unsigned usual);

/* --- a process with an accelerator --- */

struct accel_profile profile_of(const char *name);
struct accel_fault fault_of(unsigned percent);

/* Disks are created between the two, as a server does it. NULL: no accelerator. */
void configure(const struct accel_profile *profile);
void power_on(unsigned workers);
/* What is in flight is aborted, and stays staged. */
void power_off(void);

/* `stage`: pages. */
struct disk *new_managed_disk(const char *spec, uint64_t size, uint64_t stage, unsigned batch);

/* Since configure(). */
extern _Atomic unsigned nr_warnings;
extern char last_warning[256];

struct accel_stats accel_stats_now(void);
enum accel_state accel_state_now(void);
/* accel_reset() and the like; waits while another verb is running. */
int verb(int (*run)(struct accel_device *dev));
void set_fault(enum accel_fault_kind kind, unsigned percent);

/*
 * Of disks that have the device alone, flushed: each page that it completed counts as managed; each
 * page that was taken or written directly was compressed once, and by somebody.
 */
void assert_counts_add_up(struct disk **disks, unsigned n);

/* --- write=through beside it --- */

#define ORACLE_SIZE (2 * MIB)
extern const struct mix whole_pages, any_bytes; /* of steps on so many bytes */

/*
 * n steps on disks[1], then the very same on disks[0]: with nobody who compresses in between, whole
 * batches come together; small ones are not for the device.
 */
void same_steps(struct disk **disks, unsigned n, const struct mix *mix);

/* --- clients that verify --- */

#define WRITER_PAGES_MAX 4096
#define REQUEST_MAX	 32

/*
 * A thread that has a part of the disk for itself: it writes, trims and flushes, and reads pages at
 * random between that, to compare each with what it wrote there last.
 */
struct writer {
	/* Set by the test: */
	struct disk *disk;
	unsigned first, pages; /* its part */
	unsigned request;      /* most pages of one */
	unsigned flushes;      /* one in so many requests */

	_Atomic bool stop;
	_Atomic uint64_t writes, compared; /* pages */
	uint64_t rng;
	uint64_t seed[WRITER_PAGES_MAX]; /* of what was acknowledged; 0: zeroes */
	struct writer *next;		 /* running */
	pthread_t thread;
};

void start_writer(struct writer *w);
void stop_writer(struct writer *w);
/* Then compares all that it wrote, before and after a flush. */
void end_writer(struct writer *w);

#endif
