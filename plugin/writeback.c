/* SPDX-License-Identifier: BSD-3-Clause */
/* See writeback.h: choosing pages, and sending them. */
#include <stdio.h>

#include "disk_priv.h"

/* Pages chosen at once, in memory. */
#define CANDIDATES (128u << 10)
/* A candidate: its class, so that the largest comes first, over its index. */
#define CLASS_SHIFT 56
#define INDEX_MASK  ((UINT64_C(1) << CLASS_SHIFT) - 1)

/* How often the log is cleaned for a page, 2 segments each time. */
#define CLEAN_TRIES 4

/* I/Os failed, one after the other, until writeback pauses; for how long, in seconds. */
#define PAUSE_AFTER 8
#define PAUSE_MIN   1
#define PAUSE_MAX   60

/* A record's: its token, whether it was paid for from the limit, the chunk it went with. */
#define COOKIE_PAID	   (UINT64_C(1) << 16)
#define COOKIE_CHUNK_SHIFT 17

struct wb_pass {
	struct disk *disk;
	struct wb_filter *filter;
	struct page_io out, back; /* pages that are sent; outcomes */
	unsigned pending;	  /* sent, outcome unknown */
	unsigned unsent;	  /* of those, not even given to the backing */
	struct disk_wb_result *result;
	uint64_t *candidates;
	size_t nr, max;
	uint64_t seen, total; /* candidates, for the share that is done */
	bool (*enough)(void *opaque, double share);
	void *opaque;
	uint64_t counts[WB_CLASSES]; /* pages of each class */
	bool by_class;		     /* candidates are to be sorted */
	enum wb_end end;
};

/* --- turns --- */

void wb_turn(struct disk *disk)
{
	struct writeback *wb = &disk->wb;
	uint64_t mine;

	LOCK_SCOPE(&wb->turn_lock);
	mine = wb->turn_next++;
	while (wb->turn_now != mine)
		pthread_cond_wait(&wb->turn_cond, &wb->turn_lock);
}

void wb_turn_end(struct disk *disk)
{
	LOCK_SCOPE(&disk->wb.turn_lock);
	disk->wb.turn_now++;
	pthread_cond_broadcast(&disk->wb.turn_cond);
}

/* --- choosing --- */

static bool in_ranges(const struct disk_wb_request *request, uint64_t index)
{
	for (size_t i = 0; i < request->nr_ranges; i++)
		if (index >= request->ranges[i].from && index <= request->ranges[i].to)
			return true;
	return false;
}

static bool mode_takes(unsigned modes, uint32_t flags)
{
	bool raw = slot_type(flags) == SLOT_RAW, idle = flags & SLOT_IDLE;

	/* Every algorithm that the disk has tried has failed on a page that is raw. */
	return modes & WB_ALL || (modes & (WB_HUGE | WB_INCOMPRESSIBLE) && raw) ||
	       (modes & WB_IDLE && idle) || (modes & WB_HUGE_IDLE && raw && idle);
}

bool wb_wants(const struct wb_filter *filter, uint64_t index, uint32_t flags, uint32_t ac_time,
	size_t cell)
{
	unsigned class = wb_class(cell);
	uint32_t age;

	if (class < filter->from || class > filter->to)
		return false;
	if (filter->request)
		return mode_takes(filter->request->modes, flags) ||
		       in_ranges(filter->request, index);
	age = wb_age(filter->now, ac_time);
	return age > filter->age || (age == filter->age && class >= filter->class);
}

static void scan_leaf(struct disk *disk, struct table_ref *ref, uint64_t index, uint64_t end,
	slot_scan_fn *fn, void *opaque)
{
	do {
		struct slot *slot = table_slot(ref, index);
		uint32_t flags;

		if (slot_type(slot_peek(slot)) == SLOT_EMPTY)
			continue;
		slot_lock(slot);
		flags = slot_state(slot);
		if (slot_type(flags) != SLOT_EMPTY)
			flags = fn(opaque, index, slot, flags);
		slot_unlock(slot, flags);
	} while (++index < end && (index & (LEAF_SLOTS - 1)));
}

bool wb_scan(struct disk *disk, uint64_t from, uint64_t end, slot_scan_fn *fn, void *opaque,
	bool (*go_on)(void *opaque, uint64_t index))
{
	uint64_t index = from;

	while ((index = table_next(disk->table, index, end)) < end) {
		struct table_ref ref;

		if (atomic_load_explicit(&disk->wb.hold, memory_order_relaxed) ||
			(go_on && !go_on(opaque, index)))
			return false;
		if (table_get(disk->table, index, false, &ref)) {
			scan_leaf(disk, &ref, index, end, fn, opaque);
			table_put(disk->table, &ref, 0);
		}
		index = (index | (LEAF_SLOTS - 1)) + 1;
	}
	return true;
}

static bool chosen(
	struct wb_pass *p, uint64_t index, struct slot *slot, uint32_t flags, size_t *cell)
{
	if (!has_object(flags) || flags & (SLOT_STAGED | SLOT_WRITEBACK))
		return false;
	*cell = zpool_cell(p->disk->pool, slot_val(slot));
	return wb_wants(p->filter, index, flags, slot->ac_time, *cell);
}

static uint32_t scan_count(void *opaque, uint64_t index, struct slot *slot, uint32_t flags)
{
	struct wb_pass *p = opaque;
	size_t cell;

	if (chosen(p, index, slot, flags, &cell))
		p->counts[wb_class(cell)]++;
	return flags;
}

static uint32_t scan_collect(void *opaque, uint64_t index, struct slot *slot, uint32_t flags)
{
	struct wb_pass *p = opaque;
	size_t cell;

	if (p->nr < p->max && chosen(p, index, slot, flags, &cell))
		p->candidates[p->nr++] = (uint64_t)(WB_CLASSES - wb_class(cell)) << CLASS_SHIFT |
					 index;
	return flags;
}

/* --- outcomes --- */

static void failing(struct disk *disk, uint64_t chunk, int err)
{
	struct writeback *wb = &disk->wb;

	if (chunk == wb->failed_chunk || err == ECANCELED || err == ESHUTDOWN)
		return;
	wb->failed_chunk = chunk;
	if (++wb->failures < PAUSE_AFTER && !wb->paused)
		return;
	if (!wb->paused)
		uz_warn("disk %s: writing to the backing fails (%s): pages stay in memory, "
			"tried again from time to time",
			disk_name(disk), strerror(err));
	wb->backoff = !wb->paused ? PAUSE_MIN
				  : (uint32_t)min_u64(PAUSE_MAX, wb->backoff * UINT64_C(2));
	wb->retry_at = uz_nsec() + wb->backoff * UINT64_C(1000000000);
	wb->paused = true;
}

/* In log_reserve() and log_commit(), so in the turn, with no lock held. */
static bool record_written(void *opaque, uint64_t index, uint64_t cookie, log_loc_t loc, int err)
{
	struct disk *disk = opaque;
	struct wb_pass *p = disk->wb.pass;
	size_t gained = 0;
	bool mine;

	p->pending--;
	mine = page_sent(&p->back, index, (uint16_t)cookie, loc, err, &gained);
	if (err) {
		failing(disk, cookie >> COOKIE_CHUNK_SHIFT, err);
		p->result->errors += mine;
	} else {
		disk->wb.failures = 0;
		disk->wb.paused = false;
	}
	if (err || !mine) {
		if (cookie & COOKIE_PAID)
			atomic_fetch_add(&disk->wb.limit, 1);
		return false;
	}
	p->result->pages++;
	p->result->bytes_written += LOG_RECORD(log_loc_len(loc));
	p->result->bytes_gained += gained;
	p->back.counts[C_BD_WRITES]++;
	evict_freed(disk, gained);
	return true;
}

/* --- sending; in the turn --- */

static void commit(struct wb_pass *p)
{
	p->disk->wb.chunk++;
	p->unsent = 0;
	log_commit(p->disk->wb.writer); /* the outcomes were told */
}

/* One page of the budget, if there is one: then *paid. False: it is used up. */
static bool budget_take(struct wb_pass *p, bool *paid)
{
	struct writeback *wb = &p->disk->wb;
	uint64_t limit = atomic_load(&wb->limit);

	*paid = false;
	while (atomic_load(&wb->limit_enable) && !*paid) {
		if (limit) {
			*paid = atomic_compare_exchange_weak(&wb->limit, &limit, limit - 1);
			continue;
		}
		if (!p->pending)
			return false;
		commit(p); /* it may give back */
		limit = atomic_load(&wb->limit);
	}
	return true;
}

/* Room for any object in the log's buffer, and among those that are on their way. */
static enum wb_end room(struct wb_pass *p)
{
	struct writeback *wb = &p->disk->wb;
	unsigned cleaned = 0;

	for (;;) {
		if (wb->hold)
			return WB_STOPPED;
		if (log_reserve(wb->writer, LOG_MAX_LEN) == 0) {
			if (p->pending < wb->batch)
				return WB_DONE;
			commit(p);
			continue;
		}
		if (errno != ENOSPC)
			return WB_STOPPED;
		commit(p);
		/* When nearly all is live, what it makes free it needs for itself. */
		if (cleaned++ == CLEAN_TRIES || log_clean(p->disk->log, 2) == 0)
			return WB_FULL;
	}
}

/* No other page on its way has it: there are a few hundred. */
static uint16_t next_token(struct writeback *wb)
{
	if (++wb->token == 0)
		wb->token = 1;
	return wb->token;
}

static enum wb_end send_page(struct wb_pass *p, uint64_t index)
{
	struct writeback *wb = &p->disk->wb;
	enum wb_end end;
	uint16_t token;
	bool paid;
	int ret = 0;

	if (wb->paused && p->result->errors)
		return WB_FAILING;
	if (!io_leaf(&p->out, index))
		return WB_DONE;
	if (!budget_take(p, &paid))
		return WB_BUDGET;
	end = room(p);
	if (end == WB_DONE) {
		token = next_token(wb);
		ret = page_send(&p->out, index, p->filter, token,
			wb->chunk << COOKIE_CHUNK_SHIFT | (paid ? COOKIE_PAID : 0) | token);
	}
	if (ret != 1) {
		if (paid)
			atomic_fetch_add(&wb->limit, 1);
		return end;
	}
	p->pending++;
	/* By halves: one is under way while the other gathers. */
	if (++p->unsent >= (wb->batch + 1) / 2) {
		wb->chunk++;
		p->unsent = 0;
		log_push(wb->writer);
	}
	return WB_DONE;
}

/* Up to WB_SLICE of them from *i on. */
static enum wb_end send_slice(struct wb_pass *p, size_t *i)
{
	size_t until = *i + WB_SLICE < p->nr ? *i + WB_SLICE : p->nr;
	enum wb_end end = WB_DONE;

	wb_turn(p->disk);
	p->disk->wb.pass = p;
	while (*i < until && end == WB_DONE)
		end = send_page(p, p->candidates[(*i)++] & INDEX_MASK);
	io_leaf_put(&p->out);
	commit(p);
	io_leaf_put(&p->back);
	p->disk->wb.pass = NULL;
	wb_turn_end(p->disk);
	io_flush(&p->back);
	return end;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Sends what was collected. */
static enum wb_end send_all(struct wb_pass *p)
{
	enum wb_end end = WB_DONE;
	size_t i = 0, before;

	/* Within a class as they lie on the disk. */
	if (p->by_class)
		qsort(p->candidates, p->nr, sizeof(*p->candidates), compare);
	while (i < p->nr && end == WB_DONE) {
		before = i;
		end = send_slice(p, &i);
		p->seen += i - before;
		if (end == WB_DONE && p->enough &&
			p->enough(p->opaque, p->total ? (double)p->seen / (double)p->total : 1))
			end = WB_STOPPED;
	}
	p->nr = 0;
	return end;
}

/* --- passes --- */

static bool collect_go_on(void *opaque, uint64_t index)
{
	struct wb_pass *p = opaque;

	(void)index;
	if (p->nr + LEAF_SLOTS > p->max)
		p->end = send_all(p);
	return p->end == WB_DONE;
}

static bool stop_only(void *opaque, uint64_t index)
{
	struct wb_pass *p = opaque;

	(void)index;
	return !p->enough || !p->enough(p->opaque, 0);
}

/* Runs over the pages that may be meant. */
static bool scan(struct wb_pass *p, slot_scan_fn *fn, bool (*go_on)(void *, uint64_t))
{
	const struct disk_wb_request *request = p->filter->request;
	uint64_t pages = atomic_load(&p->disk->pages);

	if (!request || request->modes)
		return wb_scan(p->disk, 0, pages, fn, p, go_on);
	for (size_t i = 0; i < request->nr_ranges; i++)
		if (request->ranges[i].from < pages &&
			!wb_scan(p->disk, request->ranges[i].from,
				min_u64(request->ranges[i].to, pages - 1) + 1, fn, p, go_on))
			return false;
	return true;
}

static enum wb_end run_classes(struct wb_pass *p, unsigned from, unsigned to)
{
	p->filter->from = from;
	p->filter->to = to;
	p->end = WB_DONE;
	if (!scan(p, scan_collect, collect_go_on) && p->end == WB_DONE)
		p->end = WB_STOPPED;
	if (p->end == WB_DONE)
		p->end = send_all(p);
	p->nr = 0;
	return p->end;
}

/* Nothing is known that would end the pass before its last page. */
static bool can_all_go(struct wb_pass *p)
{
	struct log_stats st;
	uint64_t bytes = 0;

	for (unsigned i = 0; i < WB_CLASSES; i++)
		bytes += p->counts[i] * LOG_RECORD(i * 64);
	log_get_stats(p->disk->log, &st);
	return !atomic_load(&p->disk->wb.limit_enable) &&
	       bytes + bytes / 16 < st.segments_free * st.segment;
}

/*
 * The largest class first, if it may be that not all can go; as many at a time as the memory for
 * candidates holds. Else as they lie on the disk: who reads a few together finds them together.
 */
static enum wb_end run_by_class(struct wb_pass *p)
{
	enum wb_end end = WB_DONE;
	int to = WB_CLASSES - 1, from;

	p->filter->from = 0;
	p->filter->to = WB_CLASSES - 1;
	if (!scan(p, scan_count, stop_only))
		return WB_STOPPED;
	for (int i = 0; i <= to; i++)
		p->total += p->counts[i];
	p->by_class = !can_all_go(p);
	if (!p->by_class)
		return run_classes(p, 0, WB_CLASSES - 1);
	for (; to >= 0 && end == WB_DONE; to = from - 1) {
		uint64_t sum = p->counts[to];

		for (from = to; from > 0 && sum + p->counts[from - 1] <= p->max - LEAF_SLOTS;
			from--)
			sum += p->counts[from - 1];
		if (sum)
			end = run_classes(p, (unsigned)from, (unsigned)to);
	}
	return end;
}

enum wb_end wb_run(struct disk *disk, struct wb_filter *filter, bool manual,
	bool (*enough)(void *opaque, double share), void *opaque, struct disk_wb_result *result)
{
	uint64_t start = uz_nsec();
	struct wb_pass p = { .disk = disk,
		.filter = filter,
		.out = io_begin(disk, start),
		.back = io_begin(disk, start),
		.result = result,
		.candidates = manual ? NULL : disk->wb.candidates,
		.max = disk->wb.candidates ? WB_CANDIDATES_LOCKED : CANDIDATES,
		.enough = enough,
		.opaque = opaque };
	CLEANUP_FREE uint64_t *own = NULL;

	p.out.upkeep = p.back.upkeep = true;
	if (!p.candidates)
		p.candidates = own = malloc(p.max * sizeof(*own));
	if (!p.candidates)
		return WB_NO_MEMORY;
	return manual ? run_by_class(&p) : run_classes(&p, 0, WB_CLASSES - 1);
}

struct log_writer *wb_new_writer(struct disk *disk)
{
	/* One is on its way while the other one gathers. */
	struct log_writer_config config = {
		.written = record_written, .opaque = disk, .chunks = 2
	};

	return log_writer_create(disk->log, &config);
}
