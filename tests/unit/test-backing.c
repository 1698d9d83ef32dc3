/* SPDX-License-Identifier: BSD-3-Clause */
/* Backings of each kind: the same bytes in and out, locks, sizes, faults, servers that vanish. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "log-fixture.h"

#include <cmocka.h>

static uint64_t rng_state = 4711;

static uint64_t rng(void)
{
	return rng_next(&rng_state);
}

static struct backing *open_start(const struct backing_config *c)
{
	struct uz_error e = { 0 };
	struct backing *b = backing_open(c, &e);

	if (!b || backing_start(b, &e) == -1)
		fail_msg("%s", e.text);
	return b;
}

static void refused(const struct backing_config *c, int code, const char *words)
{
	struct uz_error e = { 0 };

	assert_null(backing_open(c, &e));
	if (e.code != code || !strstr(e.text, words))
		fail_msg("expected %d \"%s\", got %d \"%s\"", code, words, e.code, e.text);
}

static unsigned ms_since(uint64_t start)
{
	return (uz_nsec() - start) / 1000000;
}

/* --- servers --- */

/* Runs a command; its pid. */
static pid_t spawn(const char *const argv[])
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

/* The same of a server that is to listen at `socket`, once it does. 0: it ended at once. */
static pid_t listening(const char *const argv[], const char *socket)
{
	pid_t pid;

	unlink(socket);
	pid = spawn(argv);
	for (unsigned i = 0; access(socket, F_OK) == -1; i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return 0;
		if (i > 2000)
			fail_msg("%s does not listen", argv[0]);
		usleep(10000);
	}
	usleep(20000); /* bound; it listens next */
	return pid;
}

/* A server of `file` on a unix socket. 0: there is no such program. */
static pid_t serve(const char *program, const char *socket, const char *file, const char *more)
{
	const char *const nbdkit[] = { "nbdkit", "-f", "-U", socket, "file", file, more, NULL };
	const char *const qemu[] = { "qemu-nbd", "-t", "-f", "raw", "-k", socket, "-e", "8",
		"--discard=unmap", file, NULL };

	return listening(!strcmp(program, "nbdkit") ? nbdkit : qemu, socket);
}

static void end(pid_t pid, int signo)
{
	kill(pid, signo);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static const char *uri(const char *socket)
{
	static char text[256];

	snprintf(text, sizeof(text), "nbd+unix:///?socket=%s", socket);
	return text;
}

static void make_file(const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static bool have(const char *program)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
	if (system(command) == 0)
		return true;
	print_message("SKIP: needs %s\n", program);
	return false;
}

/* --- the same for all kinds --- */

static void fill_block(void *buf, uint32_t len, uint64_t offset, uint64_t seed)
{
	for (uint32_t i = 0; i < len; i += 512)
		fill_bytes((char *)buf + i, 512, seed + offset + i);
}

/* Everything is written, in requests of many lengths, many at once; and read in others. */
static void in_and_out(struct backing *b, uint64_t size, uint64_t seed)
{
	struct backing_queue *q = backing_queue_get(b);
	struct backing_info info;
	unsigned char *buf = backing_alloc(2 * MIB, true), *want = backing_alloc(128 * KIB, true);

	backing_get_info(b, &info);
	for (int write = 1; write >= 0; write--) {
		for (uint64_t at = 0; at < size;) {
			struct backing_io ios[BACKING_DEPTH];
			unsigned n = 0;

			for (; n < 1 + rng() % BACKING_DEPTH && n < 16 && at < size; n++) {
				uint64_t len = info.block * (1 + rng() % (128 * KIB / info.block));

				ios[n] = (struct backing_io){ .buf = buf + n * 128 * KIB,
					.offset = at,
					.op = write ? BACKING_WRITE : BACKING_READ,
					.len = min_u64(len, size - at) };
				if (write)
					fill_block(ios[n].buf, ios[n].len, at, seed);
				at += ios[n].len;
			}
			assert_int_equal(backing_run(q, ios, n), 0);
			for (unsigned i = 0; i < n && !write; i++) {
				fill_block(want, ios[i].len, ios[i].offset, seed);
				assert_memory_equal(ios[i].buf, want, ios[i].len);
			}
		}
	}
	/* One by one, as a writer does: submit, go on, reap when there is one. */
	for (unsigned i = 0; i < 100; i++) {
		struct backing_io io = { .op = BACKING_READ,
			.buf = buf,
			.len = 4096,
			.offset = rng() % (size / 4096) * 4096 };

		backing_submit(q, &io, 1);
		if (i % 2)
			while (!backing_reap(q, false))
				usleep(10);
		else
			assert_ptr_equal(backing_reap(q, true), &io);
		assert_int_equal(io.error, 0);
		fill_block(want, 4096, io.offset, seed);
		assert_memory_equal(buf, want, 4096);
	}
	assert_null(backing_reap(q, true));
	backing_queue_put(q);
	free(buf);
	free(want);
}

static void punched(struct backing *b, uint64_t size)
{
	struct backing_info info;
	uint64_t before = backing_allocated(b);

	backing_get_info(b, &info);
	assert_true(info.can_punch);
	assert_int_equal(backing_trim(b, MIB, size - 2 * MIB), 0);
	if (before != UINT64_MAX)
		assert_true(backing_allocated(b) <= before - (size - 3 * MIB));
}

static void files_by_io_uring(void **state)
{
	struct backing_config c = { .where = test_path("uring"), .size = 16 * MIB };
	struct backing *b = open_start(&c);
	struct backing_info info;
	char *buf = backing_alloc(4096, true);

	backing_get_info(b, &info);
	assert_true(info.created && info.exclusive);
	assert_int_equal(info.size, 16 * MIB);
	if (strcmp(info.kind, "io_uring"))
		print_message("note: io_uring is not to be had here\n");
	in_and_out(b, info.size, 1);
	punched(b, info.size);
	assert_int_equal(backing_pread(b, buf, 4096, 16 * MIB), EIO); /* beyond the end */
	free(buf);
	backing_close(b);
	c.no_direct = true;
	c.size = 0;
	b = open_start(&c);
	backing_get_info(b, &info);
	assert_false(info.direct || info.created);
	in_and_out(b, info.size, 2);
	backing_close(b);
}

static void files_by_threads(void **state)
{
	struct backing *b = open_start(&(struct backing_config){
		.where = test_path("threads"), .size = 16 * MIB, .no_uring = true });
	struct backing_info info;

	backing_get_info(b, &info);
	assert_string_equal(info.kind, "threads");
	in_and_out(b, info.size, 1);
	punched(b, info.size);
	backing_close(b);
}

static void short_transfers_go_on(void **state)
{
	for (unsigned kind = 0; kind < 2; kind++) {
		struct uz_error e;
		struct backing *b = backing_fault_wrap(
			backing_open(&(struct backing_config){ .where = test_path("short"),
					     .size = 8 * MIB,
					     .no_uring = kind,
					     .overwrite = true },
				&e),
			7);

		assert_int_equal(backing_start(b, &e), 0);
		for (unsigned f = FAULT_READ_SHORT; f <= FAULT_WRITE_SHORT; f++)
			backing_fault_set(
				b, f, &(struct backing_fault_rule){ .permille = 700, .times = -1 });
		in_and_out(b, 8 * MIB, 3);
		assert_true(backing_fault_hits(b, FAULT_READ_SHORT) > 100);
		assert_true(backing_fault_hits(b, FAULT_WRITE_SHORT) > 100);
		backing_close(b);
	}
}

/* In a container that forbids it. */
static void threads_take_over(void **state)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(filter), filter };
	const char *path = test_path("seccomp");
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		struct uz_error e;
		struct backing_info info;
		struct backing *b;
		char *buf = backing_alloc(4096, true);

		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
			prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == -1)
			_exit(77);
		b = backing_open(&(struct backing_config){ .where = path, .size = MIB }, &e);
		if (!b || backing_start(b, &e) == -1)
			_exit(1);
		backing_get_info(b, &info);
		if (strcmp(info.kind, "threads") || backing_pwrite(b, buf, 4096, 8192) ||
			backing_pread(b, buf, 4096, 8192))
			_exit(2);
		backing_close(b);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void after_a_fork(void **state)
{
	struct uz_error e;
	struct backing *b = backing_open(
		&(struct backing_config){ .where = test_path("fork"), .size = 4 * MIB }, &e);
	char *buf = backing_alloc(4096, true);
	pid_t pid;
	int status;

	/* As nbdkit does it: looked at before, used after. */
	assert_non_null(b);
	assert_int_equal(backing_pwrite(b, buf, 4096, 0), 0);
	pid = fork();
	if (!pid) {
		if (backing_start(b, &e) == -1 || backing_pread(b, buf, 4096, 0))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	backing_close(b);
	free(buf);
}

static void one_owner(void **state)
{
	struct backing_config c = { .where = test_path("owner"), .size = 4 * MIB };
	struct backing *b = open_start(&c);

	refused(&c, EBUSY, "in use");
	c.size = 0;
	refused(&c, EBUSY, "in use");
	c.size = 5 * MIB;
	c.overwrite = true;
	refused(&c, EBUSY, "in use");
	backing_close(b);
	b = open_start(&c);
	backing_close(b);
}

/* Many threads, few queues. */
static void *hammer(void *arg)
{
	struct backing *b = arg;
	char *buf = backing_alloc(64 * KIB, true), want[512];
	uint64_t state = (uintptr_t)&b;

	for (unsigned i = 0; i < 200; i++) {
		struct backing_queue *q = backing_queue_get(b);
		struct backing_io ios[16];

		for (unsigned k = 0; k < 16; k++)
			ios[k] = (struct backing_io){ .op = BACKING_READ,
				.buf = buf + k * 4096,
				.len = 4096,
				.offset = rng_next(&state) % 1024 * 4096 };
		if (backing_run(q, ios, 1 + i % 16) != 0)
			abort();
		fill_bytes(want, 512, 1 + ios[0].offset);
		if (memcmp(buf, want, 512))
			abort();
		backing_queue_put(q);
	}
	free(buf);
	return NULL;
}

static void share_queues(struct backing *b)
{
	pthread_t threads[6];

	in_and_out(b, 4 * MIB, 1);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, b), 0);
	for (unsigned i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
}

/* Two are kept, as a log does it; and for the moment there can be no fourth. */
static void no_descriptors_left(void **state)
{
	struct backing *b = open_start(
		&(struct backing_config){ .where = test_path("few"), .size = 4 * MIB });
	struct backing_queue *q[8] = { backing_queue_get(b), backing_queue_get(b) };
	struct rlimit usual, few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	few = (struct rlimit){ .rlim_cur = 3, .rlim_max = usual.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	alarm(60); /* else it would be waited for for ever */
	for (unsigned i = 0; i < 3; i++) {
		q[2] = backing_queue_get(b);
		assert_non_null(q[2]);
		backing_queue_put(q[2]);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	for (unsigned i = 2; i < 8; i++)
		q[i] = backing_queue_get(b);
	alarm(0);
	for (unsigned i = 0; i < 8; i++)
		backing_queue_put(q[i]);
	backing_close(b);
}

/* Who waits for one as there can be no other gets the next that is put. */
static void *get_and_put(void *opaque)
{
	struct backing_queue *q = backing_queue_get(opaque);

	backing_queue_put(q);
	return NULL;
}

static void waits_for_one_that_comes_back(void **state)
{
	struct backing *b = open_start(
		&(struct backing_config){ .where = test_path("back"), .size = 4 * MIB });
	struct backing_queue *q[3];
	struct rlimit usual, few;
	pthread_t thread;

	for (unsigned i = 0; i < 3; i++)
		q[i] = backing_queue_get(b);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	few = (struct rlimit){ .rlim_cur = 3, .rlim_max = usual.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	pthread_create(&thread, NULL, get_and_put, b);
	usleep(100000);
	backing_queue_put(q[2]);
	alarm(60);
	pthread_join(thread, NULL);
	alarm(0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	backing_queue_put(q[1]);
	backing_queue_put(q[0]);
	backing_close(b);
}

static void threads_share_queues(void **state)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		struct backing *b = open_start(
			&(struct backing_config){ .where = test_path("share"),
				.size = 4 * MIB,
				.queues = 2,
				.overwrite = true,
				.no_uring = kind == 1,
				.locked = kind == 2 });

		share_queues(b);
		backing_close(b);
	}
}

/* --- block devices --- */

static void loop_device(void **state)
{
	const char *file = test_path("loop");
	char command[256], device[64] = "";
	struct backing_config c = { .where = device };
	struct backing_info info;
	struct backing *b;
	FILE *fp;

	if (geteuid() != 0 || !have("losetup"))
		skip();
	make_file(file, 16 * MIB);
	snprintf(command, sizeof(command), "losetup --find --show %s 2>/dev/null", file);
	fp = popen(command, "r");
	if (!fp || !fgets(device, sizeof(device), fp)) {
		print_message("SKIP: needs a loop device\n");
		skip();
	}
	pclose(fp);
	device[strcspn(device, "\n")] = '\0';
	b = open_start(&c);
	backing_get_info(b, &info);
	assert_int_equal(info.size, 16 * MIB);
	assert_true(info.direct && info.exclusive);
	in_and_out(b, info.size, 5);
	punched(b, info.size);
	refused(&c, EBUSY, "in use");
	backing_close(b);
	c.size = 8 * MIB;
	refused(&c, EINVAL, "the device has 16777216 bytes, backing-size= says 8388608");
	snprintf(command, sizeof(command), "losetup -d %s", device);
	assert_int_equal(system(command), 0);
}

/* --- NBD --- */

static void nbd_server(const char *program)
{
	const char *file = test_path("export"), *socket = test_path("sock");
	struct backing_config c = { .where = uri(socket) };
	struct backing_info info;
	struct backing *b;
	struct stat before, after;
	pid_t pid;

	if (!have(program))
		skip();
	make_file(file, 16 * MIB);
	pid = serve(program, socket, file, NULL);
	assert_true(pid > 0);
	b = open_start(&c);
	backing_get_info(b, &info);
	assert_string_equal(info.kind, "nbd");
	assert_int_equal(info.size, 16 * MIB);
	assert_false(info.exclusive);
	in_and_out(b, info.size, 9);
	stat(file, &before);
	punched(b, info.size);
	stat(file, &after);
	assert_true(after.st_blocks < before.st_blocks / 2);
	share_queues(b);
	backing_close(b);
	c.size = 8 * MIB;
	refused(&c, EINVAL, "the export has 16777216 bytes, backing-size= says 8388608");
	end(pid, SIGTERM);
	unlink(socket);
	c.reconnect_ms = 1000;
	refused(&c, ENOENT, "backing=nbd+unix");
}

static void nbdkit_file(void **state)
{
	nbd_server("nbdkit");
}

static void qemu_nbd(void **state)
{
	nbd_server("qemu-nbd");
}

/* One that refuses what is larger than it said: it gets parts. */
static void small_requests_only(void **state)
{
	const char *const argv[] = { "nbdkit", "-f", "--filter=blocksize-policy", "-U",
		test_path("small"), "memory", "16M", "blocksize-minimum=1",
		"blocksize-preferred=4096", "blocksize-maximum=12288",
		"blocksize-error-policy=error", NULL };
	struct backing_config c = { .where = uri(argv[4]) };
	unsigned char *buf = backing_alloc(64 * KIB, true), *want = backing_alloc(64 * KIB, true);
	struct uz_error e = { 0 };
	struct backing *b;
	pid_t pid;

	if (!have("nbdkit"))
		skip();
	pid = listening(argv, argv[4]);
	assert_int_not_equal(pid, 0);
	b = backing_open(&c, &e);
	if (!b)
		fail_msg("%s", e.text);
	fill_block(want, 64 * KIB, 0, 7);
	memcpy(buf, want, 64 * KIB);
	assert_int_equal(backing_pwrite(b, buf, 64 * KIB, 0), 0);
	memset(buf, 0, 64 * KIB);
	assert_int_equal(backing_pread(b, buf, 64 * KIB, 0), 0);
	assert_memory_equal(buf, want, 64 * KIB);
	assert_int_equal(backing_start(b, &e), 0);
	in_and_out(b, 16 * MIB, 9);
	backing_close(b);
	end(pid, SIGTERM);
	unlink(argv[4]);
	free(buf);
	free(want);
}

static void read_only_export(void **state)
{
	const char *const argv[] = { "nbdkit", "-f", "-r", "-U", test_path("ro"), "memory", "1M",
		NULL };
	pid_t pid;

	if (!have("nbdkit"))
		skip();
	pid = listening(argv, argv[4]);
	assert_int_not_equal(pid, 0);
	refused(&(struct backing_config){ .where = uri(argv[4]) }, EROFS, "read-only");
	end(pid, SIGTERM);
	unlink(argv[4]);
}

struct reader {
	struct backing *b;
	int error;
	unsigned ms;
	bool right;
};

/* Requests that are out while the server goes. */
static void *reader_main(void *arg)
{
	struct reader *r = arg;
	struct backing_queue *q = backing_queue_get(r->b);
	uint64_t start = uz_nsec();
	struct backing_io ios[32];
	char want[512], *buf = backing_alloc(32 * 4096, true);

	for (unsigned i = 0; i < 32; i++)
		ios[i] = (struct backing_io){ .op = i % 8 ? BACKING_READ : BACKING_WRITE,
			.buf = buf + i * 4096,
			.len = 4096,
			.offset = i * 4096 };
	for (unsigned i = 0; i < 32; i += 8)
		fill_block(ios[i].buf, 4096, ios[i].offset, 9);
	r->error = backing_run(q, ios, 32);
	r->right = true;
	for (unsigned i = 0; i < 32; i++) {
		fill_bytes(want, 512, 9 + ios[i].offset);
		r->right &= !memcmp(ios[i].buf, want, 512);
	}
	r->ms = ms_since(start);
	backing_queue_put(q);
	free(buf);
	return NULL;
}

static void vanishing_server(void **state)
{
	const char *file = test_path("vanish"), *socket = test_path("vsock");
	struct backing_config c = { .where = uri(socket), .reconnect_ms = 3000, .stall_ms = 2000 };
	char *buf = backing_alloc(4096, true);
	struct reader r;
	pthread_t thread;
	uint64_t start;
	pid_t pid;

	if (!have("nbdkit"))
		skip();
	make_file(file, 4 * MIB);
	pid = serve("nbdkit", socket, file, NULL);
	r.b = open_start(&c);
	in_and_out(r.b, 4 * MIB, 9);

	/* It is stopped, then killed while requests are out, and comes back: nobody notices. */
	kill(pid, SIGSTOP);
	usleep(200000); /* it may have been running just then */
	assert_int_equal(pthread_create(&thread, NULL, reader_main, &r), 0);
	usleep(200000);
	end(pid, SIGKILL);
	usleep(500000);
	pid = serve("nbdkit", socket, file, NULL);
	pthread_join(thread, NULL);
	assert_int_equal(r.error, 0);
	assert_true(r.right);

	/* It stays away: errors, after a bounded time; then at once. */
	end(pid, SIGKILL);
	reader_main(&r);
	assert_int_equal(r.error, ENOTCONN);
	assert_true(r.ms < 30000);
	start = uz_nsec();
	assert_int_equal(backing_pread(r.b, buf, 4096, 0), ENOTCONN);
	assert_true(ms_since(start) < 1500);

	/* It is back at last. */
	pid = serve("nbdkit", socket, file, NULL);
	for (start = uz_nsec(); backing_pread(r.b, buf, 4096, 0) != 0; usleep(50000))
		assert_true(ms_since(start) < 30000);
	in_and_out(r.b, 4 * MIB, 9);

	/* It hangs: as if it had gone. */
	kill(pid, SIGSTOP);
	usleep(200000); /* it may have been running just then */
	reader_main(&r);
	assert_int_equal(r.error, ENOTCONN);
	assert_true(r.ms >= 1500 && r.ms < 60000);
	/* (nbdkit 1.32 may abort when it finds its client gone.) */
	end(pid, SIGKILL);
	pid = serve("nbdkit", socket, file, NULL);
	for (start = uz_nsec(); backing_pread(r.b, buf, 4096, 0) != 0; usleep(50000))
		assert_true(ms_since(start) < 30000);

	/* It hangs, and all is to end. */
	kill(pid, SIGSTOP);
	usleep(200000); /* it may have been running just then */
	assert_int_equal(pthread_create(&thread, NULL, reader_main, &r), 0);
	usleep(100000);
	start = uz_nsec();
	backing_stop(r.b);
	pthread_join(thread, NULL);
	backing_close(r.b);
	assert_int_equal(r.error, ENOTCONN);
	assert_true(ms_since(start) < 15000);
	end(pid, SIGKILL);
	unlink(socket);
	free(buf);
}

static void another_store_is_not_ours(void **state)
{
	const char *file = test_path("one"), *other = test_path("other");
	const char *socket = test_path("osock");
	struct backing_config c = { .where = uri(socket), .reconnect_ms = 1000 };
	char *buf = backing_alloc(4096, true);
	struct backing *b;
	uint64_t start;
	pid_t pid;

	if (!have("nbdkit"))
		skip();
	make_file(file, 4 * MIB);
	make_file(other, 4 * MIB);
	pid = serve("nbdkit", socket, file, NULL);
	b = open_start(&c);
	memcpy(buf, "my very own store", 17);
	assert_int_equal(backing_pwrite(b, buf, 4096, 0), 0);
	backing_expect(b, 3, buf + 3, 14);
	end(pid, SIGKILL);
	pid = serve("nbdkit", socket, other, NULL);
	assert_int_equal(backing_pread(b, buf, 4096, 0), ENOTCONN);
	end(pid, SIGKILL);
	pid = serve("nbdkit", socket, file, NULL);
	for (start = uz_nsec(); backing_pread(b, buf, 4096, 0) != 0; usleep(50000))
		assert_true(ms_since(start) < 30000);
	assert_memory_equal(buf, "my very own store", 17);
	backing_close(b);
	end(pid, SIGTERM);
	unlink(socket);
	free(buf);
}

/* A log whose owner was killed: nobody holds a lock there, so it must be said aloud. */
static void log_left_open_on_nbd(void **state)
{
	const char *file = test_path("left"), *socket = test_path("lsock");
	struct backing_config c = { .where = uri(socket) };
	struct log_config lc = { 0 };
	struct backing *b;
	struct uz_error e;
	struct log *log;
	pid_t pid;

	if (!have("nbdkit"))
		skip();
	make_file(file, 4 * MIB);
	pid = serve("nbdkit", socket, file, NULL);
	b = open_start(&c);
	log = log_open(b, &lc, &e);
	assert_non_null(log);
	assert_int_equal(log_start(log, &e), 0);
	{
		struct backing *second = open_start(&c);

		assert_null(log_open(second, &lc, &e));
		assert_int_equal(e.code, EBUSY);
		assert_non_null(strstr(e.text, "is in use, or was left so, by process"));
		assert_non_null(strstr(e.text, "of this machine"));
		backing_close(second);
	}
	/* Cleanly: it may be taken. */
	log_close(log);
	backing_close(b);
	b = open_start(&c);
	log = log_open(b, &lc, &e);
	assert_non_null(log);
	log_stop(log); /* in a hurry, but the server is there */
	log_close(log);
	backing_close(b);
	b = open_start(&c);
	log = log_open(b, &lc, &e);
	assert_non_null(log);
	/* Not cleanly: it may be taken when told so. */
	end(pid, SIGKILL);
	log_stop(log);
	log_close(log);
	backing_close(b);
	pid = serve("nbdkit", socket, file, NULL);
	b = open_start(&c);
	assert_null(log_open(b, &lc, &e));
	assert_int_equal(e.code, EBUSY);
	lc.overwrite = true;
	log = log_open(b, &lc, &e);
	assert_non_null(log);
	log_close(log);
	backing_close(b);
	end(pid, SIGTERM);
	unlink(socket);
}

static void no_warning(const char *line)
{
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_by_io_uring),
		cmocka_unit_test(files_by_threads),
		cmocka_unit_test(short_transfers_go_on),
		cmocka_unit_test(threads_take_over),
		cmocka_unit_test(after_a_fork),
		cmocka_unit_test(one_owner),
		cmocka_unit_test(threads_share_queues),
		cmocka_unit_test(no_descriptors_left),
		cmocka_unit_test(waits_for_one_that_comes_back),
		cmocka_unit_test(loop_device),
		cmocka_unit_test(nbdkit_file),
		cmocka_unit_test(qemu_nbd),
		cmocka_unit_test(small_requests_only),
		cmocka_unit_test(read_only_export),
		cmocka_unit_test(vanishing_server),
		cmocka_unit_test(another_store_is_not_ours),
		cmocka_unit_test(log_left_open_on_nbd),
	};

	uz_set_warn_hook(no_warning);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
