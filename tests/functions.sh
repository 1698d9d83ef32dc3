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

# A signal is served when the command in the foreground has ended, and the harness sends it to
# the test's process group: so timeout makes no group of its own. A child that is to be ended
# by $! needs `command timeout` instead, which does.
timeout () { command timeout --foreground "$@"; }

# Clean-up commands, run last first when the test ends, however it does. Each comes before what
# it undoes, which a signal may meet half done, and does nothing where there is nothing to do.
# Children that are still there end without being told of.
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
dir=
cleanup 'rm -rf --one-file-system "$dir"'
cleanup end_children
dir=$(mktemp -d /tmp/uzram-test.XXXXXX)

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

# Ends a child of ours that may be gone already, and whose number may be another's by now.
end_child () {
	jobs -rp | grep -qx "$1" || return 0
	kill "$1" 2>/dev/null
	until_true 10 eval "! running $1" || kill -9 "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}
# All of them, the newest first: a server waits for its clients.
end_children () {
	local child
	for child in $(jobs -rp | tac); do
		end_child "$child"
	done
}

# attended SECONDS COMMAND...: for what takes long, as a child: a signal to the test is served
# at once, and ends it and those it has started.
attended () {
	local child
	command timeout --kill-after=5 "$@" &
	child=$!
	cleanup "end_child $child"
	wait $child
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
	! [ -e "$control" ] || fail "the control socket is left"
}

# Ends the server as nobody should.
kill_nbdkit () {
	kill -9 "$server"
	wait "$server" 2>/dev/null || :
}

ctl () { timeout 60 "$UZRAMCTL" -s "$control" "$@"; }
# disk_stat FIELD: a number from `uzramctl stat --json`, as in: disk_stat mm_stat.same_pages
disk_stat () { timeout 20 "$UZRAMCTL" -s "$control" --json stat | jq -e ".disks[0].$1"; }
accel_stat () { timeout 20 "$UZRAMCTL" -s "$control" --json accel | jq -e ".accel.$1"; }
stage_is_empty () { [ "$(disk_stat stage.pages)" = 0 ]; }
drained () { until_true 60 stage_is_empty || fail "the stage is not drained"; }
no_clients () { [ "$(disk_stat clients)" = 0 ]; }

# resident PID: the bytes of memory that a process has.
resident () { awk '/^Rss:/ { print $2 * 1024 }' "/proc/$1/smaps_rollup"; }

# says FILE WORDS: they are in $dir/FILE.
says () { grep -qF -e "$2" "$dir/$1" || { cat "$dir/$1"; fail "it does not say: $2"; }; }
one_line () { [ "$(wc -l <"$dir/$1")" = 1 ] || { cat "$dir/$1"; fail "not one line"; }; }

# nbd_fails ERROR COMMAND...: nbd-do's commands on $uri do not succeed, for that reason. What it
# says is in $dir/said.
nbd_fails () {
	local error=$1 status=0
	shift
	timeout 60 "$tools/nbd-do" "$uri" "$@" >"$dir/said" || status=$?
	[ $status = 1 ] && grep -qw "$error" "$dir/said" ||
	    fail "$*: status $status, not $error: $(cat "$dir/said")"
}

# hold_client COMMAND...: a client does nbd-do's commands on $uri, and stays until
# release_client.
client=
hold_client () {
	rm -f "$dir/hold" "$dir/client" # which may say that an earlier one waits
	mkfifo "$dir/hold"
	"$tools/nbd-do" "$uri" "$@" wait <"$dir/hold" >"$dir/client" &
	client=$!
	exec 9>"$dir/hold"
	until_true 60 grep -qs waiting "$dir/client" || fail "the client does not come to its end"
}
release_client () {
	exec 9>&-
	wait "$client"
}

# same_as FILE [URI [WHEN]]: the disk begins with what the file holds.
same_as () {
	timeout 300 nbdcopy --connections=2 --requests=8 "${2:-$uri}" "$dir/back" ||
	    fail "it cannot be read${3:+: $3}"
	cmp -n "$(wc -c <"$1")" "$1" "$dir/back" || fail "the content differs${3:+: $3}"
	rm "$dir/back"
}

# without_uring ERROR: the servers that follow get this from io_uring's system calls.
without_uring () {
	"$tools/no-uring" "$1" /bin/true || skip "no seccomp filters here"
	nbdkit_wrapper=("$tools/no-uring" "$1" /usr/bin/env)
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

# make_loop FILE [OPTION...]: the file as the block device $loop, until free_loop.
loop=
make_loop () {
	local file=$1
	shift
	cleanup 'free_loop 2>/dev/null'
	loop=$(losetup "$@" -f --show "$file")
}
free_loop () {
	[ -n "$loop" ] || return 0
	losetup -d "$loop"
	loop=
}

# attach_disk: $sock as the block device $loop, by nbdfuse and a loop device, until detach_disk.
fuse=
attach_disk () {
	mkdir "$dir/fuse"
	: >"$dir/fuse/disk"
	cleanup 'end_child "$fuse"; umount -l "$dir/fuse/disk" 2>/dev/null'
	nbdfuse -P "$dir/fuse.pid" "$dir/fuse/disk" "$uri" &
	fuse=$!
	until_true 20 eval "[ -s '$dir/fuse.pid' ] || ! running $fuse" || :
	running $fuse || skip "nbdfuse cannot mount here"
	make_loop "$dir/fuse/disk" --direct-io=on
}
detach_disk () {
	free_loop
	fusermount3 -u "$dir/fuse/disk"
	until_true 20 eval "! running $fuse" || fail "nbdfuse does not end"
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
