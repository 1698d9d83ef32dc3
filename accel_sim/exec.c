/* SPDX-License-Identifier: BSD-3-Clause */
/* One operation on an engine: codec, checks, and what faults do to it. */
#include <errno.h>
#include <string.h>

#include "accel_sim/accel_priv.h"

static bool all_zero(const unsigned char *p, uint32_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static uint32_t room_for(const struct accel_device *dev, const struct sqe *op)
{
	if (op->opcode == ACCEL_COMPRESS && dev->profile.dst_limit < op->dst_room)
		return dev->profile.dst_limit;
	return op->dst_room;
}

/* A few bits, at places that differ from operation to operation. */
static void flip_bits(unsigned char *p, uint32_t len, uint64_t seq)
{
	for (unsigned i = 0; i < 3; i++) {
		seq = (seq + 1) * 0x9e3779b97f4a7c15; /* odd: 2^64 over the golden ratio */
		p[(seq >> 32) % len] ^= 1u << (seq >> 61);
	}
}

/* Some flips cancel out or do not matter to the codec; then the result is right, and passes. */
static bool verify(struct engine *e, const struct sqe *op, uint32_t produced)
{
	uint32_t len = op->src_len;

	if (!op->codec->decompress)
		return false;
	return op->codec->decompress(op->codec, e->nr, op->dst, produced, e->verify, &len) == 0 &&
		len == op->src_len && memcmp(e->verify, op->src, len) == 0;
}

static enum accel_status run_codec(struct engine *e, const struct sqe *op, uint32_t *produced)
{
	const struct accel_codec *codec = op->codec;
	uint32_t room = room_for(e->dev, op), len = room;
	int ret;

	if (op->opcode == ACCEL_COMPRESS)
		ret = codec->compress(codec, e->nr, op->src, op->src_len, op->dst, &len);
	else
		ret = codec->decompress(codec, e->nr, op->src, op->src_len, op->dst, &len);
	if (ret == -ENOSPC || (ret == 0 && len > room))
		return ACCEL_INCOMPRESSIBLE;
	if (ret != 0)
		return ACCEL_HW_ERROR;
	*produced = len;
	return ACCEL_SUCCESS;
}

static enum accel_status exec_without_payload(struct engine *e, const struct slot *slot,
	uint32_t *produced)
{
	*produced = slot->op.src_len / 2;
	if (*produced > room_for(e->dev, &slot->op))
		return ACCEL_INCOMPRESSIBLE;
	return slot->fault == ACCEL_FAULT_CORRUPT ? ACCEL_CORRUPT : ACCEL_SUCCESS;
}

enum accel_status exec_op(struct engine *e, const struct slot *slot, uint32_t *produced)
{
	const struct sqe *op = &slot->op;
	enum accel_status status;

	*produced = 0;
	if (slot->fault == ACCEL_FAULT_HW_ERROR)
		return ACCEL_HW_ERROR;
	if (slot->fault == ACCEL_FAULT_OVERFLOW)
		return ACCEL_INCOMPRESSIBLE;
	if (!e->dev->profile.real_payload)
		return exec_without_payload(e, slot, produced);
	if (op->opcode == ACCEL_COMPRESS && e->dev->profile.zero_detect &&
		all_zero(op->src, op->src_len))
		return ACCEL_ZERO;

	status = run_codec(e, op, produced);
	if (status != ACCEL_SUCCESS)
		return status;
	if (slot->fault == ACCEL_FAULT_CORRUPT) {
		/* What a decompression should have given, nobody knows here. */
		if (*produced == 0 || op->opcode != ACCEL_COMPRESS)
			return ACCEL_CORRUPT;
		flip_bits(op->dst, *produced, slot->seq);
	}
	if (op->opcode == ACCEL_COMPRESS &&
		(slot->fault == ACCEL_FAULT_CORRUPT || e->dev->profile.verify ||
			fault_on(e->dev, ACCEL_FAULT_CORRUPT)) &&
		!verify(e, op, *produced))
		return ACCEL_CORRUPT;
	return ACCEL_SUCCESS;
}
