/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Managed streams: those of the accelerator's queue pairs.
 *
 * The device is the process's, its streams (buffers) a queue's, shared by all zcomps; contexts
 * belong to a zcomp, one for each engine, as an engine works on one page at a time: a deep queue of
 * a codec with large contexts costs no more than a shallow one.
 *
 * Locks: `lock` guards the device's coming and going. A queue is its thread's alone.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel_sim/accel.h"
#include "streams/backend.h"
#include "streams/managed.h"

#define BURST 64 /* operations handed over at once */

/* A zcomp's side. */
struct managed {
	struct accel_codec codec; /* first: the engines get its address */
	const struct zcomp_ops *ops;
	struct zcomp_params *params;
	unsigned nr_ctx;
	struct zcomp_ctx ctx[]; /* one for each engine thread */
};

struct managed_strm {
	struct zcomp_strm strm; /* first */
	struct managed_strm *next; /* free */
	struct managed *managed;   /* of the zcomp that has it */
	unsigned char local_copy[ZCOMP_PAGE_SIZE] __attribute__((aligned(64)));
	unsigned char buffer[ZCOMP_BUFFER_SIZE];
};

struct zcomp_queue {
	struct accel_qp *qp;
	struct managed_strm *streams, *free;
	unsigned nr, nr_free;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct accel_profile profile;
static bool configured;
static struct accel_device *device;
static _Atomic bool on;
static void (*_Atomic state_hook)(bool on);

static _Thread_local struct zcomp_queue *own_queue;

/* --- the device --- */

void zcomp_accel_configure(const struct accel_profile *p)
{
	configured = p;
	if (p)
		profile = *p;
}

void zcomp_accel_set_hook(void (*hook)(bool on))
{
	state_hook = hook;
}

bool zcomp_accel_on(void)
{
	return atomic_load_explicit(&on, memory_order_relaxed);
}

/* A reset is over soon: meanwhile what is refused goes to software, as always. */
static void state_changed(void *opaque, enum accel_state state)
{
	bool now = state != ACCEL_UNPLUGGED && state != ACCEL_FAILED;
	void (*hook)(bool on) = state_hook;

	if (state == ACCEL_FAILED)
		streams_warn("accel: the device failed: managed streams are off, software "
			     "compresses everything (uzramctl accel plug brings it back)");
	if (atomic_exchange(&on, now) != now && hook)
		hook(now);
}

int zcomp_accel_start(char *err, size_t errlen)
{
	struct accel_device *dev;

	if (!configured)
		return 0;
	dev = accel_open(&profile, err, errlen);
	if (!dev)
		return -1;
	accel_set_state_hook(dev, state_changed, NULL);
	pthread_mutex_lock(&lock);
	device = dev;
	pthread_mutex_unlock(&lock);
	atomic_store(&on, true);
	return 0;
}

void zcomp_accel_stop(void)
{
	struct accel_device *dev;

	pthread_mutex_lock(&lock);
	dev = device;
	device = NULL;
	pthread_mutex_unlock(&lock);
	atomic_store(&on, false);
	if (dev)
		accel_close(dev);
}

struct accel_device *zcomp_accel_ref(void)
{
	struct accel_device *dev;

	pthread_mutex_lock(&lock);
	dev = device ? accel_ref(device) : NULL;
	pthread_mutex_unlock(&lock);
	return dev;
}

unsigned zcomp_accel_queues(unsigned *depth)
{
	*depth = configured ? profile.queue_depth : 0;
	return configured ? profile.devices * profile.queues : 0;
}

/* --- a zcomp's codec on the engines --- */

static int run(int (*op)(struct zcomp_params *, struct zcomp_ctx *, struct zcomp_req *),
	       const struct managed *m, unsigned engine, const void *src, uint32_t src_len, void *dst,
	       uint32_t *dst_len)
{
	struct zcomp_req req = { src, src_len, dst, *dst_len };
	struct zcomp_ctx none = { NULL };
	int ret = op(m->params, m->nr_ctx ? (struct zcomp_ctx *)&m->ctx[engine] : &none, &req);

	if (ret == 0)
		*dst_len = (uint32_t)req.dst_len;
	return ret;
}

static int codec_compress(const struct accel_codec *codec, unsigned engine, const void *src,
			  uint32_t src_len, void *dst, uint32_t *dst_len)
{
	const struct managed *m = (const struct managed *)codec;

	return run(m->ops->compress, m, engine, src, src_len, dst, dst_len);
}

static int codec_decompress(const struct accel_codec *codec, unsigned engine, const void *src,
			    uint32_t src_len, void *dst, uint32_t *dst_len)
{
	const struct managed *m = (const struct managed *)codec;

	return run(m->ops->decompress, m, engine, src, src_len, dst, dst_len);
}

/* The device will have no more engine threads than there are CPUs. */
static unsigned max_engine_threads(void)
{
	return zcomp_nr_streams();
}

int managed_setup(const struct zcomp_ops *ops, struct zcomp_params *params)
{
	struct managed *m;
	char line[160];

	params->zstrm_mgmt = false;
	params->managed = NULL;
	if (!configured)
		return 0;
	if (!accel_profile_has(&profile, ops->name)) {
		backend_explain(line, sizeof(line),
				"accel=%s has no %s (it has: %s): software compresses that",
				profile.name, ops->name, profile.codecs);
		streams_warn(line);
		return 0;
	}
	m = calloc(1, sizeof(*m) + max_engine_threads() * sizeof(m->ctx[0]));
	if (!m)
		return -ENOMEM;
	m->codec = (struct accel_codec){ .name = ops->name,
		.compress = codec_compress,
		.decompress = codec_decompress };
	m->ops = ops;
	m->params = params;
	params->managed = m;
	params->zstrm_mgmt = true;
	return 0;
}

int managed_create_ctx(struct zcomp_params *params)
{
	struct managed *m = params->managed;
	int ret = 0;

	if (!m || !m->ops->create_ctx)
		return 0;
	while (ret == 0 && m->nr_ctx < max_engine_threads()) {
		ret = m->ops->create_ctx(params, &m->ctx[m->nr_ctx]);
		m->nr_ctx++;
	}
	return ret;
}

void managed_release(struct zcomp_params *params)
{
	struct managed *m = params->managed;

	if (!m)
		return;
	while (m->nr_ctx)
		m->ops->destroy_ctx(&m->ctx[--m->nr_ctx]);
	free(m);
	params->managed = NULL;
}

/* --- queues and their streams --- */

struct zcomp_queue *zcomp_queue_get(void)
{
	struct accel_device *dev = zcomp_accel_ref();
	struct zcomp_queue *q = calloc(1, sizeof(*q));
	void *p;

	if (!dev || !q)
		goto fail;
	q->nr = accel_get_profile(dev)->queue_depth;
	p = mmap(NULL, q->nr * sizeof(*q->streams), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		goto fail;
	/* By hand: MAP_POPULATE does nothing where MCL_ONFAULT locks memory. */
	memset(p, 0, q->nr * sizeof(*q->streams));
	q->streams = p;
	q->qp = accel_qp_get(dev);
	if (!q->qp) {
		munmap(p, q->nr * sizeof(*q->streams));
		goto fail;
	}
	accel_close(dev); /* the queue pair keeps what it needs of it */
	for (unsigned i = q->nr; i-- > 0;) {
		struct managed_strm *s = &q->streams[i];

		s->strm.buffer = s->buffer;
		s->strm.local_copy = s->local_copy;
		s->strm.nr = i;
		s->strm.zcomp_managed = true;
		s->next = q->free;
		q->free = s;
	}
	q->nr_free = q->nr;
	return own_queue = q;
fail:
	free(q);
	if (dev)
		accel_close(dev);
	return NULL;
}

void zcomp_queue_put(struct zcomp_queue *q)
{
	if (!q)
		return;
	own_queue = NULL;
	accel_qp_put(q->qp);
	munmap(q->streams, q->nr * sizeof(*q->streams));
	free(q);
}

unsigned zcomp_queue_free(const struct zcomp_queue *q)
{
	return q->nr_free;
}

struct zcomp_strm *managed_get_stream(struct zcomp_params *params)
{
	struct zcomp_queue *q = own_queue;
	struct managed_strm *s = q ? q->free : NULL;

	if (!s)
		return NULL;
	q->free = s->next;
	q->nr_free--;
	s->managed = params->managed;
	return &s->strm;
}

void managed_put_stream(struct zcomp_params *params, struct zcomp_strm *zstrm)
{
	struct managed_strm *s = (struct managed_strm *)zstrm;

	s->next = own_queue->free;
	own_queue->free = s;
	own_queue->nr_free++;
}

/* --- submission and completion --- */

static unsigned submit_burst(struct zcomp_queue *q, struct zcomp_strm **zstrms, unsigned n)
{
	struct accel_op ops[BURST];

	for (unsigned i = 0; i < n; i++)
		ops[i] = (struct accel_op){ .tag = (uintptr_t)zstrms[i],
			.src = zstrms[i]->local_copy,
			.dst = zstrms[i]->buffer,
			.codec = &((struct managed_strm *)zstrms[i])->managed->codec,
			.src_len = ZCOMP_PAGE_SIZE,
			.dst_room = ZCOMP_BUFFER_SIZE,
			.opcode = ACCEL_COMPRESS };
	return accel_enqueue_burst(q->qp, ops, n);
}

unsigned zcomp_submit(struct zcomp_queue *q, struct zcomp_strm **zstrms, unsigned n)
{
	unsigned accepted = 0;

	while (accepted < n) {
		unsigned want = n - accepted < BURST ? n - accepted : BURST;
		unsigned got = submit_burst(q, zstrms + accepted, want);

		accepted += got;
		if (got < want)
			break;
	}
	if (accepted)
		accel_doorbell(q->qp);
	return accepted;
}

static const int results[NR_ACCEL_STATUS] = {
	[ACCEL_SUCCESS] = 0,
	[ACCEL_INCOMPRESSIBLE] = -ENOSPC,
	[ACCEL_ZERO] = -EAGAIN, /* such pages do not get here: for software, if one does */
	[ACCEL_HW_ERROR] = -EIO,
	[ACCEL_TIMEOUT] = -ETIMEDOUT,
	[ACCEL_ABORTED] = -ECANCELED,
	[ACCEL_CORRUPT] = -EBADMSG,
	[ACCEL_NOT_PROCESSED] = -EOPNOTSUPP,
};

unsigned zcomp_reap(struct zcomp_queue *q, struct zcomp_strm **zstrms, unsigned n)
{
	struct accel_cpl cpls[BURST];
	unsigned got = accel_dequeue_burst(q->qp, cpls, n < BURST ? n : BURST);

	for (unsigned i = 0; i < got; i++) {
		struct zcomp_strm *zstrm = (struct zcomp_strm *)(uintptr_t)cpls[i].tag;

		zstrm->result = results[cpls[i].status];
		zstrm->dst_len = cpls[i].produced;
		zstrms[i] = zstrm;
	}
	return got;
}

unsigned zcomp_wait(struct zcomp_queue *q, unsigned min, uint64_t timeout_ns)
{
	return accel_wait(q->qp, min, timeout_ns);
}
