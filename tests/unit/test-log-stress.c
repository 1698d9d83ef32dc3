/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log used by many threads at once, as a disk does: each slot has a lock, is pinned under it,
 * and read without it. Writers, readers, one that overwrites and frees, and a cleaner; I/O is late
 * and sometimes fails. Usage: test-log-stress [STEPS [SEED]].
 */
#include "log-fixture.h"

#define NR_OWNERS  3000
#define NR_WRITERS 2
#define NR_READERS 3

enum where { NOWHERE, MEMORY, LOGGED };

static struct slot {
	pthread_mutex_t lock;
	enum where where;
	uint16_t len;
	uint64_t seed;
	log_loc_t loc;
} slots[NR_OWNERS];

static struct test_log t;
static uint64_t steps = 20000, seed0 = 1;
static _Atomic bool stop;
static _Atomic uint64_t nr_read, nr_failed, nr_moved, nr_cleaned, nr_full;
static _Atomic unsigned nr_running;

static bool written(void *opaque, uint64_t owner, uint64_t cookie, log_loc_t loc, int err)
{
	struct slot *s = &slots[owner];

	LOCK_SCOPE(&s->lock);
	if (err || s->seed != cookie || s->where != MEMORY)
		return false;
	s->where = LOGGED;
	s->loc = loc;
	return true;
}

static bool move(void *opaque, uint64_t owner, log_loc_t from, log_loc_t to)
{
	struct slot *s = &slots[owner];

	LOCK_SCOPE(&s->lock);
	if (s->where != LOGGED || s->loc != from)
		return false;
	if (to) {
		s->loc = to;
		nr_moved++;
	}
	return true;
}

static void *writer_main(void *arg)
{
	uint64_t state = seed0 * 77 + (uintptr_t)arg;
	unsigned char bytes[LOG_MAX_LEN];
	struct log_writer *w = log_writer_create(t.log,
		&(struct log_writer_config){ .written = written, .chunks = 2 + (uintptr_t)arg });

	for (uint64_t i = 0; i < steps && !stop; i++) {
		uint64_t owner = rng_next(&state) % NR_OWNERS;
		struct slot *s = &slots[owner];

		if (log_reserve(w, LOG_MAX_LEN) == -1) {
			if (errno == ESHUTDOWN)
				break;
			nr_full++;
			usleep(500);
			continue;
		}
		pthread_mutex_lock(&s->lock);
		if (s->where == MEMORY) {
			fill_bytes(bytes, s->len, s->seed);
			if (log_append(w, owner, 1, s->seed, bytes, s->len) == -1)
				DIE("log_append: %s", strerror(errno));
		}
		pthread_mutex_unlock(&s->lock);
		if (i % 200 == 0)
			log_commit(w);
		else if (i % 50 == 0)
			log_flush(w);
	}
	log_writer_destroy(w);
	nr_running--;
	return NULL;
}

static void *reader_main(void *arg)
{
	uint64_t state = seed0 * 99 + (uintptr_t)arg;

	while (nr_running) {
		struct log_req reqs[8];
		uint64_t seeds[8];
		struct log_reading reading;
		unsigned n = 0;
		uint64_t owner = rng_next(&state);

		for (unsigned i = 0; i < 8; i++) {
			struct slot *s = &slots[++owner % NR_OWNERS];

			LOCK_SCOPE(&s->lock);
			if (s->where != LOGGED)
				continue;
			seeds[n] = s->seed;
			reqs[n++] = (struct log_req){ .loc = s->loc, .owner = owner % NR_OWNERS };
			log_pin(t.log, s->loc);
		}
		log_read(t.log, reqs, n, &reading);
		for (unsigned i = 0; i < n; i++) {
			if (reqs[i].error == EIO || reqs[i].error == ENOTCONN)
				nr_failed++;
			else if (reqs[i].error)
				DIE("read: %s", strerror(reqs[i].error));
			else if (!bytes_are(reqs[i].bytes, log_loc_len(reqs[i].loc), seeds[i]))
				DIE("owner %lu: wrong bytes", (unsigned long)reqs[i].owner);
			else
				nr_read++;
		}
		log_read_end(&reading);
		for (unsigned i = 0; i < n; i++)
			log_unpin(t.log, reqs[i].loc);
	}
	return NULL;
}

static void *owner_main(void *arg)
{
	uint64_t state = seed0 * 55;

	while (nr_running) {
		struct slot *s = &slots[rng_next(&state) % NR_OWNERS];
		bool keep = rng_next(&state) % 8;

		pthread_mutex_lock(&s->lock);
		if (s->where == LOGGED)
			log_free(t.log, s->loc);
		s->where = keep ? MEMORY : NOWHERE;
		s->seed = rng_next(&state);
		s->len = 1 + s->seed % LOG_MAX_LEN;
		pthread_mutex_unlock(&s->lock);
		usleep(50);
	}
	return NULL;
}

static void *cleaner_main(void *arg)
{
	struct log_stats st;

	while (nr_running) {
		nr_cleaned += log_clean(t.log, 4);
		log_get_stats(t.log, &st);
		usleep(300);
	}
	return NULL;
}

static void start(pthread_t *thread, void *(*main_fn)(void *), uintptr_t arg)
{
	int err = pthread_create(thread, NULL, main_fn, (void *)arg);

	if (err)
		DIE("pthread_create: %s", strerror(err));
}

static void check(void)
{
	static log_loc_t locs[NR_OWNERS];
	size_t n = 0;

	for (unsigned i = 0; i < NR_OWNERS; i++)
		if (slots[i].where == LOGGED)
			locs[n++] = slots[i].loc;
	if (!log_check(t.log, locs, n))
		DIE("log_check");
}

static void run(const struct backing_config *bc, bool stop_early)
{
	pthread_t threads[NR_WRITERS + NR_READERS + 2];
	unsigned n = 0;

	t = test_log_open(bc, seed0, &(struct log_config){ .move = move });
	for (unsigned i = 0; i < NR_OWNERS; i++) {
		slots[i] = (struct slot){ .where = MEMORY, .seed = i + 1, .len = 1 + i };
		pthread_mutex_init(&slots[i].lock, NULL);
	}
	for (unsigned f = FAULT_READ; f <= FAULT_NOSPC; f++)
		backing_fault_set(
			t.backing, f, &(struct backing_fault_rule){ .permille = 5, .times = -1 });
	backing_fault_set(t.backing, FAULT_DELAY,
		&(struct backing_fault_rule){ .permille = 300, .times = -1, .delay_us = 1000 });
	stop = false;
	nr_running = NR_WRITERS;
	for (unsigned i = 0; i < NR_WRITERS; i++)
		start(&threads[n++], writer_main, i);
	for (unsigned i = 0; i < NR_READERS; i++)
		start(&threads[n++], reader_main, i);
	start(&threads[n++], owner_main, 0);
	start(&threads[n++], cleaner_main, 0);
	if (stop_early) {
		uint64_t before;

		/* Requests that never end, until they are told to. */
		usleep(20000);
		backing_fault_set(t.backing, FAULT_HANG,
			&(struct backing_fault_rule){ .permille = 500, .times = -1 });
		usleep(50000);
		stop = true;
		before = uz_nsec();
		log_stop(t.log);
		while (n)
			pthread_join(threads[--n], NULL);
		if (uz_nsec() - before > 20000000000)
			DIE("it took %lu ms to stop",
				(unsigned long)(uz_nsec() - before) / 1000000);
	}
	while (n)
		pthread_join(threads[--n], NULL);
	check();
	printf("%s: %lu read, %lu failed, %lu moved, %lu cleaned, %lu times full\n", bc->where,
		nr_read, nr_failed, nr_moved, nr_cleaned, nr_full);
	if (!nr_read || !nr_moved)
		DIE("something was never tried");
	test_log_close(&t);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		steps = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		seed0 = strtoull(argv[2], NULL, 0);
	run(&(struct backing_config){ .where = test_path("uring"), .size = 4 * MIB }, false);
	run(
		&(struct backing_config){
			.where = test_path("threads"), .size = 4 * MIB, .no_uring = true },
		false);
	steps *= 100;
	run(&(struct backing_config){ .where = test_path("stopped"), .size = 4 * MIB }, true);
	return 0;
}
