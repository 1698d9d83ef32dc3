/* SPDX-License-Identifier: BSD-3-Clause */
/* accel-bench's command line and data. */
#include <config.h>

#include "accel-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE	     ACCEL_PAGE_SIZE
#define MAX_NR_PAGES (1u << 20)

static const char usage[] =
	"usage: accel-bench --data FILE [--profile NAME] [--set KEY=VALUE]... [--transport LIST]\n"
	"           [--engines LIST] [--depth LIST] [--batch LIST] [--pages N] [--rounds N]\n"
	"           [--quick] [--json]          (--profile before --set)\n"
	"       accel-bench --model [--json]\n"
	"       accel-bench --software --data FILE [--pages N] [--rounds N] [--quick] [--json]\n";

static unsigned parse_number(const char *option, const char *text, unsigned max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n < 1 || n > max)
		die("--%s %s: allowed is 1 to %u", option, text, max);
	return (unsigned)n;
}

static unsigned parse_transport(const char *text)
{
	struct accel_profile p = *accel_profile_find("swthread");
	char err[256];

	if (accel_profile_set(&p, "transport", text, err, sizeof(err)) != 0)
		die("%s", err);
	return p.transport;
}

/* max 0: transports */
static struct list parse_list(const char *option, char *text, unsigned max)
{
	struct list list = { 0 };
	char *save, *word;

	for (word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		if (list.n == MAX_LIST)
			die("--%s: at most %d values", option, MAX_LIST);
		list.values[list.n++] = max ? parse_number(option, word, max)
					    : parse_transport(word);
	}
	if (list.n == 0)
		die("--%s needs a value", option);
	return list;
}

static void set_field(struct accel_profile *profile, char *setting)
{
	char *value = strchr(setting, '=');
	char err[512];

	if (!value)
		die("--set %s: KEY=VALUE is needed", setting);
	*value++ = '\0';
	if (accel_profile_set(profile, setting, value, err, sizeof(err)) != 0)
		die("%s", err);
}

static bool same_filled(const uint8_t *page)
{
	return memcmp(page, page + 8, PAGE - 8) == 0;
}

/* Pages from all over the file; those of one repeated word never get to a codec. */
static void load_pages(struct bench *bench, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const uint8_t *data;
	size_t there, n = 0;

	if (fd < 0 || fstat(fd, &st) != 0)
		die("%s: %s", path, strerror(errno));
	there = (size_t)st.st_size / PAGE;
	if (there == 0)
		die("%s: not even a page", path);
	data = mmap(NULL, there * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	bench->pages = aligned_alloc(PAGE, bench->nr_pages * PAGE);
	if (data == MAP_FAILED || !bench->pages)
		die("out of memory");
	for (size_t i = 0; n < bench->nr_pages && i < 4 * (bench->nr_pages + there); i++) {
		/* 7919: a prime, so that every page's turn comes. */
		const uint8_t *page = data + i * 7919 % there * PAGE;

		if (!same_filled(page))
			memcpy(bench->pages + n++ * PAGE, page, PAGE);
	}
	if (n < bench->nr_pages)
		die("%s: hardly a page that is not of one repeated word", path);
	munmap((void *)data, there * PAGE);
	close(fd);
}

/* One engine up to the CPUs, where the profile's engines are as few; else the profile's. */
static void default_engines(struct bench *bench)
{
	unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);

	if (bench->engines.n)
		return;
	bench->engines.n = 1; /* 0: the profile's */
	if (bench->profile.devices * bench->profile.engines > cpus)
		return;
	for (unsigned i = 0; i < cpus && i < MAX_LIST; i++)
		bench->engines.values[i] = i + 1;
	bench->engines.n = cpus < MAX_LIST ? cpus : MAX_LIST;
}

static void defaults(struct bench *bench, bool quick)
{
	if (!bench->nr_pages)
		bench->nr_pages = quick ? 2048 : 8192;
	if (!bench->rounds)
		bench->rounds = quick ? 3 : 5;
	if (!bench->transports.n)
		bench->transports =
			(struct list){ 3, { ACCEL_INLINE, ACCEL_MSGRING, ACCEL_EVENTFD } };
	if (!bench->depths.n)
		bench->depths = quick ? (struct list){ 2, { 32, 256 } }
				      : (struct list){ 3, { 32, 128, 256 } };
	if (!bench->batches.n)
		bench->batches = quick ? (struct list){ 2, { 1, 32 } }
				       : (struct list){ 4, { 1, 8, 32, 128 } };
	default_engines(bench);
}

enum option_id { PROFILE = 256, SET, DATA, TRANSPORT, ENGINES, DEPTH, BATCH, PAGES, ROUNDS, QUICK,
	JSON, MODEL, SOFTWARE, HELP };

static const struct option options[] = {
	{ "profile", required_argument, NULL, PROFILE },
	{ "set", required_argument, NULL, SET },
	{ "data", required_argument, NULL, DATA },
	{ "transport", required_argument, NULL, TRANSPORT },
	{ "engines", required_argument, NULL, ENGINES },
	{ "depth", required_argument, NULL, DEPTH },
	{ "batch", required_argument, NULL, BATCH },
	{ "pages", required_argument, NULL, PAGES },
	{ "rounds", required_argument, NULL, ROUNDS },
	{ "quick", no_argument, NULL, QUICK },
	{ "json", no_argument, NULL, JSON },
	{ "model", no_argument, NULL, MODEL },
	{ "software", no_argument, NULL, SOFTWARE },
	{ "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

struct command {
	const char *data;
	bool quick;
	int mode;
};

static void take_option(struct bench *bench, struct command *command, int c)
{
	const struct accel_profile *profile;

	switch (c) {
	case PROFILE:
		profile = accel_profile_find(optarg);
		if (!profile)
			die("--profile %s: allowed is %s", optarg, accel_profile_names());
		bench->profile = *profile;
		break;
	case SET:
		set_field(&bench->profile, optarg);
		break;
	case DATA:
		command->data = optarg;
		break;
	case TRANSPORT:
		bench->transports = parse_list("transport", optarg, 0);
		break;
	case ENGINES:
		bench->engines = parse_list("engines", optarg, ACCEL_MAX_ENGINES);
		break;
	case DEPTH:
		bench->depths = parse_list("depth", optarg, ACCEL_MAX_QUEUE_DEPTH);
		break;
	case BATCH:
		bench->batches = parse_list("batch", optarg, ACCEL_MAX_QUEUE_DEPTH);
		break;
	case PAGES:
		bench->nr_pages = parse_number("pages", optarg, MAX_NR_PAGES);
		break;
	case ROUNDS:
		bench->rounds = parse_number("rounds", optarg, 1000);
		break;
	case QUICK:
		command->quick = true;
		break;
	case JSON:
		bench->json = true;
		break;
	case MODEL:
	case SOFTWARE:
		command->mode = c;
		break;
	case HELP:
		fputs(usage, stdout);
		exit(EXIT_SUCCESS);
	default:
		fputs(usage, stderr);
		exit(EXIT_FAILURE);
	}
}

int main(int argc, char **argv)
{
	struct bench bench = { .profile = *accel_profile_find("swthread") };
	struct command command = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&bench, &command, c);
	if (optind < argc) {
		fputs(usage, stderr);
		return EXIT_FAILURE;
	}
	if (command.mode == MODEL) {
		bench_model(&bench);
		return EXIT_SUCCESS;
	}
	if (!command.data)
		die("--data FILE is needed: tests/bench/mkdata makes one");
	defaults(&bench, command.quick);
	load_pages(&bench, command.data);
	if (command.mode == SOFTWARE)
		bench_software(&bench);
	else
		bench_device(&bench);
	return EXIT_SUCCESS;
}
