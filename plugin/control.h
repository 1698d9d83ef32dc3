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

#include "registry.h"

struct control;

/*
 * Binds `path`, mode 0600; with `group` (NULL: none) the socket is that group's, mode
 * 0660: whoever connects and is neither the server's user nor root may only look. A
 * socket left by a dead server is replaced, that of a live one refused (EADDRINUSE), as
 * is any other file there (EEXIST). To be called before the process forks into the
 * background; the socket's file goes if the process exits before control_start(). NULL
 * with *e filled.
 */
struct control *control_bind(const char *path, const char *group, struct uz_error *e);

/* Before control_start(): all memory is taken at the start, for swap; no disk can be added. */
void control_set_fixed(struct control *control);

/* Starts serving, after the last fork. */
int control_start(struct control *control, struct registry *registry, struct uz_error *e);

/* Stops the threads, closes connections, removes the socket. NULL is fine. */
void control_stop(struct control *control);

#endif
