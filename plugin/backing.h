/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backing: where the second tier's bytes lie: a regular file, a block device, or another NBD
 * server. It knows offsets and bytes; what they mean is the log's business (log.h).
 *
 *	struct backing *b = backing_open(&(struct backing_config){ .where = "/var/tmp/wb",
 *		.size = 1 << 30 }, &error);
 *	backing_start(b, &error);			after the last fork
 *	struct backing_queue *q = backing_queue_get(b);
 *	backing_run(q, ios, n);				all of them, one sleep
 *	backing_queue_put(q);
 *
 * Queues
 *	I/O goes through a queue, which one thread has at a time: it submits, and it waits, so
 *	nobody has to be woken but the thread that wants the bytes. A reader takes a queue for one
 *	batch, a writer keeps one. There are backing_config.queues of them, three from the start
 *	and others when first needed (all at once with `locked`); whoever finds none waits for
 *	one. So no more than two may be kept, and fewer than there are.
 *
 * Kinds
 *	Files and block devices go through io_uring, a ring for each queue; where io_uring is
 *	forbidden, through a few threads with pread and pwrite. Direct I/O where it is possible.
 *	NBD goes through libnbd: a thread for each connection, several connections where the
 *	server allows it. A server that vanishes is looked for again for a bounded time, and
 *	requests that were out are sent again; after that they fail, and so do new ones, at once,
 *	until the server is back.
 *
 * Threads
 *	Everything may be called from any thread, a queue from one at a time. No call but
 *	backing_stop(), backing_allocated() and backing_get_info() returns without possible sleep.
 */
#ifndef UZRAM_BACKING_H
#define UZRAM_BACKING_H

#include "util.h"

#define BACKING_DEPTH	64	     /* requests that a queue may have out */
#define BACKING_MAX_IO	(1u << 20)   /* bytes of one request */
#define BACKING_ALIGN	4096	     /* of buffers */
#define BACKING_SCRATCH (512u << 10) /* bytes, see backing_scratch() */

struct backing;
struct backing_queue;

struct backing_config {
	const char *where; /* path, or nbd, nbds, nbd+unix, nbds+unix URI */
	int fd;		   /* what `where` names, open for reading and writing; it stays the
			    * caller's. 0: `where` is opened; never an NBD server's */
	uint64_t size;	   /* bytes: a new file gets that size, anything else must have it;
			    * 0: as it is, and it must be there */
	bool overwrite;	   /* a file of another size gets `size`, its content lost */
	bool locked;	   /* for swap: fully allocated, never punched; all queues at once */
	unsigned queues;   /* 0: 32 */
	bool no_uring, no_direct; /* for tests, and where they are known to be bad */
	unsigned connections;	  /* NBD: at most; 0: 4 */
	unsigned reconnect_ms;	  /* NBD: so long requests wait for a lost server; 0: 5000 */
	unsigned stall_ms; /* NBD: no answer at all for that long is a vanished server; 0: 30000 */
};

struct backing_info {
	const char *name; /* backing_config.where */
	const char *kind; /* "io_uring", "threads", "nbd" */
	uint64_t size;	  /* bytes */
	uint32_t block; /* offsets and lengths of requests are multiples; a power of two, <= 4096 */
	bool can_punch; /* backing_trim() gives space back */
	bool direct;	/* past the page cache */
	bool exclusive; /* nobody else can have it: locked while we have it open */
	bool created;	/* backing_open() made the file */
};

enum backing_op { BACKING_READ, BACKING_WRITE };

struct backing_io {
	enum backing_op op;
	void *buf; /* aligned to BACKING_ALIGN, but for the block's multiples in it */
	uint64_t offset;
	uint32_t len;
	int error;    /* out: 0, or an errno: ENOSPC no room below us; ENOTCONN server vanished;
		       * else what the system or server said */
	void *opaque; /* the caller's */
	/* The backing's: */
	uint32_t done; /* bytes that were transferred */
	uint32_t part; /* bytes asked for now, from there on */
	int32_t res;   /* of this part: bytes, or a negative errno */
	struct backing_queue *queue;
	struct backing_io *next, *prev;
	void *driver, *fault;
	uint64_t due; /* uz_nsec() */
};

/*
 * Opens and locks; no thread, no ring: the process may still fork. NULL with *error: EBUSY when
 * another process (or this one) has it; ENOENT; EINVAL for a size that is not its own.
 */
struct backing *backing_open(const struct backing_config *config, struct uz_error *error);

/* Queues, threads, connections. 0, or -1 with *error. Before it only backing_pread() and
 * backing_pwrite() work, from one thread. */
int backing_start(struct backing *backing, struct uz_error *error);

/*
 * From now on nothing waits for what may never come: a server that has vanished is given up, one
 * that is there must answer within a second. Otherwise I/O goes on. Does not sleep. */
void backing_stop(struct backing *backing);

/* All queues were put. */
void backing_close(struct backing *backing);

void backing_get_info(struct backing *backing, struct backing_info *info);

/* Bytes that it takes below us now; UINT64_MAX: cannot be known. */
uint64_t backing_allocated(struct backing *backing);

/*
 * The range's content is not needed any more and its space may go; it reads as anything until
 * written. 0, or an errno; EOPNOTSUPP, and can_punch becomes false, where it is not possible.
 */
int backing_trim(struct backing *backing, uint64_t offset, uint64_t len);

/* After a lost connection: `len` <= 64 bytes that must be at `offset` (within a block), else the
 * server found there is not ours. */
void backing_expect(struct backing *backing, uint64_t offset, const void *bytes, size_t len);

/* NULL with errno, if there is none at all: not after backing_start(). */
struct backing_queue *backing_queue_get(struct backing *backing);
/* Nothing may be out. */
void backing_queue_put(struct backing_queue *queue);
/* BACKING_SCRATCH aligned bytes for whoever has the queue. */
void *backing_scratch(struct backing_queue *queue);

/*
 * Sends `n` requests; BACKING_DEPTH may be out altogether. They are the backing's until
 * backing_reap() returned them. Short transfers are continued.
 */
void backing_submit(struct backing_queue *queue, struct backing_io *ios, unsigned n);
/* One that is done, waiting for it if `wait`; NULL when none is out, or none is done. */
struct backing_io *backing_reap(struct backing_queue *queue, bool wait);
/* Submits and reaps n <= BACKING_DEPTH, when nothing else is out. 0, or the first error found. */
int backing_run(struct backing_queue *queue, struct backing_io *ios, unsigned n);

/* One request. 0, or an errno. */
int backing_pread(struct backing *backing, void *buf, uint32_t len, uint64_t offset);
int backing_pwrite(struct backing *backing, void *buf, uint32_t len, uint64_t offset);

/* Aligned memory; free() it. `touch`: there at once. NULL with errno ENOMEM. */
void *backing_alloc(size_t len, bool touch);

/* --- for tests: a backing that breaks another --- */

enum backing_fault {
	FAULT_READ,	  /* EIO, nothing read */
	FAULT_WRITE,	  /* EIO, nothing written */
	FAULT_READ_SHORT, /* part of it read, no error: must be continued */
	FAULT_WRITE_SHORT,
	FAULT_NOSPC,	     /* a write says ENOSPC */
	FAULT_CORRUPT_READ,  /* a byte read is wrong */
	FAULT_CORRUPT_WRITE, /* a byte written is wrong */
	FAULT_LOST_WRITE,    /* said to be written, but is not */
	FAULT_TORN_WRITE,    /* EIO, half of it written */
	FAULT_DELAY,	     /* done `delay_us` late, both ways */
	FAULT_HANG,	     /* not done before backing_stop(), then ENOTCONN */
	FAULT_TRIM,	     /* EIO */
	NR_FAULTS
};

struct backing_fault_rule {
	uint32_t permille; /* of the requests */
	int64_t times;	   /* so often at most; negative: without end */
	uint64_t from, to; /* only requests that touch [from, to); both 0: all */
	uint32_t delay_us;
};

/* Takes `inner`, not started, and closes it in the end. NULL with errno; `inner` is then as it was.
 */
struct backing *backing_fault_wrap(struct backing *inner, uint64_t seed);
/* From now on; NULL: never. */
void backing_fault_set(
	struct backing *backing, enum backing_fault fault, const struct backing_fault_rule *rule);
/* How often it struck. */
uint64_t backing_fault_hits(struct backing *backing, enum backing_fault fault);

#endif
