/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection of the control socket. It does one thing at a time: it collects
 * a line, or waits for a slow command, or has an answer to get rid of. While it
 * does not collect, nothing is read from it, so what a client can make us hold is
 * one line and one answer.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "control_priv.h"

#define NOT_TEXT "a request is one line of text, this is not text"

struct ctl_conn *ctl_conn_find(struct control *control, uint64_t id)
{
	size_t i;

	for (i = 0; i < CTL_CONNS_MAX; i++)
		if (control->conns[i] && control->conns[i]->id == id)
			return control->conns[i];
	return NULL;
}

static void drop_file(struct ctl_conn *conn)
{
	if (conn->file)
		close(conn->file);
	conn->file = 0;
}

void ctl_conn_drop(struct control *control, struct ctl_conn *conn)
{
	size_t i;

	for (i = 0; control->conns[i] != conn; i++)
		;
	control->conns[i] = NULL;
	control->pending -= conn->out_len - conn->out_pos;
	drop_file(conn);
	close(conn->fd);
	free(conn->out);
	free(conn);
}

static void conn_flush(struct control *control, struct ctl_conn *conn)
{
	ssize_t n;

	while (conn->out_pos < conn->out_len) {
		n = send(conn->fd, conn->out + conn->out_pos, conn->out_len - conn->out_pos,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			conn->dead |= errno != EAGAIN;
			return;
		}
		conn->out_pos += n;
		control->pending -= n;
		conn->since = ctl_now();
	}
	free(conn->out);
	conn->out = NULL;
	conn->out_len = conn->out_pos = 0;
}

void ctl_conn_answer(struct control *control, struct ctl_conn *conn, json_t *answer)
{
	CLEANUP_FREE char *text = ctl_text(answer);
	size_t len = text ? strlen(text) : 0;
	char *out = text ? realloc(conn->out, conn->out_len + len) : NULL;

	if (!out) {
		conn->dead = true;
		return;
	}
	/* A line of progress may be half sent. */
	memcpy(out + conn->out_len, text, len);
	conn->out = out;
	conn->out_len += len;
	control->pending += len;
	conn->since = ctl_now();
	conn_flush(control, conn);
	if (control->pending > CTL_PENDING_MAX)
		conn->dead = true;
}

void ctl_conn_tell(struct control *control, struct ctl_conn *conn, const char *line)
{
	if (conn->out)
		return;
	conn->out = strdup(line);
	if (!conn->out)
		return;
	conn->out_len = strlen(line);
	control->pending += conn->out_len;
	conn->since = ctl_now();
	conn_flush(control, conn);
}

void ctl_conn_refuse(struct control *control, struct ctl_conn *conn, json_t *answer)
{
	conn->closing = true;
	ctl_conn_answer(control, conn, answer);
}

static json_t *not_allowed(const struct ctl_command *command)
{
	CLEANUP_FREE char *names = ctl_command_names(true);

	return ctl_error(EPERM, "\"%s\" is for the server's user and root; others may use: %s",
		command->name, names ?: "");
}

/*
 * Lines that were sent before the file may be read together with it, so not the next
 * line has it, but the next one that takes one.
 */
static bool takes_file(const struct ctl_request *request)
{
	const struct ctl_call *call = &request->call;

	for (unsigned i = 0; request->command->file && i < call->nr_args; i++)
		if (strncmp(call->args[i], request->command->file,
			    strlen(request->command->file)) == 0)
			return true;
	return false;
}

static void conn_request(struct control *control, struct ctl_conn *conn, size_t len)
{
	struct ctl_request *request;
	json_t *answer;

	if (len && conn->in[len - 1] == '\r')
		len--;
	if (!ctl_is_text(conn->in, len)) {
		ctl_conn_refuse(control, conn, ctl_error(EINVAL, NOT_TEXT));
		return;
	}
	request = ctl_parse(control, conn->in, len, &answer);
	if (request && takes_file(request)) {
		request->call.file = conn->file;
		conn->file = 0;
	}
	if (request && conn->reader && !request->command->reader) {
		answer = not_allowed(request->command);
	} else if (request && request->command->job) {
		ctl_job_start(control, conn, request);
		return;
	} else if (request) {
		answer = request->command->run(&request->call);
	}
	if (request)
		ctl_request_free(request);
	ctl_conn_answer(control, conn, answer);
}

/* A line that has not ended. */
static void conn_partial(struct control *control, struct ctl_conn *conn)
{
	if (ctl_has_control(conn->in, conn->in_len))
		ctl_conn_refuse(control, conn, ctl_error(EINVAL, NOT_TEXT));
	else if (conn->in_len > CTL_LINE_MAX)
		ctl_conn_refuse(control, conn,
			ctl_error(E2BIG, "a request has %d bytes at most", CTL_LINE_MAX));
	else if (conn->in_len && conn->eof)
		ctl_conn_refuse(control, conn,
			ctl_error(EINVAL, "the request ends without an end of line"));
}

void ctl_conn_run(struct control *control, struct ctl_conn *conn)
{
	size_t len;
	char *end;

	while (!conn->out && !conn->job && !conn->closing && !conn->dead &&
		!atomic_load(&control->stop)) {
		end = memchr(conn->in, '\n', conn->in_len);
		if (!end) {
			conn_partial(control, conn);
			return;
		}
		len = end - conn->in;
		conn_request(control, conn, len);
		conn->in_len -= len + 1;
		memmove(conn->in, end + 1, conn->in_len);
		if (!conn->in_len)
			drop_file(conn); /* all it came with has been read */
	}
}

/* A request may have one open file with it; what else comes is closed. */
static void take_files(struct ctl_conn *conn, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			drop_file(conn);
			conn->file = fd;
			if (fd)
				continue;
			/* Not 0, which is none. */
			conn->file = fcntl(fd, F_DUPFD_CLOEXEC, 3);
			if (conn->file < 0)
				conn->file = 0;
			close(fd);
		}
	}
}

/*
 * From who may only look no file is taken, not even to be closed: that waits for as long as the
 * file's owner likes, if it is one of a file system in user space.
 */
static ssize_t receive(struct ctl_conn *conn)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} files;
	struct iovec iov = { conn->in + conn->in_len, sizeof(conn->in) - conn->in_len };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = conn->reader ? NULL : files.buf,
		.msg_controllen = conn->reader ? 0 : sizeof(files.buf) };
	ssize_t n = recvmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n >= 0)
		take_files(conn, &msg);
	return n;
}

static void conn_read(struct control *control, struct ctl_conn *conn)
{
	ssize_t n = receive(conn);

	if (n < 0) {
		conn->dead |= errno != EAGAIN && errno != EINTR;
		return;
	}
	if (n == 0)
		conn->eof = true;
	else if (!conn->in_len)
		conn->since = ctl_now();
	conn->in_len += n;
	ctl_conn_run(control, conn);
}

void ctl_conn_settle(struct control *control, struct ctl_conn *conn)
{
	struct epoll_event event = { .data.u64 = conn->id };

	if (conn->dead || (!conn->out && !conn->job && (conn->closing || conn->eof))) {
		ctl_conn_drop(control, conn);
		return;
	}
	if (conn->out)
		event.events = EPOLLOUT;
	else if (!conn->job)
		event.events = EPOLLIN;
	if (event.events == conn->events)
		return;
	conn->events = event.events;
	if (epoll_ctl(control->epoll, EPOLL_CTL_MOD, conn->fd, &event) != 0)
		ctl_conn_drop(control, conn);
}

void ctl_conn_event(struct control *control, uint64_t id, uint32_t events)
{
	struct ctl_conn *conn = ctl_conn_find(control, id);

	if (!conn)
		return;
	if (events & EPOLLIN)
		conn_read(control, conn);
	else if (events & (EPOLLHUP | EPOLLERR))
		conn->dead = true;
	if ((events & EPOLLOUT) && conn->out && !conn->dead) {
		conn_flush(control, conn);
		ctl_conn_run(control, conn);
	}
	ctl_conn_settle(control, conn);
}
