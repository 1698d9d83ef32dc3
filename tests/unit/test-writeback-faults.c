/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The second tier when something goes wrong, or happens at a bad moment: no wrong byte, nothing
 * lost that was in memory, EIO for exactly the pages whose only copy is gone. And what was wrong in
 * the kernel's writeback after it had landed, by commit.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem(), pthread_timedjoin_np() */
#endif
#include "wb-pages.h"

/* --- faults --- */

static void write_errors_keep_the_page(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct disk_wb_request request = { .modes = WB_ALL };
	struct disk_wb_result r;
	struct disk_stat st;
	struct uz_error e;

	wb_fault(FAULT_WRITE, 1000, 3);
	r = wb_all(disk, WB_ALL);
	assert_true(r.errors >= 3);
	assert_false(stat_of(disk).bd.paused);
	assert_content(disk);
	assert_true(disk_check(disk));
	assert_int_equal(wb_all(disk, WB_ALL).pages, r.errors);
	write_pages(disk);
	/* Again and again: one warning, and a pause. Administrators may try all the same. */
	wb_fault(FAULT_NOSPC, 1000, -1);
	assert_int_equal(disk_writeback(disk, &request, NULL, NULL, &r, &e), -1);
	assert_int_equal(e.code, EIO);
	st = stat_of(disk);
	assert_true(st.bd.paused);
	assert_int_equal(r.pages, 0);
	assert_true(st.bd.write_errors >= 8 && st.bd.write_errors <= 12);
	assert_content(disk);
	assert_true(disk_check(disk));
	assert_int_equal(disk_writeback(disk, &request, NULL, NULL, &r, &e), -1);
	assert_true(stat_of(disk).bd.write_errors <= 16);
	wb_fault(FAULT_NOSPC, 0, 0);
	assert_true(wb_all(disk, WB_ALL).pages > 0);
	assert_false(stat_of(disk).bd.paused);
	assert_content(disk);
	end(disk);
}

/* Kernel bf989ade270d: a read that failed "succeeded", its page unread. */
static void a_lost_record_is_EIO_and_only_that(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	unsigned good = 0, bad = 0;

	wb_all(disk, WB_HUGE);
	wb_fault(FAULT_READ, 1000, -1);
	for (unsigned i = 0; i < PAGES; i++) {
		errno = 0;
		if (disk_read(disk, out, 4096, i * 4096) == 0) {
			assert_memory_equal(out, in + i * 4096, 4096);
			assert_int_not_equal(i % NR_KINDS, RANDOM);
			good++;
		} else {
			assert_int_equal(errno, EIO);
			assert_int_equal(i % NR_KINDS, RANDOM);
			bad++;
		}
	}
	assert_true(good && bad);
	assert_int_equal(disk_read(disk, out, sizeof(out), 0), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(disk_write(disk, in, 1, RANDOM * 4096 + 7, false), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(stat_of(disk).io.failed_reads, bad + 1);
	assert_int_equal(stat_of(disk).io.failed_writes, 1);
	assert_true(stat_of(disk).bd.read_errors >= bad);
	/* Written anew, it is there again; and the others as soon as the backing is. */
	assert_int_equal(disk_write(disk, in + 4 * 4096, 4096, 4 * 4096, false), 0);
	assert_int_equal(disk_read(disk, out, 4096, 4 * 4096), 0);
	wb_fault(FAULT_READ, 0, 0);
	assert_content(disk);
	end(disk);
}

static void damage_is_noticed(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	uint64_t pages, bad, n = wb_all(disk, WB_ALL).pages;
	unsigned failed = 0;

	assert_true(disk_verify(disk, &pages, &bad, NULL, NULL));
	assert_int_equal(pages, PAGES);
	assert_int_equal(bad, 0);
	assert_int_equal(stat_of(disk).bd.bd_reads, 0); /* they are clients' */
	wb_fault(FAULT_CORRUPT_READ, 1000, -1);
	for (unsigned i = 0; i < PAGES; i++) {
		memset(out, 0, 4096);
		if (disk_read(disk, out, 4096, i * 4096) == 0)
			assert_memory_equal(out, in + i * 4096, 4096);
		else
			failed++;
	}
	assert_true(failed > 0 && failed <= n);
	assert_int_equal(stat_of(disk).bd.checksum_errors, failed);
	assert_true(disk_verify(disk, &pages, &bad, NULL, NULL));
	assert_true(bad > 0);
	wb_fault(FAULT_CORRUPT_READ, 0, 0);
	assert_content(disk);
	end(disk);
}

/* Of what is written wrongly, exactly that is lost, and none is ever wrong. */
static void wrong_writes_are_EIO(enum backing_fault fault)
{
	struct disk *disk = filled((struct disk_config){ .wb_batch = 16 });
	unsigned failed = 0;

	wb_fault(fault, 300, -1);
	wb_all(disk, WB_ALL);
	wb_fault(fault, 0, 0);
	for (unsigned i = 0; i < PAGES; i++) {
		if (disk_read(disk, out, 4096, i * 4096) == 0)
			assert_memory_equal(out, in + i * 4096, 4096);
		else
			failed++;
	}
	assert_true(backing_fault_hits(wb_faulty, fault) > 0);
	if (fault == FAULT_CORRUPT_WRITE || fault == FAULT_LOST_WRITE)
		assert_true(failed > 0);
	else
		assert_int_equal(failed, 0);
	end(disk);
}

static void each_fault_of_writes(void **state)
{
	wrong_writes_are_EIO(FAULT_CORRUPT_WRITE);
	wrong_writes_are_EIO(FAULT_LOST_WRITE);
	wrong_writes_are_EIO(FAULT_TORN_WRITE);
	wrong_writes_are_EIO(FAULT_WRITE_SHORT);
	wrong_writes_are_EIO(FAULT_WRITE);
	wrong_writes_are_EIO(FAULT_DELAY);
}

static void short_reads_are_continued(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });

	wb_all(disk, WB_ALL);
	wb_fault(FAULT_READ_SHORT, 700, -1);
	assert_content(disk);
	assert_true(backing_fault_hits(wb_faulty, FAULT_READ_SHORT) > 0);
	end(disk);
}

static void trim_errors_do_no_harm(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });

	wb_fault(FAULT_TRIM, 1000, -1);
	for (int i = 0; i < 5; i++) {
		wb_all(disk, WB_ALL);
		assert_content(disk);
		write_pages(disk);
	}
	end(disk);
}

/* --- what was wrong in the kernel --- */

/* 3e8d8eb8d7f5: a block that was reserved leaked at the end of a pass. */
static void no_room_leaks_at_the_end_of_a_pass(void **state)
{
	/* So little room that a leak of a segment shows soon. */
	struct disk *disk = filled((struct disk_config){ .backing_size = 8 * MIB });

	for (int i = 0; i < 30; i++) {
		struct disk_wb_result r = wb_all(disk, WB_ALL);

		assert_false(r.full);
		assert_int_equal(r.errors, 0);
		write_pages(disk);
	}
	assert_content(disk);
	end(disk);
}

/* 3bf1c285dc40: what lay behind an object in memory went to the disk with it. */
static void nothing_else_gets_to_the_backing(void **state)
{
	static const char secret[] = "nobody but the client ever sees this line";
	struct disk *disk = wb_disk((struct disk_config){ .size = 16 * MIB });
	char *file = malloc(64 * MIB);
	ssize_t len;
	int fd;

	for (unsigned i = 0; i < PAGES; i++) {
		make(in + i * 4096, 4096, i % 2 ? HALF : RANDOM);
		if (i % 2 == 0)
			memcpy(in + i * 4096 + rng() % 4000, secret, sizeof(secret));
	}
	write_pages(disk);
	/* Raw pages with the secret are freed in between, and the others take their place. */
	for (unsigned i = 1; i < PAGES; i += 4)
		disk_trim(disk, 4096, (i - 1) * 4096);
	for (unsigned i = 1; i < PAGES; i += 2) {
		struct disk_wb_range range = { i, i };
		struct disk_wb_request request = { .ranges = &range, .nr_ranges = 1 };
		struct disk_wb_result r;
		struct uz_error e;

		assert_int_equal(disk_writeback(disk, &request, NULL, NULL, &r, &e), 0);
		assert_int_equal(r.pages, 1);
	}
	fd = open(wb_path, O_RDONLY);
	assert_true(fd >= 0);
	len = pread(fd, file, 64 * MIB, 0);
	close(fd);
	assert_true(len > (ssize_t)(PAGES / 2 * 2048));
	assert_null(memmem(file, (size_t)len, secret, sizeof(secret) - 1));
	free(file);
	end(disk);
}

/* b0377ee80429: flags were lost, and huge pages counted down twice. */
static void huge_pages_are_counted_once(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	uint64_t huge = stat_of(disk).mm.huge_pages, since = stat_of(disk).mm.huge_pages_since;

	assert_true(huge > 0);
	wb_all(disk, WB_HUGE);
	assert_int_equal(stat_of(disk).mm.huge_pages, 0);
	assert_int_equal(stat_of(disk).mm.huge_pages_since, since);
	disk_trim(disk, sizeof(in) / 2, 0);
	assert_int_equal(stat_of(disk).mm.huge_pages, 0);
	write_pages(disk);
	assert_int_equal(stat_of(disk).mm.huge_pages, huge);
	end(disk);
}

static void *pass_main(void *opaque)
{
	struct disk_wb_request request = { .modes = WB_ALL };
	struct disk_wb_result r;
	struct uz_error e;

	disk_writeback(opaque, &request, NULL, NULL, &r, &e);
	return NULL;
}

/* 894913e2d35c, 391f057f44a5: slots were counted before the lock was taken. */
static void smaller_under_a_running_pass(void **state)
{
	for (int i = 0; i < 10; i++) {
		struct disk *disk = filled((struct disk_config){ .wb_batch = 8 });
		struct disk_block b[PAGES];
		pthread_t thread;
		struct uz_error e;
		uint64_t next;

		wb_fault(FAULT_DELAY, 500, -1);
		pthread_create(&thread, NULL, pass_main, disk);
		usleep((useconds_t)(rng() % 20000));
		assert_int_equal(disk_resize(disk, 4096 * 3, &e), 0);
		disk_blocks(disk, 0, UINT64_MAX, b, PAGES, &next);
		assert_int_equal(disk_resize(disk, 16 * MIB, &e), 0);
		pthread_join(thread, NULL);
		assert_int_equal(disk_read(disk, out, sizeof(out), 0), 0);
		memset(in + 3 * 4096, 0, sizeof(in) - 3 * 4096);
		assert_memory_equal(in, out, sizeof(in));
		end(disk);
	}
}

static void reset_under_a_running_pass(void **state)
{
	struct disk *disk = filled((struct disk_config){ .wb_batch = 8 });

	wb_fault(FAULT_DELAY, 500, -1);
	for (int i = 0; i < 10; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, pass_main, disk);
		usleep((useconds_t)(rng() % 20000));
		disk_reset(disk);
		assert_int_equal(stat_of(disk).bd.bd_count, 0);
		assert_int_equal(stat_of(disk).bd.bytes_used, 0);
		pthread_join(thread, NULL);
		assert_true(disk_check(disk));
		write_pages(disk);
		assert_content(disk);
	}
	end(disk);
}

/* bf62f69574b1: what a completion used was freed under it; and rule 9. */
static void tear_down_with_work_in_flight(void **state)
{
	for (int i = 0; i < 6; i++) {
		struct disk *disk = filled((struct disk_config){ .wb_batch = 8 });
		uint64_t start;
		pthread_t thread;

		wb_fault(i % 2 ? FAULT_DELAY : FAULT_HANG, 500, -1);
		pthread_create(&thread, NULL, pass_main, disk);
		usleep((useconds_t)(rng() % 20000));
		start = uz_nsec();
		disk_stop(disk);
		pthread_join(thread, NULL);
		disk_destroy(disk);
		assert_true(uz_nsec() - start < UINT64_C(20) * 1000000000);
	}
}

/* 74363ec674cb, be48c412f6eb: a backing that leaked, and one that had no size. */
static void what_is_refused_leaves_nothing_behind(void **state)
{
	struct disk_config config = { .size = 16 * MIB };
	struct uz_error e;
	struct disk *disk, *other;
	int fd;

	for (int i = 0; i < 3; i++) {
		config.backing = "/nowhere/at/all";
		assert_null(wb_try(config, "lz4", &e));
		assert_true(e.code == ENOENT);
		config.backing = wb_path;
		config.backing_size = 8192;
		unlink(wb_path);
		assert_null(wb_try(config, "lz4", &e));
		assert_int_equal(e.code, EINVAL);
		config.backing_size = 0;
	}
	unlink(wb_path);
	fd = open(wb_path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 64 * MIB), 0);
	assert_int_equal(pwrite(fd, "somebody's letters", 18, 0), 18);
	close(fd);
	assert_null(wb_try(config, "lz4", &e));
	assert_int_equal(e.code, EEXIST);
	config.backing_overwrite = true;
	disk = wb_try(config, "lz4", &e);
	assert_non_null(disk);
	other = wb_try(config, "lz4", &e); /* one at a time */
	assert_null(other);
	assert_int_equal(e.code, EBUSY);
	disk_destroy(disk);
	/* Never started. */
	config.backing_overwrite = false;
	config.backing = wb_path;
	zcomp_parse("lz4", &config.algorithm, &config.level, e.text, sizeof(e.text));
	disk = disk_create(&config, &e);
	assert_non_null(disk);
	disk_destroy(disk);
	disk = wb_try(config, "lz4", &e);
	assert_non_null(disk);
	end(disk);
}

/* --- at a bad moment --- */

struct late {
	struct disk *disk;
	uint64_t offset, len;
	bool write;
	int ret, err;
	unsigned char buf[4096];
};

static void *late_main(void *opaque)
{
	struct late *l = opaque;

	l->ret = l->write ? disk_write(l->disk, l->buf, l->len, l->offset, false)
			  : disk_read(l->disk, l->buf, l->len, l->offset);
	l->err = errno;
	return NULL;
}

static uint64_t record_of(struct disk *disk, uint64_t index)
{
	struct table_ref ref;
	uint64_t loc;

	assert_true(table_get(disk->table, index, false, &ref));
	assert_int_equal(slot_type(slot_peek(table_slot(&ref, index))), SLOT_BACKED);
	loc = slot_val(table_slot(&ref, index));
	table_put(disk->table, &ref, 0);
	return log_loc_offset(loc);
}

/* The page's record alone. */
static void fault_at(struct disk *disk, enum backing_fault fault, uint64_t index, uint32_t us)
{
	uint64_t at = record_of(disk, index);
	struct backing_fault_rule rule = {
		.permille = 1000, .times = 1, .from = at, .to = at + 12, .delay_us = us
	};

	backing_fault_set(wb_faulty, fault, &rule);
}

static void write_page_back(struct disk *disk, uint64_t index)
{
	struct disk_wb_range range = { index, index };
	struct disk_wb_request request = { .ranges = &range, .nr_ranges = 1 };
	struct disk_wb_result r;
	struct uz_error e;

	assert_int_equal(disk_writeback(disk, &request, NULL, NULL, &r, &e), 0);
	assert_int_equal(r.pages, 1);
}

/* A read that fails for a page that was written anew meanwhile has not failed. */
static void a_stale_read_is_repeated(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct late l = { .disk = disk, .offset = TEXT * 4096, .len = 4096 };
	pthread_t thread;

	wb_all(disk, WB_ALL);
	fault_at(disk, FAULT_READ, TEXT, 0);
	fault_at(disk, FAULT_DELAY, TEXT, 300000);
	pthread_create(&thread, NULL, late_main, &l);
	usleep(100000);
	make(in + TEXT * 4096, 4096, HALF);
	assert_int_equal(disk_write(disk, in + TEXT * 4096, 4096, TEXT * 4096, false), 0);
	pthread_join(thread, NULL);
	assert_int_equal(l.ret, 0);
	assert_memory_equal(l.buf, in + TEXT * 4096, 4096);
	assert_int_equal(backing_fault_hits(wb_faulty, FAULT_DELAY), 1);
	assert_int_equal(stat_of(disk).io.failed_reads, 0);
	end(disk);
}

/* A part is written to a page that changes, and goes to the backing again, while it is fetched. */
static void a_stale_part_is_patched_anew(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct late l = { .disk = disk, .offset = TEXT * 4096 + 100, .len = 10, .write = true };
	pthread_t thread;

	memset(l.buf, 0xcc, 10);
	wb_all(disk, WB_ALL);
	fault_at(disk, FAULT_DELAY, TEXT, 300000);
	pthread_create(&thread, NULL, late_main, &l);
	usleep(100000);
	make(in + TEXT * 4096, 4096, HALF);
	assert_int_equal(disk_write(disk, in + TEXT * 4096, 4096, TEXT * 4096, false), 0);
	write_page_back(disk, TEXT);
	pthread_join(thread, NULL);
	memset(in + TEXT * 4096 + 100, 0xcc, 10);
	assert_int_equal(l.ret, 0);
	assert_int_equal(backing_fault_hits(wb_faulty, FAULT_DELAY), 1);
	assert_content(disk);
	end(disk);
}

/* It cannot be fetched, and meanwhile is trimmed, the last page of its leaf. */
static void a_part_of_a_page_that_goes(void **state)
{
	struct disk *disk = wb_disk((struct disk_config){ .size = 16 * MIB });
	uint64_t index = 3 * LEAF_SLOTS + 5;
	struct late l = { .disk = disk, .offset = index * 4096 + 100, .len = 10, .write = true };
	pthread_t thread;

	make(in, 4096, TEXT);
	assert_int_equal(disk_write(disk, in, 4096, index * 4096, false), 0);
	write_page_back(disk, index);
	memset(l.buf, 0xcc, 10);
	fault_at(disk, FAULT_READ, index, 0);
	fault_at(disk, FAULT_DELAY, index, 300000);
	pthread_create(&thread, NULL, late_main, &l);
	usleep(100000);
	assert_int_equal(disk_trim(disk, 4096, index * 4096), 0);
	pthread_join(thread, NULL);
	assert_int_equal(l.ret, 0);
	assert_int_equal(backing_fault_hits(wb_faulty, FAULT_DELAY), 1);
	memset(in, 0, 4096);
	memset(in + 100, 0xcc, 10);
	assert_int_equal(disk_read(disk, out, 4096, index * 4096), 0);
	assert_memory_equal(in, out, 4096);
	end(disk);
}

static void *write_on(void *opaque)
{
	struct late *l = opaque;

	/* Beyond the limit, as the backing takes nothing. */
	for (l->offset = 0; l->offset < 16 * MIB; l->offset += 4096) {
		make(l->buf, 4096, RANDOM);
		l->ret = disk_write(l->disk, l->buf, 4096, l->offset, false);
		l->err = errno;
		if (l->ret == -1)
			break;
	}
	return NULL;
}

static void a_write_does_not_wait_for_ever(void **state)
{
	uint64_t usual = evict_patience, start;
	struct disk *disk = wb_disk((struct disk_config){ .size = 16 * MIB,
		.mem_limit = 1 * MIB,
		.wb_auto = true });
	struct late l = { .disk = disk };
	struct timespec until;
	pthread_t thread;

	evict_patience = 500000000;
	wb_fault(FAULT_HANG, 1000, -1);
	start = uz_nsec();
	pthread_create(&thread, NULL, write_on, &l);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	assert_int_equal(pthread_timedjoin_np(thread, NULL, &until), 0);
	assert_true(uz_nsec() - start >= evict_patience);
	assert_int_equal(l.ret, -1);
	assert_int_equal(l.err, ENOSPC);
	evict_patience = usual;
	disk_stop(disk);
	disk_destroy(disk);
}

static void *reset_main(void *opaque)
{
	disk_reset(opaque);
	return NULL;
}

static void *ages_main(void *opaque)
{
	struct disk_ages ages;

	disk_get_ages(opaque, &ages);
	return NULL;
}

/* A reset waits for the pass, and that for its I/O: statistics for neither. */
static void ages_are_told_beside_a_reset(void **state)
{
	struct disk *disk = wb_disk((struct disk_config){ .size = 16 * MIB,
		.mem_limit = 2 * MIB,
		.wb_high = 50,
		.wb_low = 20,
		.wb_auto = true });
	struct timespec until;
	pthread_t reset, ages;

	wb_fault(FAULT_HANG, 1000, -1);
	for (unsigned i = 0; i < 300; i++) {
		make(in, 4096, RANDOM);
		assert_int_equal(disk_write(disk, in, 4096, i * 4096, false), 0);
	}
	while (!backing_fault_hits(wb_faulty, FAULT_HANG))
		usleep(1000);
	pthread_create(&reset, NULL, reset_main, disk);
	while (!disk->wb.hold)
		usleep(1000);
	pthread_create(&ages, NULL, ages_main, disk);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 30;
	assert_int_equal(pthread_timedjoin_np(ages, NULL, &until), 0);
	disk_stop(disk);
	pthread_join(reset, NULL);
	disk_destroy(disk);
}

/* Where nothing can be written, cleaning does not read and try all the time. */
static void cleaning_in_vain_is_rare(void **state)
{
	struct disk *disk = wb_disk((struct disk_config){ .size = 32 * MIB });
	uint64_t errors, start;

	for (unsigned i = 0; i < 4096; i++) {
		make(in, 4096, RANDOM);
		assert_int_equal(disk_write(disk, in, 4096, i * 4096, false), 0);
	}
	assert_int_equal(wb_all(disk, WB_ALL).pages, 4096);
	wb_fault(FAULT_NOSPC, 1000, -1);
	errors = stat_of(disk).bd.write_errors;
	start = uz_nsec();
	for (unsigned i = 0; uz_nsec() - start < UINT64_C(3000000000); i++) {
		assert_int_equal(disk_write(disk, in, 4096, i * 3 % 4096 * 4096, false), 0);
		usleep(1000);
	}
	errors = stat_of(disk).bd.write_errors - errors;
	assert_true(errors > 0 && errors <= 150); /* 500 if it is tried each 50 ms */
	wb_fault(FAULT_NOSPC, 0, 0);
	end(disk);
}

/* The same page, on its way several times with different content. */
static void only_the_last_content_arrives(void **state)
{
	static struct disk_wb_range ranges[100];
	struct disk_wb_request request = { .ranges = ranges, .nr_ranges = 100 };
	struct disk *disk = filled((struct disk_config){ .wb_batch = 200 });

	wb_fault(FAULT_DELAY, 1000, -1);
	for (int i = 0; i < 20; i++) {
		struct disk_wb_result r;
		struct uz_error e;
		pthread_t thread;
		struct late l = { .disk = disk, .write = true, .len = 4096 };

		make(l.buf, 4096, RANDOM);
		pthread_create(&thread, NULL, late_main, &l);
		assert_int_equal(disk_writeback(disk, &request, NULL, NULL, &r, &e), 0);
		pthread_join(thread, NULL);
		memcpy(in, l.buf, 4096);
		assert_int_equal(disk_read(disk, out, 4096, 0), 0);
		assert_memory_equal(in, out, 4096);
	}
	end(disk);
}

/* A token is one of a staged page, or one of a page that is written back, never both. */
static void tokens_are_not_mixed_up(void **state)
{
	struct disk *disk = filled((struct disk_config){ 0 });
	struct page_io io = io_begin(disk, uz_nsec());
	size_t gained = 0;
	struct slot *slot;
	uint32_t flags;

	assert_true(io_leaf(&io, TEXT));
	slot = table_slot(&io.ref, TEXT);
	flags = slot_peek(slot);
	slot_lock(slot);
	slot_unlock(slot, flags | SLOT_WRITEBACK | 5u << SLOT_TOKEN_SHIFT);
	page_finish(&io, TEXT, 5, 0, "other content", 13);
	/* Another page's record, or one that was sent before. */
	assert_false(page_sent(&io, TEXT, 4, 8192, 0, &gained));
	slot_lock(slot);
	assert_int_equal(slot_state(slot), flags | SLOT_WRITEBACK | 5u << SLOT_TOKEN_SHIFT);
	slot_unlock(slot, flags);
	assert_false(page_sent(&io, TEXT, 5, 8192, 0, &gained));
	io_leaf_put(&io);
	io_end(&io);
	assert_content(disk);
	end(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_errors_keep_the_page),
		cmocka_unit_test(a_lost_record_is_EIO_and_only_that),
		cmocka_unit_test(damage_is_noticed),
		cmocka_unit_test(each_fault_of_writes),
		cmocka_unit_test(short_reads_are_continued),
		cmocka_unit_test(trim_errors_do_no_harm),
		cmocka_unit_test(no_room_leaks_at_the_end_of_a_pass),
		cmocka_unit_test(nothing_else_gets_to_the_backing),
		cmocka_unit_test(huge_pages_are_counted_once),
		cmocka_unit_test(smaller_under_a_running_pass),
		cmocka_unit_test(reset_under_a_running_pass),
		cmocka_unit_test(tear_down_with_work_in_flight),
		cmocka_unit_test(what_is_refused_leaves_nothing_behind),
		cmocka_unit_test(a_stale_read_is_repeated),
		cmocka_unit_test(a_stale_part_is_patched_anew),
		cmocka_unit_test(a_part_of_a_page_that_goes),
		cmocka_unit_test(a_write_does_not_wait_for_ever),
		cmocka_unit_test(ages_are_told_beside_a_reset),
		cmocka_unit_test(cleaning_in_vain_is_rare),
		cmocka_unit_test(only_the_last_content_arrives),
		cmocka_unit_test(tokens_are_not_mixed_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
