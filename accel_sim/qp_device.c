/* SPDX-License-Identifier: BSD-3-Clause */
/* The device's half of a queue pair: operations come off the ring, completions go out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "accel_sim/accel_priv.h"

/* --- slots --- */

int qp_device_init(struct accel_qp *qp)
{
	unsigned nr_engines = qp->dev->nr_engines;

	qp->nr_slots = qp->depth;
	qp->slots = aligned_alloc(CACHE_LINE, qp->nr_slots * sizeof(*qp->slots));
	qp->slot_of = malloc((qp->mask + 1) * sizeof(*qp->slot_of));
	qp->gathered = malloc(nr_engines * sizeof(*qp->gathered));
	if (!qp->slots || !qp->slot_of || !qp->gathered)
		return -ENOMEM;
	memset(qp->slots, 0, qp->nr_slots * sizeof(*qp->slots));
	memset(qp->slot_of, 0, (qp->mask + 1) * sizeof(*qp->slot_of));
	for (uint32_t i = 0; i < qp->nr_slots; i++)
		qp->slots[i].next = i + 1 < qp->nr_slots ? i + 1 : NO_SLOT;
	for (unsigned i = 0; i < nr_engines; i++)
		qp->gathered[i].first = qp->gathered[i].last = NO_SLOT;
	return 0;
}

void qp_device_free(struct accel_qp *qp)
{
	free(qp->slots);
	free(qp->slot_of);
	free(qp->gathered);
}

/* There is always one: slots hold accepted operations that are not dequeued, `depth` at most. */
static struct slot *slot_alloc(struct accel_qp *qp)
{
	struct slot *slot = &qp->slots[qp->free_slot];

	qp->free_slot = slot->next;
	return slot;
}

static void slot_free(struct accel_qp *qp, struct slot *slot)
{
	slot->state = SLOT_FREE;
	slot->next = qp->free_slot;
	qp->free_slot = (uint32_t)(slot - qp->slots);
}

/* How many slots are in that state, by its counter. */
static _Atomic uint32_t *slot_counter(struct accel_qp *qp, enum slot_state state)
{
	switch (state) {
	case SLOT_GATHERED:
		return &qp->nr_gathered;
	case SLOT_RUNNING:
		return &qp->nr_running;
	case SLOT_STUCK:
		return &qp->nr_stuck;
	default:
		return NULL;
	}
}

static void slot_set_state(struct accel_qp *qp, struct slot *slot, enum slot_state state)
{
	_Atomic uint32_t *from = slot_counter(qp, slot->state), *to = slot_counter(qp, state);

	/* Others read them, but only a holder of the lock writes them. */
	if (from)
		atomic_store(from, relaxed_load(from) - 1);
	if (to)
		atomic_store(to, relaxed_load(to) + 1);
	slot->state = state;
}

static void list_push(struct accel_qp *qp, struct slot_list *list, struct slot *slot)
{
	uint32_t i = (uint32_t)(slot - qp->slots);

	slot->next = NO_SLOT;
	if (list->first == NO_SLOT)
		list->first = i;
	else
		qp->slots[list->last].next = i;
	list->last = i;
}

static struct slot *list_pop(struct accel_qp *qp, struct slot_list *list)
{
	struct slot *slot;

	if (list->first == NO_SLOT)
		return NULL;
	slot = &qp->slots[list->first];
	list->first = slot->next;
	return slot;
}

/* --- taking --- */

static bool op_valid(const struct accel_device *dev, const struct sqe *op)
{
	const struct accel_codec *codec = op->codec;
	bool decompress = op->opcode == ACCEL_DECOMPRESS;

	if (!codec || op->src_len == 0 || op->src_len > MAX_SRC_LEN)
		return false;
	if (op->opcode != ACCEL_COMPRESS && !decompress)
		return false;
	if (!accel_can(dev, codec->name, decompress))
		return false;
	if (!dev->profile.real_payload)
		return true;
	if (!(decompress ? codec->decompress : codec->compress))
		return false;
	return codec->decompress || !dev->profile.verify;
}

static uint8_t choose_fault(struct accel_qp *qp, const struct slot *slot)
{
	static const enum accel_fault_kind kinds[] = {
		ACCEL_FAULT_TIMEOUT,
		ACCEL_FAULT_HW_ERROR,
		ACCEL_FAULT_OVERFLOW,
		ACCEL_FAULT_CORRUPT,
	};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!fault_on(qp->dev, kinds[i]) ||
			!fault_hits(qp->dev, kinds[i], qp->id, slot->seq, slot->op.src_len))
			continue;
		count_add(&qp->ds.faults[kinds[i]], 1);
		return kinds[i];
	}
	return NR_ACCEL_FAULTS;
}

/* The next operation off the ring, into a slot. NULL: the ring is empty. */
static struct slot *fetch(struct accel_qp *qp)
{
	uint32_t head = relaxed_load(&qp->sq_head);
	struct slot *slot;

	if (atomic_load(&qp->sq_tail) == head)
		return NULL;
	slot = slot_alloc(qp);
	slot->op = qp->sq[head & qp->mask];
	atomic_store(&qp->sq_head, head + 1);
	slot->seq = qp->seq++;
	slot->t_begin = 0;
	memset(&slot->model, 0, sizeof(slot->model));
	slot->valid = true;
	slot->aborted = false;
	slot->fault = NR_ACCEL_FAULTS;
	qp->slot_of[slot->seq & qp->mask] = (uint32_t)(slot - qp->slots);
	return slot;
}

/* The same, for an engine that means to do it. */
static struct slot *fetch_to_serve(struct accel_qp *qp)
{
	struct slot *slot = fetch(qp);

	if (!slot)
		return NULL;
	slot->valid = op_valid(qp->dev, &slot->op);
	if (slot->valid) {
		slot->fault = choose_fault(qp, slot);
		accel_model_serve(qp->dev->model, &qp->model, slot->op.t_model, slot->op.opcode,
			slot->op.src_len, (uint64_t)qp->id << 48 | slot->seq, &slot->model);
	}
	return slot;
}

static void gather(struct accel_qp *qp, struct slot_list *list)
{
	struct slot *slot;

	while ((slot = fetch_to_serve(qp))) {
		slot_set_state(qp, slot, SLOT_GATHERED);
		list_push(qp, list, slot);
	}
}

static struct slot *next_slot(struct accel_qp *qp, unsigned engine)
{
	struct slot_list *list = &qp->gathered[engine];

	if (qp->dev->profile.fetch != ACCEL_FETCH_SWAP)
		return fetch_to_serve(qp);
	if (list->first == NO_SLOT)
		gather(qp, list);
	return list_pop(qp, list);
}

struct slot *qp_take(struct accel_qp *qp, unsigned engine, uint64_t now)
{
	struct slot *slot;

	if (!state_serves(atomic_load(&qp->dev->state))) {
		qp_sweep(qp, false, now);
		return NULL;
	}
	while ((slot = next_slot(qp, engine))) {
		if (!slot->valid) {
			qp_finish(qp, slot, ACCEL_NOT_PROCESSED, 0, now);
			continue;
		}
		/* `now` may be from before the enqueue, if the engine was held up since. */
		slot->t_begin = now > slot->op.t_wall ? now : slot->op.t_wall;
		if (slot->fault != ACCEL_FAULT_TIMEOUT) {
			slot_set_state(qp, slot, SLOT_RUNNING);
			return slot;
		}
		slot_set_state(qp, slot, SLOT_STUCK);
	}
	return NULL;
}

/* --- completing --- */

/* Faults in a row call for a reset; whoever passes a place where it can be done does it. */
static void note_status(struct accel_device *dev, enum accel_status status)
{
	switch (status) {
	case ACCEL_SUCCESS:
	case ACCEL_INCOMPRESSIBLE:
	case ACCEL_ZERO:
		/* Read first: no engine writes a line that all share for each page. */
		if (relaxed_load(&dev->fault_row))
			atomic_store(&dev->fault_row, 0);
		if (relaxed_load(&dev->reset_row))
			atomic_store(&dev->reset_row, 0);
		break;
	case ACCEL_HW_ERROR:
	case ACCEL_TIMEOUT:
	case ACCEL_CORRUPT:
		if (atomic_fetch_add(&dev->fault_row, 1) + 1 >= FAULTS_IN_A_ROW)
			atomic_store(&dev->reset_wanted, true);
		break;
	default:
		break;
	}
}

static void publish(struct accel_qp *qp, struct slot *slot)
{
	uint32_t tail = relaxed_load(&qp->cq_tail);
	const struct accel_cpl *cpl = &slot->cpl;

	qp->cq[tail & qp->mask] = *cpl;
	if (relaxed_load(&qp->cq_head) == tail)
		atomic_store(&qp->first_done, cpl->wall_done);
	count_add(&qp->ds.status[cpl->status], 1);
	if (cpl->status == ACCEL_SUCCESS) {
		count_add(&qp->ds.bytes_in, slot->op.src_len);
		count_add(&qp->ds.bytes_out, cpl->produced);
	}
	slot_free(qp, slot);
	atomic_store(&qp->cq_tail, tail + 1);
	/* After that, or an owner about to sleep could clear it and not see the completion. */
	if (atomic_fetch_sub(&qp->batch_left[slot->op.batch], 1) == 1)
		atomic_store(&qp->batch_ended, true);
}

static void publish_in_order(struct accel_qp *qp)
{
	while (qp->published != qp->seq) {
		struct slot *slot = &qp->slots[qp->slot_of[qp->published & qp->mask]];

		if (slot->state != SLOT_DONE)
			break;
		qp->published++;
		publish(qp, slot);
	}
}

static uint32_t ns32(uint64_t ns)
{
	return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static void fill_completion(struct slot *slot, enum accel_status status, uint32_t produced,
	bool ran, uint64_t now)
{
	const struct accel_model_times *model = &slot->model;
	uint64_t begin = slot->t_begin ? slot->t_begin : now;

	/* Who swept it may have read the clock before it was there. */
	if (begin < slot->op.t_wall)
		begin = slot->op.t_wall;
	if (now < begin)
		now = begin;
	slot->cpl = (struct accel_cpl){
		.tag = slot->op.tag,
		.produced = status == ACCEL_SUCCESS ? produced : 0,
		.status = (uint8_t)status,
		.pad = ran, /* the owner's histograms count what an engine had */
		.engine = (uint16_t)model->engine,
		.wall_wait = ns32(begin - slot->op.t_wall),
		.wall_service = ns32(now - begin),
		.model_wait = ns32(model->wait),
		.model_service = ns32(model->service),
		.model_deliver = ns32(model->deliver),
		.model_submit = slot->op.t_model,
		.model_done = model->delivered ? model->delivered : slot->op.t_model,
		.wall_done = now,
	};
}

static void count_latencies(struct dev_stats *ds, const struct slot *slot)
{
	const struct accel_model_times *model = &slot->model;

	hist_add(&ds->wait, slot->cpl.wall_wait);
	hist_add(&ds->service, slot->cpl.wall_service);
	hist_add(&ds->model[ACCEL_STAGE_WAIT], model->wait);
	hist_add(&ds->model[ACCEL_STAGE_SERVICE], model->service);
	hist_add(&ds->model[ACCEL_STAGE_DELIVER], model->deliver);
	hist_add(&ds->model[ACCEL_STAGE_TOTAL], model->wait + model->service + model->deliver);
}

void qp_finish(struct accel_qp *qp, struct slot *slot, enum accel_status status,
	uint32_t produced, uint64_t now)
{
	struct accel_device *dev = qp->dev;
	bool ran = slot->state == SLOT_RUNNING;

	if (ran && slot->aborted)
		status = ACCEL_ABORTED;
	else if (ran && now - slot->t_begin > timeout_ns(dev))
		status = ACCEL_TIMEOUT;
	fill_completion(slot, status, produced, ran, now);
	if (ran)
		count_latencies(&qp->ds, slot);
	/* That many waited behind one that took too long is that one's fault. */
	if (status != ACCEL_TIMEOUT || slot->t_begin)
		note_status(dev, status);
	slot_set_state(qp, slot, SLOT_DONE);
	if (dev->profile.order == ACCEL_IN_ORDER)
		publish_in_order(qp);
	else
		publish(qp, slot);
}

/* --- ending early --- */

void qp_sweep(struct accel_qp *qp, bool running, uint64_t now)
{
	struct slot *slot;

	for (unsigned i = 0; i < qp->dev->nr_engines; i++)
		while ((slot = list_pop(qp, &qp->gathered[i])))
			qp_finish(qp, slot, ACCEL_ABORTED, 0, now);
	for (uint32_t i = 0; i < qp->nr_slots; i++) {
		slot = &qp->slots[i];
		if (slot->state == SLOT_STUCK)
			qp_finish(qp, slot, ACCEL_ABORTED, 0, now);
		else if (slot->state == SLOT_RUNNING && running)
			slot->aborted = true;
		else if (!relaxed_load(&qp->nr_stuck) && !running)
			break;
	}
	while ((slot = fetch(qp)))
		qp_finish(qp, slot, ACCEL_ABORTED, 0, now);
}

static bool late(uint64_t since, uint64_t progress, uint64_t now, uint64_t limit)
{
	if (since < progress)
		since = progress;
	return now > since && now - since >= limit;
}

bool qp_expire(struct accel_qp *qp, uint64_t now, uint64_t progress)
{
	uint64_t limit = timeout_ns(qp->dev);
	struct slot *slot;
	bool any = false;

	for (uint32_t i = 0; relaxed_load(&qp->nr_stuck) && i < qp->nr_slots; i++) {
		slot = &qp->slots[i];
		if (slot->state != SLOT_STUCK || !late(slot->t_begin, 0, now, limit))
			continue;
		qp_finish(qp, slot, ACCEL_TIMEOUT, 0, now);
		any = true;
	}
	/* The oldest is first in each list, and in the ring. */
	for (unsigned i = 0; relaxed_load(&qp->nr_gathered) && i < qp->dev->nr_engines; i++) {
		struct slot_list *list = &qp->gathered[i];

		while (list->first != NO_SLOT &&
			late(qp->slots[list->first].op.t_wall, progress, now, limit)) {
			qp_finish(qp, list_pop(qp, list), ACCEL_TIMEOUT, 0, now);
			any = true;
		}
	}
	while (qp_unfetched(qp) &&
		late(qp->sq[relaxed_load(&qp->sq_head) & qp->mask].t_wall, progress, now, limit)) {
		qp_finish(qp, fetch(qp), ACCEL_TIMEOUT, 0, now);
		any = true;
	}
	return any;
}
