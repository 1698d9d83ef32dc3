/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A page that is written back: its way out to the log, and in again.
 *
 * Out: the object's bytes are copied to the log's buffer under the slot's lock; the object stays
 * where it is until they are on the backing. The slot notes meanwhile that they are under way, and
 * a token that no other page on its way has. Whatever changes the content sets new flags, and so
 * takes the token away: then the record is dead when it arrives.
 *
 * In: the record's location is pinned under the slot's lock, so its segment is not used again
 * before the bytes are here; they are decoded by the thread that wants the page, after the I/O.
 */
#include "disk_priv.h"

/* --- in --- */

uint32_t gather_add(
	struct page_io *io, uint64_t index, struct slot *slot, uint32_t flags, void *dst)
{
	int promote = atomic_load_explicit(&io->disk->wb.promote, memory_order_relaxed);
	log_loc_t loc = slot_val(slot);

	log_pin(io->disk->log, loc);
	io->gather->pages[io->gather->n++] = (struct page_fetch){ .index = index,
		.loc = loc,
		.flags = flags,
		.promote = io->now && (promote == PROMOTE_READ || (promote == PROMOTE_SECOND_READ &&
									  flags & SLOT_READ_ONCE)),
		.dst = dst };
	return io->now ? flags | SLOT_READ_ONCE : flags;
}

static bool slot_refers_to(struct slot *slot, log_loc_t loc)
{
	uint32_t flags;
	bool same;

	slot_lock(slot);
	flags = slot_state(slot);
	same = slot_type(flags) == SLOT_BACKED && slot_val(slot) == loc;
	slot_unlock(slot, flags);
	return same;
}

/* Not if it would only be evicted again. */
static bool room_to_promote(struct disk *disk, size_t len)
{
	uint64_t limit = atomic_load_explicit(&disk->mem_limit, memory_order_relaxed);
	uint64_t high = atomic_load_explicit(&disk->wb.high, memory_order_relaxed);

	return !limit || atomic_load_explicit(&disk->charged, memory_order_relaxed) + len <=
				 limit / 100 * high;
}

/* The slot gets the object again, if it still refers to the record. */
static void promote(struct page_io *io, const struct page_fetch *f, const void *bytes)
{
	struct disk *disk = io->disk;
	struct page_new new = {
		.flags = backed_object(f->flags, f->loc), .bytes = bytes, .len = log_loc_len(f->loc)
	};
	struct slot *slot;
	uint32_t flags;
	bool done = false;

	if (!room_to_promote(disk, new.len) || !io_leaf(io, f->index))
		return;
	new.val = zpool_alloc(disk->pool, new.len, f->index);
	if (!new.val)
		return;
	slot = table_slot(&io->ref, f->index);
	slot_lock(slot);
	flags = slot_state(slot);
	if (slot_type(flags) == SLOT_BACKED && slot_val(slot) == f->loc &&
		slot_replace(io, slot, flags, &new)) {
		if (slot_type(new.flags) == SLOT_RAW)
			io->counts[C_HUGE_SINCE]--; /* it is no new one */
		flags = new.flags;
		done = true;
	}
	slot_unlock(slot, flags);
	if (done) {
		log_free(disk->log, f->loc);
		io->counts[C_PROMOTED]++;
	} else {
		zpool_free(disk->pool, new.val);
	}
}

/* Decodes what came; in *bad a bit for each page that did not. `io` is for promotion. */
static void use_records(struct page_io *io, struct page_gather *g, uint32_t *bad)
{
	struct disk *disk = io->disk;
	struct log_reading reading;
	struct log_req reqs[LOG_READ_MAX];

	*bad = 0;
	for (unsigned i = 0; i < g->n; i++)
		reqs[i] = (struct log_req){ .loc = g->pages[i].loc, .owner = g->pages[i].index };
	log_read(disk->log, reqs, g->n, &reading);
	for (unsigned i = 0; i < g->n; i++) {
		const struct page_fetch *f = &g->pages[i];

		if (reqs[i].error || decode(io, backed_object(f->flags, f->loc), 0, reqs[i].bytes,
					     log_loc_len(f->loc), f->dst) == -1) {
			*bad |= 1u << i;
			continue;
		}
		if (io->now)
			io->counts[C_BD_READS]++;
		if (f->promote)
			promote(io, f, reqs[i].bytes);
	}
	io_stream_put(io);
	log_read_end(&reading);
	for (unsigned i = 0; i < g->n; i++)
		log_unpin(disk->log, g->pages[i].loc);
}

/* A record that could not be read: it is lost, or the page is elsewhere now. */
static void read_again(struct page_io *io, struct page_gather *g, struct page_fetch f)
{
	int ret = 0;

	if (!io_leaf(io, f.index))
		memset(f.dst, 0, PAGE_SIZE);
	else if (slot_refers_to(table_slot(&io->ref, f.index), f.loc))
		ret = -1;
	else
		ret = io->now ? page_read(io, f.index, f.dst) : page_verify(io, f.index, f.dst);
	if (ret == -1)
		g->failed++;
}

void gather_fetch(struct page_io *io)
{
	struct page_gather *g = io->gather;
	/* Other leaves than the one that `io` has. */
	struct page_io sub = {
		.disk = io->disk, .now = io->now, .gather = g, .upkeep = io->upkeep
	};

	io_stream_put(io);
	while (g->n) {
		unsigned n = g->n;
		uint32_t bad;

		use_records(&sub, g, &bad);
		g->n = 0; /* those that are read again come anew, never more than were looked at */
		for (unsigned i = 0; i < n; i++)
			if (bad & 1u << i)
				read_again(&sub, g, g->pages[i]);
		io_leaf_put(&sub);
	}
	io_end(&sub);
}

int snap_fetch(struct page_io *io, uint64_t index, struct page_snap *snap)
{
	struct log_req req = { .loc = snap->val, .owner = index };
	struct log_reading reading;

	io_stream_put(io);
	log_read(io->disk->log, &req, 1, &reading);
	if (!req.error)
		memcpy(snap->bytes, req.bytes, snap->len);
	log_read_end(&reading);
	if (!req.error) {
		io->counts[C_BD_READS]++;
		return 0;
	}
	/* In the leaf that the caller has pinned, and goes on with. */
	errno = slot_refers_to(table_slot(&io->ref, index), snap->val) ? EIO : EAGAIN;
	return -1;
}

/* --- out --- */

int page_send(struct page_io *io, uint64_t index, const struct wb_filter *filter, uint16_t token,
	uint64_t cookie)
{
	struct zpool *pool = io->disk->pool;
	struct slot *slot = table_slot(&io->ref, index);
	uint32_t flags;
	int ret = 0;

	if (!slot_trylock(slot)) {
		/* Somebody uses it: then it is not what should go by itself. */
		if (!filter->request)
			return 0;
		slot_lock(slot);
	}
	flags = slot_state(slot);
	if (has_object(flags) && !(flags & (SLOT_STAGED | SLOT_WRITEBACK)) &&
		wb_wants(filter, index, flags, slot->ac_time, zpool_cell(pool, slot_val(slot)))) {
		ret = log_append(io->disk->wb.writer, index, slot_codec(flags), cookie,
			zpool_object(pool, slot_val(slot)),
			(uint32_t)zpool_size(pool, slot_val(slot)));
		ret = ret == 0 ? 1 : -1;
	}
	if (ret == 1)
		flags |= SLOT_WRITEBACK | (uint32_t)token << SLOT_TOKEN_SHIFT;
	slot_unlock(slot, flags);
	return ret;
}

bool page_sent(
	struct page_io *io, uint64_t index, uint16_t token, log_loc_t loc, int err, size_t *gained)
{
	struct page_new new = { .val = loc };
	zhandle_t garbage = 0;
	struct slot *slot;
	uint32_t flags;
	bool mine;

	if (!io_leaf(io, index)) /* trimmed; or the disk has become smaller */
		return false;
	slot = table_slot(&io->ref, index);
	slot_lock(slot);
	flags = slot_state(slot);
	mine = flags & SLOT_WRITEBACK && (flags & SLOT_TOKEN) >> SLOT_TOKEN_SHIFT == token;
	if (mine)
		flags &= ~(SLOT_WRITEBACK | SLOT_TOKEN);
	if (mine && !err) {
		new.flags = slot_flags(SLOT_BACKED, slot_codec(flags));
		garbage = slot_val(slot);
		*gained = zpool_cell(io->disk->pool, garbage);
		slot_replace(io, slot, flags, &new); /* never refused: it shrinks */
		flags = new.flags;
	}
	slot_unlock(slot, flags);
	if (garbage)
		zpool_free(io->disk->pool, garbage);
	return mine;
}

/* --- elsewhere --- */

bool page_relocate(void *opaque, uint64_t owner, log_loc_t from, log_loc_t to)
{
	struct disk *disk = opaque;
	struct table_ref ref;
	struct slot *slot;
	uint32_t flags;
	bool same;

	if (owner >= atomic_load(&disk->pages) || !table_get(disk->table, owner, false, &ref))
		return false;
	slot = table_slot(&ref, owner);
	slot_lock(slot);
	flags = slot_state(slot);
	same = slot_type(flags) == SLOT_BACKED && slot_val(slot) == from;
	if (same && to)
		slot_set_val(slot, to);
	slot_unlock(slot, flags);
	table_put(disk->table, &ref, 0);
	return same;
}
