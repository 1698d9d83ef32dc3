/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An nbdkit plugin that does nothing at all: writes are dropped, and a read
 * answers with whatever the buffer holds. What remains is the cost of NBD and
 * of the client. nbdkit's own null plugin at least clears the buffer, as a
 * server must that leaks nothing. It must never serve anyone's data.
 */
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS

static int64_t size;

static int null_config(const char *key, const char *value)
{
	if (strcmp(key, "size") != 0) {
		nbdkit_error("unknown parameter: %s", key);
		return -1;
	}
	size = nbdkit_parse_size(value);
	return size < 0 ? -1 : 0;
}

static void *null_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t null_get_size(void *handle)
{
	(void)handle;
	return size;
}

static int null_can_multi_conn(void *handle)
{
	(void)handle;
	return 1;
}

static int null_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle, (void)buf, (void)count, (void)offset, (void)flags;
	return 0;
}

static int null_pwrite(
	void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	(void)handle, (void)buf, (void)count, (void)offset, (void)flags;
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "uzrambenchnull",
	.config = null_config,
	.magic_config_key = "size",
	.open = null_open,
	.get_size = null_get_size,
	.can_multi_conn = null_can_multi_conn,
	.pread = null_pread,
	.pwrite = null_pwrite,
};

NBDKIT_REGISTER_PLUGIN(plugin)
