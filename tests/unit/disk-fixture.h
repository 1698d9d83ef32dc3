/* SPDX-License-Identifier: BSD-3-Clause */
/* What the disk's unit tests share: a disk from a codec's name, and content to store. */
#ifndef DISK_FIXTURE_H
#define DISK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "plugin/disk_priv.h"

#include <cmocka.h>

#define MIB (1024ull * 1024)

static inline struct disk *new_disk(const char *spec, uint64_t size, uint64_t limit)
{
	struct disk_config config = { .size = size, .mem_limit = limit };
	struct uz_error e = { 0 };
	struct disk *disk;
	char err[256];

	if (zcomp_parse(spec, &config.algorithm, &config.level, err, sizeof(err)) == -1)
		fail_msg("%s", err);
	disk = disk_create(&config, &e);
	if (!disk)
		fail_msg("%s", e.text);
	return disk;
}

static inline struct disk_stat stat_of(struct disk *disk)
{
	struct disk_stat st;

	disk_get_stat(disk, &st);
	return st;
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

#endif
