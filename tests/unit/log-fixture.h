/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of backing and log share: a folder for files, and bytes that can be told. */
#ifndef LOG_FIXTURE_H
#define LOG_FIXTURE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/log.h"

#define KIB 1024ull
#define MIB (1024ull * 1024)

/* A name in a folder of this test's own, which goes when it ends. */
const char *test_path(const char *name);

/* A log on that, or death. `fault`: the wrapper's seed, 0 for none. */
struct test_log {
	struct backing *backing;
	struct log *log;
};
struct test_log test_log_open(
	const struct backing_config *bc, uint64_t fault, const struct log_config *lc);
void test_log_close(struct test_log *t);

static inline uint64_t rng_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

/* `len` bytes that depend on `seed` throughout. */
static inline void fill_bytes(void *buf, size_t len, uint64_t seed)
{
	unsigned char *p = buf;
	uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = rng_next(&state);

		memcpy(p + i, &word, len - i < 8 ? len - i : 8);
	}
}

static inline bool bytes_are(const void *buf, size_t len, uint64_t seed)
{
	unsigned char want[LOG_MAX_LEN];

	fill_bytes(want, len, seed);
	return !memcmp(buf, want, len);
}

#define DIE(...)                                       \
	do {                                           \
		fprintf(stderr, "FAIL: " __VA_ARGS__); \
		fputc('\n', stderr);                   \
		exit(1);                               \
	} while (0)

#endif
