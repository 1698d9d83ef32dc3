/* SPDX-License-Identifier: BSD-3-Clause */
/* What the disk's unit tests share: a disk from a codec's name, and content to store. */
#ifndef DISK_FIXTURE_H
#define DISK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "plugin/disk_priv.h"

#include <cmocka.h>

/* In threads, where cmocka's cannot say what is wrong. */
#define CHECK(cond)                                                                          \
	do {                                                                                 \
		if (!(cond)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                             \
		}                                                                            \
	} while (0)

#define MIB (1024ull * 1024)

static inline struct disk *new_disk_with(const char *spec, struct disk_config *config)
{
	struct uz_error e = { 0 };
	struct disk *disk;
	char err[256];

	if (zcomp_parse(spec, &config->algorithm, &config->level, err, sizeof(err)) == -1)
		fail_msg("%s", err);
	disk = disk_create(config, &e);
	if (!disk)
		fail_msg("%s", e.text);
	return disk;
}

/* Compresses before it acknowledges: `stage` is 0. */
static inline struct disk *new_disk(const char *spec, uint64_t size, uint64_t limit)
{
	return new_disk_with(spec, &(struct disk_config){ .size = size, .mem_limit = limit });
}

/* With a stage of so many pages. */
static inline struct disk *new_behind_disk(const char *spec, uint64_t size, uint64_t limit,
	uint64_t stage, unsigned batch)
{
	return new_disk_with(spec, &(struct disk_config){ .size = size,
					   .mem_limit = limit,
					   .stage = stage * PAGE_SIZE,
					   .batch = batch });
}

/*
 * As disk_write() does it while there are workers; they need not run. Pages for which the list has
 * no room are compressed at once. 0, or -1 with errno.
 */
static inline int staged_write(struct disk *disk, const void *buf, uint64_t len, uint64_t offset)
{
	struct page_io io = io_begin(disk, uz_nsec());
	const char *p = buf;
	int ret = 0, err = 0;

	io.room = stage_reserve(&disk->stage, (unsigned)(len / PAGE_SIZE + 2));
	while (len && !ret) {
		uint64_t in = offset % PAGE_SIZE, n = min_u64(len, PAGE_SIZE - in);

		if (!table_get(disk->table, offset / PAGE_SIZE, true, &io.ref))
			ret = -1;
		else if (n == PAGE_SIZE)
			ret = page_write(&io, offset / PAGE_SIZE, p);
		else
			ret = page_write_part(&io, offset / PAGE_SIZE, p, (unsigned)in, (unsigned)n);
		err = errno;
		io_leaf_put(&io);
		p += n;
		offset += n;
		len -= n;
	}
	io_end(&io);
	errno = err;
	return ret;
}

/* A worker's steps, by hand: an entry taken off the list, and the copy of its page. */
struct taken {
	struct stage_entry entry;
	uint32_t token;
	bool mine; /* page_take() has said so */
	unsigned char copy[PAGE_SIZE];
};

/* The list's oldest entry. False: the list is empty. */
static inline bool take_one(struct disk *disk, uint32_t token, struct taken *t)
{
	struct page_io io = io_begin(disk, uz_nsec());
	unsigned left;

	*t = (struct taken){ .token = token };
	if (!stage_pop(&disk->stage, &t->entry, 1, &left))
		return false;
	t->mine = io_leaf(&io, t->entry.index) && page_take(&io, t->entry.index, token, t->copy);
	io_leaf_put(&io);
	io_end(&io);
	return true;
}

/* Compresses the copy, and publishes that; with `fail`, as a codec that can not. */
static inline void finish_one(struct disk *disk, struct taken *t, bool fail)
{
	struct page_io io = io_begin(disk, uz_nsec());
	unsigned codec = atomic_load(&disk->codec);
	struct zcomp_strm *zstrm = zcomp_stream_get(disk->codecs[codec], ZSTRM_DEFAULT);
	unsigned char bytes[ZCOMP_BUFFER_SIZE];
	size_t len = 0;

	if (t->mine && !fail) {
		assert_int_equal(zcomp_compress(disk->codecs[codec], zstrm, t->copy, &len), 0);
		if (too_large(len))
			len = 0;
		memcpy(bytes, zstrm->buffer, len);
	}
	zcomp_stream_put(zstrm);
	if (t->mine && io_leaf(&io, t->entry.index))
		page_finish(&io, t->entry.index, t->token, codec, bytes, len);
	io_leaf_put(&io);
	io_end(&io);
	stage_done(&disk->stage, &t->entry, 1);
}

/* Everything that is listed. Returns how many pages were compressed. */
static inline unsigned drain_by_hand(struct disk *disk)
{
	struct taken t;
	unsigned n = 0;

	while (take_one(disk, 1, &t)) {
		n += t.mine;
		finish_one(disk, &t, false);
	}
	return n;
}

static inline struct disk_stat stat_of(struct disk *disk)
{
	struct disk_stat st;

	disk_get_stat(disk, &st);
	return st;
}

static inline void start_drain(unsigned workers)
{
	struct uz_error e;

	if (drain_start(workers, false, &e) == -1)
		fail_msg("%s", e.text);
}

/* What a page's slot holds now; 0 without a leaf. */
static inline uint32_t flags_of(struct disk *disk, uint64_t index)
{
	struct table_ref ref;
	uint32_t flags;

	if (!table_get(disk->table, index, false, &ref))
		return 0;
	flags = slot_state(table_slot(&ref, index));
	table_put(disk->table, &ref, 0);
	return flags;
}

static inline void assert_reads(struct disk *disk, const void *want, uint64_t len, uint64_t offset)
{
	unsigned char *got = malloc(len);

	assert_non_null(got);
	assert_int_equal(disk_read(disk, got, len, offset), 0);
	assert_memory_equal(got, want, len);
	free(got);
}

/* No I/O may be running; workers may, if they have nothing to do. */
static inline void assert_stats_add_up(struct disk *disk)
{
	struct disk_stat st = stat_of(disk);
	struct zpool_stats pool;

	zpool_get_stats(disk->pool, &pool);
	/* Every stored page is same-filled, compressed or raw, staged ones too. */
	assert_int_equal(st.mm.orig_data_size, PAGE_SIZE * (st.mm.same_pages + pool.objects));
	assert_int_equal(st.limit_used, pool.charged + st.table_bytes);
	assert_true(st.mm.huge_pages <= pool.objects);
	assert_true(disk_check(disk));
}

/* All trimmed, nothing listed, and memory that was kept for staging given back. */
static inline void assert_empty(struct disk *disk)
{
	struct disk_stat st;

	disk_settle(disk);
	st = stat_of(disk);
	assert_int_equal(st.mm.orig_data_size, 0);
	assert_int_equal(st.mm.compr_data_size, 0);
	assert_int_equal(st.mm.mem_used_total, 0);
	assert_int_equal(st.mm.same_pages, 0);
	assert_int_equal(st.mm.huge_pages, 0);
	assert_int_equal(st.zero_pages, 0);
	assert_int_equal(st.table_bytes, 0);
	assert_int_equal(st.limit_used, 0);
	assert_int_equal(st.stage.pages, 0);
	assert_true(disk_check(disk));
}

static uint64_t rng_state = 88172645463325252ull;

static inline uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	return rng_state ^= rng_state << 17;
}

/* Kinds of content, by how they are stored. */
enum kind { ZEROES, WORD, TEXT, HALF, RANDOM, NR_KINDS };

static inline void make(void *buf, size_t len, enum kind kind)
{
	static const char text[] = "pages are stored in slots, objects in spans, and so on; ";
	unsigned char *p = buf;
	uint64_t word = rng(), shift = rng();

	for (size_t i = 0; i < len; i++) {
		switch (kind) {
		case ZEROES:
			p[i] = 0;
			break;
		case WORD:
			p[i] = (unsigned char)(word >> i % 8 * 8);
			break;
		case TEXT:
			p[i] = (unsigned char)text[(i + shift) % 56];
			break;
		case HALF:
			p[i] = i % 4096 < 2048 ? (unsigned char)rng() : 'x';
			break;
		default:
			p[i] = (unsigned char)rng();
		}
	}
	if (kind == TEXT || kind == HALF) /* not the same twice */
		memcpy(p, &word, len < 8 ? len : 8);
}

/* --- random steps, and what is the same after the same steps --- */

/* What steps are like. One in `trims` is a trim, one in `fuas` has FUA; 0: none. */
struct mix {
	uint64_t size;	 /* bytes of the disk that they touch */
	uint64_t most;	 /* bytes of one */
	uint64_t mostly; /* bytes that seven of eight do not exceed; 0: all sizes are as likely */
	bool partial;	 /* one in four is of any bytes; else all are of whole pages */
	unsigned trims, fuas;
};

#define STEP_MAX (256u << 10)

struct step {
	bool trim, fua;
	uint64_t offset, len;
	unsigned char buf[STEP_MAX];
};

static inline void make_step(struct step *step, const struct mix *mix)
{
	uint64_t offset = rng() % mix->size;
	uint64_t most = mix->mostly && rng() % 8 ? mix->mostly : mix->most, len = 1 + rng() % most;
	bool whole = !mix->partial || rng() % 4;

	step->trim = mix->trims && rng() % mix->trims == 0;
	step->fua = mix->fuas && rng() % mix->fuas == 0;
	if (rng() % 3 == 0)
		offset %= 16 * PAGE_SIZE; /* some are rewritten often */
	if (whole) {
		offset &= ~(uint64_t)(PAGE_SIZE - 1);
		len = (len + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
	}
	step->offset = offset;
	step->len = min_u64(min_u64(len, mix->most), mix->size - offset);
	for (uint64_t at = 0; !step->trim && at < step->len; at += PAGE_SIZE)
		make(step->buf + at, min_u64(PAGE_SIZE, step->len - at), rng() % NR_KINDS);
}

static inline void do_step(struct disk *disk, const struct step *step)
{
	int ret = step->trim ? disk_trim(disk, step->len, step->offset) :
			       disk_write(disk, step->buf, step->len, step->offset, step->fua);

	assert_int_equal(ret, 0);
	if (step->fua && !step->trim) /* acknowledged as compressed: not staged any more */
		assert_false(flags_of(disk, step->offset / PAGE_SIZE) & SLOT_STAGED);
}

/*
 * A disk with write=behind, and one that compresses at once, after the same steps: their first
 * `size` bytes, which all steps touched; and, after a flush, what is counted. `exactly`: unless a
 * device has refused to compress pages, each object is the same, too.
 */
static inline void assert_equal_disks(struct disk *through, struct disk *behind, uint64_t size,
	bool exactly)
{
	unsigned char *want = malloc(size);
	struct disk_stat a, b;

	assert_non_null(want);
	assert_int_equal(disk_read(through, want, size, 0), 0);
	assert_reads(behind, want, size, 0);
	assert_int_equal(disk_flush(behind), 0);
	assert_reads(behind, want, size, 0);
	free(want);
	a = stat_of(through);
	b = stat_of(behind);
	assert_int_equal(b.stage.pages, 0);
	assert_int_equal(a.mm.orig_data_size, b.mm.orig_data_size);
	assert_int_equal(a.mm.same_pages, b.mm.same_pages);
	assert_int_equal(a.zero_pages, b.zero_pages);
	assert_int_equal(a.table_bytes, b.table_bytes);
	if (exactly) {
		assert_int_equal(a.mm.compr_data_size, b.mm.compr_data_size);
		assert_int_equal(a.mm.huge_pages, b.mm.huge_pages);
		assert_int_equal(a.limit_used, b.limit_used);
	}
	/* What is counted is what was done. */
	assert_int_equal(a.writes, b.writes);
	assert_int_equal(a.io.notify_free, b.io.notify_free);
	assert_int_equal(b.io.failed_writes + b.io.failed_reads, 0);
	assert_true(b.streams.batch_pages >= b.streams.batches);
	assert_true(b.streams.batch_pages <= b.streams.percpu + b.streams.managed);
	assert_stats_add_up(behind);
}

#endif
