/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * streams/: every backend's round trips, damaged input, spec parsing, managed
 * streams, locking. Arguments: files whose pages to use besides synthetic ones.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "streams/zcomp.h"

#define PAGE	  ZCOMP_PAGE_SIZE
#define MAX_PAGES 160
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static const char *const names[] = { "lz4", "lz4hc", "zstd", "deflate", "none" };

static char **file_args;
static unsigned char pages[MAX_PAGES][PAGE];
static unsigned nr_pages, nr_synthetic;

/* ---- allocations, counted while `counting` is set in the thread ---- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif
#if defined(__GLIBC__) && !defined(SANITIZED)
#define COUNT_ALLOCATIONS

static __thread bool counting;
static __thread unsigned allocations;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

/* In front of the libraries' too. */
#pragma GCC visibility push(default)
void *malloc(size_t size)
{
	allocations += counting;
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	allocations += counting;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	allocations += counting;
	return __libc_realloc(p, size);
}
#pragma GCC visibility pop
#endif

/* ---- pages ---- */

static uint32_t random_state = 1;

static uint32_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

static void random_bytes(unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = next_random() >> 11;
}

static void text_bytes(unsigned char *p, size_t n)
{
	static const char *const words[] = { "page ", "stream ", "the ", "of ", "a ", "swap\n",
		"compressed ", "0x1f ", "return ", "disk, " };

	for (size_t i = 0; i < n;) {
		const char *word = words[next_random() % ARRAY_LEN(words)];

		while (*word && i < n)
			p[i++] = *word++;
	}
}

static void add_synthetic_pages(void)
{
	memset(pages[nr_pages++], 0, PAGE);
	text_bytes(pages[nr_pages++], PAGE);
	random_bytes(pages[nr_pages++], PAGE);
	random_bytes(pages[nr_pages], PAGE / 2);
	memset(pages[nr_pages++] + PAGE / 2, 0, PAGE / 2);
	text_bytes(pages[nr_pages], PAGE / 2);
	random_bytes(pages[nr_pages++] + PAGE / 2, PAGE / 2);
	for (unsigned i = 0; i < PAGE; i++)
		pages[nr_pages][i] = "8 bytes."[i % 8];
	nr_pages++;
	/* Two symbols: entropy coding alone has something to do. */
	for (unsigned i = 0; i < PAGE; i++)
		pages[nr_pages][i] = next_random() & 0x1000 ? 'a' : 'b';
	nr_pages++;
	nr_synthetic = nr_pages;
}

/* Up to `max` pages, spread over the file. */
static void add_file_pages(const char *name, unsigned max)
{
	FILE *f = fopen(name, "rb");
	long size;

	if (!f)
		return;
	fseek(f, 0, SEEK_END);
	size = ftell(f) / PAGE;
	for (long i = 0; i < max && i < size && nr_pages < MAX_PAGES; i++) {
		fseek(f, (size <= max ? i : i * (size / max)) * PAGE, SEEK_SET);
		if (fread(pages[nr_pages], PAGE, 1, f) == 1)
			nr_pages++;
	}
	fclose(f);
}

static int make_pages(void **state)
{
	static const char *const files[] = { "/bin/sh", "/proc/self/exe", "/etc/services",
		"/usr/share/common-licenses/GPL-3" };

	(void)state;
	add_synthetic_pages();
	if (*file_args) {
		for (char **arg = file_args; *arg; arg++)
			add_file_pages(*arg, 48);
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_LEN(files); i++)
		add_file_pages(files[i], 24);
	return 0;
}

/* ---- helpers ---- */

static struct zcomp *make_ops(const struct zcomp_ops *ops, int level)
{
	struct zcomp_params params = { .level = level };
	char err[256] = "";
	struct zcomp *comp = zcomp_create(ops, &params, err, sizeof(err));

	if (!comp)
		fail_msg("%s: %s", ops->name, err);
	return comp;
}

static struct zcomp *make(const char *name, int level)
{
	const struct zcomp_ops *ops = zcomp_find(name);

	assert_non_null(ops);
	return make_ops(ops, level);
}

static size_t compress_page(struct zcomp *comp, const void *page, unsigned char *out)
{
	struct zcomp_strm *zstrm = zcomp_stream_get(comp, ZSTRM_DEFAULT);
	size_t len = 0;
	int ret = zcomp_compress(comp, zstrm, page, &len);

	if (ret == 0 && len <= ZCOMP_BUFFER_SIZE)
		memcpy(out, zstrm->buffer, len);
	zcomp_stream_put(zstrm);
	if (ret != 0 || len == 0 || len > ZCOMP_BUFFER_SIZE)
		fail_msg("%s:%d: compress gave %d, %zu bytes", zcomp_backend(comp)->name,
			 zcomp_level(comp), ret, len);
	return len;
}

static int decompress_page(struct zcomp *comp, const void *src, size_t len, void *dst)
{
	struct zcomp_strm *zstrm = NULL;
	int ret;

	if (zcomp_decompress_needs_stream(comp))
		zstrm = zcomp_stream_get(comp, ZSTRM_DEFAULT);
	ret = zcomp_decompress(comp, zstrm, src, len, dst);
	if (zstrm)
		zcomp_stream_put(zstrm);
	return ret;
}

/* ---- round trips ---- */

static void round_trips(const char *name, int level)
{
	struct zcomp *comp = make(name, level);
	unsigned char packed[ZCOMP_BUFFER_SIZE], back[PAGE];
	size_t total = 0;

	for (unsigned i = 0; i < nr_pages; i++) {
		size_t len = compress_page(comp, pages[i], packed);

		/* Every level of every backend sees a page of zeros. */
		if (i == 0 && strcmp(name, "none") != 0 && level > 0)
			assert_true(len < 128);
		total += len;
		memset(back, 0x5a, sizeof(back));
		if (decompress_page(comp, packed, len, back) != 0 ||
		    memcmp(back, pages[i], PAGE) != 0)
			fail_msg("%s:%d: page %u did not come back", name, level, i);
	}
	if (level == zcomp_backend(comp)->level_default && strcmp(name, "none") != 0)
		assert_true(total / nr_pages < PAGE * 3 / 4);
	zcomp_destroy(comp);
}

static void test_round_trip(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		const struct zcomp_ops *ops = zcomp_find(names[i]);

		assert_non_null(ops);
		assert_true(nr_pages > nr_synthetic);
		round_trips(names[i], ops->level_default);
		if (ops->level_min == ops->level_max)
			continue;
		round_trips(names[i], ops->level_min);
		round_trips(names[i], ops->level_max);
	}
}

/* A higher level packs no worse where levels mean that. */
static void test_levels_differ(void **state)
{
	static const struct {
		const char *name;
		int loose, tight;
	} table[] = {
		{ "lz4", 65537, 1 }, { "lz4hc", 1, 12 }, { "zstd", -131072, 1 }, { "zstd", 1, 19 },
		{ "deflate", 0, 1 }, { "deflate", 1, 12 },
	};
	unsigned char packed[ZCOMP_BUFFER_SIZE];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
		struct zcomp *loose = make(table[i].name, table[i].loose);
		struct zcomp *tight = make(table[i].name, table[i].tight);
		size_t loose_sum = 0, tight_sum = 0;

		for (unsigned k = 0; k < nr_pages; k++) {
			loose_sum += compress_page(loose, pages[k], packed);
			tight_sum += compress_page(tight, pages[k], packed);
		}
		if (tight_sum >= loose_sum)
			fail_msg("%s:%d packs no better than :%d", table[i].name, table[i].tight,
				 table[i].loose);
		zcomp_destroy(tight);
		zcomp_destroy(loose);
	}
}

/* What zcomp made must not depend on what was compressed before. */
static void test_same_bytes_again(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		struct zcomp *comp = make(names[i], ZCOMP_LEVEL_UNSET);
		unsigned char first[ZCOMP_BUFFER_SIZE], again[ZCOMP_BUFFER_SIZE];
		size_t len = compress_page(comp, pages[1], first);

		for (unsigned k = 0; k < nr_pages; k++)
			compress_page(comp, pages[k], again);
		assert_int_equal(len, compress_page(comp, pages[1], again));
		assert_memory_equal(first, again, len);
		zcomp_destroy(comp);
	}
}

static void test_unset_level(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		struct zcomp *comp = make(names[i], ZCOMP_LEVEL_UNSET);

		assert_int_equal(zcomp_level(comp), zcomp_find(names[i])->level_default);
		assert_ptr_equal(zcomp_backend(comp), zcomp_find(names[i]));
		zcomp_destroy(comp);
	}
}

static void test_no_allocation(void **state)
{
	(void)state;
#ifndef COUNT_ALLOCATIONS
	skip();
#else
	unsigned char packed[ZCOMP_BUFFER_SIZE], back[PAGE];
	unsigned total = 0;

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		struct zcomp *comp = make(names[i], ZCOMP_LEVEL_UNSET);

		allocations = 0;
		counting = true;
		for (unsigned k = 0; k < nr_pages; k++) {
			size_t len = compress_page(comp, pages[k], packed);

			decompress_page(comp, packed, len, back);
		}
		counting = false;
		if (allocations)
			print_error("%s: %u allocations\n", names[i], allocations);
		total += allocations;
		zcomp_destroy(comp);
	}
	assert_int_equal(total, 0);
#endif
}

/* ---- memory around the buffers ---- */

#define CANARY 0xc5

/*
 * `size` usable bytes that end at a page nobody may touch, with a canary page in
 * front of them.
 */
struct fenced {
	unsigned char *map, *p;
	size_t size, map_size, page_size;
};

static void fence(struct fenced *f, size_t size)
{
	f->page_size = (size_t)sysconf(_SC_PAGESIZE);
	f->size = size;
	f->map_size = (size + 3 * f->page_size - 1) & ~(f->page_size - 1);
	f->map = mmap(NULL, f->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	assert_ptr_not_equal(f->map, MAP_FAILED);
	assert_int_equal(mprotect(f->map + f->map_size - f->page_size, f->page_size, PROT_NONE),
			 0);
	memset(f->map, CANARY, f->map_size - f->page_size);
	f->p = f->map + f->map_size - f->page_size - size;
}

static void check_fence(const struct fenced *f, const char *what)
{
	for (const unsigned char *p = f->map; p < f->p; p++)
		if (*p != CANARY)
			fail_msg("%s: written %zu bytes in front of the buffer", what,
				 (size_t)(f->p - p));
}

static void unfence(struct fenced *f)
{
	munmap(f->map, f->map_size);
}

/* The backends themselves, with a buffer that faults behind its end. */
static void test_output_bounds(void **state)
{
	static const int which[] = { -1, 0, 1 };
	struct fenced out;

	(void)state;
	fence(&out, ZCOMP_BUFFER_SIZE);
	for (unsigned i = 0; i < ARRAY_LEN(names) * 3; i++) {
		const struct zcomp_ops *ops = zcomp_find(names[i / 3]);
		int levels[] = { ops->level_min, ops->level_default, ops->level_max };
		struct zcomp_params params = { .level = levels[which[i % 3] + 1] };
		struct zcomp_ctx ctx = { NULL };

		if (ops->create_ctx)
			assert_int_equal(ops->create_ctx(&params, &ctx), 0);
		for (unsigned k = 0; k < 40; k++) {
			unsigned char page[PAGE];
			struct zcomp_req req = { page, PAGE, out.p, ZCOMP_BUFFER_SIZE };

			random_bytes(page, PAGE);
			assert_int_equal(ops->compress(&params, &ctx, &req), 0);
			assert_in_range(req.dst_len, PAGE, PAGE + 64);
			check_fence(&out, ops->name);
		}
		if (ops->destroy_ctx)
			ops->destroy_ctx(&ctx);
	}
	unfence(&out);
}

/* An accelerator may give its codec less room than the output's bound: that is no failure. */
static void test_no_room(void **state)
{
	static const size_t rooms[] = { PAGE, PAGE - 1, 100, 8 };
	struct fenced out;

	(void)state;
	fence(&out, PAGE);
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		const struct zcomp_ops *ops = zcomp_find(names[i]);
		struct zcomp_params params = { .level = ops->level_default };
		struct zcomp_ctx ctx = { NULL };

		if (!ops->create_ctx) /* `none`: never on an accelerator */
			continue;
		assert_int_equal(ops->create_ctx(&params, &ctx), 0);
		for (unsigned k = 0; k < ARRAY_LEN(rooms); k++) {
			unsigned char page[PAGE], back[PAGE], *dst = out.p + PAGE - rooms[k];
			struct zcomp_req req = { page, PAGE, dst, rooms[k] };
			struct zcomp_req again = { pages[1], PAGE, out.p, PAGE };
			struct zcomp_req restore = { out.p, 0, back, PAGE };

			random_bytes(page, PAGE);
			assert_int_equal(ops->compress(&params, &ctx, &req), -ENOSPC);
			/* And the context still works. */
			assert_int_equal(ops->compress(&params, &ctx, &again), 0);
			restore.src_len = again.dst_len;
			assert_int_equal(ops->decompress(&params, &ctx, &restore), 0);
			assert_memory_equal(back, pages[1], PAGE);
		}
		ops->destroy_ctx(&ctx);
	}
	unfence(&out);
}

/* The source ends where reading faults, and so does the destination. */
static int decompress_fenced(struct zcomp *comp, const void *src, size_t len)
{
	static struct fenced in, out;
	int ret;

	if (!in.map) {
		fence(&in, ZCOMP_BUFFER_SIZE);
		fence(&out, PAGE);
	}
	memcpy(in.p + in.size - len, src, len);
	ret = decompress_page(comp, in.p + in.size - len, len, out.p);
	check_fence(&out, zcomp_backend(comp)->name);
	if (ret != 0 && ret != -EINVAL)
		fail_msg("%s: damaged input gave %d", zcomp_backend(comp)->name, ret);
	return ret;
}

static void hostile_input(struct zcomp *comp, const unsigned char *page)
{
	unsigned char packed[ZCOMP_BUFFER_SIZE], bad[ZCOMP_BUFFER_SIZE];
	size_t len = compress_page(comp, page, packed);

	assert_int_equal(decompress_fenced(comp, packed, len), 0);
	for (size_t cut = 1; cut < len; cut += 1 + len / 97)
		assert_int_equal(decompress_fenced(comp, packed, cut), -EINVAL);
	assert_int_equal(decompress_fenced(comp, packed, len - 1), -EINVAL);
	memcpy(bad, packed, len);
	for (unsigned i = 0; i < 16; i++) {
		memset(bad + len, i & 1 ? 0xff : 0, 8);
		assert_int_equal(decompress_fenced(comp, bad, len + 1 + i / 2), -EINVAL);
	}
	for (unsigned i = 0; i < 300; i++) {
		memcpy(bad, packed, len);
		for (unsigned flips = 1 + i % 4; flips > 0; flips--) {
			/* Headers are at the front: aim there half the time. */
			size_t at = next_random() % (i & 1 && len > 16 ? 16 : len);

			bad[at] ^= 1u << next_random() % 8;
		}
		decompress_fenced(comp, bad, len);
	}
	for (unsigned i = 0; i < 300; i++) {
		size_t n = 1 + next_random() % (i & 1 ? 64 : ZCOMP_BUFFER_SIZE);

		random_bytes(bad, n);
		bad[0] = i & 2 ? packed[0] : bad[0];
		decompress_fenced(comp, bad, n);
	}
	/* And the ctx still works. */
	assert_int_equal(decompress_fenced(comp, packed, len), 0);
}

static void test_hostile_input(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		struct zcomp *comp = make(names[i], ZCOMP_LEVEL_UNSET);
		unsigned char packed[ZCOMP_BUFFER_SIZE], dst[PAGE];
		size_t len = compress_page(comp, pages[1], packed);

		for (unsigned k = 0; k < nr_synthetic + 4; k++)
			hostile_input(comp, pages[k]);
		assert_int_equal(decompress_fenced(comp, packed, 0), -EINVAL);
		/* Not what is left of it as an int. */
		assert_int_equal(decompress_page(comp, packed, ((size_t)1 << 32) + len, dst),
				 -EINVAL);
		assert_int_equal(decompress_page(comp, pages[2], ZCOMP_BUFFER_SIZE + 1, dst),
				 -EINVAL);
		if (zcomp_decompress_needs_stream(comp))
			assert_int_equal(zcomp_decompress(comp, NULL, pages[2], 100, dst), -EINVAL);
		zcomp_destroy(comp);
	}
}

/* Valid frames that this library's version does not make, but another's may. */
static void test_zstd_blocks(void **state)
{
	/* One block of 4096 times 'x'; 4095 and 1; the first alone. */
	static const unsigned char one[] = { 0, 16, 0x03, 0x80, 0, 'x' };
	static const unsigned char two[] = { 0, 16, 0xfa, 0x7f, 0, 'x', 0x0b, 0, 0, 'x' };
	struct zcomp *comp = make("zstd", ZCOMP_LEVEL_UNSET);
	unsigned char back[PAGE], expected[PAGE];

	(void)state;
	memset(expected, 'x', PAGE);
	assert_int_equal(decompress_page(comp, one, sizeof(one), back), 0);
	assert_memory_equal(back, expected, PAGE);
	memset(back, 0, PAGE);
	assert_int_equal(decompress_page(comp, two, sizeof(two), back), 0);
	assert_memory_equal(back, expected, PAGE);
	assert_int_equal(decompress_page(comp, two, 6, back), -EINVAL);
	zcomp_destroy(comp);
}

/* Valid compressed bytes of another length than a page's. */
static void test_wrong_lengths(void **state)
{
	static const size_t lengths[] = { 1, PAGE - 1, PAGE + 1 };
	unsigned char source[PAGE + 1], packed[ZCOMP_BUFFER_SIZE], dst[PAGE];

	(void)state;
	memset(source, 'x', sizeof(source));
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		struct zcomp *comp = make(names[i], ZCOMP_LEVEL_UNSET);
		struct zcomp_params params = { .level = zcomp_level(comp) };

		for (unsigned k = 0; k < ARRAY_LEN(lengths); k++) {
			struct zcomp_strm *zstrm = zcomp_stream_get(comp, ZSTRM_DEFAULT);
			struct zcomp_req req = { source, lengths[k], packed, sizeof(packed) };
			int ret = zcomp_backend(comp)->compress(&params, zstrm->ctx, &req);

			zcomp_stream_put(zstrm);
			assert_int_equal(ret, 0);
			assert_int_equal(decompress_page(comp, packed, req.dst_len, dst), -EINVAL);
		}
		zcomp_destroy(comp);
	}
}

/* ---- specs ---- */

static void test_parse_good(void **state)
{
	static const struct {
		const char *spec, *name;
		int level;
	} table[] = {
		{ "lz4", "lz4", ZCOMP_LEVEL_UNSET },
		{ "lz4:1", "lz4", 1 },
		{ "lz4:65537", "lz4", 65537 },
		{ "lz4:007", "lz4", 7 },
		{ "lz4hc", "lz4hc", ZCOMP_LEVEL_UNSET },
		{ "lz4hc:12", "lz4hc", 12 },
		{ "zstd:7", "zstd", 7 },
		{ "zstd:-5", "zstd", -5 },
		{ "zstd:-131072", "zstd", -131072 },
		{ "zstd:22", "zstd", 22 },
		{ "deflate:0", "deflate", 0 },
		{ "deflate:12", "deflate", 12 },
		{ "none", "none", ZCOMP_LEVEL_UNSET },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
		const struct zcomp_ops *ops = NULL;
		char err[256] = "";
		int level = 12345;

		if (zcomp_parse(table[i].spec, &ops, &level, err, sizeof(err)) != 0)
			fail_msg("%s: %s", table[i].spec, err);
		assert_string_equal(ops->name, table[i].name);
		assert_int_equal(level, table[i].level);
	}
}

static void test_parse_bad(void **state)
{
	static const char all[] = "allowed: lz4, lz4hc, zstd, deflate, none";
	static const struct {
		const char *spec, *says, *allowed;
	} table[] = {
		{ "", "no such algorithm \"\"", all },
		{ ":3", "no such algorithm \"\"", all },
		{ "lz5", "no such algorithm \"lz5\"", all },
		{ "lz", "no such algorithm \"lz\"", all },
		{ "lz4 ", "no such algorithm \"lz4 \"", all },
		{ "LZ4", "no such algorithm \"LZ4\"", all },
		{ "lz5:3", "no such algorithm \"lz5\"", all },
		{ "lz4\nx", "no such algorithm \"lz4?x\"", all },
		{ "sixteen-letters!", "no such algorithm \"sixteen-letters!\"", all },
		{ "zstd:99", "level 99 of zstd is out of range", "allowed: -131072..22" },
		{ "zstd:-131073", "level -131073 of zstd is out of range", "..22" },
		{ "lz4:0", "level 0 of lz4 is out of range", "allowed: 1..65537" },
		{ "lz4:65538", "out of range", "allowed: 1..65537" },
		{ "lz4:4294967297", "out of range", "1..65537" },
		{ "lz4:99999999999999999999", "out of range", "1..65537" },
		{ "lz4hc:13", "out of range", "allowed: 1..12" },
		{ "deflate:-1", "out of range", "allowed: 0..12" },
		{ "zstd:x", "level \"x\" of zstd is not a number", "allowed: -131072..22" },
		{ "zstd:", "level \"\" of zstd is not a number", "..22" },
		{ "zstd:7x", "level \"7x\"", "not a number" },
		{ "zstd: 7", "level \" 7\"", "not a number" },
		{ "zstd:+7", "level \"+7\"", "not a number" },
		{ "zstd:-", "level \"-\"", "not a number" },
		{ "zstd:3:4", "level \"3:4\"", "not a number" },
		{ "none:1", "none takes no level", "" },
		{ "none:", "none takes no level", "" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
		const struct zcomp_ops *ops = NULL;
		char err[256] = "", tiny[8];
		int level = 12345;

		if (zcomp_parse(table[i].spec, &ops, &level, err, sizeof(err)) != -1)
			fail_msg("\"%s\" was taken", table[i].spec);
		if (!strstr(err, table[i].says) || !strstr(err, table[i].allowed) ||
		    strchr(err, '\n'))
			fail_msg("\"%s\" says: %s", table[i].spec, err);
		assert_null(ops);
		assert_int_equal(level, 12345);
		/* Cut off, but ended. */
		assert_int_equal(zcomp_parse(table[i].spec, &ops, &level, tiny, sizeof(tiny)), -1);
		assert_int_equal(strlen(tiny), 7);
	}
}

static void test_parse_long(void **state)
{
	const struct zcomp_ops *ops;
	char spec[5000], err[256];
	int level;

	(void)state;
	memset(spec, 'z', sizeof(spec));
	spec[sizeof(spec) - 1] = '\0';
	assert_int_equal(zcomp_parse(spec, &ops, &level, err, sizeof(err)), -1);
	assert_non_null(strstr(err, zcomp_available()));
	memcpy(spec, "zstd:", 5);
	assert_int_equal(zcomp_parse(spec, &ops, &level, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "allowed: -131072..22"));
}

static void test_available(void **state)
{
	char list[128] = "";

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		const struct zcomp_ops *ops = zcomp_find(names[i]);

		assert_non_null(ops);
		assert_non_null(ops->description);
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "",
			 names[i]);
	}
	assert_string_equal(list, zcomp_available());
	assert_null(zcomp_find(""));
	assert_null(zcomp_find("lz"));
}

/* ---- a backend made up here ---- */

static struct {
	bool sets_mgmt, has_free_stream, refuses;
	int ctx_fails_at; /* the how-manieth create_ctx fails; 0: none */
	int params, ctxs, gets, puts;
	size_t src_len, dst_len;
	int warnings;
	char warning[256];
	struct zcomp_strm strm;
	struct zcomp_ctx ctx;
	unsigned char buffer[ZCOMP_BUFFER_SIZE], local_copy[PAGE];
} fake;

static void count_warning(const char *line)
{
	fake.warnings++;
	snprintf(fake.warning, sizeof(fake.warning), "%s", line);
}

static int fake_setup(struct zcomp_params *params)
{
	if (fake.refuses)
		return -EINVAL;
	fake.params++;
	params->zstrm_mgmt = fake.sets_mgmt;
	params->drv_data = &fake;
	return 0;
}

static void fake_release(struct zcomp_params *params)
{
	assert_ptr_equal(params->drv_data, &fake);
	fake.params--;
}

static int fake_create_ctx(struct zcomp_params *params, struct zcomp_ctx *ctx)
{
	assert_ptr_equal(params->drv_data, &fake);
	if (fake.ctx_fails_at && fake.ctxs + 1 == fake.ctx_fails_at)
		return -ENOMEM;
	ctx->context = malloc(1);
	fake.ctxs++;
	return 0;
}

static void fake_destroy_ctx(struct zcomp_ctx *ctx)
{
	fake.ctxs -= ctx->context != NULL;
	free(ctx->context);
}

static int fake_compress(struct zcomp_params *params, struct zcomp_ctx *ctx, struct zcomp_req *req)
{
	assert_ptr_equal(params->drv_data, &fake);
	assert_non_null(ctx);
	fake.src_len = req->src_len;
	fake.dst_len = req->dst_len;
	memcpy(req->dst, req->src, 10);
	req->dst_len = 10;
	return 0;
}

static int fake_decompress(struct zcomp_params *params, struct zcomp_ctx *ctx,
			   struct zcomp_req *req)
{
	(void)params;
	(void)req;
	return ctx ? -EINVAL : 0;
}

static struct zcomp_strm *fake_get_stream(struct zcomp_params *params)
{
	assert_ptr_equal(params->drv_data, &fake);
	if (!fake.has_free_stream)
		return NULL;
	fake.gets++;
	fake.has_free_stream = false;
	fake.strm.buffer = fake.buffer;
	fake.strm.local_copy = fake.local_copy;
	fake.strm.ctx = &fake.ctx;
	return &fake.strm;
}

static void fake_put_stream(struct zcomp_params *params, struct zcomp_strm *zstrm)
{
	assert_ptr_equal(params->drv_data, &fake);
	assert_ptr_equal(zstrm, &fake.strm);
	fake.puts++;
	fake.has_free_stream = true;
}

static struct zcomp_ops fake_ops;

static void reset_fake(void)
{
	memset(&fake, 0, sizeof(fake));
	fake_ops = (struct zcomp_ops){
		.name = "fake",
		.description = "for tests",
		.setup_params = fake_setup,
		.release_params = fake_release,
		.create_ctx = fake_create_ctx,
		.destroy_ctx = fake_destroy_ctx,
		.compress = fake_compress,
		.decompress = fake_decompress,
		.get_stream = fake_get_stream,
		.put_stream = fake_put_stream,
	};
	zcomp_set_warn_hook(count_warning);
}

static void flag_without(bool get, bool put)
{
	struct zcomp_strm *zstrm;
	struct zcomp *comp;

	reset_fake();
	fake.sets_mgmt = true;
	fake.has_free_stream = true;
	if (!get)
		fake_ops.get_stream = NULL;
	if (!put)
		fake_ops.put_stream = NULL;
	comp = make_ops(&fake_ops, ZCOMP_LEVEL_UNSET);
	for (unsigned i = 0; i < 3; i++) {
		zstrm = zcomp_stream_get(comp, ZSTRM_PREFER_MGMT);
		assert_false(zstrm->zcomp_managed);
		zcomp_stream_put(zstrm);
	}
	assert_int_equal(fake.gets + fake.puts, 0);
	assert_int_equal(fake.warnings, 1);
	assert_non_null(strstr(fake.warning, "fake"));
	assert_null(strchr(fake.warning, '\n'));
	zcomp_destroy(comp);
	assert_int_equal(fake.warnings, 1);
}

static void test_managed_without_ops(void **state)
{
	(void)state;
	flag_without(false, false);
	flag_without(true, false);
	flag_without(false, true);
}

static void test_managed(void **state)
{
	struct zcomp_strm *zstrm, *second;
	struct zcomp *comp;
	size_t len = 0;

	(void)state;
	reset_fake();
	fake.sets_mgmt = true;
	fake.has_free_stream = true;
	comp = make_ops(&fake_ops, ZCOMP_LEVEL_UNSET);

	zstrm = zcomp_stream_get(comp, ZSTRM_DEFAULT);
	assert_false(zstrm->zcomp_managed);
	assert_int_equal(fake.gets, 0);
	zcomp_stream_put(zstrm);
	assert_int_equal(fake.puts, 0);

	zstrm = zcomp_stream_get(comp, ZSTRM_PREFER_MGMT);
	assert_ptr_equal(zstrm, &fake.strm);
	assert_true(zstrm->zcomp_managed);
	assert_ptr_equal(zstrm->comp, comp);
	assert_ptr_equal(zstrm->ctx, &fake.ctx);
	assert_int_equal(zcomp_compress(comp, zstrm, pages[1], &len), 0);
	assert_memory_equal(fake.buffer, pages[1], 10);

	/* None free: the CPU's own, put back as such. */
	second = zcomp_stream_get(comp, ZSTRM_PREFER_MGMT);
	assert_non_null(second);
	assert_false(second->zcomp_managed);
	zcomp_stream_put(second);
	assert_int_equal(fake.puts, 0);

	zcomp_stream_put(zstrm);
	assert_int_equal(fake.puts, 1);
	zstrm = zcomp_stream_get(comp, ZSTRM_PREFER_MGMT);
	assert_true(zstrm->zcomp_managed);
	zcomp_stream_put(zstrm);
	assert_int_equal(fake.gets, 2);
	assert_int_equal(fake.puts, 2);
	assert_int_equal(fake.warnings, 0);
	zcomp_destroy(comp);
}

/* The caller's params cannot set the flag; a backend that does not, has none. */
static void test_managed_not_asked_for(void **state)
{
	struct zcomp_params params = { .level = ZCOMP_LEVEL_UNSET, .zstrm_mgmt = true };
	struct zcomp_strm *zstrm;
	struct zcomp *comp;

	(void)state;
	reset_fake();
	fake.has_free_stream = true;
	fake_ops.setup_params = NULL;
	fake_ops.release_params = NULL;
	params.drv_data = &fake;
	comp = zcomp_create(&fake_ops, &params, NULL, 0);
	assert_non_null(comp);
	zstrm = zcomp_stream_get(comp, ZSTRM_PREFER_MGMT);
	assert_false(zstrm->zcomp_managed);
	zcomp_stream_put(zstrm);
	assert_int_equal(fake.gets, 0);
	zcomp_destroy(comp);
}

static void test_backend_contract(void **state)
{
	struct zcomp_strm *zstrm;
	struct zcomp *comp;
	size_t len = 0;

	(void)state;
	reset_fake();
	comp = make_ops(&fake_ops, ZCOMP_LEVEL_UNSET);
	assert_int_equal(fake.params, 1);
	assert_int_equal(fake.ctxs, zcomp_nr_streams());
	zstrm = zcomp_stream_get(comp, ZSTRM_DEFAULT);
	assert_int_equal(zcomp_compress(comp, zstrm, pages[1], &len), 0);
	assert_int_equal(len, 10);
	assert_int_equal(fake.src_len, PAGE);
	assert_int_equal(fake.dst_len, ZCOMP_BUFFER_SIZE);
	assert_memory_equal(zstrm->buffer, pages[1], 10);
	/* decompress_needs_ctx is not set: it gets none, stream or not. */
	assert_int_equal(zcomp_decompress(comp, zstrm, pages[1], 10, zstrm->local_copy), 0);
	assert_int_equal(zcomp_decompress(comp, NULL, pages[1], 10, zstrm->local_copy), 0);
	zcomp_stream_put(zstrm);
	zcomp_destroy(comp);
	assert_int_equal(fake.params, 0);
	assert_int_equal(fake.ctxs, 0);
}

static void test_create_fails(void **state)
{
	struct zcomp_params params = { .level = ZCOMP_LEVEL_UNSET };
	char err[256] = "";

	(void)state;
	reset_fake();
	fake.ctx_fails_at = (int)zcomp_nr_streams();
	assert_null(zcomp_create(&fake_ops, &params, err, sizeof(err)));
	assert_non_null(strstr(err, "fake"));
	assert_int_equal(fake.ctxs, 0);
	assert_int_equal(fake.params, 0);

	fake.refuses = true;
	assert_null(zcomp_create(&fake_ops, &params, err, sizeof(err)));
	assert_int_equal(fake.params, 0);
}

static void test_dictionary_refused(void **state)
{
	struct zcomp_params params = { .level = ZCOMP_LEVEL_UNSET, .dict = "abc", .dict_sz = 3 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		char err[256] = "";

		assert_null(zcomp_create(zcomp_find(names[i]), &params, err, sizeof(err)));
		assert_non_null(strstr(err, "dictionary"));
		assert_non_null(strstr(err, names[i]));
	}
}

/* ---- streams ---- */

static void test_streams_shared(void **state)
{
	struct zcomp *a = make("lz4", ZCOMP_LEVEL_UNSET), *b = make("zstd", ZCOMP_LEVEL_UNSET);
	struct zcomp_strm *zstrm = zcomp_stream_get(a, ZSTRM_DEFAULT);
	unsigned char packed[ZCOMP_BUFFER_SIZE], back[PAGE];
	struct zcomp_ctx *ctx_a = zstrm->ctx;
	void *buffer = zstrm->buffer;
	size_t len = 0;

	(void)state;
	assert_int_equal((uintptr_t)zstrm->buffer % 64, 0);
	assert_int_equal((uintptr_t)zstrm->local_copy % 64, 0);
	assert_ptr_equal(zstrm->comp, a);

	zcomp_stream_switch(zstrm, b);
	assert_ptr_equal(zstrm->comp, b);
	assert_ptr_not_equal(zstrm->ctx, ctx_a);
	assert_ptr_equal(zstrm->buffer, buffer);
	assert_int_equal(zcomp_compress(b, zstrm, pages[1], &len), 0);
	memcpy(packed, zstrm->buffer, len);
	assert_int_equal(zcomp_decompress(b, zstrm, packed, len, back), 0);
	assert_memory_equal(back, pages[1], PAGE);
	zcomp_stream_switch(zstrm, a);
	assert_ptr_equal(zstrm->ctx, ctx_a);
	zcomp_stream_put(zstrm);

	/* One going away leaves the streams to the other; the last takes them. */
	zcomp_destroy(a);
	len = compress_page(b, pages[1], packed);
	assert_int_equal(decompress_page(b, packed, len, back), 0);
	zcomp_destroy(b);
	b = make("lz4", ZCOMP_LEVEL_UNSET);
	for (unsigned i = 0; i < zcomp_nr_streams(); i++) {
		zstrm = zcomp_stream_get(b, ZSTRM_DEFAULT);
		memset(back, 0, sizeof(back));
		assert_memory_equal(zstrm->buffer, back, PAGE);
		zcomp_stream_put(zstrm);
	}
	zcomp_destroy(b);
	zcomp_destroy(NULL);
}

struct taker {
	struct zcomp *comp;
	atomic_bool has_it;
};

static void *take_and_put(void *arg)
{
	struct taker *t = arg;
	struct zcomp_strm *zstrm = zcomp_stream_get(t->comp, ZSTRM_DEFAULT);

	t->has_it = true;
	zcomp_stream_put(zstrm);
	return NULL;
}

/* A taken stream makes the next caller use another one; only with none left it waits. */
static void test_busy_streams(void **state)
{
	unsigned n = zcomp_nr_streams();
	struct zcomp_strm **held = calloc(n, sizeof(*held));
	struct taker t = { .comp = make("lz4", ZCOMP_LEVEL_UNSET) };
	pthread_t thread;

	(void)state;
	assert_int_equal(n, sysconf(_SC_NPROCESSORS_CONF));
	for (unsigned i = 0; i < n; i++) {
		held[i] = zcomp_stream_get(t.comp, ZSTRM_DEFAULT);
		for (unsigned k = 0; k < i; k++) {
			assert_ptr_not_equal(held[i], held[k]);
			assert_ptr_not_equal(held[i]->ctx, held[k]->ctx);
			assert_ptr_not_equal(held[i]->buffer, held[k]->buffer);
			assert_ptr_not_equal(held[i]->local_copy, held[k]->local_copy);
		}
	}
	assert_int_equal(pthread_create(&thread, NULL, take_and_put, &t), 0);
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	assert_false(t.has_it);
	for (unsigned i = 0; i < n; i++)
		zcomp_stream_put(held[i]);
	pthread_join(thread, NULL);
	assert_true(t.has_it);
	zcomp_destroy(t.comp);
	free(held);
}

/* ---- threads ---- */

#define NR_THREADS 8
#define ROUNDS	   1200

struct hammer {
	struct zcomp *comp[2];
	unsigned seed;
	unsigned bad;
};

/* A page to a thread's own copy, and back; counts what goes wrong. */
static unsigned hammer_page(struct hammer *h, struct zcomp *comp, const unsigned char *page,
			    bool from_other)
{
	struct zcomp *other = h->comp[comp == h->comp[0]];
	struct zcomp_strm *zstrm = zcomp_stream_get(from_other ? other : comp, ZSTRM_PREFER_MGMT);
	unsigned char packed[ZCOMP_BUFFER_SIZE], back[PAGE];
	size_t len = 0;
	int ret;

	if (from_other)
		zcomp_stream_switch(zstrm, comp);
	memcpy(zstrm->local_copy, page, PAGE);
	ret = zcomp_compress(comp, zstrm, zstrm->local_copy, &len);
	if (ret == 0 && len <= sizeof(packed))
		memcpy(packed, zstrm->buffer, len);
	zcomp_stream_put(zstrm);
	if (ret != 0 || len > sizeof(packed))
		return 1;
	ret = decompress_page(comp, packed, len, back);
	return ret != 0 || memcmp(back, page, PAGE) != 0;
}

static void *hammer_thread(void *arg)
{
	struct hammer *h = arg;
	unsigned x = h->seed * 2654435761u + 1;

	for (unsigned i = 0; i < ROUNDS; i++) {
		x = x * 1664525 + 1013904223;
		h->bad += hammer_page(h, h->comp[x >> 31], pages[(x >> 8) % nr_pages],
				      (x >> 4) % 4 == 0);
	}
	return NULL;
}

/* Zcomps come and go while others are used. */
static void *churn_thread(void *arg)
{
	struct hammer *h = arg;

	for (unsigned i = 0; i < 20; i++) {
		struct zcomp_params params = { .level = ZCOMP_LEVEL_UNSET };
		struct zcomp *comp = zcomp_create(zcomp_find("deflate"), &params, NULL, 0);

		if (!comp) {
			h->bad++;
			return NULL;
		}
		h->bad += hammer_page(h, comp, pages[i % nr_pages], false);
		zcomp_destroy(comp);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct zcomp *lz4 = make("lz4", ZCOMP_LEVEL_UNSET), *zstd = make("zstd", 1);
	struct hammer hammers[NR_THREADS + 1];
	pthread_t threads[NR_THREADS + 1];

	(void)state;
	for (unsigned i = 0; i <= NR_THREADS; i++) {
		hammers[i] = (struct hammer){ .comp = { lz4, zstd }, .seed = i };
		assert_int_equal(pthread_create(&threads[i], NULL,
						i < NR_THREADS ? hammer_thread : churn_thread,
						&hammers[i]),
				 0);
	}
	for (unsigned i = 0; i <= NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i <= NR_THREADS; i++)
		assert_int_equal(hammers[i].bad, 0);
	zcomp_destroy(zstd);
	zcomp_destroy(lz4);
}

static void *create_and_destroy(void *arg)
{
	struct hammer *h = arg;

	for (unsigned i = 0; i < 200; i++) {
		struct zcomp_params params = { .level = ZCOMP_LEVEL_UNSET };
		struct zcomp *comp = zcomp_create(zcomp_find("lz4"), &params, NULL, 0);

		if (!comp) {
			h->bad++;
			return NULL;
		}
		h->bad += hammer_page(h, comp, pages[1], false);
		zcomp_destroy(comp);
	}
	return NULL;
}

/* The first and the last zcomp at once, many times. */
static void test_streams_come_and_go(void **state)
{
	struct hammer hammers[4] = { 0 };
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, create_and_destroy, &hammers[i]), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(hammers[i].bad, 0);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_levels_differ),
		cmocka_unit_test(test_same_bytes_again),
		cmocka_unit_test(test_unset_level),
		cmocka_unit_test(test_no_allocation),
		cmocka_unit_test(test_output_bounds),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_hostile_input),
		cmocka_unit_test(test_zstd_blocks),
		cmocka_unit_test(test_wrong_lengths),
		cmocka_unit_test(test_parse_good),
		cmocka_unit_test(test_parse_bad),
		cmocka_unit_test(test_parse_long),
		cmocka_unit_test(test_available),
		cmocka_unit_test(test_managed_without_ops),
		cmocka_unit_test(test_managed),
		cmocka_unit_test(test_managed_not_asked_for),
		cmocka_unit_test(test_backend_contract),
		cmocka_unit_test(test_create_fails),
		cmocka_unit_test(test_dictionary_refused),
		cmocka_unit_test(test_streams_shared),
		cmocka_unit_test(test_busy_streams),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_streams_come_and_go),
	};

	alarm(60); /* a failed test may leave a stream taken for ever */
	file_args = argv + (argc > 0);
	return cmocka_run_group_tests(tests, make_pages, NULL);
}
