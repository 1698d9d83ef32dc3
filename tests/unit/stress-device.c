/* SPDX-License-Identifier: BSD-3-Clause */
/* See stress-device.h. */
#include <stdio.h>

#include "plugin/disk_priv.h"
#include "plugin/offload.h"
#include "stress-device.h"

#define BESIDE_PAGES 192

static _Atomic bool stop;
static _Atomic uint64_t nr_disks, nr_failed;
static struct device_counts counts;
static uint64_t seed0;
static bool restarts;
static pthread_t verbs_thread, beside_thread;

static void quiet(const char *line)
{
}

void device_configure(const struct device *device)
{
	struct accel_profile profile;

	counts = (struct device_counts){ 0 };
	nr_disks = nr_failed = 0;
	restarts = device->restarts;
	zcomp_set_warn_hook(quiet);
	accel_set_warn_hook(quiet);
	if (!device->profile) {
		zcomp_accel_configure(NULL);
		return;
	}
	profile = *accel_profile_find(device->profile);
	profile.transport = device->transport;
	profile.queue_depth = device->depth;
	profile.verify = device->verify;
	profile.timeout_ms = 8;
	/* zstd is what it has not. */
	snprintf(profile.codecs, sizeof(profile.codecs), "lz4 deflate");
	zcomp_accel_configure(&profile);
}

void device_start(void)
{
	struct uz_error e;

	if (zcomp_accel_start(e.text, sizeof(e.text)) == -1 || offload_start(&e) == -1)
		DIE("%s", e.text);
}

static void add_counts(void)
{
	struct accel_device *dev = zcomp_accel_ref();
	struct accel_stats st;

	if (!dev)
		return;
	accel_get_stats(dev, &st);
	accel_close(dev);
	counts.accepted += st.accepted;
	counts.busy += st.busy;
	counts.aborted += st.status[ACCEL_ABORTED];
	counts.resets += st.resets;
	for (unsigned i = 0; i < NR_ACCEL_FAULTS; i++)
		counts.faults += st.faults[i];
	if (st.submitted != st.accepted + st.busy)
		DIE("%lu operations submitted, %lu accepted, %lu refused",
			(unsigned long)st.submitted, (unsigned long)st.accepted,
			(unsigned long)st.busy);
}

void device_stop(void)
{
	offload_stop();
	add_counts();
	zcomp_accel_stop();
}

/* --- faults and verbs --- */

static void any_fault(struct accel_device *dev, uint64_t *rng)
{
	static const unsigned percents[] = { 0, 1, 1, 5, 30, 100 };
	enum accel_fault_kind kind = next(rng) % NR_ACCEL_FAULTS;
	struct accel_fault fault = {
		.interval = 1 + next(rng) % 3,
		.probability = percents[next(rng) % ARRAY_SIZE(percents)],
		.times = 1 + (int)(next(rng) % 40),
	};

	accel_set_fault(dev, kind, &fault);
}

/* Any of them may find another one running, or the device gone. */
static void any_verb(struct accel_device *dev, uint64_t *rng)
{
	nr_failed += accel_get_state(dev) == ACCEL_FAILED;
	switch (next(rng) % 8) {
	case 0:
		accel_reset(dev);
		break;
	case 1:
		accel_drain(dev);
		break;
	case 2:
		accel_unplug(dev);
		break;
	case 3:
	case 4:
		accel_plug(dev);
		break;
	default:
		any_fault(dev, rng);
	}
}

static void *verbs(void *opaque)
{
	uint64_t rng = seed0 * 17 + 3;

	while (!stop) {
		struct accel_device *dev = zcomp_accel_ref();

		if (dev) {
			any_verb(dev, &rng);
			accel_close(dev);
		}
		usleep(next(&rng) % 1500);
	}
	return NULL;
}

static void make_it_work(void)
{
	static const struct accel_fault none;
	struct accel_device *dev = zcomp_accel_ref();

	if (!dev)
		return;
	for (unsigned i = 0; i < NR_ACCEL_FAULTS; i++)
		accel_set_fault(dev, i, &none);
	while (accel_get_state(dev) != ACCEL_ENABLED) {
		accel_plug(dev); /* EBUSY: it resets itself */
		usleep(100);
	}
	accel_close(dev);
}

/* --- disks beside --- */

static struct disk *disk_beside(uint64_t *rng)
{
	struct disk_config config = { .size = BESIDE_PAGES * PAGE_SIZE,
		.managed = next(rng) % 4,
		.stage = 64 * PAGE_SIZE,
		.batch = 1 + next(rng) % 16,
		.level = ZCOMP_LEVEL_UNSET,
		.algorithm = zcomp_find(next(rng) % 2 ? "lz4" : "zstd") };
	struct uz_error e;
	struct disk *disk = disk_create(&config, &e);

	if (!disk)
		DIE("%s", e.text);
	nr_disks++;
	return disk;
}

static void compare(struct disk *disk, const uint64_t *seeds, uint64_t index)
{
	uint64_t want[PAGE_SIZE / 8] = { 0 }, got[PAGE_SIZE / 8];

	if (seeds[index])
		page_make(want, index, seeds[index]);
	if (disk_read(disk, got, PAGE_SIZE, index * PAGE_SIZE) == -1 ||
		memcmp(want, got, PAGE_SIZE))
		DIE("page %lu of a disk beside is not what was written last", (unsigned long)index);
}

static void step_beside(struct disk *disk, uint64_t *seeds, uint64_t *rng)
{
	static const char *const names[] = { "lz4", "zstd" };
	uint64_t page[PAGE_SIZE / 8], index = next(rng) % BESIDE_PAGES, what = next(rng) % 64;
	struct uz_error e;
	int ret = 0;

	if (what == 0) {
		ret = disk_flush(disk);
	} else if (what < 4) {
		ret = disk_set_algorithm(disk, zcomp_find(names[what % 2]), ZCOMP_LEVEL_UNSET, &e);
	} else if (what < 8) {
		ret = disk_trim(disk, PAGE_SIZE, index * PAGE_SIZE);
		seeds[index] = 0;
	} else if (what < 24) {
		compare(disk, seeds, index);
	} else {
		seeds[index] = next(rng) | 1;
		page_make(page, index, seeds[index]);
		ret = disk_write(disk, page, PAGE_SIZE, index * PAGE_SIZE, false);
	}
	if (ret == -1)
		DIE("on a disk beside: %s", strerror(errno));
}

/* When nothing is staged: each page that was taken was compressed once. */
static void add_up(struct disk *disk)
{
	struct disk_stat st;

	drain_remove(&disk->drain);
	disk_get_stat(disk, &st);
	if (!restarts &&
		st.streams.managed + st.streams.percpu != st.streams.batch_pages + st.stage.direct)
		DIE("%lu pages compressed by devices and %lu by software, not %lu in batches and "
		    "%lu direct",
			(unsigned long)st.streams.managed, (unsigned long)st.streams.percpu,
			(unsigned long)st.streams.batch_pages, (unsigned long)st.stage.direct);
	if (!disk_check(disk))
		DIE("the counters or structures of a disk beside do not add up");
	drain_add(&disk->drain, disk);
}

static void *beside(void *opaque)
{
	uint64_t seeds[BESIDE_PAGES], rng = seed0 * 13 + 5;

	while (!stop) {
		struct disk *disk = disk_beside(&rng);
		unsigned steps = next(&rng) % 1500, end = next(&rng) % 4;

		memset(seeds, 0, sizeof(seeds));
		for (unsigned i = 0; i < steps && !stop; i++)
			step_beside(disk, seeds, &rng);
		if (end == 0) {
			disk_flush(disk);
			add_up(disk);
		} else if (end == 1) {
			disk_reset(disk);
			memset(seeds, 0, sizeof(seeds));
		}
		for (uint64_t i = 0; i < BESIDE_PAGES; i++)
			compare(disk, seeds, i);
		disk_destroy(disk); /* mostly with pages staged, and streams out */
	}
	return NULL;
}

/* --- both --- */

void device_trouble(uint64_t seed)
{
	stop = false;
	seed0 = seed;
	pthread_create(&verbs_thread, NULL, verbs, NULL);
	pthread_create(&beside_thread, NULL, beside, NULL);
}

void device_calm(void)
{
	stop = true;
	pthread_join(verbs_thread, NULL);
	pthread_join(beside_thread, NULL);
	make_it_work();
}

struct device_counts device_counts(void)
{
	counts.disks = nr_disks;
	counts.failed = nr_failed;
	return counts;
}
