# SPDX-License-Identifier: BSD-3-Clause
# What tests share in which Linux swaps on the disk, through nbdfuse and a loop device. The daemons
# are outside the control group whose memory is limited.

requires_loop
requires_fuse
requires_tool mkswap swapon swapoff jq

# limit_memory BYTES: a control group $group of processes that have no more.
group=
limit_memory () {
	local knob folder
	if [ -w /sys/fs/cgroup/memory/cgroup.procs ]; then
		folder=/sys/fs/cgroup/memory
		knob=memory.limit_in_bytes
	elif grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then
		folder=/sys/fs/cgroup
		knob=memory.max
	else
		skip "needs the memory controller of cgroups"
	fi
	group=$folder/uzram-test-$$
	cleanup 'until_true 5 rmdir "$group" 2>/dev/null'
	mkdir "$group" 2>/dev/null || skip "may not make cgroups"
	echo "$1" >"$group/$knob" || skip "may not limit a cgroup's memory"
	! [ -e "$group/memory.swappiness" ] || echo 100 >"$group/memory.swappiness"
}

# swap_on: on the disk at $sock, first of all.
swap_on () {
	attach_disk
	timeout 60 mkswap -q "$loop" || timeout 60 mkswap "$loop"
	cleanup '[ -z "$loop" ] || swapoff "$loop" 2>/dev/null'
	timeout 60 swapon -p 100 --discard "$loop" || skip "may not swap here"
}

swap_off () {
	timeout 120 swapoff "$loop"
	detach_disk
}

# swap_hog BYTES: a process in the group fills so much memory with content that hardly repeats, and
# finds every page as it left it. Its words are in $dir/hog.
swap_hog () {
	attended 240 bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' hog "$group" \
	    "$tools/hog" $(($1 >> 20)) /usr/bin/* >"$dir/hog" || fail "hog: $(cat "$dir/hog")"
	grep -qx "hog: $(($1 >> 12)) pages, checked twice, 0 bad" "$dir/hog" || fail "$(cat "$dir/hog")"
}
