// SPDX-License-Identifier: BSD-3-Clause
/*
 * hog MIB FILE...: fills MIB MiB of memory with the files' content, over and over,
 * each page made different from all others, and then checks every page twice, once in order
 * and once in another. Prints one line; exit 1 if a page is not what was put there.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static uint64_t hash(const unsigned char *page)
{
	uint64_t h = 0xcbf29ce484222325, word;

	for (size_t i = 0; i < PAGE; i += sizeof(word)) {
		memcpy(&word, page + i, sizeof(word));
		h = (h ^ word) * 0x9e3779b97f4a7c15;
		h ^= h >> 29;
	}
	return h;
}

/* The next page of the files' content; goes round. */
static void next_page(unsigned char *page, char **files, int nr)
{
	static int current = -1, fd = -1;
	size_t have = 0;
	int opened = 0;

	while (have < PAGE) {
		ssize_t n = fd < 0 ? 0 : read(fd, page + have, PAGE - have);

		if (n > 0) {
			have += (size_t)n;
			opened = 0;
			continue;
		}
		if (fd >= 0)
			close(fd);
		if (opened++ > nr) {
			fprintf(stderr, "hog: no content in the files\n");
			exit(2);
		}
		current = (current + 1) % nr;
		fd = open(files[current], O_RDONLY | O_CLOEXEC);
	}
}

int main(int argc, char **argv)
{
	size_t pages = argc > 2 ? strtoul(argv[1], NULL, 10) << 8 : 0, bad = 0, step;
	unsigned char *mem;
	uint64_t *sums;

	if (!pages) {
		fprintf(stderr, "usage: hog MIB FILE...\n");
		return 2;
	}
	mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sums = malloc(pages * sizeof(*sums));
	if (mem == MAP_FAILED || !sums) {
		perror("hog");
		return 2;
	}
	for (size_t i = 0; i < pages; i++) {
		unsigned char *page = mem + i * PAGE;

		next_page(page, argv + 2, argc - 2);
		memcpy(page, &i, sizeof(i));
		sums[i] = hash(page);
	}
	for (size_t i = 0; i < pages; i++)
		bad += hash(mem + i * PAGE) != sums[i];
	/* An odd step far from a power of two visits each page of a multiple of 256 once. */
	step = 7919;
	for (size_t i = 0, p = 0; i < pages; i++, p = (p + step) % pages)
		bad += hash(mem + p * PAGE) != sums[p];
	free(sums);
	printf("hog: %zu pages, checked twice, %zu bad\n", pages, bad);
	return bad != 0;
}
