/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports: where a thread sleeps in its io_uring and how others wake it. A message is a completion
 * that another ring posts (MSG_RING), or a count in an eventfd that the ring reads.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "accel_sim/accel_priv.h"

#define PORT_ENTRIES 16
#define PORT_CQES    256 /* wake-ups that nobody has looked at yet: a few for each peer */

enum { UD_MESSAGE = 1, UD_EVENTFD, UD_SENT };

static int ring_init(struct io_uring *ring, unsigned flags)
{
	struct io_uring_params params;
	int ret = -EINVAL;

	/* Older kernels refuse flags they do not know. */
	for (unsigned attempt = 0; attempt < 3 && ret == -EINVAL; attempt++) {
		memset(&params, 0, sizeof(params));
		params.flags = IORING_SETUP_CQSIZE;
		params.cq_entries = PORT_CQES;
		if (attempt < 2)
			params.flags |= IORING_SETUP_COOP_TASKRUN;
		if (attempt < 1)
			params.flags |= flags;
		ret = io_uring_queue_init_params(PORT_ENTRIES, ring, &params);
	}
	if (ret == 0 && !(params.features & IORING_FEAT_EXT_ARG)) {
		io_uring_queue_exit(ring); /* before Linux 5.11: no wait with a timeout */
		ret = -ENOSYS;
	}
	return ret;
}

int port_open(struct accel_device *dev, struct port *port, unsigned flags)
{
	int ret = ring_init(&port->ring, flags);

	if (ret < 0)
		return ret;
	port->efd = -1;
	port->armed = false;
	if (dev->profile.transport == ACCEL_EVENTFD) {
		/* Not O_NONBLOCK: io_uring would then fail the read instead of waiting. */
		port->efd = eventfd(0, EFD_CLOEXEC);
		if (port->efd == -1) {
			ret = -errno;
			io_uring_queue_exit(&port->ring);
			return ret;
		}
	}
	port->open = true;
	return 0;
}

void port_close(struct port *port)
{
	if (!port->open)
		return;
	io_uring_queue_exit(&port->ring);
	if (port->efd != -1)
		close(port->efd);
	port->open = false;
}

bool port_has_msg_ring(struct port *port)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&port->ring);
	bool has = probe && io_uring_opcode_supported(probe, IORING_OP_MSG_RING);

	io_uring_free_probe(probe);
	return has;
}

static struct io_uring_sqe *get_sqe(struct port *port)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&port->ring);

	if (!sqe) {
		io_uring_submit(&port->ring);
		sqe = io_uring_get_sqe(&port->ring);
	}
	return sqe;
}

static void send_message(struct port *from, struct port *to)
{
	struct io_uring_sqe *sqe = get_sqe(from);

	if (!sqe)
		return; /* then it is a lost wake-up, and the watchdog's */
	io_uring_prep_msg_ring(sqe, to->ring.ring_fd, 0, UD_MESSAGE, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = UD_SENT;
	io_uring_submit(&from->ring);
}

static bool dropped(struct accel_device *dev)
{
	uint32_t n = relaxed_load(&dev->drop_wakes);

	while (n)
		if (atomic_compare_exchange_weak(&dev->drop_wakes, &n, n - 1))
			return true;
	return false;
}

void accel_debug_drop_wakes(struct accel_device *dev, unsigned n)
{
	atomic_store(&dev->drop_wakes, n);
}

void port_notify(struct accel_device *dev, struct port *from, struct port *to)
{
	static const uint64_t one = 1;

	if (dropped(dev))
		return;
	if (to->efd != -1) {
		/* It cannot fail: nobody counts to 2^64. */
		if (write(to->efd, &one, sizeof(one)) == -1)
			return;
	} else if (from) {
		send_message(from, to);
	} else {
		pthread_mutex_lock(&dev->aux_lock);
		send_message(&dev->aux, to);
		port_poll(&dev->aux);
		pthread_mutex_unlock(&dev->aux_lock);
	}
}

enum wake port_poll(struct port *port)
{
	enum wake wake = WAKE_TIMEOUT;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&port->ring, head, cqe) {
		n++;
		if (cqe->user_data == UD_EVENTFD) {
			port->armed = false;
			/* Negative: its thread has ended, and cancelled the read. */
			if (cqe->res > 0)
				wake = WAKE_RUNG;
		} else if (cqe->user_data == UD_MESSAGE) {
			wake = WAKE_RUNG;
		}
	}
	io_uring_cq_advance(&port->ring, n);
	return wake;
}

enum wake port_sleep(struct port *port, uint64_t ns)
{
	struct __kernel_timespec ts = { .tv_sec = (int64_t)(ns / 1000000000),
		.tv_nsec = (int64_t)(ns % 1000000000) };
	struct io_uring_cqe *cqe;

	if (port->efd != -1 && !port->armed) {
		struct io_uring_sqe *sqe = get_sqe(port);

		if (sqe) {
			io_uring_prep_read(sqe, port->efd, &port->efd_buf,
				sizeof(port->efd_buf), 0);
			sqe->user_data = UD_EVENTFD;
			port->armed = true;
		}
	}
	/* A signal, an error: as a timeout. The caller looks around and comes back. */
	io_uring_submit_and_wait_timeout(&port->ring, &cqe, 1, &ts, NULL);
	return port_poll(port);
}
