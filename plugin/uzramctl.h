/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside uzramctl: what its answers look like to people. */
#ifndef UZRAM_UZRAMCTL_H
#define UZRAM_UZRAMCTL_H

#include <jansson.h>

void show_list(json_t *answer);
void show_stat(json_t *answer);
void show_compact(json_t *answer);

#endif
