/* SPDX-License-Identifier: BSD-3-Clause */
/* What the programs share that link the disk, without a server: pages of the data, and clocks. */
#ifndef INPROC_H
#define INPROC_H

#include "die.h"

#include <stdint.h>

struct times {
	double wall, cpu; /* seconds; cpu: of all threads */
};

/*
 * The file's first `max` pages, mapped and populated, without those of one repeated word; *nr is
 * how many they are. The array is the caller's, to be freed; the mapping stays.
 */
const unsigned char **map_pages(const char *path, uint64_t max, uint64_t *nr);

struct times times_now(void);
struct times times_since(struct times begin);

#endif
