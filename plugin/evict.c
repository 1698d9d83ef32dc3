/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The automatic pass: when what is charged reaches `high`, the pages that were not used for longest
 * go to the backing, until it is down to `low`. A disk's thread does that, and cleans the log.
 *
 * Writers are slowed on the way from `high` to the limit. One that is refused all the same asks for
 * room and waits as long as rounds of this thread free anything: so ENOSPC comes only when two
 * whole rounds, begun after the question, have freed nothing.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np() */
#endif
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "disk_priv.h"

#define MS UINT64_C(1000000) /* ns */

#define SLOW_MAX   (100 * MS) /* what a write is slowed at most, for memory */
#define SLOW_CLEAN (4 * MS)   /* and for the log's sake */
#define SLOW_STEP  (2 * MS)
#define WAIT_STEP  (20 * MS) /* for room, until the writer tries again anyway */
#define STAGE_WAIT (20 * MS) /* for staged pages, where nothing else can go */

/* Freed beyond `low` when somebody asks for room: bytes. */
#define ROOM_MORE (64u << 10)

/* A round that could free nothing is not repeated before, unless a writer waits. */
#define STUCK_FOR (50 * MS)

/* Cleaning, when the backing does not take what it writes. */
#define FAILING_FOR (1000 * MS)

/* Segments cleaned at once, beside eviction (a slice of pages writes a part of one), and else. */
#define CLEAN_STEP  2
#define CLEAN_ROUND 8

/* The thread looks for itself, for something to clean. */
#define LOOK_EVERY (1000 * MS)

/* Ages in seconds up to here are told apart, beyond that by powers of two. */
#define AGES_EXACT 64
#define AGES	   (AGES_EXACT + 26)

/* --- which pages --- */

static unsigned age_bucket(uint32_t age)
{
	return age < AGES_EXACT ? age : AGES_EXACT + 26 - (unsigned)__builtin_clz(age) - 1;
}

/* The youngest age in the bucket. */
static uint32_t bucket_age(unsigned bucket)
{
	return bucket < AGES_EXACT ? bucket : UINT32_C(1) << (bucket - AGES_EXACT + 6);
}

struct evict_ages {
	struct disk *disk;
	uint32_t now;
	uint64_t bytes[AGES][WB_CLASSES];
};

static uint32_t scan_ages(void *opaque, uint64_t index, struct slot *slot, uint32_t flags)
{
	struct evict_ages *ages = opaque;
	uint32_t age = wb_age(ages->now, slot->ac_time);
	size_t cell;

	(void)index;
	if (has_object(flags) && !(flags & (SLOT_STAGED | SLOT_WRITEBACK))) {
		cell = zpool_cell(ages->disk->pool, slot_val(slot));
		ages->bytes[age_bucket(age)][wb_class(cell)] += cell;
	}
	return flags;
}

/*
 * The oldest pages that make up `need` bytes; of the last bucket of ages the larger ones. False:
 * there are none at all.
 */
static bool choose_age(const struct evict_ages *ages, uint64_t need, struct wb_filter *filter)
{
	uint64_t sum = 0;

	for (int a = AGES - 1; a >= 0; a--)
		for (int c = WB_CLASSES - 1; c > 0; c--) {
			sum += ages->bytes[a][c];
			filter->age = bucket_age((unsigned)a);
			filter->class = (unsigned)c;
			if (sum < need)
				continue;
			/* Ages that only a range names: then all of it. */
			if (a >= AGES_EXACT)
				filter->class = 0;
			return true;
		}
	return sum > 0;
}

/* --- cleaning --- */

static uint64_t write_errors(struct disk *disk)
{
	struct log_stats st;

	log_get_stats(disk->log, &st);
	return st.write_errors;
}

/*
 * A few segments; `round` is held. False: nothing to do, or nothing could be done, and so it is not
 * tried again for a while.
 */
static bool clean(struct disk *disk, unsigned max)
{
	struct writeback *wb = &disk->wb;
	uint64_t errors;
	bool done;

	if (wb->hold || !log_clean_wanted(disk->log) || uz_nsec() < wb->evict.clean_after)
		return false;
	wb_turn(disk);
	errors = write_errors(disk);
	done = log_clean(disk->log, max) > 0;
	errors = write_errors(disk) - errors;
	wb_turn_end(disk);
	if (!done)
		wb->evict.clean_after = uz_nsec() + (errors ? FAILING_FOR : STUCK_FOR);
	return done;
}

static bool clean_round(struct disk *disk)
{
	LOCK_SCOPE(&disk->wb.round);
	return clean(disk, CLEAN_ROUND);
}

/* --- a round --- */

static uint64_t charged(struct disk *disk)
{
	return atomic_load_explicit(&disk->charged, memory_order_relaxed);
}

/* Down to where; further if somebody waits for room all the same. */
static uint64_t target(struct disk *disk)
{
	uint64_t low = atomic_load(&disk->wb.low_bytes), used = charged(disk);

	if (!atomic_load(&disk->wb.evict.waiters) || low > used)
		return low;
	return used - min_u64(used, used - low > ROOM_MORE ? used - low : ROOM_MORE);
}

struct eviction {
	struct disk *disk;
	uint64_t target; /* bytes charged */
};

static bool target_reached(void *opaque, double share)
{
	const struct eviction *ev = opaque;

	(void)share;
	/* In step with what is written, so that the log never grows much beyond its content. */
	clean(ev->disk, CLEAN_STEP);
	return charged(ev->disk) <= ev->target;
}

/* Oldest first, down to the target. */
static void evict(struct disk *disk)
{
	struct eviction ev = { disk, target(disk) };
	struct disk_wb_result result = { 0 };
	struct wb_filter filter = { .to = WB_CLASSES - 1 };
	struct evict_ages *ages = disk->wb.evict.ages;
	uint64_t used = charged(disk);

	if (used <= ev.target)
		return;
	memset(ages, 0, sizeof(*ages));
	ages->disk = disk;
	ages->now = filter.now = uz_seconds();
	if (!wb_scan(disk, 0, atomic_load(&disk->pages), scan_ages, ages, NULL))
		return;
	if (!choose_age(ages, used - ev.target, &filter)) {
		/* All that can go may be on its way already, sent by another pass. */
		wb_turn(disk);
		wb_turn_end(disk);
		return;
	}
	wb_run(disk, &filter, false, target_reached, &ev, &result);
	if (result.pages)
		atomic_fetch_add(&disk->wb.passes, 1);
	/* An error or two is no reason to give up; many are: then it pauses. */
	if (result.errors && !disk->wb.paused)
		evict_freed(disk, 1);
}

static bool compact_go_on(void *opaque, unsigned done, unsigned total)
{
	struct disk *disk = opaque;

	(void)done;
	(void)total;
	return !disk->wb.hold;
}

/*
 * What was evicted lay anywhere. When the pool nears its own bound, in pages, its free cells are
 * brought together.
 */
static void compact(struct disk *disk)
{
	uint64_t limit = atomic_load(&disk->mem_limit), bytes;
	struct zpool_stats st;

	zpool_get_stats(disk->pool, &st);
	bytes = st.pages * PAGE_SIZE;
	if (!limit || bytes < limit - limit / 16 ||
		bytes <= st.charged + st.charged / 32 + ROOM_MORE)
		return;
	bytes = zpool_compact(disk->pool, compact_go_on, disk) * PAGE_SIZE;
	if (bytes)
		evict_freed(disk, bytes);
}

/*
 * Pages that wait for compression, or to be listed for it by a request that goes on, cannot go yet,
 * but soon can: as long as there are any, there is hope.
 */
static void wait_for_stage(struct disk *disk)
{
	uint64_t cut;

	if (stage_cut(&disk->stage, &cut)) {
		drain_wake(disk);
		stage_wait(&disk->stage, cut, STAGE_WAIT);
	}
	evict_freed(disk, 1);
}

static bool paused(struct disk *disk)
{
	return disk->wb.paused && uz_nsec() < disk->wb.retry_at;
}

static void round_of(struct disk *disk)
{
	struct writeback *wb = &disk->wb;
	uint64_t before;
	bool staged;

	pthread_mutex_lock(&wb->evict.lock);
	wb->evict.started++;
	before = wb->evict.freed;
	pthread_mutex_unlock(&wb->evict.lock);
	staged = disk->behind && drain_running() && atomic_load(&disk->stage.used);

	pthread_mutex_lock(&wb->round);
	if (!wb->hold && wb->automatic && !paused(disk))
		evict(disk);
	if (!wb->hold)
		compact(disk);
	pthread_mutex_unlock(&wb->round);
	if (staged && wb->evict.freed == before)
		wait_for_stage(disk);

	LOCK_SCOPE(&wb->evict.lock);
	wb->evict.stuck = wb->evict.freed == before;
	if (wb->evict.stuck)
		wb->evict.stuck_until = uz_nsec() + STUCK_FOR;
	wb->evict.finished = wb->evict.started;
	pthread_cond_broadcast(&wb->evict.room);
}

/* --- the thread --- */

static bool wanted(struct disk *disk)
{
	struct writeback *wb = &disk->wb;

	if (atomic_load(&wb->evict.waiters))
		return true;
	return charged(disk) > atomic_load(&wb->high_bytes) &&
	       !(wb->evict.stuck && uz_nsec() < wb->evict.stuck_until) && !paused(disk);
}

static void timed_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns)
{
	uint64_t until = uz_nsec() + ns;
	struct timespec ts = { .tv_sec = (time_t)(until / 1000000000),
		.tv_nsec = (long)(until % 1000000000) };

	pthread_cond_timedwait(cond, lock, &ts);
}

static void rest(struct disk *disk, uint64_t ns)
{
	struct writeback *wb = &disk->wb;

	LOCK_SCOPE(&wb->evict.lock);
	atomic_store(&wb->evict.asleep, true);
	if (!wb->evict.stop && !wb->evict.kicked && !wanted(disk))
		timed_wait(&wb->evict.wake, &wb->evict.lock, ns);
	atomic_store(&wb->evict.asleep, false);
	atomic_store(&wb->evict.kicked, false);
}

static void *evict_main(void *opaque)
{
	struct disk *disk = opaque;
	struct writeback *wb = &disk->wb;

	while (!wb->evict.stop) {
		bool busy = wanted(disk);

		if (busy)
			round_of(disk);
		busy = clean_round(disk) || busy;
		if (!busy)
			rest(disk, LOOK_EVERY);
		else if (wb->hold)
			rest(disk, MS);
	}
	return NULL;
}

int evict_start(struct disk *disk, struct uz_error *e)
{
	struct writeback *wb = &disk->wb;
	pthread_condattr_t attr;
	sigset_t all, old;
	int err;

	/* Now, not when memory is short. */
	wb->evict.ages = calloc(1, sizeof(*wb->evict.ages));
	if (!wb->evict.ages)
		return uz_fail(e, ENOMEM, "disk %s: no memory for its thread", disk_name(disk));
	pthread_mutex_init(&wb->evict.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&wb->evict.wake, &attr);
	pthread_cond_init(&wb->evict.room, &attr);
	pthread_condattr_destroy(&attr);
	/* Signals are the server's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&wb->evict.thread, NULL, evict_main, disk);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		free(wb->evict.ages);
		return uz_fail(e, err, "disk %s: cannot start its thread: %s", disk_name(disk),
			strerror(err));
	}
	pthread_setname_np(wb->evict.thread, "uzram-evict");
	wb->evict.running = true;
	return 0;
}

void evict_stop(struct disk *disk)
{
	struct writeback *wb = &disk->wb;

	if (!wb->evict.running)
		return;
	LOCK_SCOPE(&wb->evict.lock);
	pthread_cond_broadcast(&wb->evict.wake);
	pthread_cond_broadcast(&wb->evict.room);
}

void evict_join(struct disk *disk)
{
	struct writeback *wb = &disk->wb;

	if (!wb->evict.running)
		return;
	pthread_join(wb->evict.thread, NULL);
	wb->evict.running = false;
	free(wb->evict.ages);
	pthread_cond_destroy(&wb->evict.room);
	pthread_cond_destroy(&wb->evict.wake);
	pthread_mutex_destroy(&wb->evict.lock);
}

/* --- what others call --- */

void evict_kick(struct disk *disk)
{
	struct writeback *wb = &disk->wb;

	if (!wb->evict.running || !atomic_load(&wb->evict.asleep) ||
		(wb->evict.stuck && uz_nsec() < wb->evict.stuck_until))
		return;
	LOCK_SCOPE(&wb->evict.lock);
	atomic_store(&wb->evict.kicked, true);
	pthread_cond_signal(&wb->evict.wake);
}

void evict_freed(struct disk *disk, uint64_t bytes)
{
	struct writeback *wb = &disk->wb;

	atomic_fetch_add(&wb->evict.freed, bytes);
	atomic_store(&wb->evict.stuck, false);
	if (!atomic_load(&wb->evict.waiters))
		return;
	LOCK_SCOPE(&wb->evict.lock);
	pthread_cond_broadcast(&wb->evict.room);
}

/* Between `slow_bytes` and the limit: more and more, in ns. */
static uint64_t slowness(struct disk *disk)
{
	uint64_t from = atomic_load_explicit(&disk->wb.slow_bytes, memory_order_relaxed);
	uint64_t limit = atomic_load_explicit(&disk->mem_limit, memory_order_relaxed);
	uint64_t used = charged(disk);
	double share;

	if (used <= from || limit <= from || disk->wb.evict.stuck || disk->wb.evict.stop)
		return 0;
	share = (double)(used - from) / (double)(limit - from);
	return share >= 1 ? SLOW_MAX : (uint64_t)(share * share * (double)SLOW_MAX);
}

/* In the second half of what the cleaner's aim leaves to the promise, if it does what it can. */
static uint64_t cleaner_lags(struct disk *disk)
{
	double share;

	if (!disk->wb.evict.running || disk->wb.evict.stop || disk->wb.hold)
		return 0;
	share = log_pressure(disk->log) * 2 - 1;
	if (share <= 0 || uz_nsec() < disk->wb.evict.clean_after)
		return 0;
	return share >= 1 ? SLOW_CLEAN : (uint64_t)(share * (double)SLOW_CLEAN);
}

static uint64_t slow_for(struct disk *disk)
{
	uint64_t memory = slowness(disk);

	return memory ? memory : cleaner_lags(disk);
}

void evict_throttle(struct disk *disk, struct page_io *io)
{
	uint64_t start, slept = 0, slow = slow_for(disk);

	if (likely(!slow))
		return;
	evict_kick(disk);
	start = uz_nsec();
	while (slept < slow) {
		uint64_t step = min_u64(slow - slept, SLOW_STEP);
		struct timespec ts = { .tv_nsec = (long)step };

		nanosleep(&ts, NULL);
		slept = uz_nsec() - start;
		slow = slow_for(disk);
	}
	io->counts[C_THROTTLED]++;
	io->counts[C_THROTTLED_NS] += (int64_t)slept;
}

/* Longer than a vanished NBD server is waited for (backing.h), so that its errors come first. */
uint64_t evict_patience = 40 * 1000 * MS;

/* Under the lock: from now on two rounds, `last` for the last time. */
static void wait_anew(struct writeback *wb, struct room_wait *wait, bool last)
{
	*wait = (struct room_wait){ .waits = true,
		.last = last,
		.freed = wb->evict.freed,
		.round = wb->evict.started + 2,
		.until = uz_nsec() + evict_patience };
}

/*
 * Has anything been freed since the request asked, or will it be? With no hope left it may try once
 * more: what made room may have been others' doing. A backing that hangs is no hope for ever. Under
 * the lock.
 */
static bool hope(struct writeback *wb, struct room_wait *wait)
{
	bool freed = wb->evict.freed != wait->freed;

	if (!freed && wb->evict.finished < wait->round)
		return uz_nsec() < wait->until;
	if (!freed && wait->last)
		return false;
	wait_anew(wb, wait, !freed);
	return true;
}

bool evict_wait(struct page_io *io)
{
	struct writeback *wb = &io->disk->wb;
	bool again;

	errno = ENOSPC;
	if (!wb->evict.running || !wb->automatic || wb->evict.stop)
		return false;
	io_stage_end(io); /* or nobody would ever compress what it has staged */
	io_stream_put(io);
	atomic_fetch_add(&wb->evict.waiters, 1);
	pthread_mutex_lock(&wb->evict.lock);
	if (!io->wait.waits)
		wait_anew(wb, &io->wait, false);
	pthread_cond_signal(&wb->evict.wake);
	timed_wait(&wb->evict.room, &wb->evict.lock, WAIT_STEP);
	again = !wb->evict.stop && hope(wb, &io->wait);
	pthread_mutex_unlock(&wb->evict.lock);
	atomic_fetch_sub(&wb->evict.waiters, 1);
	errno = ENOSPC;
	return again;
}
