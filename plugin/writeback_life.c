/* SPDX-License-Identifier: BSD-3-Clause */
/* The second tier of a disk, from its backing's opening to its close. */
#include "disk_priv.h"

struct backing *(*wb_wrap_backing)(struct backing *backing);

int wb_open(struct disk *disk, struct uz_error *e)
{
	const struct disk_config *c = &disk->config;
	struct writeback *wb = &disk->wb;
	struct log_config log = {
		.overwrite = c->backing_overwrite, .move = page_relocate, .opaque = disk
	};
	/* Locked, all queues are there from the start; two are kept by writers. */
	struct backing_config bc = { .where = c->backing,
		.fd = c->backing_fd,
		.size = c->backing_size,
		.overwrite = c->backing_overwrite,
		.locked = c->locked,
		.queues = c->locked ? 10 : 0 };
	struct backing_info info;

	pthread_mutex_init(&wb->manual, NULL);
	pthread_mutex_init(&wb->round, NULL);
	pthread_mutex_init(&wb->turn_lock, NULL);
	pthread_cond_init(&wb->turn_cond, NULL);
	wb->high = c->wb_high ? c->wb_high : WB_HIGH_DEFAULT;
	wb->low = c->wb_low ? c->wb_low : WB_LOW_DEFAULT;
	wb->batch = c->wb_batch ? c->wb_batch : WB_BATCH_DEFAULT;
	wb->promote = c->promote;
	wb->automatic = c->backing && c->wb_auto;
	wb->chunk = 1;
	wb_watermarks(disk);
	if (!c->backing)
		return 0;
	if (disk->pages > LOG_MAX_OWNER)
		return uz_fail(e, EINVAL, "size=%llu: too large for a disk with backing=",
			(unsigned long long)c->size);
	wb->backing = backing_open(&bc, e);
	if (!wb->backing)
		return -1;
	if (wb_wrap_backing)
		wb->backing = wb_wrap_backing(wb->backing);
	disk->log = log_open(wb->backing, &log, e);
	if (disk->log)
		return 0;
	/* Or a file of that size would be in the way of the next try. */
	backing_get_info(wb->backing, &info);
	if (info.created)
		unlink(c->backing);
	return -1;
}

bool wb_check(struct disk *disk, const log_loc_t *locs, size_t n)
{
	bool ok;

	if (!disk->wb.writer)
		return true;
	/* Nobody else may use the log: the writer may have begun something. */
	wb_turn(disk);
	log_writer_destroy(disk->wb.writer);
	ok = log_check(disk->log, locs, n);
	disk->wb.writer = wb_new_writer(disk);
	wb_turn_end(disk);
	return ok && disk->wb.writer;
}

int wb_start(struct disk *disk, struct uz_error *e)
{
	struct writeback *wb = &disk->wb;

	if (!disk->log || wb->writer)
		return 0;
	if (backing_start(wb->backing, e) == -1 || log_start(disk->log, e) == -1)
		return -1;
	wb->writer = wb_new_writer(disk);
	if (!wb->writer)
		return uz_fail(e, errno, "disk %s: no memory for writing back", disk_name(disk));
	if (disk->config.locked) {
		wb->candidates = backing_alloc(WB_CANDIDATES_LOCKED * sizeof(uint64_t), true);
		if (!wb->candidates)
			return uz_fail(
				e, ENOMEM, "disk %s: no memory for writing back", disk_name(disk));
	}
	return evict_start(disk, e);
}

void wb_stop(struct disk *disk)
{
	if (!disk->log || atomic_exchange(&disk->wb.evict.stop, true))
		return;
	atomic_fetch_add(&disk->wb.hold, 1);
	evict_stop(disk);
	log_stop(disk->log);
}

void wb_close(struct disk *disk)
{
	struct writeback *wb = &disk->wb;

	wb_stop(disk);
	evict_join(disk);
	if (wb->writer)
		log_writer_destroy(wb->writer);
	if (disk->log)
		log_close(disk->log);
	if (wb->backing)
		backing_close(wb->backing);
	free(wb->candidates);
	pthread_mutex_destroy(&wb->manual);
	pthread_mutex_destroy(&wb->round);
	pthread_mutex_destroy(&wb->turn_lock);
	pthread_cond_destroy(&wb->turn_cond);
}

void wb_hold(struct disk *disk)
{
	if (!disk->log)
		return;
	atomic_fetch_add(&disk->wb.hold, 1);
	pthread_mutex_lock(&disk->wb.manual);
	pthread_mutex_lock(&disk->wb.round);
}

void wb_release(struct disk *disk)
{
	if (!disk->log)
		return;
	pthread_mutex_unlock(&disk->wb.round);
	pthread_mutex_unlock(&disk->wb.manual);
	atomic_fetch_sub(&disk->wb.hold, 1);
}
