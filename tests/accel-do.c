/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel-do TRANSPORT PAGES: pages of this machine through the simulated accelerator, each compared
 * with what liblz4 makes of it. One line; status 1: the device cannot be opened, the line says why.
 */
#include "unit/accel-fixture.h"

static const char *transport_name(enum accel_transport transport)
{
	for (unsigned t = 0; t < FX_NR_TRANSPORTS; t++) {
		if (fx_transports[t] == transport)
			return fx_transport_names[t];
	}
	return "unknown";
}

int main(int argc, char **argv)
{
	unsigned pages = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	struct accel_profile profile = fx_profile(ACCEL_MSGRING);
	struct fx_corpus *corpus;
	struct fx_codec *codec;
	struct accel_device *dev;
	struct fx_host h;
	char err[256] = "";

	if (!pages || accel_profile_set(&profile, "transport", argv[1], err, sizeof(err)) == -1) {
		fprintf(stderr, "usage: accel-do TRANSPORT PAGES %s\n", err);
		return 2;
	}
	dev = accel_open(&profile, err, sizeof(err));
	if (!dev) {
		printf("%s\n", err);
		return 1;
	}
	corpus = fx_corpus_new(256);
	codec = fx_codec_new();
	codec->nr_threads = accel_nr_engine_threads(dev);
	CHECK(fx_host_init(&h, dev, codec, corpus, 1), "no queue pair");
	while (h.accepted < pages) {
		fx_host_submit(&h, 32);
		fx_host_finish(&h);
	}
	CHECK(h.status[ACCEL_SUCCESS] == h.accepted, "%lu of %lu", h.status[ACCEL_SUCCESS],
		h.accepted);
	printf("%lu pages, transport %s\n", (unsigned long)h.accepted,
		transport_name(accel_get_profile(dev)->transport));
	fx_host_free(&h);
	accel_close(dev);
	fx_codec_free(codec);
	fx_corpus_free(corpus);
	return 0;
}
