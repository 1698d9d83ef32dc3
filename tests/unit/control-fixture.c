/* SPDX-License-Identifier: BSD-3-Clause */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "control-fixture.h"
#include "streams/zcomp.h"

/* Disks */

struct disk disks[] = { { .name = "default" }, { .name = "b.2" }, { .name = "compact" } };
struct registry *registry;
atomic_int destroyed;
const char *const disk_op_names[NR_DISK_OPS] = { "read", "write", "trim", "flush" };

const char *const disk_promote_names[NR_DISK_PROMOTES] = { "never", "read", "second-read" };
const uint32_t disk_age_limits[DISK_AGES] = { 1, 10, 60, 600, 3600, 21600, 86400, UINT32_MAX };

const char *disk_name(const struct disk *disk)
{
	return disk->name;
}

void disk_get_stat(struct disk *disk, struct disk_stat *st)
{
	*st = (struct disk_stat){ .algorithm = "lz4",
		.level = disk->level,
		.size = disk->size,
		.limit_used = 5000,
		.zero_pages = 4,
		.table_bytes = 4096,
		.reserve_bytes = 3,
		.reads = 20,
		.writes = 21,
		.trims = 22,
		.stage = { .behind = true,
			.pages = 23,
			.pages_max = 24,
			.coalesced = 25,
			.direct = 26 },
		.streams = { .managed = 27,
			.percpu = 28,
			.fallback = 29,
			.raw = 30,
			.batches = 31,
			.batch_pages = 32,
			.batch_sizes = { [0] = 20, [8] = 11 } } };
	st->mm.orig_data_size = 12288;
	st->mm.compr_data_size = 4000;
	st->mm.mem_used_total = 8192;
	st->mm.mem_limit = disk->limit;
	st->mm.mem_used_max = 16384;
	st->mm.same_pages = 5;
	st->mm.pages_compacted = 6;
	st->mm.huge_pages = 7;
	st->mm.huge_pages_since = 8;
	st->io.failed_reads = 9;
	st->io.failed_writes = 10;
	st->io.invalid_io = 11;
	st->io.notify_free = 12;
	if (disk->has_backing) {
		st->has_backing = true;
		st->bd.kind = "io_uring";
		st->bd.bd_count = 31;
		st->bd.bd_reads = 32;
		st->bd.bd_writes = 33;
		st->bd.bytes_used = 34000;
		st->bd.bytes_allocated = 35000;
		st->bd.bytes_written = 36000;
		st->bd.capacity = 370000;
		st->bd.checksum_errors = 38;
		st->bd.read_errors = 39;
		st->bd.write_errors = 40;
		st->bd.promoted = 41;
		st->bd.paused = true;
		st->wb.automatic = disk->wb_auto;
		st->wb.high = disk->high;
		st->wb.low = disk->low;
		st->wb.batch = disk->wb_batch;
		st->wb.promote = disk->promote;
		st->wb.limit_enable = disk->wb_limit_enable;
		st->wb.limit = disk->wb_limit;
		st->wb.passes = 42;
		st->wb.throttled = 43;
		st->wb.throttled_ns = 44500000;
	}
	/* 98 in 1024..2048 ns, 2 in 64..128 us; one beyond all. */
	st->latency[DISK_READ][11] = 98;
	st->latency[DISK_READ][17] = 2;
	st->latency_sum_ns[DISK_READ] = 400000;
	st->latency[DISK_FLUSH][DISK_LATENCY_BUCKETS - 1] = 1;
	st->latency_sum_ns[DISK_FLUSH] = 2000000000;
}

void disk_get_ages(struct disk *disk, struct disk_ages *ages)
{
	*ages = (struct disk_ages){ .pages = { [1] = 3, [7] = 4 }, .bytes = { [1] = 300, [7] = 400 } };
}

int disk_start(struct disk *disk, struct uz_error *e)
{
	disk->started = true;
	return 0;
}

uint64_t disk_idle(struct disk *disk, uint32_t seconds)
{
	disk->idle = seconds;
	return 77;
}

int disk_writeback(struct disk *disk, const struct disk_wb_request *request,
	disk_progress_fn *progress, void *opaque, struct disk_wb_result *result, struct uz_error *e)
{
	int len = snprintf(disk->wb_asked, sizeof(disk->wb_asked), "%u", request->modes);
	size_t i;

	for (i = 0; i < request->nr_ranges; i++)
		len += snprintf(disk->wb_asked + len, sizeof(disk->wb_asked) - (size_t)len,
			" %llu-%llu", (unsigned long long)request->ranges[i].from,
			(unsigned long long)request->ranges[i].to);
	*result = disk->wb_result;
	while (!atomic_load(&disk->release) && progress(opaque, 500, 1000))
		sleep_ms(2);
	return disk->bad ? uz_fail(e, EBUSY, "the automatic pass is running") : 0;
}

int disk_set_wb_limit(struct disk *disk, uint64_t pages, struct uz_error *e)
{
	disk->wb_limit = pages;
	return 0;
}

int disk_set_wb_limit_enable(struct disk *disk, bool enable, struct uz_error *e)
{
	disk->wb_limit_enable = enable;
	return 0;
}

int disk_set_wb_auto(struct disk *disk, bool automatic, struct uz_error *e)
{
	if (automatic && !disk->limit)
		return uz_fail(e, EINVAL, "no limit");
	disk->wb_auto = automatic;
	return 0;
}

int disk_set_watermarks(struct disk *disk, unsigned high, unsigned low, struct uz_error *e)
{
	disk->high = high;
	disk->low = low;
	return 0;
}

int disk_set_wb_batch(struct disk *disk, unsigned batch, struct uz_error *e)
{
	disk->wb_batch = batch;
	return 0;
}

int disk_set_promote(struct disk *disk, enum disk_promote promote, struct uz_error *e)
{
	disk->promote = promote;
	return 0;
}

int disk_set_batch(struct disk *disk, unsigned batch, struct uz_error *e)
{
	disk->batch = batch;
	return 0;
}

uint64_t disk_size(const struct disk *disk)
{
	return disk->size;
}

struct disk *disk_create(const struct disk_config *config, struct uz_error *e)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	disk->name = strdup(config->name);
	disk->size = config->size;
	disk->limit = config->mem_limit;
	disk->algorithm = config->algorithm;
	disk->level = config->level;
	disk->created = 1;
	atomic_store(&disk->release, true);
	return disk;
}

void disk_destroy(struct disk *disk)
{
	atomic_fetch_add(&destroyed, 1);
	if (!disk->created)
		return;
	free((char *)disk->name);
	free(disk);
}

void disk_drop_stats(struct disk *disk)
{
	disk->drops++;
}

void disk_reset(struct disk *disk)
{
	while (!atomic_load(&disk->release))
		sleep_ms(2);
	disk->resets++;
}

void disk_set_limit(struct disk *disk, uint64_t limit)
{
	disk->limit = limit;
}

int disk_set_algorithm(struct disk *disk, const struct zcomp_ops *algorithm, int level,
	struct uz_error *e)
{
	if (level == 9)
		return uz_fail(e, ENOSPC, "no more algorithms");
	disk->algorithm = algorithm;
	disk->level = level;
	return 0;
}

int disk_resize(struct disk *disk, uint64_t size, struct uz_error *e)
{
	disk->size = size;
	return 0;
}

bool disk_verify(struct disk *disk, uint64_t *pages, uint64_t *bad, disk_progress_fn *progress,
	void *opaque)
{
	unsigned i = 0;

	atomic_fetch_add(&disk->compacting, 1);
	do {
		sleep_ms(2);
		if (!progress(opaque, i++ % 1000, 1000)) {
			atomic_fetch_sub(&disk->compacting, 1);
			return false;
		}
	} while (!atomic_load(&disk->release));
	atomic_fetch_sub(&disk->compacting, 1);
	*pages = 1000;
	*bad = disk->bad;
	return true;
}

/* Every page is stored. */
size_t disk_blocks(struct disk *disk, uint64_t from, uint64_t to, struct disk_block *blocks,
	size_t max, uint64_t *next)
{
	size_t n = 0;

	for (; from <= to && n < max; from++, n++)
		blocks[n] = (struct disk_block){ from, 7, "h", PAGE_SIZE, "none" };
	*next = from;
	return n;
}

void sleep_ms(unsigned ms)
{
	const struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

uint64_t disk_compact(struct disk *disk, disk_progress_fn *progress, void *opaque)
{
	unsigned i = 0;

	if (atomic_fetch_add(&disk->compacting, 1) != 0)
		abort();
	while (!atomic_load(&disk->release) && progress(opaque, i++, 1000))
		sleep_ms(2);
	atomic_fetch_sub(&disk->compacting, 1);
	return 123;
}

/* Server and clients */

char dir[] = "/tmp/test-control.XXXXXX";
char path[64];
struct control *control;

void make_registry(size_t nr_disks)
{
	struct uz_error e;
	size_t i;

	registry = registry_create();
	for (i = 0; i < nr_disks; i++)
		assert_int_equal(registry_add(registry, &disks[i], &e), 0);
}

struct control *try_start(size_t nr_disks, unsigned stuck_ms)
{
	struct control *started;
	struct uz_error e;

	if (!registry)
		make_registry(nr_disks);
	started = control_bind(path, NULL, &e);
	if (!started)
		fail_msg("%s", e.text);
	if (stuck_ms)
		control_set_stuck_ms(started, stuck_ms);
	if (control_start(started, registry, &e) != 0)
		fail_msg("%s", e.text);
	return started;
}

void start(size_t nr_disks, unsigned stuck_ms)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(disks); i++) {
		disks[i].level = ZCOMP_LEVEL_UNSET;
		disks[i].algorithm = NULL;
		disks[i].size = 1 << 30;
		disks[i].limit = 65536;
		disks[i].bad = 0;
		disks[i].has_backing = disks[i].wb_auto = disks[i].wb_limit_enable = false;
		disks[i].high = 90;
		disks[i].low = 80;
		disks[i].wb_batch = disks[i].batch = 32;
		disks[i].wb_limit = 0;
		disks[i].promote = PROMOTE_SECOND_READ;
		disks[i].wb_result = (struct disk_wb_result){ 0 };
		atomic_store(&disks[i].release, true);
	}
	control = try_start(nr_disks, stuck_ms);
}

int stop(void **state)
{
	control_stop(control);
	control = NULL;
	registry_destroy(registry);
	registry = NULL;
	return access(path, F_OK) == 0 ? -1 : 0;
}

int client(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct timeval limit = { .tv_sec = 20 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(addr.sun_path, path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

void put(int fd, const char *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

void say(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

/* A line, byte by byte; "" at the end. */
const char *hear(int fd)
{
	static char line[1 << 16];
	size_t len = 0;
	ssize_t n;

	for (;;) {
		n = recv(fd, line + len, 1, 0);
		if (n < 0 && errno == ECONNRESET)
			n = 0;
		if (n < 0)
			fail_msg("no answer: %s", strerror(errno));
		if (n == 0 || line[len] == '\n') {
			line[len] = '\0';
			return line;
		}
		len++;
		assert_true(len < sizeof(line));
	}
}

void expect_text(int fd, const char *text)
{
	json_t *expected = json_loads(text, 0, NULL);
	const char *line = hear(fd);
	json_t *answer = json_loads(line, 0, NULL);

	assert_non_null(expected);
	if (!json_equal(answer, expected))
		fail_msg("expected %s\n\tgot %s", text, line);
	json_decref(answer);
	json_decref(expected);
}

void expect_error(int fd, const char *name, const char *error)
{
	json_t *expected = json_pack("{s:b, s:s, s:s}", "ok", 0, "errno", name, "error", error);
	char *text = json_dumps(expected, 0);

	expect_text(fd, text);
	json_decref(expected);
	free(text);
}

void expect_end(int fd)
{
	assert_string_equal(hear(fd), "");
	close(fd);
}

/* The server serves, now. */
void expect_served(void)
{
	int fd = client();

	say(fd, "stat\n");
	assert_true(strncmp(hear(fd), "{\"ok\":true,\"version\":1,", 23) == 0);
	close(fd);
}

int run_in_dir(int (*run)(void))
{
	int ret;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/socket", dir);
	ret = run();
	unlink(path);
	rmdir(dir);
	return ret;
}
