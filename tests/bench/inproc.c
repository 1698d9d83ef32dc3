/* SPDX-License-Identifier: BSD-3-Clause */
#include <config.h>

#include "inproc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "plugin/util.h"

static bool same_filled(const unsigned char *page)
{
	return memcmp(page, page + 8, PAGE_SIZE - 8) == 0;
}

const unsigned char **map_pages(const char *path, uint64_t max, uint64_t *nr)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const unsigned char *data, **pages;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < (off_t)PAGE_SIZE)
		die("%s: no data there", path);
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	pages = malloc((size_t)st.st_size / PAGE_SIZE * sizeof(*pages));
	if (data == MAP_FAILED || !pages)
		die("%s: no memory", path);
	close(fd);
	*nr = 0;
	for (off_t i = 0; i < st.st_size / (off_t)PAGE_SIZE && *nr < max; i++)
		if (!same_filled(data + i * PAGE_SIZE))
			pages[(*nr)++] = data + i * PAGE_SIZE;
	return pages;
}

struct times times_now(void)
{
	struct timespec ts;
	struct rusage ru;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	getrusage(RUSAGE_SELF, &ru);
	return (struct times){ (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9,
		(double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
			(double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * 1e-6 };
}

struct times times_since(struct times begin)
{
	struct times now = times_now();

	return (struct times){ now.wall - begin.wall, now.cpu - begin.cpu };
}
