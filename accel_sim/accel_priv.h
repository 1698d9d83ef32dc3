/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the simulated accelerator. accel.h is the manual.
 *
 * A queue pair has two halves. The host's is touched by its owner alone. The device's is guarded by
 * qp->lock, which engines hold for moments: to take an operation off the ring, and to complete one.
 * A verb, the watchdog or an abort takes the same lock for the same things. Host and device meet in
 * the two rings: entries, sq_tail, cq_tail. Lock order: qp->lock, then the model's own.
 *
 * An operation the device has taken lies in a slot until it is completed:
 *
 *	ring -> [GATHERED] -> RUNNING -> (DONE, in order: parked) -> completion ring
 *			   -> STUCK (the timeout fault)
 *
 * Sleeping and waking. Either side, before it sleeps, sets its flag to 1 and then looks once more;
 * the other side publishes its work and then looks at the flag; all of that is sequentially
 * consistent. Whoever changes the flag from 1 to 0 sends the one wake-up.
 */
#ifndef ACCEL_PRIV_H
#define ACCEL_PRIV_H

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "accel_sim/accel.h"
#include "accel_sim/model.h"

#define CACHE_LINE	64
#define FAULTS_IN_A_ROW 8	   /* then the device resets itself */
#define MAX_SRC_LEN	(2 * ACCEL_PAGE_SIZE)
#define OPS_PER_TURN	16	   /* then an engine looks at the other queue pairs */
#define WAKE_NS		64000	   /* what a wake-up is worth: 8 pages of LZ4 */
#define OPS_PER_WAKE	8	   /* most */
#define IDLE_NS		1000000000 /* an idle engine looks for a lost doorbell */
#define OWNER_IDLE_NS	10000000   /* an owner that has not waited for so long sends no work soon */
#define FIRST_INDEX	(0u - 100) /* ring indices wrap early, so that they wrap in every test */

#define relaxed_load(p)	    atomic_load_explicit(p, memory_order_relaxed)
#define relaxed_store(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

/* A counter with one writer at a time. */
typedef _Atomic uint64_t counter_t;
#define count_add(c, n) relaxed_store(c, relaxed_load(c) + (n))
#define count_max(c, n) (relaxed_load(c) < (n) ? relaxed_store(c, n) : (void)0)

struct hist {
	counter_t sum;
	counter_t bucket[ACCEL_BUCKETS];
};

/* --- rings --- */

/* As struct accel_op, with what the device needs besides. */
struct sqe {
	uint64_t tag;
	const void *src;
	void *dst;
	const struct accel_codec *codec;
	uint32_t src_len, dst_room;
	uint8_t opcode;
	uint8_t pad;
	uint16_t batch;
	uint32_t pad2;
	uint64_t t_wall, t_model; /* at submit */
};
_Static_assert(sizeof(struct accel_op) == 64, "an operation is a cache line");
_Static_assert(sizeof(struct sqe) == 64, "a ring entry is a cache line");
_Static_assert(sizeof(struct accel_cpl) == 64, "a completion is a cache line");

enum slot_state { SLOT_FREE, SLOT_GATHERED, SLOT_RUNNING, SLOT_STUCK, SLOT_DONE };
#define NO_SLOT UINT32_MAX

struct slot {
	_Alignas(CACHE_LINE) struct sqe op;
	uint64_t seq;	   /* number in the queue pair */
	uint64_t t_begin;  /* wall: when the device took it */
	struct accel_model_times model;
	struct accel_cpl cpl;
	enum slot_state state;
	bool valid;	   /* else it completes as NOT_PROCESSED */
	bool aborted;	   /* RUNNING, but completes as ABORTED */
	uint8_t fault;	   /* enum accel_fault_kind, NR_ACCEL_FAULTS: none */
	uint32_t next;	   /* of a list */
};

struct slot_list {
	uint32_t first, last;
};

/* --- transport --- */

/* One end of a connection: wakes whoever sleeps on it. */
struct port {
	struct io_uring ring;
	int efd;	/* eventfd transport: read through the ring */
	bool armed;	/* that read is under way */
	bool open;
	uint64_t efd_buf;
};

enum wake { WAKE_TIMEOUT, WAKE_RUNG };

/* --- queue pairs --- */

struct host_stats {
	counter_t submitted, accepted, reaped, ring_full, in_flight_max;
	counter_t doorbells, doorbells_suppressed, spurious, lost;
	counter_t busy_faults;
	struct hist batches;
	struct hist deliver, total;
};

struct dev_stats {
	counter_t status[NR_ACCEL_STATUS];
	counter_t bytes_in, bytes_out;
	counter_t faults[NR_ACCEL_FAULTS];
	struct hist wait, service;
	struct hist model[NR_ACCEL_STAGES];
};

struct accel_qp {
	/* Set once, with the first get. */
	struct accel_device *dev;
	unsigned id;
	unsigned depth;
	uint32_t mask;
	struct sqe *sq;
	struct accel_cpl *cq;
	size_t rings_len;
	_Atomic uint32_t *batch_left; /* depth + 1: a batch's operations not completed; open: + 1 */
	_Atomic bool taken;
	struct port port;	      /* of the owner */
	struct accel_model_qp model;

	/* Host. */
	_Alignas(CACHE_LINE) uint32_t accepted; /* = sq_tail */
	uint32_t rung;		/* sq_tail at the last doorbell */
	uint32_t batch;		/* index in batch_left */
	bool batch_open;
	uint64_t busy_tries;	/* for the busy fault */
	uint32_t pace_ns;	/* of service lately, on the wall */
	struct host_stats hs;
	_Atomic int cpu; /* the owner ran on when it last waited; -1: never has */
	_Atomic uint64_t cpu_at; /* wall: when that was */
	_Alignas(CACHE_LINE) _Atomic uint32_t cq_head;
	_Atomic uint32_t need;	/* valid while sleeping: completions the owner waits for */
	_Atomic uint32_t sleeping;
	_Atomic uint32_t kicked;
	_Atomic uint64_t irq_at; /* wall: when `sleeping` was last cleared by the device */
	pthread_mutex_t wait_lock; /* inline transport: the owner sleeps on wait_cond */
	pthread_cond_t wait_cond;

	/* Where both meet. */
	_Alignas(CACHE_LINE) _Atomic uint32_t sq_tail;
	_Alignas(CACHE_LINE) _Atomic uint32_t cq_tail;
	_Atomic uint64_t first_done; /* wall: the oldest completion in a ring that was empty */
	_Atomic bool batch_ended;    /* since the last interrupt */

	/* Device: under `lock`, which may be read without where it says so. */
	_Alignas(CACHE_LINE) pthread_mutex_t lock;
	_Atomic uint32_t sq_head; /* readable */
	uint64_t seq;		  /* of the next one taken */
	uint64_t published;	  /* in order: of the next one to complete */
	struct slot *slots;
	uint32_t nr_slots;
	uint32_t free_slot;	  /* list */
	uint32_t *slot_of;	  /* in order: by seq & mask */
	struct slot_list *gathered; /* for each engine (swapped queues) */
	_Atomic uint32_t nr_stuck, nr_gathered, nr_running; /* readable */
	_Atomic uint64_t interrupts;
	struct dev_stats ds;
};

/* --- engines --- */

struct engine {
	struct accel_device *dev;
	unsigned nr;
	pthread_t thread;
	struct port port;
	unsigned next_qp;      /* where its next look around begins */
	uint64_t now;	       /* wall, read a moment ago */
	unsigned char *verify; /* MAX_SRC_LEN */
	int start;	       /* 0, or -errno that ended the thread at its start */
	_Alignas(CACHE_LINE) _Atomic uint32_t sleeping; /* may be woken; see above */
	_Atomic uint32_t asleep;  /* is in io_uring, or about to be */
	_Atomic uint64_t rung_at; /* wall: when `sleeping` was last cleared by a host */
	_Atomic uint64_t done_at; /* wall: when it last finished an operation */
	_Atomic int cpu;	  /* it ran on lately */
	counter_t busy_ns, spurious, lost;
};

struct fault_point {
	_Atomic bool on;
	_Atomic uint32_t interval, probability;
	_Atomic uint64_t space; /* left */
	_Atomic int64_t times;	/* left; < 0: without end */
};

struct accel_device {
	struct accel_profile profile;
	struct accel_model *model;
	unsigned nr_qps; /* devices x queues */
	unsigned nr_engines;
	struct engine *engines;
	struct accel_qp *_Atomic *qps; /* nr_qps; NULL until first got */
	_Atomic unsigned qps_made;     /* above the last one that is not NULL */
	unsigned next_qp;	       /* qp_lock */
	pthread_mutex_t qp_lock;       /* making queue pairs */
	pthread_mutex_t inline_lock;   /* inline transport: whoever runs engine 0 */

	/* For wake-ups from threads that have no ring: verbs, kicks, aborts. */
	struct port aux;
	pthread_mutex_t aux_lock;

	_Alignas(CACHE_LINE) _Atomic int state; /* changed by the holder of `verb` alone */
	_Atomic bool verb;	    /* a verb or a reset is running */
	_Atomic bool stop;	    /* engines, end */
	_Atomic bool reset_wanted;
	_Atomic uint32_t fault_row; /* faults since the last success */
	_Atomic uint32_t reset_row; /* resets by faults since then */
	_Atomic unsigned users;	    /* accel_open(), accel_ref() */
	_Atomic unsigned holders;   /* of the memory: users as one, and queue pairs taken */
	_Atomic uint32_t drop_wakes;
	struct fault_point faults[NR_ACCEL_FAULTS];
	void (*hook)(void *opaque, enum accel_state state);
	void *hook_opaque;

	_Atomic uint64_t watchdog_at; /* wall: when next */
	_Atomic bool watchdog_was_late;
	_Atomic uint64_t resets, verb_lost, init_tries, init_faults;
	uint64_t stats_from;	       /* stats_lock; wall */
	pthread_mutex_t stats_lock;
	struct accel_stats stats_base; /* stats_lock */
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

static inline uint64_t timeout_ns(const struct accel_device *dev)
{
	return (uint64_t)dev->profile.timeout_ms * 1000000;
}

static inline struct accel_qp *qp_at(struct accel_device *dev, unsigned i)
{
	return atomic_load_explicit(&dev->qps[i], memory_order_acquire);
}

#define for_each_qp(dev, qp, i)                                                                    \
	for (unsigned i = 0, nr_ = atomic_load(&(dev)->qps_made); i < nr_; i++)                    \
		if (((qp) = qp_at(dev, i)))

/* For whoever reads two indices: the one that is behind comes first, or it might be ahead. */
static inline uint32_t index_distance(_Atomic uint32_t *behind, _Atomic uint32_t *ahead)
{
	uint32_t from = atomic_load(behind);

	return atomic_load(ahead) - from;
}

/* Operations in the ring that nobody has taken. */
static inline uint32_t qp_unfetched(struct accel_qp *qp)
{
	return index_distance(&qp->sq_head, &qp->sq_tail);
}

/* Completions not dequeued. */
static inline uint32_t qp_ready(struct accel_qp *qp)
{
	return index_distance(&qp->cq_head, &qp->cq_tail);
}

/* Accepted and not completed. */
static inline uint32_t qp_pending(struct accel_qp *qp)
{
	return index_distance(&qp->cq_tail, &qp->sq_tail);
}

/* Does the device do operations in this state, or abort them? */
static inline bool state_serves(int state)
{
	return state == ACCEL_ENABLED || state == ACCEL_DRAINING;
}

/* qp_device.c: the device's half of a queue pair; with qp->lock held unless it says otherwise. */
int qp_device_init(struct accel_qp *qp);
void qp_device_free(struct accel_qp *qp);
/* The next operation for that engine to run; NULL: none, or the state does not let it. */
struct slot *qp_take(struct accel_qp *qp, unsigned engine, uint64_t now);
void qp_finish(struct accel_qp *qp, struct slot *slot, enum accel_status status,
	uint32_t produced, uint64_t now);
/* Aborts all that no engine has begun; with `running`, marks what engines have begun, too. */
void qp_sweep(struct accel_qp *qp, bool running, uint64_t now);
/* Times out what is due; `progress`: when the device last finished something. Was there any? */
bool qp_expire(struct accel_qp *qp, uint64_t now, uint64_t progress);

/* qp.c */
void qp_free(struct accel_qp *qp);

/* wait.c: the owner found nothing, though something is in flight. */
void nothing_to_dequeue(struct accel_qp *qp);

/* exec.c: the codec, the checks, the faults' effects. Without locks. */
enum accel_status exec_op(struct engine *e, const struct slot *slot, uint32_t *produced);

/* engine.c */
int engines_start(struct accel_device *dev, char *err, size_t errlen);
void engines_stop(struct accel_device *dev);
void inline_run(struct accel_device *dev, struct accel_qp *qp);

/*
 * transport.c. A message goes from `from`, owned by the caller, or, with NULL, from the device's
 * auxiliary port.
 */
int port_open(struct accel_device *dev, struct port *port, unsigned flags);
void port_close(struct port *port);
bool port_has_msg_ring(struct port *port);
void port_notify(struct accel_device *dev, struct port *from, struct port *to);
/* Sleeps until rung or for `ns` at most. */
enum wake port_sleep(struct port *port, uint64_t ns);
/* Takes what has come without sleeping. */
enum wake port_poll(struct port *port);

/*
 * wake.c: who is woken, from either side. Without locks. `from` as above.
 */
void ring_engines(struct accel_qp *qp);
/* There is work that no engine takes: wakes all that sleep. Returns how many wake-ups were lost. */
unsigned rescue_engines(struct accel_device *dev, struct port *from, uint64_t now);
/* Wakes the owner if it is time to; `at_once`: without coalescing. */
void interrupt(struct accel_qp *qp, struct port *from, uint64_t now, bool at_once);
/* How long until it will be time to by time alone; UINT64_MAX: never. */
uint64_t interrupt_due(struct accel_qp *qp, uint64_t now);
/* Somebody cleared `sleeping`, and yet the sleeper woke by timeout. */
void count_lost(struct accel_device *dev, _Atomic uint64_t *sent, counter_t *lost);

/* watchdog.c */
void watchdog_run(struct accel_device *dev, struct port *from, uint64_t now);
static inline void watchdog_poll(struct accel_device *dev, struct port *from, uint64_t now)
{
	if (now >= relaxed_load(&dev->watchdog_at))
		watchdog_run(dev, from, now);
}

/* verbs.c; without locks */
void reset_if_wanted(struct accel_device *dev);
/* The last user has gone: aborts all, ends the threads. */
void device_shutdown(struct accel_device *dev);
/* Aborts all of one queue pair, with `running` waits for engines that are in the middle of it. */
void qp_abort(struct accel_qp *qp, struct port *from, bool running);

/* device.c */
void device_put(struct accel_device *dev);

/* fault.c */
bool fault_hits(struct accel_device *dev, enum accel_fault_kind kind, unsigned qp, uint64_t seq,
	uint32_t bytes);
static inline bool fault_on(struct accel_device *dev, enum accel_fault_kind kind)
{
	return relaxed_load(&dev->faults[kind].on);
}

/* stats.c */
void hist_add(struct hist *h, uint64_t value);
void accel_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void accel_explain(char *err, size_t errlen, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * For tests: the next n wake-ups that would be sent, of either direction, are not, with everything
 * else as if they had been.
 */
void accel_debug_drop_wakes(struct accel_device *dev, unsigned n);

#endif
