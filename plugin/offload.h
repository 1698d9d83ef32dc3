/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * offload: the threads that give staged pages to the accelerator: one for each queue pair in use.
 *
 * A submitter takes a batch off a disk's list, copies its pages into managed streams, submits them,
 * and goes on; what has been compressed it publishes as it comes back. It never waits for one page:
 * when all streams are out it waits for the oldest. What goes wrong costs nobody anything:
 *
 *	no stream is free	software workers take pages too (drain.h)
 *	refused, in part	the rest is done on a per-CPU stream, here
 *	a page's fault		that page, the same
 *	many faults, resets	accel_sim's: the device fails, all is software until `plug`
 */
#ifndef UZRAM_OFFLOAD_H
#define UZRAM_OFFLOAD_H

#include "util.h"

/* After drain_start() and zcomp_accel_start(); nothing without an accelerator. 0, or -1 with *e. */
int offload_start(struct uz_error *e);
/* Aborts what is in flight: those pages stay staged, raw, and readable. */
void offload_stop(void);

#endif
