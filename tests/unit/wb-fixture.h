/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the second tier share: a disk on a file of its own, with faults at will. */
#ifndef WB_FIXTURE_H
#define WB_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "plugin/disk_priv.h"
#include "streams/zcomp.h"

static char wb_path[PATH_MAX];
static struct backing *wb_faulty; /* the wrapper of the last disk's backing */

static inline void wb_unlink(void)
{
	unlink(wb_path);
}

static inline void wb_name(void)
{
	const char *dir = getenv("TMPDIR");

	if (wb_path[0])
		return;
	snprintf(wb_path, sizeof(wb_path), "%s/uzram-wb-%d", dir ? dir : "/tmp", (int)getpid());
	atexit(wb_unlink);
}

static inline struct backing *wb_wrap(struct backing *backing)
{
	wb_faulty = backing_fault_wrap(backing, 1);
	return wb_faulty ? wb_faulty : backing;
}

/* Fields that are 0 get what is usual. NULL with *e. */
static inline struct disk *wb_try(struct disk_config c, const char *spec, struct uz_error *e)
{
	struct disk *disk;
	char err[256];

	wb_name();
	wb_wrap_backing = wb_wrap;
	if (!c.backing) {
		c.backing = wb_path;
		wb_unlink();
	}
	if (!c.backing_size)
		c.backing_size = UINT64_C(64) << 20;
	if (zcomp_parse(spec, &c.algorithm, &c.level, err, sizeof(err)) == -1)
		abort();
	disk = disk_create(&c, e);
	if (disk && disk_start(disk, e) == -1) {
		disk_destroy(disk);
		disk = NULL;
	}
	return disk;
}

static inline struct disk *wb_disk(struct disk_config c)
{
	struct uz_error e = { 0 };
	struct disk *disk = wb_try(c, "lz4", &e);

	if (!disk) {
		fprintf(stderr, "FAIL: %s\n", e.text);
		abort();
	}
	return disk;
}

static inline struct disk_wb_result wb_all(struct disk *disk, unsigned modes)
{
	struct disk_wb_request request = { .modes = modes };
	struct disk_wb_result result;
	struct uz_error e;

	if (disk_writeback(disk, &request, NULL, NULL, &result, &e) == -1) {
		fprintf(stderr, "FAIL: %s\n", e.text);
		abort();
	}
	return result;
}

static inline void wb_fault(enum backing_fault fault, uint32_t permille, int64_t times)
{
	struct backing_fault_rule rule = {
		.permille = permille, .times = times, .delay_us = 20000
	};

	backing_fault_set(wb_faulty, fault, permille ? &rule : NULL);
}

#endif
