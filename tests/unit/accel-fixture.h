/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the accelerator's tests share: a device from a few words, an LZ4 codec that watches how
 * it is called, real pages with their oracle, and a host that keeps books on every operation.
 *
 * Checks abort the program: they are made from many threads.
 */
#ifndef ACCEL_FIXTURE_H
#define ACCEL_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel_sim/accel.h"

#define FX_PAGE	   ACCEL_PAGE_SIZE
#define FX_OUT	   (2 * FX_PAGE)
#define FX_ROOM	   (FX_PAGE + 128) /* of a host's buffers: LZ4 never makes more of a page */
#define FX_REDZONE 64

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define FX_SLOW 8 /* bounds stretch, loops shrink */
#else
#define FX_SLOW 1
#endif

#define FX_SEC 1000000000ull

#define CHECK(cond, ...)                                                           \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond); \
			fprintf(stderr, __VA_ARGS__);                              \
			fputc('\n', stderr);                                       \
			abort();                                                   \
		}                                                                  \
	} while (0)

uint64_t fx_now(void); /* CLOCK_MONOTONIC, ns */
void fx_sleep_ms(unsigned ms);
uint64_t fx_env(const char *name, uint64_t normally);
uint64_t fx_next(uint64_t *rng);

/* --- devices --- */

/* A plain profile: 128 deep, one engine, both directions, no faults, no verify. */
struct accel_profile fx_profile(enum accel_transport transport);
struct accel_device *fx_open(const struct accel_profile *profile);
struct accel_qp *fx_qp(struct accel_device *dev);
struct accel_stats fx_stats(struct accel_device *dev);
void fx_fault(struct accel_device *dev, enum accel_fault_kind kind, uint32_t interval,
	uint32_t probability, int32_t times);
/* Ten seconds are its bound. */
void fx_await_state(struct accel_device *dev, enum accel_state state);

#define FX_NR_TRANSPORTS 3
#define FX_THREADED	 1 /* the first that is not inline */
extern const enum accel_transport fx_transports[FX_NR_TRANSPORTS];
extern const char *const fx_transport_names[FX_NR_TRANSPORTS];

/* --- a codec --- */

/* Calls stop at a closed gate. */
struct fx_gate {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool closed;
	unsigned waiting; /* calls that stand at it */
};
void fx_gate_close(struct fx_gate *gate);
void fx_gate_open(struct fx_gate *gate);
/* Until n calls stand there; false after ten seconds. */
bool fx_gate_await(struct fx_gate *gate, unsigned n);

#define FX_MAX_THREADS 64
struct fx_codec {
	struct accel_codec codec;
	struct fx_gate gate;
	_Atomic bool in_use[FX_MAX_THREADS]; /* one call at a time for each engine */
	unsigned char *work[FX_MAX_THREADS];
	_Atomic uint64_t calls;
	_Atomic unsigned usecs; /* sleeps so long in each call */
	_Atomic int error;	/* what compress() returns instead */
	_Atomic bool lie;	/* compress() makes another page's output */
	unsigned nr_threads;	/* bound of `engine`; 0: FX_MAX_THREADS */
};
struct fx_codec *fx_codec_new(void);
/* A page at `src`, into FX_OUT bytes at `dst`. */
struct accel_op fx_op(struct fx_codec *codec, const void *src, void *dst);
void fx_codec_free(struct fx_codec *codec);

/* --- pages and their oracle --- */

struct fx_corpus {
	unsigned nr;
	unsigned char *pages; /* nr x FX_PAGE */
	unsigned char *out;   /* nr x FX_OUT: what liblz4 makes of each, called directly */
	uint32_t *out_len;
};
/*
 * Slices of this machine's own programs and libraries, and among them pages of zeroes, of noise and
 * of one word. A next fill goes on where the last one ended.
 */
struct fx_corpus *fx_corpus_new(unsigned nr);
void fx_corpus_fill(struct fx_corpus *c);
void fx_corpus_free(struct fx_corpus *c);
static inline const unsigned char *fx_page(const struct fx_corpus *c, unsigned i)
{
	return c->pages + (size_t)i * FX_PAGE;
}
static inline const unsigned char *fx_out(const struct fx_corpus *c, unsigned i)
{
	return c->out + (size_t)i * FX_OUT;
}

/* --- a host: one queue pair, and a record of each operation --- */

enum fx_slot_state { FX_FREE, FX_OWNED };
struct fx_slot {
	unsigned char *src, *dst; /* FX_ROOM and a red zone each */
	enum fx_slot_state state;
	unsigned char paint;
	uint8_t opcode;
	unsigned page; /* of the corpus */
	uint64_t generation, seq;
	uint64_t before; /* when it had not been submitted yet */
};

struct fx_host {
	struct accel_device *dev;
	struct accel_qp *qp;
	struct fx_codec *codec;
	const struct fx_corpus *corpus;
	struct fx_slot *slots;
	unsigned nr_slots;
	unsigned *fifo, head, nr_free; /* oldest painted first, so that late writes have time */
	uint64_t rng;
	uint32_t dst_limit;
	bool in_order, decompress, zero_detect;
	uint64_t next_seq, last_seq;
	uint64_t asked, accepted, done, dropped, status[NR_ACCEL_STATUS];
};

/* Takes a queue pair; false when there is none. */
bool fx_host_init(struct fx_host *h, struct accel_device *dev, struct fx_codec *codec,
	const struct fx_corpus *corpus, uint64_t seed);
/* Checks that nothing was written to a buffer that the host owns. */
void fx_host_check(struct fx_host *h);
/* Up to n operations, without a doorbell; returns how many were accepted. */
unsigned fx_host_submit(struct fx_host *h, unsigned n);
/* At most n completions, each checked. */
unsigned fx_host_reap(struct fx_host *h, unsigned n);
/* Until nothing is in flight. */
void fx_host_finish(struct fx_host *h);
/* Gives the queue pair back, with what is in flight: those count as dropped. */
void fx_host_put(struct fx_host *h);
void fx_host_free(struct fx_host *h);

/* --- a rig: a device, a codec, and one host on one queue pair --- */

struct fx_rig {
	struct accel_profile profile; /* to be set before */
	struct accel_device *dev;
	struct fx_codec *codec;
	struct fx_corpus *corpus;
	struct fx_host host;
};
void fx_rig_open(struct fx_rig *r);
void fx_rig_close(struct fx_rig *r);
/*
 * One page's status; it is in flight alone. Waits until a device that resets itself takes it;
 * NR_ACCEL_STATUS: it does not any more.
 */
enum accel_status fx_rig_page(struct fx_rig *r);

#endif
