/* SPDX-License-Identifier: BSD-3-Clause */
/* See drain.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity() */
#endif
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "drain_priv.h"
#include "offload.h"
#include "swap.h"

/* What is looked at together, to see whether a worker gets its CPU: ns of work. */
#define SHARE_WINDOW (4 * 1000 * 1000ull)
#define SHARE_MIN    75 /* percent */
/* How long writers are then left alone: twice as long each time, as long as it is no better. ns. */
#define ALONE_MIN (20 * 1000 * 1000ull)
#define ALONE_MAX (640 * 1000 * 1000ull)
#define PROBE_BATCHES 2 /* that may be staged at the next try; twice as many whenever it pays */

struct worker {
	pthread_t thread;
	unsigned nr;
	struct batch *batch;
	uint64_t cpu, wall; /* ns of work in this window */
};

static struct {
	pthread_mutex_t lock; /* guards clients, and their users */
	pthread_cond_t left;  /* a client's users became 0 */
	struct drain_client *clients;
	struct worker *workers;
	_Atomic unsigned nr;
	unsigned cpus;
	bool touch;
	_Atomic bool running, stopping;
} drain = { .lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER };

static struct crew workers;

/* Is it the accelerator that takes this disk's pages? */
static bool is_offloaded(struct disk *disk)
{
	return disk->managed && offload_on() &&
	       zcomp_is_managed(disk->codecs[atomic_load(&disk->codec)]);
}

void drain_pushed(struct disk *disk, unsigned waiting)
{
	unsigned batch = atomic_load_explicit(&disk->batch, memory_order_relaxed);

	crew_pushed(is_offloaded(disk) ? &offload_crew : &workers, waiting, batch);
}

void drain_wake(struct disk *disk)
{
	crew_ring(is_offloaded(disk) ? &offload_crew : &workers, 1);
}

bool drain_running(void)
{
	return atomic_load_explicit(&drain.running, memory_order_relaxed);
}

bool drain_stopping(void)
{
	return atomic_load_explicit(&drain.stopping, memory_order_relaxed);
}

unsigned drain_workers(void)
{
	return drain_running() ? drain.nr : 0;
}

bool drain_touches(void)
{
	return drain.touch;
}

/* --- clients --- */

void drain_add(struct drain_client *client, struct disk *disk)
{
	LOCK_SCOPE(&drain.lock);
	*client = (struct drain_client){ .disk = disk, .next = drain.clients };
	drain.clients = client;
}

void drain_remove(struct drain_client *client)
{
	struct drain_client **p = &drain.clients;

	LOCK_SCOPE(&drain.lock);
	while (*p && *p != client)
		p = &(*p)->next;
	if (*p)
		*p = client->next;
	while (client->users)
		pthread_cond_wait(&drain.left, &drain.lock);
}

void drain_enter(struct drain_client *client, unsigned n)
{
	LOCK_SCOPE(&drain.lock);
	client->users += n;
}

void drain_leave(struct drain_client *client, unsigned n)
{
	LOCK_SCOPE(&drain.lock);
	client->users -= n;
	if (client->users == 0)
		pthread_cond_broadcast(&drain.left);
}

/* What the accelerator is for, software takes when that has no room. */
static bool is_for(struct disk *disk, enum drain_who who)
{
	bool offloaded = is_offloaded(disk);

	if (who == DRAIN_OFFLOAD)
		return offloaded;
	return !offloaded || offload_full();
}

struct drain_client *drain_next(enum drain_who who, unsigned start)
{
	struct drain_client *client, *first = NULL;
	unsigned i = 0, nr = 0;

	LOCK_SCOPE(&drain.lock);
	/* Callers count up for as long as there is work: in rounds, or the first would have all. */
	for (client = drain.clients; client; client = client->next)
		nr++;
	start = nr ? start % nr : 0;
	for (client = drain.clients; client; client = client->next, i++) {
		if (!stage_waiting(&client->disk->stage) || !is_for(client->disk, who))
			continue;
		if (!first)
			first = client;
		if (i >= start)
			break;
	}
	if (!client)
		client = first;
	if (client)
		client->users++;
	return client;
}

/* --- does staging pay? --- */

/* Writers that keep all CPUs busy do better without us. */
static void judge(struct worker *w, struct disk *disk, uint64_t now, uint64_t wall, uint64_t cpu)
{
	w->wall += wall;
	w->cpu += cpu;
	if (w->wall < SHARE_WINDOW)
		return;
	if (w->cpu * 100 < w->wall * SHARE_MIN && disk_writers(disk, now) >= drain.cpus) {
		uint64_t alone = atomic_load(&disk->alone);

		alone = alone < ALONE_MIN ? ALONE_MIN : min_u64(alone * 2, ALONE_MAX);
		atomic_store(&disk->alone, alone);
		atomic_store(&disk->alone_until, now + alone);
		stage_allow(&disk->stage, PROBE_BATCHES * atomic_load(&disk->batch));
	} else {
		atomic_store(&disk->alone, 0);
		stage_allow(&disk->stage, 2 * atomic_load(&disk->stage.allow));
	}
	w->wall = w->cpu = 0;
}

/* --- workers --- */

void drain_call_help(struct disk *disk, unsigned left)
{
	unsigned awake = atomic_load_explicit(&workers.awake, memory_order_relaxed);

	if (left >= atomic_load_explicit(&disk->batch, memory_order_relaxed) &&
		awake < drain.nr && awake + disk_writers(disk, uz_nsec()) < drain.cpus)
		crew_ring(&workers, 1);
}

void drain_help_now(void)
{
	crew_ring(&workers, 1);
}

static bool work(struct worker *w, unsigned *turn)
{
	struct drain_client *client = drain_next(DRAIN_WORKER, (*turn)++);
	uint64_t cpu, wall;
	unsigned left;
	bool managed;

	if (!client) {
		*turn = 0;
		w->wall = w->cpu = 0;
		return false;
	}
	managed = is_offloaded(client->disk);
	cpu = thread_cpu();
	wall = uz_nsec();
	if (batch_run(w->batch, client->disk, managed, &left)) {
		uint64_t now = uz_nsec();

		if (!managed) /* else writers shall feed the accelerator, whatever we get */
			judge(w, client->disk, now, now - wall, thread_cpu() - cpu);
		drain_call_help(client->disk, left);
	}
	drain_leave(client, 1);
	return true;
}

bool drain_settle(void)
{
	struct drain_client *client;
	unsigned i, n = 0;
	bool more = false;

	do {
		pthread_mutex_lock(&drain.lock);
		for (client = drain.clients, i = 0; client && i < n; i++)
			client = client->next;
		if (client)
			client->users++;
		pthread_mutex_unlock(&drain.lock);
		if (client) {
			more |= disk_settle_some(client->disk, SETTLE_STEPS);
			drain_leave(client, 1);
		}
		n++;
	} while (client);
	return more;
}

static bool any_work(void)
{
	struct drain_client *client = drain_next(DRAIN_WORKER, 0);

	if (client)
		drain_leave(client, 1);
	return client;
}

static void *worker_main(void *opaque)
{
	struct worker *w = opaque;
	unsigned naps = 0, turn = w->nr;

	if (drain.touch)
		swap_warm_thread();
	for (;;) {
		/* In this order: drain_stop() rings once, when it has said that it is over. */
		uint32_t bell = atomic_load(&workers.bell);

		if (!drain_running())
			break;
		if (work(w, &turn))
			naps = 0;
		else
			crew_rest(&workers, bell, &naps, any_work, drain_settle);
	}
	return NULL;
}

/* --- life --- */

static unsigned count_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
	return 1;
}

static int start_worker(struct worker *w, bool touch)
{
	char name[16];
	int err;

	w->batch = batch_create(w->nr, touch);
	if (!w->batch)
		return ENOMEM;
	snprintf(name, sizeof(name), "uzram-work%u", w->nr % 100);
	err = crew_start(&workers, &w->thread, name, worker_main, w);
	if (err)
		batch_free(w->batch);
	return err;
}

/* The accelerator stopped or came back: whoever sleeps may have work now. */
static void accel_changed(bool on)
{
	crew_ring(on ? &offload_crew : &workers, INT_MAX);
}

int drain_start(unsigned nr, bool touch, struct uz_error *e)
{
	int err = 0;

	drain.cpus = count_cpus();
	drain.touch = touch;
	if (!nr)
		nr = drain.cpus < DRAIN_WORKERS_MAX ? drain.cpus : DRAIN_WORKERS_MAX;
	drain.workers = calloc(nr, sizeof(*drain.workers));
	if (!drain.workers)
		return uz_fail(e, ENOMEM, "workers=%u: no memory", nr);
	zcomp_accel_set_hook(accel_changed);
	atomic_store(&drain.running, true);
	for (drain.nr = 0; !err && drain.nr < nr; drain.nr += !err) {
		drain.workers[drain.nr].nr = drain.nr;
		err = start_worker(&drain.workers[drain.nr], touch);
	}
	if (!err)
		return 0;
	drain_stop();
	return uz_fail(e, err, "workers=%u: cannot start them: %s", nr, strerror(err));
}

void drain_stop(void)
{
	if (!drain_running())
		return;
	atomic_store(&drain.stopping, true);
	atomic_store(&drain.running, false);
	crew_ring(&workers, INT_MAX);
	for (unsigned i = 0; i < drain.nr; i++) {
		pthread_join(drain.workers[i].thread, NULL);
		batch_free(drain.workers[i].batch);
	}
	atomic_store(&workers.awake, 0);
	atomic_store(&drain.stopping, false);
	free(drain.workers);
	drain.workers = NULL;
	drain.nr = 0;
}
