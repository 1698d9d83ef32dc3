/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of parameters: see params.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "drain.h"
#include "params.h"
#include "registry.h"
#include "stage.h"
#include "streams/zcomp.h"

#define SIZE_WORDS "a number with an optional suffix b k m g t p e (powers of 1024) or s (512)"

const char params_help[] =
	"[size=]<SIZE>      (required) Size of the disk.\n"
	"algorithm=<NAME[:LEVEL]>      lz4 (default), lz4hc, zstd, deflate or none.\n"
	"mem-limit=<SIZE>              Most memory that stored pages may take (0: none).\n"
	"write=behind|through          Compress after acknowledging (default), or before.\n"
	"stage=<SIZE>                  Most pages that wait for compression (8M).\n"
	"batch=<N>                     Pages given to a compressor at once (32).\n"
	"disk=<NAME>                   Begins a disk, served as export NAME.\n"
	"control=<PATH>                Control socket, for uzramctl.\n"
	"control-group=<NAME>          Who else may read statistics over it.\n"
	"swap=yes                      Lock and fault in all memory, to serve as swap.\n"
	"swap-reserve=<SIZE>           Memory kept ready with swap=yes (32M).\n"
	"workers=<N>                   Threads that compress (one for each CPU).\n"
	"accel=<PROFILE>               Simulated accelerator: iaa, qat, mobile, swthread, hisi.\n"
	"accel-<KEY>=<VALUE>           Overrides one field of the profile.\n"
	"accel-fault=<KIND:INTERVAL,PROBABILITY,SPACE,TIMES>\n"
	"                              Faults to inject.\n"
	"streams=managed|percpu        Who compresses: the accelerator, or software.";

static bool process_locks; /* with swap=yes, for disks that come later */

void params_disk_init(struct disk_config *config)
{
	*config = (struct disk_config){ .algorithm = zcomp_find("lz4"),
		.level = ZCOMP_LEVEL_UNSET,
		.managed = true,
		.stage = STAGE_DEFAULT,
		.batch = BATCH_DEFAULT,
		.locked = process_locks };
}

void params_init(struct params *params)
{
	*params = (struct params){ .swap_reserve = 32 << 20 };
	params_disk_init(&params->defaults);
}

void params_free(struct params *params)
{
	free(params->disks);
	free(params->accel_keys);
	params->disks = NULL;
	params->accel_keys = NULL;
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

/* --- a disk's --- */

static int set_size(struct disk_config *disk, const char *value, struct uz_error *e)
{
	uint64_t size = 0;

	if (size_value("size", value, &size, e) == -1)
		return -1;
	if (size == 0 || size > (uint64_t)DISK_SIZE_MAX)
		return uz_fail(e, EINVAL, "size=%s: allowed is 1 to %lld bytes", value,
			(long long)DISK_SIZE_MAX);
	disk->size = size;
	return 0;
}

static int set_algorithm(struct disk_config *disk, const char *value, struct uz_error *e)
{
	char text[256];

	if (zcomp_parse(value, &disk->algorithm, &disk->level, text, sizeof(text)) == -1)
		return uz_fail(e, EINVAL, "algorithm=%s: %s", value, text);
	return 0;
}

static int set_mem_limit(struct disk_config *disk, const char *value, struct uz_error *e)
{
	return size_value("mem-limit", value, &disk->mem_limit, e);
}

static int set_write(struct disk_config *disk, const char *value, struct uz_error *e)
{
	if (strcmp(value, "behind") && strcmp(value, "through"))
		return uz_fail(e, EINVAL, "write=%s: allowed is behind or through", value);
	disk->through = !strcmp(value, "through");
	return 0;
}

/* One page at least, or nothing could be staged; at most what 20 bits of entries hold. */
static int set_stage(struct disk_config *disk, const char *value, struct uz_error *e)
{
	uint64_t size = 0;

	if (size_value("stage", value, &size, e) == -1)
		return -1;
	if (size < PAGE_SIZE || size > STAGE_MAX)
		return uz_fail(e, EINVAL, "stage=%s: allowed is 4k to 4g (write=through is without)",
			value);
	disk->stage = size;
	return 0;
}

static int number_value(const char *key, const char *value, unsigned min, unsigned max,
	unsigned *n, struct uz_error *e)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(value, &end, 10);
	if (errno || *end || *value < '0' || *value > '9' || v < min || v > max)
		return uz_fail(e, EINVAL, "%s=%s: allowed is %u to %u", key, value, min, max);
	*n = (unsigned)v;
	return 0;
}

static int set_batch(struct disk_config *disk, const char *value, struct uz_error *e)
{
	return number_value("batch", value, 1, STAGE_BATCH_MAX, &disk->batch, e);
}

static int set_streams(struct disk_config *disk, const char *value, struct uz_error *e)
{
	if (strcmp(value, "managed") && strcmp(value, "percpu"))
		return uz_fail(e, EINVAL, "streams=%s: allowed is managed or percpu", value);
	disk->managed = !strcmp(value, "managed");
	return 0;
}

/* --- the process's --- */

static int set_disk(struct params *params, const char *value, struct uz_error *e)
{
	struct disk_config *disks;

	if (registry_check_name(value, e) == -1) {
		struct uz_error why = *e;

		return uz_fail(e, why.code, "disk=%s: %.400s", value, why.text);
	}
	for (size_t i = 0; i < params->nr_disks; i++)
		if (!strcmp(params->disks[i].name, value))
			return uz_fail(e, EEXIST, "disk=%s: there is a disk of that name already",
				value);
	disks = realloc(params->disks, (params->nr_disks + 1) * sizeof(*disks));
	if (!disks)
		return uz_fail(e, ENOMEM, "disk=%s: no memory", value);
	params->disks = disks;
	disks[params->nr_disks] = params->defaults;
	strcpy(disks[params->nr_disks].name, value);
	params->nr_disks++;
	return 0;
}

static int set_control(struct params *params, const char *value, struct uz_error *e)
{
	if (!*value)
		return uz_fail(e, EINVAL, "control=: allowed is the path of a socket to make");
	params->control = value;
	return 0;
}

static int set_control_group(struct params *params, const char *value, struct uz_error *e)
{
	if (!*value)
		return uz_fail(e, EINVAL, "control-group=: allowed is the name of a group");
	params->control_group = value;
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

static int set_workers(struct params *params, const char *value, struct uz_error *e)
{
	return number_value("workers", value, 1, DRAIN_WORKERS_MAX, &params->workers, e);
}

static int set_accel(struct params *params, const char *value, struct uz_error *e)
{
	const struct accel_profile *profile = accel_profile_find(value);

	if (!profile)
		return uz_fail(e, EINVAL, "accel=%s: allowed is one of %s", value,
			accel_profile_names());
	params->accel = *profile;
	params->has_accel = true;
	return 0;
}

static int set_accel_fault(struct params *params, const char *value, struct uz_error *e)
{
	enum accel_fault_kind kind;
	struct accel_fault fault;
	char text[256];

	if (accel_fault_parse(value, &kind, &fault, text, sizeof(text)) == -1)
		return uz_fail(e, EINVAL, "accel-fault=%s: %s", value, text);
	params->accel_faults[kind] = fault;
	params->nr_accel_faults++;
	return 0;
}

/* Any of the profile's fields; which profile, only params_finish() knows. */
static int set_accel_key(struct params *params, const char *key, const char *value,
	struct uz_error *e)
{
	struct accel_profile any = *accel_profile_find("swthread");
	void *keys = realloc(params->accel_keys,
		(params->nr_accel_keys + 1) * sizeof(*params->accel_keys));
	char text[256];

	if (!keys)
		return uz_fail(e, ENOMEM, "%s=%s: no memory", key, value);
	params->accel_keys = keys;
	if (accel_profile_set(&any, key + strlen("accel-"), value, text, sizeof(text)) == -1)
		return uz_fail(e, EINVAL, "%s=%s: %s", key, value, text);
	params->accel_keys[params->nr_accel_keys].key = key + strlen("accel-");
	params->accel_keys[params->nr_accel_keys++].value = value;
	return 0;
}

static int finish_accel(struct params *params, struct uz_error *e)
{
	char text[256];

	if (!params->has_accel && (params->nr_accel_keys || params->nr_accel_faults))
		return uz_fail(e, EINVAL, "accel-%s=: allowed with accel=PROFILE only",
			params->nr_accel_keys ? params->accel_keys[0].key : "fault");
	for (size_t i = 0; i < params->nr_accel_keys; i++)
		if (accel_profile_set(&params->accel, params->accel_keys[i].key,
			    params->accel_keys[i].value, text, sizeof(text)) == -1)
			return uz_fail(e, EINVAL, "accel-%s=%s: %s", params->accel_keys[i].key,
				params->accel_keys[i].value, text);
	memcpy(params->accel.faults, params->accel_faults, sizeof(params->accel.faults));
	return 0;
}

static int set_swap_reserve(struct params *params, const char *value, struct uz_error *e)
{
	return size_value("swap-reserve", value, &params->swap_reserve, e);
}

static const struct {
	const char *key;
	int (*set)(struct disk_config *disk, const char *value, struct uz_error *e);
} disk_keys[] = {
	{ "size", set_size },
	{ "algorithm", set_algorithm },
	{ "mem-limit", set_mem_limit },
	{ "write", set_write },
	{ "stage", set_stage },
	{ "batch", set_batch },
	{ "streams", set_streams },
};

static const struct {
	const char *key;
	int (*set)(struct params *params, const char *value, struct uz_error *e);
} process_keys[] = {
	{ "disk", set_disk },
	{ "control", set_control },
	{ "control-group", set_control_group },
	{ "swap", set_swap },
	{ "swap-reserve", set_swap_reserve },
	{ "workers", set_workers },
	{ "accel", set_accel },
	{ "accel-fault", set_accel_fault },
};

/* Known, so that nobody takes silence for effect. */
static const char *const later[] = {
	"recompress", "dict", "backing", "backing-size",
	"backing-overwrite", "writeback", "writeback-batch", "high", "low", "promote", "upkeep", "upkeep-cpu", "pool-overhead",
};

static int refuse_key(const char *key, const char *value, bool process, struct uz_error *e)
{
	char allowed[256] = "";
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(later); i++)
		if (!strcmp(key, later[i]))
			return uz_fail(e, ENOTSUP, "%s=%s: \"%s\" is not supported by this version",
				key, value, key);
	for (size_t i = 0; i < ARRAY_SIZE(disk_keys); i++)
		len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, "%s%s", i ? ", " : "",
			disk_keys[i].key);
	for (size_t i = 0; process && i < ARRAY_SIZE(process_keys); i++)
		len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, ", %s",
			process_keys[i].key);
	return uz_fail(e, EINVAL, "%s=%s: no such key; allowed: %s", key, value, allowed);
}

int params_disk_set(struct disk_config *config, const char *key, const char *value,
	struct uz_error *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(disk_keys); i++)
		if (!strcmp(key, disk_keys[i].key))
			return disk_keys[i].set(config, value, e);
	return refuse_key(key, value, false, e);
}

int params_set(struct params *params, const char *key, const char *value, struct uz_error *e)
{
	struct disk_config *disk =
		params->nr_disks ? &params->disks[params->nr_disks - 1] : &params->defaults;

	for (size_t i = 0; i < ARRAY_SIZE(process_keys); i++)
		if (!strcmp(key, process_keys[i].key))
			return process_keys[i].set(params, value, e);
	for (size_t i = 0; i < ARRAY_SIZE(disk_keys); i++)
		if (!strcmp(key, disk_keys[i].key))
			return disk_keys[i].set(disk, value, e);
	if (!strncmp(key, "accel-", strlen("accel-")))
		return set_accel_key(params, key, value, e);
	return refuse_key(key, value, true, e);
}

int params_finish(struct params *params, struct uz_error *e)
{
	if (!params->nr_disks) { /* one, without a name of its own */
		params->disks = malloc(sizeof(*params->disks));
		if (!params->disks)
			return uz_fail(e, ENOMEM, "no memory");
		params->disks[params->nr_disks++] = params->defaults;
	}
	process_locks = params->swap;
	for (size_t i = 0; i < params->nr_disks; i++) {
		struct disk_config *disk = &params->disks[i];

		if (!disk->size)
			return uz_fail(e, EINVAL, "%s%s%ssize= is required: allowed is " SIZE_WORDS,
				disk->name[0] ? "disk=" : "", disk->name,
				disk->name[0] ? ": " : "");
		disk->swap = disk->locked = params->swap;
		disk->swap_reserve = params->swap ? params->swap_reserve / params->nr_disks : 0;
	}
	if (finish_accel(params, e) == -1)
		return -1;
	if (params->control_group && !params->control)
		return uz_fail(e, EINVAL, "control-group=%s: allowed with control=PATH only",
			params->control_group);
	return 0;
}
