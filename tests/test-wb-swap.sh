# SPDX-License-Identifier: BSD-3-Clause
# Linux swaps on a disk whose memory takes half of what is swapped; the rest goes to a file. A
# process with three times the memory its cgroup allows finds every page as it left it. The daemons
# are outside the cgroup.
source "$(dirname "$0")/functions.sh"
requires_loop
requires_fuse
requires_tool mkswap swapon swapoff
source "$(dirname "$0")/wb.sh"

limit=$((64 << 20))
group=uzram-test-$$
if [ -w /sys/fs/cgroup/memory/cgroup.procs ]; then
	group=/sys/fs/cgroup/memory/$group
	knob=memory.limit_in_bytes
elif grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then
	group=/sys/fs/cgroup/$group
	knob=memory.max
else
	skip "needs the memory controller of cgroups"
fi
mkdir "$group" 2>/dev/null || skip "may not make cgroups"
cleanup 'rmdir "$group"'
echo $limit >"$group/$knob" || skip "may not limit a cgroup's memory"
! [ -e "$group/memory.swappiness" ] || echo 100 >"$group/memory.swappiness"

# 128 MiB of programs swapped: 60 MiB or so compressed.
start_nbdkit 512M swap=yes mem-limit=30M backing="$dir/backing" backing-size=256M
[ "$(stat -c %b "$dir/backing")" -ge $((256 << 11)) ] || fail "the file is not fully allocated"
attach_loop
timeout 60 mkswap -q "$loop" || timeout 60 mkswap "$loop"
timeout 60 swapon -p 100 --discard "$loop" || skip "may not swap here"
cleanup 'swapoff "$loop" 2>/dev/null'

timeout 240 bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' hog "$group" \
    "$tools/hog" $((3 * limit >> 20)) /usr/bin/* >"$dir/hog" || fail "hog: $(cat "$dir/hog")"
grep -q ', 0 bad$' "$dir/hog" || fail "$(cat "$dir/hog")"
[ "$(bd bd_writes)" -gt 4000 ] || fail "only $(bd bd_writes) pages were written back"
[ "$(bd bd_reads)" -gt 1000 ] || fail "only $(bd bd_reads) pages were read back"
echo "$(cat "$dir/hog"); at most $(disk_stat mm_stat.mem_used_max) bytes of pool;" \
    "$(bd bd_writes) pages written back, $(bd bd_reads) read"
[ "$(disk_stat limit_used)" -le $((30 << 20)) ] || fail "over the limit"
wb_clean
timeout 120 swapoff "$loop"
# No hole was punched.
[ "$(stat -c %b "$dir/backing")" -ge $((256 << 11)) ] || fail "the file is not fully allocated any more"
detach_loop $fuse_pid
stop_nbdkit
