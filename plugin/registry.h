/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * registry: the disks that a process serves, in the order they were added. Disks come and go
 * while it serves; whoever uses one holds it meanwhile, so it cannot go under him.
 *
 * Three ways to hold a disk: as a client (a connection), as a user (a command that reads it or
 * works on it beside I/O), and alone (a command that no I/O may meet). Waiting is nobody's
 * business here: what cannot be had now is refused with EBUSY.
 *
 * Any thread may call anything at any time. One mutex, never held across a call into a disk.
 */
#ifndef UZRAM_REGISTRY_H
#define UZRAM_REGISTRY_H

#include "disk.h"

struct registry;

struct registry *registry_create(void); /* NULL: no memory */
/* Destroys all disks. Nobody may hold one. */
void registry_destroy(struct registry *registry);

/*
 * A disk's name: 1 to DISK_NAME_MAX letters, digits, '.', '_', '-', and not a word of uzramctl's
 * commands or modes, which stand where names do. 0, or -1 with *e filled.
 */
int registry_check_name(const char *name, struct uz_error *e);

/* Takes the disk over. -1 with *e filled (EEXIST), and it is still the caller's. */
int registry_add(struct registry *registry, struct disk *disk, struct uz_error *e);

/*
 * Destroys the disk of that name: ENOENT, or EBUSY while anybody holds it. The last one may go
 * too. 0, or -1 with *e filled.
 */
int registry_remove(struct registry *registry, const char *name, struct uz_error *e);

/*
 * For a connection: the disk served as export `name`, "" meaning the first. NULL with *e filled:
 * ENOENT, or EBUSY while a command has it alone.
 */
struct disk *registry_attach(struct registry *registry, const char *name, struct uz_error *e);
void registry_detach(struct registry *registry, struct disk *disk);
unsigned registry_clients(struct registry *registry, const struct disk *disk);

/* For a command: by the name that is shown. NULL: there is none (nothing else can fail). */
struct disk *registry_get(struct registry *registry, const char *name);
/* The first one's successors, each held as by registry_get(): `after` NULL for the first. */
struct disk *registry_next(struct registry *registry, const struct disk *after);
void registry_put(struct registry *registry, struct disk *disk);
size_t registry_count(struct registry *registry);

/*
 * Makes a hold of registry_get() one alone: EBUSY, naming why and `what` was wanted, while clients
 * are attached or another command holds the disk. Until registry_share() nobody can attach, nor
 * keep it: a command that is alone needs no registry_keep(). 0, or -1 with *e filled.
 */
int registry_alone(struct registry *registry, struct disk *disk, const char *what,
	struct uz_error *e);
void registry_share(struct registry *registry, struct disk *disk);

/*
 * For a slow command, `what` it is ("compaction"): marks that the disk must stay as it is, for as
 * long as it is held. One at a time: EBUSY, naming the other. 0, or -1 with *e filled.
 */
int registry_keep(struct registry *registry, struct disk *disk, const char *what,
	struct uz_error *e);
void registry_release(struct registry *registry, struct disk *disk);

/*
 * For a command that walks the disk's pages and keeps nothing: EBUSY while another command has it
 * alone. If not, none can have it until it is put. 0, or -1 with *e filled.
 */
int registry_beside(struct registry *registry, struct disk *disk, struct uz_error *e);

#endif
