/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket's commands: a table, the parser that serves it, and what
 * each command does. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control_priv.h"

static json_t *run_list(const struct ctl_call *call)
{
	return list_document(call->set);
}

static json_t *run_stat(const struct ctl_call *call)
{
	return stat_document(call->set, call->disk);
}

static bool go_on(void *opaque, unsigned done, unsigned total)
{
	const atomic_bool *stop = opaque;

	return !atomic_load(stop);
}

static json_t *run_compact(const struct ctl_call *call)
{
	uint64_t pages = disk_compact(call->disk, go_on, (void *)call->stop);

	if (atomic_load(call->stop))
		return ctl_error(ESHUTDOWN, "the server is shutting down");
	return json_pack(
		"{s:s, s:I}", "name", disk_name(call->disk), "pages_compacted", (json_int_t)pages);
}

static const struct ctl_command commands[] = {
	{ "list", "", CTL_NO_DISK, 0, 0, NULL, run_list },
	{ "stat", " [DISK]", CTL_ALL_DISKS, 0, 0, NULL, run_stat },
	{ "compact", " [DISK]", CTL_ONE_DISK, 0, 0, "compaction", run_compact },
	{ .name = "idle" },
	{ .name = "writeback" },
	{ .name = "recompress" },
	{ .name = "verify" },
	{ .name = "drop-stats" },
	{ .name = "set" },
	{ .name = "reset" },
	{ .name = "resize" },
	{ .name = "add" },
	{ .name = "remove" },
	{ .name = "blocks" },
	{ .name = "train" },
	{ .name = "accel" },
	{ .name = "metrics" },
	{ .name = "watch" },
};

/* What the protocol calls an errno. */
static const char *errno_name(int code)
{
	static const struct {
		int code;
		const char *name;
	} names[] = {
		{ E2BIG, "E2BIG" },
		{ EACCES, "EACCES" },
		{ EAGAIN, "EAGAIN" },
		{ EBUSY, "EBUSY" },
		{ EEXIST, "EEXIST" },
		{ EINVAL, "EINVAL" },
		{ ENODEV, "ENODEV" },
		{ ENOENT, "ENOENT" },
		{ ENOMEM, "ENOMEM" },
		{ ENOSPC, "ENOSPC" },
		{ ENOTSUP, "ENOTSUP" },
		{ EPERM, "EPERM" },
		{ ERANGE, "ERANGE" },
		{ ESHUTDOWN, "ESHUTDOWN" },
		{ ETIMEDOUT, "ETIMEDOUT" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].code == code)
			return names[i].name;
	return "EIO";
}

json_t *ctl_error(int code, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0) {
		text = NULL;
		return NULL;
	}
	return json_pack("{s:b, s:s, s:s}", "ok", 0, "errno", errno_name(code), "error", text);
}

char *ctl_text(json_t *answer)
{
	CLEANUP_FREE char *text = NULL;
	json_t *whole;
	char *line;

	if (!answer)
		return strdup("{\"ok\":false,\"errno\":\"ENOMEM\",\"error\":\"no memory\"}\n");
	if (json_object_get(answer, "ok")) {
		whole = answer;
	} else {
		/* "ok" stands first: for those who read by eye. */
		whole = json_pack("{s:b}", "ok", 1);
		if (whole && json_object_update(whole, answer) != 0) {
			json_decref(whole);
			whole = NULL;
		}
		json_decref(answer);
	}
	text = whole ? json_dumps(whole, JSON_COMPACT) : NULL;
	json_decref(whole);
	if (!text || asprintf(&line, "%s\n", text) < 0)
		return NULL;
	return line;
}

bool ctl_has_control(const char *bytes, size_t len)
{
	unsigned char c;
	size_t i;

	for (i = 0; i < len; i++) {
		c = bytes[i];
		if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
			return true;
	}
	return false;
}

/* Valid UTF-8 too: every word may come back in a message. */
bool ctl_is_text(const char *bytes, size_t len)
{
	json_t *string;

	if (ctl_has_control(bytes, len) || memchr(bytes, '\r', len))
		return false;
	string = json_stringn(bytes, len);
	json_decref(string);
	return string != NULL;
}

/* "a, b, c" of the commands there are, or of the disks; "" without memory. */
static char *names_of(const struct disk_set *set)
{
	char *names = NULL;
	size_t len = 0, i;
	FILE *f = open_memstream(&names, &len);

	if (!f)
		return strdup("");
	if (set) {
		for (i = 0; i < set->nr; i++)
			fprintf(f, "%s%s", i ? ", " : "", disk_name(set->disks[i]));
	} else {
		for (i = 0; i < ARRAY_SIZE(commands); i++)
			if (commands[i].run)
				fprintf(f, "%s%s", i ? ", " : "", commands[i].name);
	}
	fclose(f);
	return names;
}

static struct disk *find_disk(const struct disk_set *set, const char *name)
{
	size_t i;

	for (i = 0; i < set->nr; i++)
		if (strcmp(disk_name(set->disks[i]), name) == 0)
			return set->disks[i];
	return NULL;
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
	names = names_of(NULL);
	*error = ctl_error(EINVAL, "unknown command \"%s\"; commands: %s", name, names);
	return false;
}

/*
 * The first argument is a disk if one has that name. Else the disk was left out;
 * or it was not, as there is one argument too many: then no disk has that name.
 */
static bool take_disk(struct ctl_request *request, json_t **error)
{
	const struct ctl_command *command = request->command;
	struct ctl_call *call = &request->call;
	const struct disk_set *set = call->set;
	CLEANUP_FREE char *names = NULL;

	if (command->takes == CTL_NO_DISK)
		return true;
	if (call->nr_args)
		call->disk = find_disk(set, call->args[0]);
	if (call->disk) {
		call->args++;
		call->nr_args--;
		return true;
	}
	if (call->nr_args == command->max_args + 1) {
		names = names_of(set);
		*error = ctl_error(ENOENT, "no disk named \"%s\"; disks: %s", call->args[0], names);
		return false;
	}
	if (command->takes == CTL_ALL_DISKS)
		return true;
	if (set->nr != 1) {
		names = names_of(set);
		*error = ctl_error(
			EINVAL, "\"%s\" needs the name of a disk; disks: %s", command->name, names);
		return false;
	}
	call->disk = set->disks[0];
	return true;
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
	return true;
}

static bool parse(struct ctl_request *request, json_t **error)
{
	struct ctl_call *call = &request->call;
	unsigned nr;

	/* No words: as uzramctl without a command. */
	if (!split(request, &nr, error) ||
		!find_command(request, nr ? request->words[0] : "list", error))
		return false;
	call->args = request->words + 1;
	call->nr_args = nr ? nr - 1 : 0;
	if (!take_disk(request, error))
		return false;
	if (call->nr_args >= request->command->min_args &&
		call->nr_args <= request->command->max_args)
		return true;
	*error = ctl_error(EINVAL, "too %s arguments; usage: %s%s",
		call->nr_args < request->command->min_args ? "few" : "many", request->command->name,
		request->command->usage);
	return false;
}

struct ctl_request *ctl_parse(
	const struct disk_set *set, const char *line, size_t len, json_t **error)
{
	struct ctl_request *request = malloc(sizeof(*request));

	*error = NULL;
	if (!request)
		return NULL;
	request->call = (struct ctl_call){ .set = set };
	memcpy(request->line, line, len);
	request->line[len] = '\0';
	if (!parse(request, error)) {
		free(request);
		return NULL;
	}
	return request;
}
