/* SPDX-License-Identifier: BSD-3-Clause */
/* uzramctl add: the new disk's backing is opened here, with the user's rights, and passed on. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "uzramctl.h"

/* The value of the last such word; NULL: none. */
static const char *value_of(const struct ask *ask, const char *key)
{
	size_t len = strlen(key);
	const char *value = NULL;

	for (int i = 1; i < ask->nr_words; i++)
		if (strncmp(ask->words[i], key, len) == 0 && ask->words[i][len] == '=')
			value = ask->words[i] + len + 1;
	return value;
}

/* As the server would at its start. 0, or -1 after a complaint. */
static int open_backing(struct ask *ask, const char *path, bool may_create)
{
	int flags = O_RDWR | O_CLOEXEC;
	struct stat st;

	if (stat(path, &st) != 0) {
		if (errno != ENOENT || !may_create) {
			complain("backing=%s: %s%s", path, strerror(errno),
				errno == ENOENT ? "; backing-size= would make it" : "");
			return -1;
		}
		flags |= O_CREAT | O_EXCL;
	} else if (S_ISBLK(st.st_mode)) {
		flags |= O_EXCL; /* nobody may have it mounted or claimed */
	} else if (!S_ISREG(st.st_mode)) {
		complain("backing=%s: neither a regular file nor a block device", path);
		return -1;
	}
	ask->file = open(path, flags, 0600);
	if (ask->file < 0) {
		complain("backing=%s: %s", path,
			errno == EBUSY ? "in use: mounted, or held by another program"
				       : strerror(errno));
		return -1;
	}
	if (flags & O_CREAT)
		ask->made = path;
	return 0;
}

int prepare_add(struct ask *ask)
{
	const char *backing = value_of(ask, "backing");

	/* What is no path of a file is for the server to judge. */
	if (!backing || !*backing || uz_is_nbd_uri(backing))
		return 0;
	return open_backing(ask, backing, value_of(ask, "backing-size"));
}

void end_add(struct ask *ask, bool refused)
{
	if (refused && ask->made)
		unlink(ask->made);
}
