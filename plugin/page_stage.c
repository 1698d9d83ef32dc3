/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A staged page: stored raw and acknowledged, compressed later.
 *
 * Whoever compresses it works on a copy, taken under the slot's lock together with a token that is
 * its own alone. Overwriting or freeing the page clears the token, so a result is published only
 * for the very content it was made from, and the object itself may be overwritten in place, moved
 * or freed at any time.
 */
#include "disk_priv.h"

/* 0 also where the token is another's: of a page that is written back. */
static uint32_t token_of(uint32_t flags)
{
	return flags & SLOT_STAGED ? (flags & SLOT_TOKEN) >> SLOT_TOKEN_SHIFT : 0;
}

/* --- in --- */

/* Its content changes where it is: no memory is needed. False: it is not staged, or not listed and
 * there is no room for that. */
static bool restage(struct page_io *io, struct slot *slot, uint64_t index, const void *src,
	const struct page_snap *snap)
{
	bool listed, done = false;
	uint32_t flags;

	slot_lock(slot);
	flags = slot_state(slot);
	listed = !token_of(flags);
	if (flags & SLOT_STAGED && (listed || io->room) &&
		(!snap || snap_holds(io->disk, slot, snap))) {
		memcpy(zpool_object(io->disk->pool, slot_val(slot)), src, PAGE_SIZE);
		slot->ac_time = io->now;
		flags &= ~(SLOT_TOKEN | SLOT_IDLE);
		done = true;
	}
	slot_unlock(slot, flags);
	if (!done)
		return false;
	io->counts[C_COALESCED]++;
	if (!listed)
		io->staged[io->nr_staged++] = index;
	return true;
}

int page_stage(struct page_io *io, uint64_t index, const void *src, const struct page_snap *snap)
{
	struct slot *slot = table_slot(&io->ref, index);
	struct page_new new = { .flags = slot_flags(SLOT_RAW, 0) | SLOT_STAGED,
		.bytes = src,
		.len = PAGE_SIZE };

	if (io->nr_staged == STAGED_MAX || (io->nr_staged && io->nr_staged == io->room))
		io_stage_push(io);
	if (slot_peek(slot) & SLOT_STAGED && restage(io, slot, index, src, snap))
		return 0;
	errno = ENOSPC;
	if (!io->room)
		return -1;
	new.val = zpool_alloc(io->disk->pool, PAGE_SIZE, index);
	if (!new.val) {
		errno = ENOSPC;
		return -1;
	}
	if (page_publish(io, index, &new, snap) == -1)
		return -1;
	io->staged[io->nr_staged++] = index;
	return 0;
}

void io_stage_push(struct page_io *io)
{
	unsigned n = io->nr_staged;

	if (!n)
		return;
	io->room -= n;
	io->nr_staged = 0;
	drain_pushed(io->disk, stage_push(&io->disk->stage, io->staged, n));
}

void io_stage_end(struct page_io *io)
{
	io_stage_push(io);
	if (io->room)
		stage_unreserve(&io->disk->stage, io->room);
	io->room = 0;
}

/* A request waits for room so long at most, in all. */
#define PATIENCE (100 * 1000 * 1000ull) /* ns */

bool io_wait_for_room(struct page_io *io)
{
	struct disk *disk = io->disk;
	uint64_t now = uz_nsec(), cut;
	bool first = !io->patient_until;

	errno = ENOSPC;
	if (!disk->behind || !drain_running())
		return false;
	io_stage_push(io);
	if (first)
		io->patient_until = now + PATIENCE;
	if (now >= io->patient_until)
		return false;
	if (stage_cut(&disk->stage, &cut)) {
		drain_wake(disk);
		stage_wait(&disk->stage, cut, io->patient_until - now);
	} else if (!first) {
		return false;
	}
	/* Raw pages that have gone leave holes between those that stay. */
	while (zpool_settle(disk->pool, SETTLE_STEPS) && uz_nsec() < io->patient_until)
		;
	errno = ENOSPC;
	return true;
}

zhandle_t io_cell(struct page_io *io, size_t len, uint64_t index)
{
	struct disk *disk = io->disk;
	zhandle_t val = zpool_alloc(disk->pool, len, index);

	if (likely(val && zpool_cell(disk->pool, val) < PAGE_SIZE))
		return val;
	if (!disk->behind || len == PAGE_SIZE)
		return val;
	if (val)
		zpool_free(disk->pool, val);
	zpool_settle(disk->pool, SETTLE_STEPS);
	return zpool_alloc(disk->pool, len, index);
}

/* --- out --- */

bool page_take(struct page_io *io, uint64_t index, uint32_t token, void *copy)
{
	struct slot *slot = table_slot(&io->ref, index);
	uint32_t flags;
	bool mine;

	slot_lock(slot);
	flags = slot_state(slot);
	mine = flags & SLOT_STAGED && !token_of(flags);
	if (mine) {
		memcpy(copy, zpool_object(io->disk->pool, slot_val(slot)), PAGE_SIZE);
		flags |= token << SLOT_TOKEN_SHIFT;
	}
	slot_unlock(slot, flags);
	return mine;
}

void page_finish(struct page_io *io, uint64_t index, uint32_t token, unsigned codec,
	const void *bytes, size_t len)
{
	struct disk *disk = io->disk;
	struct slot *slot = table_slot(&io->ref, index);
	struct page_new new = { .flags = slot_flags(SLOT_OBJECT, codec), .bytes = bytes, .len = len };
	zhandle_t garbage;
	uint32_t flags;

	if (len)
		new.val = io_cell(io, len, index);
	garbage = new.val;
	slot_lock(slot);
	flags = slot_state(slot);
	if (token_of(flags) == token) {
		zhandle_t raw = slot_val(slot);

		if (new.val && slot_replace(io, slot, flags, &new)) {
			garbage = raw;
			flags = new.flags | (flags & SLOT_IDLE);
		} else { /* it stays what it is, but now for good */
			count_state(io, flags, raw, -1);
			flags = slot_flags(SLOT_RAW, 0) | (flags & SLOT_IDLE);
			count_state(io, flags, raw, 1);
			io->counts[C_KEPT_RAW]++;
		}
	}
	slot_unlock(slot, flags);
	if (garbage)
		zpool_free(disk->pool, garbage);
}
