/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another NBD server as backing. Each connection has a thread that reads answers, and connects
 * again when the server is gone; requests are sent by whoever submits them.
 *
 * A request that is out stays in its connection's list until the server has answered it. When the
 * connection is lost, what is in the list is sent again over the next one: reading or writing the
 * same bytes twice does no harm. If there is no next one in time, they all fail.
 *
 * Locks: conn->lock (which handle there is, whether it is up) before libnbd's own, which it may
 * hold when it calls back, before conn->list_lock, before the queue's.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "backing_nbd.h"

#define MAX_CONNS  16
#define AGAIN_MS   100	/* between attempts while requests wait */
#define DOWN_MS	   1000 /* between attempts when they do not any more */
#define CONNECT_MS 2000 /* for one attempt, when there is no deadline nearer */
#define STOP_MS	   1000 /* an answer must come within that once all is to stop */
#define TRIM_MAX   (1u << 30)
#define EXPECT_MAX 64

enum conn_state {
	CONN_UP,
	CONN_LOST, /* requests wait: it may come back */
	CONN_DOWN, /* requests fail at once */
};

struct conn {
	struct nbd_backing *nb;
	unsigned nr;
	pthread_t thread;
	bool has_thread;
	int kick; /* eventfd: there is something new for the thread */

	pthread_mutex_t lock;
	struct nbd_handle *h;	       /* NULL unless CONN_UP */
	_Atomic enum conn_state state; /* changes under the lock */

	pthread_mutex_t list_lock;
	struct backing_io *ios;	  /* out, or waiting for a connection */
	_Atomic uint64_t heard;	  /* when it last answered, or had nothing to; uz_nsec() */
	_Atomic uint64_t lost_at; /* since when nothing was answered; 0: it was */
	_Atomic bool broken;
};

struct nbd_backing {
	struct backing b;
	char *uri;
	uint64_t reconnect_ns, stall_ns;
	uint32_t max_io; /* bytes that the server takes at once */
	struct conn conns[MAX_CONNS];
	unsigned nr_conns;
	_Atomic unsigned next_conn;
	_Atomic bool warned, closing;

	pthread_mutex_t expect_lock;
	unsigned char expect[EXPECT_MAX];
	size_t expect_len;
	uint64_t expect_offset;
};

struct nbd_queue {
	unsigned conn; /* number of its own */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct backing_io *done, **done_tail;
};

static struct nbd_backing *nbd_of(struct backing *b)
{
	return (struct nbd_backing *)b;
}

static void kick(struct conn *conn)
{
	/* When it is full, the thread has been told. */
	eventfd_write(conn->kick, 1);
}

/* Is that what we were talking to? */
static bool is_ours(struct conn *conn, struct nbd_handle *h, uint64_t due)
{
	struct nbd_backing *nb = conn->nb;
	unsigned char want[EXPECT_MAX], *block;
	uint64_t offset, start;
	size_t len;
	bool ours;
	int err;

	if (nbd_get_size(h) != (int64_t)nb->b.info.size || nbd_is_read_only(h) != 0)
		return false;
	pthread_mutex_lock(&nb->expect_lock);
	len = nb->expect_len;
	offset = nb->expect_offset;
	memcpy(want, nb->expect, len);
	pthread_mutex_unlock(&nb->expect_lock);
	if (!len)
		return true;
	block = malloc(PAGE_SIZE);
	if (!block)
		return false;
	start = offset & ~(uint64_t)(PAGE_SIZE - 1);
	ours = nbd_link_io(h, &nb->b.stopped, BACKING_READ, block, PAGE_SIZE, start, due, &err) &&
	       !memcmp(block + (offset - start), want, len);
	free(block);
	return ours;
}

/* --- requests --- */

static void complete(struct backing_io *io, int res)
{
	struct nbd_queue *nq = io->queue->driver;

	io->res = res;
	io->next = NULL;
	pthread_mutex_lock(&nq->lock);
	*nq->done_tail = io;
	nq->done_tail = &io->next;
	pthread_cond_signal(&nq->cond);
	pthread_mutex_unlock(&nq->lock);
}

static void list_add(struct conn *conn, struct backing_io *io)
{
	pthread_mutex_lock(&conn->list_lock);
	if (!conn->ios) /* until now there was nothing to answer */
		atomic_store(&conn->heard, uz_nsec());
	io->prev = NULL;
	io->next = conn->ios;
	if (io->next)
		io->next->prev = io;
	conn->ios = io;
	pthread_mutex_unlock(&conn->list_lock);
}

static void list_del(struct conn *conn, struct backing_io *io)
{
	pthread_mutex_lock(&conn->list_lock);
	*(io->prev ? &io->prev->next : &conn->ios) = io->next;
	if (io->next)
		io->next->prev = io->prev;
	pthread_mutex_unlock(&conn->list_lock);
}

/* libnbd's callback, its lock held, in any thread that calls it. */
static int answered(void *opaque, int *error)
{
	struct backing_io *io = opaque;
	struct conn *conn = io->driver;

	if (*error == ENOTCONN || *error == ESHUTDOWN) {
		/* Lost, or about to be: it stays in the list, for another connection. */
		atomic_store(&conn->broken, true);
		kick(conn);
		return 1;
	}
	atomic_store(&conn->heard, uz_nsec());
	atomic_store(&conn->lost_at, 0);
	list_del(conn, io);
	complete(io, *error ? -*error : (int)io->part);
	return 1;
}

/* conn->lock held, the connection up, `io` in the list. */
static void send_io(struct conn *conn, struct backing_io *io)
{
	nbd_completion_callback done = { .callback = answered, .user_data = io };
	void *buf = (char *)io->buf + io->done;
	uint64_t offset = io->offset + io->done;
	int64_t ret;

	io->driver = conn;
	if (io->op == BACKING_READ)
		ret = nbd_aio_pread(conn->h, buf, io->part, offset, done, 0);
	else if (io->op == BACKING_TRIM)
		ret = nbd_aio_trim(conn->h, io->part, offset, done, 0);
	else
		ret = nbd_aio_pwrite(conn->h, buf, io->part, offset, done, 0);
	if (ret != -1)
		return;
	if (nbd_aio_is_dead(conn->h) || nbd_aio_is_closed(conn->h)) {
		atomic_store(&conn->broken, true);
		kick(conn);
		return;
	}
	ret = nbd_get_errno() ?: EIO;
	list_del(conn, io);
	complete(io, -(int)ret);
}

/* The queue's own connection, or another that is up. */
static struct conn *pick_conn(struct backing_queue *q)
{
	struct nbd_backing *nb = nbd_of(q->backing);
	struct nbd_queue *nq = q->driver;

	for (unsigned i = 0; i < nb->nr_conns; i++) {
		struct conn *conn = &nb->conns[(nq->conn + i) % nb->nr_conns];

		if (conn->state == CONN_UP)
			return conn;
	}
	return &nb->conns[0];
}

static void remote_submit(struct backing_queue *q, struct backing_io *io, bool more)
{
	struct conn *conn = pick_conn(q);
	int err = 0;

	if (io->op != BACKING_TRIM)
		io->part = min_u64(io->part, nbd_of(q->backing)->max_io);
	pthread_mutex_lock(&conn->lock);
	if (conn->state == CONN_DOWN)
		err = ENOTCONN;
	if (!err) {
		list_add(conn, io);
		if (conn->state == CONN_UP)
			send_io(conn, io);
		/* The thread must also wait for room to send what did not go out at once. */
		if (conn->h && nbd_aio_get_direction(conn->h) & LIBNBD_AIO_DIRECTION_WRITE)
			kick(conn);
	}
	pthread_mutex_unlock(&conn->lock);
	if (err)
		complete(io, -err);
}

static struct backing_io *remote_reap(struct backing_queue *q, unsigned want)
{
	struct nbd_queue *nq = q->driver;
	struct backing_io *io;

	pthread_mutex_lock(&nq->lock);
	while (!nq->done && want)
		pthread_cond_wait(&nq->cond, &nq->lock);
	io = nq->done;
	if (io && !(nq->done = io->next))
		nq->done_tail = &nq->done;
	pthread_mutex_unlock(&nq->lock);
	return io;
}

/* --- a connection's thread --- */

static void fail_all(struct conn *conn, int err)
{
	struct backing_io *io, *next;

	pthread_mutex_lock(&conn->list_lock);
	io = conn->ios;
	conn->ios = NULL;
	pthread_mutex_unlock(&conn->list_lock);
	for (; io; io = next) {
		next = io->next;
		complete(io, -err);
	}
}

static void sleep_kicked(struct conn *conn, unsigned ms)
{
	struct pollfd fd = { .fd = conn->kick, .events = POLLIN };
	eventfd_t count;

	if (poll(&fd, 1, ms) > 0)
		eventfd_read(conn->kick, &count);
}

/* conn->lock held: the new handle gets what is out. */
static void take_up(struct conn *conn, struct nbd_handle *h)
{
	struct backing_io *io, *next;

	conn->h = h;
	conn->state = CONN_UP;
	atomic_store(&conn->broken, false);
	atomic_store(&conn->heard, uz_nsec());
	if (!conn->ios)
		atomic_store(&conn->lost_at, 0);
	/* Nobody adds while we hold the lock; answers, which remove, come from this thread alone
	 * or from one that sends: of those there is none. A refused one is removed by ourselves. */
	for (io = conn->ios; io; io = next) {
		next = io->next;
		send_io(conn, io);
	}
}

static void reconnect(struct conn *conn)
{
	struct nbd_backing *nb = conn->nb;
	/* From the last answer on: a server that dies of each request shall not keep us for ever.
	 */
	uint64_t due = (atomic_load(&conn->lost_at) ?: uz_nsec()) + nb->reconnect_ns;

	while (!atomic_load(&nb->closing)) {
		uint64_t now = uz_nsec();
		uint64_t until = conn->state == CONN_LOST ? due : now + CONNECT_MS * 1000000ull;
		struct nbd_handle *h = nbd_link_open(nb->uri, &nb->b.stopped, conn->kick, until);

		if (h && !is_ours(conn, h, until)) {
			nbd_close(h);
			h = NULL;
		}
		if (h) {
			pthread_mutex_lock(&conn->lock);
			take_up(conn, h);
			pthread_mutex_unlock(&conn->lock);
			if (atomic_exchange(&nb->warned, false))
				uz_warn("backing=%s: the server is back", nb->b.name);
			return;
		}
		if (conn->state == CONN_LOST &&
			(atomic_load(&nb->b.stopped) || uz_nsec() + AGAIN_MS * 1000000ull >= due)) {
			pthread_mutex_lock(&conn->lock);
			conn->state = CONN_DOWN;
			pthread_mutex_unlock(&conn->lock);
			fail_all(conn, ENOTCONN);
		}
		sleep_kicked(conn, conn->state == CONN_LOST ? AGAIN_MS : DOWN_MS);
	}
}

static void lose(struct conn *conn)
{
	struct nbd_backing *nb = conn->nb;
	struct nbd_handle *h;

	pthread_mutex_lock(&conn->lock);
	h = conn->h;
	conn->h = NULL;
	conn->state = CONN_LOST;
	pthread_mutex_unlock(&conn->lock);
	if (!atomic_load(&conn->lost_at))
		atomic_store(&conn->lost_at, uz_nsec());
	/* After this libnbd touches no buffer any more, and calls back no more. */
	nbd_close(h);
	if (!atomic_load(&nb->b.stopped) && !atomic_exchange(&nb->warned, true))
		uz_warn("backing=%s: the server is gone or silent; waiting for it", nb->b.name);
}

static bool is_lost(struct conn *conn)
{
	struct nbd_backing *nb = conn->nb;
	uint64_t stall = nb->stall_ns;
	bool waits;

	if (atomic_load(&conn->broken) || nbd_aio_is_dead(conn->h) || nbd_aio_is_closed(conn->h))
		return true;
	pthread_mutex_lock(&conn->list_lock);
	waits = conn->ios;
	pthread_mutex_unlock(&conn->list_lock);
	if (atomic_load(&nb->b.stopped))
		stall = min_u64(stall, STOP_MS * 1000000ull);
	/* `heard` may be set by another thread just now. */
	return waits && atomic_load(&conn->heard) + stall < uz_nsec();
}

static void *conn_main(void *arg)
{
	struct conn *conn = arg;

	while (!atomic_load(&conn->nb->closing)) {
		if (!conn->h)
			reconnect(conn);
		else if (is_lost(conn))
			lose(conn);
		else
			nbd_link_drive(conn->h, conn->kick,
				(int)min_u64(conn->nb->stall_ns / 4000000 + 1, 1000));
	}
	return NULL;
}

/* --- life --- */

static int remote_start(struct backing *b, struct uz_error *e)
{
	struct nbd_backing *nb = nbd_of(b);

	for (unsigned i = 0; i < nb->nr_conns; i++) {
		struct conn *conn = &nb->conns[i];
		int err = pthread_create(&conn->thread, NULL, conn_main, conn);

		if (err)
			return uz_fail(e, err, "backing=%s: %s", b->name, strerror(err));
		conn->has_thread = true;
	}
	return 0;
}

static void remote_stop(struct backing *b)
{
	struct nbd_backing *nb = nbd_of(b);

	for (unsigned i = 0; i < nb->nr_conns; i++)
		kick(&nb->conns[i]);
}

static void remote_close(struct backing *b)
{
	struct nbd_backing *nb = nbd_of(b);

	atomic_store(&nb->closing, true);
	remote_stop(b);
	for (unsigned i = 0; i < nb->nr_conns; i++) {
		struct conn *conn = &nb->conns[i];

		if (conn->has_thread)
			pthread_join(conn->thread, NULL);
		if (conn->h) {
			/* A word of parting, but nobody waits for it to be heard. */
			nbd_aio_disconnect(conn->h, 0);
			nbd_close(conn->h);
		}
		close(conn->kick);
		pthread_mutex_destroy(&conn->lock);
		pthread_mutex_destroy(&conn->list_lock);
	}
	backing_fini(b);
	pthread_mutex_destroy(&nb->expect_lock);
	free(nb->uri);
	free(nb);
}

static uint64_t remote_allocated(struct backing *b)
{
	return UINT64_MAX;
}

static int remote_trim(struct backing *b, uint64_t offset, uint64_t len)
{
	struct backing_queue *q = backing_queue_get(b);
	int err = q ? 0 : errno;

	for (uint64_t n; len && !err; offset += n, len -= n) {
		struct backing_io io = { .op = BACKING_TRIM, .offset = offset };

		n = min_u64(len, TRIM_MAX);
		io.len = n;
		err = backing_run(q, &io, 1);
	}
	if (q)
		backing_queue_put(q);
	return err == ENOTSUP ? EOPNOTSUPP : err;
}

static void remote_expect(struct backing *b, uint64_t offset, const void *bytes, size_t len)
{
	struct nbd_backing *nb = nbd_of(b);

	pthread_mutex_lock(&nb->expect_lock);
	memcpy(nb->expect, bytes, len);
	nb->expect_len = len;
	nb->expect_offset = offset;
	pthread_mutex_unlock(&nb->expect_lock);
}

static void remote_direct_io(struct backing *b, struct backing_io *io)
{
	struct nbd_backing *nb = nbd_of(b);
	struct conn *conn = &nb->conns[0];
	/* backing_stop() comes from this thread, before, and only makes it impatient. */
	static const _Atomic bool go_on;
	uint64_t stall = atomic_load(&b->stopped) ? STOP_MS * UINT64_C(1000000) : nb->stall_ns;
	int err = ENOTCONN;

	io->part = min_u64(io->part, nb->max_io);
	if (conn->h && nbd_link_io(conn->h, &go_on, io->op, (char *)io->buf + io->done,
			       io->part, io->offset + io->done, uz_nsec() + stall, &err)) {
		io->res = io->part;
		return;
	}
	if (conn->h)
		nbd_close(conn->h);
	conn->h = NULL;
	conn->state = CONN_LOST;
	io->res = -err;
}

static int remote_queue_init(struct backing_queue *q)
{
	struct nbd_backing *nb = nbd_of(q->backing);
	struct nbd_queue *nq = calloc(1, sizeof(*nq));

	if (!nq)
		return ENOMEM;
	nq->conn = atomic_fetch_add(&nb->next_conn, 1) % nb->nr_conns;
	nq->done_tail = &nq->done;
	pthread_mutex_init(&nq->lock, NULL);
	pthread_cond_init(&nq->cond, NULL);
	q->driver = nq;
	return 0;
}

static void remote_queue_fini(struct backing_queue *q)
{
	struct nbd_queue *nq = q->driver;

	pthread_cond_destroy(&nq->cond);
	pthread_mutex_destroy(&nq->lock);
	free(nq);
}

static const struct backing_ops remote_ops = {
	.kind = "nbd",
	.start = remote_start,
	.stop = remote_stop,
	.close = remote_close,
	.allocated = remote_allocated,
	.trim = remote_trim,
	.expect = remote_expect,
	.direct_io = remote_direct_io,
	.queue_init = remote_queue_init,
	.queue_fini = remote_queue_fini,
	.submit = remote_submit,
	.reap = remote_reap,
};

/* What the server has to say of itself. */
static int look_at(struct nbd_backing *nb, const struct backing_config *c, struct nbd_handle *h,
	struct uz_error *e)
{
	int64_t size = nbd_get_size(h), block = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM);
	int64_t max = nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM);

	if (size <= 0)
		return uz_fail(e, EINVAL, "backing=%s: the export is empty", c->where);
	if (nbd_is_read_only(h) != 0)
		return uz_fail(e, EROFS, "backing=%s: the export is read-only", c->where);
	if (c->size && c->size != (uint64_t)size)
		return uz_fail(e, EINVAL,
			"backing=%s: the export has %" PRIi64 " bytes, backing-size= says %" PRIu64,
			c->where, size, c->size);
	if (block > 4096)
		return uz_fail(
			e, EINVAL, "backing=%s: its blocks are larger than 4096 bytes", c->where);
	if (max > 0 && max < PAGE_SIZE)
		return uz_fail(e, EINVAL,
			"backing=%s: it takes no more than %" PRIi64 " bytes at once", c->where,
			max);
	nb->max_io = (max > 0 ? min_u64(max, BACKING_MAX_IO) : BACKING_MAX_IO) & ~(PAGE_SIZE - 1);
	nb->b.info.size = size;
	nb->b.info.block = block > 512 ? block : 512;
	atomic_store(&nb->b.can_punch, !c->locked && nbd_can_trim(h) == 1);
	nb->nr_conns = nbd_can_multi_conn(h) == 1 ? c->connections ?: 4 : 1;
	if (nb->nr_conns > MAX_CONNS)
		nb->nr_conns = MAX_CONNS;
	return 0;
}

struct backing *backing_nbd_open(const struct backing_config *c, struct uz_error *e)
{
	struct nbd_backing *nb;
	struct nbd_handle *h;

	if (nbd_api_load(e) == -1)
		return NULL;
	nb = calloc(1, sizeof(*nb));
	if (!nb || !(nb->uri = strdup(c->where))) {
		free(nb);
		uz_fail(e, ENOMEM, "backing=%s: %s", c->where, strerror(ENOMEM));
		return NULL;
	}
	nb->reconnect_ns = (c->reconnect_ms ?: 5000) * 1000000ull;
	nb->stall_ns = (c->stall_ms ?: 30000) * 1000000ull;
	h = nbd_link_open(nb->uri, &nb->b.stopped, -1, uz_nsec() + nb->reconnect_ns);
	if (!h) {
		const char *why = nbd_get_error();

		uz_fail(e, nbd_get_errno() ?: ETIMEDOUT, "backing=%s: %s", c->where,
			why ?: "the server does not answer");
	}
	if (!h || look_at(nb, c, h, e) == -1) {
		if (h)
			nbd_close(h);
		free(nb->uri);
		free(nb);
		return NULL;
	}
	backing_init(&nb->b, &remote_ops, c);
	pthread_mutex_init(&nb->expect_lock, NULL);
	for (unsigned i = 0; i < nb->nr_conns; i++) {
		struct conn *conn = &nb->conns[i];

		conn->nb = nb;
		conn->nr = i;
		conn->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		conn->state = i ? CONN_LOST : CONN_UP;
		pthread_mutex_init(&conn->lock, NULL);
		pthread_mutex_init(&conn->list_lock, NULL);
	}
	nb->conns[0].h = h;
	return &nb->b;
}
