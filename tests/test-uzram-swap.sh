# SPDX-License-Identifier: BSD-3-Clause
# uzram-swap leaves all or nothing: twice start, status and stop; then a start
# and a stop that are ended by TERM or KILL at each of their steps, and at random
# moments.
source "$(dirname "$0")/functions.sh"
requires_root
requires_tool nbdkit mkswap swapon swapoff flock setsid
if ! [ -e /sys/block/nbd0 ] || ! command -v nbd-client >/dev/null; then
	requires_loop
	requires_fuse
fi
[ "$UZRAM_SANITIZERS" = no ] || skip "uzram-swap starts the server without the sanitizers' library"
: "${UZRAM_TEST_ROUNDS:=all}" # "few" where each takes long
swap=$UZRAM_BUILD/plugin/uzram-swap
unset UZRAM_CONTROL UZRAM_SWAP_PAUSE_AT
export UZRAM_PLUGIN UZRAMCTL UZRAM_SWAP_DIR=${UZRAM_TEST_STATE:-$dir/state}
state=$UZRAM_SWAP_DIR
cgroup=${state#/}
cgroup=${cgroup#run/}
cgroup=${cgroup//\//-}
small=(16M swap-reserve=1M)

# Raised by little: a test must not take memory from others; and by one test at a time.
exec 8<"$(command -v swapon)"
flock -w 300 8 || skip "another test of uzram-swap does not end"
min_free=$(cat /proc/sys/vm/min_free_kbytes)
export UZRAM_SWAP_MIN_FREE=$((min_free + 4))
job=
cleanup 'echo $min_free >/proc/sys/vm/min_free_kbytes'
cleanup '[ -z "$job" ] || kill -KILL $job 2>/dev/null; end_children; "$swap" stop 2>/dev/null'

# found_here: what it leaves on a machine that others use too. (Swap that is on
# keeps its loop device.)
echo "$state" >"$dir/pattern"
found_here () {
	cat /proc/sys/vm/min_free_kbytes
	grep -sF "$state" /sys/block/loop*/loop/backing_file /proc/self/mountinfo
	[[ ${device-} != /dev/nbd* ]] || grep -s . "/sys/block/${device#/dev/}/pid"
	grep -lsF -f "$dir/pattern" /proc/[0-9]*/cmdline
	find /sys/fs/cgroup -type d -name "$cgroup" 2>/dev/null
	[ ! -e "$state" ] || ls -A "$state"
}
found_here >"$dir/before" || :
nothing_left () {
	found_here >"$dir/after" || :
	if ! [ -e "$state" ] && cmp -s "$dir/before" "$dir/after"; then return; fi
	diff "$dir/before" "$dir/after" || :
	cat "$dir/err"
	fail "$*: something is left"
}

# run STATUS ARGUMENT...: output in $dir/out, complaints in $dir/err.
run () {
	local want=$1 status=0
	shift
	timeout 60 "$swap" "$@" >"$dir/out" 2>"$dir/err" || status=$?
	[ $status = "$want" ] || { cat "$dir/err"; fail "uzram-swap $*: status $status, not $want"; }
}

# pause_at STEP ARGUMENT...: uzram-swap in the background, as $job, which sleeps at that step.
pause_at () {
	local step=$1
	shift
	UZRAM_SWAP_PAUSE_AT=$step env --default-signal=INT "$swap" "$@" >"$dir/out" 2>"$dir/err" &
	job=$!
	until_true 30 eval "[ -e '$state/paused' ] || ! running $job" || :
	[ -e "$state/paused" ] || { cat "$dir/err"; fail "$1 does not come to the step $step"; }
}
# end_job SIGNAL STATUS
end_job () {
	local status=0
	kill "-$1" $job
	{ wait $job || status=$?; } 2>/dev/null
	job=
	[ $status = "$2" ] || { cat "$dir/err"; fail "after $1: status $status, not $2"; }
}

rounds=(first second)
[ "$UZRAM_TEST_ROUNDS" = all ] || rounds=(first)
for round in "${rounds[@]}"; do
	run 0 start 256M
	says out "active on /dev/"
	[ "$(cat /proc/sys/vm/min_free_kbytes)" = "$UZRAM_SWAP_MIN_FREE" ] || fail "min_free_kbytes"
	[ "$(stat -c %a "$state")" = 700 ] || fail "the state folder is open to others"
	run 0 status
	device=$(awk '$1 == "swap:" { sub(",", "", $2); print $2 }' "$dir/out")
	grep -q "^$device .*[[:space:]]26214[04][[:space:]].*100$" /proc/swaps || fail "$(cat /proc/swaps)"
	says out "default" # uzramctl's table
	run 1 start 256M
	says err "already active"
	run 0 stop
	nothing_left "the $round stop"
	run 3 status
	says out "not active"
done
run 0 stop
says err "not active"

# What is refused: in the server's own words, and nothing stays.
refusals () {
	run 1 start 12q
	says err "size=12q: not a size"
	run 1 start 64M nosuch=1
	says err "nosuch=1: no such key"
	one_line err
	run 1 start 8k
	says err "mkswap"
	UZRAM_PLUGIN=$dir/nosuch.so run 1 start 64M
	nothing_left "a start that is refused"
	for args in "" nosuch start "start 64M x" "start 64M control=x" "start 64M swap=no" \
	    "start 64M disk=a" "stop x" "status x" --nosuch; do
		run 2 $args
	done
	run 0 --help
	run 0 --version
	: >"$dir/file"
	UZRAM_SWAP_DIR=$dir/file run 1 start 64M
	UZRAM_SWAP_DIR="$dir/a b" run 1 start 64M
	nothing_left "wrong usage"
}
[ "$UZRAM_TEST_ROUNDS" = few ] || refusals

# Its steps here. The journal tells which notes there are.
run 0 start "${small[@]}"
cp "$state/journal" "$dir/journal"
mapfile -t steps < <(cut -d ' ' -f 1 "$dir/journal" |
    grep -vxE 'server|fuse|client' | uniq | sed 's/^/note-/')
steps+=(cgroup serve attach min-free mkswap swapon)
! grep -q ^fuse "$dir/journal" || steps+=(fuse)
for key in boot swap active min-free; do
	[[ " ${steps[*]} " = *" note-$key "* ]] || fail "the journal does not note $key"
done
run 0 stop
undo_steps=(note-active undo-swap undo-loop undo-nbd undo-fuse undo-server undo-min-free undo-cgroup)
if [ "$UZRAM_TEST_ROUNDS" = few ]; then
	steps=(note-nbd swapon)
	undo_steps=(undo-swap)
fi

for step in "${steps[@]}"; do
	pause_at "$step" start "${small[@]}"
	if [ "$step" != note-active ]; then
		run 3 status
		says out "a start or stop is under way"
	fi
	end_job TERM 143
	nothing_left "TERM at $step"

	pause_at "$step" start "${small[@]}"
	end_job KILL 137
	[ "$step" = note-active ] || run 3 status
	run 0 stop
	nothing_left "KILL at $step, stop"

	[ "$step" != note-active ] || continue
	pause_at "$step" start "${small[@]}"
	end_job KILL 137
	run 0 start "${small[@]}"
	says err "cleaning up"
	run 0 status
	run 0 stop
	nothing_left "KILL at $step, start, stop"
done
pause_at attach start "${small[@]}"
end_job INT 130
nothing_left "INT"

# A daemon that is not yet journalled when its parent is ended is not forgotten.
born=(born-server born-fuse)
! grep -q '^nbd ' "$dir/journal" || born=(born-client)
for step in "${born[@]}"; do
	pause_at "$step" start "${small[@]}"
	(sleep 0.2; rm "$state/paused") &
	end_job TERM 143
	nothing_left "TERM at $step"
	for next in stop start; do
		pause_at "$step" start "${small[@]}"
		end_job KILL 137
		(sleep 0.2; rm "$state/paused") &
		case $next in
		stop) run 0 stop ;;
		start) run 0 start "${small[@]}" ;;
		esac
		[ $next = stop ] || run 0 stop
		nothing_left "KILL at $step, $next"
	done
done

# A stop that is told to end does what it began; after KILL the next one does.
for step in "${undo_steps[@]}"; do
	run 0 start "${small[@]}"
	pause_at "$step" stop
	kill -TERM $job
	rm "$state/paused"
	wait $job || { cat "$dir/err"; fail "stop, TERM at $step: status $?"; }
	job=
	nothing_left "stop, TERM at $step"

	run 0 start "${small[@]}"
	pause_at "$step" stop
	end_job KILL 137
	run 3 status
	run 0 stop
	nothing_left "stop, KILL at $step, stop"

	run 0 start "${small[@]}"
	pause_at "$step" stop
	end_job KILL 137
	run 0 start "${small[@]}"
	run 0 status
	run 0 stop
	nothing_left "stop, KILL at $step, start, stop"
done

# At no step in particular.
for round in {1..8}; do
	[ "$UZRAM_TEST_ROUNDS" = all ] || break
	"$swap" start "${small[@]}" >"$dir/out" 2>"$dir/err" &
	job=$!
	sleep 0.0$((RANDOM % 10))
	kill -"$([ $((round % 2)) = 0 ] && echo KILL || echo TERM)" $job 2>/dev/null || :
	wait $job 2>/dev/null || :
	job=
	run 0 stop
	nothing_left "killed at random"
done

# Two at once: one starts, the other is refused.
"$swap" start "${small[@]}" >/dev/null 2>"$dir/one" & one=$!
"$swap" start "${small[@]}" >/dev/null 2>"$dir/two" & two=$!
status=0
wait $one || status=$?
wait $two || status=$((status + $?))
[ $status = 1 ] || { cat "$dir/one" "$dir/two"; fail "two at once: status $status"; }
grep -q "already active" "$dir/one" "$dir/two"

run 0 stop

# Daemons that have died are no hindrance. (Not while there is swap on them: who
# knows whose pages are there, unless this is a kernel of our own.)
kill_server () {
	local pid
	read -r _ pid _ < <(grep ^server "$state/journal")
	kill -KILL "$pid"
	until_true 10 eval "! running $pid"
}
pause_at mkswap start "${small[@]}"
kill_server
end_job TERM 143
nothing_left "a dead server, TERM"
if [ "$UZRAM_TEST_ROUNDS" = few ]; then
	run 0 start "${small[@]}"
	kill_server
	run 3 status
	says out "is gone"
	run 1 start "${small[@]}"
	run 0 stop
	nothing_left "a dead server, stop"
fi
