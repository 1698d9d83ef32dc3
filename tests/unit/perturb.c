/* SPDX-License-Identifier: BSD-3-Clause */
/* See perturb.h. */
#include <sched.h>
#include <unistd.h>

#include "accel_sim/accel_priv.h"
#include "perturb.h"
#include "plugin/stage.h"
#include "streams/zcomp.h"
#include "zpool/zpool.h"

struct page_io; /* plugin's, whose slots have the names of accel_sim's */

static _Atomic uint64_t seed0;

void perturb_seed(uint64_t seed)
{
	seed0 = seed;
}

void perturb(void)
{
	static _Thread_local uint64_t s;
	unsigned what;

	if (!s)
		s = ((uint64_t)(uintptr_t)&s * 0x9e3779b97f4a7c15 + seed0) | 1;
	s ^= s << 13;
	s ^= s >> 7;
	s ^= s << 17;
	what = s % 512;
	if (what == 0)
		usleep((s >> 32) % 300);
	else if (what < 16)
		sched_yield();
}

#define WRAP(type, name, params, args)                                                             \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		perturb();                                                                         \
		return __real_##name args;                                                         \
	}

/* Both kinds of compressor. */
WRAP(int, zcomp_compress, (struct zcomp *c, struct zcomp_strm *z, const void *src, size_t *len),
	(c, z, src, len))
WRAP(void, zcomp_compress_batch,
	(struct zcomp *c, struct zcomp_strm *z, struct zcomp_page *pages, unsigned n),
	(c, z, pages, n))
WRAP(enum accel_status, exec_op, (struct engine *e, const struct slot *slot, uint32_t *produced),
	(e, slot, produced))

/* Memory. */
WRAP(zhandle_t, zpool_alloc, (struct zpool *pool, size_t size, uint64_t owner), (pool, size, owner))
WRAP(void, zpool_free, (struct zpool *pool, zhandle_t handle), (pool, handle))

/* A page's way through the stage, ... */
WRAP(unsigned, stage_push, (struct stage *stage, const uint64_t *index, unsigned n),
	(stage, index, n))
WRAP(unsigned, stage_pop,
	(struct stage *stage, struct stage_entry *entries, unsigned n, unsigned *left),
	(stage, entries, n, left))
WRAP(void, stage_done, (struct stage *stage, const struct stage_entry *e, unsigned n), (stage, e, n))
WRAP(bool, page_take, (struct page_io *io, uint64_t index, uint32_t token, void *copy),
	(io, index, token, copy))
WRAP(void, page_finish,
	(struct page_io *io, uint64_t index, uint32_t token, unsigned codec, const void *bytes,
		size_t len),
	(io, index, token, codec, bytes, len))

/* ... and through a device. */
WRAP(unsigned, zcomp_submit, (struct zcomp_queue *q, struct zcomp_strm **zstrms, unsigned n),
	(q, zstrms, n))
WRAP(unsigned, zcomp_reap, (struct zcomp_queue *q, struct zcomp_strm **zstrms, unsigned n),
	(q, zstrms, n))
WRAP(void, accel_doorbell, (struct accel_qp *qp), (qp))

/* Between the choice of a disk and the look at its algorithm. */
struct drain_client *__real_drain_next(int who, unsigned start);
struct drain_client *__wrap_drain_next(int who, unsigned start);
struct drain_client *__wrap_drain_next(int who, unsigned start)
{
	struct drain_client *client = __real_drain_next(who, start);

	perturb();
	return client;
}

/*
 * No pauses, but for the thread sanitizer: liburing maps and unmaps its rings by system calls of its
 * own. When one device's rings lie where another's were, the sanitizer is to know that they ended
 * before these began.
 */
static _Atomic unsigned rings_ended;

int __real_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *p)
{
	int ret = __real_io_uring_queue_init_params(n, ring, p);

	atomic_load(&rings_ended);
	return ret;
}

void __real_io_uring_queue_exit(struct io_uring *ring);
void __wrap_io_uring_queue_exit(struct io_uring *ring);
void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
	atomic_fetch_add(&rings_ended, 1);
	__real_io_uring_queue_exit(ring);
}
