#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The first process of test-swap-uml.sh's kernel, which has the host's file system
# as its own and 256 MiB of memory. What happened goes to $DIR/result, line
# by line; the kernel is switched off at the end whatever happens.
dir=$DIR
exec </dev/null >>"$dir/init.log" 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
trap 'echo "end" >>"$dir/result"; sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT
result () { echo "$*" >>"$dir/result"; }
step () { "$@" || { result "failed: $*"; exit 1; }; }

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
set -x
echo 16384 >/proc/sys/vm/min_free_kbytes
# nbdkit has three static buffers of 64 MiB.
echo 1 >/proc/sys/vm/overcommit_memory
step insmod "/usr/lib/uml/modules/$(uname -r)/kernel/drivers/block/nbd.ko"

step nbdkit -P /run/pid -U /run/sock "$UZRAM_PLUGIN" 512M swap=yes control=/run/control
step nbd-client -unix /run/sock /dev/nbd0 -b 4096 -C 2 -N ""
step mkswap /dev/nbd0
step swapon --discard /dev/nbd0
locked=$(awk '/^Locked:/ { kb += $2 } END { print kb }' "/proc/$(cat /run/pid)/smaps")
result "locked: $locked kB"
result "$("$HOG" "$HOG_MIB" "$HOG_FILE" 2>&1)"
result "pages out: $(awk '$1 == "pswpout" { print $2 }' /proc/vmstat)"
result "pages in: $(awk '$1 == "pswpin" { print $2 }' /proc/vmstat)"
result "stat: $("$UZRAMCTL" -s /run/control --json stat | tr -d '\n')"
step swapoff /dev/nbd0
result "swapoff: done"
nbd-client -d /dev/nbd0
kill "$(cat /run/pid)"
