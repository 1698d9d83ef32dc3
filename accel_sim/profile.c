/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The profiles: one table, each figure with where it comes from.
 *
 *	published   read in the named source
 *	derived     arithmetic on published figures
 *	fitted      chosen so that the model meets the published figures named beside it
 *	measured    on a virtual machine with two Emerald Rapids CPUs, liblz4 1.9.4
 *	assumption  nothing was found; a plausible figure, for trying things out
 *
 * What belongs to this program and to no device is the same everywhere: transport, coalesce,
 * coalesce_usecs (32 pages of LZ4), poll_usecs, timeout_ms, max_resets, seed. `codecs` is left
 * empty everywhere, though IAA does only deflate and hisi_zip's driver only LZ4: the time is the
 * device's, the bytes are those of the codec that the caller names.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "accel_sim/accel.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define PROGRAM_FIELDS                                                                             \
	.transport = ACCEL_MSGRING, .coalesce = 32, .coalesce_usecs = 250, .poll_usecs = 50,       \
	.real_payload = true, .timeout_ms = 100, .max_resets = 3, .seed = 1

static const struct accel_profile profiles[] = {
	/*
	 * Intel In-Memory Analytics Accelerator in Sapphire Rapids, through the kernel's crypto
	 * interface. Two figures are fitted to the "zswap IAA compress batching" series, version 5:
	 * eight pages one after another 33.0 us, as one batch 9.7 us (p50). With an engine free for
	 * every page, eight in a row are 8 (submit + service), a batch is 8 submit + service.
	 */
	{
		.name = "iaa",
		.devices = 4, /* published: a socket's, all used by every CPU (same, version 13) */
		.queues = 8,  /* published: work queues of a device (qpl issue 50, AWS m7i.metal) */
		.queue_depth = 128, /* published: entries of a work queue (version 13) */
		.engines = 2,	    /* published: that compress, of a device's eight (version 13) */
		.order = ACCEL_OUT_OF_ORDER, /* published: idxd gives no order without a fence */
		.submit_ns = 796,   /* fitted: (9.7 - 33.0 / 8) / 7 */
		.base_ns = 1322,    /* fitted: 33.0 / 8 - submit - 4096 bytes */
		.per_byte_ps = 490, /* derived: 64 KiB 34.5 us, 8 x 8 KiB 8.3 us (by_n series) */
		.decomp_base_ns = 1500, /* fitted: 64 KiB 20.0 us (by_n) less submit and bytes */
		.decomp_per_byte_ps = 270, /* derived: as per_byte_ps, from 20.0 and 6.3 us */
		.deliver_ns = 0,      /* polled by the submitter: inside the figures above */
		.deliver_busy_ns = 0, /* same */
		.jitter = 5,	      /* assumption; published p99 is 1.2 (sequence) to 1.8 x p50 */
		.shared_bps = 0,      /* none is published */
		.decompress = true,   /* published: iaa_crypto */
		.zero_detect = false, /* not in iaa_crypto */
		.dst_limit = 4096,    /* published: overflow at the end of one target page */
		PROGRAM_FIELDS,
	},
	/* Intel QuickAssist, generation 4. No time of a 4 KiB page is published: all assumption. */
	{
		.name = "qat",
		.devices = 1,	    /* assumption */
		.queues = 16,	    /* assumption: instances of a device */
		.queue_depth = 512, /* assumption: entries of a ring */
		.engines = 4,	    /* assumption */
		.order = ACCEL_IN_ORDER,   /* assumption: responses in ring order */
		.submit_ns = 300,	   /* assumption: a descriptor; doorbells are gathered */
		.base_ns = 15000,	   /* assumption */
		.per_byte_ps = 300,	   /* assumption */
		.decomp_base_ns = 15000,   /* assumption; unused: compress alone */
		.decomp_per_byte_ps = 150, /* assumption; unused */
		.deliver_ns = 5000,	 /* assumption: half the shortest polling pause, 10 us */
		.deliver_busy_ns = 5000, /* same */
		.jitter = 10,		 /* assumption */
		.shared_bps = 0,	 /* assumption */
		.decompress = false, /* published: zstd and LZ4s, generations 4 and 5 */
		.zero_detect = false, /* assumption */
		.dst_limit = 8192,    /* assumption: the caller's bound */
		PROGRAM_FIELDS,
	},
	/* A phone's engine (Emerald Hill, QPaCE, mtk_hwz): shapes from the drivers, no times. */
	{
		.name = "mobile",
		.devices = 1,	    /* published: one (drivers) */
		.queues = 8,	    /* assumption: one a CPU; the drivers lock one ring */
		.queue_depth = 512, /* published: Emerald Hill's FIFO; QPaCE's ring has 128 */
		.engines = 1,	    /* assumption */
		.order = ACCEL_IN_ORDER,    /* published: index order in all three */
		.submit_ns = 200,	    /* assumption */
		.base_ns = 1000,	    /* assumption: with the bytes, 3 us a page */
		.per_byte_ps = 488,	    /* assumption: 2 us for 4096 bytes */
		.decomp_base_ns = 1000,	    /* assumption: with the bytes, 2 us a page */
		.decomp_per_byte_ps = 244,  /* assumption */
		.deliver_ns = 3750,	 /* derived: half a nap of 5-10 us (Emerald Hill) */
		.deliver_busy_ns = 3750, /* same */
		.jitter = 10,		 /* assumption */
		.shared_bps = 0,	 /* assumption */
		.decompress = true,	 /* published: all three, by other registers */
		.zero_detect = true,	 /* published: status ZERO, or a same-filled event */
		.dst_limit = 4096,	 /* published: larger is ABORT, or "too big" */
		PROGRAM_FIELDS,
	},
	/*
	 * The proof of concept of the managed-streams series: a kernel thread that runs LZ4. The
	 * queues are swapped as there. There, all writers share one pair of queues under a mutex;
	 * here each submitting thread has its own.
	 */
	{
		.name = "swthread",
		.devices = 1,	    /* published (version 2, patch 5) */
		.queues = 16,	    /* ours, see above */
		.queue_depth = 128, /* published */
		.engines = 1,	    /* published: a single thread */
		.order = ACCEL_IN_ORDER, /* published: first in, first out */
		.fetch = ACCEL_FETCH_SWAP, /* published */
		.submit_ns = 300, /* measured: 0.25-0.4 us of host CPU a page at depth 256 */
		.base_ns = 0,	  /* LZ4's time is proportional to the bytes */
		.per_byte_ps = 1980, /* measured: LZ4, 8.11 us a page, mix of text, code, heap */
		.decomp_base_ns = 0, /* as base_ns; unused: compress alone */
		.decomp_per_byte_ps = 408, /* measured: 1.67 us a page; unused */
		.deliver_ns = 72000, /* measured: both wake-ups; one page takes 81 us */
		.deliver_busy_ns = 72000, /* measured: a batch of 32 takes 338 us, 76 of it this */
		.jitter = 30, /* measured: heap 5.2, code 9.5 us a page */
		.shared_bps = 0,
		.decompress = false,  /* published: reads stay on the per-CPU stream */
		.zero_detect = false, /* published */
		.dst_limit = 8192,    /* published: buffer of two pages */
		PROGRAM_FIELDS,
	},
	/*
	 * HiSilicon's hisi_zip on Kunpeng 920. Fitted to UADK's docs/perf.rst (8 KiB blocks, shared
	 * virtual addressing): 14.7 us alone, about 57 us with 10 to 50 in flight, never more than
	 * 7.27 GB/s. Why company should cost 42 us is not explained there; deliver_busy_ns stands
	 * for it.
	 */
	{
		.name = "hisi",
		.devices = 1,	     /* published: one was measured */
		.queues = 16,	     /* assumption; published: more queues bring nothing */
		.queue_depth = 1024, /* assumption */
		.engines = 16,	     /* assumption: enough for 7.27 GB/s at 14.7 us */
		.order = ACCEL_IN_ORDER, /* published: inside a queue */
		.submit_ns = 300,	 /* assumption */
		.base_ns = 13300,	 /* fitted: 8 KiB alone 14.7 us, less the rest */
		.per_byte_ps = 138,	 /* derived: 1 / 7.27 GB/s */
		.decomp_base_ns = 13300, /* assumption; unused: done in software */
		.decomp_per_byte_ps = 138,  /* assumption; unused */
		.deliver_ns = 0,	    /* inside base_ns */
		.deliver_busy_ns = 42000,   /* fitted: 1.38 to 6.72 GB/s at 10 to 50 in flight */
		.jitter = 2,		    /* assumption */
		.shared_bps = 7270000000,   /* published: 7.27 GB/s at 70 in flight */
		.decompress = false,	    /* published: hisi-lz4 does it in software */
		.zero_detect = false,	    /* assumption */
		.dst_limit = 8192,	    /* assumption */
		PROGRAM_FIELDS,
	},
};

static const char profile_names[] = "iaa, qat, mobile, swthread, hisi";

/* --- fields by name --- */

enum kind { NUMBER32, NUMBER64, SWITCH, CHOICE, TEXT };

struct field {
	const char *key;
	enum kind kind;
	size_t offset;
	uint64_t min, max;
	const char *unit;	    /* NUMBER */
	const char *const *choices; /* CHOICE: their place is the value */
};

static const char *const transports[] = { "msgring", "eventfd", "inline", NULL };
static const char *const orders[] = { "out", "in", NULL };
static const char *const fetches[] = { "ring", "swap", NULL };
static const char *const caps[] = { "compress", "both", NULL };
static const char *const payloads[] = { "none", "real", NULL };

#define AT(member)	 offsetof(struct accel_profile, member)
#define NS_MAX		 1000000000 /* a second */
#define NUM(k, m, lo, hi, u) { k, NUMBER32, AT(m), lo, hi, u, NULL }
#define ENUM(k, m, list) { k, CHOICE, AT(m), 0, 0, NULL, list }
#define BOOL(k, m)	 { k, SWITCH, AT(m), 0, 0, NULL, NULL }

static const struct field fields[] = {
	NUM("devices", devices, 1, ACCEL_MAX_DEVICES, "devices"),
	NUM("queue-depth", queue_depth, 1, ACCEL_MAX_QUEUE_DEPTH, "operations"),
	NUM("queues", queues, 1, ACCEL_MAX_QUEUES, "queue pairs"),
	NUM("engines", engines, 1, ACCEL_MAX_ENGINES, "engines"),
	ENUM("transport", transport, transports),
	NUM("coalesce", coalesce, 1, ACCEL_MAX_QUEUE_DEPTH, "completions"),
	NUM("coalesce-usecs", coalesce_usecs, 0, 1000000, "microseconds"),
	NUM("poll-usecs", poll_usecs, 0, 1000000, "microseconds"),
	NUM("submit-ns", submit_ns, 0, NS_MAX, "nanoseconds"),
	NUM("base-ns", base_ns, 0, NS_MAX, "nanoseconds"),
	NUM("per-byte-ps", per_byte_ps, 0, NS_MAX, "picoseconds"),
	NUM("decomp-base-ns", decomp_base_ns, 0, NS_MAX, "nanoseconds"),
	NUM("decomp-per-byte-ps", decomp_per_byte_ps, 0, NS_MAX, "picoseconds"),
	NUM("deliver-ns", deliver_ns, 0, NS_MAX, "nanoseconds"),
	NUM("deliver-busy-ns", deliver_busy_ns, 0, NS_MAX, "nanoseconds"),
	NUM("jitter", jitter, 0, 100, "percent"),
	{ "shared-bps", NUMBER64, AT(shared_bps), 0, 1000000000000000,
		"bytes a second, 0: no bound", NULL },
	ENUM("order", order, orders),
	ENUM("fetch", fetch, fetches),
	ENUM("caps", decompress, caps),
	BOOL("zero-detect", zero_detect),
	NUM("dst-limit", dst_limit, 1, 2 * ACCEL_PAGE_SIZE, "bytes"),
	{ "codecs", TEXT, AT(codecs), 0, 0, NULL, NULL },
	ENUM("payload", real_payload, payloads),
	BOOL("verify", verify),
	NUM("timeout-ms", timeout_ms, 1, 3600000, "milliseconds"),
	NUM("max-resets", max_resets, 0, 1000000, "resets"),
	{ "seed", NUMBER64, AT(seed), 0, UINT64_MAX, "any number", NULL },
};

/* In the order of fields[]: a test compares. */
static const char field_keys[] =
	"devices, queue-depth, queues, engines, transport, coalesce, coalesce-usecs, poll-usecs, "
	"submit-ns, base-ns, per-byte-ps, decomp-base-ns, decomp-per-byte-ps, deliver-ns, "
	"deliver-busy-ns, jitter, shared-bps, order, fetch, caps, zero-detect, dst-limit, codecs, "
	"payload, verify, timeout-ms, max-resets, seed";

const struct accel_profile *accel_profile_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
		if (strcmp(name, profiles[i].name) == 0)
			return &profiles[i];
	}
	return NULL;
}

const char *accel_profile_names(void)
{
	return profile_names;
}

const char *accel_profile_keys(void)
{
	return field_keys;
}

/* Digits alone: no sign, no blank, no unit. */
static bool parse_number(const char *s, uint64_t *value)
{
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*value = strtoull(s, &end, 10);
	return errno == 0 && *end == '\0';
}

/* -1: neither. */
static int parse_switch(const char *s)
{
	static const char *const yes[] = { "1", "true", "t", "yes", "y", "on" };
	static const char *const no[] = { "0", "false", "f", "no", "n", "off" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcasecmp(s, yes[i]) == 0)
			return 1;
		if (strcasecmp(s, no[i]) == 0)
			return 0;
	}
	return -1;
}

static int set_number(void *at, const struct field *field, const char *value, char *err,
	size_t errlen)
{
	uint64_t n;

	if (!parse_number(value, &n) || n < field->min || n > field->max) {
		snprintf(err, errlen, "%s=%s: allowed is %" PRIu64 " to %" PRIu64 " (%s)",
			field->key, value, field->min, field->max, field->unit);
		return -1;
	}
	if (field->kind == NUMBER64)
		*(uint64_t *)at = n;
	else
		*(uint32_t *)at = (uint32_t)n;
	return 0;
}

/* An enum's place in its list; the two bools that users know by words are lists of two. */
static int set_choice(void *at, const struct field *field, const char *value, char *err,
	size_t errlen)
{
	char list[64] = "";
	int i;

	for (i = 0; field->choices[i]; i++) {
		size_t used = strlen(list);

		if (strcmp(value, field->choices[i]) == 0)
			break;
		snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
			field->choices[i]);
	}
	if (!field->choices[i]) {
		snprintf(err, errlen, "%s=%s: allowed is %s", field->key, value, list);
		return -1;
	}
	if (field->choices == caps || field->choices == payloads)
		*(bool *)at = i;
	else
		*(unsigned *)at = i;
	return 0;
}

static int set_field(void *at, const struct field *field, const char *value, char *err,
	size_t errlen)
{
	int yes;

	switch (field->kind) {
	case NUMBER32:
	case NUMBER64:
		return set_number(at, field, value, err, errlen);
	case CHOICE:
		return set_choice(at, field, value, err, errlen);
	case SWITCH:
		yes = parse_switch(value);
		if (yes < 0) {
			snprintf(err, errlen, "%s=%s: allowed is yes or no", field->key, value);
			return -1;
		}
		*(bool *)at = yes;
		return 0;
	case TEXT:
		if (strlen(value) >= ACCEL_CODECS_MAX) {
			snprintf(err, errlen, "%s=%s: allowed are at most %d characters of names",
				field->key, value, ACCEL_CODECS_MAX - 1);
			return -1;
		}
		memcpy(at, value, strlen(value) + 1);
		return 0;
	}
	return -1;
}

int accel_profile_set(struct accel_profile *profile, const char *key, const char *value, char *err,
	size_t errlen)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (strcmp(key, fields[i].key) == 0)
			return set_field((char *)profile + fields[i].offset, &fields[i], value, err,
				errlen);
	}
	snprintf(err, errlen, "%s: no such field of an accelerator; there are %s", key, field_keys);
	return -1;
}
