/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket's commands: the table, and the parser that serves it. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control_priv.h"

static json_t *run_list(const struct ctl_call *call)
{
	return list_document(call->registry);
}

static json_t *run_stat(const struct ctl_call *call)
{
	return stat_document(call->registry, call->disk);
}

static const struct ctl_command commands[] = {
	{ "list", "", .reader = true, .run = run_list },
	{ "stat", " [DISK]", CTL_ALL_DISKS, .reader = true, .run = run_stat },
	{ "compact", " [DISK]", CTL_ONE_DISK, .job = true, .keeps = "compaction",
		.run = ctl_run_compact },
	{ "verify", " [DISK]", CTL_ONE_DISK, .job = true, .keeps = "verify",
		.run = ctl_run_verify },
	{ "drop-stats", " [DISK]", CTL_ONE_DISK, .run = ctl_run_drop_stats },
	{ "set", " [DISK] KEY=VALUE...", CTL_ONE_DISK, 1, CTL_WORDS_MAX, .pairs = true,
		.job = true, .run = ctl_run_set },
	{ "reset", " [DISK]", CTL_ONE_DISK, .job = true, .keeps = "reset",
		.prepare = ctl_prepare_reset, .run = ctl_run_reset },
	{ "resize", " [DISK] SIZE [--force]", CTL_ONE_DISK, 1, 1, .max_opts = 1, .job = true,
		.keeps = "resize", .prepare = ctl_prepare_resize, .run = ctl_run_resize },
	{ "add", " NAME size=SIZE [KEY=VALUE...]", CTL_NO_DISK, 1, CTL_WORDS_MAX, .job = true,
		.file = "backing=", .run = ctl_run_add },
	{ "remove", " NAME", CTL_NO_DISK, 1, 1, .job = true, .run = ctl_run_remove },
	{ "idle", " [DISK] all|SECONDS", CTL_ONE_DISK, 1, 1, .job = true, .run = ctl_run_idle },
	{ "writeback", " [DISK] MODE...", CTL_ONE_DISK, 1, CTL_WORDS_MAX, .job = true,
		.keeps = "writeback", .run = ctl_run_writeback },
	{ "blocks", " [DISK] [--from N] [--to M]", CTL_ONE_DISK, .max_opts = 4, .reader = true,
		.job = true, .run = ctl_run_blocks },
	{ "metrics", "", .reader = true, .run = ctl_run_metrics },
	{ "accel", " [stat|reset|unplug|plug|fault=SPEC]", CTL_NO_DISK, 0, 1, .job = true,
		.run = ctl_run_accel },
	{ .name = "recompress" },
	{ .name = "train" },
};

struct disk *ctl_next_disk(struct registry *registry, struct disk *after)
{
	struct disk *next = registry_next(registry, after);

	if (after)
		registry_put(registry, after);
	return next;
}

/* "a, b, c" of the disks; "" without memory. */
static char *disk_names(struct registry *registry)
{
	const char *comma = "";
	char *names = NULL;
	struct disk *disk;
	size_t len = 0;
	FILE *f = open_memstream(&names, &len);

	if (!f)
		return strdup("");
	for (disk = ctl_next_disk(registry, NULL); disk; disk = ctl_next_disk(registry, disk)) {
		fprintf(f, "%s%s", comma, disk_name(disk));
		comma = ", ";
	}
	fclose(f);
	return names;
}

/* The same of the commands there are; `readers`: of those for everybody. */
char *ctl_command_names(bool readers)
{
	const char *comma = "";
	char *names = NULL;
	size_t len = 0, i;
	FILE *f = open_memstream(&names, &len);

	if (!f)
		return strdup("");
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!commands[i].run || (readers && !commands[i].reader))
			continue;
		fprintf(f, "%s%s", comma, commands[i].name);
		comma = ", ";
	}
	fclose(f);
	return names;
}

/* These fill *error, which stays NULL for want of memory, and return false. */

static bool find_command(struct ctl_request *request, const char *name, json_t **error)
{
	CLEANUP_FREE char *names = NULL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		request->command = &commands[i];
		if (commands[i].run)
			return true;
		*error = ctl_error(ENOTSUP, "\"%s\" is not supported by this version", name);
		return false;
	}
	names = ctl_command_names(false);
	*error = ctl_error(EINVAL, "unknown command \"%s\"; commands: %s", name, names);
	return false;
}

/* For a command whose disk was left out. */
static bool only_disk(struct ctl_request *request, json_t **error)
{
	struct ctl_call *call = &request->call;
	CLEANUP_FREE char *names = NULL;
	struct disk *disk = registry_next(call->registry, NULL), *second = NULL;

	if (disk)
		second = registry_next(call->registry, disk);
	if (disk && !second) {
		call->disk = disk;
		return true;
	}
	if (second)
		registry_put(call->registry, second);
	if (disk)
		registry_put(call->registry, disk);
	names = disk_names(call->registry);
	*error = ctl_error(EINVAL, "\"%s\" needs the name of a disk; disks: %s",
		request->command->name, names);
	return false;
}

/*
 * The first argument is a disk if one has that name. Else the disk was left out;
 * or it was not, as there is one argument too many, or one of another form: then no
 * disk has that name.
 */
static bool take_disk(struct ctl_request *request, json_t **error)
{
	const struct ctl_command *command = request->command;
	struct ctl_call *call = &request->call;
	CLEANUP_FREE char *names = NULL;

	if (command->takes == CTL_NO_DISK)
		return true;
	if (call->nr_args)
		call->disk = registry_get(call->registry, call->args[0]);
	if (call->disk) {
		call->args++;
		call->nr_args--;
		return true;
	}
	if (call->nr_args == command->max_args + 1 ||
		(command->pairs && call->nr_args && !strchr(call->args[0], '='))) {
		names = disk_names(call->registry);
		*error = ctl_error(ENOENT, "no disk named \"%s\"; disks: %s", call->args[0], names);
		return false;
	}
	return command->takes == CTL_ALL_DISKS || only_disk(request, error);
}

static bool split(struct ctl_request *request, unsigned *nr, json_t **error)
{
	char *rest = request->line;
	char *word;

	*nr = 0;
	while ((word = strsep(&rest, " \t"))) {
		if (!*word)
			continue;
		if (*nr == CTL_WORDS_MAX) {
			*error = ctl_error(E2BIG, "a request has %d words at most", CTL_WORDS_MAX);
			return false;
		}
		request->words[(*nr)++] = word;
	}
	if (*nr && strcmp(request->words[*nr - 1], "--progress") == 0) {
		--*nr;
		request->progress = true;
	}
	return true;
}

/* Options stand behind the arguments. */
static void take_words(struct ctl_request *request, unsigned nr)
{
	struct ctl_call *call = &request->call;

	call->args = request->words + 1;
	while (call->nr_args + 1 < nr && strncmp(call->args[call->nr_args], "--", 2) != 0)
		call->nr_args++;
	call->opts = call->args + call->nr_args;
	call->nr_opts = nr ? nr - 1 - call->nr_args : 0;
}

static bool parse(struct ctl_request *request, json_t **error)
{
	struct ctl_call *call = &request->call;
	const struct ctl_command *command;
	const char *wrong = NULL;
	unsigned nr;

	/* No words: as uzramctl without a command. */
	if (!split(request, &nr, error) ||
		!find_command(request, nr ? request->words[0] : "list", error))
		return false;
	command = request->command;
	take_words(request, nr);
	if (!take_disk(request, error))
		return false;
	if (call->nr_args < command->min_args)
		wrong = "too few arguments";
	else if (call->nr_args > command->max_args)
		wrong = "too many arguments";
	else if (call->nr_opts > command->max_opts)
		wrong = command->max_opts ? "too many options" : "it takes no options";
	if (!wrong)
		return true;
	*error = ctl_error(EINVAL, "%s; usage: %s%s", wrong, command->name, command->usage);
	return false;
}

struct ctl_request *ctl_parse(struct control *control, const char *line, size_t len, json_t **error)
{
	struct ctl_request *request = malloc(sizeof(*request));

	*error = NULL;
	if (!request)
		return NULL;
	request->command = NULL;
	request->progress = false;
	request->call = (struct ctl_call){ .registry = control->registry, .control = control };
	memcpy(request->line, line, len);
	request->line[len] = '\0';
	if (!parse(request, error)) {
		ctl_request_free(request);
		return NULL;
	}
	return request;
}

void ctl_request_free(struct ctl_request *request)
{
	struct ctl_call *call = &request->call;

	if (call->kept)
		registry_release(call->registry, call->disk);
	if (call->alone)
		registry_share(call->registry, call->disk);
	if (call->disk)
		registry_put(call->registry, call->disk);
	if (call->file)
		close(call->file);
	free(request);
}
