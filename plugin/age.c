/* SPDX-License-Identifier: BSD-3-Clause */
/* How long ago pages were accessed: the histogram, and marking those as idle. */
#include "disk_priv.h"

const uint32_t disk_age_limits[DISK_AGES] = { 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600,
	UINT32_MAX };

struct ages {
	struct disk *disk;
	uint32_t now, seconds;
	uint64_t marked;
	struct disk_ages *out;
};

static uint32_t add_age(void *opaque, uint64_t index, struct slot *slot, uint32_t flags)
{
	struct ages *ages = opaque;
	unsigned i = 0;

	(void)index;
	while (i < DISK_AGES - 1 && wb_age(ages->now, slot->ac_time) >= disk_age_limits[i])
		i++;
	ages->out->pages[i]++;
	if (has_object(flags))
		ages->out->bytes[i] += zpool_cell(ages->disk->pool, slot_val(slot));
	else if (slot_type(flags) == SLOT_BACKED)
		ages->out->bytes[i] += LOG_RECORD(log_loc_len(slot_val(slot)));
	return flags;
}

/* Scans shall not take more than a twentieth of anybody's time, nor be noticed as stale. */
#define SCAN_SHARE 20
#define SCAN_SHORT (1000 * 1000) /* ns */

void disk_get_ages(struct disk *disk, struct disk_ages *out)
{
	struct ages ages = { .disk = disk, .now = uz_seconds(), .out = &disk->scanned.ages };
	uint64_t start;

	LOCK_SCOPE(&disk->scanned.lock);
	start = uz_nsec();
	/* Not while the table is being reset; but nobody waits for that, or for a resize. */
	if ((disk->scanned.took < SCAN_SHORT ||
		    start > disk->scanned.at + SCAN_SHARE * disk->scanned.took) &&
		pthread_mutex_trylock(&disk->lock) == 0) {
		memset(&disk->scanned.ages, 0, sizeof(disk->scanned.ages));
		wb_scan(disk, 0, atomic_load(&disk->pages), add_age, &ages, NULL);
		pthread_mutex_unlock(&disk->lock);
		disk->scanned.at = uz_nsec();
		disk->scanned.took = disk->scanned.at - start;
	}
	*out = disk->scanned.ages;
}

static uint32_t mark_idle(void *opaque, uint64_t index, struct slot *slot, uint32_t flags)
{
	struct ages *ages = opaque;

	(void)index;
	if (!has_object(flags))
		return flags;
	if (wb_age(ages->now, slot->ac_time) < ages->seconds)
		return flags & ~SLOT_IDLE;
	ages->marked++;
	return flags | SLOT_IDLE;
}

uint64_t disk_idle(struct disk *disk, uint32_t seconds)
{
	struct ages ages = { .disk = disk, .now = uz_seconds(), .seconds = seconds };

	wb_scan(disk, 0, atomic_load(&disk->pages), mark_idle, &ages, NULL);
	return ages.marked;
}
