# SPDX-License-Identifier: BSD-3-Clause
# Linux swaps on the disk: a process with twice the memory its control group allows finds every
# page as it left it.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/swap.sh"

limit=$((96 << 20))
limit_memory $limit
start_nbdkit 512M
swap_on
swap_hog $((2 * limit))

# It did go through the disk.
[ "$(disk_stat mm_stat.mem_used_max)" -gt $((20 << 20)) ] || fail "nothing was swapped"
echo "$(cat "$dir/hog"); at most $(disk_stat mm_stat.mem_used_max) bytes of pool"
swap_off
stop_nbdkit
