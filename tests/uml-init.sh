# SPDX-License-Identifier: BSD-3-Clause
# What the first processes of boot_uml's kernels begin with. What happened goes to $DIR/result, line
# by line; the kernel is switched off at the end whatever happens.
exec </dev/null >>"$DIR/init.log" 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
trap 'result end; sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT
result () { echo "$*" >>"$DIR/result"; }
step () { "$@" || { result "failed: $*"; exit 1; }; }

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/self/fd /dev/fd
mount -t tmpfs tmpfs /run

# For servers with the kernel's own NBD client.
prepare_nbd () {
	# nbdkit has three static buffers of 64 MiB.
	echo 1 >/proc/sys/vm/overcommit_memory
	step insmod "/usr/lib/uml/modules/$(uname -r)/kernel/drivers/block/nbd.ko"
}
