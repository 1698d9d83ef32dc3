/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbdkit's entry points: the one file that knows nbdkit. It turns parameters into a disk, and
 * callbacks into calls of disk.h.
 */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "control.h"
#include "drain.h"
#include "offload.h"
#include "params.h"
#include "registry.h"
#include "swap.h"
#include "streams/zcomp.h"

/* An upper bound; uzram_thread_model() may choose less. */
#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct params params;
static struct registry *registry;
static struct control *control;
static struct swap *swap;

static int fail(const struct uz_error *e)
{
	nbdkit_error("%s", e->text);
	errno = e->code;
	return -1;
}

static void warn_hook(const char *line)
{
	nbdkit_error("warning: %s", line);
}

static void uzram_load(void)
{
	params_init(&params);
	uz_set_warn_hook(warn_hook);
	zcomp_set_warn_hook(warn_hook);
	accel_set_warn_hook(warn_hook);
}

/* Before anything waits for them: a backing may have vanished. */
static void stop_disks(void)
{
	struct disk *disk = registry ? registry_next(registry, NULL) : NULL, *next;

	for (; disk; disk = next) {
		disk_stop(disk);
		next = registry_next(registry, disk);
		registry_put(registry, disk);
	}
}

/*
 * Also after a failed start, as nbdkit then exits without .unload: a store on an NBD server would
 * stay marked as in use.
 */
static void stop_all(void)
{
	stop_disks();
	control_stop(control);
	control = NULL;
	offload_stop();
	zcomp_accel_stop();
	drain_stop();
	swap_stop(swap);
	swap = NULL;
	registry_destroy(registry);
	registry = NULL;
}

static void uzram_unload(void)
{
	stop_all();
	params_free(&params);
}

static void uzram_dump_plugin(void)
{
	printf("uzram_algorithms=%s\n", zcomp_available());
	printf("uzram_control=yes\n");
	printf("uzram_backing=yes\n");
}

static int uzram_config(const char *key, const char *value)
{
	struct uz_error e;

	return params_set(&params, key, value, &e) == -1 ? fail(&e) : 0;
}

static int uzram_config_complete(void)
{
	struct uz_error e;

	return params_finish(&params, &e) == -1 ? fail(&e) : 0;
}

/*
 * nbdkit before 1.34 aborts when a client hangs up while requests of its connection run in
 * parallel. One request at a time per connection is safe there, and with a connection per core
 * as fast. nbdkit tells no version; nbdkit_disconnect() came with 1.34.
 */
static int uzram_thread_model(void)
{
	return dlsym(RTLD_DEFAULT, "nbdkit_disconnect") ? NBDKIT_THREAD_MODEL_PARALLEL :
							  NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
}

static int add_disk(const struct disk_config *config)
{
	struct uz_error e;
	struct disk *disk = disk_create(config, &e);

	if (!disk)
		return fail(&e);
	if (registry_add(registry, disk, &e) == -1) {
		disk_destroy(disk);
		return fail(&e);
	}
	return 0;
}

static int make_disks(void)
{
	struct uz_error e;

	for (size_t i = 0; i < params.nr_disks; i++)
		if (add_disk(&params.disks[i]) == -1)
			return -1;
	if (params.control) {
		control = control_bind(params.control, params.control_group, &e);
		if (!control)
			return fail(&e);
	}
	return 0;
}

/* The last place whose errors the user sees, and the original directory. */
static int uzram_get_ready(void)
{
	zcomp_accel_configure(params.has_accel ? &params.accel : NULL);
	registry = registry_create();
	if (!registry) {
		nbdkit_error("no memory");
		return -1;
	}
	if (make_disks() == 0)
		return 0;
	stop_all();
	return -1;
}

/* Whatever is wrong with it, the disks work without. */
static void start_accel(void)
{
	struct uz_error e;

	if (zcomp_accel_start(e.text, sizeof(e.text)) == -1 || offload_start(&e) == -1)
		uz_warn("%s: managed streams are off, software compresses everything", e.text);
}

static int start_disks(void)
{
	struct disk *disk = registry_next(registry, NULL), *next;
	struct uz_error e;
	int ret = 0;

	for (; disk; disk = next) {
		if (ret == 0 && disk_start(disk, &e) == -1)
			ret = fail(&e);
		next = registry_next(registry, disk);
		registry_put(registry, disk);
	}
	return ret;
}

/* An NBD URI of a server that shares our memory. */
static bool is_local_server(const char *uri)
{
	static const char *const hosts[] = { "localhost", "127.", "[::1]" };
	const char *host = strstr(uri, "://"), *user;

	if (!host || strncmp(uri, "nbd", 3) != 0)
		return false;
	if (strstr(uri, "+unix://"))
		return true;
	host += 3;
	user = strchr(host, '@');
	if (user && user < host + strcspn(host, "/"))
		host = user + 1;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (strncmp(host, hosts[i], strlen(hosts[i])) == 0)
			return true;
	return false;
}

/* Where pages go when memory is scarce must not need memory to take them. */
static void warn_of_local_server(void)
{
	for (size_t i = 0; i < params.nr_disks; i++)
		if (params.disks[i].backing && is_local_server(params.disks[i].backing)) {
			uz_warn("swap=yes: backing=%s is a server on this machine: it may wait for "
				"the memory that it is to make free (use a file or a device)",
				params.disks[i].backing);
			return;
		}
}

static int start_all(void)
{
	struct uz_error e;

	if (params.swap) {
		warn_of_local_server();
		swap = swap_start(registry, &e);
		if (!swap)
			return fail(&e);
	}
	/* A disk that came later would be neither locked nor faulted in. */
	if (control && params.swap)
		control_set_fixed(control);
	if (drain_start(params.workers, params.swap, &e) == -1)
		return fail(&e);
	start_accel();
	if (start_disks() == -1)
		return -1;
	if (control && control_start(control, registry, &e) == -1)
		return fail(&e);
	return 0;
}

/* Threads and locked memory do not survive nbdkit's forks, so they begin here. */
static int uzram_after_fork(void)
{
	if (start_all() == 0)
		return 0;
	stop_all();
	return -1;
}

/* Of the disk of a process without disk=, the export is ""; those that are added have names. */
static const char *export_name(const struct disk *disk)
{
	return disk_is_unnamed(disk) ? "" : disk_name(disk);
}

static const char *describe(const struct disk *disk)
{
	return nbdkit_printf_intern("compressed RAM disk \"%s\"", disk_name(disk));
}

static int uzram_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	struct disk *disk = registry_next(registry, NULL), *next;
	int ret = 0;

	for (; disk; disk = next) {
		if (ret == 0)
			ret = nbdkit_add_export(exports, export_name(disk), describe(disk));
		next = registry_next(registry, disk);
		registry_put(registry, disk);
	}
	return ret;
}

/* Who asks for no name gets the first disk. */
static const char *uzram_default_export(int readonly, int is_tls)
{
	struct disk *disk = registry_next(registry, NULL);
	const char *name = "";

	if (disk) {
		name = nbdkit_strdup_intern(export_name(disk));
		registry_put(registry, disk);
	}
	return name;
}

static void *uzram_open(int readonly)
{
	struct uz_error e;
	struct disk *disk = registry_attach(registry, nbdkit_export_name(), &e);

	if (!disk) {
		fail(&e);
		return NULL;
	}
	if (params.swap)
		swap_warm_thread();
	return disk;
}

static void uzram_close(void *handle)
{
	registry_detach(registry, handle);
}

static const char *uzram_export_description(void *handle)
{
	return describe(handle);
}

static int64_t uzram_get_size(void *handle)
{
	return (int64_t)disk_size(handle);
}

/* Any request is legal; whole pages are best. */
static int uzram_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	*minimum = 1;
	*preferred = PAGE_SIZE;
	*maximum = 32 << 20;
	return 0;
}

/* All connections see the same pages, at once. */
static int uzram_can_multi_conn(void *handle)
{
	return 1;
}

/* Acknowledged is as durable as it gets here. */
static int uzram_can_fua(void *handle)
{
	return NBDKIT_FUA_NATIVE;
}

static int uzram_can_fast_zero(void *handle)
{
	return 1;
}

static int uzram_can_cache(void *handle)
{
	return NBDKIT_CACHE_NATIVE; /* everything is in memory: nothing to do */
}

static int uzram_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	return disk_read(handle, buf, count, offset);
}

static int uzram_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
	uint32_t flags)
{
	return disk_write(handle, buf, count, offset, flags & NBDKIT_FLAG_FUA);
}

static int uzram_flush(void *handle, uint32_t flags)
{
	return disk_flush(handle);
}

static int uzram_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	return disk_trim(handle, count, offset);
}

/*
 * Always the work itself: nbdkit 1.32's fallback for ENOTSUP zeroes the first 64 MiB only. A
 * trimmed page reads as zeroes, and freeing is the fastest way.
 */
static int uzram_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	return disk_trim(handle, count, offset);
}

static int add_extent(void *opaque, uint64_t offset, uint64_t length, bool hole)
{
	return nbdkit_add_extent(opaque, offset, length,
		hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0);
}

/* Clipped to the request: nbdkit 1.32 aborts on more (CVE-2025-47712). */
static int uzram_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
	struct nbdkit_extents *extents)
{
	return disk_extents(handle, count, offset, flags & NBDKIT_FLAG_REQ_ONE, add_extent, extents);
}

static struct nbdkit_plugin plugin = {
	.name = "uzram",
	.version = PACKAGE_VERSION,
	.longname = "compressed RAM disk",
	.description = "A compressed RAM disk: zram in user space.",
	.load = uzram_load,
	.unload = uzram_unload,
	.dump_plugin = uzram_dump_plugin,
	.config = uzram_config,
	.config_complete = uzram_config_complete,
	.config_help = params_help,
	.magic_config_key = "size",
	.thread_model = uzram_thread_model,
	.get_ready = uzram_get_ready,
	.after_fork = uzram_after_fork,
	.list_exports = uzram_list_exports,
	.default_export = uzram_default_export,
	.open = uzram_open,
	.close = uzram_close,
	.export_description = uzram_export_description,
	.get_size = uzram_get_size,
	.block_size = uzram_block_size,
	.can_multi_conn = uzram_can_multi_conn,
	.can_fua = uzram_can_fua,
	.can_fast_zero = uzram_can_fast_zero,
	.can_cache = uzram_can_cache,
	.pread = uzram_pread,
	.pwrite = uzram_pwrite,
	.flush = uzram_flush,
	.trim = uzram_trim,
	.zero = uzram_zero,
	.extents = uzram_extents,
	.errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN(plugin)
