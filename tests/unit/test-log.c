/* SPDX-License-Identifier: BSD-3-Clause */
/* The log, one rule a test. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "log-fixture.h"

#include <cmocka.h>

#define NR 20000

/* What owners hold. */
static struct {
	log_loc_t loc;
	uint32_t len;
	int err;
	unsigned told;
} owners[NR];
static uint64_t rng_state = 42;

static bool written(void *opaque, uint64_t owner, uint64_t cookie, log_loc_t loc, int err)
{
	assert_int_equal(cookie, owner ^ 0x1234);
	owners[owner].told++;
	owners[owner].err = err;
	owners[owner].loc = loc;
	return true;
}

static bool move(void *opaque, uint64_t owner, log_loc_t from, log_loc_t to)
{
	if (owner >= NR || owners[owner].loc != from)
		return false;
	if (to)
		owners[owner].loc = to;
	return true;
}

static const struct log_config plain = { .move = move };

static struct log_writer *new_writer(struct test_log *t)
{
	struct log_writer *w = log_writer_create(
		t->log, &(struct log_writer_config){ .written = written });

	assert_non_null(w);
	return w;
}

static int append(struct log_writer *w, uint64_t owner, uint32_t len)
{
	unsigned char bytes[LOG_MAX_LEN];

	fill_bytes(bytes, len, owner);
	owners[owner].len = len;
	owners[owner].told = 0;
	owners[owner].loc = 0;
	return log_append(w, owner, owner % 16, owner ^ 0x1234, bytes, len);
}

/* Its error; its bytes must be right if it has none. */
static int read_one(struct test_log *t, uint64_t owner)
{
	struct log_req req = { .loc = owners[owner].loc, .owner = owner };
	struct log_reading reading;

	log_pin(t->log, req.loc);
	log_read(t->log, &req, 1, &reading);
	if (!req.error) {
		assert_int_equal(req.codec, owner % 16);
		assert_true(bytes_are(req.bytes, owners[owner].len, owner));
	}
	log_read_end(&reading);
	log_unpin(t->log, req.loc);
	return req.error;
}

static struct log_stats stats(struct test_log *t)
{
	struct log_stats st;

	log_get_stats(t->log, &st);
	return st;
}

static void forget(struct test_log *t, uint64_t owner)
{
	log_free(t->log, owners[owner].loc);
	owners[owner].loc = 0;
}

static void finish(struct test_log *t, struct log_writer *w)
{
	log_writer_destroy(w);
	test_log_close(t);
}

static struct test_log open_file(const char *name, uint64_t size, uint64_t fault)
{
	return test_log_open(
		&(struct backing_config){ .where = test_path(name), .size = size }, fault, &plain);
}

static void fault(
	struct test_log *t, enum backing_fault kind, unsigned permille, uint64_t from, uint64_t to)
{
	backing_fault_set(t->backing, kind,
		&(struct backing_fault_rule){
			.permille = permille, .times = -1, .from = from, .to = to });
}

/* --- records --- */

static void every_length_comes_back(void **state)
{
	struct test_log t = open_file("lengths", 64 * MIB, 0);
	struct log_writer *w = new_writer(&t);
	uint64_t used = 0;

	for (uint32_t len = 1; len <= 4096; len++) {
		assert_int_equal(append(w, len, len), 0);
		used += LOG_RECORD(len);
	}
	assert_int_equal(log_commit(w), 0);
	for (uint32_t len = 1; len <= 4096; len++) {
		assert_int_equal(owners[len].told, 1);
		assert_true(log_loc_valid(owners[len].loc));
		assert_int_equal(log_loc_len(owners[len].loc), len);
		assert_int_equal(read_one(&t, len), 0);
	}
	assert_int_equal(stats(&t).bytes_used, used);
	assert_int_equal(stats(&t).records, 4096);
	assert_int_equal(append(w, 1, 1), 0); /* for an owner that refuses parameters, too: */
	assert_int_equal(log_append(w, LOG_MAX_OWNER + 1, 0, 0, "", 1), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(log_append(w, 0, 16, 0, "", 1), -1);
	assert_int_equal(log_append(w, 0, 0, 0, "", 0), -1);
	assert_int_equal(log_append(w, 0, 0, 0, "", 4097), -1);
	assert_int_equal(errno, EINVAL);
	finish(&t, w);
}

static void overhead_is_small(void **state)
{
	struct test_log t = open_file("overhead", 64 * MIB, 0);
	struct log_writer *w = new_writer(&t);
	uint64_t bytes = 0;
	struct log_stats st;

	for (unsigned i = 0; i < NR; i++) {
		uint32_t len = 200 + rng_next(&rng_state) % 2000;

		bytes += len;
		assert_int_equal(append(w, i, len), 0);
	}
	assert_int_equal(log_commit(w), 0);
	st = stats(&t);
	assert_true(st.bytes_used <= bytes * 103 / 100);
	/* Packed: what chunks waste is small, too, and it is what was written. */
	assert_true(st.bytes_written <= bytes * 103 / 100);
	assert_true(st.bytes_allocated <= st.bytes_written);
	assert_true(backing_allocated(t.backing) <= st.bytes_allocated + 2 * MIB);
	finish(&t, w);
}

static void reads_go_together(void **state)
{
	struct test_log t = open_file("together", 64 * MIB, 0);
	struct log_writer *w = new_writer(&t);
	struct log_req reqs[LOG_READ_MAX];
	struct log_reading reading;

	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(append(w, i, 4096), 0);
	log_commit(w);
	/* Neighbours, the last first, and one of them twice: one I/O. */
	for (unsigned i = 0; i < LOG_READ_MAX; i++) {
		uint64_t owner = 131 - i - (i == 31);

		reqs[i] = (struct log_req){ .loc = owners[owner].loc, .owner = owner };
		log_pin(t.log, reqs[i].loc);
	}
	assert_int_equal(log_read(t.log, reqs, LOG_READ_MAX, &reading), 0);
	for (unsigned i = 0; i < LOG_READ_MAX; i++) {
		assert_true(bytes_are(reqs[i].bytes, 4096, reqs[i].owner));
		log_unpin(t.log, reqs[i].loc);
	}
	log_read_end(&reading);
	assert_true(stats(&t).reads <= 2); /* two if a chunk ends between them */
	/* Far apart, the most room that a reading can need. */
	for (unsigned i = 0; i < LOG_READ_MAX; i++)
		reqs[i] = (struct log_req){ .loc = owners[2 * i].loc, .owner = 2 * i };
	assert_int_equal(log_read(t.log, reqs, LOG_READ_MAX, &reading), 0);
	log_read_end(&reading);
	for (unsigned i = 0; i < LOG_READ_MAX; i++)
		reqs[i] = (struct log_req){ .loc = owners[30 * i].loc, .owner = 30 * i };
	assert_int_equal(log_read(t.log, reqs, LOG_READ_MAX, &reading), 0);
	log_read_end(&reading);
	finish(&t, w);
}

/* All bytes of a file. */
static unsigned char *slurp(const char *path, size_t *size)
{
	FILE *fp = fopen(path, "r");
	struct stat st;
	unsigned char *p;

	assert_non_null(fp);
	assert_int_equal(fstat(fileno(fp), &st), 0);
	p = malloc(st.st_size);
	assert_non_null(p);
	assert_int_equal(fread(p, 1, st.st_size, fp), st.st_size);
	fclose(fp);
	*size = st.st_size;
	return p;
}

static void every_byte_is_defined(void **state)
{
	const char *path = test_path("defined");
	struct test_log t = test_log_open(
		&(struct backing_config){ .where = path, .size = 64 * MIB }, 0, &plain);
	struct log_writer *w = log_writer_create(
		t.log, &(struct log_writer_config){ .written = written, .chunks = 1 });
	unsigned char *bytes;
	size_t size, at;

	/* The one buffer is full of other records before a small one is in it. */
	for (unsigned i = 0; i < 63; i++)
		append(w, i, 4096);
	log_commit(w);
	append(w, 1000, 1);
	log_commit(w);
	bytes = slurp(path, &size);
	at = log_loc_offset(owners[1000].loc);
	assert_int_equal(at % 512, 0);
	for (size_t i = at + 13; i < size; i++)
		if (bytes[i])
			fail_msg("byte %zu is %u", i, bytes[i]);
	free(bytes);
	finish(&t, w);
}

/* --- damage --- */

static void damage_is_seen_and_counted(void **state)
{
	const char *path = test_path("damage");
	struct test_log t = test_log_open(
		&(struct backing_config){ .where = path, .size = 16 * MIB, .no_direct = true }, 0,
		&plain);
	struct log_writer *w = new_writer(&t);
	int fd = open(path, O_RDWR);

	for (unsigned i = 0; i < 100; i++)
		append(w, i, 1000);
	log_commit(w);
	/* Header, first and last byte, of three; each bit matters. */
	for (unsigned i = 0; i < 3; i++) {
		off_t at = log_loc_offset(owners[10 * i].loc) + (i == 0 ? 5 : i == 1 ? 12 : 1011);
		unsigned char byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 1 << i;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(read_one(&t, i), i % 10 == 0 && i < 30 ? EIO : 0);
	assert_int_equal(stats(&t).checksum_errors, 3);
	assert_int_equal(stats(&t).read_errors, 0);
	/* An intact one, but somebody else's. */
	owners[200] = owners[50];
	assert_int_equal(read_one(&t, 200), EIO);
	assert_int_equal(stats(&t).checksum_errors, 4);
	close(fd);
	finish(&t, w);
}

static void lost_and_misplaced_writes_are_seen(void **state)
{
	/* Nothing is punched, so all that was there stays. */
	struct test_log t = test_log_open(
		&(struct backing_config){
			.where = test_path("lost"), .size = 16 * MIB, .locked = true },
		1, &plain);
	struct log_writer *w = new_writer(&t);
	unsigned lost = 0;
	struct log_stats st;

	/* The same owners with the same bytes in the same places, again and again: what an
	 * earlier round left there must not pass for what was lost. */
	for (unsigned round = 0; round < 3; round++) {
		if (round == 2)
			fault(&t, FAULT_LOST_WRITE, 1000, 0, 0);
		for (unsigned i = 0; i < 200; i++)
			append(w, i, 512 - 12);
		assert_int_equal(log_commit(w), 0);
		for (unsigned i = 0; i < 200; i++)
			lost += read_one(&t, i) == EIO;
		assert_int_equal(lost, round == 2 ? 200 : 0);
		for (unsigned i = 0; i < 200; i++)
			forget(&t, i);
		log_clean(t.log, 1000);
	}
	st = stats(&t);
	assert_int_equal(st.checksum_errors, 200);
	assert_int_equal(st.bytes_allocated, 0);
	finish(&t, w);
}

static void a_bad_block_costs_nobody_else(void **state)
{
	struct test_log t = open_file("block", 16 * MIB, 1);
	struct log_writer *w = new_writer(&t);
	struct log_req reqs[LOG_READ_MAX];
	struct log_reading reading;
	uint64_t at;

	for (unsigned i = 0; i < 200; i++)
		append(w, i, 4096);
	log_commit(w);
	at = log_loc_offset(owners[16].loc) + 2048;
	fault(&t, FAULT_READ, 1000, at, at + 1);
	for (unsigned i = 0; i < LOG_READ_MAX; i++)
		reqs[i] = (struct log_req){ .loc = owners[i].loc, .owner = i };
	assert_int_equal(log_read(t.log, reqs, LOG_READ_MAX, &reading), 1);
	for (unsigned i = 0; i < LOG_READ_MAX; i++) {
		assert_int_equal(reqs[i].error, i == 16 ? EIO : 0);
		assert_true(i == 16 || bytes_are(reqs[i].bytes, 4096, i));
	}
	log_read_end(&reading);
	assert_int_equal(stats(&t).read_errors, 1);
	assert_int_equal(stats(&t).checksum_errors, 0);
	finish(&t, w);
}

/* Records that are read one by one share blocks: what a later read spoils is damaged, not intact. */
static void what_neighbours_spoil_is_noticed(void **state)
{
	struct test_log t = open_file("spoil", 16 * MIB, 1);
	struct log_writer *w = new_writer(&t);
	struct log_req reqs[LOG_READ_MAX];
	struct log_reading reading;

	for (unsigned i = 0; i < LOG_READ_MAX; i++)
		append(w, i, 300);
	log_commit(w);
	for (unsigned i = 0; i < 100; i++) {
		struct backing_fault_rule once = { .permille = 1000, .times = 1 };

		backing_fault_set(t.backing, FAULT_READ, &once);
		fault(&t, FAULT_CORRUPT_READ, 300, 0, 0);
		for (unsigned r = 0; r < LOG_READ_MAX; r++)
			reqs[r] = (struct log_req){ .loc = owners[r].loc, .owner = r };
		log_read(t.log, reqs, LOG_READ_MAX, &reading);
		for (unsigned r = 0; r < LOG_READ_MAX; r++)
			assert_true(reqs[r].error || bytes_are(reqs[r].bytes, 300, r));
		log_read_end(&reading);
	}
	backing_fault_set(t.backing, FAULT_CORRUPT_READ, NULL);
	finish(&t, w);
}

static void write_errors_are_told(void **state)
{
	static const struct {
		enum backing_fault fault;
		int err;
	} cases[] = { { FAULT_WRITE, EIO }, { FAULT_TORN_WRITE, EIO }, { FAULT_NOSPC, ENOSPC } };
	struct test_log t = open_file("errors", 64 * MIB, 1);
	struct log_writer *w = new_writer(&t);

	for (unsigned c = 0; c < ARRAY_SIZE(cases); c++) {
		fault(&t, cases[c].fault, 1000, 0, 0);
		for (unsigned i = 0; i < 1000; i++)
			assert_int_equal(append(w, i, 3000), 0);
		assert_int_equal(log_commit(w), -1);
		assert_int_equal(errno, cases[c].err);
		for (unsigned i = 0; i < 1000; i++) {
			assert_int_equal(owners[i].told, 1);
			assert_int_equal(owners[i].err, cases[c].err);
			assert_int_equal(owners[i].loc, 0);
		}
		assert_int_equal(stats(&t).records, 0);
		assert_int_equal(stats(&t).write_errors, stats(&t).writes);
		backing_fault_set(t.backing, cases[c].fault, NULL);
	}
	/* And then it works again, and nothing has leaked. */
	append(w, 1, 3000);
	assert_int_equal(log_commit(w), 0);
	assert_int_equal(read_one(&t, 1), 0);
	log_clean(t.log, 1000);
	assert_true(stats(&t).bytes_allocated <= stats(&t).segment);
	assert_true(log_check(t.log, &owners[1].loc, 1));
	finish(&t, w);
}

static void full_file_system(void **state)
{
	const char *folder = test_path("tmpfs");
	struct log_writer *w;
	struct test_log t;
	char path[160];
	unsigned ok = 0;

	assert_int_equal(mkdir(folder, 0700), 0);
	if (mount("tmpfs", folder, "tmpfs", 0, "size=4m") == -1) {
		print_message("SKIP: needs to mount a tmpfs\n");
		skip();
	}
	snprintf(path, sizeof(path), "%s/log", folder);
	t = test_log_open(&(struct backing_config){ .where = path, .size = 64 * MIB }, 0, &plain);
	assert_int_equal(umount2(folder, MNT_DETACH), 0); /* it goes when the file is closed */
	w = new_writer(&t);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(append(w, i, 4096), 0);
	assert_int_equal(log_commit(w), -1);
	assert_int_equal(errno, ENOSPC);
	for (unsigned i = 0; i < 2000; i++) {
		assert_int_equal(owners[i].told, 1);
		if (owners[i].err)
			assert_int_equal(owners[i].err, ENOSPC);
		else
			ok += read_one(&t, i) == 0;
	}
	assert_true(ok > 500 && ok < 1100);
	/* Room comes back as pages go. */
	for (unsigned i = 0; i < 2000; i++)
		if (!owners[i].err)
			forget(&t, i);
	log_clean(t.log, 1000);
	for (unsigned i = 0; i < 400; i++)
		append(w, i, 4096);
	assert_int_equal(log_commit(w), 0);
	finish(&t, w);
}

/* --- space --- */

static void full_log_says_so(void **state)
{
	struct test_log t = open_file("full", 2 * MIB, 0);
	struct log_writer *w = new_writer(&t);
	struct log_stats st;
	unsigned n = 0, again = 0;

	while (append(w, n, 4000) == 0)
		n++;
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(log_commit(w), 0);
	st = stats(&t);
	assert_int_equal(st.segments_free, 2);
	assert_true(st.bytes_used <= st.capacity && st.bytes_used > st.capacity * 9 / 10);
	assert_int_equal(log_clean(t.log, 10), 0); /* nothing dead */
	/* Every third goes: cleaning finds the room, though no segment is free but the reserve. */
	for (unsigned i = 0; i < n; i += 3)
		forget(&t, i);
	while (again < n / 3 * 3 && (append(w, again, 4000) == 0 ||
					    (log_clean(t.log, 10) && append(w, again, 4000) == 0)))
		again += 3;
	assert_int_equal(log_commit(w), 0);
	assert_true(again >= n * 9 / 10);
	for (unsigned i = 0; i < n; i++)
		if (owners[i].loc)
			assert_int_equal(read_one(&t, i), 0);
	assert_int_equal(stats(&t).damaged, 0);
	finish(&t, w);
}

static void pins_hold_a_segment(void **state)
{
	struct test_log t = open_file("pins", 2 * MIB, 0);
	struct log_writer *w = new_writer(&t);
	struct log_req req = { .owner = 3 };
	struct log_reading reading;
	uint32_t free_before;

	for (unsigned i = 0; i < 40; i++)
		append(w, i, 4096);
	log_commit(w);
	req.loc = owners[3].loc;
	log_pin(t.log, req.loc);
	for (unsigned i = 0; i < 40; i++)
		forget(&t, i);
	log_clean(t.log, 1000);
	free_before = stats(&t).segments_free;
	/* Everything else is used again; the pinned record is what it was. */
	for (unsigned i = 100; append(w, i, 4096) == 0;)
		i++;
	assert_int_equal(errno, ENOSPC);
	log_commit(w);
	assert_int_equal(log_read(t.log, &req, 1, &reading), 0);
	assert_true(bytes_are(req.bytes, 4096, 3));
	log_read_end(&reading);
	log_unpin(t.log, req.loc);
	assert_int_equal(stats(&t).segments_free, 2 + 1);
	assert_true(free_before > 3);
	finish(&t, w);
}

static void cleaner_keeps_the_target(void **state)
{
	struct test_log t = open_file("target", 64 * MIB, 0);
	struct log_writer *w = new_writer(&t);
	struct log_stats st;
	unsigned n = 0;

	for (unsigned i = 0; i < NR; i++)
		append(w, i, 500 + rng_next(&rng_state) % 2000);
	log_commit(w);
	/* Rounds of random overwrites. */
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < NR / 4; i++) {
			uint64_t owner = rng_next(&rng_state) % NR;

			if (owners[owner].loc)
				forget(&t, owner);
			else if (owners[owner].told)
				append(w, owner, 500 + rng_next(&rng_state) % 2000);
			if (i % 500 == 0)
				log_commit(w);
		}
		log_commit(w);
		while (log_clean_wanted(t.log))
			assert_true(log_clean(t.log, 4) > 0);
		st = stats(&t);
		assert_true(st.bytes_allocated <= st.bytes_used / 4 * 5 + st.segment);
		assert_true(backing_allocated(t.backing) <= st.bytes_allocated + MIB);
	}
	for (unsigned i = 0; i < NR; i++)
		if (owners[i].loc) {
			assert_int_equal(read_one(&t, i), 0);
			forget(&t, i);
			n++;
		}
	assert_true(n > 1000);
	log_clean(t.log, 1000);
	st = stats(&t);
	assert_int_equal(st.records + st.bytes_used + st.bytes_allocated + st.damaged, 0);
	assert_true(backing_allocated(t.backing) <= MIB);
	finish(&t, w);
}

static void cleaner_leaves_what_it_cannot_read(void **state)
{
	struct test_log t = open_file("unreadable", 64 * MIB, 1);
	struct log_writer *w = new_writer(&t);
	uint64_t at;

	for (unsigned i = 0; i < 8000; i++)
		append(w, i, 1000);
	log_commit(w);
	at = log_loc_offset(owners[7].loc);
	fault(&t, FAULT_READ, 1000, at, at + 1);
	/* One in eight lives; one segment cannot be read. */
	for (unsigned i = 0; i < 8000; i++)
		if (i % 8 != 7)
			forget(&t, i);
	while (log_clean(t.log, 100))
		;
	backing_fault_set(t.backing, FAULT_READ, NULL);
	for (unsigned i = 7; i < 8000; i += 8)
		assert_int_equal(read_one(&t, i), 0);
	assert_int_equal(log_loc_offset(owners[7].loc), at); /* still there */
	assert_true(stats(&t).bytes_allocated < 4 * MIB);
	finish(&t, w);
}

static void locked_means_all_there(void **state)
{
	struct test_log t = test_log_open(
		&(struct backing_config){
			.where = test_path("locked"), .size = 16 * MIB, .locked = true },
		0, &plain);
	struct log_writer *w = new_writer(&t);

	assert_true(backing_allocated(t.backing) >= 16 * MIB);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 2000; i++)
			append(w, i, 4096);
		log_commit(w);
		for (unsigned i = 0; i < 2000; i++)
			forget(&t, i);
		log_clean(t.log, 1000);
		assert_true(backing_allocated(t.backing) >= 16 * MIB);
	}
	assert_int_equal(stats(&t).bytes_allocated, 0);
	finish(&t, w);
}

/* --- whose store that is --- */

/* Opens, and looks for the error. 0: it is taken. */
static void opens(const struct backing_config *bc, bool overwrite, int code, const char *words)
{
	struct uz_error e = { 0 };
	struct backing *b = backing_open(bc, &e);
	struct log *log = b ? log_open(b, &(struct log_config){ .overwrite = overwrite }, &e)
			    : NULL;

	if (log && (backing_start(b, &e) == -1 || log_start(log, &e) == -1))
		fail_msg("%s", e.text);
	if (log && code)
		fail_msg("%s: taken, but was to be refused: %s", bc->where, words);
	if (!log && (e.code != code || !strstr(e.text, words)))
		fail_msg("%s: expected %d \"%s\", got %d \"%s\"", bc->where, code, words, e.code,
			e.text);
	if (log)
		log_close(log);
	if (b)
		backing_close(b);
}

static void make_file(const char *path, uint64_t size, uint64_t at, const void *bytes, size_t len)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
}

static void foreign_content_is_refused(void **state)
{
	static const uint64_t places[] = { 0, 1080, 65535, 4 * MIB - 65536, 4 * MIB - 1 };
	const char *path = test_path("foreign");
	struct backing_config bc = { .where = path };

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		unsigned char *bytes;
		size_t size;

		make_file(path, 4 * MIB, places[i], "x", 1);
		opens(&bc, false, EEXIST, "holds something that is not ours");
		bytes = slurp(path, &size); /* and nothing was changed */
		assert_int_equal(bytes[places[i]], 'x');
		bytes[places[i]] = 0;
		for (size_t k = 0; k < size; k++)
			assert_int_equal(bytes[k], 0);
		free(bytes);
		opens(&bc, true, 0, "");
		bytes = slurp(path, &size);
		assert_int_not_equal(bytes[places[i]], 'x');
		free(bytes);
		opens(&bc, false, 0, ""); /* now it is ours */
	}
	make_file(path, 4 * MIB, 0, "", 0);
	opens(&bc, false, 0, ""); /* zeroes are nobody's */
}

static void odd_superblocks_are_refused(void **state)
{
	const char *path = test_path("super");
	struct backing_config bc = { .where = path };
	unsigned char *bytes;
	size_t size;

	make_file(path, 4 * MIB, 0, "", 0);
	opens(&bc, false, 0, "");
	bytes = slurp(path, &size);
	bytes[20] ^= 1; /* uuid */
	make_file(path, 4 * MIB, 0, bytes, PAGE_SIZE);
	opens(&bc, false, EEXIST, "damaged superblock");
	bytes[20] ^= 1;
	make_file(path, 8 * MIB, 0, bytes, PAGE_SIZE);
	opens(&bc, false, EINVAL, "was made with 4194304 bytes and has 8388608");
	opens(&bc, true, 0, "");
	bytes[8] ^= 2;
	make_file(path, 4 * MIB, 0, bytes, PAGE_SIZE);
	opens(&bc, false, EINVAL, "another version");
	free(bytes);
	make_file(path, 500 * KIB, 0, "", 0);
	opens(&bc, true, EINVAL, "are the least");
}

static void sizes_are_refused(void **state)
{
	const char *path = test_path("sizes");

	opens(&(struct backing_config){ .where = path }, false, ENOENT, "backing-size");
	opens(&(struct backing_config){ .where = path, .size = 4 * MIB }, false, 0, "");
	opens(&(struct backing_config){ .where = path, .size = 5 * MIB }, false, EINVAL,
		"it has 4194304 bytes, backing-size= says 5242880");
	opens(&(struct backing_config){ .where = path, .size = 5 * MIB, .overwrite = true }, true,
		0, "");
	opens(&(struct backing_config){ .where = path }, false, 0, "");
	opens(&(struct backing_config){ .where = "/dev/null" }, false, EINVAL, "neither");
	opens(&(struct backing_config){ .where = "/nowhere/x", .size = MIB }, false, ENOENT, "");
}

/* A process that has the store, with something in it; it says so through a pipe. */
static pid_t holder(const char *path)
{
	int pipes[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct test_log t = test_log_open(
			&(struct backing_config){ .where = path }, 0, &plain);
		struct log_writer *w = log_writer_create(
			t.log, &(struct log_writer_config){ .written = written });

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned i = 0; i < 100; i++)
			append(w, i, 4096);
		log_commit(w);
		if (write(pipes[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(pipes[0], &c, 1), 1);
	close(pipes[0]);
	close(pipes[1]);
	return pid;
}

static void held_refused_crashed_reused(void **state)
{
	const char *path = test_path("crash");
	struct test_log t;
	struct log_writer *w;
	pid_t pid;

	make_file(path, 4 * MIB, 0, "", 0);
	pid = holder(path);
	opens(&(struct backing_config){ .where = path }, false, EBUSY, "in use");
	opens(&(struct backing_config){ .where = path, .overwrite = true }, true, EBUSY, "in use");
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	/* Its content is gone, its space too. */
	t = test_log_open(&(struct backing_config){ .where = path }, 0, &plain);
	assert_int_equal(stats(&t).records, 0);
	assert_true(backing_allocated(t.backing) <= 128 * KIB);
	w = new_writer(&t);
	append(w, 1, 4096);
	log_commit(w);
	assert_int_equal(read_one(&t, 1), 0);
	/* Within one process, too. */
	opens(&(struct backing_config){ .where = path }, false, EBUSY, "in use");
	finish(&t, w);
	opens(&(struct backing_config){ .where = path }, false, 0, "");
}

static void stopped_log_refuses(void **state)
{
	struct test_log t = open_file("stop", 4 * MIB, 1);
	struct log_writer *w = new_writer(&t);
	uint64_t before = uz_nsec();

	append(w, 1, 100);
	log_commit(w);
	fault(&t, FAULT_HANG, 1000, 0, 0);
	append(w, 2, 100);
	log_flush(w); /* on its way, for ever */
	log_stop(t.log);
	assert_int_equal(log_commit(w), -1);
	assert_int_equal(owners[2].err, ENOTCONN);
	backing_fault_set(t.backing, FAULT_HANG, NULL);
	assert_int_equal(append(w, 3, 4096) | append(w, 4, 4096), -1);
	assert_int_equal(errno, ESHUTDOWN);
	assert_int_equal(read_one(&t, 1), 0);
	finish(&t, w);
	assert_true(uz_nsec() - before < 10000000000);
	opens(&(struct backing_config){ .where = test_path("stop") }, false, 0, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_comes_back),
		cmocka_unit_test(overhead_is_small),
		cmocka_unit_test(reads_go_together),
		cmocka_unit_test(every_byte_is_defined),
		cmocka_unit_test(damage_is_seen_and_counted),
		cmocka_unit_test(lost_and_misplaced_writes_are_seen),
		cmocka_unit_test(a_bad_block_costs_nobody_else),
		cmocka_unit_test(what_neighbours_spoil_is_noticed),
		cmocka_unit_test(write_errors_are_told),
		cmocka_unit_test(full_file_system),
		cmocka_unit_test(full_log_says_so),
		cmocka_unit_test(pins_hold_a_segment),
		cmocka_unit_test(cleaner_keeps_the_target),
		cmocka_unit_test(cleaner_leaves_what_it_cannot_read),
		cmocka_unit_test(locked_means_all_there),
		cmocka_unit_test(foreign_content_is_refused),
		cmocka_unit_test(odd_superblocks_are_refused),
		cmocka_unit_test(sizes_are_refused),
		cmocka_unit_test(held_refused_crashed_reused),
		cmocka_unit_test(stopped_log_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
