/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A random walk over the log beside a shadow of what every owner holds: append, overwrite, free,
 * read, clean, with faults below by turns. Usage: test-log-model [STEPS [SEED]].
 */
#include "log-fixture.h"

#define NR_OWNERS 4000

enum where { NOWHERE, MEMORY, LOGGED };

static struct shadow {
	enum where where;
	bool sent;    /* in memory, and on its way */
	bool suspect; /* written while writes were being spoilt */
	uint8_t codec;
	uint16_t len;
	uint64_t seed; /* of the bytes; another one each time */
	log_loc_t loc;
} shadow[NR_OWNERS];

enum phase { PLAIN, WRITES_FAIL, READS_FAIL, READS_CORRUPT, WRITES_CORRUPT, NR_PHASES };
static const char *const phase_names[] = { "plain", "writes fail", "reads fail", "reads corrupt",
	"writes corrupt" };

static struct test_log t;
static struct log_writer *writer;
static enum phase phase;
static bool damage;
static uint64_t rng_state, stuck, full, errors[NR_PHASES], moved, read_ok;

static uint64_t rng(void)
{
	return rng_next(&rng_state);
}

/* --- what the log asks and tells --- */

static bool written(void *opaque, uint64_t owner, uint64_t cookie, log_loc_t loc, int err)
{
	struct shadow *s = &shadow[owner];

	if (cookie != s->seed)
		return false;
	if (s->where != MEMORY || !s->sent)
		DIE("owner %lu: an outcome told twice", (unsigned long)owner);
	s->sent = false;
	if (err) {
		if (phase != WRITES_FAIL || loc)
			DIE("owner %lu: write error %d out of nothing", (unsigned long)owner, err);
		return false;
	}
	if (log_loc_len(loc) != s->len || !log_loc_valid(loc))
		DIE("owner %lu: bad location", (unsigned long)owner);
	s->where = LOGGED;
	s->loc = loc;
	s->suspect = phase == WRITES_CORRUPT;
	return true;
}

static bool move(void *opaque, uint64_t owner, log_loc_t from, log_loc_t to)
{
	struct shadow *s = &shadow[owner];

	if (owner >= NR_OWNERS)
		DIE("asked for owner %lu", (unsigned long)owner);
	if (s->where != LOGGED || s->loc != from || rng() % 1024 == 0)
		return false;
	if (to) {
		s->loc = to;
		s->suspect = phase == WRITES_CORRUPT;
		moved++;
	}
	return true;
}

/* --- steps --- */

static void forget(struct shadow *s)
{
	if (s->where == LOGGED)
		log_free(t.log, s->loc);
	s->where = NOWHERE;
	s->sent = false;
	s->seed = rng(); /* whatever is on its way belongs to nobody */
}

static uint32_t pick_len(void)
{
	switch (rng() % 8) {
	case 0:
		return 1 + rng() % 64;
	case 1:
		return 4096;
	default:
		return 1 + rng() % 1500 + rng() % 1500;
	}
}

static void overwrite(struct shadow *s)
{
	forget(s);
	s->where = MEMORY;
	s->len = pick_len();
	s->codec = rng() % 16;
}

static void append(uint64_t owner)
{
	struct shadow *s = &shadow[owner];
	unsigned char bytes[LOG_MAX_LEN];
	bool cleaned = false;

	if (s->sent)
		return;
	/* Outcomes told here may concern this very owner, not sent: none. */
	while (log_reserve(writer, s->len) == -1) {
		if (errno != ENOSPC)
			DIE("log_reserve: %s", strerror(errno));
		full++;
		if (cleaned || !log_clean(t.log, 4)) {
			stuck++;
			return;
		}
		cleaned = true;
	}
	fill_bytes(bytes, s->len, s->seed);
	s->sent = true;
	if (log_append(writer, owner, s->codec, s->seed, bytes, s->len) == -1)
		DIE("log_append after log_reserve: %s", strerror(errno));
}

/* Some neighbours, some anywhere. */
static void read_some(void)
{
	struct log_req reqs[LOG_READ_MAX];
	struct log_reading reading;
	unsigned n = 0, want = 1 + rng() % LOG_READ_MAX, failed, bad = 0;
	uint64_t owner = rng();

	for (unsigned i = 0; i < 4 * want && n < want; i++) {
		struct shadow *s = &shadow[(owner = rng() % 4 ? owner + 1 : rng()) % NR_OWNERS];

		if (s->where != LOGGED)
			continue;
		reqs[n++] = (struct log_req){ .loc = s->loc, .owner = owner % NR_OWNERS };
		log_pin(t.log, s->loc);
	}
	failed = log_read(t.log, reqs, n, &reading);
	for (unsigned i = 0; i < n; i++) {
		struct shadow *s = &shadow[reqs[i].owner];

		if (reqs[i].error) {
			bad++;
			if (reqs[i].error != EIO)
				DIE("read: %s", strerror(reqs[i].error));
			if (!s->suspect && phase != READS_FAIL && phase != READS_CORRUPT)
				DIE("owner %lu: EIO out of nothing", (unsigned long)reqs[i].owner);
			errors[phase]++;
		} else if (reqs[i].codec != s->codec ||
			   !bytes_are(reqs[i].bytes, s->len, s->seed)) {
			DIE("owner %lu: wrong bytes", (unsigned long)reqs[i].owner);
		} else {
			read_ok++;
		}
	}
	log_read_end(&reading);
	for (unsigned i = 0; i < n; i++)
		log_unpin(t.log, reqs[i].loc);
	if (bad != failed)
		DIE("%u errors counted, %u seen", failed, bad);
}

/* --- phases and checks --- */

static void set(enum backing_fault fault, unsigned permille)
{
	backing_fault_set(t.backing, fault,
		&(struct backing_fault_rule){ .permille = permille, .times = -1 });
}

static void set_phase(enum phase to)
{
	/* No chunk shall see two phases. */
	log_commit(writer);
	phase = to;
	for (unsigned i = 0; i < NR_FAULTS; i++)
		backing_fault_set(t.backing, i, NULL);
	set(FAULT_READ_SHORT, 100);
	set(FAULT_WRITE_SHORT, 100);
	switch (to) {
	case WRITES_FAIL:
		set(FAULT_WRITE, 100);
		set(FAULT_TORN_WRITE, 100);
		set(FAULT_NOSPC, 100);
		set(FAULT_TRIM, 100);
		break;
	case READS_FAIL:
		set(FAULT_READ, 100);
		break;
	case READS_CORRUPT:
		set(FAULT_CORRUPT_READ, 200);
		break;
	case WRITES_CORRUPT:
		set(FAULT_CORRUPT_WRITE, 100);
		set(FAULT_LOST_WRITE, 50);
		break;
	default:
		break;
	}
}

static uint64_t last_faults; /* when the backing last failed on purpose; 0: not yet */

static void check_all(void)
{
	static log_loc_t locs[NR_OWNERS];
	struct log_stats st;
	uint64_t used = 0;
	size_t n = 0;

	log_commit(writer);
	for (unsigned i = 0; i < NR_OWNERS; i++) {
		if (shadow[i].sent)
			DIE("owner %u: never told an outcome", i);
		if (shadow[i].where == LOGGED) {
			locs[n++] = shadow[i].loc;
			used += LOG_RECORD(shadow[i].len);
		}
	}
	if (!log_check(t.log, locs, n))
		DIE("log_check, %s", phase_names[phase]);
	log_get_stats(t.log, &st);
	if (st.bytes_used != used || st.records != n)
		DIE("statistics");
	if (phase != PLAIN)
		last_faults = uz_nsec();
	if (phase == PLAIN) {
		for (unsigned i = 0; i < 8 && log_clean_wanted(t.log); i++)
			log_clean(t.log, 1000);
		log_get_stats(t.log, &st);
		/* The cleaner leaves a segment that it could not read alone for 30 s. */
		if (st.bytes_allocated > st.bytes_used / 4 * 5 + st.segment && !damage &&
			(!last_faults || uz_nsec() - last_faults > UINT64_C(31000000000)))
			DIE("%lu bytes allocated for %lu used", (unsigned long)st.bytes_allocated,
				(unsigned long)st.bytes_used);
	}
}

static void step(unsigned fullness)
{
	uint64_t owner = rng() % NR_OWNERS;
	struct shadow *s = &shadow[owner];

	switch (rng() % 16) {
	case 0:
		read_some();
		break;
	case 1:
		if (rng() % 32 == 0)
			log_commit(writer);
		else if (rng() % 8 == 0)
			log_flush(writer);
		break;
	case 2:
		if (rng() % 64 == 0)
			log_clean(t.log, 1 + rng() % 8);
		break;
	case 3:
	case 4:
		if (owner % 8 < fullness)
			overwrite(s);
		else
			forget(s);
		break;
	default:
		if (s->where == NOWHERE && owner % 8 < fullness)
			overwrite(s);
		if (s->where == MEMORY)
			append(owner);
	}
}

static void walk(uint64_t steps, const struct backing_config *bc)
{
	struct log_stats st;

	memset(shadow, 0, sizeof(shadow));
	t = test_log_open(bc, rng() | 1, &(struct log_config){ .move = move });
	writer = log_writer_create(
		t.log, &(struct log_writer_config){ .written = written, .chunks = 1 + rng() % 6 });
	damage = false;
	for (uint64_t i = 0; i < steps; i++) {
		damage |= i > steps / 2; /* comes late, as segments with some are put off */
		if (i % 5000 == 0) {
			check_all();
			if (i / 5000 % 2 == 0)
				set_phase(PLAIN);
			else
				set_phase(damage ? WRITES_FAIL + i / 10000 % 4 : WRITES_FAIL);
		}
		step(2 + i / 20000 % 7);
	}
	set_phase(PLAIN);
	check_all();
	for (unsigned i = 0; i < NR_OWNERS; i++)
		forget(&shadow[i]);
	log_commit(writer);
	for (unsigned i = 0; i < NR_OWNERS; i++)
		shadow[i].sent = false;
	check_all();
	log_clean(t.log, 1000);
	log_get_stats(t.log, &st);
	if (st.records || st.bytes_used || st.bytes_allocated)
		DIE("not empty at the end: %lu bytes allocated", (unsigned long)st.bytes_allocated);
	printf("%s: %lu writes, %lu errors, %lu records read in %lu reads, %lu cleaned, %lu moved, "
	       "%lu damaged, %lu checksum errors\n",
		bc->where, st.writes, st.write_errors, st.records_read, st.reads,
		st.segments_cleaned, st.records_moved, st.damaged, st.checksum_errors);
	if (!st.records_moved || !st.write_errors || !st.checksum_errors)
		DIE("something was never tried");
	log_writer_destroy(writer);
	test_log_close(&t);
}

int main(int argc, char **argv)
{
	uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 200000;

	rng_state = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x9e3779b97f4a7c15;
	walk(steps, &(struct backing_config){ .where = test_path("uring"), .size = 5 * MIB });
	walk(steps, &(struct backing_config){ .where = test_path("threads"),
			    .size = 5 * MIB + 12345,
			    .no_uring = true,
			    .no_direct = true });
	walk(steps, &(struct backing_config){ .where = test_path("locked"),
			    .size = 8 * MIB,
			    .locked = true,
			    .queues = 4 });
	printf("%lu times full, %lu of them in vain; %lu reads; %lu moves; errors:", full, stuck,
		read_ok, moved);
	for (unsigned i = 0; i < NR_PHASES; i++)
		printf(" %s %lu", phase_names[i], errors[i]);
	printf("\n");
	return 0;
}
