/* SPDX-License-Identifier: BSD-3-Clause */
/* `uzramctl blocks`: asks for some rows after the other, and prints them as they come. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <inttypes.h>

#include "uzramctl.h"

static void print_row(json_t *row)
{
	const char *flags = "", *codec = "-";
	json_int_t index = 0, age = 0, size = 0;

	json_unpack(row, "{s:I, s:I, s:s, s:I, s:s}", "index", &index, "age", &age, "flags",
		&flags, "size", &size, "codec", &codec);
	printf("%12" JSON_INTEGER_FORMAT " %8" JSON_INTEGER_FORMAT " %-6s %5" JSON_INTEGER_FORMAT
	       " %s\n",
		index, age, *flags ? flags : "-", size, codec);
}

static void print_rows(const struct ask *ask, json_t *rows, bool *first)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		if (!ask->json) {
			print_row(row);
			continue;
		}
		fputs(*first ? "\n" : ",\n", stdout);
		*first = false;
		json_dumpf(row, stdout, JSON_STYLE);
	}
}

/* One request from page `from` on (NULL: the first). *next: where to go on; false: the end. */
static bool ask_once(struct ask *ask, const char *from, json_t **answer, uint64_t *next)
{
	char options[128];
	json_int_t at = 0;

	snprintf(options, sizeof(options), "%s%s%s%s", from ? " --from " : "", from ?: "",
		ask->to ? " --to " : "", ask->to ?: "");
	send_command(ask, options);
	*answer = link_answer(ask);
	if (!*answer || json_unpack(*answer, "{s:I}", "next", &at) != 0)
		return false;
	*next = (uint64_t)at;
	return true;
}

int run_blocks(struct ask *ask)
{
	const char *from = ask->from;
	bool first = true, begun = false, more;
	json_t *answer;
	uint64_t next = 0;
	char text[32];

	do {
		more = ask_once(ask, from, &answer, &next);
		if (!answer)
			return EXIT_REFUSED;
		if (!is_ok(answer)) {
			json_decref(answer);
			return EXIT_REFUSED;
		}
		if (!begun)
			fputs(ask->json ? "{\"blocks\": [" :
					  "       INDEX      AGE FLAGS   SIZE CODEC\n",
				stdout);
		begun = true;
		print_rows(ask, json_object_get(answer, "blocks"), &first);
		json_decref(answer);
		snprintf(text, sizeof(text), "%" PRIu64, next);
		from = text;
	} while (more && !ferror(stdout));
	if (ask->json)
		puts(first ? "]}" : "\n]}");
	return 0;
}
