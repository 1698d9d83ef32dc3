/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done with a libnbd handle by one thread alone: waiting, connecting, a lone request. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <poll.h>
#include <sys/eventfd.h>

#include "backing_nbd.h"

/* How long until `due`, for poll(); never 0 before that. */
static int poll_ms(uint64_t due)
{
	uint64_t now = uz_nsec();

	return now >= due ? 0 : (int)min_u64((due - now) / 1000000 + 1, 60000);
}

void nbd_link_drive(struct nbd_handle *h, int kick_fd, int ms)
{
	unsigned dir = nbd_aio_get_direction(h);
	struct pollfd fds[2] = { { .fd = nbd_aio_get_fd(h) }, { .fd = kick_fd, .events = POLLIN } };
	eventfd_t count;

	fds[0].events = (dir & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
			(dir & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
	if (poll(fds, 2, ms) <= 0)
		return;
	if (fds[1].revents)
		eventfd_read(kick_fd, &count);
	if (!fds[0].revents)
		return;
	if (dir & LIBNBD_AIO_DIRECTION_READ && fds[0].revents & (POLLIN | POLLHUP | POLLERR))
		nbd_aio_notify_read(h);
	else
		nbd_aio_notify_write(h);
}

/* Until the handle is ready: false when it is dead, or out of time, or all is to stop. */
static bool wait_ready(struct nbd_handle *h, const _Atomic bool *stop, int kick_fd, uint64_t due)
{
	while (!nbd_aio_is_ready(h)) {
		if (nbd_aio_is_dead(h) || nbd_aio_is_closed(h) || atomic_load(stop) ||
			uz_nsec() >= due)
			return false;
		nbd_link_drive(h, kick_fd, poll_ms(due));
	}
	return true;
}

struct nbd_handle *nbd_link_open(
	const char *uri, const _Atomic bool *stop, int kick_fd, uint64_t due)
{
	struct nbd_handle *h = nbd_create();

	if (!h)
		return NULL;
	if (nbd_aio_connect_uri(h, uri) == 0 && wait_ready(h, stop, kick_fd, due))
		return h;
	nbd_close(h);
	return NULL;
}

static int copy_done(void *opaque, int *error)
{
	*(int *)opaque = *error ?: -1;
	return 1;
}

bool nbd_link_io(struct nbd_handle *h, const _Atomic bool *stop, enum backing_op op, void *buf,
	size_t len, uint64_t offset, uint64_t due, int *error)
{
	int result = 0;
	nbd_completion_callback done = { .callback = copy_done, .user_data = &result };
	int64_t ret = op == BACKING_READ ? nbd_aio_pread(h, buf, len, offset, done, 0)
					 : nbd_aio_pwrite(h, buf, len, offset, done, 0);

	*error = ENOTCONN;
	while (ret != -1 && !result) {
		if (nbd_aio_is_dead(h) || nbd_aio_is_closed(h) || uz_nsec() >= due ||
			atomic_load(stop))
			return false;
		nbd_link_drive(h, -1, (int)min_u64(poll_ms(due), 50));
	}
	if (result == -1)
		return true;
	*error = result ?: nbd_get_errno() ?: ENOTCONN;
	return false;
}
