// SPDX-License-Identifier: BSD-3-Clause
/*
 * nbd-do URI COMMAND [ARG...] ...: sends NBD requests one after the other, for what
 * the ordinary clients will not send.
 *	fill OFFSET COUNT BYTE		write
 *	check OFFSET COUNT BYTE		read, and compare
 *	zero|trim|cache|status OFFSET COUNT
 *	flush
 *	put OFFSET FILE			write the file, page by page
 *	same OFFSET FILE		read, and compare with the file
 *	size				print the export's size
 *	hangup read|write OFFSET COUNT N
 *					N requests of COUNT bytes from OFFSET on; then
 *					end, as if killed, with all of them in flight
 *	wait				print "waiting" and wait for the end of standard input
 * Numbers may have a suffix k m g. A failing request prints its errno's name
 * and ends with status 1; that of put also says how many bytes it had written.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

#define CHUNK (1 << 20)

static struct nbd_handle *nbd;
static unsigned char buf[CHUNK];

static void __attribute__((noreturn)) die(const char *what)
{
	int err = nbd_get_errno();

	printf("%s: %s: %s\n", what, err ? strerrorname_np(err) : "-", nbd_get_error());
	exit(1);
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t n;

	if (!s) {
		fprintf(stderr, "nbd-do: a number is missing\n");
		exit(2);
	}
	n = strtoull(s, &end, 0);
	switch (*end) {
	case 'k':
		n <<= 10;
		break;
	case 'm':
		n <<= 20;
		break;
	case 'g':
		n <<= 30;
		break;
	}
	return n;
}

static void fill(uint64_t offset, uint64_t count, int byte)
{
	memset(buf, byte, sizeof(buf));
	while (count) {
		size_t n = count < CHUNK ? count : CHUNK;

		if (nbd_pwrite(nbd, buf, n, offset, 0) == -1)
			die("write");
		offset += n;
		count -= n;
	}
}

static void check(uint64_t offset, uint64_t count, int byte)
{
	while (count) {
		size_t n = count < CHUNK ? count : CHUNK;

		if (nbd_pread(nbd, buf, n, offset, 0) == -1)
			die("read");
		for (size_t i = 0; i < n; i++)
			if (buf[i] != byte) {
				printf("check: byte %" PRIu64 " is 0x%02x, not 0x%02x\n",
				       offset + i, buf[i], byte);
				exit(1);
			}
		offset += n;
		count -= n;
	}
}

static void put_or_same(bool put, uint64_t offset, const char *path)
{
	static unsigned char data[CHUNK];
	size_t chunk = put ? 4096 : CHUNK, n;
	uint64_t done = 0;
	FILE *f = path ? fopen(path, "re") : NULL;

	if (!f) {
		perror(path ? path : "nbd-do: a file is missing");
		exit(2);
	}
	while ((n = fread(data, 1, chunk, f))) {
		if (put && nbd_pwrite(nbd, data, n, offset + done, 0) == -1) {
			printf("%" PRIu64 " ", done);
			die("write");
		}
		if (!put && nbd_pread(nbd, buf, n, offset + done, 0) == -1)
			die("read");
		if (!put && memcmp(buf, data, n)) {
			printf("same: %s differs in the %zu bytes at %" PRIu64 "\n", path, n,
			       offset + done);
			exit(1);
		}
		done += n;
	}
	fclose(f);
}

static int print_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
			 size_t nr, int *error)
{
	for (size_t i = 0; i + 1 < nr; i += 2) {
		printf("%" PRIu64 " %" PRIu32 " %" PRIu32 "\n", offset, entries[i], entries[i + 1]);
		offset += entries[i];
	}
	return 0;
}

static void __attribute__((noreturn)) hangup(const char *what, uint64_t offset, size_t count, int n)
{
	bool write = !strcmp(what, "write");
	char *data = calloc(n, count);

	for (size_t i = 0; write && i < n * count; i++)
		data[i] = (char)(i * 0x9e3779b1u >> 13);
	for (int i = 0; i < n; i++) {
		char *p = data + i * count;
		int64_t cookie =
			write ? nbd_aio_pwrite(nbd, p, count, offset, NBD_NULL_COMPLETION, 0) :
				nbd_aio_pread(nbd, p, count, offset, NBD_NULL_COMPLETION, 0);

		if (cookie == -1)
			die("hangup");
		offset += count;
	}
	/* Let some go out: the answers are never looked at. */
	nbd_poll(nbd, 1);
	kill(getpid(), SIGKILL);
	abort();
}

int main(int argc, char **argv)
{
	nbd = nbd_create();
	if (argc < 3 || !nbd) {
		fprintf(stderr, "usage: nbd-do URI COMMAND [ARG...]...\n");
		return 2;
	}
	nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION);
	if (nbd_connect_uri(nbd, argv[1]) == -1)
		die("connect");
	/* argv ends with NULL, which number() refuses. */
	for (char **a = argv + 2; *a;) {
		const char *command = *a++;
		uint64_t offset, count;

		if (!strcmp(command, "size")) {
			printf("%" PRId64 "\n", nbd_get_size(nbd));
			continue;
		}
		if (!strcmp(command, "flush")) {
			if (nbd_flush(nbd, 0) == -1)
				die(command);
			continue;
		}
		if (!strcmp(command, "wait")) {
			puts("waiting");
			fflush(stdout);
			while (getchar() != EOF)
				;
			continue;
		}
		if (!strcmp(command, "put") || !strcmp(command, "same")) {
			offset = number(*a++);
			put_or_same(*command == 'p', offset, *a++);
			continue;
		}
		if (!strcmp(command, "hangup")) {
			if (!a[0] || !a[1] || !a[2])
				number(NULL);
			hangup(a[0], number(a[1]), number(a[2]), (int)number(a[3]));
		}
		offset = number(*a);
		count = number(*++a);
		a++;
		if (!strcmp(command, "fill")) {
			fill(offset, count, (int)number(*a++));
		} else if (!strcmp(command, "check")) {
			check(offset, count, (int)number(*a++));
		} else if (!strcmp(command, "zero")) {
			if (nbd_zero(nbd, count, offset, 0) == -1)
				die(command);
		} else if (!strcmp(command, "trim")) {
			if (nbd_trim(nbd, count, offset, 0) == -1)
				die(command);
		} else if (!strcmp(command, "cache")) {
			if (nbd_cache(nbd, count, offset, 0) == -1)
				die(command);
		} else if (!strcmp(command, "status")) {
			if (nbd_block_status(nbd, count, offset,
					     (nbd_extent_callback){ .callback = print_extents },
					     0) == -1)
				die(command);
		} else {
			fprintf(stderr, "nbd-do: unknown command %s\n", command);
			return 2;
		}
	}
	if (nbd_shutdown(nbd, 0) == -1)
		die("shutdown");
	nbd_close(nbd);
	return 0;
}
