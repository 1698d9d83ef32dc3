/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of the control socket: disks that are not real, a server and clients. */
#ifndef UZRAM_CONTROL_FIXTURE_H
#define UZRAM_CONTROL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "plugin/control.h"
#include "plugin/control_priv.h"

/* What `set` says is allowed. */
#define SET_KEYS                                                                                   \
	"mem-limit=SIZE, algorithm=NAME[:LEVEL], batch=N, writeback=manual|auto, high=PCT, "       \
	"low=PCT, writeback-batch=N, writeback-limit=PAGES, writeback-limit-enable=0|1, "          \
	"promote=never|read|second-read"

struct disk {
	const char *name;
	int level;
	const struct zcomp_ops *algorithm;
	uint64_t size, limit, bad; /* pages that do not decode */
	unsigned resets, drops, created;
	bool started, has_backing, wb_auto, wb_limit_enable;
	unsigned high, low, wb_batch, batch, idle; /* seconds, as last asked */
	uint64_t wb_limit;
	enum disk_promote promote;
	char wb_asked[256];	    /* what writeback was asked for */
	struct disk_wb_result wb_result; /* what it is to say */
	atomic_int compacting; /* how many at once */
	atomic_bool release;   /* compaction may end */
};

extern struct disk disks[3];
extern struct registry *registry;
extern atomic_int destroyed; /* disks */
extern char dir[], path[64]; /* a folder of our own, the socket in it */
extern struct control *control;

void sleep_ms(unsigned ms);
void make_registry(size_t nr_disks);
struct control *try_start(size_t nr_disks, unsigned stuck_ms);
void start(size_t nr_disks, unsigned stuck_ms);
int stop(void **state);
int client(void);
void put(int fd, const char *bytes, size_t len);
void say(int fd, const char *text);
const char *hear(int fd);
void expect_text(int fd, const char *text);
void expect_error(int fd, const char *name, const char *error);
void expect_end(int fd);
void expect_served(void);

/* Makes `dir`, runs, removes it. */
int run_in_dir(int (*run)(void));

#endif
