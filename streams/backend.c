/* SPDX-License-Identifier: BSD-3-Clause */
/* Which backends there are, and how users name them. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "streams/backend.h"
#include "streams/managed.h"

/* zcomp_available() lists them in this order. */
static const struct zcomp_ops *const backends[] = {
	&backend_lz4, &backend_lz4hc, &backend_zstd, &backend_deflate, &backend_none,
};
static const char available[] = "lz4, lz4hc, zstd, deflate, none";

const char *zcomp_available(void)
{
	return available;
}

const struct zcomp_ops *zcomp_find(const char *name)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	return NULL;
}

void backend_explain(char *err, size_t errlen, const char *fmt, ...)
{
	va_list args;

	if (errlen == 0)
		return;
	va_start(args, fmt);
	vsnprintf(err, errlen, fmt, args);
	va_end(args);

	/* What users gave may hold newlines and escape sequences. */
	for (; *err != '\0'; err++)
		if ((unsigned char)*err < ' ' || *err == 0x7f)
			*err = '?';
}

/* An optional minus and digits, nothing else. Numbers too big saturate. */
static int parse_level(const char *text, long *level)
{
	const char *digits = text + (*text == '-');

	if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0')
		return -1;
	*level = strtol(text, NULL, 10);
	return 0;
}

int zcomp_parse(const char *spec, const struct zcomp_ops **ops, int *level, char *err,
		size_t errlen)
{
	size_t name_len = strcspn(spec, ":");
	const char *text = spec[name_len] == ':' ? spec + name_len + 1 : NULL;
	const struct zcomp_ops *found = NULL;
	char name[ZCOMP_NAME_MAX];
	long n;

	if (name_len < sizeof(name)) {
		memcpy(name, spec, name_len);
		name[name_len] = '\0';
		found = zcomp_find(name);
	}
	if (!found) {
		backend_explain(err, errlen, "no such algorithm \"%.*s\"; allowed: %s",
				name_len < 64 ? (int)name_len : 64, spec, available);
		return -1;
	}
	if (!text) {
		*level = ZCOMP_LEVEL_UNSET;
	} else if (found->level_min == found->level_max) {
		backend_explain(err, errlen, "%s takes no level", found->name);
		return -1;
	} else if (parse_level(text, &n) < 0) {
		backend_explain(err, errlen,
				"level \"%.64s\" of %s is not a number; allowed: %d..%d", text,
				found->name, found->level_min, found->level_max);
		return -1;
	} else if (n < found->level_min || n > found->level_max) {
		backend_explain(err, errlen, "level %.64s of %s is out of range; allowed: %d..%d",
				text, found->name, found->level_min, found->level_max);
		return -1;
	} else {
		*level = (int)n;
	}
	*ops = found;
	return 0;
}

int backend_no_dict(struct zcomp_params *params)
{
	return params->dict ? -EINVAL : 0;
}

int backend_setup(const struct zcomp_ops *ops, struct zcomp_params *params)
{
	int ret = backend_no_dict(params);

	return ret == 0 ? managed_setup(ops, params) : ret;
}

/* Noise; noise, then zeros; few symbols, with a match of some length everywhere. */
static void warm_up_page(unsigned kind, unsigned char *page)
{
	uint32_t x = 0x9e3779b9;

	for (unsigned i = 0; i < ZCOMP_PAGE_SIZE; i++) {
		x = x * 1664525 + 1013904223;
		page[i] = x >> 24;
		if (kind == 1 && i >= ZCOMP_PAGE_SIZE / 2)
			page[i] = 0;
		if (kind == 2)
			page[i] &= 3;
	}
}

int backend_warm_up(const struct zcomp_ops *ops, struct zcomp_params *params,
		    struct zcomp_ctx *ctx)
{
	unsigned char *page = malloc(ZCOMP_PAGE_SIZE), *back = malloc(ZCOMP_PAGE_SIZE);
	unsigned char *buffer = malloc(ZCOMP_BUFFER_SIZE);
	int ret = page && back && buffer ? 0 : -ENOMEM;

	for (unsigned kind = 0; ret == 0 && kind < 3; kind++) {
		struct zcomp_req in = { page, ZCOMP_PAGE_SIZE, buffer, ZCOMP_BUFFER_SIZE };
		struct zcomp_req out = { buffer, 0, back, ZCOMP_PAGE_SIZE };

		warm_up_page(kind, page);
		ret = ops->compress(params, ctx, &in);
		out.src_len = in.dst_len;
		if (ret == 0)
			ret = ops->decompress(params, ctx, &out);
		if (ret != 0 || memcmp(page, back, ZCOMP_PAGE_SIZE) != 0)
			ret = -EIO;
	}
	free(buffer);
	free(back);
	free(page);
	return ret;
}
