/* SPDX-License-Identifier: BSD-3-Clause */
/* The slot table: see table.h. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "table.h"

#define NODE_SHIFT  9
#define NODE_PTRS   (1u << NODE_SHIFT)
#define BOTTOM_SHIFT 8
#define BOTTOM_ENTRIES (1u << BOTTOM_SHIFT)
#define CHUNK_LEAVES 256 /* mapped at once: one MiB */

/*
 * An entry's word: pins in the low 12 bits, the leaf's address (page-aligned,
 * 48 bits) in between, live slots in the high 16.
 */
#define WORD_PINS ((uint64_t)0xfff)
#define WORD_LEAF ((uint64_t)0x0000fffffffff000)
#define WORD_LIVE ((uint64_t)1 << 48)

struct table_entry {
	_Atomic uint64_t word;
	uint64_t unused; /* two entries of a 4 KiB node: keeps 256 of 16 bytes */
};

typedef _Atomic(void *) node_ptr;

/*
 * The root's word: its address, and in the low bits how many levels of pointer nodes it
 * stands above the bottom nodes. One word, so that the tree can grow a level under readers.
 */
#define ROOT_LEVELS ((uintptr_t)0xf)

struct table {
	_Atomic uintptr_t root;
	_Atomic uint64_t pages;
	table_charge_fn *charge;
	void *opaque;
	_Atomic uint64_t leaves;
	bool keep; /* leaves never go */

	pthread_mutex_t lock; /* innermost; guards what follows */
	struct slot **free;   /* leaves, all zeroes */
	size_t nr_free, max_free;
	void **chunks;
	size_t nr_chunks;
};

/*
 * Leaves and nodes: 4 KiB pages out of chunks that are never unmapped. The free
 * stack has room for every leaf, so that giving one back cannot fail.
 */
static bool grow_pages(struct table *table)
{
	size_t len = (size_t)CHUNK_LEAVES * PAGE_SIZE;
	void *chunks = realloc(table->chunks, (table->nr_chunks + 1) * sizeof(*table->chunks));
	void *list;
	char *chunk;

	if (!chunks)
		return false;
	table->chunks = chunks;
	list = realloc(table->free, (table->max_free + CHUNK_LEAVES) * sizeof(*table->free));
	if (!list)
		return false;
	table->free = list;
	chunk = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	if (chunk == MAP_FAILED)
		return false;
	madvise(chunk, len, MADV_NOHUGEPAGE);
	table->chunks[table->nr_chunks++] = chunk;
	table->max_free += CHUNK_LEAVES;
	for (size_t i = CHUNK_LEAVES; i-- > 0;)
		table->free[table->nr_free++] = (struct slot *)(chunk + i * PAGE_SIZE);
	return true;
}

static void *page_get(struct table *table)
{
	LOCK_SCOPE(&table->lock);
	if (!table->nr_free && !grow_pages(table)) {
		errno = ENOMEM;
		return NULL;
	}
	return table->free[--table->nr_free];
}

static void page_put(struct table *table, void *page)
{
	/* Reads as zeroes after, whether or not the memory went back. In a larger page of the system
	 * it has neighbours. */
	if (sysconf(_SC_PAGESIZE) > (long)PAGE_SIZE || madvise(page, PAGE_SIZE, MADV_DONTNEED) == -1)
		memset(page, 0, PAGE_SIZE);
	LOCK_SCOPE(&table->lock);
	table->free[table->nr_free++] = page;
}

static unsigned levels_for(uint64_t pages)
{
	uint64_t span = BOTTOM_ENTRIES * LEAF_SLOTS;
	unsigned levels = 0;

	for (; span < pages; span <<= NODE_SHIFT)
		levels++;
	return levels;
}

struct table *table_create(uint64_t pages)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->pages = pages;
	table->root = levels_for(pages); /* no node yet */
	pthread_mutex_init(&table->lock, NULL);
	return table;
}

void table_reset(struct table *table)
{
	for (size_t i = 0; i < table->nr_chunks; i++)
		munmap(table->chunks[i], (size_t)CHUNK_LEAVES * PAGE_SIZE);
	free(table->chunks);
	free(table->free);
	table->chunks = NULL;
	table->free = NULL;
	table->nr_chunks = table->nr_free = table->max_free = 0;
	table->root = levels_for(table->pages);
}

void table_destroy(struct table *table)
{
	if (!table)
		return;
	table_reset(table);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

void table_on_charge(struct table *table, table_charge_fn *charge, void *opaque)
{
	table->charge = charge;
	table->opaque = opaque;
}

/* What stands at *link; made if it is not there and `create`. */
static void *node_get(struct table *table, node_ptr *link, bool create)
{
	void *node = atomic_load_explicit(link, memory_order_acquire);
	void *mine;

	if (likely(node) || !create)
		return node;
	mine = page_get(table);
	if (mine && !atomic_compare_exchange_strong(link, &node, mine)) {
		page_put(table, mine); /* somebody was faster */
		return node;
	}
	return mine;
}

/* The root node and its *levels; made if it is not there and `create`. */
static void *root_get(struct table *table, bool create, unsigned *levels)
{
	uintptr_t word = atomic_load_explicit(&table->root, memory_order_acquire);
	void *mine;

	while (unlikely(!(word & ~ROOT_LEVELS)) && create) {
		mine = page_get(table);
		if (!mine)
			return NULL;
		if (atomic_compare_exchange_strong(&table->root, &word, (uintptr_t)mine | word)) {
			word |= (uintptr_t)mine;
			break;
		}
		page_put(table, mine); /* somebody was faster */
	}
	*levels = word & ROOT_LEVELS;
	return (void *)(word & ~ROOT_LEVELS);
}

int table_grow(struct table *table, uint64_t pages)
{
	unsigned want = levels_for(pages);

	for (;;) {
		uintptr_t word = atomic_load(&table->root);
		unsigned levels = word & ROOT_LEVELS;
		node_ptr *top;

		if (levels >= want)
			break;
		if (!(word & ~ROOT_LEVELS)) { /* nothing stored yet: only deeper */
			atomic_compare_exchange_strong(&table->root, &word, want);
			continue;
		}
		top = page_get(table);
		if (!top)
			return -1;
		/* Whoever still walks from the old root finds all that was there. */
		atomic_store(&top[0], (void *)(word & ~ROOT_LEVELS));
		if (!atomic_compare_exchange_strong(&table->root, &word,
			    (uintptr_t)top | (levels + 1)))
			page_put(table, top);
	}
	atomic_store(&table->pages, pages);
	return 0;
}

/* The entry for the leaf of page `index`; NULL as node_get(). */
static struct table_entry *entry_get(struct table *table, uint64_t index, bool create)
{
	uint64_t key = index >> LEAF_SHIFT;
	unsigned level;
	void *node = root_get(table, create, &level);

	for (; node && level > 0; level--) {
		unsigned shift = BOTTOM_SHIFT + (level - 1) * NODE_SHIFT;

		node = node_get(table, &((node_ptr *)node)[key >> shift & (NODE_PTRS - 1)], create);
	}
	return node ? (struct table_entry *)node + (key & (BOTTOM_ENTRIES - 1)) : NULL;
}

static struct slot *word_leaf(uint64_t word)
{
	return (struct slot *)(uintptr_t)(word & WORD_LEAF);
}

/* Charges and installs a leaf; *word is the entry's word, re-read if it changed. */
static bool leaf_add(struct table *table, struct table_entry *entry, uint64_t *word)
{
	void *leaf;

	if (table->charge && !table->charge(table->opaque, PAGE_SIZE)) {
		errno = ENOSPC;
		return false;
	}
	leaf = page_get(table);
	if (leaf && atomic_compare_exchange_strong(&entry->word, word, (uintptr_t)leaf)) {
		*word = (uintptr_t)leaf;
		atomic_fetch_add_explicit(&table->leaves, 1, memory_order_relaxed);
		return true;
	}
	if (table->charge)
		table->charge(table->opaque, -(int64_t)PAGE_SIZE);
	if (!leaf)
		return false;
	page_put(table, leaf); /* somebody was faster, or took it away again */
	return true;
}

bool table_get(struct table *table, uint64_t index, bool create, struct table_ref *ref)
{
	struct table_entry *entry = entry_get(table, index, create);
	uint64_t word;

	if (unlikely(!entry)) {
		if (!create)
			errno = 0;
		return false;
	}
	word = atomic_load_explicit(&entry->word, memory_order_relaxed);
	for (;;) {
		if (!(word & WORD_LEAF)) {
			if (!create) {
				errno = 0;
				return false;
			}
			if (!leaf_add(table, entry, &word))
				return false;
		} else if ((word & WORD_PINS) == WORD_PINS) {
			sched_yield(); /* 4095 threads in one MiB of disk */
			word = atomic_load_explicit(&entry->word, memory_order_relaxed);
		} else if (atomic_compare_exchange_weak_explicit(&entry->word, &word, word + 1,
				   memory_order_acquire, memory_order_relaxed)) {
			break;
		}
	}
	ref->entry = entry;
	ref->slots = word_leaf(word);
	return true;
}

void table_put(struct table *table, struct table_ref *ref, int live)
{
	uint64_t change = (uint64_t)(int64_t)live * WORD_LIVE - 1;
	uint64_t word = atomic_fetch_add_explicit(&ref->entry->word, change, memory_order_acq_rel) +
			change;

	/* Only the address is left: nobody uses it, no slot holds anything. */
	if (likely(word & ~WORD_LEAF) || table->keep)
		return;
	if (!atomic_compare_exchange_strong(&ref->entry->word, &word, 0))
		return;
	page_put(table, ref->slots);
	atomic_fetch_sub_explicit(&table->leaves, 1, memory_order_relaxed);
	if (table->charge)
		table->charge(table->opaque, -(int64_t)PAGE_SIZE);
}

uint64_t table_next(struct table *table, uint64_t index, uint64_t end)
{
	while (index < end) {
		uint64_t key = index >> LEAF_SHIFT;
		unsigned level, shift;
		void *node = root_get(table, false, &level);

		/* Down to where the tree ends; `shift`: leaves that the missing part spans. */
		for (shift = BOTTOM_SHIFT + level * NODE_SHIFT; node && level > 0; level--) {
			node_ptr *ptrs = node;

			shift = BOTTOM_SHIFT + (level - 1) * NODE_SHIFT;
			node = atomic_load_explicit(&ptrs[key >> shift & (NODE_PTRS - 1)],
				memory_order_acquire);
		}
		if (node) {
			struct table_entry *entry = node;

			entry += key & (BOTTOM_ENTRIES - 1);
			if (atomic_load_explicit(&entry->word, memory_order_relaxed) & WORD_LEAF)
				return index;
			shift = 0;
		}
		if (LEAF_SHIFT + shift >= 64)
			return end;
		index = ((index >> (LEAF_SHIFT + shift)) + 1) << (LEAF_SHIFT + shift);
		if (index == 0)
			return end;
	}
	return end;
}

int table_populate(struct table *table)
{
	for (uint64_t index = 0; index < table->pages; index += LEAF_SLOTS) {
		struct table_ref ref;

		if (!table_get(table, index, true, &ref))
			return -1;
		/* Written, so that it is not the system's shared page of zeroes. */
		slot_set_val(&ref.slots[0], 0);
		table->keep = true;
		table_put(table, &ref, 0);
	}
	return 0;
}

uint64_t table_bytes(struct table *table)
{
	return atomic_load_explicit(&table->leaves, memory_order_relaxed) * PAGE_SIZE;
}

_Atomic unsigned slot_sleepers;

/* Every thread of the process has passed a fence since this was called, if it returns true. */
static bool fence_everywhere(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
		return true;
	/* EPERM: the process has not said yet that it will use it. */
	return errno == EPERM &&
	       syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
	       syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* Holders keep a slot for some microseconds: spin about that long, then sleep. */
void slot_lock_slow(struct slot *slot)
{
	/* Where membarrier is forbidden, a wake-up may be missed: look again soon. */
	static const struct timespec soon = { .tv_nsec = 1000000 };
	const struct timespec *timeout;
	int saved = errno;

	for (unsigned i = 0; i < 100; i++) {
		if (!(slot_peek(slot) & SLOT_LOCK) && slot_trylock(slot))
			return;
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
	}
	atomic_fetch_add(&slot_sleepers, 1);
	timeout = fence_everywhere() ? NULL : &soon;
	while (!slot_trylock(slot)) {
		uint32_t flags = slot_peek(slot);

		if (flags & SLOT_LOCK)
			syscall(SYS_futex, &slot->flags, FUTEX_WAIT_PRIVATE, flags, timeout, NULL,
				0);
	}
	atomic_fetch_sub(&slot_sleepers, 1);
	errno = saved;
}

void slot_wake(struct slot *slot)
{
	int saved = errno;

	syscall(SYS_futex, &slot->flags, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	errno = saved;
}
