/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zcomp: compression of pages through streams, in the shape of kernel zram's
 * zcomp and of the "backends manage their own streams" series.
 *
 * A *backend* (struct zcomp_ops) wraps one library. A *zcomp* is one backend with
 * one set of parameters (a disk has one per algorithm). A *stream*
 * (struct zcomp_strm) is what one compression needs: buffers and a context. The
 * per-CPU streams' buffers are shared by every zcomp in the process; contexts
 * belong to their zcomp.
 *
 *	struct zcomp *comp = zcomp_create(zcomp_find("lz4"), &params, err, sizeof(err));
 *	struct zcomp_strm *zstrm = zcomp_stream_get(comp, ZSTRM_DEFAULT);
 *	if (zcomp_compress(comp, zstrm, page, &len) == 0 && len < raw_from)
 *		memcpy(object, zstrm->buffer, len);
 *	zcomp_stream_put(zstrm);
 *	...
 *	zcomp_destroy(comp);
 *
 * A per-CPU stream is synchronous: it is locked by zcomp_stream_get() and its
 * holder must not sleep. It is taken before any slot lock of the disk, never
 * inside one. Streams that a backend manages itself come with get_stream and
 * put_stream; a backend that sets zstrm_mgmt in setup_params without them gets
 * the flag cleared, with one warning.
 *
 * Every function here may be called from any thread at any time, with two
 * exceptions: a stream belongs to one thread from get to put, and
 * zcomp_destroy() comes after the last put of that zcomp.
 */
#ifndef ZCOMP_H
#define ZCOMP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZCOMP_PAGE_SIZE	  4096 /* bytes of every source */
#define ZCOMP_BUFFER_SIZE (2 * ZCOMP_PAGE_SIZE) /* output never overflows it */
#define ZCOMP_NAME_MAX	  16 /* with the final NUL */
#define ZCOMP_LEVEL_UNSET (-2147483647 - 1)

struct zcomp;

/* What a zcomp is created with. Copied; `dict` must outlive the zcomp. */
struct zcomp_params {
	int level;	  /* ZCOMP_LEVEL_UNSET: the backend's default */
	const void *dict; /* NULL: none */
	size_t dict_sz;
	bool zstrm_mgmt;  /* set by setup_params: the backend manages streams */
	void *drv_data;	  /* the backend's, made by setup_params */
	struct managed *managed; /* streams/managed.c's */
};

/* One stream's state in the backend's library (workspace, compressor). */
struct zcomp_ctx {
	void *context;
};

/* One page's work. dst_len: room on entry, bytes made on return. */
struct zcomp_req {
	const void *src;
	size_t src_len;
	void *dst;
	size_t dst_len;
};

struct zcomp_strm {
	void *buffer;	  /* ZCOMP_BUFFER_SIZE bytes: the output; NULL if decompress_only */
	void *local_copy; /* ZCOMP_PAGE_SIZE bytes: the holder's scratch page; the same */
	struct zcomp_ctx *ctx; /* of the zcomp the stream was got for */
	struct zcomp *comp;
	bool zcomp_managed;   /* came from get_stream */
	bool decompress_only; /* from ZSTRM_DECOMPRESS */
	pthread_mutex_t lock; /* per-CPU streams alone */
	/* Managed streams alone: */
	unsigned nr;	/* of its queue's streams, from 0 */
	size_t dst_len; /* after zcomp_reap(): bytes made at buffer, and ... */
	int result;	/* 0; -ENOSPC: does not get smaller; else the device's fault: see zcomp_reap() */
};

/*
 * A backend. Functions return 0 or a negative errno. compress and decompress
 * run in many threads at once; with one ctx, one that compresses and one that
 * decompresses.
 */
struct zcomp_ops {
	const char *name;
	const char *description; /* one line for help texts */
	int level_min, level_max, level_default; /* all equal: takes no level */
	bool decompress_needs_ctx; /* else decompress is called with ctx NULL */

	/* Once per zcomp: check params, make drv_data. May be NULL. */
	int (*setup_params)(struct zcomp_params *params);
	void (*release_params)(struct zcomp_params *params);

	/* All memory is taken, and touched, here: none when compressing. Both
	 * NULL: the backend needs no context. */
	int (*create_ctx)(struct zcomp_params *params, struct zcomp_ctx *ctx);
	void (*destroy_ctx)(struct zcomp_ctx *ctx);

	/* dst_len has room for ZCOMP_BUFFER_SIZE when compressing. */
	int (*compress)(struct zcomp_params *params, struct zcomp_ctx *ctx, struct zcomp_req *req);

	/* dst_len is exactly what the source was; any other result, and any
	 * damaged input, is -EINVAL, never a read or write outside. */
	int (*decompress)(struct zcomp_params *params, struct zcomp_ctx *ctx,
			  struct zcomp_req *req);

	/* Managed streams; NULL in software backends. get_stream returns NULL
	 * when none is free. */
	struct zcomp_strm *(*get_stream)(struct zcomp_params *params);
	void (*put_stream)(struct zcomp_params *params, struct zcomp_strm *zstrm);
};

/* What a caller asks for: its own CPU's, or the backend's when it has one free; or one that can
 * only decompress, which compressions never keep from readers. */
enum zstrm_pref { ZSTRM_DEFAULT, ZSTRM_PREFER_MGMT, ZSTRM_DECOMPRESS };

/* "lz4, lz4hc, zstd, deflate, none": for messages. */
const char *zcomp_available(void);

/* NULL: no backend has that name. */
const struct zcomp_ops *zcomp_find(const char *name);

/*
 * Splits and checks "NAME" or "NAME:LEVEL". 0; or -1, with one line in `err` that
 * names what was given and what is allowed. *level is ZCOMP_LEVEL_UNSET when the
 * spec has none.
 */
int zcomp_parse(const char *spec, const struct zcomp_ops **ops, int *level, char *err,
		size_t errlen);

/* As zcomp_parse() has checked them. NULL with one line in `err`. */
struct zcomp *zcomp_create(const struct zcomp_ops *ops, const struct zcomp_params *params,
			   char *err, size_t errlen);
void zcomp_destroy(struct zcomp *comp);

const struct zcomp_ops *zcomp_backend(const struct zcomp *comp);
int zcomp_level(const struct zcomp *comp);

/* Where warnings go, one line without newline each. NULL, at first: stderr. */
void zcomp_set_warn_hook(void (*hook)(const char *line));

/*
 * A stream, never NULL. Release it soon, and before taking another one.
 * ZSTRM_DEFAULT and ZSTRM_DECOMPRESS give the calling CPU's; while that one is taken,
 * another CPU's; while all are, it waits for the holder of its own.
 */
struct zcomp_strm *zcomp_stream_get(struct zcomp *comp, enum zstrm_pref pref);
void zcomp_stream_put(struct zcomp_strm *zstrm);

/* For a per-CPU stream already held: its context in another zcomp. */
void zcomp_stream_switch(struct zcomp_strm *zstrm, struct zcomp *comp);

/*
 * Compresses the page at `src` into zstrm->buffer; its length in *dst_len, which
 * may exceed a page. 0 or a negative errno.
 */
int zcomp_compress(struct zcomp *comp, struct zcomp_strm *zstrm, const void *src, size_t *dst_len);

/* One page of a batch. */
struct zcomp_page {
	const void *src; /* ZCOMP_PAGE_SIZE bytes */
	void *dst;	 /* ZCOMP_BUFFER_SIZE bytes of room */
	size_t dst_len;	 /* bytes made */
	int result;	 /* 0 or a negative errno, of this page alone */
};

/* Compresses n pages, one result each. Software does them one after another. */
void zcomp_compress_batch(struct zcomp *comp, struct zcomp_strm *zstrm, struct zcomp_page *pages,
			  unsigned n);

/*
 * Restores a page, with a stream of either kind; NULL is one, too, unless
 * zcomp_decompress_needs_stream().
 * 0, or -EINVAL when the bytes are not a whole page's.
 */
bool zcomp_decompress_needs_stream(const struct zcomp *comp);
int zcomp_decompress(struct zcomp *comp, struct zcomp_strm *zstrm, const void *src, size_t src_len,
		     void *dst);

/* How many per-CPU streams the process has (its CPUs). */
unsigned zcomp_nr_streams(void);

/*
 * --- managed streams: the accelerator ---
 *
 * The process has one accelerator (accel_sim/accel.h) at most. A zcomp whose codec it has
 * advertises managed streams from its creation on; they can be had while the device is there and
 * works, by threads that own a queue of it:
 *
 *	zcomp_accel_configure(&profile);	// before zcomps are created
 *	zcomp_accel_start(err, sizeof(err));	// after the last fork
 *
 *	struct zcomp_queue *q = zcomp_queue_get();	// a thread of its own
 *	zstrm = zcomp_stream_get(comp, ZSTRM_PREFER_MGMT); // per-CPU: none is free
 *	memcpy(zstrm->local_copy, page, ZCOMP_PAGE_SIZE);
 *	n = zcomp_submit(q, &zstrm, 1);		// never sleeps
 *	n = zcomp_reap(q, done, 64);		// never sleeps
 *	zcomp_stream_put(done[0]);
 *
 * Compression alone: decompression is the reader's, on its per-CPU stream.
 */
struct accel_profile;
struct accel_device;
struct zcomp_queue;

/* Copied. NULL: none. Before any zcomp. */
void zcomp_accel_configure(const struct accel_profile *profile);

/* 0, also when none is configured; or -1 with one line in `err`: then all is done in software. */
int zcomp_accel_start(char *err, size_t errlen);
/* Queues may still be held: their operations end, and no more are accepted. */
void zcomp_accel_stop(void);

/* Its device, for statistics and verbs: accel_close() it. NULL: there is none. */
struct accel_device *zcomp_accel_ref(void);

/* How many queues it is configured to have, and how many streams each. */
unsigned zcomp_accel_queues(unsigned *depth);

/* Does it take work? Not while it is unplugged, or has failed. The hook is told of each change, from
 * any thread; it must not call zcomp or accel functions. */
bool zcomp_accel_on(void);
void zcomp_accel_set_hook(void (*hook)(bool on));

/* Was managed streams' flag set for this zcomp? */
bool zcomp_is_managed(const struct zcomp *comp);

/*
 * A queue for the calling thread, which alone may use it and get its streams; one a thread. NULL:
 * no device, no free queue pair, or no memory. zcomp_queue_put() aborts what is in flight.
 */
struct zcomp_queue *zcomp_queue_get(void);
void zcomp_queue_put(struct zcomp_queue *q);
unsigned zcomp_queue_free(const struct zcomp_queue *q); /* streams not in use */

/*
 * Has each stream's local_copy compressed into its buffer. Accepts the first ones, as many as there
 * is room for: returns how many. What is accepted belongs to the device until zcomp_reap() returns
 * it; the others are still the caller's, to be put, or compressed in software.
 */
unsigned zcomp_submit(struct zcomp_queue *q, struct zcomp_strm **zstrms, unsigned n);

/*
 * Streams whose operation has ended. ->result: 0; -ENOSPC incompressible; or the device could not:
 * -EIO, -ETIMEDOUT, -ECANCELED (reset, unplug), -EBADMSG (verify), -EAGAIN: the page, still at
 * local_copy, is to be compressed in software.
 */
unsigned zcomp_reap(struct zcomp_queue *q, struct zcomp_strm **zstrms, unsigned n);

/* Until `min` can be reaped, or the time has passed. Returns how many can. */
unsigned zcomp_wait(struct zcomp_queue *q, unsigned min, uint64_t timeout_ns);

#endif
