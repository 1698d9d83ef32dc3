/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket, in-process: requests, and clients good and bad. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "control-fixture.h"
#include "streams/zcomp.h"

#define COMMANDS                                                                                   \
	"commands: list, stat, compact, verify, drop-stats, set, reset, resize, add, remove, idle, "   \
	"writeback, blocks, metrics, accel"


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
		{ 1, "compact --now", "EINVAL", "it takes no options; usage: compact [DISK]" },
		{ 1, "train x", "ENOTSUP", "\"train\" is not supported by this version" },
		{ 1, "accel", "ENODEV", "there is no accelerator: start the server with accel=PROFILE" },
		{ 1, "STAT", "EINVAL", "unknown command \"STAT\"; " COMMANDS },
		{ 1, "stats", "EINVAL",
			"unknown command \"stats\"; " COMMANDS },
		{ 1, "{}", "EINVAL", "unknown command \"{}\"; " COMMANDS },
		{ 1, "%s%n", "EINVAL", "unknown command \"%s%n\"; " COMMANDS },
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

#define DISK_HEAD(name)                                                                     \
	"{\"name\":\"" name "\",\"size\":1073741824,\"algorithm\":\"lz4\",\"clients\":0,"
#define NO_LATENCY                                                                          \
	"{\"count\":0,\"mean\":null,\"p50\":null,\"p99\":null,\"max\":null,\"buckets\":[]}"
/* A disk without a backing, and the ages of its pages. */
#define TIER                                                                                   \
	"\"bd_stat\":{\"bd_count\":0,\"bd_reads\":0,\"bd_writes\":0,\"bytes_used\":0,"          \
	"\"bytes_allocated\":0,\"bytes_written\":0,\"checksum_errors\":0,\"read_errors\":0,"     \
	"\"write_errors\":0,\"capacity\":0,\"promoted\":0,\"decompressed\":0},\"ages\":"      \
	"[[1,0,0],[10,3,300],[60,0,0],[600,0,0],[3600,0,0],[21600,0,0],[86400,0,0],[null,4,400]],"
#define DISK_TAIL                                                                              \
	TIER "\"limit_used\":5000,\"mm_stat\":{\"orig_data_size\":12288,\"compr_data_size\":4000,"  \
	"\"mem_used_total\":8192,\"mem_limit\":65536,\"mem_used_max\":16384,\"same_pages\":5," \
	"\"pages_compacted\":6,\"huge_pages\":7,\"huge_pages_since\":8},"                      \
	"\"io_stat\":{\"failed_reads\":9,\"failed_writes\":10,\"invalid_io\":11,"              \
	"\"notify_free\":12},\"stage\":{\"write\":\"behind\",\"pages\":23,"              \
	"\"pages_max\":24,\"coalesced\":25,\"direct\":26},\"streams\":{\"managed\":27,"       \
	"\"percpu\":28,\"fallback\":29,\"raw\":30,\"batches\":31,\"batch_pages\":32,"         \
	"\"batch_sizes\":[[1,20],[256,11]]},\"zero_pages\":4,\"table_bytes\":4096,\"reserve_bytes\":3,"       \
	"\"reads\":20,\"writes\":21,\"trims\":22,\"latency_us\":{\"read\":{\"count\":100,"  \
	"\"mean\":4.0,\"p50\":1.54644897959184,\"p99\":98.304,\"max\":131.072,"              \
	"\"buckets\":[[2.048,98],[131.072,2]]},\"write\":" NO_LATENCY ",\"trim\":" NO_LATENCY \
	",\"flush\":{\"count\":1,\"mean\":2e6,\"p50\":1073741.824,\"p99\":1073741.824,"      \
	"\"max\":null,\"buckets\":[[null,1]]}}}"

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
	expect_text(fd, "{\"ok\":true,\"version\":1,\"disks\":[" DISK_HEAD(
				"b.2") "\"level\":-3," DISK_TAIL "]}");
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
	say(fd, "train\ncompact\nstat\nx\nl");
	expect_error(fd, "ENOTSUP", "\"train\" is not supported by this version");
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
	sleep_ms(50);
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
		{ "stat\0\n", 6 },
		{ "\0", 1 },
		{ "st\x01t", 4 },
		{ "stat\x7f\n", 6 },
		{ "\xff\xfe\n", 3 },
		{ "stat \xc3\n", 7 },
		{ "\x16\x03\x01", 3 },
		{ "stat\rstat\n", 10 },
		{ "stat \xed\xa0\x80\n", 9 },
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
	ssize_t sent = 0;

	start(1, 400);
	half = client();
	idle = client();
	trickle = client();
	say(half, "comp");
	/* A byte now and then does not keep a place for ever. */
	for (i = 0; i < 20; i++) {
		sent = send(trickle, "x", 1, MSG_NOSIGNAL);
		sleep_ms(50);
	}
	assert_int_equal(sent, -1);
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
	expect_error(b, "EBUSY", "compaction of disk \"default\" is running");
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
	expect_error(b, "EBUSY", "compaction of disk \"default\" is running");
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

static atomic_int allocs_left;

static void *scarce_malloc(size_t size)
{
	return atomic_fetch_sub(&allocs_left, 1) == 1 ? NULL : malloc(size);
}

/* Whichever allocation fails, the client hears so or is let go; nothing leaks. */
static void test_no_memory(void **state)
{
	static const char *const lines[] = { "stat\n", "list\n", "compact\n", "bad\n", "stat x\n",
		"blocks --to 3\n", "metrics\n", "set foo=1\n", "set mem-limit=1\n", "idle all\n",
		"writeback default all\n" };
	const char *answer;
	size_t i;
	int fd, n;

	start(2, 0);
	expect_served(); /* jansson has its seed */
	json_set_alloc_funcs(scarce_malloc, free);
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		for (n = 1; n < 250; n++) {
			atomic_store(&allocs_left, n);
			fd = client();
			say(fd, lines[i]);
			answer = hear(fd);
			if (*answer && !strstr(answer, "{\"ok\":"))
				fail_msg("%s", answer);
			close(fd);
		}
	}
	json_set_alloc_funcs(malloc, free);
	expect_served();
}

/* Clients that leave without hearing their answers. */
static void test_no_reader_no_signal(void **state)
{
	int i, fd;

	start(1, 0);
	for (i = 0; i < 50; i++) {
		fd = client();
		say(fd, "stat\nstat\nlist\nverify\nblocks\n");
		close(fd);
	}
	expect_served();
}

/* The commands that change a disk: what they say, and what they did. */
static void test_admin(void **state)
{
	static const struct {
		const char *line, *error, *text; /* of the error, or the whole answer */
	} rows[] = {
		{ "drop-stats b.2", NULL, "{\"ok\":true,\"name\":\"b.2\"}" },
		{ "set b.2 mem-limit=1M", NULL, "{\"ok\":true,\"name\":\"b.2\"}" },
		{ "set b.2 algorithm=zstd:3 mem-limit=2M", NULL,
			"{\"ok\":true,\"name\":\"b.2\"}" },
		{ "set b.2 mem-limit=9M algorithm=zstd:9", "ENOSPC", "no more algorithms" },
		{ "set b.2 mem-limit=9M nosuch=1", "EINVAL",
			"\"nosuch=1\": allowed is " SET_KEYS },
		{ "set b.2 mem-limit=9M dict=x", "ENOTSUP",
			"\"set dict=x\" is not supported by this version" },
		{ "set b.2 mem-limit", "EINVAL",
			"\"mem-limit\": allowed is " SET_KEYS },
		{ "set b.2 size=9M", "EINVAL",
			"\"size=9M\": allowed is " SET_KEYS },
		{ "set b.2", "EINVAL", "too few arguments; usage: set [DISK] KEY=VALUE..." },
		{ "set nosuch mem-limit=9M", "ENOENT",
			"no disk named \"nosuch\"; disks: default, b.2, compact" },
		{ "set mem-limit=9M", "EINVAL",
			"\"set\" needs the name of a disk; disks: default, b.2, compact" },
		{ "reset default", NULL, "{\"ok\":true,\"name\":\"default\"}" },
		{ "resize default 4097", NULL,
			"{\"ok\":true,\"name\":\"default\",\"size\":8192}" },
		{ "resize default 4K --force", NULL,
			"{\"ok\":true,\"name\":\"default\",\"size\":4096}" },
		{ "resize default 4K --hurry", "EINVAL",
			"unknown option \"--hurry\"; allowed: --force" },
		{ "resize default", "EINVAL",
			"too few arguments; usage: resize [DISK] SIZE [--force]" },
		{ "resize nosuch 4K", "ENOENT",
			"no disk named \"nosuch\"; disks: default, b.2, compact" },
		{ "verify default", NULL,
			"{\"ok\":true,\"name\":\"default\",\"pages\":1000,\"bad\":0}" },
		{ "verify compact", NULL,
			"{\"ok\":false,\"errno\":\"EIO\",\"error\":\"3 of 1000 pages of disk "
			"\\\"compact\\\" do not decode\",\"pages\":1000,\"bad\":3}" },
		{ "add new size=1M algorithm=zstd", NULL,
			"{\"ok\":true,\"name\":\"new\",\"size\":1048576}" },
		{ "add new size=1M", "EEXIST", "there is a disk \"new\" already" },
		{ "add stat size=1M", "EINVAL",
			"\"stat\" is no disk's name: it is a word of uzramctl" },
		{ "add other algorithm=lz4", "EINVAL", "add other: size=SIZE is required" },
		{ "add other 1M", "EINVAL", "\"1M\": allowed is KEY=VALUE" },
		{ "add other", "EINVAL", "add other: size=SIZE is required" },
		{ "add", "EINVAL", "too few arguments; usage: add NAME size=SIZE [KEY=VALUE...]" },
		{ "add other size=1M backing=/x", "ENOTSUP",
			"add other: backing=/x: it has to come with the request, open, as uzramctl "
			"sends it; the server opens nothing that it is told over the socket" },
		{ "add other size=1M backing=nbd+unix:///?socket=/x", "ENOTSUP",
			"add other: backing=nbd+unix:///?socket=/x: an NBD server can only be given "
			"when this one starts; allowed is a file or a block device" },
		{ "add other size=1M high=50", "EINVAL",
			"disk=other: high=: allowed with backing= only" },
		{ "remove new", NULL, "{\"ok\":true,\"name\":\"new\"}" },
		{ "remove new", "ENOENT", "no disk named \"new\"" },
		{ "remove", "EINVAL", "too few arguments; usage: remove NAME" },
		{ "remove a b", "EINVAL", "too many arguments; usage: remove NAME" },
	};
	size_t i;
	int fd;

	start(3, 0);
	disks[2].bad = 3;
	atomic_store(&destroyed, 0);
	fd = client();
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		say(fd, rows[i].line);
		say(fd, "\n");
		if (rows[i].error)
			expect_error(fd, rows[i].error, rows[i].text);
		else
			expect_text(fd, rows[i].text);
	}
	assert_int_equal(disks[0].resets, 1);
	assert_int_equal(disks[0].size, 4096);
	assert_int_equal(disks[1].drops, 1);
	assert_int_equal(disks[1].limit, 2 << 20);
	assert_ptr_equal(disks[1].algorithm, zcomp_find("zstd"));
	assert_int_equal(disks[1].level, 3);
	assert_int_equal(atomic_load(&destroyed), 2); /* one of them had no place */
	close(fd);
}

/* A server that took all its memory at the start. */
static void test_fixed(void **state)
{
	struct uz_error e;
	int fd;

	make_registry(1);
	control = control_bind(path, NULL, &e);
	assert_non_null(control);
	control_set_fixed(control);
	assert_int_equal(control_start(control, registry, &e), 0);
	fd = client();
	say(fd, "add new size=1M\n");
	expect_error(fd, "ENOTSUP",
		"add: a server with swap=yes takes all its memory at the start");
	close(fd);
	expect_served();
}

/* A disk with clients: what is refused, and what --force allows. */
static void test_attached(void **state)
{
	struct uz_error e;
	struct disk *disk;
	int fd;

	start(1, 0);
	disk = registry_attach(registry, "", &e);
	assert_ptr_equal(disk, &disks[0]);
	fd = client();
	say(fd, "reset\n");
	expect_error(fd, "EBUSY", "reset: 1 client is attached to disk \"default\"");
	say(fd, "remove default\n");
	expect_error(fd, "EBUSY", "remove: 1 client is attached to disk \"default\"");
	say(fd, "resize 2G\n");
	expect_error(fd, "EBUSY", "resize: 1 client is attached to disk \"default\"; --force makes "
		"it larger all the same");
	say(fd, "resize 1M --force\n");
	expect_error(fd, "EBUSY", "resize: 1 client is attached to disk \"default\": --force can "
		"make it larger, not smaller");
	say(fd, "resize 2G --force\n");
	expect_text(fd, "{\"ok\":true,\"name\":\"default\",\"size\":2147483648}");
	registry_detach(registry, disk);
	/* While it is reset, nobody attaches, and other work has to wait. */
	atomic_store(&disks[0].release, false);
	say(fd, "reset\n");
	while ((disk = registry_attach(registry, "", &e))) { /* the test's own time is the limit */
		registry_detach(registry, disk);
		sleep_ms(5);
	}
	assert_int_equal(e.code, EBUSY);
	expect_served();
	close(fd);
	fd = client();
	say(fd, "compact\n");
	expect_error(fd, "EBUSY", "disk \"default\" is in use by another command");
	say(fd, "blocks\n"); /* they walk the table that is going */
	expect_error(fd, "EBUSY", "disk \"default\" is in use by another command");
	say(fd, "idle all\n");
	expect_error(fd, "EBUSY", "disk \"default\" is in use by another command");
	atomic_store(&disks[0].release, true);
	while ((disk = registry_attach(registry, "", &e)) == NULL) /* it ends */
		sleep_ms(5);
	registry_detach(registry, disk);
	say(fd, "compact\n");
	expect_text(fd, "{\"ok\":true,\"name\":\"default\",\"pages_compacted\":123}");
	close(fd);
}

static void expect_rows(int fd, const char *line, size_t nr, json_int_t first, json_int_t next)
{
	json_t *answer, *rows;
	json_int_t index;

	say(fd, line);
	answer = json_loads(hear(fd), 0, NULL);
	assert_true(json_is_true(json_object_get(answer, "ok")));
	rows = json_object_get(answer, "blocks");
	assert_int_equal(json_array_size(rows), nr);
	assert_int_equal(json_unpack(json_array_get(rows, 0), "{s:I}", "index", &index), 0);
	assert_int_equal(index, first);
	if (next)
		assert_int_equal(json_integer_value(json_object_get(answer, "next")), next);
	else
		assert_true(json_is_null(json_object_get(answer, "next")));
	json_decref(answer);
}

static void test_blocks(void **state)
{
	int fd;

	start(1, 0);
	fd = client();
	expect_rows(fd, "blocks\n", 1024, 0, 1024);
	expect_rows(fd, "blocks default --from 1024\n", 1024, 1024, 2048);
	expect_rows(fd, "blocks --from 5 --to 7\n", 3, 5, 0);
	expect_rows(fd, "blocks --to 1023\n", 1024, 0, 0);
	expect_rows(fd, "blocks --to 99999999999 --from 262143\n", 1, 262143, 0);
	say(fd, "blocks --to 0\n");
	expect_text(fd, "{\"ok\":true,\"name\":\"default\",\"next\":null,\"blocks\":[{\"index\":0,"
			"\"age\":7,\"flags\":\"h\",\"size\":4096,\"codec\":\"none\"}]}");
	say(fd, "blocks --from 262144\n");
	expect_error(fd, "ERANGE", "--from 262144: disk \"default\" has 262144 pages");
	say(fd, "blocks --from 3 --to 2\n");
	expect_error(fd, "EINVAL", "--from 3 is behind --to 2");
	say(fd, "blocks --from\n");
	expect_error(fd, "EINVAL", "--from needs the number of a page");
	say(fd, "blocks --from 0x3\n");
	expect_error(fd, "EINVAL", "--from 0x3: allowed is the number of a page");
	say(fd, "blocks --from 99999999999999999999999\n");
	expect_error(fd, "EINVAL",
		"--from 99999999999999999999999: allowed is the number of a page");
	say(fd, "blocks --of 3\n");
	expect_error(fd, "EINVAL", "unknown option \"--of\"; allowed: --from, --to");
	close(fd);
}

static void test_metrics(void **state)
{
	json_t *answer;
	const char *text;
	int fd;

	start(2, 0);
	fd = client();
	say(fd, "metrics\n");
	answer = json_loads(hear(fd), 0, NULL);
	text = json_string_value(json_object_get(answer, "text"));
	assert_non_null(text);
	assert_non_null(strstr(text, "\nuzram_disk_size_bytes{disk=\"b.2\"} 1073741824\n"));
	assert_non_null(strstr(text, "_bucket{disk=\"default\",op=\"read\",le=\"0.000001024\"} 0\n"));
	assert_non_null(strstr(text, "_bucket{disk=\"default\",op=\"read\",le=\"0.000002048\"} 98\n"));
	assert_non_null(strstr(text, "_bucket{disk=\"default\",op=\"read\",le=\"+Inf\"} 100\n"));
	assert_non_null(strstr(text, "_seconds_sum{disk=\"default\",op=\"read\"} 0.000400000\n"));
	assert_non_null(strstr(text, "_bucket{disk=\"b.2\",op=\"flush\",le=\"1.073741824\"} 0\n"));
	assert_non_null(strstr(text, "_count{disk=\"b.2\",op=\"flush\"} 1\n"));
	assert_non_null(strstr(text, "\nuzram_disk_staged_pages{disk=\"b.2\"} 23\n"));
	assert_non_null(strstr(text, "\nuzram_disk_coalesced_pages_total{disk=\"b.2\"} 25\n"));
	assert_non_null(strstr(text, "\nuzram_disk_direct_pages_total{disk=\"b.2\"} 26\n"));
	assert_non_null(strstr(text, "\nuzram_disk_managed_pages_total{disk=\"b.2\"} 27\n"));
	assert_non_null(strstr(text, "\nuzram_disk_percpu_pages_total{disk=\"b.2\"} 28\n"));
	assert_non_null(strstr(text, "\nuzram_disk_fallback_pages_total{disk=\"b.2\"} 29\n"));
	assert_non_null(strstr(text, "\nuzram_disk_batches_total{disk=\"b.2\"} 31\n"));
	assert_non_null(strstr(text, "\nuzram_disk_batch_pages_total{disk=\"b.2\"} 32\n"));
	assert_non_null(strstr(text, "\nuzram_control_connections 1\n"));
	json_decref(answer);
	close(fd);
}

/* Lines of progress before the answer, where asked for; none for who does not read them. */
static void test_progress(void **state)
{
	static const char ok[] = "{\"ok\":true,\"name\":\"default\",\"pages\":1000,\"bad\":0}";
	int fd, deaf;

	start(1, 0);
	atomic_store(&disks[0].release, false);
	fd = client();
	say(fd, "verify --progress\n");
	assert_non_null(strstr(hear(fd), ",\"total\":1000}"));
	assert_non_null(strstr(hear(fd), "{\"done\":"));
	deaf = client();
	say(deaf, "verify --progress\n");
	expect_error(deaf, "EBUSY", "verify of disk \"default\" is running");
	atomic_store(&disks[0].release, true);
	while (strstr(hear(fd), "\"done\""))
		;
	say(fd, "verify\n");
	expect_text(fd, ok);
	close(fd);
	close(deaf);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_requests, stop),
		cmocka_unit_test_teardown(test_documents, stop),
		cmocka_unit_test_teardown(test_admin, stop),
		cmocka_unit_test_teardown(test_fixed, stop),
		cmocka_unit_test_teardown(test_attached, stop),
		cmocka_unit_test_teardown(test_blocks, stop),
		cmocka_unit_test_teardown(test_metrics, stop),
		cmocka_unit_test_teardown(test_progress, stop),
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
		cmocka_unit_test_teardown(test_no_memory, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_in_dir(run);
}
