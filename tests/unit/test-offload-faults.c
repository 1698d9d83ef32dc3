/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write=behind with an accelerator that fails, in each way it can: what the disk holds is what
 * write=through makes of the same writes, and nobody waits for the device.
 * $UZRAM_TEST_STEPS (40): 40 times as many writes for each kind of fault.
 */
#include "offload-fixture.h"

static void faults_of(enum accel_fault_kind kind, unsigned percent)
{
	struct accel_profile profile = profile_of(all_profiles[kind % NR_PROFILES]);
	unsigned n = steps(40) * 2;
	struct disk *disks[2];
	struct accel_stats st;

	profile.faults[kind] = fault_of(percent);
	profile.timeout_ms = 20;
	profile.max_resets = 1000000;
	configure(&profile);
	disks[0] = new_disk("lz4", ORACLE_SIZE, 0);
	disks[1] = new_managed_disk("lz4", ORACLE_SIZE, 512, 32);
	power_on(1);
	for (unsigned i = 0; i < n; i++) {
		same_steps(disks, 20, &whole_pages);
		assert_equal_disks(disks[0], disks[1], ORACLE_SIZE, kind != ACCEL_FAULT_OVERFLOW);
	}
	assert_counts_add_up(&disks[1], 1);
	st = accel_stats_now();
	printf("%s: %lu of %lu pages, %lu resets\n", accel_fault_names[kind],
		(unsigned long)st.faults[kind], (unsigned long)st.submitted,
		(unsigned long)st.resets);
	assert_true(st.faults[kind] > 0);
	assert_int_equal(accel_state_now(), ACCEL_ENABLED);
	power_off();
	disk_destroy(disks[1]);
	disk_destroy(disks[0]);
}

static void no_fault_is_seen(void **state)
{
	for (enum accel_fault_kind kind = 0; kind < ACCEL_FAULT_INIT; kind++)
		faults_of(kind, 1);
	faults_of(ACCEL_FAULT_BUSY, 50);
	faults_of(ACCEL_FAULT_CORRUPT, 30);
}

static void init_fault_leaves_software(void **state)
{
	struct accel_profile profile = profile_of("iaa");
	struct disk *disks[2];
	char err[256] = "";
	struct uz_error e;

	profile.faults[ACCEL_FAULT_INIT] = fault_of(100);
	configure(&profile);
	disks[0] = new_disk("lz4", ORACLE_SIZE, 0);
	disks[1] = new_managed_disk("lz4", ORACLE_SIZE, 512, 32);
	start_drain(1);
	assert_int_equal(zcomp_accel_start(err, sizeof(err)), -1);
	assert_non_null(strstr(err, "init"));
	assert_int_equal(offload_start(&e), 0); /* there is nothing to start */
	assert_null(zcomp_accel_ref());
	assert_false(zcomp_accel_on());
	same_steps(disks, 50, &whole_pages);
	assert_equal_disks(disks[0], disks[1], ORACLE_SIZE, true);
	assert_int_equal(stat_of(disks[1]).streams.managed, 0);
	assert_true(stat_of(disks[1]).streams.percpu > 0);
	power_off();
	disk_destroy(disks[1]);
	disk_destroy(disks[0]);
}

static void broken_device_is_left_alone(void **state)
{
	struct accel_profile profile = profile_of("iaa");
	uint64_t managed, submitted;
	struct disk *disks[2];

	profile.faults[ACCEL_FAULT_HW_ERROR] = fault_of(100);
	configure(&profile);
	disks[0] = new_disk("lz4", ORACLE_SIZE, 0);
	disks[1] = new_managed_disk("lz4", ORACLE_SIZE, 512, 8);
	power_on(1);
	for (unsigned i = 0; i < 500 && accel_state_now() != ACCEL_FAILED; i++)
		same_steps(disks, 20, &whole_pages);
	assert_equal_disks(disks[0], disks[1], ORACLE_SIZE, true);
	assert_int_equal(accel_state_now(), ACCEL_FAILED);
	assert_int_equal(accel_stats_now().resets, profile.max_resets);
	assert_int_equal(nr_warnings, 1);
	assert_non_null(strstr(last_warning, "failed"));
	assert_false(offload_on());

	submitted = accel_stats_now().submitted;
	same_steps(disks, 200, &whole_pages);
	assert_equal_disks(disks[0], disks[1], ORACLE_SIZE, true);
	assert_counts_add_up(&disks[1], 1);
	assert_int_equal(stat_of(disks[1]).streams.managed, 0);
	assert_int_equal(accel_stats_now().submitted, submitted);
	assert_int_equal(nr_warnings, 1);

	set_fault(ACCEL_FAULT_HW_ERROR, 0);
	assert_int_equal(verb(accel_plug), 0);
	same_steps(disks, 200, &whole_pages);
	assert_equal_disks(disks[0], disks[1], ORACLE_SIZE, true);
	managed = stat_of(disks[1]).streams.managed;
	assert_true(managed > 0);
	assert_counts_add_up(&disks[1], 1);
	assert_int_equal(nr_warnings, 1);
	power_off();
	disk_destroy(disks[1]);
	disk_destroy(disks[0]);
}

static uint64_t compressed(struct disk *disk)
{
	struct disk_stat st = stat_of(disk);

	return st.streams.managed + st.streams.percpu;
}

/*
 * One operation that the device sits on, and in order all behind it, keep no other page waiting:
 * software takes those. (They leave the stage when the oldest does.)
 */
static void run_with_one_stuck(enum accel_transport transport, enum accel_order order)
{
	struct accel_profile profile = profile_of("qat");
	unsigned most = order == ACCEL_IN_ORDER ? 64 : 1;
	unsigned char *in = malloc(2 * MIB);
	struct disk *disk;
	uint64_t end, written = 0;

	profile.transport = transport;
	profile.order = order;
	profile.queue_depth = 64;
	/* A quarter of it is also what a lost wake-up may cost. */
	profile.timeout_ms = 20000;
	profile.faults[ACCEL_FAULT_TIMEOUT] = (struct accel_fault){ .probability = 100, .times = 1 };
	configure(&profile);
	disk = new_managed_disk("lz4", 2 * MIB, 1024, 64);
	power_on(1);
	make(in, 2 * MIB, TEXT);
	for (uint64_t at = 0; at < 2 * MIB; at += 32 * PAGE_SIZE) {
		disk_write(disk, in + at, 32 * PAGE_SIZE, at, false);
		written += 32;
		end = uz_nsec() + UINT64_C(10000000000);
		while (compressed(disk) + most < written && uz_nsec() < end)
			usleep(1000);
		assert_true(compressed(disk) + most >= written);
	}
	assert_int_equal(accel_stats_now().faults[ACCEL_FAULT_TIMEOUT], 1);
	if (accel_stats_now().lost_wakes)
		printf("%u lost wake-ups\n", (unsigned)accel_stats_now().lost_wakes);
	assert_true(stat_of(disk).stage.pages >= 1);
	assert_reads(disk, in, 2 * MIB, 0);
	assert_int_equal(verb(accel_reset), 0); /* lets go of it */
	disk_flush(disk);
	assert_int_equal(stat_of(disk).stage.pages, 0);
	assert_reads(disk, in, 2 * MIB, 0);
	assert_counts_add_up(&disk, 1);
	power_off();
	disk_destroy(disk);
	free(in);
}

static void stuck_operation_holds_up_nobody(void **state)
{
	for (unsigned t = 0; t < NR_TRANSPORTS; t++) {
		run_with_one_stuck(all_transports[t], ACCEL_OUT_OF_ORDER);
		run_with_one_stuck(all_transports[t], ACCEL_IN_ORDER);
	}
}

/* --- the end --- */

static void stop_with_a_stuck_device(void **state)
{
	for (unsigned t = 0; t < NR_TRANSPORTS; t++) {
		struct accel_profile profile = profile_of("iaa");
		uint64_t start, size = 8 * MIB;
		unsigned char *in = malloc(size);
		struct disk *disk;

		profile.transport = all_transports[t];
		profile.timeout_ms = 100000;
		profile.faults[ACCEL_FAULT_TIMEOUT] = (struct accel_fault){
			.interval = 1, .probability = 100, .times = -1
		};
		configure(&profile);
		disk = new_managed_disk("zstd:15", size, 2048, 256);
		power_on(1);
		make(in, size, HALF);
		disk_write(disk, in, size, 0, false);
		for (unsigned i = 0; i < 10000 && !accel_stats_now().in_flight; i++)
			usleep(1000);
		assert_true(accel_stats_now().in_flight > 0);
		assert_true(stat_of(disk).stage.pages > 0);
		assert_reads(disk, in, size, 0);
		start = uz_nsec();
		power_off();
		printf("stopped after %.1f ms, %lu pages staged\n", (double)(uz_nsec() - start) / 1e6,
			(unsigned long)stat_of(disk).stage.pages);
		assert_true(uz_nsec() - start < UINT64_C(2000000000));
		assert_reads(disk, in, size, 0);
		assert_stats_add_up(disk);
		disk_flush(disk); /* in vain, but it comes back */
		assert_reads(disk, in, size, 0);
		disk_trim(disk, size, 0);
		disk_destroy(disk);
		free(in);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		offload_test(no_fault_is_seen),
		offload_test(init_fault_leaves_software),
		offload_test(broken_device_is_left_alone),
		offload_test(stuck_operation_holds_up_nobody),
		offload_test(stop_with_a_stuck_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
