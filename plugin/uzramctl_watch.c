/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uzramctl watch`: asks for `stat` now and then, and shows what happened in between.
 * On a terminal the view stays in its place; in a pipe each one follows the last.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "uzramctl.h"

#define CELL 16

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

/* SIGINT comes while we wait, for the server or the clock, and at no other time. */
static void catch_signals(sigset_t *waiting)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t block;

	sigaction(SIGINT, &action, NULL);
	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigprocmask(SIG_BLOCK, &block, waiting);
	sigdelset(waiting, SIGINT);
}

/* Three digits and a unit: 999B, 63.5G, 640K. */
static void short_size(char cell[CELL], double bytes)
{
	const char *unit = "BKMGTPE";

	while (bytes >= 999.5 && unit[1]) {
		bytes /= 1024;
		unit++;
	}
	snprintf(cell, CELL, bytes < 99.95 && *unit != 'B' ? "%.1f%c" : "%.0f%c", bytes, *unit);
}

static void short_time(char cell[CELL], double us)
{
	const char *unit = "us";

	if (us < 0) {
		strcpy(cell, "-");
		return;
	}
	if (us >= 999.5) {
		us /= 1000;
		unit = "ms";
	}
	if (us >= 999.5) {
		us /= 1000;
		unit = "s";
	}
	snprintf(cell, CELL, us < 9.95 ? "%.1f%s" : "%.0f%s", us, unit);
}

static void short_rate(char cell[CELL], double pages, double seconds)
{
	double rate = pages * PAGE_SIZE / 1e6 / seconds;

	if (seconds <= 0)
		strcpy(cell, "-");
	else
		snprintf(cell, CELL, rate < 99.95 ? "%.1f" : "%.0f", rate);
}

static double number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* Requests in the bucket that ends at `upper`; no such bucket: 0. */
static double count_at(const json_t *buckets, double upper)
{
	json_t *bucket;
	size_t i;

	json_array_foreach((json_t *)buckets, i, bucket)
		if (json_number_value(json_array_get(bucket, 0)) == upper)
			return json_number_value(json_array_get(bucket, 1));
	return 0;
}

/*
 * The time within which `share` of the requests between two answers were done; -1: there
 * were none. A bucket begins at half of its end; the last has none, and null is 0.
 */
static double quantile(const json_t *now, const json_t *before, double share)
{
	json_t *buckets = json_object_get(now, "buckets"), *bucket;
	const json_t *old = json_object_get(before, "buckets");
	double total = number(now, "count") - number(before, "count"), sum = 0, n = 0, upper = 0;
	size_t i;

	if (total <= 0)
		return -1;
	json_array_foreach(buckets, i, bucket)
	{
		upper = json_number_value(json_array_get(bucket, 0));
		n = json_number_value(json_array_get(bucket, 1)) - count_at(old, upper);
		if (n > 0 && sum + n >= total * share)
			return upper > 0 ? upper / 2 * (1 + (total * share - sum) / n) : 1e6;
		sum += n;
	}
	return upper;
}

/* The disk of that name in the last answer; NULL: it is new, or its counters began anew. */
static json_t *disk_before(json_t *last, json_t *disk)
{
	const char *name = json_string_value(json_object_get(disk, "name"));
	json_t *other;
	size_t i;

	json_array_foreach(json_object_get(last, "disks"), i, other)
		if (name && json_is_string(json_object_get(other, "name")) &&
			strcmp(name, json_string_value(json_object_get(other, "name"))) == 0 &&
			number(disk, "reads") >= number(other, "reads") &&
			number(disk, "writes") >= number(other, "writes"))
			return other;
	return NULL;
}

static void io_cells(char cells[3][CELL], json_t *disk, json_t *before, const char *pages,
	const char *op, double seconds)
{
	json_t *now = json_object_get(json_object_get(disk, "latency_us"), op);
	json_t *old = json_object_get(json_object_get(before, "latency_us"), op);

	short_rate(cells[0], number(disk, pages) - number(before, pages), before ? seconds : 0);
	short_time(cells[1], before ? quantile(now, old, 0.5) : -1);
	short_time(cells[2], before ? quantile(now, old, 0.99) : -1);
}

static void print_disk(json_t *disk, json_t *before, double seconds, bool wb, const char *end)
{
	json_t *mm = json_object_get(disk, "mm_stat");
	const char *name = json_string_value(json_object_get(disk, "name")) ?: "-";
	double data = number(mm, "orig_data_size"), memory = number(mm, "mem_used_total");
	double limit = number(mm, "mem_limit");
	char sizes[3][CELL], third[CELL] = "-", used[CELL] = "-", io[2][3][CELL];

	short_size(sizes[0], data);
	short_size(sizes[1], number(mm, "compr_data_size"));
	short_size(sizes[2], memory);
	if (wb && json_object_get(disk, "writeback"))
		short_size(third, number(json_object_get(disk, "bd_stat"), "bytes_used"));
	else if (!wb && data > 0 && memory > 0)
		snprintf(third, CELL, data / memory < 99.95 ? "%.2f" : "%.0f",
			data / memory < 99999 ? data / memory : 99999);
	if (limit > 0)
		snprintf(used, CELL, "%.0f%%", number(disk, "limit_used") / limit * 100);
	io_cells(io[0], disk, before, "reads", "read", seconds);
	io_cells(io[1], disk, before, "writes", "write", seconds);
	printf("%-11.11s%s %5s %5s %6s %5s %5s %5s %5s %5s %5s %5s %5s%s", name,
		strlen(name) > 11 ? "+" : " ", sizes[0], sizes[1], sizes[2], third, used, io[0][0],
		io[0][1], io[0][2], io[1][0], io[1][1], io[1][2], end);
}

/* Then what is there stands in the place of the ratio: there are 80 columns. */
static bool any_backing(json_t *disks)
{
	json_t *disk;
	size_t i;

	json_array_foreach(disks, i, disk)
		if (json_object_get(disk, "writeback"))
			return true;
	return false;
}

/* How many disks a terminal has lines for; all, where there is none. */
static size_t disks_shown(bool terminal, size_t disks)
{
	struct winsize size;

	if (!terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 6 ||
		disks + 4 <= size.ws_row)
		return disks;
	return size.ws_row - 5;
}

static void print_view(const struct ask *ask, json_t *now, json_t *last, double seconds)
{
	bool terminal = isatty(STDOUT_FILENO);
	const char *end = terminal ? "\033[K\n" : "\n";
	json_t *disks = json_object_get(now, "disks"), *disk;
	size_t shown = disks_shown(terminal, json_array_size(disks)), i;
	time_t clock = time(NULL);
	bool wb = any_backing(disks);
	char text[32];

	strftime(text, sizeof(text), "%H:%M:%S", localtime(&clock));
	if (terminal)
		fputs("\033[H", stdout);
	printf("%.40s  %s, every %g s%s", ask->path, text, ask->seconds, end);
	printf("%-12s %5s %5s %6s %5s %5s %17s %17s%s", "", "", "", "", "", "", "----- read -----",
		"----- write -----", end);
	printf("%-12s %5s %5s %6s %5s %5s %5s %5s %5s %5s %5s %5s%s", "NAME", "DATA", "COMPR",
		"MEMORY", wb ? "WB" : "RATIO", "LIMIT", "MB/s", "p50", "p99", "MB/s", "p50", "p99",
		end);
	json_array_foreach(disks, i, disk)
	{
		if (i == shown)
			break;
		print_disk(disk, disk_before(last, disk), seconds, wb, end);
	}
	if (shown < json_array_size(disks))
		printf("... and %zu more%s", json_array_size(disks) - shown, end);
	fputs(terminal ? "\033[J" : "\n", stdout);
	fflush(stdout);
}

static double now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* false: it is time to end; *ret is the exit status. */
static bool sleep_until(struct ask *ask, double when, const sigset_t *waiting, int *ret)
{
	struct pollfd poll = { .fd = ask->out, .events = POLLIN };
	double left = when - now_seconds();
	struct timespec ts = { 0 };
	int n;

	if (left > 0) {
		ts.tv_sec = (time_t)left;
		ts.tv_nsec = (long)((left - (double)ts.tv_sec) * 1e9);
	}
	n = ppoll(&poll, 1, &ts, waiting);
	*ret = 0;
	if (n < 0)
		return !interrupted && errno == EINTR;
	if (n == 0)
		return true;
	/* Nobody has asked it anything. */
	complain("%s: the server went away", ask->path);
	*ret = EXIT_REFUSED;
	return false;
}

/* The answer to `stat`; NULL after a complaint. */
static json_t *ask_stat(struct ask *ask, const sigset_t *waiting)
{
	json_t *answer;
	sigset_t old;

	link_send(ask, "stat");
	sigprocmask(SIG_SETMASK, waiting, &old);
	answer = link_answer(ask);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (answer && !is_ok(answer)) {
		json_decref(answer);
		return NULL;
	}
	json_object_del(answer, "ok");
	return answer;
}

int run_watch(struct ask *ask)
{
	double begun, before = 0;
	json_t *last = NULL, *now;
	sigset_t waiting;
	int ret;

	catch_signals(&waiting);
	if (isatty(STDOUT_FILENO) && !ask->json)
		fputs("\033[2J", stdout);
	do {
		begun = now_seconds();
		now = ask_stat(ask, &waiting);
		ret = now || interrupted ? 0 : EXIT_REFUSED;
		if (!now)
			break;
		if (ask->json) {
			json_dumpf(now, stdout, JSON_COMPACT | JSON_STYLE);
			putchar('\n');
			fflush(stdout);
		} else {
			print_view(ask, now, last, begun - before);
		}
		json_decref(last);
		last = now;
		before = begun;
	} while (!ferror(stdout) && sleep_until(ask, begun + ask->seconds, &waiting, &ret));
	json_decref(last);
	return ret;
}
