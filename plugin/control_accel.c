/* SPDX-License-Identifier: BSD-3-Clause */
/* `accel`: the accelerator's document, its verbs, and faults at run time. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <string.h>

#include "accel_sim/accel.h"
#include "control_priv.h"
#include "streams/zcomp.h"

#define N(x) ((json_int_t)(x))

_Static_assert(ACCEL_BUCKETS == DISK_LATENCY_BUCKETS, "one histogram document for both");

/* {"name": count, ...} */
static json_t *named_counts(const char *const *names, const uint64_t *counts, size_t n)
{
	json_t *document = json_object();

	for (size_t i = 0; document && i < n; i++)
		if (json_object_set_new(document, names[i], json_integer(N(counts[i]))) != 0) {
			json_decref(document);
			return NULL;
		}
	return document;
}

static json_t *rate(uint64_t part, uint64_t whole_ns, double per)
{
	return whole_ns ? json_real((double)part * per / (double)whole_ns) : json_null();
}

/*
 * One clock: its latencies, and what follows from its time. Pages that no engine had are none of
 * its: aborted, or timed out in the ring.
 */
static json_t *clock_document(const struct accel_histogram *stages, uint64_t elapsed,
	uint64_t busy, unsigned engines)
{
	uint64_t served = stages[ACCEL_STAGE_SERVICE].count;
	json_t *document = json_pack("{s:f, s:o, s:o}", "elapsed_us", (double)elapsed / 1000,
		"pages_per_second", rate(served, elapsed, 1e9), "utilisation",
		rate(busy, elapsed * engines, 1));

	for (int i = 0; document && i < NR_ACCEL_STAGES; i++)
		if (json_object_set_new(document, accel_stage_names[i],
			    histogram_document(stages[i].bucket, stages[i].sum)) != 0) {
			json_decref(document);
			return NULL;
		}
	return document;
}

/* [[operations, batches of up to so many, and more than those before], ...], none empty. */
static json_t *batch_sizes(const struct accel_histogram *batches)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && i < ACCEL_BUCKETS; i++)
		if (batches->bucket[i] &&
			json_array_append_new(array, json_pack("[I, I]", (json_int_t)(1 << i) - 1,
				N(batches->bucket[i]))) != 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static const char *const transports[] = {
	[ACCEL_MSGRING] = "msgring",
	[ACCEL_EVENTFD] = "eventfd",
	[ACCEL_INLINE] = "inline",
};

static uint64_t all_fallbacks(struct registry *registry)
{
	struct disk *disk;
	uint64_t sum = 0;

	for (disk = ctl_next_disk(registry, NULL); disk; disk = ctl_next_disk(registry, disk)) {
		struct disk_stat st;

		disk_get_stat(disk, &st);
		sum += st.streams.fallback;
	}
	return sum;
}

static json_t *device_document(struct registry *registry, struct accel_device *dev)
{
	const struct accel_profile *profile = accel_get_profile(dev);
	unsigned threads = accel_nr_engine_threads(dev);
	struct accel_stats st;

	accel_get_stats(dev, &st);
	return json_pack(
		"{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}",
		"profile", profile->name, "state", accel_state_names[accel_get_state(dev)],
		"transport", transports[profile->transport], "queue_depth",
		(int)profile->queue_depth, "queues", (int)(profile->devices * profile->queues),
		"engines", (int)st.model_engines, "engine_threads", (int)threads, "submitted",
		N(st.submitted), "accepted", N(st.accepted), "completed", N(st.completed), "busy",
		N(st.busy), "in_flight", N(st.in_flight), "in_flight_max", N(st.in_flight_max),
		"fallback", N(all_fallbacks(registry)), "ring_full", N(st.ring_full), "doorbells",
		N(st.doorbells), "doorbells_suppressed", N(st.doorbells_suppressed), "interrupts",
		N(st.interrupts), "spurious_wakes", N(st.spurious_wakes), "lost_wakes",
		N(st.lost_wakes), "resets", N(st.resets), "bytes_in", N(st.bytes_in), "bytes_out",
		N(st.bytes_out), "status",
		named_counts(accel_status_names, st.status, NR_ACCEL_STATUS), "faults",
		named_counts(accel_fault_names, st.faults, NR_ACCEL_FAULTS), "batch_sizes",
		batch_sizes(&st.batches), "wall",
		clock_document(st.wall, st.wall_elapsed_ns, st.wall_busy_ns, threads),
		"modelled",
		clock_document(st.model, st.model_elapsed_ns, st.model_busy_ns,
			st.model_engines));
}

json_t *accel_document(struct registry *registry)
{
	struct accel_device *dev = zcomp_accel_ref();
	json_t *document;

	if (!dev)
		return NULL;
	document = device_document(registry, dev);
	accel_close(dev);
	return document;
}

static json_t *fault(struct accel_device *dev, const char *spec)
{
	enum accel_fault_kind kind;
	struct accel_fault attrs;
	char why[256];

	if (accel_fault_parse(spec, &kind, &attrs, why, sizeof(why)) == -1)
		return ctl_error(EINVAL, "accel fault=%s: %s", spec, why);
	accel_set_fault(dev, kind, &attrs);
	return json_pack("{s:s}", "fault", accel_fault_names[kind]);
}

static const struct {
	const char *name;
	int (*run)(struct accel_device *dev);
} verbs[] = {
	{ "reset", accel_reset },
	{ "unplug", accel_unplug },
	{ "plug", accel_plug },
};

static json_t *run_verb(struct accel_device *dev, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].name, name) != 0)
			continue;
		if (verbs[i].run(dev) == -1)
			return ctl_error(errno, "accel %s: %s (state %s)", name,
				errno == EBUSY ? "another verb is running" : strerror(errno),
				accel_state_names[accel_get_state(dev)]);
		return json_pack("{s:s}", "state", accel_state_names[accel_get_state(dev)]);
	}
	return ctl_error(EINVAL,
		"accel %s: allowed is stat, reset, unplug, plug, fault=KIND:INTERVAL,PROBABILITY,"
		"SPACE,TIMES", name);
}

json_t *ctl_run_accel(const struct ctl_call *call)
{
	const char *what = call->nr_args ? call->args[0] : "stat";
	struct accel_device *dev = zcomp_accel_ref();
	json_t *answer;

	if (!dev)
		return ctl_error(ENODEV, "there is no accelerator: start the server with "
			"accel=PROFILE");
	if (strcmp(what, "stat") == 0)
		answer = json_pack("{s:o}", "accel", device_document(call->registry, dev));
	else if (strncmp(what, "fault=", 6) == 0)
		answer = fault(dev, what + 6);
	else
		answer = run_verb(dev, what);
	accel_close(dev);
	return answer;
}
