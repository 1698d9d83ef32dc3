# SPDX-License-Identifier: BSD-3-Clause
# Where io_uring is forbidden the simulated accelerator says so in one line, and its
# inline transport, which needs none of it, works.
source "$(dirname "$0")/functions.sh"

without_uring EPERM
for error in EPERM ENOSYS; do
	for transport in msgring eventfd; do
		status=0
		"$tools/no-uring" $error "$tools/accel-do" $transport 100 >"$dir/out" 2>&1 || status=$?
		echo "$error, $transport: $(cat "$dir/out")"
		[ $status = 1 ] || fail "$transport without io_uring: status $status"
		one_line out
		grep -q io_uring "$dir/out" || fail "the line does not name io_uring"
		grep -qi inline "$dir/out" || fail "the line does not name the way out"
	done
	"$tools/no-uring" $error "$tools/accel-do" inline 3000 >"$dir/out" || fail "inline"
	grep -q '^30[0-9]* pages, transport inline$' "$dir/out" || fail "inline: $(cat "$dir/out")"
done

# A disk that was to have one says so too, and serves without.
real_data "$dir/real" 8
start_nbdkit 64M accel=iaa
nbdcopy --flush "$dir/real" "$uri"
same_as "$dir/real"
[ "$(disk_stat streams.managed)" = 0 ] || fail "it has an accelerator"
[ "$(grep -c 'warning: .*io_uring.*software compresses everything' "$dir/server.log")" = 1 ] ||
    { cat "$dir/server.log"; fail "not one warning"; }
stop_nbdkit
