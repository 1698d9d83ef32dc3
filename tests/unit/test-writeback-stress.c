/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that write, trim and read against passes, the automatic one, the cleaner, and writes to
 * the backing that are late or fail. Each client has pages of its own, and a part of each of some
 * shared ones, and compares all it reads with its copy. Between rounds everything is reset under a
 * running pass. Argument: steps of each client.
 */
#include <pthread.h>
#include <string.h>

#include "wb-fixture.h"

#define NR_CLIENTS 3
#define OWN_PAGES  512
#define SHARED	   4 /* pages after those */
#define SHARED_AT  (NR_CLIENTS * OWN_PAGES)
#define LANE	   (4096 / 4) /* bytes of a shared page that a client has */
#define DISK_BYTES ((SHARED_AT + SHARED) * 4096ull)
#define MOST	   40 /* pages of a request: more than are fetched at once */

#define DIE(...)                                       \
	do {                                           \
		fprintf(stderr, "FAIL: " __VA_ARGS__); \
		fputc('\n', stderr);                   \
		abort();                               \
	} while (0)

static uint64_t steps = 1500;
static struct disk *disk;
static _Atomic bool stop;

struct client {
	unsigned id;
	uint64_t rng;
	pthread_t thread;
	unsigned char own[OWN_PAGES][4096];
	unsigned char lane[SHARED][LANE];
	unsigned char buf[MOST * 4096];
};
static struct client clients[NR_CLIENTS];
static _Atomic unsigned refused;

/* No write may fail, unless writing back has failed so often that it pauses: then, again. */
static void check_refused(void)
{
	struct disk_stat st;
	int err = errno;

	disk_get_stat(disk, &st);
	if (err == ENOSPC && st.bd.paused) {
		refused++;
		usleep(10000);
		return;
	}
	DIE("write: %s; %lu B of %lu in use, %lu staged, %lu B of the log, %lu allocated",
		strerror(err), (unsigned long)st.limit_used, (unsigned long)st.mm.mem_limit,
		(unsigned long)st.stage.pages, (unsigned long)st.bd.bytes_used,
		(unsigned long)st.bd.bytes_allocated);
}

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

/* Compressible, raw, or of one word. */
static void make(uint64_t *rng, unsigned char *p, size_t len)
{
	uint64_t kind = next(rng) % 4, random = kind == 0 ? 8 : kind == 1 ? 4096 : 1500;
	uint64_t word = next(rng);

	for (size_t i = 0; i < len; i++)
		p[i] = i % 4096 < random && kind ? (unsigned char)next(rng)
						 : (unsigned char)(word >> i % 8 * 8);
}

static void own_step(struct client *c)
{
	uint64_t first = next(&c->rng) % OWN_PAGES, at = first * 4096, len;
	uint64_t n = next(&c->rng) % 4 ? 1 + next(&c->rng) % 4 : 1 + next(&c->rng) % MOST;
	uint64_t base = (uint64_t)c->id * OWN_PAGES * 4096;
	unsigned char *mine = &c->own[0][0];

	n = min_u64(n, OWN_PAGES - first);
	len = n * 4096;
	if (next(&c->rng) % 4 == 0) { /* odd edges */
		at += next(&c->rng) % 4096;
		len = 1 + next(&c->rng) % (len - at % 4096);
	}
	switch (next(&c->rng) % 5) {
	case 0:
	case 1:
		make(&c->rng, c->buf, len);
		while (disk_write(disk, c->buf, len, base + at, false) == -1)
			check_refused();
		memcpy(mine + at, c->buf, len);
		break;
	case 2:
		while (disk_trim(disk, len, base + at) == -1)
			check_refused();
		memset(mine + at, 0, len);
		break;
	default:
		memset(c->buf, 0x5a, len);
		if (disk_read(disk, c->buf, len, base + at) == -1)
			DIE("read: %s", strerror(errno));
		if (memcmp(c->buf, mine + at, len))
			DIE("client %u reads what it never wrote, at %lu", c->id,
				(unsigned long)(base + at));
	}
}

static void lane_step(struct client *c)
{
	unsigned page = next(&c->rng) % SHARED, at = next(&c->rng) % LANE;
	unsigned len = 1 + next(&c->rng) % (LANE - at);
	uint64_t offset = (SHARED_AT + page) * 4096ull + c->id * LANE + at;

	if (next(&c->rng) % 2) {
		make(&c->rng, c->buf, len);
		while (disk_write(disk, c->buf, len, offset, false) == -1)
			check_refused();
		memcpy(c->lane[page] + at, c->buf, len);
	} else {
		if (disk_read(disk, c->buf, len, offset) == -1)
			DIE("read: %s", strerror(errno));
		if (memcmp(c->buf, c->lane[page] + at, len))
			DIE("client %u: a part of shared page %u is not what it wrote", c->id,
				page);
	}
}

static void *client_main(void *opaque)
{
	struct client *c = opaque;

	for (uint64_t i = 0; i < steps; i++) {
		if (next(&c->rng) % 8 == 0)
			lane_step(c);
		else
			own_step(c);
	}
	return NULL;
}

static void pass(uint64_t *rng)
{
	static const unsigned modes[] = { WB_ALL, WB_HUGE, WB_IDLE, WB_HUGE_IDLE, 0 };
	struct disk_wb_range range = { next(rng) % 2000, next(rng) % 2000 };
	struct disk_wb_request request = {
		.modes = modes[next(rng) % 5], .ranges = &range, .nr_ranges = 1
	};
	struct disk_wb_result r;
	struct uz_error e;

	if (disk_writeback(disk, &request, NULL, NULL, &r, &e) == -1 && e.code != EIO &&
		e.code != EBUSY)
		DIE("%s", e.text);
}

static void *passes_main(void *opaque)
{
	uint64_t rng = 77;

	while (!stop) {
		pass(&rng);
		usleep(300);
	}
	return opaque;
}

/* Settings, statistics, and what fails. */
static void *upkeep_main(void *opaque)
{
	uint64_t rng = 99, pages, bad;

	while (!stop) {
		struct disk_stat st;
		struct disk_ages ages;
		struct uz_error e;

		switch (next(&rng) % 9) {
		case 0:
			disk_idle(disk, (uint32_t)(next(&rng) % 2));
			break;
		case 1:
			disk_get_stat(disk, &st);
			disk_get_ages(disk, &ages);
			break;
		case 2:
			disk_set_promote(disk, next(&rng) % NR_DISK_PROMOTES, &e);
			break;
		case 3:
			disk_set_wb_batch(disk, 1 + next(&rng) % 64, &e);
			break;
		case 4:
			disk_compact(disk, NULL, NULL);
			break;
		case 5:
			disk_verify(disk, &pages, &bad, NULL, NULL);
			if (bad)
				DIE("%lu of %lu pages are bad", (unsigned long)bad,
					(unsigned long)pages);
			break;
		case 6:
			wb_fault(FAULT_WRITE, 1000, 1 + next(&rng) % 2);
			break;
		case 7:
			wb_fault(FAULT_READ_SHORT, 500, 5);
			break;
		case 8:
			disk_set_wb_limit(disk, next(&rng) % 500, &e);
			disk_set_wb_limit_enable(disk, opaque && next(&rng) % 2, &e);
			break;
		}
		usleep(1000);
	}
	return NULL;
}

static void compare_all(void)
{
	static unsigned char buf[OWN_PAGES * 4096];

	for (unsigned i = 0; i < NR_CLIENTS; i++) {
		struct client *c = &clients[i];

		if (disk_read(disk, buf, sizeof(buf), (uint64_t)i * sizeof(buf)) == -1)
			DIE("read: %s", strerror(errno));
		if (memcmp(buf, c->own, sizeof(buf)))
			DIE("client %u: content is not as written", i);
		for (unsigned p = 0; p < SHARED; p++) {
			disk_read(disk, buf, LANE, (SHARED_AT + p) * 4096ull + i * LANE);
			if (memcmp(buf, c->lane[p], LANE))
				DIE("client %u: shared page %u is not as written", i, p);
		}
	}
}

static void all_clients(uint64_t seed)
{
	for (unsigned i = 0; i < NR_CLIENTS; i++) {
		memset(&clients[i], 0, sizeof(clients[i]));
		clients[i].id = i;
		clients[i].rng = seed * 1000003 + i * 7919 + 1;
		pthread_create(&clients[i].thread, NULL, client_main, &clients[i]);
	}
	for (unsigned i = 0; i < NR_CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
}

static void run(struct disk_config config, unsigned rounds)
{
	pthread_t passes, upkeep;
	struct disk_stat st;

	config.size = DISK_BYTES;
	disk = wb_disk(config);
	for (unsigned r = 0; r < rounds; r++) {
		stop = false;
		pthread_create(&passes, NULL, passes_main, NULL);
		pthread_create(&upkeep, NULL, upkeep_main, config.wb_auto ? NULL : disk);
		all_clients(r + 1);
		compare_all();
		stop = true;
		pthread_join(upkeep, NULL);
		if (r + 1 < rounds) {
			stop = false;
			disk_reset(disk); /* the passes go on */
			stop = true;
		}
		pthread_join(passes, NULL);
	}
	wb_fault(FAULT_WRITE, 0, 0);
	compare_all();
	disk_flush(disk);
	if (!disk_check(disk))
		DIE("the disk's counters or structures do not add up");
	disk_get_stat(disk, &st);
	printf("limit %lu: %lu pages written back, %lu of them now, %lu read, %lu promoted, "
	       "%lu write errors, %lu B used, %lu allocated, throttled %lu times, "
	       "%u refused\n",
		(unsigned long)config.mem_limit, (unsigned long)st.bd.bd_writes,
		(unsigned long)st.bd.bd_count, (unsigned long)st.bd.bd_reads,
		(unsigned long)st.bd.promoted, (unsigned long)st.bd.write_errors,
		(unsigned long)st.bd.bytes_used, (unsigned long)st.bd.bytes_allocated,
		(unsigned long)st.wb.throttled, refused);
	if (!st.bd.bd_writes || st.bd.decompressed)
		DIE("nothing was written back, or it was decompressed for that");
	disk_trim(disk, DISK_BYTES, 0);
	disk_get_stat(disk, &st);
	if (st.mm.orig_data_size || st.limit_used || st.bd.bytes_used || !disk_check(disk))
		DIE("not empty after trimming everything");
	disk_destroy(disk);
}

int main(int argc, char **argv)
{
	struct uz_error e;

	if (argc > 1)
		steps = strtoull(argv[1], NULL, 0);
	if (drain_start(2, false, &e) == -1)
		DIE("%s", e.text);
	run((struct disk_config){ .backing_size = 12 << 20, .promote = PROMOTE_READ }, 2);
	run((struct disk_config){ .backing_size = 12 << 20,
		    .mem_limit = 1 << 20,
		    .wb_auto = true,
		    .promote = PROMOTE_SECOND_READ },
		2);
	run((struct disk_config){ .backing_size = 12 << 20,
		    .mem_limit = 1 << 20,
		    .wb_auto = true,
		    .stage = 256 << 10,
		    .batch = 32,
		    .promote = PROMOTE_READ },
		2);
	drain_stop();
	return 0;
}
