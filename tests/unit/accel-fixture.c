/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lz4.h>

#include "accel-fixture.h"

uint64_t fx_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * FX_SEC + (uint64_t)ts.tv_nsec;
}

void fx_sleep_ms(unsigned ms)
{
	usleep(ms * 1000);
}

uint64_t fx_env(const char *name, uint64_t normally)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 0) : normally;
}

uint64_t fx_next(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	return *rng ^= *rng << 17;
}

/* --- devices --- */

const enum accel_transport fx_transports[FX_NR_TRANSPORTS] = { ACCEL_INLINE, ACCEL_MSGRING,
	ACCEL_EVENTFD };
const char *const fx_transport_names[FX_NR_TRANSPORTS] = { "inline", "msgring", "eventfd" };

struct accel_profile fx_profile(enum accel_transport transport)
{
	const struct accel_profile *base = accel_profile_find("swthread");
	struct accel_profile p;

	CHECK(base, "no profile swthread");
	p = *base;
	p.devices = 1;
	p.queues = 4;
	p.queue_depth = 128;
	p.engines = 1;
	p.transport = transport;
	p.order = ACCEL_OUT_OF_ORDER;
	p.fetch = ACCEL_FETCH_RING;
	p.coalesce = 32;
	p.coalesce_usecs = 250;
	p.poll_usecs = 20;
	p.decompress = true;
	p.zero_detect = false;
	p.dst_limit = FX_OUT;
	p.codecs[0] = 0;
	p.real_payload = true;
	p.verify = false;
	p.timeout_ms = 20000; /* a noisy machine does not reach it */
	p.max_resets = 3;
	p.seed = 1;
	return p;
}

struct accel_device *fx_open(const struct accel_profile *profile)
{
	char err[256] = "";
	struct accel_device *dev = accel_open(profile, err, sizeof(err));

	CHECK(dev, "accel_open: %s", err);
	return dev;
}

struct accel_qp *fx_qp(struct accel_device *dev)
{
	struct accel_qp *qp = accel_qp_get(dev);

	CHECK(qp, "accel_qp_get: %s", strerror(errno));
	return qp;
}

struct accel_stats fx_stats(struct accel_device *dev)
{
	struct accel_stats st;

	accel_get_stats(dev, &st);
	return st;
}

void fx_fault(struct accel_device *dev, enum accel_fault_kind kind, uint32_t interval,
	uint32_t probability, int32_t times)
{
	struct accel_fault f = { .interval = interval, .probability = probability, .times = times };

	accel_set_fault(dev, kind, &f);
}

void fx_await_state(struct accel_device *dev, enum accel_state state)
{
	uint64_t end = fx_now() + 10 * FX_SEC * FX_SLOW;

	while (accel_get_state(dev) != state) {
		CHECK(fx_now() < end, "%s, not %s", accel_state_names[accel_get_state(dev)],
			accel_state_names[state]);
		usleep(200);
	}
}

/* --- the codec --- */

void fx_gate_close(struct fx_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->closed = true;
	pthread_mutex_unlock(&gate->lock);
}

void fx_gate_open(struct fx_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->closed = false;
	pthread_cond_broadcast(&gate->cond);
	pthread_mutex_unlock(&gate->lock);
}

bool fx_gate_await(struct fx_gate *gate, unsigned n)
{
	uint64_t end = fx_now() + 10 * FX_SEC * FX_SLOW;
	bool there = false;

	while (!there && fx_now() < end) {
		pthread_mutex_lock(&gate->lock);
		there = gate->waiting >= n;
		pthread_mutex_unlock(&gate->lock);
		if (!there)
			usleep(200);
	}
	return there;
}

static void gate_pass(struct fx_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->waiting++;
	while (gate->closed)
		pthread_cond_wait(&gate->cond, &gate->lock);
	gate->waiting--;
	pthread_mutex_unlock(&gate->lock);
}

/*
 * Sources and results pass through the workspace by memcpy, which sanitizers watch; liblz4's
 * own accesses they do not see.
 */
struct workspace {
	char state[16384 + 64];
	char in[FX_OUT], out[FX_OUT + 512];
};

static struct workspace *enter(struct fx_codec *c, unsigned engine)
{
	unsigned bound = c->nr_threads ? c->nr_threads : FX_MAX_THREADS;

	CHECK(engine < bound, "engine %u of %u", engine, bound);
	CHECK(!atomic_exchange(&c->in_use[engine], true), "engine %u is used twice at once",
		engine);
	c->calls++;
	gate_pass(&c->gate);
	if (c->usecs)
		usleep(c->usecs);
	return (struct workspace *)c->work[engine];
}

static int leave(struct fx_codec *c, unsigned engine, int result)
{
	atomic_store(&c->in_use[engine], false);
	return result;
}

static int fx_compress(const struct accel_codec *codec, unsigned engine, const void *src,
	uint32_t src_len, void *dst, uint32_t *dst_len)
{
	struct fx_codec *c = codec->opaque;
	struct workspace *w = enter(c, engine);
	int n;

	CHECK(src_len && src_len <= FX_OUT, "src_len %u", src_len);
	if (c->error)
		return leave(c, engine, c->error);
	memcpy(w->in, src, src_len);
	if (c->lie)
		w->in[src_len / 2] ^= 0x55;
	n = LZ4_compress_fast_extState(w->state, w->in, w->out, (int)src_len, sizeof(w->out), 1);
	CHECK(n > 0, "liblz4");
	if ((uint32_t)n > *dst_len)
		return leave(c, engine, -ENOSPC);
	memcpy(dst, w->out, (size_t)n);
	*dst_len = (uint32_t)n;
	return leave(c, engine, 0);
}

static int fx_decompress(const struct accel_codec *codec, unsigned engine, const void *src,
	uint32_t src_len, void *dst, uint32_t *dst_len)
{
	struct fx_codec *c = codec->opaque;
	struct workspace *w = enter(c, engine);
	int n;

	CHECK(src_len && src_len <= FX_OUT, "src_len %u", src_len);
	memcpy(w->in, src, src_len);
	n = LZ4_decompress_safe(w->in, w->out, (int)src_len, sizeof(w->out));
	if (n < 0)
		return leave(c, engine, -EILSEQ);
	if ((uint32_t)n > *dst_len)
		return leave(c, engine, -ENOSPC);
	memcpy(dst, w->out, (size_t)n);
	*dst_len = (uint32_t)n;
	return leave(c, engine, 0);
}

struct fx_codec *fx_codec_new(void)
{
	struct fx_codec *c = calloc(1, sizeof(*c));

	CHECK(c, "memory");
	CHECK((size_t)LZ4_sizeofState() <= sizeof(((struct workspace *)0)->state), "LZ4's state");
	c->codec = (struct accel_codec){
		.name = "lz4", .compress = fx_compress, .decompress = fx_decompress, .opaque = c
	};
	pthread_mutex_init(&c->gate.lock, NULL);
	pthread_cond_init(&c->gate.cond, NULL);
	for (unsigned i = 0; i < FX_MAX_THREADS; i++) {
		c->work[i] = aligned_alloc(64, (sizeof(struct workspace) + 63) & ~63ul);
		CHECK(c->work[i], "memory");
	}
	return c;
}

struct accel_op fx_op(struct fx_codec *codec, const void *src, void *dst)
{
	return (struct accel_op){ .src = src,
		.dst = dst,
		.src_len = FX_PAGE,
		.dst_room = FX_OUT,
		.codec = &codec->codec };
}

void fx_codec_free(struct fx_codec *c)
{
	for (unsigned i = 0; i < FX_MAX_THREADS; i++)
		free(c->work[i]);
	pthread_mutex_destroy(&c->gate.lock);
	pthread_cond_destroy(&c->gate.cond);
	free(c);
}

/* --- pages --- */

/* A walk over files, MAX_SLICE of each; the next walk starts further in. */
#define MAX_SLICE (1u << 20)
static FTS *walk;
static int walk_fd = -1;
static off_t walk_offset;
static size_t walk_left;
static unsigned walk_round;

static bool walk_next_file(void)
{
	static char *const roots[] = { (char *)"/usr/bin", (char *)"/usr/lib", NULL };
	FTSENT *e;

	if (!walk)
		walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	CHECK(walk, "fts_open: %s", strerror(errno));
	while ((e = fts_read(walk))) {
		off_t skip = (off_t)walk_round * (MAX_SLICE + 1111);

		if (e->fts_info != FTS_F || e->fts_statp->st_size < skip + FX_PAGE)
			continue;
		walk_fd = open(e->fts_accpath, O_RDONLY | O_CLOEXEC);
		if (walk_fd == -1)
			continue;
		walk_offset = skip;
		walk_left = MAX_SLICE;
		return true;
	}
	fts_close(walk);
	walk = NULL;
	walk_round++;
	return false;
}

static void real_page(unsigned char *page)
{
	for (;;) {
		if (walk_fd == -1 && !walk_next_file()) {
			if (walk_round < 64)
				continue;
			walk_round = 0; /* few files: once more the same */
		} else if (walk_left >= FX_PAGE &&
			   pread(walk_fd, page, FX_PAGE, walk_offset) == FX_PAGE) {
			walk_offset += FX_PAGE;
			walk_left -= FX_PAGE;
			return;
		} else {
			close(walk_fd);
			walk_fd = -1;
		}
	}
}

static void fill_page(unsigned char *page, uint64_t *rng)
{
	uint64_t word = fx_next(rng);

	switch (word % 32) {
	case 0:
		memset(page, 0, FX_PAGE);
		break;
	case 1:
		for (unsigned i = 0; i < FX_PAGE; i += 8)
			memcpy(page + i, &word, 8);
		break;
	case 2:
		for (unsigned i = 0; i < FX_PAGE; i += 8) {
			word = fx_next(rng);
			memcpy(page + i, &word, 8);
		}
		break;
	case 3: /* a zero page but for one byte, the last one too */
		memset(page, 0, FX_PAGE);
		page[word / 32 % 3 ? word / 128 % FX_PAGE : FX_PAGE - 1] = 1;
		break;
	default:
		real_page(page);
	}
}

void fx_corpus_fill(struct fx_corpus *c)
{
	static uint64_t rng = 0x9e3779b97f4a7c15;

	for (unsigned i = 0; i < c->nr; i++) {
		unsigned char *page = c->pages + (size_t)i * FX_PAGE;
		int n;

		fill_page(page, &rng);
		n = LZ4_compress_default(
			(const char *)page, (char *)c->out + (size_t)i * FX_OUT, FX_PAGE, FX_OUT);
		CHECK(n > 0, "liblz4");
		c->out_len[i] = (uint32_t)n;
	}
}

struct fx_corpus *fx_corpus_new(unsigned nr)
{
	struct fx_corpus *c = calloc(1, sizeof(*c));

	CHECK(c, "memory");
	c->nr = nr;
	c->pages = malloc((size_t)nr * FX_PAGE);
	c->out = malloc((size_t)nr * FX_OUT);
	c->out_len = calloc(nr, sizeof(*c->out_len));
	CHECK(c->pages && c->out && c->out_len, "memory");
	fx_corpus_fill(c);
	return c;
}

void fx_corpus_free(struct fx_corpus *c)
{
	free(c->pages);
	free(c->out);
	free(c->out_len);
	free(c);
	if (walk_fd != -1)
		close(walk_fd);
	walk_fd = -1;
	if (walk)
		fts_close(walk);
	walk = NULL;
}
