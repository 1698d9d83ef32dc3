/* SPDX-License-Identifier: BSD-3-Clause */
/* `set`: the keys that a disk in use can change. All are checked before the first is. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <string.h>

#include "control_priv.h"
#include "params.h"

#define ALLOWED                                                                                    \
	"mem-limit=SIZE, algorithm=NAME[:LEVEL], batch=N, writeback=manual|auto, high=PCT, "       \
	"low=PCT, writeback-batch=N, writeback-limit=PAGES, writeback-limit-enable=0|1, "          \
	"promote=never|read|second-read"

enum key {
	MEM_LIMIT,
	ALGORITHM,
	BATCH,
	FIRST_OF_BACKING,
	WRITEBACK = FIRST_OF_BACKING,
	HIGH,
	LOW,
	WRITEBACK_BATCH,
	PROMOTE,
	WRITEBACK_LIMIT,
	WRITEBACK_LIMIT_ENABLE,
	NR_KEYS
};
static const char *const keys[NR_KEYS] = { "mem-limit", "algorithm", "batch", "writeback", "high",
	"low", "writeback-batch", "promote", "writeback-limit", "writeback-limit-enable" };

struct settings {
	bool given[NR_KEYS];
	struct disk_config config;
	uint64_t wb_limit; /* pages */
	bool wb_limit_enable;
};

bool ctl_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno;
}

/* The key of KEY=VALUE; "" if it has none, or a longer one than any there is. */
static const char *pair_key(const char *pair, char key[32])
{
	size_t len = strcspn(pair, "=");

	key[0] = '\0';
	if (pair[len] && len < 32) {
		memcpy(key, pair, len);
		key[len] = '\0';
	}
	return key;
}

int ctl_set_pair(struct disk_config *config, const char *pair, struct uz_error *e)
{
	const char *value = strchr(pair, '=');
	char key[32];

	if (!value || !*pair_key(pair, key))
		return uz_fail(e, EINVAL, "\"%s\": allowed is KEY=VALUE", pair);
	return params_disk_set(config, key, value + 1, e);
}

/* The two that are no parameters at the start. */
static int set_limit(struct settings *s, const char *value, struct uz_error *e)
{
	if (ctl_number(value, &s->wb_limit) && s->wb_limit <= INT64_MAX)
		return 0;
	return uz_fail(e, EINVAL, "writeback-limit=%s: allowed is a number of pages", value);
}

static int set_limit_enable(struct settings *s, const char *value, struct uz_error *e)
{
	int yes = params_parse_bool(value);

	if (yes == -1)
		return uz_fail(e, EINVAL, "writeback-limit-enable=%s: allowed is 1 or 0", value);
	s->wb_limit_enable = yes;
	return 0;
}

static int set_live(struct settings *s, const char *pair, struct uz_error *e)
{
	static const char *const later[] = { "dict", "upkeep", "upkeep-cpu", "pool-overhead" };
	const char *value = strchr(pair, '=');
	char key[32];
	size_t i;

	pair_key(pair, key);
	for (i = 0; i < NR_KEYS; i++) {
		if (strcmp(key, keys[i]) != 0)
			continue;
		s->given[i] = true;
		if (i == WRITEBACK_LIMIT)
			return set_limit(s, value + 1, e);
		if (i == WRITEBACK_LIMIT_ENABLE)
			return set_limit_enable(s, value + 1, e);
		return ctl_set_pair(&s->config, pair, e);
	}
	for (i = 0; i < ARRAY_SIZE(later); i++)
		if (strcmp(key, later[i]) == 0)
			return uz_fail(e, ENOTSUP, "\"set %s\" is not supported by this version",
				pair);
	return uz_fail(e, EINVAL, "\"%s\": allowed is " ALLOWED, pair);
}

/* What only the disk as it is can tell. Takes what was left out from there. */
static int check(struct settings *s, struct disk *disk, struct uz_error *e)
{
	struct disk_config *config = &s->config;
	struct disk_stat st;
	size_t i;

	disk_get_stat(disk, &st);
	for (i = FIRST_OF_BACKING; !st.has_backing && i < NR_KEYS; i++)
		if (s->given[i])
			return uz_fail(e, ENODEV, "set %s: disk \"%s\" has no backing", keys[i],
				disk_name(disk));
	if (!s->given[HIGH])
		config->wb_high = st.wb.high;
	if (!s->given[LOW])
		config->wb_low = st.wb.low;
	if ((s->given[HIGH] || s->given[LOW]) && config->wb_low >= config->wb_high)
		return uz_fail(e, EINVAL, "set high=%u low=%u: allowed is a low below high",
			config->wb_high, config->wb_low);
	if (!s->given[MEM_LIMIT])
		config->mem_limit = st.mm.mem_limit;
	if (s->given[WRITEBACK] && config->wb_auto && !config->mem_limit)
		return uz_fail(e, EINVAL, "set writeback=auto: disk \"%s\" has no mem-limit to keep",
			disk_name(disk));
	return 0;
}

/* The second tier's. */
static int apply_backing(const struct settings *s, struct disk *disk, struct uz_error *e)
{
	const struct disk_config *config = &s->config;

	if (s->given[WRITEBACK_BATCH] && disk_set_wb_batch(disk, config->wb_batch, e) != 0)
		return -1;
	if ((s->given[HIGH] || s->given[LOW]) &&
		disk_set_watermarks(disk, config->wb_high, config->wb_low, e) != 0)
		return -1;
	if (s->given[PROMOTE] && disk_set_promote(disk, config->promote, e) != 0)
		return -1;
	if (s->given[WRITEBACK_LIMIT] && disk_set_wb_limit(disk, s->wb_limit, e) != 0)
		return -1;
	if (s->given[WRITEBACK_LIMIT_ENABLE] &&
		disk_set_wb_limit_enable(disk, s->wb_limit_enable, e) != 0)
		return -1;
	if (s->given[WRITEBACK] && config->wb_auto)
		return disk_set_wb_auto(disk, true, e);
	return 0;
}

/* What can fail comes first, so that a failure changes nothing. */
static int apply(const struct settings *s, struct disk *disk, struct uz_error *e)
{
	const struct disk_config *config = &s->config;

	if (s->given[ALGORITHM] &&
		disk_set_algorithm(disk, config->algorithm, config->level, e) != 0)
		return -1;
	if (s->given[BATCH] && disk_set_batch(disk, config->batch, e) != 0)
		return -1;
	/* A limit before writeback=auto, which needs one; but behind writeback=manual. */
	if (s->given[WRITEBACK] && !config->wb_auto && disk_set_wb_auto(disk, false, e) != 0)
		return -1;
	if (s->given[MEM_LIMIT])
		disk_set_limit(disk, config->mem_limit);
	return apply_backing(s, disk, e);
}

json_t *ctl_run_set(const struct ctl_call *call)
{
	struct settings s = { 0 };
	struct uz_error e;
	unsigned i;

	for (i = 0; i < call->nr_args; i++)
		if (set_live(&s, call->args[i], &e) != 0)
			return ctl_refusal(&e);
	if (check(&s, call->disk, &e) != 0 || apply(&s, call->disk, &e) != 0)
		return ctl_refusal(&e);
	return ctl_named(call);
}
