# SPDX-License-Identifier: BSD-3-Clause
# swap=yes locks what it promises, and no more: nbdkit's own --swap locks nothing
# once in the background, and in the foreground it locks 200 MB of buffers.
# VmLck counts address space, so smaps is asked.
source "$(dirname "$0")/functions.sh"
requires_tool nbdkit
cap_ipc_lock=$((0x$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status) >> 14 & 1))
[ $cap_ipc_lock = 1 ] || [ "$(ulimit -l)" = unlimited ] || skip "may not lock memory"
[ "$UZRAM_SANITIZERS" = no ] || skip "sanitizers have much memory of their own"

# get_locked RESERVE: sets $locked to the bytes locked by a server in the background.
get_locked () {
	local pid
	rm -f "$sock"
	cleanup '! [ -s "$dir/pid" ] || kill "$(cat "$dir/pid")"'
	timeout 60 nbdkit -P "$dir/pid" -U "$sock" "$UZRAM_PLUGIN" 1G swap=yes swap-reserve="$1"
	until_true 20 eval "[ -s '$dir/pid' ]"
	pid=$(cat "$dir/pid")
	# Once it answers, it has done what it does after forking.
	timeout 60 "$tools/nbd-do" "$uri" fill 0 1m 7 check 0 1m 7
	locked=$(awk '/^Locked:/ { kb += $2 } END { print kb * 1024 }' "/proc/$pid/smaps")
	kill "$pid"
	until_true 20 eval "! [ -e /proc/$pid ]" || fail "the server does not end"
	rm "$dir/pid"
}

get_locked 8M
small=$locked
get_locked 64M
large=$locked
echo "locked: $small with a reserve of 8 MiB, $large with 64 MiB"
[ "$small" -ge $((10 << 20)) ] || fail "less is locked than the reserve and the table"
[ "$large" -ge $((66 << 20)) ] || fail "less is locked than the reserve and the table"
[ "$large" -le $((164 << 20)) ] || fail "more is locked than anything needs"
