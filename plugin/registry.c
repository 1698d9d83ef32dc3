/* SPDX-License-Identifier: BSD-3-Clause */
/* See registry.h. */
#include <errno.h>
#include <string.h>

#include "registry.h"

struct entry {
	struct entry *next;
	struct disk *disk;
	unsigned clients, users;
	bool alone;	  /* no client may attach */
	const char *kept; /* what a slow command does with it, or NULL */
};

struct registry {
	pthread_mutex_t lock; /* guards all of this */
	struct entry *first;
};

/* Words that stand where a disk's name may: commands, modes and their options' values. */
static const char *const reserved[] = { "accel", "add", "all", "blocks", "compact", "drop-stats",
	"huge", "huge_idle", "idle", "incompressible", "list", "metrics", "plug", "recompress",
	"remove", "reset", "resize", "set", "stat", "train", "unplug", "verify", "watch",
	"writeback" };

struct registry *registry_create(void)
{
	struct registry *registry = calloc(1, sizeof(*registry));

	if (registry)
		pthread_mutex_init(&registry->lock, NULL);
	return registry;
}

static void entry_destroy(struct entry *entry)
{
	disk_destroy(entry->disk);
	free(entry);
}

void registry_destroy(struct registry *registry)
{
	if (!registry)
		return;
	while (registry->first) {
		struct entry *entry = registry->first;

		registry->first = entry->next;
		entry_destroy(entry);
	}
	pthread_mutex_destroy(&registry->lock);
	free(registry);
}

int registry_check_name(const char *name, struct uz_error *e)
{
	size_t len = strlen(name);

	if (len == 0 || len > DISK_NAME_MAX ||
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") < len)
		return uz_fail(e, EINVAL,
			"\"%s\" is no disk's name: allowed are 1 to %d letters, digits, . _ -", name,
			DISK_NAME_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (!strcmp(name, reserved[i]))
			return uz_fail(e, EINVAL, "\"%s\" is no disk's name: it is a word of uzramctl",
				name);
	return 0;
}

static struct entry *by_name(struct registry *registry, const char *name)
{
	struct entry *entry = registry->first;

	while (entry && strcmp(disk_name(entry->disk), name))
		entry = entry->next;
	return entry;
}

static struct entry *by_disk(struct registry *registry, const struct disk *disk)
{
	struct entry *entry = registry->first;

	while (entry && entry->disk != disk)
		entry = entry->next;
	return entry;
}

int registry_add(struct registry *registry, struct disk *disk, struct uz_error *e)
{
	struct entry *entry = calloc(1, sizeof(*entry)), **end;

	if (!entry)
		return uz_fail(e, ENOMEM, "no memory for disk \"%s\"", disk_name(disk));
	entry->disk = disk;
	LOCK_SCOPE(&registry->lock);
	if (by_name(registry, disk_name(disk))) {
		free(entry);
		return uz_fail(e, EEXIST, "there is a disk \"%s\" already", disk_name(disk));
	}
	for (end = &registry->first; *end; end = &(*end)->next)
		;
	*end = entry;
	return 0;
}

/* Why a disk cannot be had alone. `users`: those that may hold it. */
static int refuse_busy(const struct entry *entry, unsigned users, const char *what,
	struct uz_error *e)
{
	const char *name = disk_name(entry->disk);

	if (entry->clients)
		return uz_fail(e, EBUSY, "%s: %u client%s attached to disk \"%s\"", what,
			entry->clients, entry->clients == 1 ? " is" : "s are", name);
	if (entry->kept)
		return uz_fail(e, EBUSY, "%s: %s of disk \"%s\" is running", what, entry->kept, name);
	if (entry->alone || entry->users > users)
		return uz_fail(e, EBUSY, "%s: disk \"%s\" is in use by another command", what, name);
	return 0;
}

static struct entry *unlink_free(struct registry *registry, const char *name, struct uz_error *e)
{
	struct entry *entry, **link;

	LOCK_SCOPE(&registry->lock);
	entry = by_name(registry, name);
	if (!entry) {
		uz_fail(e, ENOENT, "no disk named \"%s\"", name);
		return NULL;
	}
	if (refuse_busy(entry, 0, "remove", e) == -1)
		return NULL;
	for (link = &registry->first; *link != entry; link = &(*link)->next)
		;
	*link = entry->next;
	return entry;
}

int registry_remove(struct registry *registry, const char *name, struct uz_error *e)
{
	struct entry *entry = unlink_free(registry, name, e);

	if (!entry)
		return -1;
	entry_destroy(entry); /* may take a while: nobody waits for it */
	return 0;
}

struct disk *registry_attach(struct registry *registry, const char *name, struct uz_error *e)
{
	struct entry *entry;

	LOCK_SCOPE(&registry->lock);
	entry = *name ? by_name(registry, name) : registry->first;
	if (!entry) {
		uz_fail(e, ENOENT, "no export named \"%s\"", name);
		return NULL;
	}
	if (entry->alone) {
		uz_fail(e, EBUSY, "disk \"%s\" is in use by a command", disk_name(entry->disk));
		return NULL;
	}
	entry->clients++;
	return entry->disk;
}

void registry_detach(struct registry *registry, struct disk *disk)
{
	LOCK_SCOPE(&registry->lock);
	by_disk(registry, disk)->clients--;
}

unsigned registry_clients(struct registry *registry, const struct disk *disk)
{
	struct entry *entry;

	LOCK_SCOPE(&registry->lock);
	entry = by_disk(registry, disk);
	return entry ? entry->clients : 0;
}

struct disk *registry_get(struct registry *registry, const char *name)
{
	struct entry *entry;

	LOCK_SCOPE(&registry->lock);
	entry = by_name(registry, name);
	if (!entry)
		return NULL;
	entry->users++;
	return entry->disk;
}

struct disk *registry_next(struct registry *registry, const struct disk *after)
{
	struct entry *entry;

	LOCK_SCOPE(&registry->lock);
	entry = after ? by_disk(registry, after)->next : registry->first;
	if (!entry)
		return NULL;
	entry->users++;
	return entry->disk;
}

void registry_put(struct registry *registry, struct disk *disk)
{
	LOCK_SCOPE(&registry->lock);
	by_disk(registry, disk)->users--;
}

size_t registry_count(struct registry *registry)
{
	size_t n = 0;

	LOCK_SCOPE(&registry->lock);
	for (struct entry *entry = registry->first; entry; entry = entry->next)
		n++;
	return n;
}

int registry_alone(struct registry *registry, struct disk *disk, const char *what,
	struct uz_error *e)
{
	struct entry *entry;

	LOCK_SCOPE(&registry->lock);
	entry = by_disk(registry, disk);
	if (refuse_busy(entry, 1, what, e) == -1)
		return -1;
	entry->alone = true;
	return 0;
}

void registry_share(struct registry *registry, struct disk *disk)
{
	LOCK_SCOPE(&registry->lock);
	by_disk(registry, disk)->alone = false;
}

int registry_keep(struct registry *registry, struct disk *disk, const char *what,
	struct uz_error *e)
{
	struct entry *entry;

	LOCK_SCOPE(&registry->lock);
	entry = by_disk(registry, disk);
	if (entry->kept)
		return uz_fail(e, EBUSY, "%s of disk \"%s\" is running", entry->kept,
			disk_name(disk));
	if (entry->alone)
		return uz_fail(e, EBUSY, "disk \"%s\" is in use by another command",
			disk_name(disk));
	entry->kept = what;
	return 0;
}

int registry_beside(struct registry *registry, struct disk *disk, struct uz_error *e)
{
	LOCK_SCOPE(&registry->lock);
	if (by_disk(registry, disk)->alone)
		return uz_fail(e, EBUSY, "disk \"%s\" is in use by another command",
			disk_name(disk));
	return 0;
}

void registry_release(struct registry *registry, struct disk *disk)
{
	LOCK_SCOPE(&registry->lock);
	by_disk(registry, disk)->kept = NULL;
}
