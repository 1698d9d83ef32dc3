/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading records: a request's all at once, near ones together; and what makes a record intact. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <assert.h>
#include <endian.h>
#include <libdeflate.h>

#include "log_priv.h"

/* So many bytes between two records are read along rather than asked for apart. */
#define GAP_MAX 4096

/* --- records --- */

/* Depends on the place, and on which use of the segment that is. */
static uint32_t record_seed(const struct segment *seg, uint64_t offset)
{
	return seg->seed ^ (uint32_t)(offset >> 2) ^ (uint32_t)(offset >> 34);
}

static uint32_t record_crc(
	const struct segment *seg, uint64_t offset, const struct log_header *header, uint32_t len)
{
	/* The bytes follow the header. */
	return libdeflate_crc32(record_seed(seg, offset), header->word, sizeof(header->word) + len);
}

void record_seal(const struct segment *seg, uint64_t offset, struct log_header *header,
	uint64_t owner, unsigned codec, uint32_t len)
{
	uint64_t word = (owner + 1) << 16 | (len - 1) << 4 | codec;

	header->word[0] = htole32((uint32_t)word);
	header->word[1] = htole32(word >> 32);
	header->crc = htole32(record_crc(seg, offset, header, len));
}

uint32_t record_open(const struct segment *seg, uint64_t offset, const void *p, size_t avail,
	uint64_t *owner, unsigned *codec)
{
	const struct log_header *header = p;
	uint64_t word;
	uint32_t len;

	if (avail < sizeof(*header))
		return 0;
	word = le32toh(header->word[0]) | (uint64_t)le32toh(header->word[1]) << 32;
	len = (word >> 4 & 4095) + 1;
	if (!(word >> 16) || sizeof(*header) + len > avail ||
		record_crc(seg, offset, header, len) != le32toh(header->crc))
		return 0;
	*owner = (word >> 16) - 1;
	*codec = word & LOG_MAX_CODEC;
	return len;
}

/* --- a request --- */

struct batch {
	struct log *log;
	struct log_req *reqs;
	uint8_t order[LOG_READ_MAX]; /* by location */
	struct backing_io ios[LOG_READ_MAX];
	uint8_t first[LOG_READ_MAX + 1]; /* of each I/O, in `order` */
	unsigned nr_ios;
	unsigned char *scratch;
	size_t scratch_used;
};

static uint64_t start_of(const struct batch *b, const struct log_req *req)
{
	return log_loc_offset(req->loc) & ~(uint64_t)(b->log->info.block - 1);
}

static uint64_t end_of(const struct batch *b, const struct log_req *req)
{
	return round_up(
		log_loc_offset(req->loc) + LOG_RECORD(log_loc_len(req->loc)), b->log->info.block);
}

static void sort(struct batch *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned at = i;

		for (; at && b->reqs[b->order[at - 1]].loc > b->reqs[i].loc; at--)
			b->order[at] = b->order[at - 1];
		b->order[at] = i;
	}
}

static void add_io(struct batch *b, uint64_t start, uint64_t end, unsigned first)
{
	struct backing_io *io = &b->ios[b->nr_ios];

	/* Each page that a request touches costs. */
	b->scratch_used = round_up(b->scratch_used, BACKING_ALIGN);
	*io = (struct backing_io){ .op = BACKING_READ,
		.buf = b->scratch + b->scratch_used,
		.offset = start,
		.len = end - start };
	/* 32 times three blocks and the gaps between them. */
	assert(b->scratch_used + io->len <= BACKING_SCRATCH);
	b->scratch_used += io->len;
	b->first[b->nr_ios++] = first;
	b->first[b->nr_ios] = first + 1;
}

/* Near ones get one I/O; it grows at its end, as the one that was begun last. */
static void plan(struct batch *b, unsigned n)
{
	b->nr_ios = 0;
	b->scratch_used = 0;
	for (unsigned i = 0; i < n; i++) {
		struct log_req *req = &b->reqs[b->order[i]];
		uint64_t start = start_of(b, req), end = end_of(b, req);
		struct backing_io *last = b->nr_ios ? &b->ios[b->nr_ios - 1] : NULL;
		uint64_t at = last ? last->offset + last->len : 0;

		if (!last || start > at + GAP_MAX) {
			add_io(b, start, end, i);
			continue;
		}
		if (end > at) {
			last->len += end - at;
			b->scratch_used += end - at;
		}
		b->first[b->nr_ios] = i + 1;
	}
}

static void check(struct batch *b, struct log_req *req, const struct backing_io *io)
{
	struct log *log = b->log;
	const unsigned char *p;
	uint64_t owner;

	req->error = io->error;
	if (req->error) {
		log_count(log, LOG_READ_ERRORS, 1);
		return;
	}
	p = (unsigned char *)io->buf + (log_loc_offset(req->loc) - io->offset);
	if (record_open(seg_of(log, req->loc), log_loc_offset(req->loc), p,
		    LOG_RECORD(log_loc_len(req->loc)), &owner,
		    &req->codec) != log_loc_len(req->loc) ||
		owner != req->owner) {
		req->error = EIO;
		log_count(log, LOG_CHECKSUM_ERRORS, 1);
		return;
	}
	req->bytes = p + sizeof(struct log_header);
}

/* One bad block shall not cost its neighbours. */
static void read_apart(struct batch *b, struct backing_queue *queue, unsigned nr)
{
	struct backing_io *joined = &b->ios[nr];
	int errors[LOG_READ_MAX];

	for (unsigned i = b->first[nr]; i < b->first[nr + 1]; i++) {
		struct log_req *req = &b->reqs[b->order[i]];
		uint64_t start = start_of(b, req);
		struct backing_io io = { .op = BACKING_READ,
			.buf = (unsigned char *)joined->buf + (start - joined->offset),
			.offset = start,
			.len = end_of(b, req) - start };

		errors[i] = backing_run(queue, &io, 1);
		log_count(b->log, LOG_READS, 1);
	}
	/* Not before: they share blocks, so the next one's read may spoil what was good. */
	for (unsigned i = b->first[nr]; i < b->first[nr + 1]; i++) {
		joined->error = errors[i];
		check(b, &b->reqs[b->order[i]], joined);
	}
}

unsigned log_read(struct log *log, struct log_req *reqs, unsigned n, struct log_reading *reading)
{
	struct batch b = { .log = log, .reqs = reqs };
	unsigned errors = 0;

	assert(n <= LOG_READ_MAX);
	for (unsigned i = 0; i < n; i++)
		reqs[i].bytes = NULL;
	reading->queue = backing_queue_get(log->backing);
	if (!reading->queue) {
		for (unsigned i = 0; i < n; i++)
			reqs[i].error = errno;
		log_count(log, LOG_READ_ERRORS, n);
		return n;
	}
	b.scratch = backing_scratch(reading->queue);
	sort(&b, n);
	plan(&b, n);
	backing_run(reading->queue, b.ios, b.nr_ios);
	log_count(log, LOG_READS, b.nr_ios);
	log_count(log, LOG_RECORDS_READ, n);
	for (unsigned io = 0; io < b.nr_ios; io++) {
		if (b.ios[io].error && b.first[io + 1] > b.first[io] + 1) {
			read_apart(&b, reading->queue, io);
			continue;
		}
		for (unsigned i = b.first[io]; i < b.first[io + 1]; i++)
			check(&b, &reqs[b.order[i]], &b.ios[io]);
	}
	for (unsigned i = 0; i < n; i++)
		errors += reqs[i].error != 0;
	return errors;
}

void log_read_end(struct log_reading *reading)
{
	if (reading->queue)
		backing_queue_put(reading->queue);
	reading->queue = NULL;
}
