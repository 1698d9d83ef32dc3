/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uzramctl: sends one command to a server's control socket and shows the
 * answer. What a command means is the server's business; what can be seen to be
 * wrong without a server is told apart by exit status 2.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "util.h"
#include "uzramctl.h"

#define DEFAULT_SOCKET "/run/uzram.sock"
#define MANY	       1000 /* arguments */

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2 };

struct command {
	const char *name;
	const char *usage, *help; /* NULL: not yet to be told of; the server says so */
	int min_words, max_words; /* after the name, the disk counted */
	void (*show)(json_t *answer);
};

static const struct command commands[] = {
	{ "list", "", "all disks in zramctl's table; also without a command", 0, 0, show_list },
	{ "stat", " [DISK]", "all statistics of a disk or of all", 0, 1, show_stat },
	{ "compact", " [DISK]", "give back memory lost to fragmentation", 0, 1, show_compact },
	{ .name = "idle", .min_words = 1, .max_words = 2 },
	{ .name = "writeback", .min_words = 1, .max_words = MANY },
	{ .name = "recompress", .max_words = MANY },
	{ .name = "verify", .max_words = 1 },
	{ .name = "drop-stats", .max_words = 1 },
	{ .name = "set", .min_words = 1, .max_words = MANY },
	{ .name = "reset", .max_words = 1 },
	{ .name = "resize", .min_words = 1, .max_words = 2 },
	{ .name = "add", .min_words = 2, .max_words = MANY },
	{ .name = "remove", .min_words = 1, .max_words = 1 },
	{ .name = "blocks", .max_words = 1 },
	{ .name = "train", .min_words = 1, .max_words = MANY },
	{ .name = "accel", .max_words = MANY },
	{ .name = "metrics" },
	{ .name = "watch", .max_words = 1 },
};

static void __printf_(1, 2) complain(const char *fmt, ...)
{
	va_list ap;

	fputs("uzramctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void print_help(void)
{
	size_t i;

	printf("Usage: uzramctl [-s SOCKET] [--json] COMMAND [DISK] [ARGS]\n"
	       "Look at and steer the disks of a running nbdkit uzram server.\n\n"
	       "Commands:\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].help)
			printf("  %s%-*s %s\n", commands[i].name,
				16 - (int)strlen(commands[i].name), commands[i].usage,
				commands[i].help);
	printf("\nOptions:\n"
	       "  -s, --socket=SOCKET  the server's control= [$UZRAM_CONTROL, else\n"
	       "                       " DEFAULT_SOCKET "]\n"
	       "      --json           print the answer as JSON\n"
	       "  -h, --help           print this\n"
	       "  -V, --version        print the version\n"
	       "\nDISK may be left out when there is one.\n"
	       "Exit status: 0 done, 1 refused by the server or no server, 2 wrong usage.\n");
}

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	fprintf(stderr, "uzramctl: unknown command \"%s\"; commands:", name);
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].help)
			fprintf(stderr, " %s", commands[i].name);
	fputc('\n', stderr);
	return NULL;
}

/* The command and its words; NULL after a complaint. */
static const struct command *check_words(int nr, char *const *words)
{
	const struct command *command = find_command(nr ? words[0] : "list");
	const char *p;
	int i;

	if (!command)
		return NULL;
	for (i = 1; i < nr; i++) {
		for (p = words[i]; (unsigned char)*p > ' ' && *p != 0x7f; p++)
			;
		if (!*words[i]) {
			complain("argument %d is empty", i);
			return NULL;
		}
		if (*p) {
			complain("argument \"%s\" holds a space or a control character", words[i]);
			return NULL;
		}
	}
	if (nr && nr - 1 < command->min_words) {
		complain("\"%s\" needs an argument", command->name);
		return NULL;
	}
	if (nr - 1 > command->max_words) {
		complain("\"%s\": too many arguments: \"%s\"", command->name,
			words[command->max_words + 1]);
		return NULL;
	}
	return command;
}

/* A connected socket; -1 after a complaint. */
static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		complain("%s: a socket's path has %zu bytes at most", path,
			sizeof(addr.sun_path) - 1);
		return -1;
	}
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		complain("socket: %s", strerror(errno));
		return -1;
	}
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	if (errno == ENOENT || errno == ECONNREFUSED)
		complain("%s: no server there: %s", path, strerror(errno));
	else
		complain("%s: %s", path, strerror(errno));
	close(fd);
	return -1;
}

/* A failure shows in the answer, or by there being none. */
static void send_request(int fd, const struct command *command, int nr, char *const *words)
{
	CLEANUP_FREE char *line = NULL;
	size_t len = 0, sent = 0;
	ssize_t n;
	FILE *f;
	int i;

	f = open_memstream(&line, &len);
	if (!f)
		return;
	fputs(command->name, f);
	for (i = 1; i < nr; i++)
		fprintf(f, " %s", words[i]);
	fputc('\n', f);
	if (fclose(f) != 0)
		return;
	for (; sent < len; sent += n) {
		n = send(fd, line + sent, len - sent, MSG_NOSIGNAL);
		if (n < 0)
			return;
	}
}

/* The answer, which has "ok"; lines before it tell of progress. NULL after a complaint. */
static json_t *read_answer(FILE *f, const char *path)
{
	CLEANUP_FREE char *line = NULL;
	size_t size = 0;
	json_t *answer;

	while (getline(&line, &size, f) > 0) {
		answer = json_loads(line, 0, NULL);
		if (!json_is_object(answer)) {
			json_decref(answer);
			complain("%s: this is no uzram server: its answer is no JSON document",
				path);
			return NULL;
		}
		if (json_object_get(answer, "ok"))
			return answer;
		json_decref(answer);
	}
	complain("%s: the server went away before it answered", path);
	return NULL;
}

static int show(const struct command *command, json_t *answer, bool as_json)
{
	const char *text = "no reason given";

	if (!json_is_true(json_object_get(answer, "ok"))) {
		json_unpack(answer, "{s:s}", "error", &text);
		complain("%s", text);
		return EXIT_REFUSED;
	}
	json_object_del(answer, "ok");
	if (as_json || !command->show) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		command->show(answer);
	}
	return 0;
}

static int run(
	const char *path, const struct command *command, int nr, char *const *words, bool as_json)
{
	int fd = connect_to(path);
	json_t *answer;
	FILE *f;
	int ret;

	if (fd < 0)
		return EXIT_REFUSED;
	send_request(fd, command, nr, words);
	f = fdopen(fd, "r");
	if (!f) {
		complain("%s: %s", path, strerror(errno));
		close(fd);
		return EXIT_REFUSED;
	}
	answer = read_answer(f, path);
	fclose(f);
	if (!answer)
		return EXIT_REFUSED;
	ret = show(command, answer, as_json);
	json_decref(answer);
	return ret;
}

/* Output that did not get out is no success. */
static int finish(int ret)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("cannot write the output: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	return ret;
}

int main(int argc, char **argv)
{
	enum { OPT_JSON = 256 };
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	const char *path = getenv("UZRAM_CONTROL");
	const struct command *command;
	bool as_json = false;
	int c;

	if (!path || !*path)
		path = DEFAULT_SOCKET;
	while ((c = getopt_long(argc, argv, "s:hV", options, NULL)) != -1) {
		switch (c) {
		case 's':
			path = optarg;
			break;
		case OPT_JSON:
			as_json = true;
			break;
		case 'h':
			print_help();
			return finish(0);
		case 'V':
			printf("uzramctl %s\n", PACKAGE_VERSION);
			return finish(0);
		default:
			return EXIT_USAGE; /* getopt has said why */
		}
	}
	command = check_words(argc - optind, argv + optind);
	if (!command)
		return EXIT_USAGE;
	return finish(run(path, command, argc - optind, argv + optind, as_json));
}
