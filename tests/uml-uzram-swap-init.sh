#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The first process of test-uzram-swap-uml.sh's kernel, which has the host's file
# system as its own. What happened goes to $DIR/result; the kernel is switched off
# at the end whatever happens.
dir=$DIR
exec </dev/null >>"$dir/init.log" 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
trap 'echo "end" >>"$dir/result"; sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/self/fd /dev/fd
mount -t tmpfs tmpfs /run
# nbdkit has three static buffers of 64 MiB.
echo 1 >/proc/sys/vm/overcommit_memory
insmod "/usr/lib/uml/modules/$(uname -r)/kernel/drivers/block/nbd.ko" ||
    { echo "no nbd.ko" >>"$dir/result"; exit; }


# Control groups of version 2, in which others may not be at the root.
cgroups=/sys/fs/cgroup
mount -t cgroup2 none $cgroups && echo +memory >$cgroups/cgroup.subtree_control
mkdir $cgroups/unit

export UZRAM_PLUGIN UZRAMCTL
swap=$UZRAM_BUILD/plugin/uzram-swap
(
	export UZRAM_SWAP_DIR=/run/swap
	"$swap" start 64M && grep -q '^nbd ' /run/swap/journal && echo "attached: nbd"
	"$swap" status >&2
	read -r _ pid _ < <(grep ^server /run/swap/journal)
	echo "cgroup: $(cat $cgroups/swap/memory.swap.max) $(grep -cx "$pid" $cgroups/swap/cgroup.procs)"
	"$swap" stop
	# As in uzram-swap.service: the group is there already.
	echo $BASHPID >$cgroups/unit/cgroup.procs
	echo 0 >$cgroups/unit/memory.swap.max
	"$swap" start 64M
	read -r _ pid _ < <(grep ^server /run/swap/journal)
	echo "unit: $(ls -d $cgroups/swap) $(grep -cx "$pid" $cgroups/unit/cgroup.procs)"
	"$swap" stop
) >>"$dir/result"
UZRAM_TEST_ROUNDS=few UZRAM_TEST_STATE=/run/uzram-swap-test \
    /bin/bash "$HERE/test-uzram-swap.sh"
echo "status: $?" >>"$dir/result"
