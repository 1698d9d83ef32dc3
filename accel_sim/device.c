/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's life, and what it can do. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity() */
#endif
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "accel_sim/accel_priv.h"

/* --- parts --- */

static unsigned nr_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	return 1;
}

static bool alloc_engines(struct accel_device *dev)
{
	unsigned cpus = nr_cpus(), modelled = dev->profile.devices * dev->profile.engines;

	dev->nr_engines = modelled < cpus ? modelled : cpus;
	if (dev->profile.transport == ACCEL_INLINE)
		dev->nr_engines = 1;
	dev->engines = aligned_alloc(CACHE_LINE, dev->nr_engines * sizeof(*dev->engines));
	if (!dev->engines)
		return false;
	memset(dev->engines, 0, dev->nr_engines * sizeof(*dev->engines));
	for (unsigned i = 0; i < dev->nr_engines; i++) {
		struct engine *e = &dev->engines[i];

		e->dev = dev;
		e->nr = i;
		e->next_qp = i;
		e->verify = malloc(MAX_SRC_LEN);
		if (!e->verify)
			return false;
		memset(e->verify, 0, MAX_SRC_LEN);
	}
	return true;
}

static bool alloc_parts(struct accel_device *dev)
{
	dev->model = accel_model_new(&dev->profile);
	dev->nr_qps = dev->profile.devices * dev->profile.queues;
	dev->qps = calloc(dev->nr_qps, sizeof(*dev->qps));
	return dev->model && dev->qps && alloc_engines(dev);
}

/* Engines' ports only now: others may have been about to wake them. */
static void free_device(struct accel_device *dev)
{
	for (unsigned i = 0; dev->qps && i < dev->nr_qps; i++)
		qp_free(qp_at(dev, i));
	for (unsigned i = 0; dev->engines && i < dev->nr_engines; i++) {
		port_close(&dev->engines[i].port);
		free(dev->engines[i].verify);
	}
	port_close(&dev->aux);
	accel_model_free(dev->model);
	pthread_mutex_destroy(&dev->qp_lock);
	pthread_mutex_destroy(&dev->inline_lock);
	pthread_mutex_destroy(&dev->aux_lock);
	pthread_mutex_destroy(&dev->stats_lock);
	free(dev->engines);
	free(dev->qps);
	free(dev);
}

void device_put(struct accel_device *dev)
{
	if (atomic_fetch_sub(&dev->holders, 1) == 1)
		free_device(dev);
}

/* --- opening --- */

static bool check_profile(const struct accel_profile *p, char *err, size_t errlen)
{
	if (p->devices < 1 || p->devices > ACCEL_MAX_DEVICES || p->queues < 1 ||
		p->queues > ACCEL_MAX_QUEUES || p->queue_depth < 1 ||
		p->queue_depth > ACCEL_MAX_QUEUE_DEPTH || p->engines < 1 ||
		p->engines > ACCEL_MAX_ENGINES) {
		accel_explain(err, errlen,
			"%s: devices are 1 to %d, queues 1 to %d, queue-depth 1 to %d, engines "
			"1 to %d",
			p->name, ACCEL_MAX_DEVICES, ACCEL_MAX_QUEUES, ACCEL_MAX_QUEUE_DEPTH,
			ACCEL_MAX_ENGINES);
		return false;
	}
	if (p->timeout_ms < 1) {
		accel_explain(err, errlen, "%s: timeout-ms must be 1 or more", p->name);
		return false;
	}
	return true;
}

static void explain_no_ring(int error, char *err, size_t errlen)
{
	if (error == -EPERM || error == -ENOSYS || error == -EACCES)
		accel_explain(err, errlen,
			"io_uring is not to be had here (%s): an old kernel, "
			"kernel.io_uring_disabled, or a filter on system calls; transport=inline "
			"needs none",
			strerror(-error));
	else
		accel_explain(err, errlen, "io_uring: %s", strerror(-error));
}

static int open_transport(struct accel_device *dev, char *err, size_t errlen)
{
	int ret;

	if (dev->profile.transport == ACCEL_INLINE)
		return 0;
	ret = port_open(dev, &dev->aux, 0);
	if (ret < 0) {
		explain_no_ring(ret, err, errlen);
		return ret;
	}
	if (dev->profile.transport == ACCEL_MSGRING && !port_has_msg_ring(&dev->aux)) {
		accel_warn("%s: this kernel's io_uring has no MSG_RING: transport=eventfd instead",
			dev->profile.name);
		dev->profile.transport = ACCEL_EVENTFD;
	}
	return 0;
}

static struct accel_device *new_device(const struct accel_profile *profile)
{
	struct accel_device *dev = aligned_alloc(CACHE_LINE, sizeof(*dev));

	if (!dev)
		return NULL;
	memset(dev, 0, sizeof(*dev));
	dev->profile = *profile;
	pthread_mutex_init(&dev->qp_lock, NULL);
	pthread_mutex_init(&dev->inline_lock, NULL);
	pthread_mutex_init(&dev->aux_lock, NULL);
	pthread_mutex_init(&dev->stats_lock, NULL);
	atomic_store(&dev->users, 1);
	atomic_store(&dev->holders, 1);
	dev->stats_from = now_ns();
	atomic_store(&dev->watchdog_at, dev->stats_from + timeout_ns(dev) / 4);
	for (unsigned i = 0; i < NR_ACCEL_FAULTS; i++)
		accel_set_fault(dev, i, &profile->faults[i]);
	return dev;
}

static int start(struct accel_device *dev, char *err, size_t errlen)
{
	unsigned all;
	int ret;

	if (fault_on(dev, ACCEL_FAULT_INIT) &&
		fault_hits(dev, ACCEL_FAULT_INIT, 0, atomic_fetch_add(&dev->init_tries, 1), 0)) {
		accel_explain(err, errlen, "%s: the device did not start (fault init)",
			dev->profile.name);
		return -EIO;
	}
	if (!alloc_parts(dev)) {
		accel_explain(err, errlen, "%s: no memory", dev->profile.name);
		return -ENOMEM;
	}
	ret = open_transport(dev, err, errlen);
	if (ret < 0)
		return ret;
	all = dev->nr_engines;
	ret = engines_start(dev, err, errlen);
	if (ret < 0) {
		engines_stop(dev);
		dev->nr_engines = all;
	}
	return ret;
}

struct accel_device *accel_open(const struct accel_profile *profile, char *err, size_t errlen)
{
	struct accel_device *dev;
	int ret;

	if (!check_profile(profile, err, errlen)) {
		errno = EINVAL;
		return NULL;
	}
	dev = new_device(profile);
	if (!dev) {
		accel_explain(err, errlen, "%s: no memory", profile->name);
		return NULL;
	}
	ret = start(dev, err, errlen);
	if (ret == 0)
		return dev;
	free_device(dev);
	errno = -ret;
	return NULL;
}

struct accel_device *accel_ref(struct accel_device *dev)
{
	atomic_fetch_add(&dev->users, 1);
	return dev;
}

void accel_close(struct accel_device *dev)
{
	if (!dev || atomic_fetch_sub(&dev->users, 1) != 1)
		return;
	device_shutdown(dev);
	device_put(dev);
}

/* --- what it can do --- */

const struct accel_profile *accel_get_profile(const struct accel_device *dev)
{
	return &dev->profile;
}

unsigned accel_nr_engine_threads(const struct accel_device *dev)
{
	return dev->nr_engines;
}

/* One of the words in the list? */
static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	while (*list) {
		size_t word = strcspn(list, " ");

		if (word == len && strncmp(list, name, len) == 0)
			return len > 0;
		list += word;
		list += strspn(list, " ");
	}
	return false;
}

bool accel_profile_has(const struct accel_profile *profile, const char *codec)
{
	return !profile->codecs[0] || listed(profile->codecs, codec);
}

bool accel_can(const struct accel_device *dev, const char *codec, bool decompress)
{
	if (decompress && !dev->profile.decompress)
		return false;
	return accel_profile_has(&dev->profile, codec);
}
