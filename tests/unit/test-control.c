/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket, in-process, above disks that are not real. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "plugin/control.h"
#include "plugin/control_priv.h"
#include "streams/zcomp.h"

/* Disks */

struct disk {
	const char *name;
	int level;
	atomic_int compacting; /* how many at once */
	atomic_bool release;   /* compaction may end */
};

static struct disk disks[] = { { .name = "default" }, { .name = "b.2" }, { .name = "compact" } };
static struct disk *disk_list[] = { &disks[0], &disks[1], &disks[2] };
static struct disk_set set = { disk_list, 1 };

const char *disk_name(const struct disk *disk)
{
	return disk->name;
}

void disk_get_stat(struct disk *disk, struct disk_stat *st)
{
	*st = (struct disk_stat){ .algorithm = "lz4", .level = disk->level, .size = 1 << 30,
		.limit_used = 5000, .zero_pages = 4, .table_bytes = 4096, .reserve_bytes = 3,
		.reads = 20, .writes = 21, .trims = 22 };
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

static void sleep_ms(unsigned ms)
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

static char dir[] = "/tmp/test-control.XXXXXX";
static char path[64];
static struct control *control;

static struct control *try_start(size_t nr_disks, unsigned stuck_ms)
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

static void start(size_t nr_disks, unsigned stuck_ms)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(disks); i++) {
		disks[i].level = ZCOMP_LEVEL_UNSET;
		atomic_store(&disks[i].release, true);
	}
	control = try_start(nr_disks, stuck_ms);
}

static int stop(void **state)
{
	control_stop(control);
	control = NULL;
	return access(path, F_OK) == 0 ? -1 : 0;
}

static int client(void)
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

static void put(int fd, const char *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void say(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

/* A line, byte by byte; "" at the end. */
static const char *hear(int fd)
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

static void expect_text(int fd, const char *text)
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

static void expect_error(int fd, const char *name, const char *error)
{
	json_t *expected = json_pack("{s:b, s:s, s:s}", "ok", 0, "errno", name, "error", error);
	char *text = json_dumps(expected, 0);

	expect_text(fd, text);
	json_decref(expected);
	free(text);
}

static void expect_end(int fd)
{
	assert_string_equal(hear(fd), "");
	close(fd);
}

/* The server serves, now. */
static void expect_served(void)
{
	int fd = client();

	say(fd, "stat\n");
	assert_true(strncmp(hear(fd), "{\"ok\":true,\"version\":1,", 23) == 0);
	close(fd);
}

static void test_requests(void **state)
{
	static const struct {
		size_t disks;
		const char *line, *error, *text;
	} rows[] = {
		{ 1, "compact", NULL, "default" },
		{ 1, "  compact \t default ", NULL, "default" },
		{ 1, "compact\r", NULL, "default" },
		{ 3, "compact b.2", NULL, "b.2" },
		{ 3, "compact compact", NULL, "compact" },
		{ 3, "compact", "EINVAL",
			"\"compact\" needs the name of a disk; disks: default, b.2, compact" },
		{ 3, "compact nope", "ENOENT",
			"no disk named \"nope\"; disks: default, b.2, compact" },
		{ 1, "compact nope", "ENOENT", "no disk named \"nope\"; disks: default" },
		{ 1, "compact \xc3\xa9\"", "ENOENT",
			"no disk named \"\xc3\xa9\"\"; disks: default" },
		{ 0, "compact", "EINVAL", "\"compact\" needs the name of a disk; disks: " },
		{ 1, "compact b.2", "ENOENT", "no disk named \"b.2\"; disks: default" },
		{ 1, "compact default default", "EINVAL",
			"too many arguments; usage: compact [DISK]" },
		{ 1, "compact x y", "EINVAL", "too many arguments; usage: compact [DISK]" },
		{ 1, "list default", "EINVAL", "too many arguments; usage: list" },
		{ 1, "stat x", "ENOENT", "no disk named \"x\"; disks: default" },
		{ 3, "stat x y", "EINVAL", "too many arguments; usage: stat [DISK]" },
		{ 1, "verify", "ENOTSUP", "\"verify\" is not supported by this version" },
		{ 1, "set mem-limit=1G", "ENOTSUP", "\"set\" is not supported by this version" },
		{ 1, "STAT", "EINVAL", "unknown command \"STAT\"; commands: list, stat, compact" },
		{ 1, "stats", "EINVAL",
			"unknown command \"stats\"; commands: list, stat, compact" },
		{ 1, "{}", "EINVAL", "unknown command \"{}\"; commands: list, stat, compact" },
		{ 1, "%s%n", "EINVAL", "unknown command \"%s%n\"; commands: list, stat, compact" },
	};
	char text[256];
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		start(rows[i].disks, 0);
		fd = client();
		say(fd, rows[i].line);
		say(fd, "\n");
		if (rows[i].error) {
			expect_error(fd, rows[i].error, rows[i].text);
		} else {
			snprintf(text, sizeof(text),
				"{\"ok\":true,\"name\":\"%s\",\"pages_compacted\":123}",
				rows[i].text);
			expect_text(fd, text);
		}
		/* An error leaves the connection as it was. */
		say(fd, "compact nope\n");
		assert_non_null(strstr(hear(fd), "\"ok\":false"));
		close(fd);
		stop(NULL);
	}
	start(1, 0);
}

#define DISK_HEAD(name) "{\"name\":\"" name "\",\"size\":1073741824,\"algorithm\":\"lz4\","
#define DISK_TAIL                                                                                  \
	"\"limit_used\":5000,\"mm_stat\":{\"orig_data_size\":12288,\"compr_data_size\":4000,"      \
	"\"mem_used_total\":8192,\"mem_limit\":65536,\"mem_used_max\":16384,\"same_pages\":5,"     \
	"\"pages_compacted\":6,\"huge_pages\":7,\"huge_pages_since\":8},"                          \
	"\"io_stat\":{\"failed_reads\":9,\"failed_writes\":10,\"invalid_io\":11,"                  \
	"\"notify_free\":12},\"zero_pages\":4,\"table_bytes\":4096,\"reserve_bytes\":3,"           \
	"\"reads\":20,\"writes\":21,\"trims\":22}"

static void test_documents(void **state)
{
	char text[1024];
	int fd;

	start(2, 0);
	disks[1].level = -3;
	fd = client();
	say(fd, "stat\n");
	expect_text(fd, "{\"ok\":true,\"version\":1,\"disks\":[" DISK_HEAD("default") DISK_TAIL
		"," DISK_HEAD("b.2") "\"level\":-3," DISK_TAIL "]}");
	say(fd, "stat b.2\n");
	expect_text(fd, "{\"ok\":true,\"version\":1,\"disks\":[" DISK_HEAD("b.2")
		"\"level\":-3," DISK_TAIL "]}");
	say(fd, "list\n");
	strcpy(text, hear(fd));
	assert_non_null(strstr(text, "{\"name\":\"default\",\"disksize\":1073741824,"
				     "\"data\":12288,\"compr\":4000,\"algorithm\":\"lz4\","));
	assert_non_null(strstr(text, "\"zero_pages\":5,\"total\":8192,\"mem_limit\":65536,"
				     "\"mem_used\":16384,\"migrated\":6,\"comp_ratio\":1.5,"
				     "\"wb\":0},{\"name\":\"b.2\","));
	/* No words: as uzramctl without a command. */
	say(fd, "\n");
	assert_string_equal(hear(fd), text);
	close(fd);
}

static void test_pieces(void **state)
{
	static const char request[] = "compact default\n";
	size_t i;
	int fd;

	start(1, 0);
	fd = client();
	for (i = 0; request[i]; i++) {
		put(fd, request + i, 1);
		sleep_ms(1);
	}
	expect_text(fd, "{\"ok\":true,\"name\":\"default\",\"pages_compacted\":123}");
	/* Several in one piece, slow and quick ones, answered in order; the rest later. */
	say(fd, "verify\ncompact\nstat\nx\nl");
	expect_error(fd, "ENOTSUP", "\"verify\" is not supported by this version");
	expect_text(fd, "{\"ok\":true,\"name\":\"default\",\"pages_compacted\":123}");
	assert_non_null(strstr(hear(fd), "mm_stat"));
	assert_non_null(strstr(hear(fd), "unknown command \\\"x\\\""));
	say(fd, "ist\n");
	assert_non_null(strstr(hear(fd), "comp_ratio"));
	/* The client has said all it will, and wants its answers. */
	say(fd, "compact\nstat\n");
	shutdown(fd, SHUT_WR);
	expect_text(fd, "{\"ok\":true,\"name\":\"default\",\"pages_compacted\":123}");
	assert_non_null(strstr(hear(fd), "mm_stat"));
	expect_end(fd);
	/* A line that is cut off is not obeyed. */
	fd = client();
	say(fd, "stat\ncompact");
	shutdown(fd, SHUT_WR);
	assert_non_null(strstr(hear(fd), "mm_stat"));
	expect_error(fd, "EINVAL", "the request ends without an end of line");
	expect_end(fd);
}

static void test_long_line(void **state)
{
	const size_t size = 1 << 20;
	char *bytes = malloc(size);
	size_t sent;
	ssize_t n;
	int fd;

	start(1, 0);
	memset(bytes, ' ', size);
	memcpy(bytes, "compact", 7);
	fd = client();
	put(fd, bytes, CTL_LINE_MAX);
	say(fd, "\n");
	expect_text(fd, "{\"ok\":true,\"name\":\"default\",\"pages_compacted\":123}");
	put(fd, bytes, CTL_LINE_MAX + 1);
	expect_error(fd, "E2BIG", "a request has 4096 bytes at most");
	expect_end(fd);
	fd = client();
	for (sent = 0; sent < size; sent += n) {
		n = send(fd, bytes + sent, size - sent, MSG_NOSIGNAL);
		if (n < 0)
			break;
	}
	assert_true(sent < size && (errno == EPIPE || errno == ECONNRESET));
	expect_error(fd, "E2BIG", "a request has 4096 bytes at most");
	expect_end(fd);
	/* Too many words in a line that is not too long. */
	fd = client();
	for (sent = 0; sent < 600; sent += 2)
		memcpy(bytes + sent, "a ", 2);
	put(fd, bytes, 600);
	say(fd, "\n");
	expect_error(fd, "E2BIG", "a request has 256 words at most");
	close(fd);
	expect_served();
	free(bytes);
}

static void test_binary(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = {
		{ "stat\0\n", 6 },     { "\0", 1 },	      { "st\x01t", 4 },
		{ "stat\x7f\n", 6 },   { "\xff\xfe\n", 3 },   { "stat \xc3\n", 7 },
		{ "\x16\x03\x01", 3 }, { "stat\rstat\n", 10 }, { "stat \xed\xa0\x80\n", 9 },
	};
	size_t i;
	int fd;

	start(1, 0);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		fd = client();
		put(fd, rows[i].bytes, rows[i].len);
		expect_error(fd, "EINVAL", "a request is one line of text, this is not text");
		expect_end(fd);
	}
	expect_served();
}

static double cpu_seconds(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_utime.tv_sec + ru.ru_stime.tv_sec +
	       (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

/* Fills the pipe both ways; returns the bytes of requests that went in. */
static size_t stuff(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	char bytes[5 * 200];
	size_t sent = 0, i;
	ssize_t n;

	for (i = 0; i < sizeof(bytes); i += 5)
		memcpy(bytes + i, "stat\n", 5);
	while (poll(&p, 1, 300) > 0) {
		n = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
		assert_true(n >= 0 || errno == EAGAIN);
		sent += n > 0 ? n : 0;
	}
	return sent;
}

static void test_never_reads(void **state)
{
	static char bytes[65536];
	size_t i, sent, lines = 0, heard = 0;
	int fds[8];
	ssize_t n;

	start(1, 1500);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = client();
	sent = stuff(fds[0]);
	assert_in_range(sent, 1000, 4 << 20);
	expect_served();
	/* One that reads late, but reads, gets all its answers... */
	shutdown(fds[0], SHUT_WR);
	while ((n = recv(fds[0], bytes, sizeof(bytes), 0)) > 0) {
		heard += n;
		for (i = 0; i < (size_t)n; i++)
			lines += bytes[i] == '\n';
	}
	assert_int_equal(n, 0);
	/* ...but for one that was half sent. */
	assert_int_equal(lines, sent / 5 + (sent % 5 != 0));
	/* Those that do not are dropped. */
	for (i = 1; i < ARRAY_SIZE(fds); i++)
		stuff(fds[i]);
	expect_served();
	sleep_ms(2500);
	for (i = 1; i < ARRAY_SIZE(fds); i++) {
		assert_int_equal(send(fds[i], "\n", 1, MSG_NOSIGNAL), -1);
		assert_int_equal(errno, EPIPE);
		close(fds[i]);
	}
	close(fds[0]);
	assert_true(heard > 0);
	expect_served();
}

static void test_half_sent(void **state)
{
	int half, idle, trickle, i;

	start(1, 400);
	half = client();
	idle = client();
	trickle = client();
	say(half, "comp");
	for (i = 0; i < 12; i++) {
		send(trickle, "x", 1, MSG_NOSIGNAL);
		sleep_ms(50);
	}
	expect_error(half, "ETIMEDOUT", "no end of line for 0 seconds");
	expect_end(half);
	expect_error(trickle, "ETIMEDOUT", "no end of line for 0 seconds");
	expect_end(trickle);
	/* To say nothing is no offence. */
	say(idle, "compact\n");
	expect_text(idle, "{\"ok\":true,\"name\":\"default\",\"pages_compacted\":123}");
	close(idle);
}

static void test_many(void **state)
{
	int fds[200], i;
	char text[64];

	start(1, 700);
	for (i = 0; i < CTL_CONNS_MAX; i++) {
		fds[i] = client();
		say(fds[i], "comp");
	}
	snprintf(text, sizeof(text), "%d control connections are open", CTL_CONNS_MAX);
	for (; i < (int)ARRAY_SIZE(fds); i++) {
		fds[i] = client();
		expect_error(fds[i], "EBUSY", text);
		expect_end(fds[i]);
	}
	for (i = 0; i < CTL_CONNS_MAX; i += 2) {
		say(fds[i], "act\n");
		expect_text(fds[i], "{\"ok\":true,\"name\":\"default\",\"pages_compacted\":123}");
	}
	/* A place is free again as soon as one has gone. */
	close(fds[0]);
	sleep_ms(100);
	fds[0] = client();
	say(fds[0], "stat\n");
	assert_non_null(strstr(hear(fds[0]), "mm_stat"));
	/* Half-sent lines end; then those that are idle make room. */
	sleep_ms(1000);
	for (i = 1; i < CTL_CONNS_MAX; i += 2) {
		assert_non_null(strstr(hear(fds[i]), "ETIMEDOUT"));
		expect_end(fds[i]);
		fds[i] = client();
	}
	for (i = 0; i < 5; i++)
		expect_served();
	for (i = 0; i < CTL_CONNS_MAX; i++)
		close(fds[i]);
}

static void test_slow(void **state)
{
	static const char ok[] = "{\"ok\":true,\"name\":\"default\",\"pages_compacted\":123}";
	int a, b, half, gone;
	double cpu;

	start(2, 300);
	atomic_store(&disks[0].release, false);
	a = client();
	b = client();
	say(a, "compact default\nstat\n");
	while (!atomic_load(&disks[0].compacting))
		sleep_ms(1);
	say(b, "compact default\n");
	expect_error(b, "EBUSY", "compaction of default is running");
	say(b, "compact b.2\n");
	expect_text(b, "{\"ok\":true,\"name\":\"b.2\",\"pages_compacted\":123}");
	say(b, "stat default\n");
	assert_non_null(strstr(hear(b), "mm_stat"));
	/* Waiting costs nothing, whatever the one that waits has closed. */
	shutdown(a, SHUT_WR);
	half = client();
	say(half, "com");
	cpu = cpu_seconds();
	sleep_ms(1000);
	assert_true(cpu_seconds() - cpu < 0.3);
	close(half);
	atomic_store(&disks[0].release, true);
	expect_text(a, ok);
	assert_non_null(strstr(hear(a), "mm_stat"));
	expect_end(a);
	/* One that leaves: the work goes on, and nobody is answered. */
	atomic_store(&disks[0].release, false);
	gone = client();
	say(gone, "compact default\n");
	while (!atomic_load(&disks[0].compacting))
		sleep_ms(1);
	close(gone);
	sleep_ms(20);
	say(b, "compact default\n");
	expect_error(b, "EBUSY", "compaction of default is running");
	atomic_store(&disks[0].release, true);
	while (atomic_load(&disks[0].compacting))
		sleep_ms(1);
	sleep_ms(50);
	say(b, "compact default\n");
	expect_text(b, ok);
	close(b);
}

static void test_stop(void **state)
{
	uint64_t begun;
	int a, b;

	start(2, 0);
	atomic_store(&disks[0].release, false);
	atomic_store(&disks[1].release, false);
	a = client();
	say(a, "compact default\ncompact default\nstat\n");
	b = client();
	say(b, "compact b.2\ncompact default\ncompact b.2\n");
	while (!atomic_load(&disks[0].compacting) || !atomic_load(&disks[1].compacting))
		sleep_ms(1);
	begun = uz_nsec();
	assert_int_equal(stop(NULL), 0);
	assert_true(uz_nsec() - begun < 1000000000);
	assert_int_equal(atomic_load(&disks[0].compacting), 0);
	expect_error(a, "ESHUTDOWN", "the server is shutting down");
	expect_end(a);
	expect_error(b, "ESHUTDOWN", "the server is shutting down");
	expect_end(b);
}

/* Without descriptors the server neither spins nor forgets who waits. */
static void test_no_descriptors(void **state)
{
	struct rlimit old, low;
	double cpu;
	int fd;

	start(1, 0);
	expect_served();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	fd = client();
	low.rlim_cur = fd + 1;
	sleep_ms(50);
	close(fd);
	sleep_ms(50);
	/* This takes the last one, and leaves none for the other end. */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	fd = client();
	say(fd, "stat\n");
	cpu = cpu_seconds();
	sleep_ms(600);
	assert_true(cpu_seconds() - cpu < 0.2);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_non_null(strstr(hear(fd), "mm_stat"));
	close(fd);
}

/* The file */

static void refused(const char *where, int code, const char *why)
{
	struct uz_error e = { 0 };
	struct control *c = control_bind(where, &e);

	assert_null(c);
	if (e.code != code || !strstr(e.text, why) || !strstr(e.text, where))
		fail_msg("%s: %s", where, e.text);
}

/* A socket that nobody holds. */
static void make_stale(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
}

static void test_bind(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char other[128], longest[200];
	struct uz_error e;
	struct stat st;
	int fd;

	make_stale();
	start(1, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	refused(path, EADDRINUSE, "in use by a running server");
	expect_served();
	stop(NULL);

	/* Bound, but not serving yet: no less alive. */
	control = control_bind(path, &e);
	assert_non_null(control);
	refused(path, EADDRINUSE, "in use by a running server");
	assert_int_equal(stop(NULL), 0);

	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	refused(path, EEXIST, "a file of another kind");
	unlink(path);
	assert_int_equal(symlink("/nowhere", path), 0);
	refused(path, EEXIST, "a file of another kind");
	unlink(path);
	refused(dir, EEXIST, "a file of another kind");
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	refused(path, EEXIST, "a socket of another kind");
	close(fd);
	unlink(path);

	snprintf(other, sizeof(other), "%s/no/where", dir);
	refused(other, ENOENT, "cannot open the directory");
	refused("", EINVAL, "needs the path");
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "/tmp/", 5);
	longest[108] = '\0';
	refused(longest, ENAMETOOLONG, "has 107 bytes at most, this one has 108");
}

static void test_bind_forbidden(void **state)
{
	if (geteuid() == 0)
		skip();
	assert_int_equal(chmod(dir, 0500), 0);
	refused(path, EACCES, "cannot make the socket: Permission denied");
	assert_int_equal(chmod(dir, 0000), 0);
	refused(path, EACCES, "cannot open the directory");
	assert_int_equal(chmod(dir, 0700), 0);
}

/* A name without a folder is the same file after chdir("/"), as nbdkit does. */
static void test_bind_relative(void **state)
{
	struct uz_error e;
	char old[4096];

	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(dir), 0);
	control = control_bind("socket", &e);
	assert_non_null(control);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(stop(NULL), 0);
	assert_int_equal(chdir(old), 0);
}

/* What another server made there since is not ours to remove. */
static void test_not_ours(void **state)
{
	struct control *second;

	start(1, 0);
	assert_int_equal(unlink(path), 0);
	second = try_start(1, 0);
	control_stop(control);
	assert_int_equal(access(path, F_OK), 0);
	control = second;
	expect_served();
}

static void wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Bound and ended before it served, as for an error in a later parameter. */
static void test_exit_unserved(void **state)
{
	struct uz_error e;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (!control_bind(path, &e) || access(path, F_OK) != 0)
			_exit(1);
		exit(0);
	}
	wait_for(pid);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* As nbdkit goes into the background: the parent's end removes nothing. */
static void test_background(void **state)
{
	int up[2], down[2];
	struct uz_error e;
	char c;
	pid_t pid;

	assert_int_equal(pipe(up), 0);
	assert_int_equal(pipe(down), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		control = control_bind(path, &e);
		close(down[1]);
		if (!control || fork() != 0)
			exit(control ? 0 : 1);
		c = control_start(control, &set, &e) == 0 ? 'y' : 'n';
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 0)
			_exit(1);
		control_stop(control);
		exit(0);
	}
	wait_for(pid);
	close(up[1]);
	assert_int_equal(read(up[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	expect_served();
	close(down[1]);
	assert_int_equal(read(up[0], &c, 1), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	close(up[0]);
	close(down[0]);
}

/* Of servers that start together above a dead one's socket, one gets it. */
static void bind_race(void)
{
	enum { RACERS = 6 };
	int go[2], won[2], end[2], i, winners;
	struct uz_error e;
	pid_t pids[RACERS];
	char c;

	assert_int_equal(pipe(go) | pipe(won) | pipe(end), 0);
	make_stale();
	fflush(NULL);
	for (i = 0; i < RACERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(go[1]);
			close(end[1]);
			c = read(go[0], &c, 1) == 0 && control_bind(path, &e) ? '1' : '0';
			if (write(won[1], &c, 1) != 1 || read(end[0], &c, 1) != 0)
				_exit(1);
			exit(0);
		}
	}
	close(go[1]);
	for (i = winners = 0; i < RACERS; i++) {
		assert_int_equal(read(won[0], &c, 1), 1);
		winners += c == '1';
	}
	close(end[1]);
	for (i = 0; i < RACERS; i++)
		wait_for(pids[i]);
	close(go[0]);
	close(won[0]);
	close(won[1]);
	close(end[0]);
	assert_int_equal(winners, 1);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void test_bind_race(void **state)
{
	int round;

	for (round = 0; round < 30; round++)
		bind_race();
}

/* Clients that leave without hearing their answers. */
static void test_no_reader_no_signal(void **state)
{
	int i, fd;

	start(1, 0);
	for (i = 0; i < 50; i++) {
		fd = client();
		say(fd, "stat\nstat\nlist\nverify\n");
		close(fd);
	}
	expect_served();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_requests, stop),
		cmocka_unit_test_teardown(test_documents, stop),
		cmocka_unit_test_teardown(test_pieces, stop),
		cmocka_unit_test_teardown(test_long_line, stop),
		cmocka_unit_test_teardown(test_binary, stop),
		cmocka_unit_test_teardown(test_never_reads, stop),
		cmocka_unit_test_teardown(test_no_reader_no_signal, stop),
		cmocka_unit_test_teardown(test_half_sent, stop),
		cmocka_unit_test_teardown(test_many, stop),
		cmocka_unit_test_teardown(test_slow, stop),
		cmocka_unit_test_teardown(test_stop, stop),
		cmocka_unit_test_teardown(test_no_descriptors, stop),
		cmocka_unit_test_teardown(test_bind, stop),
		cmocka_unit_test_teardown(test_bind_forbidden, stop),
		cmocka_unit_test_teardown(test_bind_relative, stop),
		cmocka_unit_test_teardown(test_not_ours, stop),
		cmocka_unit_test_teardown(test_exit_unserved, stop),
		cmocka_unit_test_teardown(test_background, stop),
		cmocka_unit_test_teardown(test_bind_race, stop),
	};
	int ret;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/socket", dir);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(dir);
	return ret;
}
