/* SPDX-License-Identifier: BSD-3-Clause */
/* What an administrator asks of the second tier: a pass, settings, figures. */
#include "disk_priv.h"

const char *const disk_promote_names[NR_DISK_PROMOTES] = { "never", "read", "second-read" };

/* --- a pass --- */

struct manual {
	disk_progress_fn *progress;
	void *opaque;
};

static bool manual_enough(void *opaque, double share)
{
	const struct manual *m = opaque;

	return m->progress && !m->progress(m->opaque, (unsigned)(share * 1000), 1000);
}

int disk_writeback(struct disk *disk, const struct disk_wb_request *request,
	disk_progress_fn *progress, void *opaque, struct disk_wb_result *result, struct uz_error *e)
{
	struct wb_filter filter = { .request = request };
	struct manual manual = { progress, opaque };
	enum wb_end end;

	memset(result, 0, sizeof(*result));
	if (!disk->wb.writer)
		return uz_fail(e, ENODEV, "disk %s has no backing", disk_name(disk));
	if (pthread_mutex_trylock(&disk->wb.manual))
		return uz_fail(
			e, EBUSY, "disk %s: pages are being written back already", disk_name(disk));
	disk_stage_wait(disk); /* or it could not be chosen */
	end = wb_run(disk, &filter, true, manual_enough, &manual, result);
	pthread_mutex_unlock(&disk->wb.manual);
	result->budget_ended = end == WB_BUDGET;
	result->full = end == WB_FULL;
	if (end == WB_NO_MEMORY)
		return uz_fail(e, ENOMEM, "disk %s: no memory for writing back", disk_name(disk));
	if (end == WB_FAILING)
		return uz_fail(e, EIO, "disk %s: writing to the backing fails again and again",
			disk_name(disk));
	return 0;
}

/* --- settings --- */

void wb_watermarks(struct disk *disk)
{
	struct writeback *wb = &disk->wb;
	uint64_t limit = atomic_load(&disk->mem_limit), high, low;

	if (!limit || !wb->automatic) {
		wb->high_bytes = wb->slow_bytes = UINT64_MAX;
		wb->low_bytes = UINT64_MAX;
		return;
	}
	high = (uint64_t)((double)limit * wb->high / 100);
	low = (uint64_t)((double)limit * wb->low / 100);
	wb->low_bytes = low;
	wb->high_bytes = high;
	wb->slow_bytes = high + (limit - high) / 2;
	evict_kick(disk);
}

static int need_backing(struct disk *disk, struct uz_error *e)
{
	return disk->log ? 0 : uz_fail(e, ENODEV, "disk %s has no backing", disk_name(disk));
}

int disk_set_wb_limit(struct disk *disk, uint64_t pages, struct uz_error *e)
{
	if (need_backing(disk, e) == -1)
		return -1;
	atomic_store(&disk->wb.limit, pages);
	return 0;
}

int disk_set_wb_limit_enable(struct disk *disk, bool enable, struct uz_error *e)
{
	if (need_backing(disk, e) == -1)
		return -1;
	atomic_store(&disk->wb.limit_enable, enable);
	return 0;
}

int disk_set_wb_auto(struct disk *disk, bool automatic, struct uz_error *e)
{
	if (need_backing(disk, e) == -1)
		return -1;
	if (automatic && !atomic_load(&disk->mem_limit))
		return uz_fail(e, EINVAL, "writeback=auto: disk %s has no mem-limit to keep",
			disk_name(disk));
	atomic_store(&disk->wb.automatic, automatic);
	wb_watermarks(disk);
	return 0;
}

int disk_set_watermarks(struct disk *disk, unsigned high, unsigned low, struct uz_error *e)
{
	if (need_backing(disk, e) == -1)
		return -1;
	if (!low || low >= high || high > 100)
		return uz_fail(
			e, EINVAL, "high=%u low=%u: 1 to 100, and low below high", high, low);
	atomic_store(&disk->wb.high, high);
	atomic_store(&disk->wb.low, low);
	wb_watermarks(disk);
	return 0;
}

int disk_set_wb_batch(struct disk *disk, unsigned batch, struct uz_error *e)
{
	if (need_backing(disk, e) == -1)
		return -1;
	if (!batch || batch > WB_BATCH_MAX)
		return uz_fail(e, EINVAL, "writeback-batch=%u: 1 to %d", batch, WB_BATCH_MAX);
	atomic_store(&disk->wb.batch, batch);
	return 0;
}

int disk_set_promote(struct disk *disk, enum disk_promote promote, struct uz_error *e)
{
	if (need_backing(disk, e) == -1)
		return -1;
	atomic_store(&disk->wb.promote, promote);
	return 0;
}

int disk_set_batch(struct disk *disk, unsigned batch, struct uz_error *e)
{
	if (!batch || batch > STAGE_BATCH_MAX)
		return uz_fail(e, EINVAL, "batch=%u: 1 to %d", batch, STAGE_BATCH_MAX);
	atomic_store(&disk->batch, batch);
	return 0;
}

/* --- figures --- */

void wb_get_stat(struct disk *disk, struct disk_stat *stat)
{
	struct writeback *wb = &disk->wb;
	struct backing_info info;
	struct log_stats log;

	if (!disk->log)
		return;
	backing_get_info(wb->backing, &info);
	log_get_stats(disk->log, &log);
	stat->has_backing = true;
	stat->bd.kind = info.kind;
	stat->bd.bd_count = disk_counter(disk, C_BACKED);
	stat->bd.bd_reads = disk_counter(disk, C_BD_READS);
	stat->bd.bd_writes = disk_counter(disk, C_BD_WRITES);
	stat->bd.bytes_used = log.bytes_used;
	stat->bd.bytes_allocated = log.bytes_allocated;
	stat->bd.bytes_written = log.bytes_written - wb->since.bytes_written;
	stat->bd.capacity = log.capacity;
	stat->bd.checksum_errors = log.checksum_errors - wb->since.checksum_errors;
	stat->bd.read_errors = log.read_errors - wb->since.read_errors;
	stat->bd.write_errors = log.write_errors - wb->since.write_errors;
	stat->bd.promoted = disk_counter(disk, C_PROMOTED);
	stat->bd.decompressed = disk_counter(disk, C_WB_DECODED);
	stat->bd.paused = wb->paused;
	stat->wb.automatic = wb->automatic;
	stat->wb.high = wb->high;
	stat->wb.low = wb->low;
	stat->wb.batch = wb->batch;
	stat->wb.limit_enable = wb->limit_enable;
	stat->wb.limit = wb->limit;
	stat->wb.passes = wb->passes;
	stat->wb.throttled = disk_counter(disk, C_THROTTLED);
	stat->wb.throttled_ns = disk_counter(disk, C_THROTTLED_NS);
	stat->wb.promote = (enum disk_promote)wb->promote;
}

void wb_drop_stats(struct disk *disk)
{
	if (!disk->log)
		return;
	log_get_stats(disk->log, &disk->wb.since);
	atomic_store(&disk->wb.passes, 0);
}
