# SPDX-License-Identifier: BSD-3-Clause
# Linux swaps on the disk through nbdfuse and a loop device: a process with twice
# the memory its cgroup allows finds every page as it left it. The daemons are
# outside the cgroup.
source "$(dirname "$0")/functions.sh"
requires_loop
requires_fuse
requires_tool mkswap swapon swapoff jq

limit=$((96 << 20))
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

start_nbdkit 512M
attach_loop
timeout 60 mkswap -q "$loop" || timeout 60 mkswap "$loop"
timeout 60 swapon -p 100 --discard "$loop" || skip "may not swap here"
cleanup 'swapoff "$loop" 2>/dev/null'

timeout 240 bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' hog "$group" \
    "$tools/hog" $((2 * limit >> 20)) /usr/bin/* >"$dir/hog" || fail "hog: $(cat "$dir/hog")"
grep -q ', 0 bad$' "$dir/hog" || fail "$(cat "$dir/hog")"

# It did go through the disk, and what swap has freed is freed there.
[ "$(disk_stat mm_stat.mem_used_max)" -gt $((20 << 20)) ] || fail "nothing was swapped"
timeout 120 swapoff "$loop"
echo "$(cat "$dir/hog"); at most $(disk_stat mm_stat.mem_used_max) bytes of pool"
detach_loop $fuse_pid
stop_nbdkit
