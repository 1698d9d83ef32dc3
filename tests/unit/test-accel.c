/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated accelerator: every way to run it makes liblz4's bytes; rings, partial bursts,
 * orders, capabilities, waiting, interrupts, states.
 * ACCEL_PAGES: how many real pages go through each configuration.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include "accel-fixture.h"

#include <cmocka.h>

/* --- 1. the same bytes --- */

#define CHUNK 512

struct config {
	enum accel_transport transport;
	unsigned engines;
	enum accel_order order;
	enum accel_fetch fetch;
	unsigned depth, coalesce, poll_usecs;
	uint32_t dst_limit;
	bool zero_detect, verify;
};

static const struct config configs[] = {
	{ ACCEL_INLINE, 1, ACCEL_OUT_OF_ORDER, ACCEL_FETCH_RING, 128, 1, 0, FX_OUT, false, false },
	{ ACCEL_INLINE, 1, ACCEL_IN_ORDER, ACCEL_FETCH_RING, 3, 8, 0, 4096, true, false },
	{ ACCEL_MSGRING, 1, ACCEL_OUT_OF_ORDER, ACCEL_FETCH_RING, 256, 32, 20, 4096, false, false },
	{ ACCEL_MSGRING, 1, ACCEL_IN_ORDER, ACCEL_FETCH_SWAP, 128, 8, 0, 2048, true, false },
	{ ACCEL_MSGRING, 2, ACCEL_OUT_OF_ORDER, ACCEL_FETCH_RING, 4096, 32, 0, FX_OUT, false,
		false },
	{ ACCEL_MSGRING, 2, ACCEL_IN_ORDER, ACCEL_FETCH_RING, 64, 1, 50, 4095, true, false },
	{ ACCEL_MSGRING, 64, ACCEL_OUT_OF_ORDER, ACCEL_FETCH_RING, 33, 4, 0, 4096, true, true },
	{ ACCEL_EVENTFD, 1, ACCEL_OUT_OF_ORDER, ACCEL_FETCH_RING, 100, 32, 0, 4096, false, false },
	{ ACCEL_EVENTFD, 2, ACCEL_IN_ORDER, ACCEL_FETCH_RING, 256, 16, 20, FX_OUT, true, false },
	{ ACCEL_EVENTFD, 2, ACCEL_OUT_OF_ORDER, ACCEL_FETCH_SWAP, 128, 32, 0, 4096, false, false },
};
#define NR_CONFIGS (sizeof(configs) / sizeof(configs[0]))

struct runner {
	struct accel_device *dev;
	struct accel_qp *qp;
	struct fx_codec *codec;
	uint64_t rng, next_done;
	bool done[CHUNK];
};

static void runner_open(struct runner *r, const struct config *c, uint64_t seed)
{
	struct accel_profile p = fx_profile(c->transport);

	p.engines = c->engines;
	p.order = c->order;
	p.fetch = c->fetch;
	p.queue_depth = c->depth;
	p.coalesce = c->coalesce;
	p.poll_usecs = c->poll_usecs;
	p.dst_limit = c->dst_limit;
	p.zero_detect = c->zero_detect;
	p.verify = c->verify;
	r->codec = fx_codec_new();
	r->dev = fx_open(&p);
	r->codec->nr_threads = accel_nr_engine_threads(r->dev);
	r->qp = fx_qp(r->dev);
	r->rng = seed * 77777 + 1;
}

static bool all_zero(const unsigned char *page)
{
	return !page[0] && !memcmp(page, page + 1, FX_PAGE - 1);
}

static void check_result(const struct config *c, const struct fx_corpus *corpus,
	const struct accel_cpl *cpl, const unsigned char *got)
{
	unsigned i = (unsigned)cpl->tag;
	enum accel_status want = ACCEL_SUCCESS;

	if (c->zero_detect && all_zero(fx_page(corpus, i)))
		want = ACCEL_ZERO;
	else if (corpus->out_len[i] > c->dst_limit)
		want = ACCEL_INCOMPRESSIBLE;
	CHECK(cpl->status == want, "status %s instead of %s (%u bytes)",
		accel_status_names[cpl->status % NR_ACCEL_STATUS], accel_status_names[want],
		corpus->out_len[i]);
	if (want != ACCEL_SUCCESS) {
		CHECK(cpl->produced == 0, "%u bytes without success", cpl->produced);
		return;
	}
	CHECK(cpl->produced == corpus->out_len[i], "%u bytes, liblz4 makes %u", cpl->produced,
		corpus->out_len[i]);
	CHECK(!memcmp(got, fx_out(corpus, i), cpl->produced), "other bytes than liblz4's");
}

static void run_chunk(struct runner *r, const struct config *c, const struct fx_corpus *corpus,
	unsigned char *out)
{
	const size_t stride = FX_OUT + FX_REDZONE;
	struct accel_op ops[96];
	struct accel_cpl cpls[96];
	unsigned next = 0, done = 0;

	memset(r->done, 0, sizeof(r->done));
	for (unsigned i = 0; i < CHUNK; i++)
		memset(out + i * stride, 0xa5, corpus->out_len[i]);
	while (done < CHUNK) {
		unsigned n = 1 + (unsigned)(fx_next(&r->rng) % 96), got;

		for (unsigned i = 0; i < n; i++)
			ops[i] = (struct accel_op){ .tag = next + i,
				.codec = &r->codec->codec,
				.src_len = FX_PAGE,
				.dst_room = FX_OUT,
				.opcode = ACCEL_COMPRESS,
				.src = fx_page(corpus, (next + i) % CHUNK),
				.dst = out + (next + i) % CHUNK * stride };
		if (n > CHUNK - next)
			n = CHUNK - next;
		got = accel_enqueue_burst(r->qp, ops, n);
		CHECK(got <= n, "%u of %u", got, n);
		next += got;
		accel_doorbell(r->qp);
		if (got < n || next == CHUNK)
			accel_wait(r->qp, 1 + (unsigned)(fx_next(&r->rng) % 64), 10 * FX_SEC);
		got = accel_dequeue_burst(r->qp, cpls, 1 + (unsigned)(fx_next(&r->rng) % 96));
		for (unsigned i = 0; i < got; i++) {
			CHECK(cpls[i].tag < CHUNK && !r->done[cpls[i].tag], "completed twice");
			CHECK(c->order != ACCEL_IN_ORDER || cpls[i].tag == done + i, "order");
			r->done[cpls[i].tag] = true;
			check_result(c, corpus, &cpls[i], out + cpls[i].tag * stride);
		}
		done += got;
	}
	CHECK(accel_in_flight(r->qp) == 0, "%u", accel_in_flight(r->qp));
}

static void test_same_bytes(void **state)
{
	uint64_t pages = fx_env("ACCEL_PAGES", 100000 / FX_SLOW);
	unsigned nr_threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	struct fx_corpus *corpus = fx_corpus_new(CHUNK);
	unsigned char *out = malloc(CHUNK * (size_t)(FX_OUT + FX_REDZONE));
	static struct runner runners[NR_CONFIGS];
	uint64_t done;

	assert_non_null(out);
	memset(out, 0xa5, CHUNK * (size_t)(FX_OUT + FX_REDZONE));
	for (unsigned i = 0; i < NR_CONFIGS; i++) {
		runner_open(&runners[i], &configs[i], i + 1);
		assert_true(runners[i].codec->nr_threads >= 1);
		assert_true(runners[i].codec->nr_threads <=
			    (nr_threads > configs[i].engines ? configs[i].engines : nr_threads));
	}
	for (done = 0; done < pages; done += CHUNK) {
		if (done)
			fx_corpus_fill(corpus);
		for (unsigned i = 0; i < NR_CONFIGS; i++)
			run_chunk(&runners[i], &configs[i], corpus, out);
		for (unsigned i = 0; i < CHUNK; i++) {
			const unsigned char *zone = out + i * (size_t)(FX_OUT + FX_REDZONE) +
						    FX_OUT;

			for (unsigned j = 0; j < FX_REDZONE; j++)
				CHECK(zone[j] == 0xa5, "beyond dst_room");
		}
	}
	print_message(
		"%lu pages through each of %zu configurations\n", (unsigned long)done, NR_CONFIGS);
	for (unsigned i = 0; i < NR_CONFIGS; i++) {
		struct accel_stats st = fx_stats(runners[i].dev);

		assert_int_equal(st.accepted, done);
		assert_int_equal(st.completed, done);
		assert_true(st.in_flight_max <= configs[i].depth);
		/* The watchdog's bound is seconds here: it hides no wake-up that we forgot to send.
		 */
		assert_int_equal(st.lost_wakes, 0);
		accel_qp_put(runners[i].qp);
		accel_close(runners[i].dev);
		fx_codec_free(runners[i].codec);
	}
	fx_corpus_free(corpus);
	free(out);
}

/* --- 2. rings --- */

static void fill_and_empty(struct fx_host *h, unsigned depth)
{
	unsigned got, more;

	while (h->accepted - h->done < depth)
		assert_int_not_equal(fx_host_submit(h, 256), 0);
	assert_int_equal(h->accepted - h->done, depth);
	assert_int_equal(accel_in_flight(h->qp), depth);
	assert_int_equal(fx_host_submit(h, 5), 0);
	accel_doorbell(h->qp);
	assert_int_equal(fx_host_submit(h, 5), 0);
	/* Completed is not enough: room comes with the dequeue. */
	assert_int_equal(accel_wait(h->qp, depth, 20 * FX_SEC), depth);
	assert_int_equal(fx_host_submit(h, 5), 0);
	more = 1 + depth / 3;
	assert_int_equal(fx_host_reap(h, more > 256 ? 256 : more), more > 256 ? 256 : more);
	if (more > 256)
		more = 256;
	got = fx_host_submit(h, more + 7);
	assert_int_equal(got, more + 7 > 256 ? 256 : more);
	fx_host_finish(h);
}

static void test_partial_burst(void **state)
{
	static const unsigned depths[] = { 1, 2, 3, 128, 4096 };
	struct fx_corpus *corpus = fx_corpus_new(64);

	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		for (unsigned d = 0; d < 5; d++) {
			struct accel_profile p = fx_profile(fx_transports[t]);
			struct fx_codec *codec = fx_codec_new();
			struct accel_device *dev;
			struct accel_stats st;
			struct fx_host h;
			unsigned rounds = depths[d] > 1000 ? 1 : 600 / depths[d];

			p.queue_depth = depths[d];
			p.engines = 2;
			dev = fx_open(&p);
			assert_int_equal(accel_get_profile(dev)->queue_depth, depths[d]);
			assert_true(fx_host_init(&h, dev, codec, corpus, t * 5 + d));
			h.decompress = true;
			for (unsigned i = 0; i < rounds / FX_SLOW + 1; i++)
				fill_and_empty(&h, depths[d]);
			st = fx_stats(dev);
			assert_int_equal(st.submitted, h.asked);
			assert_int_equal(st.accepted, h.accepted);
			assert_int_equal(st.completed, h.accepted);
			assert_int_equal(st.status[ACCEL_SUCCESS], h.status[ACCEL_SUCCESS]);
			assert_int_equal(st.in_flight, 0);
			assert_int_equal(st.in_flight_max, depths[d]);
			assert_true(st.ring_full >= 3);
			fx_host_free(&h);
			accel_close(dev);
			fx_codec_free(codec);
		}
	}
	fx_corpus_free(corpus);
}

static void test_queue_pairs(void **state)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct accel_profile p = fx_profile(fx_transports[t]);
		struct accel_device *dev;
		struct accel_qp *qps[6];

		p.queues = 3;
		p.devices = 2;
		dev = fx_open(&p);
		for (unsigned round = 0; round < 3; round++) {
			for (unsigned i = 0; i < 6; i++) {
				qps[i] = fx_qp(dev);
				for (unsigned j = 0; j < i; j++)
					assert_ptr_not_equal(qps[i], qps[j]);
			}
			errno = 0;
			assert_null(accel_qp_get(dev));
			assert_int_equal(errno, EBUSY);
			accel_qp_put(qps[2]);
			qps[2] = fx_qp(dev);
			assert_null(accel_qp_get(dev));
			for (unsigned i = 0; i < 6; i++)
				accel_qp_put(qps[i]);
		}
		accel_ref(dev);
		accel_close(dev);
		accel_qp_put(fx_qp(dev));
		accel_close(dev);
	}
}

/* --- 3. what it can and cannot do --- */

static struct accel_cpl one(struct accel_qp *qp, struct accel_op op)
{
	struct accel_cpl cpl;

	assert_int_equal(accel_enqueue_burst(qp, &op, 1), 1);
	accel_doorbell(qp);
	assert_int_equal(accel_wait(qp, 1, 20 * FX_SEC), 1);
	assert_int_equal(accel_dequeue_burst(qp, &cpl, 1), 1);
	assert_int_equal(cpl.tag, op.tag);
	return cpl;
}

static void expect(struct accel_qp *qp, struct accel_op op, enum accel_status status)
{
	struct accel_cpl cpl = one(qp, op);

	assert_string_equal(accel_status_names[cpl.status], accel_status_names[status]);
	if (status != ACCEL_SUCCESS)
		assert_int_equal(cpl.produced, 0);
}

static void test_capabilities(void **state)
{
	static unsigned char src[4 * FX_PAGE], dst[4 * FX_PAGE];
	struct accel_op good = {
		.tag = 7, .src = src, .dst = dst, .src_len = FX_PAGE, .dst_room = FX_OUT
	};

	memset(src, 'x', sizeof(src));
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct accel_profile p = fx_profile(fx_transports[t]);
		struct fx_codec *codec = fx_codec_new(), *other = fx_codec_new();
		struct accel_device *dev;
		struct accel_qp *qp;
		struct accel_op op;

		p.decompress = false;
		strcpy(p.codecs, "deflate lz4");
		dev = fx_open(&p);
		qp = fx_qp(dev);
		assert_true(accel_can(dev, "lz4", false));
		assert_true(accel_can(dev, "deflate", false));
		assert_false(accel_can(dev, "lz4", true));
		assert_false(accel_can(dev, "lz", false));
		assert_false(accel_can(dev, "flate", false));
		assert_false(accel_can(dev, "lz4hc", false));
		assert_false(accel_can(dev, "", false));
		assert_false(accel_can(dev, "deflate lz4", false));

		good.codec = &codec->codec;
		expect(qp, good, ACCEL_SUCCESS);
		op = good;
		op.opcode = ACCEL_DECOMPRESS;
		expect(qp, op, ACCEL_NOT_PROCESSED);
		op = good;
		op.opcode = 77;
		expect(qp, op, ACCEL_NOT_PROCESSED);
		op = good;
		op.src_len = 0;
		expect(qp, op, ACCEL_NOT_PROCESSED);
		op = good;
		op.src_len = 2 * FX_PAGE + 1;
		expect(qp, op, ACCEL_NOT_PROCESSED);
		other->codec.name = "lz4hc";
		op = good;
		op.codec = &other->codec;
		expect(qp, op, ACCEL_NOT_PROCESSED);
		op.codec = NULL;
		expect(qp, op, ACCEL_NOT_PROCESSED);
		assert_int_equal(other->calls, 0);
		assert_int_equal(codec->calls, 1);
		op = good;
		op.dst_room = UINT32_MAX; /* bounded by the device's own limit */
		expect(qp, op, ACCEL_SUCCESS);
		expect(qp, good, ACCEL_SUCCESS);
		assert_int_equal(fx_stats(dev).status[ACCEL_NOT_PROCESSED], 6);
		/* Invalid operations are the caller's fault, not the device's: no resets. */
		for (unsigned i = 0; i < 40; i++)
			expect(qp, op = good, ACCEL_SUCCESS);
		assert_int_equal(fx_stats(dev).resets, 0);
		accel_qp_put(qp);
		accel_close(dev);
		fx_codec_free(codec);
		fx_codec_free(other);
	}
}

static void test_limits(void **state)
{
	struct fx_corpus *c = fx_corpus_new(64);
	static unsigned char src[2 * FX_PAGE], dst[FX_OUT + 1];

	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct accel_profile p = fx_profile(fx_transports[t]);
		struct fx_codec *codec = fx_codec_new();
		struct accel_device *dev;
		struct accel_qp *qp;
		struct accel_op op = {
			.src = src, .dst = dst, .src_len = FX_PAGE, .codec = &codec->codec
		};
		unsigned max = 0;

		p.zero_detect = true;
		p.dst_limit = 3000;
		dev = fx_open(&p);
		qp = fx_qp(dev);
		for (unsigned i = 0; i < c->nr; i++) {
			uint32_t n = c->out_len[i];
			bool zero = all_zero(fx_page(c, i));

			memcpy(src, fx_page(c, i), FX_PAGE);
			memset(dst, 0x5a, sizeof(dst));
			op.dst_room = n;
			expect(qp, op,
				zero	    ? ACCEL_ZERO
				: n <= 3000 ? ACCEL_SUCCESS
					    : ACCEL_INCOMPRESSIBLE);
			assert_int_equal(dst[n], 0x5a);
			memset(dst, 0x5a, sizeof(dst));
			op.dst_room = n - 1;
			expect(qp, op, zero ? ACCEL_ZERO : ACCEL_INCOMPRESSIBLE);
			assert_int_equal(dst[n - 1], 0x5a);
			if (n <= 3000 && n > max)
				max = n;
		}
		assert_true(max > 1000);
		/* The codec itself fails. */
		memset(src, 'q', FX_PAGE);
		op.dst_room = FX_OUT;
		codec->error = -EIO;
		expect(qp, op, ACCEL_HW_ERROR);
		codec->error = -ENOSPC;
		expect(qp, op, ACCEL_INCOMPRESSIBLE);
		codec->error = 0;
		/* Zeroes of odd lengths; what is no zero page is not taken for one. */
		memset(src, 0, sizeof(src));
		op.src_len = 2 * FX_PAGE;
		expect(qp, op, ACCEL_ZERO);
		op.src_len = 1;
		expect(qp, op, ACCEL_ZERO);
		op.src_len = 2 * FX_PAGE;
		src[2 * FX_PAGE - 1] = 1;
		expect(qp, op, ACCEL_SUCCESS);
		op.src_len--;
		expect(qp, op, ACCEL_ZERO);
		accel_qp_put(qp);
		accel_close(dev);
		fx_codec_free(codec);
	}
	fx_corpus_free(c);
}

static void test_verify(void **state)
{
	static unsigned char src[FX_PAGE], dst[FX_OUT];

	memset(src, 'v', sizeof(src));
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		for (unsigned verify = 0; verify < 2; verify++) {
			struct accel_profile p = fx_profile(fx_transports[t]);
			struct fx_codec *codec = fx_codec_new();
			struct accel_op op = fx_op(codec, src, dst);
			struct accel_device *dev;
			struct accel_qp *qp;

			p.verify = verify;
			p.decompress =
				false; /* verify needs the codec's function, not the capability */
			dev = fx_open(&p);
			qp = fx_qp(dev);
			expect(qp, op, ACCEL_SUCCESS);
			codec->lie = true;
			expect(qp, op, verify ? ACCEL_CORRUPT : ACCEL_SUCCESS);
			codec->lie = false;
			expect(qp, op, ACCEL_SUCCESS);
			assert_int_equal(codec->calls, verify ? 6 : 3);
			accel_qp_put(qp);
			accel_close(dev);
			fx_codec_free(codec);
		}
	}
}

static void test_no_payload(void **state)
{
	static unsigned char src[FX_PAGE], dst[FX_OUT];

	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		struct accel_profile p = fx_profile(fx_transports[t]);
		struct fx_codec *codec = fx_codec_new();
		struct accel_op op = fx_op(codec, src, dst);
		struct accel_device *dev;
		struct accel_qp *qp;

		p.real_payload = false;
		dev = fx_open(&p);
		qp = fx_qp(dev);
		for (unsigned i = 0; i < 300; i++) {
			struct accel_cpl cpl = one(qp, op);

			assert_int_equal(cpl.status, ACCEL_SUCCESS);
			assert_int_equal(cpl.produced, FX_PAGE / 2);
		}
		assert_int_equal(codec->calls, 0);
		accel_qp_put(qp);
		accel_close(dev);
		fx_codec_free(codec);
	}
}

/* --- 4. the modelled clock --- */

#define NR_BATCHES 60
struct times {
	uint64_t submit, done;
	uint32_t wait, service, deliver, engine;
};

/* Batches of 1 to 40, each waited for. Times by tag. */
static void modelled(
	enum accel_transport transport, enum accel_order order, uint64_t seed, struct times *times)
{
	struct accel_profile p = *accel_profile_find("iaa");
	static unsigned char src[FX_PAGE], dst[40][FX_OUT];
	struct fx_codec *codec = fx_codec_new();
	struct accel_device *dev;
	struct accel_qp *qp;
	uint64_t rng = 4711, latest = 0;
	unsigned tag = 0;

	p.transport = transport;
	p.order = order;
	p.devices = 1;
	p.engines = 3;
	p.jitter = 30;
	p.shared_bps = 2000000000;
	p.seed = seed;
	p.timeout_ms = 20000; /* not what is tested, and a busy machine stalls for more than 100 */
	dev = fx_open(&p);
	qp = fx_qp(dev);
	for (unsigned b = 0; b < NR_BATCHES; b++) {
		unsigned n = 1 + (unsigned)(fx_next(&rng) % 40), done = 0;
		struct accel_op ops[40] = { 0 };
		struct accel_cpl cpl;

		for (unsigned i = 0; i < n; i++)
			ops[i] = (struct accel_op){ .tag = tag + i,
				.src = src,
				.dst = dst[i],
				.src_len = 1 + (uint32_t)(fx_next(&rng) % FX_PAGE),
				.dst_room = FX_OUT,
				.codec = &codec->codec };
		assert_int_equal(accel_enqueue_burst(qp, ops, n), n);
		accel_doorbell(qp);
		assert_int_equal(accel_wait(qp, n, 20 * FX_SEC), n);
		while (done < n && accel_dequeue_burst(qp, &cpl, 1) == 1) {
			times[cpl.tag] = (struct times){ cpl.model_submit, cpl.model_done,
				cpl.model_wait, cpl.model_service, cpl.model_deliver, cpl.engine };
			assert_int_equal(cpl.status, ACCEL_SUCCESS);
			assert_int_equal(cpl.model_done - cpl.model_submit,
				(uint64_t)cpl.model_wait + cpl.model_service + cpl.model_deliver);
			assert_true(cpl.engine < 3);
			done++;
		}
		assert_int_equal(done, n);
		/* One after the other, and all after what the host has seen. */
		assert_true(times[tag].submit >= latest);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(
				times[tag + i].submit, times[tag].submit + i * p.submit_ns);
			if (times[tag + i].done > latest)
				latest = times[tag + i].done;
		}
		tag += n;
	}
	accel_qp_put(qp);
	accel_close(dev);
	fx_codec_free(codec);
}

/* The same arrivals make the same times, whatever carries them and however fast it is. */
static void test_modelled_clock(void **state)
{
	static struct times want[NR_BATCHES * 40], got[NR_BATCHES * 40];

	for (unsigned order = 0; order < 2; order++) {
		modelled(ACCEL_INLINE, order, 1, want);
		assert_true(want[0].done > want[0].submit);
		for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
			memset(got, 0, sizeof(got));
			modelled(fx_transports[t], order, 1, got);
			assert_memory_equal(got, want, sizeof(want));
		}
		modelled(ACCEL_MSGRING, order, 2, got);
		assert_memory_not_equal(got, want, sizeof(want));
	}
}

static void test_profiles(void **state)
{
	static const char *const names[] = { "iaa", "qat", "mobile", "swthread" };
	static unsigned char src[FX_PAGE], dst[FX_OUT];
	struct fx_codec *codec = fx_codec_new();
	struct accel_op op = fx_op(codec, src, dst);

	memset(src, 'p', sizeof(src));
	assert_null(accel_profile_find("no such"));
	assert_null(accel_profile_find(""));
	for (unsigned i = 0; i < 4; i++) {
		const struct accel_profile *found = accel_profile_find(names[i]);
		struct accel_profile p;
		struct accel_device *dev;
		struct accel_qp *qp;

		assert_non_null(found);
		p = *found;
		p.timeout_ms = 20000;
		assert_non_null(strstr(accel_profile_names(), names[i]));
		dev = fx_open(&p);
		qp = fx_qp(dev);
		assert_int_equal(accel_get_state(dev), ACCEL_ENABLED);
		expect(qp, op, accel_can(dev, "lz4", false) ? ACCEL_SUCCESS : ACCEL_NOT_PROCESSED);
		accel_qp_put(qp);
		accel_close(dev);
	}
	fx_codec_free(codec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_bytes),
		cmocka_unit_test(test_partial_burst),
		cmocka_unit_test(test_queue_pairs),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_no_payload),
		cmocka_unit_test(test_modelled_clock),
		cmocka_unit_test(test_profiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
