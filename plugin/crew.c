/* SPDX-License-Identifier: BSD-3-Clause */
/* Sleeping and waking of the threads that drain stages: see drain_priv.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np() */
#endif
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "drain_priv.h"

#define QUIET 50 /* naps without work, until all sleep */

void crew_ring(struct crew *crew, int how_many)
{
	atomic_fetch_add(&crew->bell, 1);
	syscall(SYS_futex, &crew->bell, FUTEX_WAKE_PRIVATE, how_many, NULL, NULL, 0);
}

static void sleep_on(struct crew *crew, uint32_t bell, long ns)
{
	struct timespec timeout = { .tv_nsec = ns };

	syscall(SYS_futex, &crew->bell, FUTEX_WAIT_PRIVATE, bell, ns ? &timeout : NULL, NULL, 0);
}

void crew_rest(struct crew *crew, uint32_t bell, unsigned *naps, bool (*any_work)(void),
	bool (*quiet)(void))
{
	bool napper = !atomic_exchange(&crew->napper, true);

	atomic_fetch_sub(&crew->awake, 1);
	if (!napper) {
		sleep_on(crew, bell, 0);
	} else if (++*naps < QUIET) {
		sleep_on(crew, bell, NAP);
	} else if (quiet()) {
		--*naps; /* the caller looks for work first */
	} else {
		atomic_store(&crew->asleep, true);
		if (!any_work())
			sleep_on(crew, bell, 0);
		atomic_store(&crew->asleep, false);
		*naps = 0;
	}
	atomic_fetch_add(&crew->awake, 1);
	if (napper)
		atomic_store(&crew->napper, false);
}

int crew_start(struct crew *crew, pthread_t *thread, const char *name, void *(*main)(void *),
	void *opaque)
{
	sigset_t all, old;
	int err;

	atomic_fetch_add(&crew->awake, 1);
	/* Signals are nbdkit's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, NULL, main, opaque);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		atomic_fetch_sub(&crew->awake, 1);
	else
		pthread_setname_np(*thread, name);
	return err;
}
