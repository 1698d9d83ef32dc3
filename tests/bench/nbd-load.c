/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-load: reads, writes or trims an NBD disk on a Unix socket. A worker is
 * one connection with one thread. Data goes straight from the mapped file to
 * the socket; what is read is dropped, or compared.
 */
#include <config.h>

#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

struct connection;

/* One request in flight. */
struct op {
	struct connection *conn;
	uint64_t offset;
	uint64_t begin; /* load_clock() */
	void *buf;	/* for reads */
	struct op *next_free;
};

struct connection {
	struct load *load;
	struct nbd_handle *nbd;
	struct op *ops, *free;
	unsigned in_flight;
};

static int done(void *opaque, int *error)
{
	struct op *op = opaque;
	struct connection *conn = op->conn;

	if (*error)
		die("request at %llu: %s", (unsigned long long)op->offset, strerror(*error));
	load_timed(conn->load, op->begin);
	if (conn->load->op == LOAD_READ)
		load_check(conn->load, op->offset, op->buf);
	op->next_free = conn->free;
	conn->free = op;
	conn->in_flight--;
	return 1; /* libnbd forgets the command */
}

static void connect_to(struct connection *conn, struct load *load)
{
	*conn = (struct connection){ .load = load, .nbd = nbd_create() };
	if (!conn->nbd || nbd_set_pread_initialize(conn->nbd, false) < 0 ||
		nbd_connect_unix(conn->nbd, load->target) < 0)
		die("%s", nbd_get_error());
	if (nbd_get_size(conn->nbd) < (int64_t)load->data_bytes)
		die("the disk is smaller than the data");
	conn->ops = calloc(load->depth, sizeof(*conn->ops));
	if (!conn->ops)
		die("out of memory");
	for (unsigned i = 0; i < load->depth; i++) {
		struct op *op = &conn->ops[i];

		op->conn = conn;
		if (load->op == LOAD_READ) {
			op->buf = aligned_alloc(LOAD_PAGE, load->request);
			if (!op->buf)
				die("out of memory");
			memset(op->buf, 0, load->request);
		}
		op->next_free = conn->free;
		conn->free = op;
	}
}

static void submit(struct connection *conn, uint64_t offset)
{
	struct load *load = conn->load;
	struct op *op = conn->free;
	nbd_completion_callback callback = { .callback = done, .user_data = op };
	int64_t cookie = -1;

	conn->free = op->next_free;
	conn->in_flight++;
	op->offset = offset;
	op->begin = load_clock(load);
	switch (load->op) {
	case LOAD_READ:
		cookie = nbd_aio_pread(conn->nbd, op->buf, load->request, offset, callback, 0);
		break;
	case LOAD_WRITE:
		cookie = nbd_aio_pwrite(
			conn->nbd, load_content(load, offset), load->request, offset, callback, 0);
		break;
	case LOAD_TRIM:
		cookie = nbd_aio_trim(conn->nbd, load->request, offset, callback, 0);
		break;
	}
	if (cookie < 0)
		die("%s", nbd_get_error());
}

static void worker(struct load *load, unsigned index)
{
	struct connection conn;
	uint64_t offset;
	bool more = true;

	(void)index;
	connect_to(&conn, load);
	load_begin(load);
	while (more || conn.in_flight) {
		while (more && conn.in_flight < load->depth) {
			more = load_next(load, &offset);
			if (more)
				submit(&conn, offset);
		}
		if (conn.in_flight && nbd_poll(conn.nbd, -1) < 0)
			die("%s", nbd_get_error());
	}
	load_end(load);
	nbd_shutdown(conn.nbd, 0);
	nbd_close(conn.nbd);
	for (unsigned i = 0; i < load->depth; i++)
		free(conn.ops[i].buf);
	free(conn.ops);
}

int main(int argc, char **argv)
{
	struct load load;

	load_init(&load, argc, argv, "SOCKET");
	load_run(&load, worker, NULL);
	return 0;
}
