/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uzramctl, its command line: sends a command to a server's control socket and shows the
 * answer. What a command means is the server's business; what can be seen to be
 * wrong without a server is told apart by exit status 2.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "uzramctl.h"

#define DEFAULT_SOCKET "/run/uzram.sock"
#define MANY	       1000 /* arguments */

/* Options that only some commands take. */
enum { TAKES_FORCE = 1, TAKES_RANGE = 2 };

static const struct command {
	const char *name;
	const char *usage, *help; /* NULL: not yet to be told of; the server says so */
	int min_words, max_words; /* after the name, the disk counted */
	void (*show)(json_t *answer);
	int (*run)(struct ask *ask); /* or one that asks more than once */
	int (*prepare)(struct ask *ask);
	void (*end)(struct ask *ask, bool refused);
	unsigned takes;
} commands[] = {
	{ "list", "", "all disks in zramctl's table; also without a command", 0, 0, .show = show_list },
	{ "stat", " [DISK]", "all statistics of a disk or of all", 0, 1, .show = show_stat },
	{ "watch", " [SECONDS]", "a live view, every 2 seconds", 0, 1, .run = run_watch },
	{ "blocks", " [DISK] [--from N] [--to M]", "stored pages, one by one", 0, 1,
		.run = run_blocks, .takes = TAKES_RANGE },
	{ "metrics", "", "everything, for Prometheus", 0, 0, .show = show_metrics },
	{ "compact", " [DISK]", "give back memory lost to fragmentation", 0, 1, .show = show_compact },
	{ "verify", " [DISK]", "decode every stored page", 0, 1, .show = show_verify },
	{ "drop-stats", " [DISK]", "counters begin anew", 0, 1, .show = show_nothing },
	{ "set", " [DISK] KEY=VALUE...", "change it while it serves", 1, MANY, .show = show_nothing },
	{ "reset", " [DISK]", "drop all content", 0, 1, .show = show_nothing },
	{ "resize", " [DISK] SIZE [--force]", "change the size", 1, 2, .show = show_nothing,
		.takes = TAKES_FORCE },
	{ "add", " NAME size=SIZE [KEY=VALUE...]", "serve one more disk", 2, MANY, .show = show_nothing,
		.prepare = prepare_add, .end = end_add },
	{ "remove", " NAME", "serve it no more, drop its content", 1, 1, .show = show_nothing },
	{ "accel", " [VERB]", "the simulated accelerator", 0, 1, .show = show_accel },
	{ "idle", " [DISK] all|SECONDS", "mark pages not used for so long", 1, 2,
		.show = show_idle },
	{ "writeback", " [DISK] MODE...", "move pages to the backing", 1, MANY,
		.show = show_writeback },
	{ .name = "recompress", .max_words = MANY },
	{ .name = "train", .min_words = 1, .max_words = MANY },
};

static void print_help(void)
{
	size_t i;

	printf("Usage: uzramctl [-s SOCKET] [--json] COMMAND [DISK] [ARGS]\n"
	       "Look at and steer the disks of a running nbdkit uzram server.\n\n"
	       "Commands:\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].help)
			printf("  %s%-*s %s\n", commands[i].name,
				31 - (int)strlen(commands[i].name), commands[i].usage,
				commands[i].help);
	printf("\nKEY of set: mem-limit algorithm batch writeback high low writeback-batch\n"
	       "  writeback-limit writeback-limit-enable promote\n"
	       "MODE of writeback: huge idle huge_idle incompressible all page_index=N\n"
	       "  page_indexes=A-B\n"
	       "VERB of accel: stat reset unplug plug fault=KIND:INTERVAL,PROBABILITY,SPACE,TIMES\n");
	printf("\nOptions:\n"
	       "  -s, --socket=SOCKET  the server's control= [$UZRAM_CONTROL, else\n"
	       "                       " DEFAULT_SOCKET "]\n"
	       "      --json           print the answer as JSON\n"
	       "      --force          resize: to larger while clients are attached\n"
	       "      --from=N, --to=M blocks: these pages, both included\n"
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

/* The options that were given, behind the arguments; false after a complaint. */
static bool check_options(const struct command *command, const struct ask *ask)
{
	if (ask->force && !(command->takes & TAKES_FORCE)) {
		complain("\"%s\" takes no --force", command->name);
		return false;
	}
	if ((ask->from || ask->to) && !(command->takes & TAKES_RANGE)) {
		complain("\"%s\" takes no --from or --to", command->name);
		return false;
	}
	return true;
}

/* A number without any other character: it becomes part of a line. */
static const char *page_number(const char *option, const char *text)
{
	if (*text && strlen(text) <= 20 && strspn(text, "0123456789") == strlen(text))
		return text;
	complain("%s=%s: allowed is the number of a page", option, text);
	return NULL;
}

static bool check_seconds(struct ask *ask)
{
	char *end;

	ask->seconds = 2;
	if (strcmp(ask->command, "watch") != 0 || !ask->nr_words)
		return true;
	ask->seconds = strtod(ask->words[0], &end);
	if (!*end && ask->seconds >= 0.1 && ask->seconds <= 86400)
		return true;
	complain("watch %s: allowed is 0.1 to 86400 seconds", ask->words[0]);
	return false;
}

static int run_once(const struct command *command, struct ask *ask)
{
	json_t *answer;
	bool ok;

	if (command->prepare && command->prepare(ask) != 0)
		return EXIT_REFUSED;
	send_command(ask, ask->force ? " --force" : "");
	answer = link_answer(ask);
	ok = answer && is_ok(answer);
	if (command->end)
		command->end(ask, answer && !ok); /* without an answer nobody knows */
	if (!answer)
		return EXIT_REFUSED;
	json_object_del(answer, "ok");
	if (ok && (ask->json || !command->show)) {
		json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_STYLE);
		putchar('\n');
	} else if (ok) {
		command->show(answer);
	}
	json_decref(answer);
	return ok ? 0 : EXIT_REFUSED;
}

static int run(const struct command *command, struct ask *ask)
{
	int ret;

	if (!link_open(ask))
		return EXIT_REFUSED;
	ret = command->run ? command->run(ask) : run_once(command, ask);
	link_close(ask);
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

enum { OPT_JSON = 256, OPT_FORCE, OPT_FROM, OPT_TO, OPT_GO_ON };

/* The exit status, or OPT_GO_ON. */
static int parse_options(int argc, char **argv, struct ask *ask)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "force", no_argument, NULL, OPT_FORCE },
		{ "from", required_argument, NULL, OPT_FROM },
		{ "to", required_argument, NULL, OPT_TO },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "s:hV", options, NULL)) != -1) {
		switch (c) {
		case 's':
			ask->path = optarg;
			break;
		case OPT_JSON:
			ask->json = true;
			break;
		case OPT_FORCE:
			ask->force = true;
			break;
		case OPT_FROM:
			ask->from = page_number("--from", optarg);
			if (!ask->from)
				return EXIT_USAGE;
			break;
		case OPT_TO:
			ask->to = page_number("--to", optarg);
			if (!ask->to)
				return EXIT_USAGE;
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
	return OPT_GO_ON;
}

int main(int argc, char **argv)
{
	struct ask ask = { .path = getenv("UZRAM_CONTROL") };
	const struct command *command;
	int ret;

	if (!ask.path || !*ask.path)
		ask.path = DEFAULT_SOCKET;
	ret = parse_options(argc, argv, &ask);
	if (ret != OPT_GO_ON)
		return ret;
	command = check_words(argc - optind, argv + optind);
	if (!command)
		return EXIT_USAGE;
	ask.command = command->name;
	if (optind < argc) {
		ask.words = argv + optind + 1;
		ask.nr_words = argc - optind - 1;
	}
	if (!check_options(command, &ask) || !check_seconds(&ask))
		return EXIT_USAGE;
	return finish(run(command, &ask));
}
