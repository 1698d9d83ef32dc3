/* SPDX-License-Identifier: BSD-3-Clause */
/* uzramctl's connection to the server: requests, answers, progress. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "uzramctl.h"

#define BAR 40 /* columns */

void complain(const char *fmt, ...)
{
	va_list ap;

	fputs("uzramctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* A connected socket; -1 after a complaint. */
static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		complain("%s: a socket's path has %zu bytes at most", path,
			sizeof(addr.sun_path) - 1);
		return -1;
	}
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		complain("socket: %s", strerror(errno));
		return -1;
	}
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	if (errno == ENOENT || errno == ECONNREFUSED)
		complain("%s: no server there: %s", path, strerror(errno));
	else
		complain("%s: %s", path, strerror(errno));
	close(fd);
	return -1;
}

bool link_open(struct ask *ask)
{
	ask->out = connect_to(ask->path);
	if (ask->out < 0)
		return false;
	ask->in = fdopen(ask->out, "r");
	if (ask->in)
		return true;
	complain("%s: %s", ask->path, strerror(errno));
	close(ask->out);
	return false;
}

void link_close(struct ask *ask)
{
	fclose(ask->in);
}

/* The file, if there is one, goes with the first byte. */
static ssize_t send_part(struct ask *ask, char *text, size_t len, bool first)
{
	union {
		struct cmsghdr head;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { .head = { .cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { text, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (first && ask->file) {
		memcpy(CMSG_DATA(&control.head), &ask->file, sizeof(int));
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
	}
	return sendmsg(ask->out, &msg, MSG_NOSIGNAL);
}

void link_send(struct ask *ask, const char *line)
{
	size_t len = strlen(line) + 1, sent = 0;
	CLEANUP_FREE char *text = malloc(len + 1);
	ssize_t n;

	if (!text)
		return;
	snprintf(text, len + 1, "%s\n", line);
	for (; sent < len; sent += n) {
		n = send_part(ask, text + sent, len - sent, sent == 0);
		if (n < 0)
			return;
	}
}

void send_command(struct ask *ask, const char *options)
{
	CLEANUP_FREE char *line = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&line, &len);
	int i;

	if (!f)
		return;
	fputs(ask->command, f);
	for (i = 0; i < ask->nr_words; i++)
		fprintf(f, " %s", ask->words[i]);
	fputs(options, f);
	if (isatty(STDERR_FILENO))
		fputs(" --progress", f);
	if (fclose(f) == 0)
		link_send(ask, line);
}

/* `part` of 1; a negative one wipes it out. */
static void draw_bar(const struct ask *ask, double part)
{
	int full = (int)(part * BAR), i;

	if (part < 0) {
		fputs("\r\033[K", stderr);
		return;
	}
	fprintf(stderr, "\r%s [", ask->command);
	for (i = 0; i < BAR; i++)
		fputc(i < full ? '#' : '.', stderr);
	fprintf(stderr, "] %3d%%", (int)(part * 100));
	fflush(stderr);
}

json_t *link_answer(struct ask *ask)
{
	CLEANUP_FREE char *line = NULL;
	bool drawn = false;
	size_t size = 0;
	json_t *answer;
	double done, total;

	errno = 0;
	while (getline(&line, &size, ask->in) > 0) {
		answer = json_loads(line, 0, NULL);
		if (json_object_get(answer, "ok")) {
			if (drawn)
				draw_bar(ask, -1);
			return answer;
		}
		if (json_unpack(answer, "{s:F, s:F}", "done", &done, "total", &total) == 0 &&
			total > 0 && done >= 0 && done <= total && isatty(STDERR_FILENO)) {
			draw_bar(ask, done / total);
			drawn = true;
		}
		if (!json_is_object(answer)) {
			complain("%s: this is no uzram server: its answer is no JSON document",
				ask->path);
			json_decref(answer);
			return NULL;
		}
		json_decref(answer);
	}
	if (drawn)
		draw_bar(ask, -1);
	if (errno != EINTR)
		complain("%s: the server went away before it answered", ask->path);
	return NULL;
}

bool is_ok(json_t *answer)
{
	const char *text = "no reason given";

	if (json_is_true(json_object_get(answer, "ok")))
		return true;
	json_unpack(answer, "{s:s}", "error", &text);
	complain("%s", text);
	return false;
}
