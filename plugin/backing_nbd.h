/* SPDX-License-Identifier: BSD-3-Clause */
/* A libnbd handle in the hands of one thread: backing_nbd_link.c for backing_nbd.c. No call lasts
 * longer than until `due` (uz_nsec()), or much longer than until *stop is true. */
#ifndef UZRAM_BACKING_NBD_H
#define UZRAM_BACKING_NBD_H

#include "backing_priv.h"
#include "nbd_api.h"

/* Sleeps until the server or the eventfd `kick_fd` (-1: none) has something, or `ms` are over; lets
 * libnbd read or write, and empties the eventfd. */
void nbd_link_drive(struct nbd_handle *h, int kick_fd, int ms);

/* A handle that is ready. NULL, and libnbd's words in nbd_get_error(). */
struct nbd_handle *nbd_link_open(
	const char *uri, const _Atomic bool *stop, int kick_fd, uint64_t due);

/* One request. False with *error: after that the handle is good for nbd_close() alone. */
bool nbd_link_io(struct nbd_handle *h, const _Atomic bool *stop, enum backing_op op, void *buf,
	size_t len, uint64_t offset, uint64_t due, int *error);

#endif
