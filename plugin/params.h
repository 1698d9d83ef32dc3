/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * params: the keys of `nbdkit uzram key=value ...`. Each is checked when given; params_finish()
 * checks what only all of them together can tell. Every refusal is one line that names the
 * key, the value and what is allowed. Sizes are read as nbdkit_parse_size() reads them.
 */
#ifndef UZRAM_PARAMS_H
#define UZRAM_PARAMS_H

#include "disk.h"

struct params {
	struct disk_config disk; /* the only one, until a process can serve several */
	bool have_size;
	const char *control; /* path as given, or NULL */
	bool swap;
	uint64_t swap_reserve; /* bytes */
};

void params_init(struct params *params);

/* `value` must live as long as params. 0, or -1 with *e filled. */
int params_set(struct params *params, const char *key, const char *value, struct uz_error *e);
int params_finish(struct params *params, struct uz_error *e);

/* One "key=<TYPE>  text" a line, for nbdkit --help. */
extern const char params_help[];

#endif
