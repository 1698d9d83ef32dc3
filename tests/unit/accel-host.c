/* SPDX-License-Identifier: BSD-3-Clause */
/* The host and the rig of accel-fixture.h. */
#include <errno.h>
#include <unistd.h>

#include <lz4.h>

#include "accel-fixture.h"

static void paint(struct fx_slot *s)
{
	s->paint = (unsigned char)(s->paint * 5 + 113);
	memset(s->src, s->paint, FX_ROOM + FX_REDZONE);
	memset(s->dst, s->paint, FX_ROOM + FX_REDZONE);
}

static bool is_painted(const unsigned char *p, size_t from, size_t to, unsigned char colour)
{
	return from >= to || (p[from] == colour && !memcmp(p + from, p + from + 1, to - from - 1));
}

static void check_slot(struct fx_host *h, unsigned i)
{
	struct fx_slot *s = &h->slots[i];

	CHECK(is_painted(s->src, 0, FX_ROOM + FX_REDZONE, s->paint),
		"slot %u: the source was written to while the host owned it", i);
	CHECK(is_painted(s->dst, 0, FX_ROOM + FX_REDZONE, s->paint),
		"slot %u: the destination was written to while the host owned it", i);
}

bool fx_host_init(struct fx_host *h, struct accel_device *dev, struct fx_codec *codec,
	const struct fx_corpus *corpus, uint64_t seed)
{
	const struct accel_profile *p = accel_get_profile(dev);

	*h = (struct fx_host){ .dev = dev, .codec = codec, .corpus = corpus };
	h->qp = accel_qp_get(dev);
	if (!h->qp)
		return false;
	h->rng = seed * 0x9e3779b97f4a7c15 + 1;
	h->dst_limit = p->dst_limit;
	h->in_order = p->order == ACCEL_IN_ORDER;
	h->zero_detect = p->zero_detect;
	h->nr_slots = p->queue_depth + p->queue_depth / 4 + 64;
	h->slots = calloc(h->nr_slots, sizeof(*h->slots));
	h->fifo = calloc(h->nr_slots, sizeof(*h->fifo));
	CHECK(h->slots && h->fifo, "memory");
	for (unsigned i = 0; i < h->nr_slots; i++) {
		h->slots[i].src = malloc(FX_ROOM + FX_REDZONE);
		h->slots[i].dst = malloc(FX_ROOM + FX_REDZONE);
		CHECK(h->slots[i].src && h->slots[i].dst, "memory");
		h->slots[i].paint = (unsigned char)i;
		paint(&h->slots[i]);
		h->fifo[i] = i;
	}
	h->nr_free = h->nr_slots;
	return true;
}

void fx_host_check(struct fx_host *h)
{
	for (unsigned i = 0; i < h->nr_slots; i++) {
		if (h->slots[i].state == FX_FREE)
			check_slot(h, i);
	}
}

/* Slot `i` becomes a page's operation; its destination stays painted. */
static struct accel_op make_op(struct fx_host *h, unsigned i)
{
	const struct fx_corpus *c = h->corpus;
	struct fx_slot *s = &h->slots[i];
	struct accel_op op = { .tag = ++s->generation << 16 | i,
		.src = s->src,
		.dst = s->dst,
		.codec = &h->codec->codec,
		.dst_room = FX_ROOM };

	check_slot(h, i);
	s->page = (unsigned)(fx_next(&h->rng) % c->nr);
	s->opcode = h->decompress && fx_next(&h->rng) % 4 == 0 ? ACCEL_DECOMPRESS : ACCEL_COMPRESS;
	op.opcode = s->opcode;
	if (s->opcode == ACCEL_COMPRESS) {
		op.src_len = FX_PAGE;
		memcpy(s->src, fx_page(c, s->page), FX_PAGE);
	} else {
		op.src_len = c->out_len[s->page];
		memcpy(s->src, fx_out(c, s->page), op.src_len);
	}
	return op;
}

unsigned fx_host_submit(struct fx_host *h, unsigned n)
{
	struct accel_op ops[256] = { 0 };
	uint64_t before = fx_now();
	unsigned got;

	if (n > 256)
		n = 256;
	if (n > h->nr_free)
		n = h->nr_free;
	for (unsigned i = 0; i < n; i++)
		ops[i] = make_op(h, h->fifo[(h->head + i) % h->nr_slots]);
	for (unsigned i = 0; i < n; i++) { /* as if accepted: completions come from elsewhere */
		struct fx_slot *s = &h->slots[ops[i].tag & 0xffff];

		s->state = FX_OWNED;
		s->seq = h->next_seq + i;
		s->before = before;
	}
	got = accel_enqueue_burst(h->qp, ops, n);
	CHECK(got <= n, "%u of %u", got, n);
	for (unsigned i = got; i < n; i++) { /* still ours, so it must be as we left it */
		struct fx_slot *s = &h->slots[ops[i].tag & 0xffff];

		s->state = FX_FREE;
		memset(s->src, s->paint, FX_ROOM);
		check_slot(h, (unsigned)(ops[i].tag & 0xffff));
	}
	h->head = (h->head + got) % h->nr_slots;
	h->nr_free -= got;
	h->next_seq += got;
	h->asked += n;
	h->accepted += got;
	return got;
}

static void check_bytes(struct fx_host *h, const struct fx_slot *s, uint32_t produced)
{
	const struct fx_corpus *c = h->corpus;
	unsigned char page[FX_PAGE];

	if (s->opcode == ACCEL_DECOMPRESS) {
		CHECK(produced == FX_PAGE, "%u bytes decompressed", produced);
		CHECK(!memcmp(s->dst, fx_page(c, s->page), FX_PAGE), "wrong page decompressed");
		return;
	}
	CHECK(produced && produced <= h->dst_limit, "%u bytes produced", produced);
	if (produced == c->out_len[s->page] && !memcmp(s->dst, fx_out(c, s->page), produced))
		return;
	/* A flipped bit may be harmless: a match at another distance of the same bytes. */
	CHECK(LZ4_decompress_safe((const char *)s->dst, (char *)page, (int)produced, FX_PAGE) ==
				FX_PAGE &&
			!memcmp(page, fx_page(c, s->page), FX_PAGE),
		"success with wrong bytes");
}

static void check_completion(struct fx_host *h, const struct accel_cpl *cpl)
{
	unsigned i = cpl->tag & 0xffff;
	struct fx_slot *s = &h->slots[i];
	const unsigned char *source;
	size_t len;

	CHECK(i < h->nr_slots, "a tag never given: %lx", (unsigned long)cpl->tag);
	CHECK(s->state == FX_OWNED && s->generation == cpl->tag >> 16,
		"completed twice: slot %u, generation %lu, now %lu", i,
		(unsigned long)(cpl->tag >> 16), (unsigned long)s->generation);
	CHECK(cpl->status < NR_ACCEL_STATUS, "status %u", cpl->status);
	CHECK(cpl->status != ACCEL_NOT_PROCESSED, "a valid operation was not processed");
	source = s->opcode == ACCEL_COMPRESS ? fx_page(h->corpus, s->page)
					     : fx_out(h->corpus, s->page);
	len = s->opcode == ACCEL_COMPRESS ? FX_PAGE : h->corpus->out_len[s->page];
	CHECK(!memcmp(s->src, source, len), "the source was changed");
	CHECK(is_painted(s->dst, FX_ROOM, FX_ROOM + FX_REDZONE, s->paint), "beyond dst_room");
	if (cpl->status == ACCEL_SUCCESS)
		check_bytes(h, s, cpl->produced);
	else
		CHECK(!cpl->produced, "%u bytes with status %u", cpl->produced, cpl->status);
	if (cpl->status == ACCEL_ZERO)
		CHECK(h->zero_detect && s->opcode == ACCEL_COMPRESS && s->src[0] == 0 &&
				is_painted(s->src, 0, FX_PAGE, 0),
			"not a page of zeroes");
	CHECK((uint64_t)cpl->wall_wait + cpl->wall_service + cpl->wall_deliver <=
			fx_now() - s->before,
		"%u + %u + %u ns, but all took %lu", cpl->wall_wait, cpl->wall_service,
		cpl->wall_deliver, (unsigned long)(fx_now() - s->before));
	if (h->in_order) {
		CHECK(s->seq == h->last_seq, "completion %lu came where %lu is due",
			(unsigned long)s->seq, (unsigned long)h->last_seq);
		h->last_seq++;
	}
	h->status[cpl->status]++;
}

static void release_slot(struct fx_host *h, unsigned i)
{
	h->slots[i].state = FX_FREE;
	paint(&h->slots[i]);
	h->fifo[(h->head + h->nr_free++) % h->nr_slots] = i;
}

unsigned fx_host_reap(struct fx_host *h, unsigned n)
{
	struct accel_cpl cpls[256];
	unsigned got = accel_dequeue_burst(h->qp, cpls, n > 256 ? 256 : n);

	CHECK(got <= n, "%u of %u", got, n);
	for (unsigned i = 0; i < got; i++) {
		check_completion(h, &cpls[i]);
		release_slot(h, cpls[i].tag & 0xffff);
	}
	h->done += got;
	CHECK(accel_in_flight(h->qp) == h->accepted - h->done - h->dropped, "in flight: %u",
		accel_in_flight(h->qp));
	return got;
}

void fx_host_finish(struct fx_host *h)
{
	uint64_t end = fx_now() + 30 * FX_SEC * FX_SLOW;

	accel_doorbell(h->qp);
	while (accel_in_flight(h->qp)) {
		CHECK(fx_now() < end, "%u operations never completed", accel_in_flight(h->qp));
		accel_wait(h->qp, accel_in_flight(h->qp), FX_SEC);
		fx_host_reap(h, 256);
	}
	CHECK(h->accepted == h->done + h->dropped, "%lu accepted, %lu done",
		(unsigned long)h->accepted, (unsigned long)h->done);
}

void fx_host_put(struct fx_host *h)
{
	h->dropped = h->accepted - h->done;
	accel_qp_put(h->qp);
	h->qp = NULL;
	h->last_seq = h->next_seq;
	for (unsigned i = 0; i < h->nr_slots; i++) {
		if (h->slots[i].state == FX_OWNED)
			release_slot(h, i);
	}
}

void fx_host_free(struct fx_host *h)
{
	if (h->qp)
		fx_host_put(h);
	fx_host_check(h);
	for (unsigned i = 0; i < h->nr_slots; i++) {
		free(h->slots[i].src);
		free(h->slots[i].dst);
	}
	free(h->slots);
	free(h->fifo);
}

/* --- the rig --- */

void fx_rig_open(struct fx_rig *r)
{
	r->corpus = fx_corpus_new(32);
	r->codec = fx_codec_new();
	r->dev = fx_open(&r->profile);
	r->codec->nr_threads = accel_nr_engine_threads(r->dev);
	CHECK(fx_host_init(&r->host, r->dev, r->codec, r->corpus, 5), "accel_qp_get: %s",
		strerror(errno));
}

void fx_rig_close(struct fx_rig *r)
{
	fx_host_free(&r->host);
	accel_close(r->dev);
	fx_codec_free(r->codec);
	fx_corpus_free(r->corpus);
}

enum accel_status fx_rig_page(struct fx_rig *r)
{
	uint64_t end = fx_now() + 10 * FX_SEC, before[NR_ACCEL_STATUS];

	memcpy(before, r->host.status, sizeof(before));
	while (!fx_host_submit(&r->host, 1)) {
		if (accel_get_state(r->dev) == ACCEL_FAILED)
			return NR_ACCEL_STATUS;
		CHECK(fx_now() < end, "an idle device takes nothing");
		usleep(100);
	}
	fx_host_finish(&r->host);
	for (unsigned i = 0; i < NR_ACCEL_STATUS; i++) {
		if (r->host.status[i] != before[i])
			return i;
	}
	CHECK(false, "no completion");
	return NR_ACCEL_STATUS;
}
