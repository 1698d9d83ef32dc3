/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stage, step by step and without workers: the list itself; and what becomes of a page that is
 * read, rewritten, trimmed or dropped while it waits, or while somebody compresses it.
 */
#include "disk-fixture.h"

#define NR_STAGE 64 /* pages */

/* --- the list --- */

static void push(struct stage *stage, uint64_t from, unsigned n)
{
	uint64_t index[256];

	assert_int_equal(stage_reserve(stage, n), n);
	for (unsigned i = 0; i < n; i++)
		index[i] = from + i;
	stage_push(stage, index, n);
}

static void list_is_bounded(void **state)
{
	struct stage stage;
	uint64_t index[8] = { 0 };

	assert_int_equal(stage_init(&stage, 5), 0);
	assert_int_equal(stage_reserve(&stage, 3), 3);
	assert_int_equal(stage_reserve(&stage, 3), 2);
	assert_int_equal(stage_reserve(&stage, 1), 0);
	assert_int_equal(stage_push(&stage, index, 2), 2);
	stage_unreserve(&stage, 3);
	assert_int_equal(stage.used, 2);
	assert_int_equal(stage.used_max, 5);
	stage_allow(&stage, 3);
	assert_int_equal(stage_reserve(&stage, 9), 1);
	stage_unreserve(&stage, 1);
	stage_allow(&stage, 2);
	assert_int_equal(stage_reserve(&stage, 1), 0);
	stage_allow(&stage, 1);
	assert_int_equal(stage_reserve(&stage, 1), 0);
	stage_allow(&stage, 1000);
	assert_int_equal(stage_reserve(&stage, 1000), 3);
	stage_destroy(&stage);
}

/* Entries end in any order; room and cuts follow the oldest one that has not. */
static void entries_end_in_any_order(void **state)
{
	static const unsigned order[] = { 3, 1, 0, 2, 7, 4, 5, 6 };
	static const unsigned used_after[] = { 8, 8, 6, 4, 4, 3, 2, 0 };
	struct stage stage;
	struct stage_entry e[8];
	unsigned left;
	uint64_t cut;

	assert_int_equal(stage_init(&stage, 8), 0);
	for (unsigned round = 0; round < 5; round++) { /* the ring is used again */
		assert_false(stage_cut(&stage, &cut));
		push(&stage, round * 100, 8);
		assert_int_equal(stage_reserve(&stage, 1), 0);
		assert_int_equal(stage_waiting(&stage), 8);
		assert_int_equal(stage_pop(&stage, e, 3, &left), 3);
		assert_int_equal(left, 5);
		assert_int_equal(stage_pop(&stage, e + 3, 100, &left), 5);
		assert_int_equal(left, 0);
		assert_int_equal(stage_pop(&stage, e, 1, &left), 0);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(e[i].index, round * 100 + i);
		for (unsigned i = 0; i < 8; i++) {
			assert_true(stage_cut(&stage, &cut));
			assert_false(stage_wait(&stage, cut, 0));
			stage_done(&stage, &e[order[i]], 1);
			assert_int_equal(stage.used, used_after[i]);
			/* What was staged before page 4 is done with the fourth. */
			assert_int_equal(stage_wait(&stage, cut - 4, 0), i >= 3);
		}
		assert_true(stage_wait(&stage, cut, 0));
	}
	stage_destroy(&stage);
}

static void full_list_is_full_until_its_oldest_ends(void **state)
{
	struct stage stage;
	struct stage_entry e[8];
	unsigned left;

	assert_int_equal(stage_init(&stage, 8), 0);
	push(&stage, 0, 8);
	stage_pop(&stage, e, 8, &left);
	stage_done(&stage, e + 1, 7);
	assert_int_equal(stage_reserve(&stage, 1), 0); /* their places are not free yet */
	stage_done(&stage, e, 1);
	assert_int_equal(stage_reserve(&stage, 9), 8);
	stage_destroy(&stage);
}

static void drop_forgets_what_waits(void **state)
{
	struct stage stage;
	struct stage_entry e[2];
	unsigned left;
	uint64_t cut;

	assert_int_equal(stage_init(&stage, 8), 0);
	push(&stage, 0, 8);
	stage_pop(&stage, e, 2, &left);
	stage_drop(&stage);
	assert_int_equal(stage_waiting(&stage), 0);
	assert_true(stage_cut(&stage, &cut)); /* two are out */
	assert_false(stage_wait(&stage, cut, 0));
	stage_done(&stage, e, 2);
	assert_true(stage_wait(&stage, cut, 0));
	assert_int_equal(stage.used, 0);
	push(&stage, 50, 8);
	stage_pop(&stage, e, 1, &left);
	assert_int_equal(e[0].index, 50);
	stage_destroy(&stage);
}

struct waiter {
	struct stage *stage;
	uint64_t cut;
	_Atomic bool back;
};

static void *wait_for_cut(void *opaque)
{
	struct waiter *w = opaque;

	assert_true(stage_wait(w->stage, w->cut, 100 * UINT64_C(1000000000)));
	w->back = true;
	return NULL;
}

static void waiters_wake_at_their_cut(void **state)
{
	struct waiter w[2] = { 0 };
	struct stage stage;
	struct stage_entry e[8];
	pthread_t thread[2];
	unsigned left;

	assert_int_equal(stage_init(&stage, 8), 0);
	for (unsigned i = 0; i < 2; i++) {
		push(&stage, i * 4, 4);
		w[i].stage = &stage;
		assert_true(stage_cut(&stage, &w[i].cut));
		pthread_create(&thread[i], NULL, wait_for_cut, &w[i]);
	}
	stage_pop(&stage, e, 8, &left);
	stage_done(&stage, e + 5, 3);
	usleep(10000);
	assert_false(w[0].back || w[1].back);
	stage_done(&stage, e, 3);
	usleep(10000);
	assert_false(w[0].back || w[1].back);
	stage_done(&stage, e + 3, 1);
	pthread_join(thread[0], NULL);
	assert_false(w[1].back);
	stage_done(&stage, e + 4, 1);
	pthread_join(thread[1], NULL);
	stage_destroy(&stage);
}

/* --- a page --- */

static unsigned char a[4096], b[4096], c[4096];

static struct disk *disk_with_stage(void)
{
	make(a, sizeof(a), TEXT);
	make(b, sizeof(b), TEXT);
	make(c, sizeof(c), HALF);
	return new_behind_disk("lz4", 4 * MIB, 0, NR_STAGE, 32);
}

/* Nothing is listed; all is counted, and goes. */
static void end(struct disk *disk)
{
	assert_int_equal(drain_by_hand(disk), 0);
	assert_int_equal(disk->stage.used, 0);
	assert_stats_add_up(disk);
	assert_int_equal(disk_trim(disk, disk_size(disk), 0), 0);
	assert_empty(disk);
	disk_destroy(disk);
}

static void is_staged(struct disk *disk, uint64_t index, bool staged)
{
	uint32_t flags = flags_of(disk, index);

	assert_int_equal(!!(flags & SLOT_STAGED), staged);
	if (staged)
		assert_int_equal(slot_type(flags), SLOT_RAW);
}

static uint64_t handle_of(struct disk *disk, uint64_t index)
{
	struct table_ref ref;
	uint64_t val;

	assert_true(table_get(disk->table, index, false, &ref));
	val = slot_val(table_slot(&ref, index));
	table_put(disk->table, &ref, 0);
	return val;
}

static void staged_page_is_stored(void **state)
{
	struct disk *disk = disk_with_stage();
	struct disk_block block;
	struct disk_stat st;
	uint64_t next;

	assert_int_equal(staged_write(disk, a, 4096, 4096 * 7), 0);
	is_staged(disk, 7, true);
	st = stat_of(disk);
	assert_true(st.stage.behind);
	assert_int_equal(st.stage.pages, 1);
	assert_int_equal(st.mm.orig_data_size, 4096);
	assert_int_equal(st.mm.compr_data_size, 4096);
	assert_int_equal(st.limit_used, 4096 + st.table_bytes);
	assert_int_equal(st.mm.huge_pages, 0); /* that remains to be seen */
	assert_int_equal(st.mm.huge_pages_since, 0);
	assert_reads(disk, a, 4096, 4096 * 7);
	assert_reads(disk, a + 100, 2000, 4096 * 7 + 100);
	assert_int_equal(disk_blocks(disk, 0, 1000, &block, 1, &next), 1);
	assert_string_equal(block.flags, "");
	assert_int_equal(block.size, 4096);
	assert_stats_add_up(disk);

	assert_int_equal(drain_by_hand(disk), 1);
	is_staged(disk, 7, false);
	st = stat_of(disk);
	assert_int_equal(st.stage.pages, 0);
	assert_int_equal(st.stage.pages_max, 3); /* staged_write() asks for the most */
	assert_true(st.mm.compr_data_size < 500);
	assert_int_equal(st.streams.raw, 0);
	assert_reads(disk, a, 4096, 4096 * 7);
	end(disk);
}

static void incompressible_page_stays_raw(void **state)
{
	struct disk *disk = disk_with_stage();
	uint64_t handle;

	for (unsigned failing = 0; failing < 2; failing++) {
		struct taken t;

		make(c, sizeof(c), failing ? TEXT : RANDOM);
		assert_int_equal(staged_write(disk, c, 4096, 0), 0);
		handle = handle_of(disk, 0);
		assert_true(take_one(disk, 9, &t));
		finish_one(disk, &t, failing); /* a codec's failure is no client's */
		assert_int_equal(flags_of(disk, 0), slot_flags(SLOT_RAW, 0));
		assert_int_equal(handle_of(disk, 0), handle); /* no copy of a copy */
		assert_int_equal(stat_of(disk).mm.huge_pages, 1);
		assert_int_equal(stat_of(disk).mm.huge_pages_since, failing + 1);
		assert_int_equal(stat_of(disk).streams.raw, failing + 1);
		assert_reads(disk, c, 4096, 0);
	}
	end(disk);
}

static void same_filled_is_never_staged(void **state)
{
	struct disk *disk = disk_with_stage();

	make(a, sizeof(a), WORD);
	assert_int_equal(staged_write(disk, a, 4096, 0), 0);
	assert_int_equal(disk->stage.used, 0);
	/* Nor does it leave a staged page staged. */
	assert_int_equal(staged_write(disk, b, 4096, 4096), 0);
	assert_int_equal(staged_write(disk, a, 4096, 4096), 0);
	assert_int_equal(slot_type(flags_of(disk, 1)), SLOT_SAME);
	assert_int_equal(drain_by_hand(disk), 0);
	assert_reads(disk, a, 4096, 4096);
	assert_int_equal(stat_of(disk).mm.same_pages, 2);
	end(disk);
}

static void rewritten_while_waiting(void **state)
{
	struct disk *disk = disk_with_stage();
	unsigned char page[4096];
	uint64_t handle;

	assert_int_equal(staged_write(disk, a, 4096, 0), 0);
	handle = handle_of(disk, 0);
	for (unsigned i = 0; i < 100; i++) {
		make(page, sizeof(page), i % 2 ? TEXT : HALF);
		assert_int_equal(staged_write(disk, page, 4096, 0), 0);
		assert_int_equal(handle_of(disk, 0), handle);
	}
	assert_reads(disk, page, 4096, 0);
	assert_int_equal(stage_waiting(&disk->stage), 1);
	assert_int_equal(stat_of(disk).stage.coalesced, 100);
	assert_int_equal(drain_by_hand(disk), 1);
	assert_reads(disk, page, 4096, 0);
	end(disk);
}

/* In the same request, too. */
static void rewritten_twice_in_one_list(void **state)
{
	struct disk *disk = disk_with_stage();
	struct page_io io = io_begin(disk, uz_nsec());

	io.room = stage_reserve(&disk->stage, 4);
	assert_true(table_get(disk->table, 0, true, &io.ref));
	assert_int_equal(page_write(&io, 0, a), 0);
	assert_int_equal(page_write(&io, 0, b), 0);
	assert_int_equal(io.nr_staged, 1);
	io_leaf_put(&io);
	io_end(&io);
	assert_int_equal(disk->stage.used, 1);
	assert_int_equal(drain_by_hand(disk), 1);
	assert_reads(disk, b, 4096, 0);
	end(disk);
}

static void rewritten_while_taken(void **state)
{
	static const bool newest_first[] = { false, true };

	for (unsigned i = 0; i < 2; i++) {
		struct disk *disk = disk_with_stage();
		struct taken first, second;

		assert_int_equal(staged_write(disk, a, 4096, 0), 0);
		assert_true(take_one(disk, 1, &first));
		assert_true(first.mine);
		assert_memory_equal(first.copy, a, 4096);
		assert_int_equal(stage_waiting(&disk->stage), 0);
		assert_int_equal(staged_write(disk, b, 4096, 0), 0);
		assert_int_equal(stat_of(disk).stage.coalesced, 1);
		assert_int_equal(stage_waiting(&disk->stage), 1); /* listed again */
		assert_int_equal(staged_write(disk, c, 4096, 0), 0);
		assert_int_equal(stage_waiting(&disk->stage), 1); /* but once */
		assert_int_equal(disk->stage.used, 2);
		if (!newest_first[i]) {
			finish_one(disk, &first, false);
			is_staged(disk, 0, true);
			assert_reads(disk, c, 4096, 0);
		}
		assert_true(take_one(disk, 2, &second));
		assert_true(second.mine);
		assert_memory_equal(second.copy, c, 4096);
		if (newest_first[i]) {
			finish_one(disk, &second, false);
			assert_reads(disk, c, 4096, 0);
			finish_one(disk, &first, false); /* late, and of no use */
		} else {
			finish_one(disk, &second, false);
		}
		is_staged(disk, 0, false);
		assert_reads(disk, c, 4096, 0);
		assert_int_equal(stat_of(disk).mm.orig_data_size, 4096);
		end(disk);
	}
}

/* An entry whose page another entry stands for, or that somebody has, is passed over. */
static void one_taker_a_page(void **state)
{
	struct disk *disk = disk_with_stage();
	struct taken t[3];

	assert_int_equal(staged_write(disk, a, 4096, 0), 0);
	assert_int_equal(disk_trim(disk, 4096, 0), 0);
	assert_int_equal(staged_write(disk, b, 4096, 0), 0); /* a second entry */
	assert_int_equal(stage_waiting(&disk->stage), 2);
	assert_true(take_one(disk, 1, &t[0]));
	assert_true(take_one(disk, 2, &t[1]));
	assert_true(t[0].mine);
	assert_memory_equal(t[0].copy, b, 4096);
	assert_false(t[1].mine);
	finish_one(disk, &t[1], false);
	finish_one(disk, &t[0], false);
	is_staged(disk, 0, false);
	assert_reads(disk, b, 4096, 0);
	end(disk);
}

/* --- what happens to a staged page, and to one that is being compressed --- */

static unsigned char want[4096];

static void do_trim(struct disk *disk)
{
	assert_int_equal(disk_trim(disk, 4096, 4096), 0);
	memset(want, 0, 4096);
}

static void do_trim_more(struct disk *disk)
{
	assert_int_equal(disk_trim(disk, disk_size(disk), 0), 0);
	memset(want, 0, 4096);
}

static void do_zero_part(struct disk *disk)
{
	assert_int_equal(disk_trim(disk, 512, 4096 + 1024), 0);
	memset(want + 1024, 0, 512);
}

static void do_part(struct disk *disk)
{
	unsigned char part[512];

	make(part, 512, RANDOM);
	assert_int_equal(staged_write(disk, part, 512, 4096 + 512), 0);
	memcpy(want + 512, part, 512);
	is_staged(disk, 1, true);
}

/* No worker runs, so disk_write() compresses at once: as with FUA, and as with no room. */
static void do_fua(struct disk *disk)
{
	assert_int_equal(disk_write(disk, b, 4096, 4096, true), 0);
	memcpy(want, b, 4096);
	is_staged(disk, 1, false);
}

static void do_fua_part(struct disk *disk)
{
	assert_int_equal(disk_write(disk, b + 100, 512, 4096 + 100, true), 0);
	memcpy(want + 100, b + 100, 512);
	is_staged(disk, 1, false);
}

static void do_zeroes(struct disk *disk)
{
	memset(want, 0, 4096);
	assert_int_equal(staged_write(disk, want, 4096, 4096), 0);
}

static void do_rewrite(struct disk *disk)
{
	assert_int_equal(staged_write(disk, b, 4096, 4096), 0);
	memcpy(want, b, 4096);
}

/* Its last page goes, and with it the leaf; then there is another one. */
static void do_trim_and_rewrite(struct disk *disk)
{
	do_trim_more(disk);
	do_rewrite(disk);
}

static void do_move(struct disk *disk)
{
	/* One below it goes, so that compaction has where to move it to. */
	assert_int_equal(disk_trim(disk, 4096, 0), 0);
	disk_compact(disk, NULL, NULL);
}

static void do_shrink(struct disk *disk)
{
	struct uz_error e;

	assert_int_equal(disk_resize(disk, 4096, &e), 0);
	assert_true(disk_check(disk));
	assert_int_equal(disk_resize(disk, 4 * MIB, &e), 0);
	memset(want, 0, 4096);
}

static void page_changes(void **state)
{
	static void (*const changes[])(struct disk * disk) = { do_trim, do_trim_more, do_zero_part,
		do_part, do_fua, do_fua_part, do_zeroes, do_rewrite, do_trim_and_rewrite, do_move,
		do_shrink };

	for (unsigned i = 0; i < ARRAY_SIZE(changes) * 3; i++) {
		struct disk *disk = disk_with_stage();
		unsigned taken = i % 3; /* neither, the page's own result, or the codec's failure */
		struct taken before, t;

		assert_int_equal(staged_write(disk, b, 4096, 0), 0);
		assert_int_equal(staged_write(disk, a, 4096, 4096), 0);
		memcpy(want, a, 4096);
		if (taken) {
			assert_true(take_one(disk, 1, &before));
			assert_true(take_one(disk, 2, &t));
			assert_true(before.mine && t.mine);
		}
		changes[i / 3](disk);
		assert_reads(disk, want, 4096, 4096);
		assert_stats_add_up(disk);
		if (taken) {
			finish_one(disk, &t, taken == 2);
			finish_one(disk, &before, taken == 2);
		}
		assert_reads(disk, want, 4096, 4096);
		assert_stats_add_up(disk);
		drain_by_hand(disk);
		is_staged(disk, 1, false);
		assert_reads(disk, want, 4096, 4096);
		end(disk);
	}
}

static void *reset_it(void *opaque)
{
	disk_reset(opaque);
	return NULL;
}

/* Waits for what is being compressed, and for nothing that only waits. */
static void reset_drops_the_stage(void **state)
{
	for (unsigned nr_taken = 0; nr_taken <= 2; nr_taken++) {
		struct disk *disk = disk_with_stage();
		struct taken t[2];
		pthread_t thread;

		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(staged_write(disk, a, 4096, i * 4096), 0);
		for (unsigned i = 0; i < nr_taken; i++)
			assert_true(take_one(disk, i + 1, &t[i]));
		pthread_create(&thread, NULL, reset_it, disk);
		usleep(nr_taken * 5000);
		if (nr_taken) /* their leaf, and all they may look at, is there still */
			assert_reads(disk, a, 4096, 9 * 4096);
		for (unsigned i = 0; i < nr_taken; i++)
			finish_one(disk, &t[i], false);
		pthread_join(thread, NULL);
		assert_int_equal(stat_of(disk).mm.mem_used_total, 0);
		assert_int_equal(stat_of(disk).stage.pages_max, 0);
		assert_empty(disk);
		assert_int_equal(staged_write(disk, c, 4096, 0), 0);
		assert_int_equal(drain_by_hand(disk), 1);
		assert_reads(disk, c, 4096, 0);
		end(disk);
	}
}

static void destroyed_with_a_full_stage(void **state)
{
	for (unsigned nr_taken = 0; nr_taken < 3; nr_taken++) {
		struct disk *disk = disk_with_stage();
		struct taken t;

		for (unsigned i = 0; i < NR_STAGE + 5; i++)
			assert_int_equal(staged_write(disk, c, 4096, i * 4096), 0);
		for (unsigned i = 0; i < nr_taken; i++) {
			assert_true(take_one(disk, i + 1, &t));
			finish_one(disk, &t, false);
		}
		disk_destroy(disk);
	}
}

static void full_stage_makes_writers_compress(void **state)
{
	struct disk *disk = disk_with_stage();
	unsigned char *in = malloc(NR_STAGE * 2 * 4096);
	struct taken t;

	make(in, NR_STAGE * 2 * 4096, HALF);
	assert_int_equal(staged_write(disk, in, NR_STAGE * 2 * 4096, 0), 0);
	assert_int_equal(stat_of(disk).stage.pages, NR_STAGE);
	assert_int_equal(stat_of(disk).stage.pages_max, NR_STAGE);
	assert_int_equal(stat_of(disk).stage.direct, NR_STAGE);
	assert_int_equal(stat_of(disk).streams.percpu, NR_STAGE);
	is_staged(disk, NR_STAGE - 1, true);
	is_staged(disk, NR_STAGE, false);
	/* Listed pages are rewritten where they are: that needs no room. */
	make(in, 4096, TEXT);
	assert_int_equal(staged_write(disk, in, 4096, 0), 0);
	is_staged(disk, 0, true);
	assert_int_equal(stat_of(disk).stage.direct, NR_STAGE);
	/* One that is being compressed would have to be listed again. */
	assert_true(take_one(disk, 1, &t));
	make(in, 4096, TEXT);
	assert_int_equal(staged_write(disk, in, 4096, 0), 0);
	is_staged(disk, 0, false);
	assert_int_equal(stat_of(disk).stage.direct, NR_STAGE + 1);
	finish_one(disk, &t, false);
	assert_int_equal(drain_by_hand(disk), NR_STAGE - 1);
	assert_reads(disk, in, NR_STAGE * 2 * 4096, 0);
	free(in);
	end(disk);
}

/* A partial write that lost its race begins anew, and leaves nothing listed twice. */
static void snapshot_that_no_longer_holds(void **state)
{
	struct disk *disk = disk_with_stage();
	struct page_io io = io_begin(disk, uz_nsec());
	struct page_snap snap = { .flags = 0 }; /* it was empty */

	assert_int_equal(staged_write(disk, a, 4096, 0), 0);
	io.room = stage_reserve(&disk->stage, 1);
	assert_true(table_get(disk->table, 0, true, &io.ref));
	assert_int_equal(page_stage(&io, 0, b, &snap), -1);
	assert_int_equal(errno, EAGAIN);
	io_leaf_put(&io);
	io_end(&io);
	assert_reads(disk, a, 4096, 0);
	assert_int_equal(disk->stage.used, 1);
	assert_int_equal(drain_by_hand(disk), 1);
	end(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_is_bounded),
		cmocka_unit_test(entries_end_in_any_order),
		cmocka_unit_test(full_list_is_full_until_its_oldest_ends),
		cmocka_unit_test(drop_forgets_what_waits),
		cmocka_unit_test(waiters_wake_at_their_cut),
		cmocka_unit_test(staged_page_is_stored),
		cmocka_unit_test(incompressible_page_stays_raw),
		cmocka_unit_test(same_filled_is_never_staged),
		cmocka_unit_test(rewritten_while_waiting),
		cmocka_unit_test(rewritten_twice_in_one_list),
		cmocka_unit_test(rewritten_while_taken),
		cmocka_unit_test(one_taker_a_page),
		cmocka_unit_test(page_changes),
		cmocka_unit_test(reset_drops_the_stage),
		cmocka_unit_test(destroyed_with_a_full_stage),
		cmocka_unit_test(full_stage_makes_writers_compress),
		cmocka_unit_test(snapshot_that_no_longer_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
