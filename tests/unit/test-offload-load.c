/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write=behind with an accelerator, under clients that verify what they read, while they write and
 * at the end: faults, verbs, disks that come and go, changes of the algorithm.
 *	$UZRAM_TEST_PAGES (4000): pages for the device, with each kind of fault and each transport
 *	$UZRAM_TEST_VERBS (40): of each, with each transport
 *	$UZRAM_TEST_STEPS (40): changes
 */
#include "offload-fixture.h"

#define LOAD_PAGES 512 /* of disk, for each writer */

/* One that writes page by page, without a pause. */
static struct writer writer_of(struct disk *disk, unsigned first)
{
	return (struct writer){
		.disk = disk, .first = first, .pages = LOAD_PAGES, .request = 1, .flushes = 256
	};
}

/*
 * One whose pages are for the device: many in a request, and flushed before the stage is full, or
 * writers would do what is the device's.
 */
static struct writer big_writer_of(struct disk *disk, unsigned first, unsigned pages)
{
	return (struct writer){
		.disk = disk, .first = first, .pages = pages, .request = REQUEST_MAX, .flushes = 24
	};
}

static void start_two(struct writer *writers, struct disk *disk)
{
	for (unsigned i = 0; i < 2; i++) {
		writers[i] = writer_of(disk, i * LOAD_PAGES);
		start_writer(&writers[i]);
	}
}

static void end_two(struct writer *writers)
{
	for (unsigned i = 0; i < 2; i++)
		end_writer(&writers[i]);
}

static unsigned long sum(const _Atomic uint64_t *a, const _Atomic uint64_t *b)
{
	return (unsigned long)(*a + *b);
}

/* --- faults --- */

static uint64_t by_the_device(const struct accel_stats *st)
{
	return st->status[ACCEL_SUCCESS] + st->status[ACCEL_INCOMPRESSIBLE];
}

/* Until the device has done so many pages. */
static void await_pages(uint64_t pages)
{
	uint64_t before = 0, since = uz_nsec(), now = 0;

	while (now < pages) {
		struct accel_stats st = accel_stats_now();

		usleep(2000);
		now = by_the_device(&st);
		if (now != before)
			since = uz_nsec();
		before = now;
		if (uz_nsec() - since > UINT64_C(60000000000))
			fail_msg("the device has done nothing in 60 s, after %lu pages",
				(unsigned long)now);
	}
}

static void report_faults(enum accel_fault_kind kind, const struct accel_profile *profile,
	const struct writer *w, const struct disk_stat *disk)
{
	struct accel_stats st = accel_stats_now();

	printf("%s, %s, %s: %lu pages by the device, %lu faults, %lu refused, %lu instead in "
	       "software, %lu resets; %lu pages written, %lu compared\n",
		accel_fault_names[kind], profile->name, transport_names[profile->transport],
		(unsigned long)by_the_device(&st), (unsigned long)st.faults[kind], (unsigned long)st.busy,
		(unsigned long)disk->streams.fallback, (unsigned long)st.resets,
		sum(&w[0].writes, &w[1].writes), sum(&w[0].compared, &w[1].compared));
	/* One in a hundred, of those that a fault can hit. */
	assert_true(st.faults[kind] > st.accepted / 200);
	assert_true(st.faults[kind] < st.submitted / 50);
}

static void faults_of(enum accel_fault_kind kind, enum accel_transport transport)
{
	struct accel_profile profile = profile_of(all_profiles[kind % NR_PROFILES]);
	static struct writer writers[2];
	struct disk_stat st;
	struct disk *disk;

	profile.transport = transport;
	profile.faults[kind] = fault_of(1);
	profile.max_resets = 1000000;
	if (kind == ACCEL_FAULT_TIMEOUT) {
		profile.timeout_ms = 5;
		profile.order = ACCEL_OUT_OF_ORDER; /* or one that is stuck would hold up all */
	}
	configure(&profile);
	disk = new_managed_disk("lz4", 2 * WRITER_PAGES_MAX * PAGE_SIZE, 1024, 32);
	power_on(1);
	for (unsigned i = 0; i < 2; i++) {
		writers[i] = big_writer_of(disk, i * WRITER_PAGES_MAX, WRITER_PAGES_MAX);
		start_writer(&writers[i]);
	}
	await_pages(knob("UZRAM_TEST_PAGES", 4000));
	end_two(writers);
	assert_stats_add_up(disk);
	assert_counts_add_up(&disk, 1);
	assert_int_equal(accel_state_now(), ACCEL_ENABLED);
	st = stat_of(disk);
	report_faults(kind, &profile, writers, &st);
	power_off();
	disk_trim(disk, disk_size(disk), 0);
	assert_empty(disk);
	disk_destroy(disk);
	assert_int_equal(nr_warnings, 0);
}

static void faults_under_load(void **state)
{
	for (enum accel_fault_kind kind = 0; kind < ACCEL_FAULT_INIT; kind++)
		for (unsigned t = 0; t < NR_TRANSPORTS; t++)
			faults_of(kind, all_transports[t]);
}

/* --- verbs --- */

static void some_verbs(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		usleep(rng() % 4000);
		assert_int_equal(verb(accel_reset), 0);
		usleep(rng() % 4000);
		assert_int_equal(verb(accel_unplug), 0);
		usleep(rng() % 4000);
		assert_int_equal(verb(accel_plug), 0);
	}
}

static void verbs_under_load(void **state)
{
	for (unsigned t = 0; t < NR_TRANSPORTS; t++) {
		struct accel_profile profile = profile_of(all_profiles[t]);
		unsigned n = knob("UZRAM_TEST_VERBS", 40);
		static struct writer writers[2];
		struct accel_stats accel;
		struct disk_stat st;
		struct disk *disk;

		profile.transport = all_transports[t];
		profile.queue_depth = 64;
		configure(&profile);
		disk = new_managed_disk("lz4", 2 * LOAD_PAGES * PAGE_SIZE, 512, 16);
		power_on(1);
		writers[0] = writer_of(disk, 0);
		writers[1] = big_writer_of(disk, LOAD_PAGES, LOAD_PAGES);
		start_writer(&writers[0]);
		start_writer(&writers[1]);
		some_verbs(n);
		end_two(writers);
		assert_stats_add_up(disk);
		assert_counts_add_up(&disk, 1);
		accel = accel_stats_now();
		st = stat_of(disk);
		printf("%s, %s: %u resets, unplugs and plugs; %lu aborted, %lu refused; %lu pages "
		       "written, %lu compared, %lu managed, %lu fallen back\n",
			profile.name, transport_names[profile.transport], n,
			(unsigned long)accel.status[ACCEL_ABORTED], (unsigned long)accel.busy,
			sum(&writers[0].writes, &writers[1].writes),
			sum(&writers[0].compared, &writers[1].compared),
			(unsigned long)st.streams.managed, (unsigned long)st.streams.fallback);
		assert_true(accel.resets >= n);
		assert_true(st.streams.managed > 0);
		power_off();
		disk_trim(disk, disk_size(disk), 0);
		assert_empty(disk);
		disk_destroy(disk);
		assert_int_equal(nr_warnings, 0);
	}
}

/* --- changes --- */

/* Neither notices the other's coming and going. */
static void disks_share_the_device(void **state)
{
	struct accel_profile profile = profile_of("mobile");
	static struct writer writers[2];
	struct disk *stays, *goes;

	profile.queue_depth = 32;
	configure(&profile);
	stays = new_managed_disk("lz4", LOAD_PAGES * PAGE_SIZE, 256, 16);
	power_on(1);
	writers[0] = writer_of(stays, 0);
	start_writer(&writers[0]);
	for (unsigned i = 0, n = steps(40); i < n; i++) {
		goes = new_managed_disk(i % 2 ? "zstd:3" : "lz4", LOAD_PAGES * PAGE_SIZE, 256, 32);
		writers[1] = writer_of(goes, 0);
		start_writer(&writers[1]);
		usleep(rng() % 20000);
		if (i % 4 == 0) {
			end_writer(&writers[1]);
			assert_stats_add_up(goes);
		} else { /* with a stage full of pages, and streams out */
			stop_writer(&writers[1]);
		}
		if (i % 4 == 3)
			disk_reset(goes);
		disk_destroy(goes);
	}
	end_writer(&writers[0]);
	assert_stats_add_up(stays);
	assert_true(stat_of(stays).streams.managed > 0);
	assert_true(writers[0].writes > 0);
	power_off();
	disk_destroy(stays);
}

static void algorithm_that_the_device_has_not(void **state)
{
	static const char *const names[] = { "zstd", "lz4", "deflate", "lz4" };
	struct accel_profile profile = profile_of("iaa");
	static struct writer writers[2];
	uint64_t managed;
	struct disk *disk;
	struct uz_error e;

	snprintf(profile.codecs, sizeof(profile.codecs), "deflate lz4");
	configure(&profile);
	disk = new_managed_disk("lz4", 2 * LOAD_PAGES * PAGE_SIZE, 256, 16);
	power_on(1);
	start_two(writers, disk);
	for (unsigned i = 0, n = 2 * steps(40); i < n; i++) {
		usleep(rng() % 5000);
		assert_int_equal(disk_set_algorithm(disk, zcomp_find(names[i % 4]),
					 ZCOMP_LEVEL_UNSET, &e), 0);
	}
	disk_set_algorithm(disk, zcomp_find("zstd"), ZCOMP_LEVEL_UNSET, &e);
	usleep(20000);
	disk_flush(disk);
	managed = stat_of(disk).streams.managed;
	usleep(20000);
	assert_int_equal(stat_of(disk).streams.managed, managed); /* not one more */
	end_two(writers);
	assert_stats_add_up(disk);
	assert_true(managed > 0);
	assert_counts_add_up(&disk, 1);
	assert_int_equal(nr_warnings, 1); /* once, when it got the algorithm */
	assert_non_null(strstr(last_warning, "zstd"));
	power_off();
	disk_destroy(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		offload_test(faults_under_load),
		offload_test(verbs_under_load),
		offload_test(disks_share_the_device),
		offload_test(algorithm_that_the_device_has_not),
	};

	setvbuf(stdout, NULL, _IOLBF, 0); /* the long form takes minutes */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
