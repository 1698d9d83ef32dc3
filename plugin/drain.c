/* SPDX-License-Identifier: BSD-3-Clause */
/* See drain.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity() */
#endif
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "batch.h"
#include "swap.h"

#define NAP   (2 * 1000 * 1000) /* ns */
#define QUIET 50 /* naps without work, until all sleep */

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
	_Atomic bool running;
	_Atomic uint32_t bell;	 /* futex: rung to wake workers */
	_Atomic unsigned awake;
	_Atomic bool napper;	 /* one of those asleep will look by itself */
	_Atomic bool asleep;	 /* all sleep until the bell rings */
} drain = { .lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER };

static void ring(int how_many)
{
	atomic_fetch_add(&drain.bell, 1);
	syscall(SYS_futex, &drain.bell, FUTEX_WAKE_PRIVATE, how_many, NULL, NULL, 0);
}

static void sleep_on_bell(uint32_t bell, long ns)
{
	struct timespec timeout = { .tv_nsec = ns };

	syscall(SYS_futex, &drain.bell, FUTEX_WAIT_PRIVATE, bell, ns ? &timeout : NULL, NULL, 0);
}

void drain_pushed(unsigned waiting, unsigned batch)
{
	if (unlikely(atomic_load_explicit(&drain.asleep, memory_order_relaxed)) ||
		(waiting >= batch && !atomic_load_explicit(&drain.awake, memory_order_relaxed)))
		ring(1);
}

void drain_wake(void)
{
	ring(1);
}

bool drain_running(void)
{
	return atomic_load_explicit(&drain.running, memory_order_relaxed);
}

unsigned drain_workers(void)
{
	return drain_running() ? drain.nr : 0;
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

static void leave(struct drain_client *client)
{
	LOCK_SCOPE(&drain.lock);
	if (--client->users == 0)
		pthread_cond_broadcast(&drain.left);
}

/* The next one that has work, from the worker's own place in the list on; marked as used. */
static struct drain_client *next_client(unsigned start)
{
	struct drain_client *client, *first = NULL;
	unsigned i = 0;

	LOCK_SCOPE(&drain.lock);
	for (client = drain.clients; client; client = client->next, i++) {
		if (!stage_waiting(&client->disk->stage))
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

static uint64_t thread_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

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

/* More than we can do now, and a CPU that writers leave alone: another worker helps. */
static void call_help(struct disk *disk, unsigned left, uint64_t now)
{
	unsigned awake = atomic_load_explicit(&drain.awake, memory_order_relaxed);

	if (left >= atomic_load_explicit(&disk->batch, memory_order_relaxed) &&
		awake < drain.nr && awake + disk_writers(disk, now) < drain.cpus)
		ring(1);
}

static bool work(struct worker *w, unsigned *turn)
{
	struct drain_client *client = next_client((*turn)++);
	uint64_t cpu, wall;
	unsigned left;

	if (!client) {
		*turn = 0;
		return false;
	}
	cpu = thread_cpu();
	wall = uz_nsec();
	if (batch_run(w->batch, client->disk, &left)) {
		uint64_t now = uz_nsec();

		judge(w, client->disk, now, now - wall, thread_cpu() - cpu);
		call_help(client->disk, left, now);
	}
	leave(client);
	return true;
}

/* Each disk's, with no work to be done: memory that only staging needed. */
static void settle(void)
{
	struct drain_client *client;
	unsigned i, n = 0;

	do {
		pthread_mutex_lock(&drain.lock);
		for (client = drain.clients, i = 0; client && i < n; i++)
			client = client->next;
		if (client)
			client->users++;
		pthread_mutex_unlock(&drain.lock);
		if (client) {
			disk_settle(client->disk);
			leave(client);
		}
		n++;
	} while (client);
}

static bool any_work(void)
{
	struct drain_client *client = next_client(0);

	if (client)
		leave(client);
	return client;
}

/*
 * Until there may be work. The bell's value was read before work was looked for; and a writer that
 * pushes after any_work() has looked sees that all are asleep, as both take the stage's lock.
 */
static void rest(struct worker *w, uint32_t bell, unsigned *naps)
{
	bool napper = !atomic_exchange(&drain.napper, true);

	w->wall = w->cpu = 0;
	atomic_fetch_sub(&drain.awake, 1);
	if (!napper) {
		sleep_on_bell(bell, 0);
	} else if (++*naps < QUIET) {
		sleep_on_bell(bell, NAP);
	} else {
		settle();
		atomic_store(&drain.asleep, true);
		if (!any_work())
			sleep_on_bell(bell, 0);
		atomic_store(&drain.asleep, false);
		*naps = 0;
	}
	atomic_fetch_add(&drain.awake, 1);
	if (napper)
		atomic_store(&drain.napper, false);
}

static void *worker_main(void *opaque)
{
	struct worker *w = opaque;
	unsigned naps = 0, turn = w->nr;

	if (drain.touch)
		swap_warm_thread();
	for (;;) {
		/* In this order: drain_stop() rings once, when it has said that it is over. */
		uint32_t bell = atomic_load(&drain.bell);

		if (!drain_running())
			break;
		if (work(w, &turn))
			naps = 0;
		else
			rest(w, bell, &naps);
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

static int start_worker(struct worker *w)
{
	sigset_t all, old;
	char name[16];
	int err;

	/* Signals are nbdkit's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return err;
	snprintf(name, sizeof(name), "uzram-work%u", w->nr % 100);
	pthread_setname_np(w->thread, name);
	return 0;
}

int drain_start(unsigned workers, bool touch, struct uz_error *e)
{
	int err = 0;

	drain.cpus = count_cpus();
	drain.touch = touch;
	if (!workers)
		workers = drain.cpus < DRAIN_WORKERS_MAX ? drain.cpus : DRAIN_WORKERS_MAX;
	drain.workers = calloc(workers, sizeof(*drain.workers));
	if (!drain.workers)
		return uz_fail(e, ENOMEM, "workers=%u: no memory", workers);
	atomic_store(&drain.running, true);
	atomic_store(&drain.asleep, false);
	for (drain.nr = 0; !err && drain.nr < workers; drain.nr += !err) {
		struct worker *w = &drain.workers[drain.nr];

		w->nr = drain.nr;
		w->batch = batch_create(w->nr, touch);
		atomic_fetch_add(&drain.awake, 1);
		err = w->batch ? start_worker(w) : ENOMEM;
		if (err) {
			atomic_fetch_sub(&drain.awake, 1);
			batch_free(w->batch);
		}
	}
	if (!err)
		return 0;
	drain_stop();
	return uz_fail(e, err, "workers=%u: cannot start them: %s", workers, strerror(err));
}

void drain_stop(void)
{
	if (!drain_running())
		return;
	atomic_store(&drain.running, false);
	ring(INT_MAX);
	for (unsigned i = 0; i < drain.nr; i++) {
		pthread_join(drain.workers[i].thread, NULL);
		batch_free(drain.workers[i].batch);
	}
	atomic_store(&drain.awake, 0);
	free(drain.workers);
	drain.workers = NULL;
	drain.nr = 0;
}
