/* SPDX-License-Identifier: BSD-3-Clause */
/* Small things every file of the plugin uses. */
#ifndef UZRAM_UTIL_H
#define UZRAM_UTIL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_SHIFT 12
#ifdef PAGE_SIZE
#undef PAGE_SIZE
#endif
#define PAGE_SIZE 4096u

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define __printf_(f, a) __attribute__((format(printf, f, a)))

/* CLEANUP_FREE char *p = ...: freed when the scope is left. */
static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}
#define CLEANUP_FREE __attribute__((cleanup(cleanup_free_)))

static inline void cleanup_close_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close_)))

static inline void cleanup_unlock_(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}
#define LOCK_JOIN_(a, b) a##b
#define LOCK_NAME_(line) LOCK_JOIN_(lock_, line)
/* LOCK_SCOPE(&lock): held until the scope is left. */
#define LOCK_SCOPE(l)                                                                              \
	__attribute__((cleanup(cleanup_unlock_), unused)) pthread_mutex_t *LOCK_NAME_(__LINE__) = (l); \
	pthread_mutex_lock(LOCK_NAME_(__LINE__))

/* Does backing= mean an NBD server by that? */
static inline bool uz_is_nbd_uri(const char *s)
{
	return !strncmp(s, "nbd:", 4) || !strncmp(s, "nbds:", 5) || !strncmp(s, "nbd+", 4) ||
	       !strncmp(s, "nbds+", 5);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A set-up step's failure: an errno and one line for whoever asked. */
struct uz_error {
	int code;
	char text[512];
};

/* Fills *e, returns -1, so that `return uz_fail(...)` reads well. */
int uz_fail(struct uz_error *e, int code, const char *fmt, ...) __printf_(3, 4);

/*
 * One line to the log (nbdkit's, or stderr in tests). Never on the I/O path:
 * writing a log may block.
 */
void uz_warn(const char *fmt, ...) __printf_(1, 2);
void uz_set_warn_hook(void (*hook)(const char *line));

/*
 * A size as nbdkit_parse_size() reads it: decimal digits with an optional
 * suffix b k m g t p e (powers of 1024) or s (512 bytes), either case. -1 for
 * anything else: negative, overflow beyond 2^63 - 1, trailing text.
 */
int64_t uz_parse_size(const char *str);

/* Monotonic clock, in seconds and in nanoseconds. */
uint32_t uz_seconds(void);
uint64_t uz_nsec(void);

#endif
