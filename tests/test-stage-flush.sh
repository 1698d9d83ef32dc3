# SPDX-License-Identifier: BSD-3-Clause
# A lone page is drained by itself within moments; a FLUSH, by QEMU's client, leaves nothing
# staged; a write with FUA stages nothing; and after a moment's rest the memory of
# staged pages is back.
source "$(dirname "$0")/functions.sh"
requires_tool qemu-io jq

real_data "$dir/data" 16
start_nbdkit 64M
for pause in 0 0.05 0.4; do # a worker at work, one that naps, all asleep
	sleep $pause
	timeout 60 "$tools/nbd-do" "$uri" put 0 <(head -c 4096 "$dir/data")
	# Compressed without a FLUSH. (The client's end takes longer than that.)
	until_true 5 stage_is_empty || fail "a lone page stays staged"
done
[ "$(disk_stat latency_us.flush.count)" = 0 ] || fail "somebody has flushed"
[ "$(disk_stat streams.batch_pages)" -gt 0 ] || fail "none was staged"

# The client stays, so that nothing but its FLUSH can be what compressed them.
mkfifo "$dir/hold"
command timeout 120 qemu-io -f raw "$uri" >"$dir/client" <"$dir/hold" &
client=$!
exec 9>"$dir/hold"
# One line at a time: of several that it can read at once qemu-io does only the first.
told () {
	echo "$1" >&9
	until_true 60 eval "[ \"\$(disk_stat $2)\" -ge $3 ]" || { cat "$dir/client"; fail "$1"; }
}
writes=$(disk_stat writes)
for i in {1..5}; do
	told "write -s $dir/data $((i * 8))M 8M" writes $((writes + i * 2048))
	told flush latency_us.flush.count $i
	stage_is_empty || fail "staged after FLUSH: $(disk_stat stage.pages)"
done
[ "$(disk_stat mm_stat.orig_data_size)" -ge $((40 << 20)) ] || fail "not all is stored"
before=$(disk_stat stage.pages_max)
ctl drop-stats
told "write -f -s $dir/data 0 8M" writes 2048
[ "$(disk_stat stage.pages_max)" = 0 ] || fail "FUA was staged"
[ "$before" -gt 0 ] || fail "nothing was ever staged"
exec 9>&-
wait $client || fail "qemu-io: $(cat "$dir/client")"

# Raw pages of the stage, up to 8 MiB, do not stay.
settled () {
	ctl --json stat |
	    jq -e '.disks[0] | .mm_stat.mem_used_total <= .limit_used + 2097152' >/dev/null
}
until_true 10 settled || fail "staging's memory stays: $(disk_stat mm_stat.mem_used_total)"
timeout 60 qemu-io -f raw "$uri" -c "read -P 0 50M 4k" >/dev/null
stop_nbdkit
