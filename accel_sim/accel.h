/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel: a simulated compression accelerator.
 *
 * A *device* has *queue pairs* and *engines*. The host puts 64-byte operations into a queue
 * pair's submission ring and reaps completion records from its completion ring; engines take
 * operations, run the caller's codec on them, and complete them. Rings lie in memory both sides
 * see, as a real device's do; io_uring carries doorbells (host to device) and interrupts
 * (device to host), and the watchdog's timers.
 *
 *	struct accel_profile profile = *accel_profile_find("iaa");
 *	struct accel_device *dev = accel_open(&profile, err, sizeof(err));
 *	struct accel_qp *qp = accel_qp_get(dev);		// this thread's from now on
 *
 *	n = accel_enqueue_burst(qp, ops, 32);			// may accept fewer
 *	accel_doorbell(qp);					// once a batch
 *	accel_wait(qp, n, timeout_ns);				// spins a little, then sleeps
 *	got = accel_dequeue_burst(qp, cpls, 32);
 *
 *	accel_qp_put(qp);
 *	accel_close(dev);
 *
 * Ownership
 *	An accepted operation, its source and its destination belong to the device until its
 *	completion has been dequeued: exactly one completion for each, whatever happens (timeout,
 *	reset, unplug). What enqueue did not accept has not been looked at and stays the caller's.
 *
 * Two clocks
 *	Wall times are what this machine needed, with a real codec on a real CPU. Modelled times
 *	are what the profile's device would have needed: a deterministic function of the profile,
 *	its seed, and the order of enqueues, waits and dequeues. They are reported side by side and
 *	never mixed. A queue pair's modelled clock advances by submit_ns for each operation
 *	enqueued, and to an operation's modelled delivery when that is dequeued; so a caller that
 *	waits for each page sees latencies add up, one that batches sees them overlap.
 *
 * Threads
 *	A queue pair belongs to one thread at a time: enqueue, doorbell, wait, dequeue and put of
 *	one queue pair are never called at once. All other calls may be made from any thread at any
 *	time. The submit path takes no lock.
 *
 * States
 *	enabled   -> takes operations
 *	draining  -> takes none, finishes what it has; then enabled again
 *	resetting -> takes none; every operation it has is aborted; then enabled again
 *	unplugged -> takes none and has none, until plugged
 *	failed    -> as unplugged: too many resets without a success
 *	An operation that enqueue accepts while another thread changes the state completes as
 *	ABORTED, or is done after the change.
 *
 * Timeouts
 *	An operation times out alone: when an engine has had it for timeout_ms, or when it waits in
 *	the ring and the device has finished nothing for timeout_ms. It completes, as TIMEOUT, once
 *	the device has let go of its buffers: an engine in the middle of a page finishes the page
 *	first. Checked every quarter of timeout_ms, by the engines and by threads in accel_wait().
 *	A wake-up that the kernel lost is found there, too; by a host that only polls, within a
 *	second.
 *	Eight operations in a row that end as HW_ERROR, TIMEOUT or CORRUPT make the device reset
 *	itself (those that timed out in the ring do not count); the max_resets'th such reset without
 *	a success between ends in `failed`. A success
 *	is SUCCESS, INCOMPRESSIBLE or ZERO.
 *
 * Codecs
 *	The device does not know how to compress: an operation names a codec, whose functions run on
 *	the engine's thread with the engine's number, so that a codec may keep one workspace for
 *	each engine.
 */
#ifndef ACCEL_H
#define ACCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCEL_PAGE_SIZE	      4096 /* bytes: source of a compression, result of a decompression */
#define ACCEL_MAX_QUEUE_DEPTH 4096
#define ACCEL_MAX_QUEUES      64
#define ACCEL_MAX_DEVICES     8
#define ACCEL_MAX_ENGINES     1024 /* modelled */
#define ACCEL_NAME_MAX	      16
#define ACCEL_CODECS_MAX      48 /* bytes, with the final NUL */

struct accel_device;
struct accel_qp;

/* --- faults: null_blk's attributes --- */

enum accel_fault_kind {
	ACCEL_FAULT_BUSY,     /* enqueue refuses */
	ACCEL_FAULT_TIMEOUT,  /* the operation is stuck until it is aborted */
	ACCEL_FAULT_HW_ERROR, /* completes so, codec not run */
	ACCEL_FAULT_OVERFLOW, /* completes as incompressible, codec not run */
	ACCEL_FAULT_CORRUPT,  /* flips bits of the output; turns verify on */
	ACCEL_FAULT_INIT,     /* accel_open() and plug fail */
	NR_ACCEL_FAULTS
};
extern const char *const accel_fault_names[NR_ACCEL_FAULTS];

/*
 * Zeroed is off. Which operations are hit is a function of the profile's seed, the kind, the queue
 * pair and the operation's number in it. For busy and init the attempts count. When several kinds
 * hit one operation, the first of them in the enum's order counts.
 */
struct accel_fault {
	uint32_t interval;    /* every so many operations may fail; 0 is taken as 1 */
	uint32_t probability; /* percent of those; 0: never */
	uint64_t space;	      /* source bytes that pass first */
	int32_t times;	      /* how often; -1: without end */
};

/* "KIND:INTERVAL,PROBABILITY,SPACE,TIMES". 0, or -1 with one line in `err`. */
int accel_fault_parse(const char *spec, enum accel_fault_kind *kind, struct accel_fault *fault,
	char *err, size_t errlen);

/* --- profiles: a device described by data; see profile.c for each field's source --- */

enum accel_transport {
	ACCEL_MSGRING, /* IORING_OP_MSG_RING, Linux 5.18 */
	ACCEL_EVENTFD, /* a read of an eventfd through io_uring */
	ACCEL_INLINE,  /* no device thread: the doorbell does the work. The oracle. */
};
enum accel_order { ACCEL_OUT_OF_ORDER, ACCEL_IN_ORDER }; /* of completions in one queue pair */
enum accel_fetch {
	ACCEL_FETCH_RING, /* engines take operations as they come */
	ACCEL_FETCH_SWAP, /* two queues: all that has gathered is taken at once and finished
			   * before more is looked at (the managed-streams proof of concept) */
};

struct accel_profile {
	char name[ACCEL_NAME_MAX];
	unsigned devices;	 /* identical ones behind one name; each takes from all queue pairs */
	unsigned queues;	 /* queue pairs a device has */
	unsigned queue_depth;	 /* operations a queue pair holds: accepted and not dequeued */
	unsigned engines;	 /* a device's; threads are min(devices x engines, CPUs) */
	enum accel_transport transport;
	enum accel_order order;
	enum accel_fetch fetch;
	unsigned coalesce;	 /* completions to gather before an interrupt: see accel_wait() */
	unsigned coalesce_usecs; /* ... and how long the first one may wait */
	unsigned poll_usecs;	 /* how long either side spins before it sleeps */
	/* The model: */
	uint32_t submit_ns;	 /* host time for each operation enqueued */
	uint32_t base_ns;	 /* service time of one operation: base + bytes x per_byte */
	uint32_t per_byte_ps;
	uint32_t decomp_base_ns, decomp_per_byte_ps;
	uint32_t deliver_ns;	 /* from done to seen by the host ... */
	uint32_t deliver_busy_ns; /* ... when other operations were in flight at its submit */
	uint32_t jitter;	 /* percent of the service time, uniform, both ways: 0..100 */
	uint64_t shared_bps;	 /* bytes a second all engines together can take; 0: no such bound */
	/* Capabilities: */
	bool decompress;	 /* or compression alone */
	bool zero_detect;	 /* completes pages of zeroes with ACCEL_ZERO */
	uint32_t dst_limit;	 /* largest output in bytes; beyond: ACCEL_INCOMPRESSIBLE */
	char codecs[ACCEL_CODECS_MAX]; /* space-separated names it has; "": any */
	/* Behaviour: */
	bool real_payload;	 /* false: completes without running the codec (payload=none) */
	bool verify;		 /* decompresses each result and compares */
	unsigned timeout_ms;	 /* see Timeouts below */
	unsigned max_resets;	 /* so many in a row without a success between: failed */
	uint64_t seed;		 /* of jitter and faults */
	struct accel_fault faults[NR_ACCEL_FAULTS]; /* from the start; accel_set_fault() later */
};

/* By name; NULL: there is none. accel_profile_names() is "iaa, qat, ...", for messages. */
const struct accel_profile *accel_profile_find(const char *name);
const char *accel_profile_names(void);

/*
 * One field by the name users give it: the fields above with "-" for "_" ("queue-depth",
 * "per-byte-ps", ...), "caps" (compress, both) and "payload" (real, none). Switches take yes and no.
 * 0; or -1, no change, with one line in `err` that names what is allowed.
 */
int accel_profile_set(struct accel_profile *profile, const char *key, const char *value, char *err,
	size_t errlen);

/* Is the codec of that name among its codecs? */
bool accel_profile_has(const struct accel_profile *profile, const char *codec);

/* "devices, queues, ...": the keys of accel_profile_set(), for messages. */
const char *accel_profile_keys(void);

/* --- the model alone: no thread, no codec, no wall clock --- */

/* What a submitter does between enqueues. */
enum accel_pace {
	ACCEL_PACE_EACH,   /* waits for each operation */
	ACCEL_PACE_BATCH,  /* enqueues `batch`, waits for all of them */
	ACCEL_PACE_WINDOW, /* enqueues `batch` as soon as no more than `depth` are then in flight */
};

struct accel_workload {
	unsigned submitters;  /* host CPUs, each with a thread of its own: 1..65536 */
	bool own_queues;      /* a queue pair each; or the profile's devices x queues, shared */
	enum accel_pace pace;
	unsigned batch;	      /* operations, from 1 on; with ACCEL_PACE_EACH it only sets the round */
	unsigned depth;	      /* most in flight per submitter (ACCEL_PACE_WINDOW) */
	uint64_t operations;  /* of all submitters together: 1..100 million */
	uint32_t bytes;	      /* of each operation's source */
	uint8_t opcode;	      /* enum accel_opcode */
	uint32_t host_ns;     /* other host work for each page: after it was delivered (or its whole
			       * batch was); with ACCEL_PACE_WINDOW before it is enqueued */
};

/* Nanoseconds; all integers, the same on every machine. */
struct accel_model_result {
	uint64_t elapsed_ns, operations;
	uint64_t ops_per_s, bytes_per_s;
	uint64_t latency_mean, latency_p50, latency_p99; /* from submit to delivered */
	uint64_t wait_mean, service_mean, deliver_mean;	 /* sum: latency_mean, but for rounding */
	uint64_t round_p50, round_p99; /* `batch` operations: from the first's enqueue to the last's
					* delivery, host_ns between them included */
	uint64_t in_flight_max;
	uint64_t ring_full; /* enqueues that found no room and waited */
	uint32_t engine_busy_ppm; /* utilisation in millionths: 0..1000000 */
};

/* 0, or -1 with errno EINVAL (a workload out of bounds) or ENOMEM. */
int accel_model_run(const struct accel_profile *profile, const struct accel_workload *work,
	struct accel_model_result *result);

/* --- the device --- */

/*
 * Starts the engines. NULL with one line in `err`: io_uring is forbidden (transport `inline` needs
 * none), no threads or memory, or the `init` fault. Without MSG_RING it becomes `eventfd`, and the
 * warn hook is told. The profile is copied.
 *
 * accel_ref() adds a user; the last accel_close() unplugs the device and ends its threads. Queue
 * pairs still held then have all their completions; what is left of the device goes with the last
 * accel_qp_put().
 */
struct accel_device *accel_open(const struct accel_profile *profile, char *err, size_t errlen);
struct accel_device *accel_ref(struct accel_device *dev);
void accel_close(struct accel_device *dev);

/* Where warnings go, one line without newline each. NULL, at first: stderr. */
void accel_set_warn_hook(void (*hook)(const char *line));

/* As given to accel_open(), with what was changed to fit this machine. */
const struct accel_profile *accel_get_profile(const struct accel_device *dev);

/*
 * Codec functions get an `engine` below this, and never two calls at once with the same. The
 * profile's devices x engines, but no more than this process has CPUs; `inline`: 1.
 */
unsigned accel_nr_engine_threads(const struct accel_device *dev);

/* Does the device have the codec of that name, for compression / decompression? */
bool accel_can(const struct accel_device *dev, const char *codec, bool decompress);

enum accel_state {
	ACCEL_ENABLED,
	ACCEL_DRAINING,
	ACCEL_RESETTING,
	ACCEL_UNPLUGGED,
	ACCEL_FAILED,
	NR_ACCEL_STATES
};
extern const char *const accel_state_names[NR_ACCEL_STATES];
enum accel_state accel_get_state(const struct accel_device *dev);

/*
 * Called after each change of state, from the thread that changed it, which may be an engine's. No
 * lock is held; a verb called from the hook gets EBUSY. Set before first use.
 */
void accel_set_state_hook(struct accel_device *dev,
	void (*hook)(void *opaque, enum accel_state state), void *opaque);

/*
 * Verbs on the whole device. Each returns when done. Engines in the middle of a page finish that
 * page; nothing else is waited for, except by drain.
 *
 *	drain	finishes what it has, takes no more meanwhile
 *	reset	aborts what it has, and starts afresh
 *	unplug	aborts what it has, and takes no more
 *	plug	unplugged or failed -> enabled; enabled already: 0
 *
 * 0, or -1 with errno: EBUSY another verb is running; ENODEV unplugged or failed (drain, reset;
 * drain also when it failed meanwhile); EIO the `init` fault (plug). unplug when unplugged: 0.
 */
int accel_drain(struct accel_device *dev);
int accel_reset(struct accel_device *dev);
int accel_unplug(struct accel_device *dev);
int accel_plug(struct accel_device *dev);

/* At any time, also while operations are in flight; starts its counters afresh. */
void accel_set_fault(struct accel_device *dev, enum accel_fault_kind kind,
	const struct accel_fault *fault);

/* --- codecs and operations --- */

/*
 * Functions return 0 with the bytes made in *dst_len, or a negative errno. *dst_len is the room on
 * entry, never to be exceeded: the operation's dst_room, for compression no more than the profile's
 * dst_limit. -ENOSPC: does not fit (INCOMPRESSIBLE); other errors: HW_ERROR. Codecs are not copied:
 * they live as long as operations that name them.
 */
struct accel_codec {
	const char *name;
	int (*compress)(const struct accel_codec *codec, unsigned engine, const void *src,
		uint32_t src_len, void *dst, uint32_t *dst_len);
	int (*decompress)(const struct accel_codec *codec, unsigned engine, const void *src,
		uint32_t src_len, void *dst, uint32_t *dst_len); /* also for verify */
	void *opaque;
};

enum accel_opcode { ACCEL_COMPRESS, ACCEL_DECOMPRESS };

enum accel_status {
	ACCEL_SUCCESS,
	ACCEL_INCOMPRESSIBLE, /* output above its bound: not an error, store the source */
	ACCEL_ZERO,	      /* the source is all zeroes; no output */
	ACCEL_HW_ERROR,
	ACCEL_TIMEOUT,	 /* took longer than timeout_ms, and was aborted alone */
	ACCEL_ABORTED,	 /* by abort, reset, unplug or close */
	ACCEL_CORRUPT,	 /* verify found another page */
	/*
	 * Never looked at: an opcode or codec the device has not, no function for it in the codec,
	 * src_len 0 or above two pages, or `verify` with a codec that cannot decompress.
	 */
	ACCEL_NOT_PROCESSED,
	NR_ACCEL_STATUS
};
extern const char *const accel_status_names[NR_ACCEL_STATUS];

struct accel_op {
	uint64_t tag;	     /* the caller's; comes back in the completion */
	const void *src;
	void *dst;
	const struct accel_codec *codec;
	uint32_t src_len;    /* bytes, 1..2 x ACCEL_PAGE_SIZE */
	uint32_t dst_room;   /* bytes at dst */
	uint8_t opcode;	     /* enum accel_opcode */
	uint8_t pad[7];
	uint64_t reserved[2];
};

struct accel_cpl {
	uint64_t tag;
	uint32_t produced;   /* bytes at dst; 0 unless ACCEL_SUCCESS */
	uint8_t status;	     /* enum accel_status */
	uint8_t pad;
	uint16_t engine;     /* the modelled one */
	/*
	 * Nanoseconds, in both clocks: submit -> (wait) -> an engine begins -> (service) -> done ->
	 * (deliver) -> the host has it. 32 bits: longer ones stay at the largest number.
	 */
	uint32_t wall_wait, wall_service, wall_deliver;
	uint32_t model_wait, model_service, model_deliver; /* 0 if no engine ever had it */
	uint64_t model_submit, model_done; /* the modelled clock at submit and at delivery */
	uint64_t wall_done;		   /* CLOCK_MONOTONIC */
};

/* --- queue pairs --- */

/*
 * One that nobody has, empty; the device has devices x queues of them. NULL with errno: EBUSY all
 * are taken, or ENOMEM, EMFILE... All its memory is taken, and touched, here.
 */
struct accel_qp *accel_qp_get(struct accel_device *dev);
/* Aborts what is in flight, waits for engines in the middle of it, drops the completions. */
void accel_qp_put(struct accel_qp *qp);

/*
 * Accepts the first operations, as many as there is room for and the state allows: returns how
 * many. Fewer than n is no error: dequeue, or do the rest elsewhere. The `busy` fault accepts
 * fewer, too. `reserved` and `pad` of an operation are not looked at. An engine that is awake may
 * begin at once.
 */
unsigned accel_enqueue_burst(struct accel_qp *qp, const struct accel_op *ops, unsigned n);

/*
 * Tells the device that there is work. What was enqueued since the last doorbell is a batch, whose
 * end makes an interrupt even when fewer than `coalesce` are done. No system call while enough
 * engines are awake. `inline`: does the work.
 */
void accel_doorbell(struct accel_qp *qp);

/* Completions, oldest first; never sleeps. Returns how many. */
unsigned accel_dequeue_burst(struct accel_qp *qp, struct accel_cpl *cpls, unsigned n);

/*
 * Until `min` completions can be dequeued (or all that are in flight, if fewer), or timeout_ns have
 * passed, or a kick. Rings the doorbell first if operations were enqueued without. Returns how many
 * can be dequeued.
 *
 * Spins for poll_usecs at most, unless by the pace of the last operations that would be in vain;
 * then sleeps in io_uring until an interrupt. The device sends one when `min` is reached and one of
 *	`coalesce` completions or more can be dequeued,
 *	a batch has ended, or nothing is left in flight,
 *	the oldest of them has waited for coalesce_usecs.
 */
unsigned accel_wait(struct accel_qp *qp, unsigned min, uint64_t timeout_ns);

/*
 * Ends accel_wait() of that queue pair early; from any thread that knows it is not being put. When
 * nobody waits, the next accel_wait() that would have to wait returns at once instead: so a kick is
 * never lost, and several may count as one.
 */
void accel_kick(struct accel_qp *qp);

/* Accepted and not yet dequeued. For the owner. */
unsigned accel_in_flight(const struct accel_qp *qp);

/* Aborts every operation of this queue pair that no engine has begun; they complete as ABORTED. */
void accel_abort(struct accel_qp *qp);

/* --- statistics --- */

#define ACCEL_BUCKETS 32
/* bucket[b] counts values of b significant bits: 0, 1, 2..3, 4..7, ...; the last one all above. */
struct accel_histogram {
	uint64_t count, sum;
	uint64_t bucket[ACCEL_BUCKETS];
};

enum accel_stage {
	ACCEL_STAGE_WAIT,    /* submit until an engine begins */
	ACCEL_STAGE_SERVICE, /* until done */
	ACCEL_STAGE_DELIVER, /* until the host has it */
	ACCEL_STAGE_TOTAL,
	NR_ACCEL_STAGES
};
extern const char *const accel_stage_names[NR_ACCEL_STAGES];

/* Since accel_open() or accel_reset_stats(), of all queue pairs together. */
struct accel_stats {
	/* Operations: accepted = completed + on the device; accepted = reaped + in_flight. */
	uint64_t submitted; /* asked to enqueue: accepted + busy */
	uint64_t accepted;
	uint64_t busy;	    /* not accepted: ring full, `busy` fault, state */
	uint64_t completed; /* the sum of status[] */
	uint64_t reaped;    /* dequeued, or dropped by accel_qp_put() */
	uint64_t status[NR_ACCEL_STATUS];
	uint64_t in_flight;	/* now */
	uint64_t in_flight_max; /* the most that one queue pair had */
	uint64_t bytes_in, bytes_out; /* of SUCCESS: source and produced */

	uint64_t ring_full;	       /* bursts that did not fit */
	uint64_t doorbells;	       /* that took a system call for each engine woken... */
	uint64_t doorbells_suppressed; /* ... and that took none */
	uint64_t interrupts;	       /* sent to sleeping hosts */
	uint64_t spurious_wakes;       /* either side woke and found nothing to do */
	uint64_t lost_wakes;	       /* sent, never came, found by the watchdog */
	uint64_t resets;	       /* by verb or by faults in a row */
	uint64_t faults[NR_ACCEL_FAULTS]; /* injected */

	struct accel_histogram batches;		      /* operations in one */
	struct accel_histogram wall[NR_ACCEL_STAGES]; /* ns; of operations an engine had */
	struct accel_histogram model[NR_ACCEL_STAGES];

	uint64_t wall_elapsed_ns, wall_busy_ns; /* busy: of all engine threads, in codecs */
	uint64_t model_elapsed_ns, model_busy_ns;
	unsigned model_engines; /* utilisation = busy / (elapsed x engines) */
};

/* Counters are read one by one while others may count on. */
void accel_get_stats(struct accel_device *dev, struct accel_stats *stats);
void accel_reset_stats(struct accel_device *dev);

#endif
