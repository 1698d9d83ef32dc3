/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control: the control socket. A request is one line, the answer one JSON
 * document on one line: {"ok":true,...} or {"ok":false,"errno":"EINVAL",
 * "error":"..."}. A connection may send any number of requests, one after the
 * other. One thread serves all connections and never blocks on one; long
 * commands run on a thread of their own, so statistics never wait for them.
 */
#ifndef UZRAM_CONTROL_H
#define UZRAM_CONTROL_H

#include "disk.h"

struct control;

/* The disks that a process serves, in the order given. */
struct disk_set {
	struct disk **disks;
	size_t nr;
};

/*
 * Binds `path`, mode 0600. A socket left by a dead server is replaced, that of
 * a live one refused (EADDRINUSE), as is any other file there (EEXIST). To be
 * called before the process forks into the background; the socket's file goes
 * if the process exits before control_start(). NULL with *e filled.
 */
struct control *control_bind(const char *path, struct uz_error *e);

/* Starts serving, after the last fork. */
int control_start(struct control *control, const struct disk_set *set, struct uz_error *e);

/* Stops the threads, closes connections, removes the socket. NULL is fine. */
void control_stop(struct control *control);

#endif
