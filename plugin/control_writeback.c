/* SPDX-License-Identifier: BSD-3-Clause */
/* `idle` and `writeback`, in the words of zram's attributes of these names. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "control_priv.h"

/* json_pack's I. No counter gets near 2^63. */
#define N(x) ((json_int_t)(x))

#define MODES "huge, idle, huge_idle, incompressible, all, page_index=N, page_indexes=A-B"

static int no_backing(const struct ctl_call *call, const char *what, struct uz_error *e)
{
	struct disk_stat st;

	disk_get_stat(call->disk, &st);
	if (st.has_backing)
		return 0;
	return uz_fail(e, ENODEV, "%s: disk \"%s\" has no backing", what, disk_name(call->disk));
}

/* Without a backing, too: `blocks` shows what is idle. */
json_t *ctl_run_idle(const struct ctl_call *call)
{
	const char *age = call->args[0];
	uint64_t seconds = 0, pages;

	if (strcmp(age, "all") != 0 && (!ctl_number(age, &seconds) || seconds > UINT32_MAX))
		return ctl_error(EINVAL, "idle %s: allowed is all, or a number of seconds", age);
	pages = disk_idle(call->disk, (uint32_t)seconds);
	return json_pack("{s:s, s:I}", "name", disk_name(call->disk), "pages", N(pages));
}

static unsigned find_mode(const char *word)
{
	static const struct {
		const char *name;
		unsigned mode;
	} modes[] = {
		{ "huge", WB_HUGE },
		{ "idle", WB_IDLE },
		{ "huge_idle", WB_HUGE_IDLE },
		{ "incompressible", WB_INCOMPRESSIBLE },
		{ "all", WB_ALL },
	};
	size_t i;

	if (strncmp(word, "type=", 5) == 0)
		word += 5;
	for (i = 0; i < ARRAY_SIZE(modes); i++)
		if (strcmp(word, modes[i].name) == 0)
			return modes[i].mode;
	return 0;
}

/* "N", or with `two` "A-B", both included. */
static bool parse_range(const char *text, bool two, struct disk_wb_range *range)
{
	char first[32];
	size_t len = strcspn(text, "-");

	if (!two) {
		if (!ctl_number(text, &range->from))
			return false;
		range->to = range->from;
		return true;
	}
	if (text[len] != '-' || len >= sizeof(first))
		return false;
	memcpy(first, text, len);
	first[len] = '\0';
	return ctl_number(first, &range->from) && ctl_number(text + len + 1, &range->to);
}

/* 0, or -1 with *e filled. */
static int add_range(const struct ctl_call *call, const char *word, const char *value, bool two,
	struct disk_wb_range *range, struct uz_error *e)
{
	uint64_t pages = disk_size(call->disk) / PAGE_SIZE;

	if (!parse_range(value, two, range))
		return uz_fail(e, EINVAL, "writeback %s: allowed is %s", word,
			two ? "page_indexes=A-B, numbers of pages" : "page_index=N, a page's number");
	if (range->from > range->to)
		return uz_fail(e, ERANGE, "writeback %s: the first is behind the last", word);
	if (range->to >= pages)
		return uz_fail(e, ERANGE, "writeback %s: disk \"%s\" has %" PRIu64 " pages", word,
			disk_name(call->disk), pages);
	return 0;
}

static int parse_modes(const struct ctl_call *call, struct disk_wb_request *request,
	struct disk_wb_range *ranges, struct uz_error *e)
{
	unsigned i;

	for (i = 0; i < call->nr_args; i++) {
		const char *word = call->args[i], *value = strchr(word, '=');
		unsigned mode = find_mode(word);
		bool two = strncmp(word, "page_indexes=", 13) == 0;

		request->modes |= mode;
		if (mode)
			continue;
		if (!two && strncmp(word, "page_index=", 11) != 0)
			return uz_fail(e, EINVAL, "writeback %s: allowed is " MODES, word);
		if (add_range(call, word, value + 1, two, &ranges[request->nr_ranges++], e) != 0)
			return -1;
	}
	return 0;
}

static json_t *result_answer(const struct ctl_call *call, const struct disk_wb_result *result)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:b, s:b}", "name", disk_name(call->disk),
		"pages", N(result->pages), "bytes_written", N(result->bytes_written),
		"bytes_gained", N(result->bytes_gained), "errors", N(result->errors),
		"budget_ended", result->budget_ended, "full", result->full);
}

/* A refusal that tells how far it came. */
static json_t *result_error(const struct ctl_call *call, const struct disk_wb_result *result,
	json_t *error)
{
	json_t *parts = result_answer(call, result);

	if (error && parts && json_object_update(error, parts) != 0) {
		json_decref(error);
		error = NULL;
	}
	json_decref(parts);
	return error;
}

json_t *ctl_run_writeback(const struct ctl_call *call)
{
	struct disk_wb_range ranges[CTL_WORDS_MAX];
	struct disk_wb_request request = { .ranges = ranges };
	struct disk_wb_result result = { 0 };
	struct uz_error e;

	if (no_backing(call, "writeback", &e) != 0 || parse_modes(call, &request, ranges, &e) != 0)
		return ctl_refusal(&e);
	if (disk_writeback(call->disk, &request, ctl_job_progress, (void *)call, &result, &e) != 0)
		return result_error(call, &result, ctl_refusal(&e));
	if (atomic_load(call->stop))
		return ctl_shutting_down();
	if (result.full)
		return result_error(call, &result,
			ctl_error(ENOSPC, "writeback: the backing of disk \"%s\" is full; %" PRIu64
				" pages were written back", disk_name(call->disk), result.pages));
	if (result.errors)
		return result_error(call, &result,
			ctl_error(EIO, "writeback: %" PRIu64 " pages of disk \"%s\" could not be "
				"written, and stay in memory; %" PRIu64 " were written back",
				result.errors, disk_name(call->disk), result.pages));
	return result_answer(call, &result);
}
