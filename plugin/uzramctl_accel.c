/* SPDX-License-Identifier: BSD-3-Clause */
/* `uzramctl accel` for people: counters, and both clocks side by side. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <string.h>

#include "uzramctl.h"

static const struct {
	const char *key, *note;
} counters[] = {
	{ "queue_depth", "operations that a queue pair holds" },
	{ "queues", "queue pairs" },
	{ "engines", "modelled" },
	{ "engine_threads", "real" },
	{ "submitted", "pages offered to it" },
	{ "accepted", "of them" },
	{ "busy", "of them refused" },
	{ "completed", "" },
	{ "fallback", "compressed in software instead" },
	{ "in_flight", "now" },
	{ "in_flight_max", "most so far" },
	{ "ring_full", "bursts that did not fit" },
	{ "doorbells", "that cost a system call" },
	{ "doorbells_suppressed", "that cost none" },
	{ "interrupts", "" },
	{ "spurious_wakes", "" },
	{ "lost_wakes", "found by the watchdog" },
	{ "resets", "" },
};

static void show_counters(json_t *accel)
{
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		printf("  %-20s %12" JSON_INTEGER_FORMAT "%s%s\n", counters[i].key,
			json_integer_value(json_object_get(accel, counters[i].key)),
			*counters[i].note ? "  " : "", counters[i].note);
}

/* Those that are not 0. */
static void show_named(json_t *accel, const char *part)
{
	const char *name;
	json_t *value;

	json_object_foreach(json_object_get(accel, part), name, value)
		if (json_integer_value(value))
			printf("  %s %-*s %12" JSON_INTEGER_FORMAT "\n", part,
				20 - (int)strlen(part) - 1, name, json_integer_value(value));
}

static void show_batches(json_t *accel)
{
	json_t *pair;
	size_t i;

	printf("  batches of up to     ");
	json_array_foreach(json_object_get(accel, "batch_sizes"), i, pair)
		printf("%s%" JSON_INTEGER_FORMAT ": %" JSON_INTEGER_FORMAT, i ? ", " : "",
			json_integer_value(json_array_get(pair, 0)),
			json_integer_value(json_array_get(pair, 1)));
	putchar('\n');
}

static void show_number(const json_t *value, const char *format)
{
	if (json_is_number(value))
		printf(format, json_number_value(value));
	else
		printf("%12s", "-");
}

/* A latency of one clock; NULL: of none. */
static const json_t *latency(json_t *accel, const char *clock, const char *stage, const char *what)
{
	return json_object_get(json_object_get(json_object_get(accel, clock), stage), what);
}

static void show_clocks(json_t *accel)
{
	static const char *const clocks[] = { "wall", "modelled" };
	static const char *const stages[] = { "wait", "service", "deliver", "total" };
	static const char *const figures[] = { "mean", "p50", "p99" };
	static const struct {
		const char *key, *format;
	} rates[] = { { "pages_per_second", "%12.0f" }, { "utilisation", "%12.3f" } };

	printf("  %-20s %12s %12s\n", "", clocks[0], clocks[1]);
	for (size_t s = 0; s < ARRAY_SIZE(stages); s++)
		for (size_t f = 0; f < ARRAY_SIZE(figures); f++) {
			printf("  %-8s %-8s us ", stages[s], figures[f]);
			for (size_t c = 0; c < ARRAY_SIZE(clocks); c++) {
				putchar(' ');
				show_number(latency(accel, clocks[c], stages[s], figures[f]),
					"%12.2f");
			}
			putchar('\n');
		}
	for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
		printf("  %-20s", rates[r].key);
		for (size_t c = 0; c < ARRAY_SIZE(clocks); c++) {
			putchar(' ');
			show_number(json_object_get(json_object_get(accel, clocks[c]),
					    rates[r].key), rates[r].format);
		}
		putchar('\n');
	}
}

void show_accel(json_t *answer)
{
	json_t *accel = json_object_get(answer, "accel");
	const char *state = NULL;

	if (!accel) { /* a verb's answer */
		if (json_unpack(answer, "{s:s}", "state", &state) == 0)
			printf("%s\n", state);
		return;
	}
	printf("%s: %s, %s\n", json_string_value(json_object_get(accel, "profile")) ?: "-",
		json_string_value(json_object_get(accel, "state")) ?: "-",
		json_string_value(json_object_get(accel, "transport")) ?: "-");
	show_counters(accel);
	show_named(accel, "status");
	show_named(accel, "faults");
	show_batches(accel);
	show_clocks(accel);
}
