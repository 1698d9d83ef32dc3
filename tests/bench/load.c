/* SPDX-License-Identifier: BSD-3-Clause */
#include <config.h>

#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void __attribute__((noreturn)) usage(const char *what, int status)
{
	fprintf(status ? stderr : stdout,
		"usage: %s -f DATA -m MODE [option]... %s\n"
		"  -f FILE   the data; the disk must be at least as large\n"
		"  -m MODE   read write trim randread randwrite randtrim\n"
		"  -c N      workers (1)\n"
		"  -d N      requests in flight of each worker (1)\n"
		"  -b BYTES  request size (131072)\n"
		"  -k N      only every N-th request of the data (1)\n"
		"  -n N      at most N requests of each pass\n"
		"  -l N      passes (1)\n"
		"  -s PAGES  page p of the disk is page p + PAGES of the data (0)\n"
		"  -r SEED   of the random order (1)\n"
		"  -p PID    report the CPU time of this process too\n"
		"  -t        the time of each request too: p50, p99 and the largest\n"
		"  -V        compare what is read with the data\n",
		program_invocation_short_name, what);
	exit(status);
}

static uint64_t number(const char *arg, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n = strtoull(arg, &end, 10);

	if (end == arg || *end || n < min || n > max)
		die("%s: not a number from %" PRIu64 " to %" PRIu64, arg, min, max);
	return n;
}

static void parse_mode(struct load *load, const char *mode)
{
	static const char *const names[] = {
		[LOAD_READ] = "read", [LOAD_WRITE] = "write", [LOAD_TRIM] = "trim"
	};
	const char *op = mode;

	load->random = strncmp(mode, "rand", 4) == 0;
	if (load->random)
		op += 4;
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(op, names[i]) == 0) {
			load->op = i;
			return;
		}
	}
	die("%s: not a mode", mode);
}

/* The mapping is populated, so that no page fault falls into the window. */
static void map_data(struct load *load, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *base;
	uint64_t size;
	size_t unit;

	if (fd < 0 || fstat(fd, &st) < 0)
		die("%s: %m", path);
	/* The same for every request size that divides 128 KiB. */
	unit = load->request > 131072 ? load->request : 131072;
	size = (uint64_t)st.st_size / unit * unit;
	if (size == 0)
		die("%s: shorter than %zu bytes", path, unit);
	base = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		die("mmap: %m");
	for (int i = 0; i < 2; i++) {
		int populate = i == 0 || load->shift ? MAP_POPULATE : 0;

		if (mmap(base + i * size, size, PROT_READ, MAP_SHARED | MAP_FIXED | populate, fd,
			    0) == MAP_FAILED)
			die("%s: mmap: %m", path);
	}
	close(fd);
	load->data = base;
	load->data_bytes = size;
}

static uint64_t xorshift(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

static void shuffle(struct load *load, uint64_t n)
{
	uint64_t state = load->seed * UINT64_C(0x9e3779b97f4a7c15) | 1;

	load->order = malloc(n * sizeof(*load->order));
	if (n > UINT32_MAX || !load->order)
		die("too many requests to shuffle");
	for (uint64_t i = 0; i < n; i++)
		load->order[i] = i;
	for (uint64_t i = n - 1; i > 0; i--) {
		uint64_t j = xorshift(&state) % (i + 1);
		uint32_t t = load->order[i];

		load->order[i] = load->order[j];
		load->order[j] = t;
	}
}

/* Touched now, so that no page fault falls into the window. */
static void make_room(struct load *load)
{
	load->latency = malloc(load->requests * sizeof(*load->latency));
	if (!load->latency)
		die("out of memory");
	memset(load->latency, 0xff, load->requests * sizeof(*load->latency));
}

void load_init(struct load *load, int argc, char **argv, const char *what)
{
	const char *path = NULL, *mode = NULL;
	uint64_t max = UINT64_MAX, passes = 1;
	bool timed = false;
	int opt;

	*load = (struct load){
		.workers = 1, .depth = 1, .request = 131072, .stride = 1, .seed = 1
	};
	while ((opt = getopt(argc, argv, "f:m:c:d:b:k:n:l:s:r:p:tVh")) != -1) {
		switch (opt) {
		case 'f':
			path = optarg;
			break;
		case 'm':
			mode = optarg;
			break;
		case 'c':
			load->workers = number(optarg, 1, 1024);
			break;
		case 'd':
			load->depth = number(optarg, 1, 1024);
			break;
		case 'b':
			load->request = number(optarg, LOAD_PAGE, 32 << 20);
			break;
		case 'k':
			load->stride = number(optarg, 1, UINT32_MAX);
			break;
		case 'n':
			max = number(optarg, 1, UINT64_MAX);
			break;
		case 'l':
			passes = number(optarg, 1, 1000);
			break;
		case 's':
			load->shift = number(optarg, 0, UINT32_MAX);
			break;
		case 'r':
			load->seed = number(optarg, 1, UINT64_MAX);
			break;
		case 'p':
			load->server = number(optarg, 1, INT32_MAX);
			break;
		case 't':
			timed = true;
			break;
		case 'V':
			load->verify = true;
			break;
		case 'h':
			usage(what, EXIT_SUCCESS);
		default:
			usage(what, EXIT_FAILURE);
		}
	}
	if (!path || !mode || optind != argc - 1)
		usage(what, EXIT_FAILURE);
	if (load->request % LOAD_PAGE)
		die("%zu: a request is a multiple of %u bytes", load->request, LOAD_PAGE);
	load->target = argv[optind];
	parse_mode(load, mode);
	map_data(load, path);
	load->shift %= load->data_bytes / LOAD_PAGE;
	load->pass = load->data_bytes / load->request / load->stride;
	if (load->pass == 0)
		die("%s: no request is left with this stride", path);
	if (load->random)
		shuffle(load, load->pass);
	if (load->pass > max)
		load->pass = max;
	load->requests = load->pass * passes;
	if (timed)
		make_room(load);
}

bool load_next(struct load *load, uint64_t *offset)
{
	uint64_t i = atomic_fetch_add_explicit(&load->next, 1, memory_order_relaxed);

	if (i >= load->requests)
		return false;
	i %= load->pass;
	if (load->order)
		i = load->order[i];
	*offset = i * load->stride * load->request;
	return true;
}

const uint8_t *load_content(const struct load *load, uint64_t offset)
{
	return load->data + offset + load->shift * LOAD_PAGE;
}

void load_check(const struct load *load, uint64_t offset, const void *buf)
{
	if (load->verify && memcmp(buf, load_content(load, offset), load->request) != 0)
		die("the %zu bytes at %" PRIu64 " differ from what was written", load->request,
			offset);
}

uint64_t load_clock(const struct load *load)
{
	struct timespec ts;

	if (!load->latency)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

void load_timed(struct load *load, uint64_t begin)
{
	uint64_t ns;

	if (!load->latency)
		return;
	ns = load_clock(load) - begin;
	load->latency[atomic_fetch_add_explicit(&load->nr_latency, 1, memory_order_relaxed)] =
		ns < UINT32_MAX ? ns : UINT32_MAX;
}

/* All are ready; then load_run() has taken the time. */
void load_begin(struct load *load)
{
	pthread_barrier_wait(&load->barrier);
	pthread_barrier_wait(&load->barrier);
}

void load_end(struct load *load)
{
	pthread_barrier_wait(&load->barrier);
}

struct times {
	double wall, cpu, server;
};

static double seconds(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		die("clock_gettime: %m");
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static struct times now(const struct load *load)
{
	struct times t = { .wall = seconds(CLOCK_MONOTONIC) };
	struct rusage usage;
	clockid_t clock;

	getrusage(RUSAGE_SELF, &usage);
	t.cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
		(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
	/* Counts threads that have ended too, in nanoseconds; /proc/PID/stat counts in ticks. */
	if (load->server) {
		if (clock_getcpuclockid(load->server, &clock) != 0)
			die("process %d has no CPU clock", (int)load->server);
		t.server = seconds(clock);
	}
	return t;
}

static int compare_ns(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* By nearest rank. */
static void print_latency(const struct load *load)
{
	uint64_t n = load->nr_latency;

	qsort(load->latency, n, sizeof(*load->latency), compare_ns);
	printf(",\"latency_us\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}",
		load->latency[(n - 1) / 2] / 1e3, load->latency[(99 * n + 99) / 100 - 1] / 1e3,
		load->latency[n - 1] / 1e3);
}

struct start {
	struct load *load;
	load_worker_fn *worker;
	unsigned index;
};

static void *start_worker(void *arg)
{
	struct start *start = arg;

	start->worker(start->load, start->index);
	return NULL;
}

void load_run(struct load *load, load_worker_fn *worker, load_more_fn *more)
{
	pthread_t *threads = calloc(load->workers, sizeof(*threads));
	struct start *starts = calloc(load->workers, sizeof(*starts));
	struct times t0, t1;

	if (!threads || !starts)
		die("out of memory");
	pthread_barrier_init(&load->barrier, NULL, load->workers + 1);
	for (unsigned i = 0; i < load->workers; i++) {
		starts[i] = (struct start){ load, worker, i };
		if (pthread_create(&threads[i], NULL, start_worker, &starts[i]) != 0)
			die("cannot start a thread");
	}
	pthread_barrier_wait(&load->barrier);
	t0 = now(load);
	pthread_barrier_wait(&load->barrier);
	pthread_barrier_wait(&load->barrier);
	t1 = now(load);
	for (unsigned i = 0; i < load->workers; i++)
		pthread_join(threads[i], NULL);
	printf("{\"pages\":%" PRIu64 ",\"wall\":%.6f,\"cpu\":%.6f,\"server_cpu\":%.6f",
		load->requests * (load->request / LOAD_PAGE), t1.wall - t0.wall, t1.cpu - t0.cpu,
		t1.server - t0.server);
	if (load->nr_latency)
		print_latency(load);
	if (more)
		more(load);
	puts("}");
	free(threads);
	free(starts);
	free(load->order);
	free(load->latency);
}
