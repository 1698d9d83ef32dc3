/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write=behind with an accelerator: what a disk holds is what write=through makes of the same
 * writes, whatever the device is, does or suffers; and what is counted is what was done.
 * $UZRAM_TEST_STEPS (40): writes in each configuration, 40 times as many for each kind of fault;
 * verbs and changes under load.
 */
#include "disk-fixture.h"

#include "accel_sim/accel.h"
#include "plugin/drain_priv.h"
#include "plugin/offload.h"

/* In threads, where cmocka's cannot say what is wrong. */
#define CHECK(cond)                                                                          \
	do {                                                                                 \
		if (!(cond)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                             \
		}                                                                            \
	} while (0)

static const char *const all_profiles[] = { "iaa", "qat", "mobile", "swthread", "hisi" };
static const enum accel_transport all_transports[] = { ACCEL_MSGRING, ACCEL_EVENTFD, ACCEL_INLINE };

static _Atomic unsigned nr_warnings;
static char last_warning[256];

static void warned(const char *line)
{
	nr_warnings++;
	snprintf(last_warning, sizeof(last_warning), "%s", line);
}

static unsigned steps(unsigned usual)
{
	const char *knob = getenv("UZRAM_TEST_STEPS");

	return knob ? (unsigned)atoi(knob) : usual;
}

/* --- a process with an accelerator --- */

static struct accel_profile profile_of(const char *name)
{
	return *accel_profile_find(name);
}

/* Disks are created between configure() and power_on(), as a server does it. */
static void configure(const struct accel_profile *profile)
{
	nr_warnings = 0;
	zcomp_set_warn_hook(warned);
	accel_set_warn_hook(warned);
	zcomp_accel_configure(profile);
}

static void power_on(unsigned workers)
{
	struct uz_error e = { 0 };
	char err[256] = "";

	start_drain(workers);
	if (zcomp_accel_start(err, sizeof(err)) == -1)
		fail_msg("%s", err);
	if (offload_start(&e) == -1)
		fail_msg("%s", e.text);
}

static void power_off(void)
{
	offload_stop();
	zcomp_accel_stop();
	drain_stop();
	zcomp_accel_configure(NULL);
}

static struct disk *new_managed_disk(const char *spec, uint64_t size, uint64_t stage,
	unsigned batch)
{
	return new_disk_with(spec, &(struct disk_config){ .size = size,
					   .managed = true,
					   .stage = stage * PAGE_SIZE,
					   .batch = batch });
}

static struct accel_stats accel_stats_now(void)
{
	struct accel_device *dev = zcomp_accel_ref();
	struct accel_stats st;

	CHECK(dev);
	accel_get_stats(dev, &st);
	accel_close(dev);
	return st;
}

static enum accel_state accel_state_now(void)
{
	struct accel_device *dev = zcomp_accel_ref();
	enum accel_state state = accel_get_state(dev);

	accel_close(dev);
	return state;
}

/* Verbs may find another one running. */
static int verb(int (*run)(struct accel_device *dev))
{
	struct accel_device *dev = zcomp_accel_ref();
	int ret;

	do
		ret = run(dev);
	while (ret == -1 && errno == EBUSY && usleep(100) == 0);
	accel_close(dev);
	return ret;
}

static void set_fault(enum accel_fault_kind kind, unsigned percent)
{
	struct accel_device *dev = zcomp_accel_ref();
	struct accel_fault fault = { .probability = percent, .times = -1 };

	accel_set_fault(dev, kind, &fault);
	accel_close(dev);
}

/*
 * Of disks that have the device alone, flushed: each page that it completed counts as managed; each
 * page that was taken or written directly was compressed once, and by somebody.
 */
static void assert_counts_add_up(struct disk **disks, unsigned n)
{
	struct accel_stats accel = accel_stats_now();
	uint64_t managed = 0, percpu = 0, pages = 0, fallback = 0;

	for (unsigned i = 0; i < n; i++) {
		struct disk_stat st = stat_of(disks[i]);

		managed += st.streams.managed;
		percpu += st.streams.percpu;
		fallback += st.streams.fallback;
		pages += st.streams.batch_pages + st.stage.direct;
		assert_true(st.streams.fallback <= st.streams.percpu);
	}
	assert_int_equal(managed, accel.status[ACCEL_SUCCESS] + accel.status[ACCEL_INCOMPRESSIBLE]);
	assert_int_equal(managed + percpu, pages);
	assert_int_equal(accel.submitted, accel.accepted + accel.busy);
	assert_int_equal(accel.in_flight, 0);
	/* All that the device did not do was done for it; workers that helped come on top. */
	assert_true(fallback >= accel.submitted - managed);
}

/* --- the same as write=through --- */

#define ORACLE_SIZE (2 * MIB)

static void random_step(struct disk *disk, bool partial)
{
	static unsigned char buf[16 * PAGE_SIZE];
	uint64_t offset = rng() % ORACLE_SIZE, len = 1 + rng() % sizeof(buf);
	bool whole = !partial || rng() % 4, trim = rng() % 8 == 0;
	bool fua = partial && rng() % 32 == 0;

	if (rng() % 3 == 0)
		offset %= 16 * PAGE_SIZE; /* some are rewritten often */
	if (whole) {
		offset &= ~(uint64_t)(PAGE_SIZE - 1);
		len = (len + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
	}
	len = min_u64(len, ORACLE_SIZE - offset);
	for (uint64_t at = 0; !trim && at < len; at += PAGE_SIZE)
		make(buf + at, min_u64(PAGE_SIZE, len - at), rng() % NR_KINDS);
	assert_int_equal(trim ? disk_trim(disk, len, offset) :
				disk_write(disk, buf, len, offset, fua), 0);
}

/*
 * On one, then the very same on the other: with nobody who compresses in between, whole batches
 * come together; small ones are not for the device.
 */
static void same_steps(struct disk **disks, unsigned n, bool partial)
{
	uint64_t from = rng_state;

	for (unsigned i = 0; i < n; i++)
		random_step(disks[1], partial);
	rng_state = from;
	for (unsigned i = 0; i < n; i++)
		random_step(disks[0], partial);
}

/* `exactly`: stored the same way, too. */
static void assert_equal_disks(struct disk *through, struct disk *behind, bool exactly)
{
	static unsigned char x[ORACLE_SIZE], y[ORACLE_SIZE];
	struct disk_stat a, b;

	assert_int_equal(disk_read(through, x, ORACLE_SIZE, 0), 0);
	assert_int_equal(disk_read(behind, y, ORACLE_SIZE, 0), 0);
	assert_memory_equal(x, y, ORACLE_SIZE);
	assert_int_equal(disk_flush(behind), 0);
	assert_int_equal(disk_read(behind, y, ORACLE_SIZE, 0), 0);
	assert_memory_equal(x, y, ORACLE_SIZE);
	a = stat_of(through);
	b = stat_of(behind);
	assert_int_equal(b.stage.pages, 0);
	assert_int_equal(a.mm.orig_data_size, b.mm.orig_data_size);
	assert_int_equal(a.mm.same_pages, b.mm.same_pages);
	if (exactly) {
		assert_int_equal(a.mm.compr_data_size, b.mm.compr_data_size);
		assert_int_equal(a.mm.huge_pages, b.mm.huge_pages);
	}
	assert_int_equal(b.io.failed_writes + b.io.failed_reads, 0);
	assert_stats_add_up(behind);
}

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
		same_steps(disks, 20, true);
		assert_equal_disks(disks[0], disks[1], true);
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
			for (size_t p = 0; p < ARRAY_SIZE(all_profiles); p++)
				for (size_t t = 0; t < ARRAY_SIZE(all_transports); t++) {
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
		for (size_t t = 0; t < ARRAY_SIZE(all_transports); t++) {
			profile = profile_of("qat");
			profile.queue_depth = depths[d];
			profile.transport = all_transports[t];
			compare(&profile, "lz4", 32, 1 + (unsigned)d % 2);
		}
	printf("%lu pages by devices\n", (unsigned long)nr_managed);
	assert_true(nr_managed > 0);
}

/* --- faults --- */

static void faults_of(enum accel_fault_kind kind, unsigned percent)
{
	struct accel_profile profile = profile_of(all_profiles[kind % 5]);
	unsigned n = steps(40) * 2;
	struct disk *disks[2];
	struct accel_stats st;

	profile.faults[kind] = (struct accel_fault){ .probability = percent, .times = -1 };
	profile.timeout_ms = 20;
	profile.max_resets = 1000000;
	configure(&profile);
	disks[0] = new_disk("lz4", ORACLE_SIZE, 0);
	disks[1] = new_managed_disk("lz4", ORACLE_SIZE, 512, 32);
	power_on(1);
	for (unsigned i = 0; i < n; i++) {
		same_steps(disks, 20, false);
		assert_equal_disks(disks[0], disks[1], kind != ACCEL_FAULT_OVERFLOW);
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

	profile.faults[ACCEL_FAULT_INIT] = (struct accel_fault){ .probability = 100, .times = -1 };
	configure(&profile);
	disks[0] = new_disk("lz4", ORACLE_SIZE, 0);
	disks[1] = new_managed_disk("lz4", ORACLE_SIZE, 512, 32);
	start_drain(1);
	assert_int_equal(zcomp_accel_start(err, sizeof(err)), -1);
	assert_non_null(strstr(err, "init"));
	assert_int_equal(offload_start(&e), 0); /* there is nothing to start */
	assert_null(zcomp_accel_ref());
	assert_false(zcomp_accel_on());
	same_steps(disks, 50, false);
	assert_equal_disks(disks[0], disks[1], true);
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

	profile.faults[ACCEL_FAULT_HW_ERROR] =
		(struct accel_fault){ .probability = 100, .times = -1 };
	configure(&profile);
	disks[0] = new_disk("lz4", ORACLE_SIZE, 0);
	disks[1] = new_managed_disk("lz4", ORACLE_SIZE, 512, 8);
	power_on(1);
	for (unsigned i = 0; i < 500 && accel_state_now() != ACCEL_FAILED; i++)
		same_steps(disks, 20, false);
	assert_equal_disks(disks[0], disks[1], true);
	assert_int_equal(accel_state_now(), ACCEL_FAILED);
	assert_int_equal(accel_stats_now().resets, profile.max_resets);
	assert_int_equal(nr_warnings, 1);
	assert_non_null(strstr(last_warning, "failed"));
	assert_false(offload_on());

	submitted = accel_stats_now().submitted;
	same_steps(disks, 200, false);
	assert_equal_disks(disks[0], disks[1], true);
	assert_counts_add_up(&disks[1], 1);
	assert_int_equal(stat_of(disks[1]).streams.managed, 0);
	assert_int_equal(accel_stats_now().submitted, submitted);
	assert_int_equal(nr_warnings, 1);

	set_fault(ACCEL_FAULT_HW_ERROR, 0);
	assert_int_equal(verb(accel_plug), 0);
	same_steps(disks, 200, false);
	assert_equal_disks(disks[0], disks[1], true);
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
	for (size_t t = 0; t < ARRAY_SIZE(all_transports); t++) {
		run_with_one_stuck(all_transports[t], ACCEL_OUT_OF_ORDER);
		run_with_one_stuck(all_transports[t], ACCEL_IN_ORDER);
	}
}

/* --- what happens under load --- */

#define LOAD_PAGES 512 /* of disk, for each writer */

struct writer {
	struct disk *disk;
	_Atomic bool stop;
	uint64_t rng, writes;
	uint64_t seed[LOAD_PAGES]; /* of what was acknowledged; 0: nothing */
	unsigned first;		   /* page of the disk */
	pthread_t thread;
};

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

/* Random words to so many eighths of the page, the rest text; 0: all zeroes. */
static void page_of(unsigned char *page, uint64_t seed)
{
	uint64_t s = seed, rich = seed % 9;

	memset(page, seed ? 't' : 0, PAGE_SIZE);
	memcpy(page, &seed, sizeof(seed));
	for (unsigned i = 8; seed && i < rich * PAGE_SIZE / 8; i += 8) {
		uint64_t word = next(&s);

		memcpy(page + i, &word, 8);
	}
}

static void check_page(struct writer *w, uint64_t i)
{
	unsigned char want[PAGE_SIZE], got[PAGE_SIZE];

	page_of(want, w->seed[i]);
	CHECK(disk_read(w->disk, got, PAGE_SIZE, (w->first + i) * PAGE_SIZE) == 0);
	CHECK(!memcmp(got, want, PAGE_SIZE));
}

static void *writer_main(void *opaque)
{
	struct writer *w = opaque;
	unsigned char page[PAGE_SIZE];

	while (!w->stop) {
		uint64_t i = next(&w->rng) % LOAD_PAGES, seed = next(&w->rng) | 1;
		uint64_t what = next(&w->rng) % 256;

		check_page(w, next(&w->rng) % LOAD_PAGES);
		if (what == 0) {
			CHECK(disk_flush(w->disk) == 0);
		} else if (what < 8) {
			CHECK(disk_trim(w->disk, PAGE_SIZE, (w->first + i) * PAGE_SIZE) == 0);
			w->seed[i] = 0;
		} else {
			page_of(page, seed);
			CHECK(disk_write(w->disk, page, PAGE_SIZE, (w->first + i) * PAGE_SIZE,
				      false) == 0);
			w->seed[i] = seed;
			w->writes++;
		}
	}
	return NULL;
}

static void start_writer(struct writer *w, struct disk *disk, unsigned first)
{
	memset(w, 0, sizeof(*w));
	w->disk = disk;
	w->first = first;
	w->rng = rng();
	CHECK(pthread_create(&w->thread, NULL, writer_main, w) == 0);
}

static void end_writer(struct writer *w)
{
	w->stop = true;
	pthread_join(w->thread, NULL);
	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < LOAD_PAGES; i++)
			check_page(w, i);
		disk_flush(w->disk);
	}
	CHECK(stat_of(w->disk).io.failed_writes == 0);
}

static void verbs_under_load(void **state)
{
	for (size_t t = 0; t < ARRAY_SIZE(all_transports); t++) {
		struct accel_profile profile = profile_of(all_profiles[t]);
		static struct writer writers[2];
		uint64_t managed, fallback;
		struct disk *disk;

		profile.transport = all_transports[t];
		profile.queue_depth = 64;
		configure(&profile);
		disk = new_managed_disk("lz4", 2 * LOAD_PAGES * PAGE_SIZE, 256, 16);
		power_on(1);
		for (unsigned i = 0; i < 2; i++)
			start_writer(&writers[i], disk, i * LOAD_PAGES);
		for (unsigned i = 0, n = 2 * steps(40); i < n; i++) {
			usleep(rng() % 4000);
			if (i % 2)
				assert_int_equal(verb(accel_reset), 0);
			if (i % 4 == 3) {
				assert_int_equal(verb(accel_unplug), 0);
				usleep(rng() % 4000);
				assert_int_equal(verb(accel_plug), 0);
			}
		}
		for (unsigned i = 0; i < 2; i++)
			end_writer(&writers[i]);
		assert_stats_add_up(disk);
		assert_counts_add_up(&disk, 1);
		managed = stat_of(disk).streams.managed;
		fallback = stat_of(disk).streams.fallback;
		printf("%lu writes, %lu managed, %lu fallen back\n",
			(unsigned long)(writers[0].writes + writers[1].writes),
			(unsigned long)managed, (unsigned long)fallback);
		assert_true(managed > 0);
		power_off();
		disk_trim(disk, disk_size(disk), 0);
		assert_empty(disk);
		disk_destroy(disk);
		assert_int_equal(nr_warnings, 0);
	}
}

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
	start_writer(&writers[0], stays, 0);
	for (unsigned i = 0, n = steps(40); i < n; i++) {
		goes = new_managed_disk(i % 2 ? "zstd:3" : "lz4", LOAD_PAGES * PAGE_SIZE, 256, 32);
		start_writer(&writers[1], goes, 0);
		usleep(rng() % 20000);
		if (i % 4 == 0) {
			end_writer(&writers[1]);
			assert_stats_add_up(goes);
		} else { /* with a stage full of pages, and streams out */
			writers[1].stop = true;
			pthread_join(writers[1].thread, NULL);
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
	for (unsigned i = 0; i < 2; i++)
		start_writer(&writers[i], disk, i * LOAD_PAGES);
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
	for (unsigned i = 0; i < 2; i++)
		end_writer(&writers[i]);
	assert_stats_add_up(disk);
	assert_true(managed > 0);
	assert_counts_add_up(&disk, 1);
	assert_int_equal(nr_warnings, 1); /* once, when it got the algorithm */
	assert_non_null(strstr(last_warning, "zstd"));
	power_off();
	disk_destroy(disk);
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

/* --- the end --- */

static void stop_with_a_stuck_device(void **state)
{
	for (size_t t = 0; t < ARRAY_SIZE(all_transports); t++) {
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
		cmocka_unit_test(managed_is_through_in_the_end),
		cmocka_unit_test(other_codecs_and_depths),
		cmocka_unit_test(no_fault_is_seen),
		cmocka_unit_test(init_fault_leaves_software),
		cmocka_unit_test(broken_device_is_left_alone),
		cmocka_unit_test(stuck_operation_holds_up_nobody),
		cmocka_unit_test(verbs_under_load),
		cmocka_unit_test(disks_share_the_device),
		cmocka_unit_test(algorithm_that_the_device_has_not),
		cmocka_unit_test(whole_stage_for_the_device),
		cmocka_unit_test(stop_with_a_stuck_device),
		cmocka_unit_test(stop_and_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
