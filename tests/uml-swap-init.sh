# SPDX-License-Identifier: BSD-3-Clause
# The first process of test-swap-uml.sh's kernel, which has 256 MiB of memory.
source "$(dirname "$0")/uml-init.sh"
set -x

echo 16384 >/proc/sys/vm/min_free_kbytes
prepare_nbd
step nbdkit -P /run/pid -U /run/sock "$UZRAM_PLUGIN" 512M swap=yes control=/run/control
step nbd-client -unix /run/sock /dev/nbd0 -b 4096 -C 2 -N ""
step mkswap /dev/nbd0
step swapon --discard /dev/nbd0
locked=$(awk '/^Locked:/ { kb += $2 } END { print kb }' "/proc/$(cat /run/pid)/smaps")
result "locked: $locked kB"
result "$("$UZRAM_BUILD/tests/hog" "$HOG_MIB" "$HOG_FILE" 2>&1)"
result "pages out: $(awk '$1 == "pswpout" { print $2 }' /proc/vmstat)"
result "pages in: $(awk '$1 == "pswpin" { print $2 }' /proc/vmstat)"
result "stat: $("$UZRAMCTL" -s /run/control --json stat | tr -d '\n')"
step swapoff /dev/nbd0
result "swapoff: done"
nbd-client -d /dev/nbd0
kill "$(cat /run/pid)"
