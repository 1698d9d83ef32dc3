# SPDX-License-Identifier: BSD-3-Clause
# What the shell tests share.  Source it first:
#	source "$(dirname "$0")/functions.sh"
# The harness names the build in $UZRAM_BUILD and the plugin under test in
# $UZRAM_PLUGIN; by hand, a build in the source tree is taken.
set -eu -o pipefail
shopt -s inherit_errexit
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

: "${UZRAM_BUILD:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"
: "${UZRAM_PLUGIN:=$UZRAM_BUILD/plugin/.libs/nbdkit-uzram-plugin.so}"
: "${UZRAMCTL:=$UZRAM_BUILD/plugin/uzramctl}"
: "${UZRAM_SANITIZERS:=no}"
tools=$UZRAM_BUILD/tests

fail () { echo "FAIL: $*"; exit 1; }
skip () { echo "SKIP: $*"; exit 77; }

# Clean-up commands, run last first when the test ends, however it does.
cleanups=()
cleanup () { cleanups+=("$1"); }
run_cleanups () {
	local status=$? i
	trap - EXIT
	trap '' HUP INT TERM
	set +e
	if [ -s "$dir/server.log" ]; then
		echo "The server said:"
		sed 's/^/    /' "$dir/server.log"
	fi
	for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do
		eval "${cleanups[i]}"
	done
	exit $status
}
trap run_cleanups EXIT
trap 'exit 143' HUP INT TERM

# Socket paths are short by law: not under the build folder.
dir=$(mktemp -d /tmp/uzram-test.XXXXXX)
cleanup 'rm -rf --one-file-system "$dir"'

requires_tool () {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip "needs $tool, which is not installed"
	done
}
requires_root () { [ "$(id -u)" = 0 ] || skip "needs root"; }
requires_fuse () {
	requires_tool nbdfuse fusermount3
	[ -w /dev/fuse ] || skip "needs write access to /dev/fuse"
}
requires_loop () {
	requires_root
	requires_tool losetup
	losetup -f >/dev/null 2>&1 || skip "needs loop devices"
}

# until_true SECONDS COMMAND...: polls; fails when time is up.
until_true () {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

# A child process of ours: is it running?  (A zombie is not.)
running () { [ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# Ends a child of ours that may be gone already.
end_child () {
	running "$1" || return 0
	kill "$1" 2>/dev/null
	until_true 5 eval "! running $1" || kill -9 "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

# A build with sanitizers is loaded into a program without them, so their library
# has to come first. nbdkit leaks a little itself, so leaks do not make it fail:
# check_sanitizers looks whose they are.
nbdkit_env=()
use_sanitizers () {
	local lib
	case $1 in
	no) return ;;
	*address*) lib=libasan.so ;;
	*thread*) lib=libtsan.so ;;
	*) lib=libubsan.so ;;
	esac
	requires_tool gcc
	nbdkit_env=(
		"LD_PRELOAD=$(gcc -print-file-name=$lib):$tools/.libs/exit-shim.so"
		"LSAN_OPTIONS=exitcode=0"
		"UBSAN_OPTIONS=print_stacktrace=1"
	)
}
check_sanitizers () {
	! grep -qE '(ERROR|WARNING): (Address|Thread)Sanitizer|runtime error:' "$dir/server.log" ||
	    fail "a sanitizer complains"
	! sed -n '/ERROR: LeakSanitizer/,$p' "$dir/server.log" |
	    grep -qE '/(plugin|streams|zpool|accel_sim)/[a-z0-9_]+\.c:|uzram-(asan-)?plugin' ||
	    fail "a leak of ours"
}
use_sanitizers "$UZRAM_SANITIZERS"

# start_nbdkit [KEY=VALUE...]: serves in the foreground on $sock, with a control
# socket.  Options for nbdkit itself come from the array nbdkit_options, a
# wrapper such as valgrind from nbdkit_wrapper.  What the server says is in
# $dir/server.log.
nbdkit_options=()
nbdkit_wrapper=()
server=
sock=$dir/sock
control=$dir/control
uri="nbd+unix:///?socket=$sock"
start_nbdkit () {
	requires_tool nbdkit
	rm -f "$dir/pid" "$sock"
	env "${nbdkit_env[@]}" "${nbdkit_wrapper[@]}" nbdkit -f -P "$dir/pid" -U "$sock" \
	    "${nbdkit_options[@]}" "$UZRAM_PLUGIN" control="$control" "$@" \
	    2>>"$dir/server.log" &
	server=$!
	cleanup "end_child $server"
	until_true 60 eval "[ -s '$dir/pid' ] || ! running $server" || fail "the server does not start"
	running $server || fail "the server did not start"
}

# Ends the server as an administrator would; it must have been alive and leave
# cleanly.
stop_nbdkit () {
	local status=0
	running "$server" || { wait "$server" || status=$?; fail "the server is gone, status $status"; }
	kill -TERM "$server"
	await_nbdkit
}

# It has been told to end, and does so cleanly.
await_nbdkit () {
	until_true 60 eval "! running $server" || fail "the server does not end"
	wait "$server" || fail "the server ended with status $?"
	check_sanitizers
}

# disk_stat FIELD: a number from `uzramctl stat --json`, as in: disk_stat mm_stat.same_pages
disk_stat () {
	timeout 20 "$UZRAMCTL" -s "$control" --json stat | jq -e ".disks[0].$1"
}

# file_list MIB: real files of this machine, NUL-separated, MIB MiB of them at most.
# To be read to the end.
file_list () {
	find /usr/bin /usr/lib /usr/share -xdev -type f -readable -size -16384k -printf '%s\t%p\0' \
	    2>/dev/null |
	LC_ALL=C awk -v RS='\0' -v ORS='\0' -F'\t' -v room=$(($1 << 20)) \
	    '$1 <= room { room -= $1; print $2 }'
}

# unpack_list DIRECTORY: the files of a list on standard input, copied to below it.
unpack_list () {
	tar -cf - --null -T - --hard-dereference 2>/dev/null | tar -xf - -C "$1"
}

# real_data FILE MIB: a file of real content, as a tar of real files cut to size.
real_data () {
	file_list "$2" | tar -cf - --null -T - -P 2>/dev/null | head -c "${2}M" >"$1" || :
	[ "$(wc -c <"$1")" -ge $(($2 << 19)) ] || skip "needs $2 MiB of files in /usr"
	truncate -s "${2}M" "$1"
}

# attach_loop: $sock as the block device $loop, by nbdfuse and a loop device.
loop=
attach_loop () {
	mkdir "$dir/fuse"
	: >"$dir/fuse/disk"
	nbdfuse -P "$dir/fuse.pid" "$dir/fuse/disk" "$uri" &
	local fuse=$!
	cleanup "end_child $fuse; umount -l '$dir/fuse/disk' 2>/dev/null; :"
	until_true 20 eval "[ -s '$dir/fuse.pid' ] || ! running $fuse" || :
	running $fuse || skip "nbdfuse cannot mount here"
	loop=$(losetup --direct-io=on -f --show "$dir/fuse/disk")
	cleanup "detach_loop $fuse 2>/dev/null"
	fuse_pid=$fuse
}
detach_loop () {
	[ -n "$loop" ] || return 0
	losetup -d "$loop"
	loop=
	fusermount3 -u "$dir/fuse/disk"
	until_true 20 eval "! running $1"
}

requires_fio () {
	requires_tool fio
	grep -qw nbd <(fio --enghelp 2>/dev/null) || skip "needs fio with its nbd engine"
}

# run_fio OPTION...: one job on $uri that must finish and verify. One connection
# for each job.
run_fio () {
	(cd "$dir" && timeout 180 fio --name=job --ioengine=nbd --uri="$uri" --verify_fatal=1 \
	    --output="$dir/fio.out" "$@") || { cat "$dir/fio.out"; fail "fio $*"; }
	! grep -q 'err=[ ]*[1-9]' "$dir/fio.out" || { cat "$dir/fio.out"; fail "fio $*"; }
}
