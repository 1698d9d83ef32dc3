/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write=behind with an accelerator: what a disk holds is what write=through makes of the same
 * writes, whatever the device is; and what is counted is what was done.
 * $UZRAM_TEST_STEPS (40): writes in each configuration, and stops and starts.
 */
#include "offload-fixture.h"

static uint64_t nr_managed;

static void compare(const struct accel_profile *profile, const char *spec, unsigned batch,
	unsigned workers)
{
	uint64_t stage = rng() % 4 ? 2048 : 64;
	struct disk *disks[2];

	configure(profile);
	disks[0] = new_disk(spec, ORACLE_SIZE, 0);
	disks[1] = new_managed_disk(spec, ORACLE_SIZE, stage, batch);
	power_on(workers);
	for (unsigned i = 0, n = steps(40); i < n; i += 20) {
		same_steps(disks, 20, &any_bytes);
		assert_equal_disks(disks[0], disks[1], ORACLE_SIZE, true);
	}
	nr_managed += stat_of(disks[1]).streams.managed;
	for (unsigned i = 0; i < BATCH_BUCKETS; i++) /* no batch is larger than was asked for */
		assert_true(!stat_of(disks[1]).streams.batch_sizes[i] || i == 0 ||
			1u << (i - 1) < batch);
	disk_trim(disks[1], ORACLE_SIZE, 0);
	disk_flush(disks[1]);
	power_off();
	assert_empty(disks[1]);
	disk_destroy(disks[1]);
	disk_destroy(disks[0]);
	assert_int_equal(nr_warnings, 0);
}

static void managed_is_through_in_the_end(void **state)
{
	static const unsigned batches[] = { 1, 8, 32, 256 };

	nr_managed = 0;
	for (size_t b = 0; b < ARRAY_SIZE(batches); b++)
		for (unsigned workers = 1; workers <= 2; workers++) {
			compare(NULL, "lz4", batches[b], workers);
			for (unsigned p = 0; p < NR_PROFILES; p++)
				for (unsigned t = 0; t < NR_TRANSPORTS; t++) {
					struct accel_profile profile = profile_of(all_profiles[p]);

					profile.transport = all_transports[t];
					compare(&profile, "lz4", batches[b], workers);
				}
		}
	printf("%lu pages by devices\n", (unsigned long)nr_managed);
	assert_true(nr_managed > 0);
}

/* Codecs with contexts, for each engine; and queues that hold less than a batch. */
static void other_codecs_and_depths(void **state)
{
	static const char *const specs[] = { "zstd:1", "deflate:1", "lz4hc", "none" };
	static const unsigned depths[] = { 1, 2, 7 };
	struct accel_profile profile;

	nr_managed = 0;
	for (size_t s = 0; s < ARRAY_SIZE(specs); s++) {
		profile = profile_of("iaa");
		profile.verify = s % 2;
		compare(&profile, specs[s], 32, 1);
	}
	for (size_t d = 0; d < ARRAY_SIZE(depths); d++)
		for (unsigned t = 0; t < NR_TRANSPORTS; t++) {
			profile = profile_of("qat");
			profile.queue_depth = depths[d];
			profile.transport = all_transports[t];
			compare(&profile, "lz4", 32, 1 + (unsigned)d % 2);
		}
	printf("%lu pages by devices\n", (unsigned long)nr_managed);
	assert_true(nr_managed > 0);
}

/* Without the device software may have told writers to keep from the stage: nobody else takes that
 * back. */
static void whole_stage_for_the_device(void **state)
{
	struct accel_profile profile = profile_of("iaa");
	unsigned char page[PAGE_SIZE];
	struct disk *disk;

	configure(&profile);
	disk = new_managed_disk("lz4", MIB, 256, 16);
	power_on(1);
	stage_allow(&disk->stage, 32);
	make(page, PAGE_SIZE, TEXT);
	disk_write(disk, page, PAGE_SIZE, 0, false);
	disk_flush(disk);
	assert_int_equal(disk->stage.allow, 256);
	power_off();
	disk_destroy(disk);
}

/* --- the end, and a new start --- */

/* Nobody sleeps through the end, and what one leaves staged the next one finds. */
static void stop_and_start(void **state)
{
	struct accel_profile profile = profile_of("qat");
	unsigned char page[PAGE_SIZE];
	struct disk *disk;

	profile.queue_depth = 32;
	configure(&profile);
	disk = new_managed_disk("lz4", 64 * PAGE_SIZE, 64, 4);
	for (unsigned i = 0, n = 5 * steps(40); i < n; i++) {
		zcomp_accel_configure(&profile);
		power_on(1 + i % 2);
		for (unsigned j = 0; j < i % 24; j++) {
			make(page, PAGE_SIZE, TEXT);
			assert_int_equal(
				disk_write(disk, page, PAGE_SIZE, (i + j) % 64 * PAGE_SIZE, false), 0);
		}
		if (i % 5 == 0)
			disk_flush(disk);
		power_off();
		if (i % 24)
			assert_reads(disk, page, PAGE_SIZE, (i + i % 24 - 1) % 64 * PAGE_SIZE);
	}
	assert_stats_add_up(disk);
	disk_destroy(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		offload_test(managed_is_through_in_the_end),
		offload_test(other_codecs_and_depths),
		offload_test(whole_stage_for_the_device),
		offload_test(stop_and_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
