/* SPDX-License-Identifier: BSD-3-Clause */
/* See nbd_api.h. */
#include <dlfcn.h>
#include <errno.h>

#define NBD_API_PLAIN
#include "nbd_api.h"

#define LIBRARY "libnbd.so.0"

struct nbd_api nbd_api;

static int load(struct uz_error *e)
{
	void *lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return uz_fail(e, ENOSYS, "NBD backings need libnbd: %s", dlerror());
/* As POSIX has it done: a cast would be undefined. */
#define LOAD(name)                                                                                 \
	*(void **)&nbd_api.name##_ = dlsym(lib, #name);                                            \
	if (!nbd_api.name##_)                                                                      \
		return uz_fail(e, ENOSYS, "NBD backings: %s lacks %s", LIBRARY, #name);
	NBD_API(LOAD)
	return 0;
}

int nbd_api_load(struct uz_error *e)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool loaded;

	LOCK_SCOPE(&lock);
	if (!loaded && load(e) == -1)
		return -1;
	loaded = true;
	return 0;
}
