/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * params: the keys of `nbdkit uzram key=value ...`, of the process and of each disk. Each is
 * checked when given; params_finish() checks what only all of them together can tell. Every
 * refusal is one line that names the key, the value and what is allowed. Nothing is opened here.
 * Sizes are read as nbdkit_parse_size() reads them.
 */
#ifndef UZRAM_PARAMS_H
#define UZRAM_PARAMS_H

#include "accel_sim/accel.h"
#include "disk.h"

struct params {
	struct disk_config defaults; /* per-disk keys before the first disk= */
	struct disk_config *disks;   /* in the order given */
	size_t nr_disks;
	const char *control;	   /* path as given, or NULL */
	const char *control_group; /* or NULL */
	bool swap;
	uint64_t swap_reserve; /* bytes, of all disks together */
	unsigned workers;      /* 0: as many as CPUs */
	bool has_accel;
	struct accel_profile accel;
	struct {
		const char *key, *value;
	} *accel_keys; /* accel-KEY=, to be set when the profile is known */
	size_t nr_accel_keys;
	struct accel_fault accel_faults[NR_ACCEL_FAULTS];
	unsigned nr_accel_faults;
};

void params_init(struct params *params);
void params_free(struct params *params);

/* `value` must live as long as params. 0, or -1 with *e filled. */
int params_set(struct params *params, const char *key, const char *value, struct uz_error *e);
int params_finish(struct params *params, struct uz_error *e);

/*
 * For disks that come at run time: a configuration with every default, without name and size;
 * one per-disk key for it; and what only all keys together can tell. 0, or -1 with *e filled.
 */
void params_disk_init(struct disk_config *config);
int params_disk_set(struct disk_config *config, const char *key, const char *value,
	struct uz_error *e);
int params_disk_finish(struct disk_config *config, struct uz_error *e);

/* As nbdkit_parse_bool(). -1: neither yes nor no. */
int params_parse_bool(const char *text);

/* One "key=<TYPE>  text" a line, for nbdkit --help. */
extern const char params_help[];

#endif
