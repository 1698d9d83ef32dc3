/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The modelled clock of one device: a discrete-event model in whole nanoseconds.
 *
 * Operations are served first come first served by the profile's devices x engines, each by the
 * engine that is free first. All engines share `shared_bps`. An operation passes four times:
 *
 *	submit -> start -> done -> delivered
 *	       wait    service  deliver
 *
 * Nothing here reads a clock of the machine or a shared random generator: jitter is a hash of the
 * profile's seed and the operation's number. The same calls in the same order give the same
 * numbers.
 *
 * Who calls what
 *	accel_model_submit()  the queue pair's owner, once a burst; takes no lock
 *	accel_model_serve()   an engine thread that takes an operation off a ring: in ring order for
 *			      each queue pair (under that ring's fetch lock); takes the model's lock
 *	accel_model_seen()    the queue pair's owner, for each completion it dequeues; no lock
 *	the others	      anybody, at any time
 */
#ifndef ACCEL_MODEL_H
#define ACCEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "accel_sim/accel.h"

struct accel_model;

/* A queue pair's part. Zeroed is new. The two halves are on lines of their own: host, device. */
struct accel_model_qp {
	_Alignas(64) uint64_t clock; /* ns: the host's time. Owner only. */
	uint32_t in_flight;	     /* submitted and not seen. Owner only. */

	_Alignas(64) uint64_t last_delivered; /* in order: the next one not before. Model's lock. */
	uint64_t gather_ns;		      /* swapped queues: when the queue was last taken... */
	uint32_t gather_engine;		      /* ... and by whom, plus one. Model's lock. */
};

struct accel_model_times {
	uint64_t wait, service, deliver; /* ns; their sum is delivered - submit */
	uint64_t delivered;		 /* clock when the host can see it: model_done */
	uint32_t engine;		 /* 0 .. devices x engines - 1 */
};

struct accel_model_totals {
	uint64_t served;      /* operations */
	uint64_t busy_ns;     /* of all engines together */
	uint64_t elapsed_ns;  /* modelled, to the latest delivery */
	uint32_t engines;     /* devices x engines; utilisation = busy / (elapsed x engines) <= 1 */
};

/* NULL: no memory. The profile is copied. Allocates nothing later. */
struct accel_model *accel_model_new(const struct accel_profile *profile);
void accel_model_free(struct accel_model *model);

/*
 * n operations were accepted. Returns the submit time of the first; each next one is submit_ns
 * later: t, t + submit_ns, ... When nothing of this queue pair was in flight its clock first
 * catches up with the device's latest submit time, so that queue pairs that come and go share a
 * time line.
 */
uint64_t accel_model_submit(struct accel_model *model, struct accel_model_qp *qp, unsigned n);

/*
 * Serves one operation: the engine, and all its times. `seq` numbers operations for the jitter (a
 * queue pair's id and its own count; not an order over all threads, which would differ between
 * runs). `opcode` is an enum accel_opcode, `bytes` the source's. Operations that are aborted before
 * an engine took them are not served; one that is served keeps its engine for all of its service.
 */
void accel_model_serve(struct accel_model *model, struct accel_model_qp *qp, uint64_t t_submit,
	unsigned opcode, uint32_t bytes, uint64_t seq, struct accel_model_times *times);

/* The owner dequeued a completion: `delivered` of its times, or 0 if it was never served. */
void accel_model_seen(struct accel_model_qp *qp, uint64_t delivered);

void accel_model_get_totals(struct accel_model *model, struct accel_model_totals *totals);
/* Totals count from here; the clocks go on. */
void accel_model_reset_totals(struct accel_model *model);

#endif
