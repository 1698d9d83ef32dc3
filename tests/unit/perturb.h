/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * perturb: random pauses at the calls that perturb.c wraps (with the linker's --wrap), which lie
 * between the parts of a step: so others get in between more often than they would by themselves.
 */
#ifndef PERTURB_H
#define PERTURB_H

#include <stdint.h>

/* Mostly nothing; now and then it yields, or sleeps for up to 0.3 ms. */
void perturb(void);
/* Of threads that have not paused yet. */
void perturb_seed(uint64_t seed);

#endif
