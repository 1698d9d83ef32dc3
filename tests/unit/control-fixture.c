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
static struct disk *disk_list[] = { &disks[0], &disks[1], &disks[2] };
struct disk_set set = { disk_list, 1 };

const char *disk_name(const struct disk *disk)
{
	return disk->name;
}

void disk_get_stat(struct disk *disk, struct disk_stat *st)
{
	*st = (struct disk_stat){ .algorithm = "lz4",
		.level = disk->level,
		.size = 1 << 30,
		.limit_used = 5000,
		.zero_pages = 4,
		.table_bytes = 4096,
		.reserve_bytes = 3,
		.reads = 20,
		.writes = 21,
		.trims = 22 };
	st->mm.orig_data_size = 12288;
	st->mm.compr_data_size = 4000;
	st->mm.mem_used_total = 8192;
	st->mm.mem_limit = 65536;
	st->mm.mem_used_max = 16384;
	st->mm.same_pages = 5;
	st->mm.pages_compacted = 6;
	st->mm.huge_pages = 7;
	st->mm.huge_pages_since = 8;
	st->io.failed_reads = 9;
	st->io.failed_writes = 10;
	st->io.invalid_io = 11;
	st->io.notify_free = 12;
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

/* Weak: the real one may be linked. */
__attribute__((weak)) unsigned zcomp_nr_streams(void)
{
	return 2;
}

/* Server and clients */

char dir[] = "/tmp/test-control.XXXXXX";
char path[64];
struct control *control;

struct control *try_start(size_t nr_disks, unsigned stuck_ms)
{
	struct control *started;
	struct uz_error e;

	set.nr = nr_disks;
	started = control_bind(path, &e);
	if (!started)
		fail_msg("%s", e.text);
	if (stuck_ms)
		control_set_stuck_ms(started, stuck_ms);
	if (control_start(started, &set, &e) != 0)
		fail_msg("%s", e.text);
	return started;
}

void start(size_t nr_disks, unsigned stuck_ms)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(disks); i++) {
		disks[i].level = ZCOMP_LEVEL_UNSET;
		atomic_store(&disks[i].release, true);
	}
	control = try_start(nr_disks, stuck_ms);
}

int stop(void **state)
{
	control_stop(control);
	control = NULL;
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
