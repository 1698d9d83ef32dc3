/* SPDX-License-Identifier: BSD-3-Clause */
#include "log-fixture.h"

static char folder[64];
static pid_t owner;

static void remove_folder(void)
{
	char command[128];

	if (getpid() != owner) /* a child's exit */
		return;
	snprintf(command, sizeof(command), "rm -rf --one-file-system %s", folder);
	if (system(command) != 0)
		fprintf(stderr, "%s stays\n", folder);
}

const char *test_path(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	if (!folder[0]) {
		/* On disk, not in memory; and short, for sockets. */
		snprintf(folder, sizeof(folder), "/var/tmp/uzram-test.XXXXXX");
		if (!mkdtemp(folder))
			DIE("mkdtemp: %s", strerror(errno));
		owner = getpid();
		atexit(remove_folder);
	}
	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

struct test_log test_log_open(
	const struct backing_config *bc, uint64_t fault, const struct log_config *lc)
{
	struct test_log t;
	struct uz_error e;

	t.backing = backing_open(bc, &e);
	if (!t.backing)
		DIE("backing_open: %s", e.text);
	if (fault)
		t.backing = backing_fault_wrap(t.backing, fault);
	t.log = log_open(t.backing, lc, &e);
	if (!t.log || backing_start(t.backing, &e) == -1 || log_start(t.log, &e) == -1)
		DIE("log: %s", e.text);
	return t;
}

void test_log_close(struct test_log *t)
{
	log_close(t->log);
	backing_close(t->backing);
}
