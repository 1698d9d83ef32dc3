/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk's life, its limit, its counters. */
#include <limits.h>
#include <stdio.h>
#include <sys/sysinfo.h>

#include "disk_priv.h"

/*
 * Memory that objects may take beyond mem-limit, in percent: what cells and
 * spans leave unused. Beyond it an object takes a larger cell that lies free.
 */
#define POOL_OVERHEAD 3
#define POOL_SLACK    (64u << 10) /* bytes: for small limits */

/* Compaction in a writer's way that was in vain is not repeated before, unless much has gone since. */
#define COMPACT_EVERY (100 * 1000 * 1000ull) /* ns */
#define COMPACT_FOR   (20 * 1000 * 1000ull)  /* ns, if that has made some room */

_Thread_local unsigned disk_shard;

/* Threads take the shards in turn. */
unsigned disk_shard_pick(void)
{
	static _Atomic unsigned next;

	return disk_shard = 1 + atomic_fetch_add(&next, 1) % NR_SHARDS;
}

uint64_t disk_counter(struct disk *disk, enum counter counter)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < NR_SHARDS; i++)
		sum += atomic_load_explicit(&disk->shards[i].c[counter], memory_order_relaxed);
	return sum;
}

/* ns: a moment, in which a busy writer writes more than once. */
#define WRITER_ACTIVE (10 * 1000 * 1000ull)

unsigned disk_writers(struct disk *disk, uint64_t now)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NR_SHARDS; i++)
		n += atomic_load_explicit(&disk->shards[i].wrote_at, memory_order_relaxed) +
			     WRITER_ACTIVE > now;
	return n;
}

bool disk_settle_some(struct disk *disk, unsigned long steps)
{
	return !disk->config.swap && zpool_settle(disk->pool, steps);
}

void disk_settle(struct disk *disk)
{
	disk_settle_some(disk, ULONG_MAX);
}

bool disk_charge(struct disk *disk, int64_t bytes)
{
	uint64_t limit = atomic_load_explicit(&disk->mem_limit, memory_order_relaxed);
	uint64_t used;

	if (bytes <= 0 || !limit) {
		atomic_fetch_add_explicit(&disk->charged, (uint64_t)bytes, memory_order_relaxed);
		return true;
	}
	used = atomic_load_explicit(&disk->charged, memory_order_relaxed);
	do {
		if (used + (uint64_t)bytes > limit)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&disk->charged, &used,
		used + (uint64_t)bytes, memory_order_relaxed, memory_order_relaxed));
	return true;
}

bool io_charge(struct page_io *io, int64_t bytes)
{
	if (atomic_load_explicit(&io->disk->mem_limit, memory_order_relaxed))
		return disk_charge(io->disk, bytes);
	io->charged += bytes;
	return true;
}

static bool charge_leaf(void *opaque, int64_t bytes)
{
	return disk_charge(opaque, bytes);
}

struct room {
	struct zpool *pool;
	uint64_t pages, until; /* before it; ns */
};

/* A writer waits for it: not much longer than it takes to find some room. */
static bool no_room_yet(void *opaque, unsigned done, unsigned total)
{
	const struct room *room = opaque;
	struct zpool_stats st;

	(void)done;
	(void)total;
	if (uz_nsec() < room->until)
		return true;
	zpool_get_stats(room->pool, &st);
	return st.pages >= room->pages;
}

/* compacting.lock held. */
static bool compact_for_room(struct disk *disk)
{
	struct zpool_stats st;
	struct room room = { .pool = disk->pool };

	zpool_get_stats(disk->pool, &st);
	if (st.pages * PAGE_SIZE <= st.charged + st.charged * POOL_OVERHEAD / 100 ||
		(uz_nsec() - disk->compacting.vain_at < COMPACT_EVERY &&
			st.charged + POOL_SLACK > disk->compacting.vain_charged))
		return false;
	room.pages = st.pages;
	room.until = uz_nsec() + COMPACT_FOR;
	if (zpool_compact(disk->pool, no_room_yet, &room) > 0) {
		atomic_fetch_add(&disk->compacting.made, 1);
		return true;
	}
	disk->compacting.vain_at = uz_nsec();
	disk->compacting.vain_charged = st.charged;
	return false;
}

bool disk_compact_for_room(struct disk *disk, unsigned made)
{
	uint64_t limit = atomic_load(&disk->mem_limit);
	bool room = false;

	/* Else it is the limit that refuses, not the pool. */
	if (!limit || atomic_load(&disk->charged) + PAGE_SIZE <= limit) {
		LOCK_SCOPE(&disk->compacting.lock);
		room = atomic_load(&disk->compacting.made) != made || compact_for_room(disk);
	}
	errno = ENOSPC;
	return room;
}

uint64_t disk_compact(struct disk *disk, disk_progress_fn *progress, void *opaque)
{
	return zpool_compact(disk->pool, progress, opaque);
}

void disk_set_limit(struct disk *disk, uint64_t limit)
{
	uint64_t max = limit + limit / 100 * POOL_OVERHEAD + POOL_SLACK;

	atomic_store(&disk->mem_limit, limit);
	zpool_set_max(disk->pool, limit ? max : 0);
	wb_watermarks(disk);
}

static int check_config(const struct disk_config *config, struct uz_error *e)
{
	uint64_t table = config->size / PAGE_SIZE * sizeof(struct slot);
	struct sysinfo si;

	if (config->size == 0 || config->size > (uint64_t)DISK_SIZE_MAX)
		return uz_fail(e, EINVAL, "size=%llu: a disk has 1 to %lld bytes",
			(unsigned long long)config->size, (long long)DISK_SIZE_MAX);
	if (config->swap && sysinfo(&si) == 0 &&
	    table > (uint64_t)si.totalram * si.mem_unit / 2)
		return uz_fail(e, ENOMEM,
			"swap=yes: a disk of %llu bytes needs a slot table of %llu bytes in "
			"memory, more than half of this machine's",
			(unsigned long long)config->size, (unsigned long long)table);
	return 0;
}

/* Codecs stay until the disk goes: a slot may name any of them. */
static int find_codec(struct disk *disk, const struct zcomp_ops *algorithm, int level)
{
	for (unsigned i = 0; i < disk->nr_codecs; i++)
		if (zcomp_backend(disk->codecs[i]) == algorithm &&
			zcomp_level(disk->codecs[i]) == level)
			return (int)i;
	return -1;
}

int disk_set_algorithm(struct disk *disk, const struct zcomp_ops *algorithm, int level,
	struct uz_error *e)
{
	struct zcomp_params params = { .level = level };
	int codec;

	if (level == ZCOMP_LEVEL_UNSET)
		level = algorithm->level_default;
	LOCK_SCOPE(&disk->lock);
	codec = find_codec(disk, algorithm, level);
	if (codec == -1) {
		if (disk->nr_codecs == DISK_CODECS)
			return uz_fail(e, ENOSPC,
				"disk %s has had %d algorithms and levels, and can have no more",
				disk_name(disk), DISK_CODECS);
		codec = (int)disk->nr_codecs;
		disk->codecs[codec] = zcomp_create(algorithm, &params, e->text, sizeof(e->text));
		if (!disk->codecs[codec]) {
			e->code = ENOMEM;
			return -1;
		}
		disk->nr_codecs++;
	}
	atomic_store_explicit(&disk->codec, (unsigned)codec, memory_order_release);
	/* What waits may be for others now, who sleep. */
	if (disk->behind)
		drain_wake(disk);
	return 0;
}

static bool make_stores(struct disk *disk)
{
	struct zpool_config pool = { .reserve = disk->config.size,
		.locked = disk->config.locked,
		.move = page_move,
		.opaque = disk };

	disk->pool = zpool_create(&pool);
	disk->table = table_create(disk->pages);
	if (!disk->pool || !disk->table)
		return false;
	table_on_charge(disk->table, charge_leaf, disk);
	disk->batch = disk->config.batch;
	disk->managed = disk->config.managed;
	disk->behind = !disk->config.through && disk->config.stage >= PAGE_SIZE;
	return !disk->behind || stage_init(&disk->stage, (unsigned)(disk->config.stage / PAGE_SIZE)) == 0;
}

struct disk *disk_create(const struct disk_config *config, struct uz_error *e)
{
	struct disk *disk;

	if (check_config(config, e) == -1)
		return NULL;
	disk = aligned_alloc(128, sizeof(*disk));
	if (!disk) {
		uz_fail(e, ENOMEM, "no memory for a disk");
		return NULL;
	}
	memset(disk, 0, sizeof(*disk));
	disk->config = *config;
	disk->pages = (config->size + PAGE_SIZE - 1) / PAGE_SIZE;
	pthread_mutex_init(&disk->lock, NULL);
	pthread_mutex_init(&disk->scanned.lock, NULL);
	pthread_mutex_init(&disk->compacting.lock, NULL);
	if (disk_set_algorithm(disk, config->algorithm, config->level, e) == -1 ||
		!make_stores(disk)) {
		if (disk->nr_codecs)
			uz_fail(e, ENOMEM, "no address space for a disk of %llu bytes",
				(unsigned long long)disk_size(disk));
		disk_destroy(disk);
		return NULL;
	}
	if (wb_open(disk, e) == -1) {
		disk_destroy(disk);
		return NULL;
	}
	disk->config.backing = NULL; /* the caller's */
	disk_set_limit(disk, config->mem_limit);
	if (disk->behind) {
		zpool_keep_pages(disk->pool, (uint64_t)disk->stage.max * PAGE_SIZE);
		drain_add(&disk->drain, disk);
	}
	return disk;
}

void disk_destroy(struct disk *disk)
{
	if (!disk)
		return;
	if (disk->drain.disk)
		drain_remove(&disk->drain);
	wb_close(disk);
	stage_destroy(&disk->stage);
	table_destroy(disk->table);
	zpool_destroy(disk->pool);
	for (unsigned i = 0; i < disk->nr_codecs; i++)
		zcomp_destroy(disk->codecs[i]);
	pthread_mutex_destroy(&disk->compacting.lock);
	pthread_mutex_destroy(&disk->scanned.lock);
	pthread_mutex_destroy(&disk->lock);
	free(disk);
}

int disk_start(struct disk *disk, struct uz_error *e)
{
	return wb_start(disk, e);
}

void disk_stop(struct disk *disk)
{
	wb_stop(disk);
}

int disk_prepare_swap(struct disk *disk, void (*low)(void *opaque), void *opaque,
	struct uz_error *e)
{
	if (table_populate(disk->table) == -1)
		return uz_fail(e, errno, "swap=yes: disk %s: cannot get memory for the slot table%s",
			disk_name(disk), errno == ENOSPC ? ": mem-limit is smaller than it" : "");
	if (zpool_set_reserve(disk->pool,
		    disk->config.swap_reserve + (uint64_t)disk->stage.max * PAGE_SIZE, low,
		    opaque) == -1)
		return uz_fail(e, errno, "swap=yes: disk %s: cannot fault in swap-reserve=%llu",
			disk_name(disk), (unsigned long long)disk->config.swap_reserve);
	return 0;
}

int disk_refill(struct disk *disk)
{
	return zpool_refill(disk->pool);
}

const char *disk_name(const struct disk *disk)
{
	return disk->config.name[0] ? disk->config.name : "default";
}

bool disk_is_unnamed(const struct disk *disk)
{
	return !disk->config.name[0];
}

uint64_t disk_size(const struct disk *disk)
{
	return atomic_load(&disk->pages) * PAGE_SIZE;
}

static void add_latency(struct counter_shard *shard, struct disk_stat *stat)
{
	for (unsigned op = 0; op < NR_DISK_OPS; op++) {
		stat->latency_sum_ns[op] +=
			atomic_load_explicit(&shard->latency_sum[op], memory_order_relaxed);
		for (unsigned b = 0; b < DISK_LATENCY_BUCKETS; b++)
			stat->latency[op][b] +=
				atomic_load_explicit(&shard->latency[op][b], memory_order_relaxed);
	}
}

/* A request adds what it stored at its end; workers may have made that smaller before. */
static uint64_t charged_now(struct disk *disk)
{
	int64_t charged = (int64_t)atomic_load_explicit(&disk->charged, memory_order_relaxed);

	return charged > 0 ? (uint64_t)charged : 0;
}

void disk_get_stat(struct disk *disk, struct disk_stat *stat)
{
	struct zcomp *comp = disk->codecs[atomic_load(&disk->codec)];
	struct zpool_stats pool;

	zpool_get_stats(disk->pool, &pool);
	*stat = (struct disk_stat){
		.algorithm = zcomp_backend(comp)->name,
		.level = zcomp_level(comp),
		.size = disk_size(disk),
		.limit_used = charged_now(disk),
		.mm = {
			.orig_data_size = disk_counter(disk, C_STORED) * PAGE_SIZE,
			.compr_data_size = pool.bytes,
			.mem_used_total = pool.pages * PAGE_SIZE,
			.mem_limit = atomic_load(&disk->mem_limit),
			.mem_used_max = pool.pages_max * PAGE_SIZE,
			.same_pages = disk_counter(disk, C_SAME),
			.pages_compacted = pool.pages_compacted,
			.huge_pages = disk_counter(disk, C_HUGE),
			.huge_pages_since = disk_counter(disk, C_HUGE_SINCE),
		},
		.io = {
			.failed_reads = disk_counter(disk, C_FAILED_READS),
			.failed_writes = disk_counter(disk, C_FAILED_WRITES),
			.notify_free = disk_counter(disk, C_NOTIFY_FREE),
		},
		.zero_pages = disk_counter(disk, C_ZERO),
		.table_bytes = table_bytes(disk->table),
		.reserve_bytes = pool.reserve_pages * PAGE_SIZE,
		.stage = {
			.behind = disk->behind,
			.pages = atomic_load(&disk->stage.used),
			.pages_max = atomic_load(&disk->stage.used_max),
			.coalesced = disk_counter(disk, C_COALESCED),
			.direct = disk_counter(disk, C_DIRECT),
		},
		.streams = {
			.managed = disk_counter(disk, C_MANAGED),
			.percpu = disk_counter(disk, C_PERCPU),
			.fallback = disk_counter(disk, C_FALLBACK),
			.raw = disk_counter(disk, C_KEPT_RAW),
			.batches = disk_counter(disk, C_BATCHES),
			.batch_pages = disk_counter(disk, C_BATCH_PAGES),
		},
		.reads = disk_counter(disk, C_READS),
		.writes = disk_counter(disk, C_WRITES),
		.trims = disk_counter(disk, C_TRIMS),
	};
	wb_get_stat(disk, stat);
	for (unsigned i = 0; i < BATCH_BUCKETS; i++)
		stat->streams.batch_sizes[i] = atomic_load(&disk->batch_hist[i]);
	for (unsigned i = 0; i < NR_SHARDS; i++)
		add_latency(&disk->shards[i], stat);
}

/* What disk_check() adds up. */
struct sums {
	uint64_t stored, objects, cells, backed;
	log_loc_t *locs; /* of backed pages */
	size_t nr_locs;
};

static bool check_slot(struct disk *disk, struct slot *slot, uint64_t index, struct sums *s)
{
	uint64_t val = slot_val(slot);
	log_loc_t *more;

	if (slot_peek(slot) & SLOT_WRITEBACK)
		return false;
	s->stored++;
	switch (slot_type(slot_peek(slot))) {
	case SLOT_EMPTY:
		s->stored--;
		return true;
	case SLOT_SAME:
		return true;
	case SLOT_OBJECT:
	case SLOT_RAW:
		s->objects++;
		s->cells += zpool_cell(disk->pool, val);
		return zpool_owner(disk->pool, val) == index;
	case SLOT_BACKED:
		if (s->backed == s->nr_locs) {
			s->nr_locs = s->nr_locs * 2 + 1024;
			more = realloc(s->locs, s->nr_locs * sizeof(*more));
			if (!more)
				return false;
			s->locs = more;
		}
		s->locs[s->backed++] = val;
		return true;
	}
	return false;
}

/*
 * The counters' meaning, executable: what the slots hold is what was counted, each object belongs
 * to the slot that refers to it, and so does each record.
 */
bool disk_check(struct disk *disk)
{
	uint64_t i = table_next(disk->table, 0, disk->pages);
	struct sums s = { 0 };
	struct zpool_stats pool;
	bool ok = true;

	wb_hold(disk);
	for (; ok && i < disk->pages; i = table_next(disk->table, i + 1, disk->pages)) {
		struct table_ref ref;

		ok = table_get(disk->table, i, false, &ref);
		if (ok) {
			ok = check_slot(disk, table_slot(&ref, i), i, &s);
			table_put(disk->table, &ref, 0);
		}
	}
	ok = ok && wb_check(disk, s.locs, s.backed);
	zpool_get_stats(disk->pool, &pool);
	ok = ok && zpool_check(disk->pool) && s.stored == disk_counter(disk, C_STORED) &&
	     s.backed == disk_counter(disk, C_BACKED) && s.objects == pool.objects &&
	     s.cells == pool.charged &&
	     s.cells + table_bytes(disk->table) == atomic_load(&disk->charged);
	wb_release(disk);
	free(s.locs);
	return ok;
}
