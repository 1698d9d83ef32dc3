/* SPDX-License-Identifier: BSD-3-Clause */
/* See swap.h. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "swap.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Deepest stack of a request, with room to spare: two pages, and a codec's frames. */
#define STACK_BYTES (128u << 10)

/* nbdkit's buffer for a thread's requests grows with them; Linux sends up to 128 KiB. */
#define HEAP_BYTES (1u << 20)

/*
 * Anonymous mappings of this size or more are not faulted in: the pool's address range, thread
 * stacks, and nbdkit's three static buffers of 64 MiB, of which it uses some KiB.
 */
#define ANON_MAX (4u << 20)

struct swap {
	struct registry *registry;
	pthread_t thread;
	sem_t wake;
	_Atomic bool stop;
};

static void touch_stack(void)
{
	volatile char stack[STACK_BYTES];

	for (size_t i = 0; i < sizeof(stack); i += PAGE_SIZE)
		stack[i] = 0;
}

/* What is freed stays with the thread, faulted in: see keep_heap(). */
static void touch_heap(void)
{
	volatile char *heap = malloc(HEAP_BYTES);

	for (size_t i = 0; heap && i < HEAP_BYTES; i += PAGE_SIZE)
		heap[i] = 0;
	free((void *)heap);
}

void swap_warm_thread(void)
{
	touch_stack();
	touch_heap();
}

/*
 * Freed memory is not given back to the system, and large pieces come from the heap too. Else the
 * first request of 128 KiB would map, and fault in, a new buffer for its thread, while the kernel
 * waits for that very request.
 */
static void keep_heap(void)
{
#ifdef M_TRIM_THRESHOLD
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

/*
 * Text and libraries, and what the heap has: a locked mapping whose pages are not there yet
 * would fetch them on the swap path. Writable ones are written, as a fork made them shared.
 */
static void fault_in(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	if (!maps)
		return;
	while (fgets(line, sizeof(line), maps)) {
		unsigned long start, end, inode;
		char perms[5];

		if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &start, &end, perms, &inode) != 4 ||
			perms[0] != 'r' || strstr(line, "[v"))
			continue;
		if (inode == 0 && end - start >= ANON_MAX && !strstr(line, "[heap]"))
			continue;
		madvise((void *)start, end - start,
			perms[1] == 'w' ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	}
	fclose(maps);
}

static void spare_from_oom(void)
{
	static const char value[] = "-1000";
	CLEANUP_CLOSE int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd == -1 || write(fd, value, sizeof(value) - 1) == -1)
		uz_warn("swap=yes: cannot set oom_score_adj to -1000: %s: the OOM killer may "
			"choose this server", strerror(errno));
}

static void protect_process(void)
{
	/* ONFAULT: else the whole address range of the pool would be populated. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == -1)
		uz_warn("swap=yes: cannot lock memory: %s: this server may itself be swapped out "
			"and hang (raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK)", strerror(errno));
	fault_in();
	/* Inherited by the threads that serve, all of which descend from this one. */
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == -1)
		uz_warn("swap=yes: cannot become an I/O flusher: %s: its own allocations may wait "
			"for swap (grant CAP_SYS_RESOURCE)", strerror(errno));
	spare_from_oom();
}

/* Inside the pool's locks: only wakes. */
static void low(void *opaque)
{
	struct swap *swap = opaque;
	int pending;

	if (sem_getvalue(&swap->wake, &pending) == 0 && pending == 0)
		sem_post(&swap->wake);
}

/* Calls `each` on every disk; -1 as soon as that says so. */
static int each_disk(struct swap *swap, int (*each)(struct swap *swap, struct disk *disk,
	struct uz_error *e), struct uz_error *e)
{
	struct disk *disk = registry_next(swap->registry, NULL), *next;
	int ret = 0;

	for (; disk; disk = next) {
		if (ret == 0)
			ret = each(swap, disk, e);
		next = registry_next(swap->registry, disk);
		registry_put(swap->registry, disk);
	}
	return ret;
}

static int prepare_disk(struct swap *swap, struct disk *disk, struct uz_error *e)
{
	return disk_prepare_swap(disk, low, swap, e);
}

/* Short of memory: the next call tries again. */
static int refill_disk(struct swap *swap, struct disk *disk, struct uz_error *e)
{
	disk_refill(disk);
	return 0;
}

static void *refill(void *opaque)
{
	struct swap *swap = opaque;

	for (;;) {
		while (sem_wait(&swap->wake) == -1 && errno == EINTR)
			;
		if (swap->stop)
			return NULL;
		each_disk(swap, refill_disk, NULL);
	}
}

struct swap *swap_start(struct registry *registry, struct uz_error *e)
{
	struct swap *swap = calloc(1, sizeof(*swap));
	int err;

	if (!swap) {
		uz_fail(e, ENOMEM, "swap=yes: no memory");
		return NULL;
	}
	swap->registry = registry;
	sem_init(&swap->wake, 0, 0);
	keep_heap();
	protect_process();
	swap_warm_thread();
	if (each_disk(swap, prepare_disk, e) == -1)
		goto fail;
	err = pthread_create(&swap->thread, NULL, refill, swap);
	if (err) {
		uz_fail(e, err, "swap=yes: cannot start a thread: %s", strerror(err));
		goto fail;
	}
	return swap;
fail:
	sem_destroy(&swap->wake);
	free(swap);
	return NULL;
}

void swap_stop(struct swap *swap)
{
	if (!swap)
		return;
	swap->stop = true;
	sem_post(&swap->wake);
	pthread_join(swap->thread, NULL);
	sem_destroy(&swap->wake);
	free(swap);
}
