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
	"backing=<PATH|NBD-URI>        Second tier: a file, a block device or an NBD server.\n"
	"backing-size=<SIZE>           Its size, if it is to be made.\n"
	"backing-overwrite=yes         Whatever it holds may go.\n"
	"writeback=auto|manual         Cold pages go there by themselves (auto with mem-limit).\n"
	"high=<PCT>, low=<PCT>         From where on, and down to where, of mem-limit (90, 80).\n"
	"writeback-batch=<N>           Pages on their way at once (32).\n"
	"promote=never|read|second-read  Bring pages back to memory (second-read).\n"
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

/* Bits of disk_config.given. */
enum {
	GIVEN_BACKING_SIZE = 1,
	GIVEN_OVERWRITE = 2,
	GIVEN_WRITEBACK = 4,
	GIVEN_HIGH = 8,
	GIVEN_LOW = 16,
	GIVEN_WB_BATCH = 32,
	GIVEN_PROMOTE = 64,
};
static const char *const given_keys[] = { "backing-size", "backing-overwrite", "writeback", "high",
	"low", "writeback-batch", "promote" };

static bool process_locks; /* with swap=yes, for disks that come later */

void params_disk_init(struct disk_config *config)
{
	*config = (struct disk_config){ .algorithm = zcomp_find("lz4"),
		.level = ZCOMP_LEVEL_UNSET,
		.managed = true,
		.stage = STAGE_DEFAULT,
		.batch = BATCH_DEFAULT,
		.wb_high = WB_HIGH_DEFAULT,
		.wb_low = WB_LOW_DEFAULT,
		.wb_batch = WB_BATCH_DEFAULT,
		.promote = PROMOTE_SECOND_READ,
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

int params_parse_bool(const char *s)
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

static int set_backing(struct disk_config *disk, const char *value, struct uz_error *e)
{
	if (!*value)
		return uz_fail(e, EINVAL, "backing=: allowed is the path of a file or block device, "
			"or an NBD URI");
	disk->backing = value;
	return 0;
}

static int set_backing_size(struct disk_config *disk, const char *value, struct uz_error *e)
{
	if (size_value("backing-size", value, &disk->backing_size, e) == -1)
		return -1;
	if (!disk->backing_size)
		return uz_fail(e, EINVAL, "backing-size=%s: allowed is a size, not 0", value);
	disk->given |= GIVEN_BACKING_SIZE;
	return 0;
}

static int set_backing_overwrite(struct disk_config *disk, const char *value, struct uz_error *e)
{
	int yes = params_parse_bool(value);

	if (yes == -1)
		return uz_fail(e, EINVAL, "backing-overwrite=%s: allowed is yes or no", value);
	disk->backing_overwrite = yes;
	disk->given |= GIVEN_OVERWRITE;
	return 0;
}

static int set_writeback(struct disk_config *disk, const char *value, struct uz_error *e)
{
	if (strcmp(value, "manual") && strcmp(value, "auto"))
		return uz_fail(e, EINVAL, "writeback=%s: allowed is manual or auto", value);
	disk->wb_auto = !strcmp(value, "auto");
	disk->given |= GIVEN_WRITEBACK;
	return 0;
}

static int set_high(struct disk_config *disk, const char *value, struct uz_error *e)
{
	disk->given |= GIVEN_HIGH;
	return number_value("high", value, 1, 100, &disk->wb_high, e);
}

static int set_low(struct disk_config *disk, const char *value, struct uz_error *e)
{
	disk->given |= GIVEN_LOW;
	return number_value("low", value, 1, 99, &disk->wb_low, e);
}

static int set_writeback_batch(struct disk_config *disk, const char *value, struct uz_error *e)
{
	disk->given |= GIVEN_WB_BATCH;
	return number_value("writeback-batch", value, 1, WB_BATCH_MAX, &disk->wb_batch, e);
}

static int set_promote(struct disk_config *disk, const char *value, struct uz_error *e)
{
	unsigned i;

	for (i = 0; i < NR_DISK_PROMOTES; i++)
		if (!strcmp(value, disk_promote_names[i]))
			break;
	if (i == NR_DISK_PROMOTES)
		return uz_fail(e, EINVAL, "promote=%s: allowed is never, read or second-read",
			value);
	disk->promote = i;
	disk->given |= GIVEN_PROMOTE;
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
	int yes = params_parse_bool(value);

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
	char text[512]; /* it may list the fields */

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
	char text[512]; /* it may list the fields */

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
	{ "backing", set_backing },
	{ "backing-size", set_backing_size },
	{ "backing-overwrite", set_backing_overwrite },
	{ "writeback", set_writeback },
	{ "high", set_high },
	{ "low", set_low },
	{ "writeback-batch", set_writeback_batch },
	{ "promote", set_promote },
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
	"recompress", "dict", "upkeep", "upkeep-cpu", "pool-overhead",
};

static int refuse_key(const char *key, const char *value, bool process, struct uz_error *e)
{
	char allowed[384] = "";
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

/* "disk=NAME: " for those that have a name. */
#define DISK_HEAD	"%s%s%s"
#define DISK_WORDS(d)	(d)->name[0] ? "disk=" : "", (d)->name, (d)->name[0] ? ": " : ""

/*
 * The second tier's keys of one disk. Those that are defaults for all disks, `inherited`, may have
 * been meant for another.
 */
static int finish_backing(struct disk_config *disk, unsigned inherited, struct uz_error *e)
{
	if (!disk->backing) {
		for (unsigned i = 0; i < ARRAY_SIZE(given_keys); i++)
			if (disk->given & ~inherited & 1u << i)
				return uz_fail(e, EINVAL,
					DISK_HEAD "%s=: allowed with backing= only",
					DISK_WORDS(disk), given_keys[i]);
		disk->wb_auto = false;
		return 0;
	}
	if (disk->wb_low >= disk->wb_high)
		return uz_fail(e, EINVAL, DISK_HEAD "high=%u low=%u: allowed is a low below high"
			" (they are %u and %u if left out)", DISK_WORDS(disk), disk->wb_high,
			disk->wb_low, WB_HIGH_DEFAULT, WB_LOW_DEFAULT);
	if ((disk->given & GIVEN_WRITEBACK) && disk->wb_auto && !disk->mem_limit)
		return uz_fail(e, EINVAL, DISK_HEAD "writeback=auto: allowed with mem-limit= only: "
			"it keeps the memory below that", DISK_WORDS(disk));
	if (!(disk->given & GIVEN_WRITEBACK))
		disk->wb_auto = disk->mem_limit != 0;
	return 0;
}

int params_disk_finish(struct disk_config *config, struct uz_error *e)
{
	return finish_backing(config, 0, e);
}

static int finish_backings(struct params *params, struct uz_error *e)
{
	struct disk_config *disks = params->disks;
	bool any = false;

	for (size_t i = 0; i < params->nr_disks; i++) {
		unsigned inherited = disks[i].name[0] ? params->defaults.given : 0;

		if (finish_backing(&disks[i], inherited, e) == -1)
			return -1;
		any |= disks[i].backing != NULL;
		for (size_t j = 0; disks[i].backing && j < i; j++)
			if (disks[j].backing && !strcmp(disks[i].backing, disks[j].backing))
				return uz_fail(e, EINVAL, "backing=%s: disks \"%s\" and \"%s\" "
					"have it; allowed is one of its own for each disk",
					disks[i].backing, disks[j].name, disks[i].name);
	}
	return any ? 0 : finish_backing(&params->defaults, 0, e);
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
			return uz_fail(e, EINVAL,
				DISK_HEAD "size= is required: allowed is " SIZE_WORDS,
				DISK_WORDS(disk));
		disk->swap = disk->locked = params->swap;
		disk->swap_reserve = params->swap ? params->swap_reserve / params->nr_disks : 0;
	}
	if (finish_accel(params, e) == -1 || finish_backings(params, e) == -1)
		return -1;
	if (params->control_group && !params->control)
		return uz_fail(e, EINVAL, "control-group=%s: allowed with control=PATH only",
			params->control_group);
	return 0;
}
