/* SPDX-License-Identifier: BSD-3-Clause */
/* See offload-fixture.h. */
#include "offload-fixture.h"

const char *const all_profiles[NR_PROFILES] = { "iaa", "qat", "mobile", "swthread", "hisi" };
const enum accel_transport all_transports[NR_TRANSPORTS] = { ACCEL_MSGRING, ACCEL_EVENTFD,
	ACCEL_INLINE };
const char *const transport_names[NR_TRANSPORTS] = {
	[ACCEL_MSGRING] = "msgring", [ACCEL_EVENTFD] = "eventfd", [ACCEL_INLINE] = "inline"
};

_Atomic unsigned nr_warnings;
char last_warning[256];

static void warned(const char *line)
{
	nr_warnings++;
	snprintf(last_warning, sizeof(last_warning), "%s", line);
}

unsigned knob(const char *name, unsigned usual)
{
	const char *value = getenv(name);

	return value ? (unsigned)atoi(value) : usual;
}

unsigned steps(unsigned usual)
{
	return knob("UZRAM_TEST_STEPS", usual);
}

/* --- a process with an accelerator --- */

static bool powered;

struct accel_profile profile_of(const char *name)
{
	return *accel_profile_find(name);
}

struct accel_fault fault_of(unsigned percent)
{
	return (struct accel_fault){ .probability = percent, .times = -1 };
}

void configure(const struct accel_profile *profile)
{
	nr_warnings = 0;
	zcomp_set_warn_hook(warned);
	accel_set_warn_hook(warned);
	zcomp_accel_configure(profile);
}

void power_on(unsigned workers)
{
	struct uz_error e = { 0 };
	char err[256] = "";

	start_drain(workers);
	powered = true;
	if (zcomp_accel_start(err, sizeof(err)) == -1)
		fail_msg("%s", err);
	if (offload_start(&e) == -1)
		fail_msg("%s", e.text);
}

void power_off(void)
{
	offload_stop();
	zcomp_accel_stop();
	drain_stop();
	zcomp_accel_configure(NULL);
	powered = false;
}

struct disk *new_managed_disk(const char *spec, uint64_t size, uint64_t stage, unsigned batch)
{
	return new_disk_with(spec, &(struct disk_config){ .size = size,
					   .managed = true,
					   .stage = stage * PAGE_SIZE,
					   .batch = batch });
}

struct accel_stats accel_stats_now(void)
{
	struct accel_device *dev = zcomp_accel_ref();
	struct accel_stats st;

	CHECK(dev);
	accel_get_stats(dev, &st);
	accel_close(dev);
	return st;
}

enum accel_state accel_state_now(void)
{
	struct accel_device *dev = zcomp_accel_ref();
	enum accel_state state = accel_get_state(dev);

	accel_close(dev);
	return state;
}

int verb(int (*run)(struct accel_device *dev))
{
	struct accel_device *dev = zcomp_accel_ref();
	int ret;

	do
		ret = run(dev);
	while (ret == -1 && errno == EBUSY && usleep(100) == 0);
	accel_close(dev);
	return ret;
}

void set_fault(enum accel_fault_kind kind, unsigned percent)
{
	struct accel_device *dev = zcomp_accel_ref();
	struct accel_fault fault = fault_of(percent);

	accel_set_fault(dev, kind, &fault);
	accel_close(dev);
}

void assert_counts_add_up(struct disk **disks, unsigned n)
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

/* --- write=through beside it --- */

const struct mix whole_pages = { .size = ORACLE_SIZE, .most = 16 * PAGE_SIZE, .trims = 8 };
const struct mix any_bytes = {
	.size = ORACLE_SIZE, .most = 16 * PAGE_SIZE, .partial = true, .trims = 8, .fuas = 32
};

void same_steps(struct disk **disks, unsigned n, const struct mix *mix)
{
	static struct step step;
	uint64_t from = rng_state;

	for (unsigned d = 2; d-- > 0;) {
		rng_state = from;
		for (unsigned i = 0; i < n; i++) {
			make_step(&step, mix);
			do_step(disks[d], &step);
		}
	}
}

/* --- clients that verify --- */

static struct writer *running; /* the test's thread alone starts and stops them */

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

static void check_pages(struct writer *w, uint64_t i, uint64_t n)
{
	unsigned char want[PAGE_SIZE], got[REQUEST_MAX * PAGE_SIZE];

	CHECK(disk_read(w->disk, got, n * PAGE_SIZE, (w->first + i) * PAGE_SIZE) == 0);
	for (uint64_t p = 0; p < n; p++) {
		page_of(want, w->seed[i + p]);
		CHECK(!memcmp(got + p * PAGE_SIZE, want, PAGE_SIZE));
	}
	w->compared += n;
}

static void write_pages(struct writer *w, uint64_t i, uint64_t n)
{
	unsigned char buf[REQUEST_MAX * PAGE_SIZE];
	uint64_t seeds[REQUEST_MAX];

	for (uint64_t p = 0; p < n; p++) {
		seeds[p] = next(&w->rng) | 1;
		page_of(buf + p * PAGE_SIZE, seeds[p]);
	}
	CHECK(disk_write(w->disk, buf, n * PAGE_SIZE, (w->first + i) * PAGE_SIZE, false) == 0);
	memcpy(w->seed + i, seeds, n * sizeof(*seeds));
	w->writes += n;
}

static void trim_pages(struct writer *w, uint64_t i, uint64_t n)
{
	CHECK(disk_trim(w->disk, n * PAGE_SIZE, (w->first + i) * PAGE_SIZE) == 0);
	memset(w->seed + i, 0, n * sizeof(*w->seed));
}

static void *writer_main(void *opaque)
{
	struct writer *w = opaque;

	while (!w->stop) {
		uint64_t n = 1 + next(&w->rng) % w->request;
		uint64_t i = next(&w->rng) % (w->pages - n + 1);

		check_pages(w, next(&w->rng) % (w->pages - n + 1), n);
		if (next(&w->rng) % w->flushes == 0)
			CHECK(disk_flush(w->disk) == 0);
		else if (next(&w->rng) % 32 == 0)
			trim_pages(w, i, n);
		else
			write_pages(w, i, n);
	}
	return NULL;
}

void start_writer(struct writer *w)
{
	CHECK(w->pages <= WRITER_PAGES_MAX && w->request <= REQUEST_MAX);
	memset(w->seed, 0, sizeof(w->seed));
	w->stop = false;
	w->writes = w->compared = 0;
	w->rng = rng();
	w->next = running;
	running = w;
	CHECK(pthread_create(&w->thread, NULL, writer_main, w) == 0);
}

void stop_writer(struct writer *w)
{
	struct writer **p = &running;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	w->stop = true;
	pthread_join(w->thread, NULL);
}

void end_writer(struct writer *w)
{
	stop_writer(w);
	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < w->pages; i++)
			check_pages(w, i, 1);
		disk_flush(w->disk);
	}
	CHECK(stat_of(w->disk).io.failed_writes == 0);
}

int clean_up(void **state)
{
	while (running)
		stop_writer(running);
	if (powered)
		power_off();
	return 0;
}
