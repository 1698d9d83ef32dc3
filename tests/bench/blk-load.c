/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blk-load: reads, writes or discards a block device of the kernel with
 * O_DIRECT. A worker is one thread with one synchronous request at a time, as
 * kernel zram does the work in the caller.
 */
#include <config.h>

#include "load.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int do_request(struct load *load, int fd, void *buf, uint64_t offset)
{
	uint64_t range[2] = { offset, load->request };
	ssize_t n = load->request;

	switch (load->op) {
	case LOAD_READ:
		n = pread(fd, buf, load->request, offset);
		break;
	case LOAD_WRITE:
		n = pwrite(fd, load_content(load, offset), load->request, offset);
		break;
	case LOAD_TRIM:
		return ioctl(fd, BLKDISCARD, range);
	}
	return n == (ssize_t)load->request ? 0 : -1;
}

static void worker(struct load *load, unsigned index)
{
	int fd = open(load->target, O_RDWR | O_DIRECT | O_CLOEXEC);
	void *buf = aligned_alloc(LOAD_PAGE, load->request);
	uint64_t offset, size, begin;

	(void)index;
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0)
		die("%s: %m", load->target);
	if (size < load->data_bytes)
		die("the disk is smaller than the data");
	if (!buf)
		die("out of memory");
	memset(buf, 0, load->request);
	load_begin(load);
	while (load_next(load, &offset)) {
		begin = load_clock(load);
		if (do_request(load, fd, buf, offset) < 0)
			die("request at %" PRIu64 ": %m", offset);
		load_timed(load, begin);
		if (load->op == LOAD_READ)
			load_check(load, offset, buf);
	}
	load_end(load);
	free(buf);
	close(fd);
}

int main(int argc, char **argv)
{
	struct load load;

	load_init(&load, argc, argv, "DEVICE");
	load_run(&load, worker, NULL);
	return 0;
}
