/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket's answers look like, and what a request may look like. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control_priv.h"

/* What the protocol calls an errno. */
static const char *errno_name(int code)
{
	static const struct {
		int code;
		const char *name;
	} names[] = {
		{ E2BIG, "E2BIG" },
		{ EACCES, "EACCES" },
		{ EAGAIN, "EAGAIN" },
		{ EBUSY, "EBUSY" },
		{ EEXIST, "EEXIST" },
		{ EINVAL, "EINVAL" },
		{ ENODEV, "ENODEV" },
		{ ENOENT, "ENOENT" },
		{ ENOMEM, "ENOMEM" },
		{ ENOSPC, "ENOSPC" },
		{ ENOTCONN, "ENOTCONN" },
		{ ENOTSUP, "ENOTSUP" },
		{ EPERM, "EPERM" },
		{ ERANGE, "ERANGE" },
		{ ESHUTDOWN, "ESHUTDOWN" },
		{ ETIMEDOUT, "ETIMEDOUT" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].code == code)
			return names[i].name;
	return "EIO";
}

json_t *ctl_error(int code, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0) {
		text = NULL;
		return NULL;
	}
	return json_pack("{s:b, s:s, s:s}", "ok", 0, "errno", errno_name(code), "error", text);
}

json_t *ctl_refusal(const struct uz_error *e)
{
	size_t len = strlen(e->text);

	/* It may have been cut, and that within a character. */
	while (len && !ctl_is_text(e->text, len))
		len--;
	return ctl_error(e->code, "%.*s", (int)len, e->text);
}

char *ctl_text(json_t *answer)
{
	CLEANUP_FREE char *text = NULL;
	json_t *whole;
	char *line;

	if (!answer)
		return strdup("{\"ok\":false,\"errno\":\"ENOMEM\",\"error\":\"no memory\"}\n");
	if (json_object_get(answer, "ok")) {
		whole = answer;
	} else {
		/* "ok" stands first: for those who read by eye. */
		whole = json_pack("{s:b}", "ok", 1);
		if (whole && json_object_update(whole, answer) != 0) {
			json_decref(whole);
			whole = NULL;
		}
		json_decref(answer);
	}
	text = whole ? json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
	json_decref(whole);
	if (!text || asprintf(&line, "%s\n", text) < 0)
		return NULL;
	return line;
}

bool ctl_has_control(const char *bytes, size_t len)
{
	unsigned char c;
	size_t i;

	for (i = 0; i < len; i++) {
		c = bytes[i];
		if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
			return true;
	}
	return false;
}

/* Valid UTF-8 too: every word may come back in a message. */
bool ctl_is_text(const char *bytes, size_t len)
{
	json_t *string;

	if (ctl_has_control(bytes, len) || memchr(bytes, '\r', len))
		return false;
	string = json_stringn(bytes, len);
	json_decref(string);
	return string != NULL;
}
