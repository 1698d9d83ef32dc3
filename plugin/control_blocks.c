/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `blocks`: the stored pages, one by one. An answer has a bounded number of rows,
 * and where to go on: a disk may have billions of pages.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "control_priv.h"

#define ROWS_MAX 1024

static int page_number(const char *text, uint64_t *number, const char *option, struct uz_error *e)
{
	if (!ctl_number(text, number))
		return uz_fail(e, EINVAL, "%s %s: allowed is the number of a page", option, text);
	return 0;
}

static int page_range(const struct ctl_call *call, uint64_t *from, uint64_t *to, struct uz_error *e)
{
	uint64_t pages = disk_size(call->disk) / PAGE_SIZE;
	unsigned i;

	*from = 0;
	*to = pages - 1;
	for (i = 0; i < call->nr_opts; i += 2) {
		const char *option = call->opts[i];
		bool is_from = strcmp(option, "--from") == 0;

		if (!is_from && strcmp(option, "--to") != 0)
			return uz_fail(e, EINVAL, "unknown option \"%s\"; allowed: --from, --to",
				option);
		if (i + 1 == call->nr_opts)
			return uz_fail(e, EINVAL, "%s needs the number of a page", option);
		if (page_number(call->opts[i + 1], is_from ? from : to, option, e) != 0)
			return -1;
	}
	if (*from >= pages)
		return uz_fail(e, ERANGE, "--from %" PRIu64 ": disk \"%s\" has %" PRIu64 " pages",
			*from, disk_name(call->disk), pages);
	if (*from > *to)
		return uz_fail(e, EINVAL, "--from %" PRIu64 " is behind --to %" PRIu64, *from, *to);
	*to = min_u64(*to, pages - 1);
	return 0;
}

static json_t *block_rows(const struct disk_block *blocks, size_t nr)
{
	json_t *rows = json_array();
	size_t i;

	for (i = 0; rows && i < nr; i++) {
		const struct disk_block *b = &blocks[i];

		if (json_array_append_new(rows,
			    json_pack("{s:I, s:I, s:s, s:I, s:s}", "index", (json_int_t)b->index,
				    "age", (json_int_t)b->age, "flags", b->flags, "size",
				    (json_int_t)b->size, "codec", b->algorithm)) != 0) {
			json_decref(rows);
			return NULL;
		}
	}
	return rows;
}

json_t *ctl_run_blocks(const struct ctl_call *call)
{
	CLEANUP_FREE struct disk_block *blocks = NULL;
	uint64_t from, to, next;
	struct uz_error e;
	size_t nr;

	if (page_range(call, &from, &to, &e) != 0)
		return ctl_refusal(&e);
	blocks = calloc(ROWS_MAX, sizeof(*blocks));
	if (!blocks)
		return NULL;
	nr = disk_blocks(call->disk, from, to, blocks, ROWS_MAX, &next);
	return json_pack("{s:s, s:o, s:o}", "name", disk_name(call->disk), "blocks",
		block_rows(blocks, nr), "next",
		next > to ? json_null() : json_integer((json_int_t)next));
}
