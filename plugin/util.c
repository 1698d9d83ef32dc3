/* SPDX-License-Identifier: BSD-3-Clause */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "util.h"

int uz_fail(struct uz_error *e, int code, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

static void (*_Atomic warn_hook)(const char *line);

void uz_set_warn_hook(void (*hook)(const char *line))
{
	atomic_store(&warn_hook, hook);
}

void uz_warn(const char *fmt, ...)
{
	void (*hook)(const char *line) = atomic_load(&warn_hook);
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (hook)
		hook(line);
	else
		fprintf(stderr, "uzram: %s\n", line);
}

/* The power of two that a suffix stands for; -1: none. */
static int suffix_shift(char c)
{
	static const char suffixes[] = "bkmgtpe";
	const char *at;

	if (c >= 'A' && c <= 'Z')
		c += 'a' - 'A';
	if (c == 's')
		return 9;
	at = c ? strchr(suffixes, c) : NULL;
	return at ? 10 * (int)(at - suffixes) : -1;
}

int64_t uz_parse_size(const char *str)
{
	char *end;
	intmax_t size;
	int shift = 0;

	errno = 0;
	size = strtoimax(str, &end, 10);
	if (end == str || errno || size < 0)
		return -1;
	if (*end) {
		shift = suffix_shift(*end);
		if (shift < 0 || end[1])
			return -1;
	}
	if (size > INT64_MAX >> shift)
		return -1;
	return (int64_t)size << shift;
}

uint64_t uz_nsec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

uint32_t uz_seconds(void)
{
	return uz_nsec() / 1000000000;
}
