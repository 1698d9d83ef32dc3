/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of parameters: see params.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "params.h"
#include "streams/zcomp.h"

#define SIZE_WORDS "a number with an optional suffix b k m g t p e (powers of 1024) or s (512)"

const char params_help[] =
	"[size=]<SIZE>      (required) Size of the disk.\n"
	"algorithm=<NAME[:LEVEL]>      lz4 (default), lz4hc, zstd, deflate or none.\n"
	"mem-limit=<SIZE>              Most memory that stored pages may take (0: none).\n"
	"write=through                 Compress before acknowledging.\n"
	"control=<PATH>                Control socket, for uzramctl.\n"
	"swap=yes                      Lock and fault in all memory, to serve as swap.\n"
	"swap-reserve=<SIZE>           Memory kept ready with swap=yes (32M).";

void params_init(struct params *params)
{
	*params = (struct params){
		.disk = { .algorithm = zcomp_find("lz4"), .level = ZCOMP_LEVEL_UNSET },
		.swap_reserve = 32 << 20,
	};
}

/* As nbdkit_parse_bool(). -1: neither. */
static int parse_bool(const char *s)
{
	static const char *const yes[] = { "1", "true", "t", "yes", "y", "on" };
	static const char *const no[] = { "0", "false", "f", "no", "n", "off" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcasecmp(s, yes[i]))
			return 1;
		if (!strcasecmp(s, no[i]))
			return 0;
	}
	return -1;
}

static int size_value(const char *key, const char *value, uint64_t *size, struct uz_error *e)
{
	int64_t n = uz_parse_size(value);

	if (n < 0)
		return uz_fail(e, EINVAL, "%s=%s: not a size: allowed is " SIZE_WORDS
			", up to 2^63 - 1", key, value);
	*size = (uint64_t)n;
	return 0;
}

static int set_size(struct params *params, const char *value, struct uz_error *e)
{
	uint64_t size = 0;

	if (size_value("size", value, &size, e) == -1)
		return -1;
	if (size == 0 || size > (uint64_t)DISK_SIZE_MAX)
		return uz_fail(e, EINVAL, "size=%s: allowed is 1 to %lld bytes", value,
			(long long)DISK_SIZE_MAX);
	params->disk.size = size;
	params->have_size = true;
	return 0;
}

static int set_algorithm(struct params *params, const char *value, struct uz_error *e)
{
	char text[256];

	if (zcomp_parse(value, &params->disk.algorithm, &params->disk.level, text,
		    sizeof(text)) == -1)
		return uz_fail(e, EINVAL, "algorithm=%s: %s", value, text);
	return 0;
}

static int set_mem_limit(struct params *params, const char *value, struct uz_error *e)
{
	return size_value("mem-limit", value, &params->disk.mem_limit, e);
}

static int set_write(struct params *params, const char *value, struct uz_error *e)
{
	if (!strcmp(value, "behind"))
		return uz_fail(e, ENOTSUP,
			"write=behind: not supported by this version; allowed is write=through");
	if (strcmp(value, "through"))
		return uz_fail(e, EINVAL, "write=%s: allowed is write=through", value);
	return 0;
}

static int set_control(struct params *params, const char *value, struct uz_error *e)
{
	if (!*value)
		return uz_fail(e, EINVAL, "control=: allowed is the path of a socket to make");
	params->control = value;
	return 0;
}

static int set_swap(struct params *params, const char *value, struct uz_error *e)
{
	int yes = parse_bool(value);

	if (yes == -1)
		return uz_fail(e, EINVAL, "swap=%s: allowed is yes or no", value);
	params->swap = yes;
	return 0;
}

static int set_swap_reserve(struct params *params, const char *value, struct uz_error *e)
{
	return size_value("swap-reserve", value, &params->swap_reserve, e);
}

static const struct param {
	const char *key;
	int (*set)(struct params *params, const char *value, struct uz_error *e);
} table[] = {
	{ "size", set_size },
	{ "algorithm", set_algorithm },
	{ "mem-limit", set_mem_limit },
	{ "write", set_write },
	{ "control", set_control },
	{ "swap", set_swap },
	{ "swap-reserve", set_swap_reserve },
};

/* Known, so that nobody takes silence for effect. */
static const char *const later[] = {
	"disk", "recompress", "dict", "stage", "streams", "batch", "backing", "backing-size",
	"backing-overwrite", "writeback", "writeback-batch", "high", "low", "promote", "accel",
	"accel-fault", "workers", "control-group", "upkeep", "upkeep-cpu", "pool-overhead",
};

int params_set(struct params *params, const char *key, const char *value, struct uz_error *e)
{
	char allowed[256] = "";

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (!strcmp(key, table[i].key))
			return table[i].set(params, value, e);
	for (size_t i = 0; i < ARRAY_SIZE(later); i++)
		if (!strcmp(key, later[i]) || !strncmp(key, "accel-", 6))
			return uz_fail(e, ENOTSUP, "%s=%s: \"%s\" is not supported by this version",
				key, value, key);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		size_t len = strlen(allowed);

		snprintf(allowed + len, sizeof(allowed) - len, "%s%s", i ? ", " : "",
			table[i].key);
	}
	return uz_fail(e, EINVAL, "%s=%s: no such key; allowed: %s", key, value, allowed);
}

int params_finish(struct params *params, struct uz_error *e)
{
	if (!params->have_size)
		return uz_fail(e, EINVAL, "size= is required: allowed is " SIZE_WORDS);
	params->disk.swap = params->disk.locked = params->swap;
	params->disk.swap_reserve = params->swap ? params->swap_reserve : 0;
	return 0;
}
