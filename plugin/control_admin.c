/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that do something to a disk. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "control_priv.h"
#include "params.h"

#define REMOVE_TRIES 20 /* 10 ms apart */

/* json_pack's I. No counter gets near 2^63. */
#define N(x) ((json_int_t)(x))

json_t *ctl_named(const struct ctl_call *call)
{
	return json_pack("{s:s}", "name", disk_name(call->disk));
}

json_t *ctl_shutting_down(void)
{
	return ctl_error(ESHUTDOWN, "the server is shutting down");
}

json_t *ctl_run_compact(const struct ctl_call *call)
{
	uint64_t pages = disk_compact(call->disk, ctl_job_progress, (void *)call);

	if (atomic_load(call->stop))
		return ctl_shutting_down();
	return json_pack("{s:s, s:I}", "name", disk_name(call->disk), "pages_compacted", N(pages));
}

json_t *ctl_run_verify(const struct ctl_call *call)
{
	uint64_t pages, bad;
	json_t *answer;

	if (!disk_verify(call->disk, &pages, &bad, ctl_job_progress, (void *)call))
		return ctl_shutting_down();
	if (!bad)
		return json_pack("{s:s, s:I, s:I}", "name", disk_name(call->disk), "pages", N(pages),
			"bad", N(bad));
	answer = ctl_error(EIO, "%" PRIu64 " of %" PRIu64 " pages of disk \"%s\" do not decode",
		bad, pages, disk_name(call->disk));
	if (answer && (json_object_set_new(answer, "pages", json_integer(N(pages))) != 0 ||
			      json_object_set_new(answer, "bad", json_integer(N(bad))) != 0)) {
		json_decref(answer);
		return NULL;
	}
	return answer;
}

json_t *ctl_run_drop_stats(const struct ctl_call *call)
{
	disk_drop_stats(call->disk);
	return ctl_named(call);
}

static json_t *take_alone(struct ctl_call *call, const char *what)
{
	struct uz_error e;

	if (registry_alone(call->registry, call->disk, what, &e) != 0)
		return ctl_refusal(&e);
	call->alone = true;
	return NULL;
}

json_t *ctl_prepare_reset(struct ctl_call *call)
{
	return take_alone(call, "reset");
}

json_t *ctl_run_reset(const struct ctl_call *call)
{
	disk_reset(call->disk);
	return ctl_named(call);
}

/* With clients attached, a disk can only become larger, and only if forced. */
json_t *ctl_prepare_resize(struct ctl_call *call)
{
	unsigned clients = registry_clients(call->registry, call->disk);
	struct disk_config config = { 0 };
	struct uz_error e;

	if (call->nr_opts && strcmp(call->opts[0], "--force") != 0)
		return ctl_error(EINVAL, "unknown option \"%s\"; allowed: --force", call->opts[0]);
	if (params_disk_set(&config, "size", call->args[0], &e) != 0)
		return ctl_refusal(&e);
	call->size = (config.size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
	if (!clients)
		return take_alone(call, "resize");
	if (!call->nr_opts)
		return ctl_error(EBUSY,
			"resize: %u client%s attached to disk \"%s\"; --force makes it larger all "
			"the same",
			clients, clients == 1 ? " is" : "s are", disk_name(call->disk));
	if (call->size < disk_size(call->disk))
		return ctl_error(EBUSY,
			"resize: %u client%s attached to disk \"%s\": --force can make it larger, "
			"not smaller",
			clients, clients == 1 ? " is" : "s are", disk_name(call->disk));
	return NULL;
}

json_t *ctl_run_resize(const struct ctl_call *call)
{
	struct uz_error e;

	if (disk_resize(call->disk, call->size, &e) != 0)
		return ctl_refusal(&e);
	return json_pack("{s:s, s:I}", "name", disk_name(call->disk), "size",
		N(disk_size(call->disk)));
}

/* No path that came over the socket is opened: whoever sends it has opened it. */
static int take_backing(
	const struct ctl_call *call, struct disk_config *config, struct uz_error *e)
{
	if (config->backing && uz_is_nbd_uri(config->backing))
		return uz_fail(e, ENOTSUP, "add %s: backing=%s: an NBD server can only be given when "
			"this one starts; allowed is a file or a block device",
			config->name, config->backing);
	if (config->backing && !call->file)
		return uz_fail(e, ENOTSUP, "add %s: backing=%s: it has to come with the request, open, "
			"as uzramctl sends it; the server opens nothing that it is told over the socket",
			config->name, config->backing);
	config->backing_fd = config->backing ? call->file : 0;
	return params_disk_finish(config, e);
}

/* What the disk to be added is to be like; 0, or -1 with *e filled. */
static int new_config(const struct ctl_call *call, struct disk_config *config, struct uz_error *e)
{
	unsigned i;

	params_disk_init(config);
	if (call->control->fixed)
		return uz_fail(e, ENOTSUP,
			"add: a server with swap=yes takes all its memory at the start");
	if (registry_check_name(call->args[0], e) != 0)
		return -1;
	strcpy(config->name, call->args[0]);
	for (i = 1; i < call->nr_args; i++)
		if (ctl_set_pair(config, call->args[i], e) != 0)
			return -1;
	if (!config->size)
		return uz_fail(e, EINVAL, "add %s: size=SIZE is required", config->name);
	return take_backing(call, config, e);
}

json_t *ctl_run_add(const struct ctl_call *call)
{
	struct disk_config config;
	struct disk *disk;
	struct uz_error e;
	uint64_t size;

	if (new_config(call, &config, &e) != 0)
		return ctl_refusal(&e);
	disk = disk_create(&config, &e);
	if (!disk)
		return ctl_refusal(&e);
	size = disk_size(disk);
	if (disk_start(disk, &e) != 0 || registry_add(call->registry, disk, &e) != 0) {
		disk_destroy(disk);
		return ctl_refusal(&e);
	}
	return json_pack("{s:s, s:I}", "name", config.name, "size", N(size));
}

json_t *ctl_run_remove(const struct ctl_call *call)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	const char *name = call->args[0];
	struct uz_error e;
	int i;

	/* The loop holds each disk for a moment when it is asked for statistics. */
	for (i = 0; registry_remove(call->registry, name, &e) != 0; i++) {
		if (e.code != EBUSY || i == REMOVE_TRIES || atomic_load(call->stop))
			return ctl_refusal(&e);
		nanosleep(&pause, NULL);
	}
	return json_pack("{s:s}", "name", name);
}
