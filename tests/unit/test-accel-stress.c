/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated accelerator under load and faults: every kind at 1 % and at 100 %, every pair of
 * kinds, while another thread drains, resets, unplugs, plugs, aborts and kicks. Each host thread
 * keeps books on each operation: none is lost or completed twice, no success has wrong bytes, no
 * buffer is touched after its completion, statuses add up.
 * ACCEL_STRESS_MS: how long each of the combinations runs. ACCEL_SEED.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include "accel-fixture.h"

#include <cmocka.h>

#define NR_HOSTS 3

struct stress {
	struct accel_device *dev;
	struct fx_codec *codec;
	struct fx_corpus *corpus;
	uint64_t end;
	_Atomic bool stop;
	struct worker {
		struct stress *stress;
		uint64_t seed;
		pthread_mutex_t lock; /* for kick and abort from outside: the queue pair stays */
		struct accel_qp *qp;
		uint64_t asked, accepted, done, dropped, status[NR_ACCEL_STATUS];
	} workers[NR_HOSTS];
};

static struct fx_corpus *corpus;
static uint64_t total, total_status[NR_ACCEL_STATUS], total_resets;

static void publish(struct worker *w, struct accel_qp *qp)
{
	pthread_mutex_lock(&w->lock);
	w->qp = qp;
	pthread_mutex_unlock(&w->lock);
}

static void settle(struct worker *w, struct fx_host *h)
{
	w->asked += h->asked;
	w->accepted += h->accepted;
	w->done += h->done;
	w->dropped += h->dropped;
	for (unsigned i = 0; i < NR_ACCEL_STATUS; i++)
		w->status[i] += h->status[i];
	fx_host_free(h);
}

static void *host_thread(void *opaque)
{
	struct worker *w = opaque;
	struct stress *s = w->stress;
	uint64_t rng = w->seed;

	while (!s->stop) {
		struct fx_host h;

		CHECK(fx_host_init(&h, s->dev, s->codec, s->corpus, fx_next(&rng)),
			"no queue pair");
		h.decompress = true;
		publish(w, h.qp);
		for (unsigned i = 0; i < 400 && !s->stop; i++) {
			if (!fx_host_submit(&h, 1 + (unsigned)(fx_next(&rng) % 48)))
				usleep(20); /* gone, or full */
			if (fx_next(&rng) % 8)
				accel_doorbell(h.qp);
			if (fx_next(&rng) % 4)
				accel_wait(h.qp, (unsigned)(fx_next(&rng) % 40), FX_SEC / 500);
			fx_host_reap(&h, 1 + (unsigned)(fx_next(&rng) % 64));
		}
		publish(w, NULL);
		if (fx_next(&rng) % 2)
			fx_host_finish(&h);
		else
			fx_host_put(&h);
		settle(w, &h);
	}
	return NULL;
}

/* What another thread does to them. A device that failed is plugged in again. */
static void *admin_thread(void *opaque)
{
	struct stress *s = opaque;
	uint64_t rng = s->end | 1;

	while (!s->stop) {
		struct worker *w = &s->workers[fx_next(&rng) % NR_HOSTS];
		struct accel_stats st;

		switch (fx_next(&rng) % 8) {
		case 0:
			accel_drain(s->dev);
			break;
		case 1:
			accel_reset(s->dev);
			break;
		case 2:
			if (accel_unplug(s->dev) == 0)
				CHECK(accel_get_state(s->dev) == ACCEL_UNPLUGGED, "state");
			break;
		case 3:
		case 4:
			pthread_mutex_lock(&w->lock);
			if (w->qp && fx_next(&rng) % 2)
				accel_abort(w->qp);
			else if (w->qp)
				accel_kick(w->qp);
			pthread_mutex_unlock(&w->lock);
			break;
		default:
			accel_get_stats(s->dev, &st);
		}
		if (accel_get_state(s->dev) >= ACCEL_UNPLUGGED)
			accel_plug(s->dev); /* the init fault may say no */
		usleep(500 + (unsigned)(fx_next(&rng) % 2000));
	}
	return NULL;
}

static void add_up(struct stress *s, const char *what)
{
	struct accel_stats st = fx_stats(s->dev);
	struct worker sum = { 0 };
	uint64_t statuses = 0;

	for (unsigned i = 0; i < NR_HOSTS; i++) {
		sum.asked += s->workers[i].asked;
		sum.accepted += s->workers[i].accepted;
		sum.done += s->workers[i].done;
		sum.dropped += s->workers[i].dropped;
		for (unsigned k = 0; k < NR_ACCEL_STATUS; k++)
			sum.status[k] += s->workers[i].status[k];
	}
	for (unsigned k = 0; k < NR_ACCEL_STATUS; k++) {
		statuses += st.status[k];
		CHECK(st.status[k] >= sum.status[k], "%s: %s", what, accel_status_names[k]);
		CHECK(sum.dropped || st.status[k] == sum.status[k], "%s: %s", what,
			accel_status_names[k]);
		total_status[k] += st.status[k];
	}
	CHECK(st.submitted == sum.asked, "%s: submitted %lu, asked %lu", what,
		(unsigned long)st.submitted, (unsigned long)sum.asked);
	CHECK(st.accepted == sum.accepted, "%s: accepted %lu, %lu", what,
		(unsigned long)st.accepted, (unsigned long)sum.accepted);
	CHECK(st.completed == st.accepted, "%s: completed %lu of %lu", what,
		(unsigned long)st.completed, (unsigned long)st.accepted);
	CHECK(statuses == st.accepted, "%s: statuses %lu of %lu", what, (unsigned long)statuses,
		(unsigned long)st.accepted);
	CHECK(sum.done + sum.dropped == sum.accepted, "%s: host's books", what);
	CHECK(st.in_flight == 0, "%s: %lu in flight", what, (unsigned long)st.in_flight);
	total += st.accepted;
	total_resets += st.resets;
}

static void combination(enum accel_transport transport, unsigned first, unsigned second,
	unsigned percent, uint64_t seed, unsigned ms)
{
	struct accel_profile p = fx_profile(transport);
	static struct stress s;
	pthread_t threads[NR_HOSTS], admin;
	uint64_t dice = seed * 0x9e3779b97f4a7c15 >> 32;
	char what[80];

	snprintf(what, sizeof(what), "transport %u, %s and %s at %u %%, seed %lu",
		(unsigned)transport, accel_fault_names[first], accel_fault_names[second], percent,
		(unsigned long)seed);
	p.queues = NR_HOSTS;
	p.queue_depth = 96;
	p.engines = 2;
	p.order = dice & 1 ? ACCEL_IN_ORDER : ACCEL_OUT_OF_ORDER;
	p.fetch = dice & 6 ? ACCEL_FETCH_RING : ACCEL_FETCH_SWAP;
	p.coalesce = 8;
	p.poll_usecs = dice & 8 ? 0 : 20;
	p.timeout_ms = 3;
	p.zero_detect = dice & 16;
	p.dst_limit = FX_PAGE;
	p.seed = seed;
	memset(&s, 0, sizeof(s));
	s.corpus = corpus;
	s.codec = fx_codec_new();
	s.dev = fx_open(&p);
	s.codec->nr_threads = accel_nr_engine_threads(s.dev);
	fx_fault(s.dev, first, 1, percent, -1);
	fx_fault(s.dev, second, 1, percent, -1);
	s.end = seed;
	for (unsigned i = 0; i < NR_HOSTS; i++) {
		s.workers[i].stress = &s;
		s.workers[i].seed = seed * 31 + i * 17 + 1;
		pthread_mutex_init(&s.workers[i].lock, NULL);
		CHECK(!pthread_create(&threads[i], NULL, host_thread, &s.workers[i]), "thread");
	}
	CHECK(!pthread_create(&admin, NULL, admin_thread, &s), "thread");
	fx_sleep_ms(ms);
	s.stop = true;
	pthread_join(admin, NULL);
	for (unsigned i = 0; i < NR_HOSTS; i++)
		pthread_join(threads[i], NULL);
	add_up(&s, what);
	accel_close(s.dev);
	fx_codec_free(s.codec);
}

static void test_every_pair(void **state)
{
	unsigned ms = (unsigned)fx_env("ACCEL_STRESS_MS", 60);
	uint64_t seed = fx_env("ACCEL_SEED", 1);

	corpus = fx_corpus_new(256);
	for (unsigned first = 0; first < NR_ACCEL_FAULTS; first++) {
		for (unsigned second = first; second < NR_ACCEL_FAULTS; second++) {
			for (unsigned i = 0; i < 4; i++, seed++) {
				enum accel_transport t = seed % 7 == 0 ? ACCEL_INLINE
							 : i / 2       ? ACCEL_MSGRING
								       : ACCEL_EVENTFD;

				combination(t, first, second, i % 2 ? 100 : 1, seed, ms);
			}
		}
	}
	print_message(
		"%lu operations, %lu resets:", (unsigned long)total, (unsigned long)total_resets);
	for (unsigned k = 0; k < NR_ACCEL_STATUS; k++)
		print_message(" %s %lu", accel_status_names[k], (unsigned long)total_status[k]);
	print_message("\n");
	/* Each status but the caller's fault was seen, or this proves little. */
	for (unsigned k = 0; k < NR_ACCEL_STATUS; k++)
		assert_true(k == ACCEL_NOT_PROCESSED ? !total_status[k] : total_status[k] > 0);
	assert_true(total_resets > 0);
	fx_corpus_free(corpus);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_pair) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
