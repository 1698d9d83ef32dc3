# SPDX-License-Identifier: BSD-3-Clause
# Linux swaps on a disk whose memory takes half of what is swapped; the rest goes to a file. A
# process with three times the memory its control group allows finds every page as it left it.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/swap.sh"
source "$(dirname "$0")/wb.sh"

# 128 MiB of programs swapped: 60 MiB or so compressed.
limit=$((64 << 20))
limit_memory $limit
fully_allocated () { [ "$(stat -c %b "$dir/backing")" -ge $((256 << 11)) ]; }
start_nbdkit 512M swap=yes mem-limit=30M backing="$dir/backing" backing-size=256M
fully_allocated || fail "the file is not fully allocated"
swap_on
swap_hog $((3 * limit))

[ "$(bd bd_writes)" -gt 4000 ] || fail "only $(bd bd_writes) pages were written back"
[ "$(bd bd_reads)" -gt 1000 ] || fail "only $(bd bd_reads) pages were read back"
echo "$(cat "$dir/hog"); at most $(disk_stat mm_stat.mem_used_max) bytes of pool;" \
    "$(bd bd_writes) pages written back, $(bd bd_reads) read"
[ "$(disk_stat limit_used)" -le $((30 << 20)) ] || fail "over the limit"
wb_clean
swap_off
# No hole was punched.
fully_allocated || fail "the file is not fully allocated any more"
stop_nbdkit
