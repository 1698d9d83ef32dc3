/* SPDX-License-Identifier: BSD-3-Clause */
/* The superblock: whose store that is, and whether it may be taken. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <endian.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>

#include "log_priv.h"

#define MAGIC	      "uzramlog"
#define SUPER_VERSION 1

/* Little-endian. */
struct log_super {
	char magic[8];
	uint32_t version;
	uint32_t in_use;
	unsigned char uuid[16]; /* another one each time the store is begun */
	uint64_t size;
	uint32_t segment;
	uint32_t pid;  /* of whoever has it, or had it last, */
	char boot[40]; /* in this boot of its machine */
	uint32_t crc;  /* of what stands before */
};

static uint32_t super_crc(const struct log_super *s)
{
	return libdeflate_crc32(0, s, offsetof(struct log_super, crc));
}

static void boot_id(char id[40])
{
	FILE *fp = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(id, 0, 40);
	if (!fp)
		return;
	if (!fgets(id, 40, fp))
		id[0] = '\0';
	id[strcspn(id, "\n")] = '\0';
	fclose(fp);
}

static bool all_zero(const unsigned char *p, size_t len)
{
	return len == 0 || (!p[0] && !memcmp(p, p + 1, len - 1));
}

static int refuse(struct log *log, struct uz_error *e, int code, const char *what)
{
	return uz_fail(e, code, "backing=%s %s; backing-overwrite=yes would take it",
		log->info.name, what);
}

/* It is ours, and intact. May it be taken? */
static int check_ours(struct log *log, const struct log_super *s, struct uz_error *e)
{
	char what[256], boot[40];

	if (le64toh(s->size) != log->info.size) {
		snprintf(what, sizeof(what), "was made with %" PRIu64 " bytes and has %" PRIu64,
			le64toh(s->size), log->info.size);
		return refuse(log, e, EINVAL, what);
	}
	/* Of a file or device we have the lock, so whoever it was is gone. */
	if (!le32toh(s->in_use) || log->info.exclusive)
		return 0;
	boot_id(boot);
	snprintf(what, sizeof(what), "is in use, or was left so, by process %u of %s",
		le32toh(s->pid),
		!strncmp(boot, s->boot, sizeof(boot))
			? "this machine"
			: "another machine, or before this one was started anew");
	return refuse(log, e, EBUSY, what);
}

/* The last bytes, where some formats keep what tells them. */
static uint64_t tail_offset(struct log *log)
{
	uint64_t end = log->info.size & ~(uint64_t)(log->info.block - 1);

	return end - LOG_DATA;
}

static int check_content(struct log *log, struct uz_error *e)
{
	const struct log_super *s = log->block;
	int err = backing_pread(log->backing, log->block, LOG_DATA, 0);
	bool head_zero;

	if (err)
		return uz_fail(
			e, err, "backing=%s cannot be read: %s", log->info.name, strerror(err));
	if (!memcmp(s->magic, MAGIC, sizeof(s->magic))) {
		if (le32toh(s->version) != SUPER_VERSION)
			return refuse(log, e, EINVAL, "is another version's store");
		if (super_crc(s) != le32toh(s->crc))
			return refuse(log, e, EEXIST, "has a damaged superblock");
		return check_ours(log, s, e);
	}
	head_zero = all_zero(log->block, LOG_DATA);
	err = backing_pread(log->backing, log->block, LOG_DATA, tail_offset(log));
	if (err)
		return uz_fail(
			e, err, "backing=%s cannot be read: %s", log->info.name, strerror(err));
	if (!head_zero || !all_zero(log->block, LOG_DATA))
		return refuse(log, e, EEXIST, "holds something that is not ours");
	return 0;
}

/* What says that it is something else must go: nobody shall take our bytes for that. */
static int wipe(struct log *log, struct uz_error *e)
{
	int err;

	memset(log->block, 0, LOG_DATA);
	err = backing_pwrite(log->backing, log->block, LOG_DATA, 0)
		      ?: backing_pwrite(log->backing, log->block, LOG_DATA, tail_offset(log));
	return err ? uz_fail(e, err, "backing=%s cannot be written: %s", log->info.name,
			     strerror(err))
		   : 0;
}

int log_super_check(struct log *log, struct uz_error *e)
{
	if (log->info.created)
		return 0;
	return log->config.overwrite ? wipe(log, e) : check_content(log, e);
}

int log_super_write(struct log *log, bool in_use, struct uz_error *e)
{
	struct log_super *s = log->block;
	int err;

	memset(log->block, 0, PAGE_SIZE);
	memcpy(s->magic, MAGIC, sizeof(s->magic));
	s->version = htole32(SUPER_VERSION);
	s->in_use = htole32(in_use);
	memcpy(s->uuid, log->uuid, sizeof(s->uuid));
	s->size = htole64(log->info.size);
	s->segment = htole32(seg_size(log));
	s->pid = htole32(getpid());
	boot_id(s->boot);
	s->crc = htole32(super_crc(s));
	err = backing_pwrite(log->backing, log->block, PAGE_SIZE, 0);
	if (err)
		return uz_fail(
			e, err, "backing=%s cannot be written: %s", log->info.name, strerror(err));
	backing_expect(
		log->backing, offsetof(struct log_super, uuid), log->uuid, sizeof(log->uuid));
	return 0;
}
