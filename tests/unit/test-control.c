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
#define DISK_TAIL                                                                              \
	"\"limit_used\":5000,\"mm_stat\":{\"orig_data_size\":12288,\"compr_data_size\":4000,"  \
	"\"mem_used_total\":8192,\"mem_limit\":65536,\"mem_used_max\":16384,\"same_pages\":5," \
	"\"pages_compacted\":6,\"huge_pages\":7,\"huge_pages_since\":8},"                      \
	"\"io_stat\":{\"failed_reads\":9,\"failed_writes\":10,\"invalid_io\":11,"              \
	"\"notify_free\":12},\"zero_pages\":4,\"table_bytes\":4096,\"reserve_bytes\":3,"       \
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

static atomic_int allocs_left;

static void *scarce_malloc(size_t size)
{
	return atomic_fetch_sub(&allocs_left, 1) == 1 ? NULL : malloc(size);
}

/* Whichever allocation fails, the client hears so or is let go; nothing leaks. */
static void test_no_memory(void **state)
{
	static const char *const lines[] = { "stat\n", "list\n", "compact\n", "bad\n", "stat x\n" };
	const char *answer;
	size_t i;
	int fd, n;

	start(2, 0);
	expect_served(); /* jansson has its seed */
	json_set_alloc_funcs(scarce_malloc, free);
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		for (n = 1; n < 200; n++) {
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
		say(fd, "stat\nstat\nlist\nverify\n");
		close(fd);
	}
	expect_served();
}

static int run(void)
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
		cmocka_unit_test_teardown(test_no_memory, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_in_dir(run);
}
