/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libnbd, loaded when the first NBD backing is opened. It brings a dozen libraries with it, ICU's
 * 30 MB of tables among them, which all would be faulted in and locked under swap=yes.
 */
#ifndef UZRAM_NBD_API_H
#define UZRAM_NBD_API_H

#include <libnbd.h>

#include "util.h"

#define NBD_API(X) \
	X(nbd_create) \
	X(nbd_close) \
	X(nbd_get_error) \
	X(nbd_get_errno) \
	X(nbd_get_size) \
	X(nbd_get_block_size) \
	X(nbd_is_read_only) \
	X(nbd_can_multi_conn) \
	X(nbd_can_trim) \
	X(nbd_aio_connect_uri) \
	X(nbd_aio_disconnect) \
	X(nbd_aio_get_direction) \
	X(nbd_aio_get_fd) \
	X(nbd_aio_is_closed) \
	X(nbd_aio_is_dead) \
	X(nbd_aio_is_ready) \
	X(nbd_aio_notify_read) \
	X(nbd_aio_notify_write) \
	X(nbd_aio_pread) \
	X(nbd_aio_pwrite) \
	X(nbd_aio_trim)

#define NBD_API_FIELD(name) __typeof__(&(name)) name##_;
struct nbd_api {
	NBD_API(NBD_API_FIELD)
};
extern struct nbd_api nbd_api;

/* From then on the functions may be called. 0, or -1 with *e filled. */
int nbd_api_load(struct uz_error *e);

/* They keep their names. */
#ifndef NBD_API_PLAIN
#define nbd_create nbd_api.nbd_create_
#define nbd_close nbd_api.nbd_close_
#define nbd_get_error nbd_api.nbd_get_error_
#define nbd_get_errno nbd_api.nbd_get_errno_
#define nbd_get_size nbd_api.nbd_get_size_
#define nbd_get_block_size nbd_api.nbd_get_block_size_
#define nbd_is_read_only nbd_api.nbd_is_read_only_
#define nbd_can_multi_conn nbd_api.nbd_can_multi_conn_
#define nbd_can_trim nbd_api.nbd_can_trim_
#define nbd_aio_connect_uri nbd_api.nbd_aio_connect_uri_
#define nbd_aio_disconnect nbd_api.nbd_aio_disconnect_
#define nbd_aio_get_direction nbd_api.nbd_aio_get_direction_
#define nbd_aio_get_fd nbd_api.nbd_aio_get_fd_
#define nbd_aio_is_closed nbd_api.nbd_aio_is_closed_
#define nbd_aio_is_dead nbd_api.nbd_aio_is_dead_
#define nbd_aio_is_ready nbd_api.nbd_aio_is_ready_
#define nbd_aio_notify_read nbd_api.nbd_aio_notify_read_
#define nbd_aio_notify_write nbd_api.nbd_aio_notify_write_
#define nbd_aio_pread nbd_api.nbd_aio_pread_
#define nbd_aio_pwrite nbd_api.nbd_aio_pwrite_
#define nbd_aio_trim nbd_api.nbd_aio_trim_
#endif

#endif
