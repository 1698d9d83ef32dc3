/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket's loop: one thread, epoll, nothing that blocks. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "control_priv.h"

#define ACCEPTS_A_TURN 32
#define EVENTS_A_TURN  32
#define PAUSE_MS       200 /* without descriptors, before the next accept */

/* What epoll's events carry: one of these, or a connection's id. */
enum { ID_LISTEN, ID_WAKE, ID_CONN };

uint64_t ctl_now(void)
{
	return uz_nsec() / 1000000;
}

void ctl_wake(struct control *control)
{
	const uint64_t one = 1;

	/* It only fails when it is full, and then it wakes. */
	if (write(control->wake, &one, sizeof(one)) < 0)
		return;
}

static bool listen_on(struct control *control, bool on)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = ID_LISTEN };

	control->paused = on ? 0 : ctl_now();
	return epoll_ctl(control->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, control->file.fd,
		       &event) == 0;
}

/* A free place; for want of one, that of the client that has been silent longest. */
static struct ctl_conn **conn_place(struct control *control, bool reader)
{
	struct ctl_conn *conn, *oldest = NULL;
	size_t i, at = 0, last = reader ? CTL_READERS_MAX : CTL_CONNS_MAX;

	for (i = 0; i < last; i++) {
		conn = control->conns[i];
		if (!conn)
			return &control->conns[i];
		if (conn->out || conn->job || conn->in_len || (reader && !conn->reader))
			continue;
		if (!oldest || conn->since < oldest->since) {
			oldest = conn;
			at = i;
		}
	}
	if (!oldest || ctl_now() - oldest->since < control->stuck_ms)
		return NULL;
	ctl_conn_drop(control, oldest);
	return &control->conns[at];
}

static void conn_too_many(int fd, bool reader)
{
	CLEANUP_FREE char *text = ctl_text(
		ctl_error(EBUSY, "%d control connections are open",
			reader ? CTL_READERS_MAX : CTL_CONNS_MAX));

	/* A fresh socket has room for a line. */
	if (text && send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

/* Who is neither this process's user nor root is here by the socket's group. */
static bool only_reads(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return true;
	return peer.uid != 0 && peer.uid != geteuid();
}

static void conn_add(struct control *control, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	bool reader = only_reads(fd);
	struct ctl_conn **place = conn_place(control, reader);
	struct ctl_conn *conn;

	if (!place) {
		conn_too_many(fd, reader);
		close(fd);
		return;
	}
	conn = calloc(1, sizeof(*conn));
	if (!conn) {
		close(fd);
		return;
	}
	conn->fd = fd;
	conn->reader = reader;
	conn->id = event.data.u64 = control->next_id++;
	conn->since = ctl_now();
	conn->events = event.events;
	*place = conn;
	if (epoll_ctl(control->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		ctl_conn_drop(control, conn);
}

static void accept_some(struct control *control)
{
	int i, fd;

	for (i = 0; i < ACCEPTS_A_TURN; i++) {
		fd = accept4(control->file.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			conn_add(control, fd);
		} else if (errno != ECONNABORTED && errno != EINTR) {
			/* Without descriptors or memory it would be ready all the time. */
			if (errno != EAGAIN)
				listen_on(control, false);
			return;
		}
	}
}

/* Half-sent lines and unread answers have an end. True: come again soon. */
static bool end_stuck(struct control *control)
{
	const uint64_t now = ctl_now();
	struct ctl_conn *conn;
	bool again = false;
	size_t i;

	for (i = 0; i < CTL_CONNS_MAX; i++) {
		conn = control->conns[i];
		if (!conn || conn->job || (!conn->out && !conn->in_len))
			continue;
		if (now - conn->since < control->stuck_ms) {
			again = true;
			continue;
		}
		if (conn->out)
			conn->dead = true;
		else
			ctl_conn_refuse(control, conn,
				ctl_error(ETIMEDOUT, "no end of line for %u seconds",
					control->stuck_ms / 1000));
		ctl_conn_settle(control, conn);
	}
	return again;
}

static void wind_up(struct control *control)
{
	size_t i;

	/* Or the end of one job would let its asker's next line start another. */
	for (i = 0; i < CTL_CONNS_MAX; i++)
		if (control->conns[i])
			control->conns[i]->closing = true;
	for (i = 0; i < CTL_JOBS_MAX; i++)
		if (control->jobs[i])
			ctl_job_end(control, &control->jobs[i]);
	for (i = 0; i < CTL_CONNS_MAX; i++)
		if (control->conns[i])
			ctl_conn_drop(control, control->conns[i]);
}

static void *control_main(void *opaque)
{
	struct control *control = opaque;
	struct epoll_event events[EVENTS_A_TURN];
	int i, n, timeout = -1;

	while (!atomic_load(&control->stop)) {
		n = epoll_wait(control->epoll, events, EVENTS_A_TURN, timeout);
		if (control->paused && ctl_now() - control->paused >= PAUSE_MS)
			listen_on(control, true);
		for (i = 0; i < n; i++) {
			if (events[i].data.u64 == ID_LISTEN)
				accept_some(control);
			else if (events[i].data.u64 == ID_WAKE)
				ctl_jobs_reap(control);
			else
				ctl_conn_event(control, events[i].data.u64, events[i].events);
		}
		timeout = end_stuck(control) ? (int)control->stuck_ms / 8 + 1 : -1;
		if (control->paused)
			timeout = PAUSE_MS;
	}
	wind_up(control);
	return NULL;
}

struct control *control_bind(const char *path, const char *group, struct uz_error *e)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control) {
		uz_fail(e, ENOMEM, "control=%s: no memory", path);
		return NULL;
	}
	control->epoll = control->wake = -1;
	control->next_id = ID_CONN;
	control->stuck_ms = CTL_STUCK_MS;
	if (ctl_file_bind(&control->file, path, group, e) != 0) {
		free(control);
		return NULL;
	}
	return control;
}

void control_set_stuck_ms(struct control *control, unsigned ms)
{
	control->stuck_ms = ms;
}

void control_set_fixed(struct control *control)
{
	control->fixed = true;
}

int control_start(struct control *control, struct registry *registry, struct uz_error *e)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = ID_WAKE };
	int err;

	control->registry = registry;
	control->epoll = epoll_create1(EPOLL_CLOEXEC);
	control->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (control->epoll < 0 || control->wake < 0 ||
		epoll_ctl(control->epoll, EPOLL_CTL_ADD, control->wake, &event) != 0 ||
		!listen_on(control, true))
		return uz_fail(
			e, errno, "control=%s: epoll: %s", control->file.path, strerror(errno));
	err = ctl_thread_start(&control->thread, control_main, control);
	if (err)
		return uz_fail(
			e, err, "control=%s: no thread: %s", control->file.path, strerror(err));
	control->running = true;
	ctl_file_keep(&control->file);
	return 0;
}

void control_stop(struct control *control)
{
	if (!control)
		return;
	atomic_store(&control->stop, true);
	if (control->running) {
		ctl_wake(control);
		pthread_join(control->thread, NULL);
	}
	ctl_file_close(&control->file);
	if (control->epoll >= 0)
		close(control->epoll);
	if (control->wake >= 0)
		close(control->wake);
	free(control);
}
