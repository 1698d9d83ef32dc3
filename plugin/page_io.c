/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One page's way in and out. A write compresses on a stream, gets a cell for the result, and only
 * then takes the slot's lock, to copy it there and publish it; a read decodes under the lock. So
 * a slot is locked for a copy or a decompression at most, and whatever fails before publishing
 * has changed nothing.
 */
#include "disk_priv.h"

/* One 8-byte word, repeated to the end? The last word differs soonest, as in zram. */
static bool same_filled(const unsigned char *p, uint64_t *word)
{
	uint64_t last;

	memcpy(word, p, 8);
	memcpy(&last, p + PAGE_SIZE - 8, 8);
	return *word == last && memcmp(p, p + 8, PAGE_SIZE - 8) == 0;
}

static void fill(unsigned char *p, uint64_t word)
{
	for (unsigned i = 0; i < PAGE_SIZE; i += 8)
		memcpy(p + i, &word, 8);
}

void count_state(struct page_io *io, uint32_t flags, uint64_t val, int n)
{
	switch (slot_type(flags)) {
	case SLOT_EMPTY:
		return;
	case SLOT_SAME:
		io->counts[C_SAME] += n;
		if (!val)
			io->counts[C_ZERO] += n;
		break;
	case SLOT_RAW:
		if (flags & SLOT_STAGED)
			break;
		io->counts[C_HUGE] += n;
		if (n > 0)
			io->counts[C_HUGE_SINCE] += n;
		break;
	case SLOT_BACKED:
		io->counts[C_BACKED] += n;
		break;
	case SLOT_OBJECT:
		break;
	}
	io->counts[C_STORED] += n;
	io->live += n;
}

/* --- streams --- */

/* Has the request one that it may read with? */
static bool has_reader(const struct page_io *io)
{
	return io->zstrm && io->zstrm->decompress_only;
}

/*
 * The request's stream, for `comp`, to compress or to read. Never inside a slot's lock, but where
 * it is held already. One at a time: who held one of each kind could wait for another like him.
 */
static struct zcomp_strm *io_stream(struct page_io *io, struct zcomp *comp, enum zstrm_pref pref)
{
	if (io->zstrm && io->zstrm->decompress_only != (pref == ZSTRM_DECOMPRESS))
		io_stream_put(io);
	if (!io->zstrm)
		io->zstrm = zcomp_stream_get(comp, pref);
	else if (io->zstrm->comp != comp)
		zcomp_stream_switch(io->zstrm, comp);
	return io->zstrm;
}

void io_stream_put(struct page_io *io)
{
	if (io->zstrm)
		zcomp_stream_put(io->zstrm);
	io->zstrm = NULL;
}

/* --- leaves --- */

bool io_leaf(struct page_io *io, uint64_t index)
{
	if (io->ref.slots && io->leaf == index >> LEAF_SHIFT)
		return true;
	io_leaf_put(io);
	io->leaf = index >> LEAF_SHIFT;
	return index < atomic_load(&io->disk->pages) &&
	       table_get(io->disk->table, index, false, &io->ref);
}

void io_leaf_put(struct page_io *io)
{
	io_stream_put(io);
	if (io->ref.slots)
		table_put(io->disk->table, &io->ref, io->live);
	io->ref.slots = NULL;
	io->live = 0;
}

/* --- reading --- */

static bool needs_stream(const struct disk *disk, uint32_t flags)
{
	return slot_type(flags) == SLOT_OBJECT &&
	       zcomp_decompress_needs_stream(disk->codecs[slot_codec(flags)]);
}

int decode(struct page_io *io, uint32_t flags, uint64_t val, const void *bytes, size_t len,
	void *dst)
{
	struct zcomp *comp;

	switch (slot_type(flags)) {
	case SLOT_EMPTY:
		memset(dst, 0, PAGE_SIZE);
		return 0;
	case SLOT_SAME:
		fill(dst, val);
		return 0;
	case SLOT_RAW:
		memcpy(dst, bytes, PAGE_SIZE);
		return 0;
	case SLOT_OBJECT:
		comp = io->disk->codecs[slot_codec(flags)];
		if (zcomp_decompress_needs_stream(comp))
			io_stream(io, comp, ZSTRM_DECOMPRESS);
		io->counts[C_WB_DECODED] += io->upkeep;
		if (zcomp_decompress(comp, io->zstrm, bytes, len, dst) == 0)
			return 0;
		break;
	case SLOT_BACKED:
		break; /* its bytes are elsewhere */
	}
	errno = EIO;
	return -1;
}

static int decode_slot(struct page_io *io, struct slot *slot, uint32_t flags, void *dst)
{
	const struct zpool *pool = io->disk->pool;

	if (!has_object(flags))
		return decode(io, flags, slot_val(slot), NULL, 0, dst);
	return decode(io, flags, slot_val(slot), zpool_object(pool, slot_val(slot)),
		zpool_size(pool, slot_val(slot)), dst);
}

static int read_slot(struct page_io *io, uint64_t index, uint32_t now, void *dst)
{
	struct slot *slot = table_slot(&io->ref, index);
	uint32_t flags = slot_state(slot);
	int ret;

	if (io->gather && io->gather->n == LOG_READ_MAX)
		gather_fetch(io);

	/* Streams come before slots; whether one is needed only the slot knows. */
	for (;;) {
		if (needs_stream(io->disk, flags))
			io_stream(io, io->disk->codecs[slot_codec(flags)], ZSTRM_DECOMPRESS);
		slot_lock(slot);
		flags = slot_state(slot);
		if (has_reader(io) || !needs_stream(io->disk, flags))
			break;
		slot_unlock(slot, flags);
	}
	if (unlikely(slot_type(flags) == SLOT_BACKED)) {
		flags = gather_add(io, index, slot, flags, dst);
		ret = 1;
	} else {
		ret = decode_slot(io, slot, flags, dst);
	}
	if (now) {
		slot->ac_time = now;
		flags &= ~SLOT_IDLE;
	}
	slot_unlock(slot, flags);
	return ret;
}

int page_read(struct page_io *io, uint64_t index, void *dst)
{
	return read_slot(io, index, io->now, dst);
}

/*
 * Objects lie anywhere, so a processor does not see coming which one is next. Fetching the head
 * of it is enough: from there it does. Measured from 64 bytes to 2048, 512 saves most: 3 % of a
 * page's read.
 */
#define READ_AHEAD 512

static void prefetch(struct page_io *io, uint64_t index, size_t bytes)
{
	const struct slot *slot = table_slot(&io->ref, index);

	if (has_object(slot_peek(slot)))
		zpool_prefetch(io->disk->pool, slot_val(slot), bytes);
}

void page_prefetch(struct page_io *io, uint64_t index)
{
	prefetch(io, index, READ_AHEAD);
}

int page_verify(struct page_io *io, uint64_t index, void *dst)
{
	return read_slot(io, index, 0, dst);
}

/* --- publishing --- */

static void snap_take(struct disk *disk, struct slot *slot, struct page_snap *snap)
{
	slot_lock(slot);
	snap->flags = slot_state(slot);
	snap->val = slot_val(slot);
	snap->len = 0;
	if (has_object(snap->flags)) {
		snap->len = zpool_size(disk->pool, slot_val(slot));
		memcpy(snap->bytes, zpool_object(disk->pool, slot_val(slot)), snap->len);
	} else if (slot_type(snap->flags) == SLOT_BACKED) {
		snap->len = log_loc_len(snap->val);
		log_pin(disk->log, snap->val);
	}
	slot_unlock(slot, snap->flags);
}

bool snap_holds(struct disk *disk, struct slot *slot, const struct page_snap *snap)
{
	if ((slot_state(slot) ^ snap->flags) & ~SLOT_ASIDE)
		return false;
	if (!has_object(snap->flags))
		return slot_val(slot) == snap->val;
	return zpool_size(disk->pool, slot_val(slot)) == snap->len &&
	       memcmp(zpool_object(disk->pool, slot_val(slot)), snap->bytes, snap->len) == 0;
}

void content_free(struct disk *disk, uint32_t flags, uint64_t val)
{
	if (has_object(flags))
		zpool_free(disk->pool, val);
	else if (slot_type(flags) == SLOT_BACKED)
		log_free(disk->log, val);
}

/* Into the locked slot's own object, if that is large enough: needs no memory. */
static bool overwrite(struct page_io *io, struct slot *slot, uint32_t old,
	const struct page_new *new)
{
	struct disk *disk = io->disk;

	if (!has_object(old) || !zpool_shrink(disk->pool, slot_val(slot), new->len))
		return false;
	memcpy(zpool_object(disk->pool, slot_val(slot)), new->bytes, new->len);
	count_state(io, old, slot_val(slot), -1);
	count_state(io, new->flags, slot_val(slot), 1);
	return true;
}

bool slot_replace(struct page_io *io, struct slot *slot, uint32_t old, const struct page_new *new)
{
	struct disk *disk = io->disk;
	int64_t growth = 0;

	if (has_object(new->flags))
		growth += (int64_t)zpool_cell(disk->pool, new->val);
	if (has_object(old))
		growth -= (int64_t)zpool_cell(disk->pool, slot_val(slot));
	if (growth && !io_charge(io, growth))
		return false;
	count_state(io, old, slot_val(slot), -1);
	count_state(io, new->flags, new->val, 1);
	if (has_object(new->flags))
		memcpy(zpool_object(disk->pool, new->val), new->bytes, new->len);
	slot_set_val(slot, new->val);
	return true;
}

int page_publish(struct page_io *io, uint64_t index, const struct page_new *new,
	const struct page_snap *snap)
{
	struct disk *disk = io->disk;
	struct slot *slot = table_slot(&io->ref, index);
	struct page_new garbage = { .flags = new->flags, .val = new->val };
	bool in_memory = !has_object(new->flags) || new->val; /* there is something to point at */
	uint32_t old;
	int err = 0;

	slot_lock(slot);
	old = slot_state(slot);
	if (snap && !snap_holds(disk, slot, snap)) {
		err = EAGAIN;
	} else {
		uint64_t old_val = slot_val(slot);

		if (in_memory && slot_replace(io, slot, old, new))
			garbage = (struct page_new){ .flags = old, .val = old_val };
		else if (!overwrite(io, slot, old, new))
			err = ENOSPC;
	}
	if (!err)
		slot->ac_time = io->now;
	slot_unlock(slot, err ? old : new->flags);
	if (garbage.val)
		content_free(disk, garbage.flags, garbage.val);
	if (!err)
		return 0;
	errno = err;
	return -1;
}

/* --- writing --- */

static int try_write(struct page_io *io, uint64_t index, const void *src,
	const struct page_snap *snap)
{
	struct page_new new = { .flags = slot_flags(SLOT_SAME, 0) };
	struct disk *disk = io->disk;
	unsigned codec = atomic_load_explicit(&disk->codec, memory_order_acquire);
	struct zcomp_strm *zstrm;

	prefetch(io, index, 0); /* what it replaces will be freed: 4 % of a rewrite */
	if (same_filled(src, &new.val))
		return page_publish(io, index, &new, snap);
	if (disk->behind && !io->through) {
		if (page_stage(io, index, src, snap) == 0)
			return 0;
		if (errno == EAGAIN)
			return -1;
		io->counts[C_DIRECT]++;
	}

	zstrm = io_stream(io, disk->codecs[codec], ZSTRM_DEFAULT);
	new.bytes = zstrm->buffer;
	new.flags = slot_flags(SLOT_OBJECT, codec);
	/* Incompressible, or the codec failed: raw, which needs no codec to read. */
	io->counts[C_PERCPU]++;
	if (zcomp_compress(disk->codecs[codec], zstrm, src, &new.len) != 0 || too_large(new.len)) {
		io->counts[C_KEPT_RAW]++;
		new.bytes = src;
		new.len = PAGE_SIZE;
		new.flags = slot_flags(SLOT_RAW, 0);
	}
	new.val = io_cell(io, new.len, index);
	return page_publish(io, index, &new, snap);
}

static int write_page(struct page_io *io, uint64_t index, const void *src,
	const struct page_snap *snap)
{
	struct disk *disk = io->disk;

	for (;;) {
		unsigned made = atomic_load_explicit(&disk->compacting.made, memory_order_relaxed);
		int ret = try_write(io, index, src, snap);

		if (likely(ret == 0) || errno != ENOSPC)
			return ret;
		/* The pool may have room in pieces. Nobody else shall wait for that with us. */
		io_stream_put(io);
		if (!io_wait_for_room(io) && !disk_compact_for_room(disk, made))
			return ret;
	}
}

int page_write(struct page_io *io, uint64_t index, const void *src)
{
	int ret;

	do
		ret = write_page(io, index, src, NULL);
	while (unlikely(ret == -1) && errno == ENOSPC && evict_wait(io));
	return ret;
}

/* One try; EAGAIN: the page was changed meanwhile. */
static int patch_page(struct page_io *io, uint64_t index, const void *src, unsigned offset,
	unsigned len)
{
	struct slot *slot = table_slot(&io->ref, index);
	unsigned char page[PAGE_SIZE];
	struct page_snap snap;
	uint32_t flags;
	int ret = 0;

	snap_take(io->disk, slot, &snap);
	flags = snap.flags;
	if (!src && slot_type(flags) == SLOT_EMPTY)
		return 0;
	if (slot_type(flags) == SLOT_BACKED) {
		ret = snap_fetch(io, index, &snap);
		flags = backed_object(flags, snap.val);
	}
	if (ret == 0)
		ret = decode(io, flags, snap.val, snap.bytes, snap.len, page);
	if (ret == 0) {
		if (src)
			memcpy(page + offset, src, len);
		else
			memset(page + offset, 0, len);
		ret = write_page(io, index, page, &snap);
	}
	/* Up to now its location could not be given to another record. */
	if (slot_type(snap.flags) == SLOT_BACKED) {
		int err = errno;

		log_unpin(io->disk->log, snap.val);
		errno = err;
	}
	return ret;
}

int page_write_part(struct page_io *io, uint64_t index, const void *src, unsigned offset,
	unsigned len)
{
	int ret;

	do
		ret = patch_page(io, index, src, offset, len);
	while (ret == -1 && (errno == EAGAIN || (errno == ENOSPC && evict_wait(io))));
	return ret;
}

void page_free(struct page_io *io, uint64_t index)
{
	/* Most of a trimmed range is empty: leave those without a locked instruction. */
	if (slot_type(slot_peek(table_slot(&io->ref, index))) != SLOT_EMPTY)
		page_publish(io, index, &(struct page_new){ .flags = SLOT_EMPTY }, NULL);
}

/* --- moving --- */

/* Class lock held: only tries. An owner that is out of date fails the comparison. */
bool page_move(void *opaque, uint64_t owner, zhandle_t from, zhandle_t to)
{
	struct disk *disk = opaque;
	struct table_ref ref;
	struct slot *slot;
	bool moved = false;

	if (owner >= disk->pages || !table_get(disk->table, owner, false, &ref))
		return false;
	slot = table_slot(&ref, owner);
	if (slot_trylock(slot)) {
		uint32_t flags = slot_state(slot);

		if (has_object(flags) && slot_val(slot) == from) {
			zpool_copy(disk->pool, from, to);
			slot_set_val(slot, to);
			moved = true;
		}
		slot_unlock(slot, flags);
	}
	table_put(disk->table, &ref, 0);
	return moved;
}
