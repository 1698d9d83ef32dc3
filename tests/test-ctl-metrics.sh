# SPDX-License-Identifier: BSD-3-Clause
# `uzramctl metrics` is Prometheus' text format to those who know: promtool, or else
# the parser of python3-prometheus-client; and it says what `stat` says.
source "$(dirname "$0")/functions.sh"
requires_tool jq
client='from prometheus_client.parser import text_string_to_metric_families as parse'
if command -v promtool >/dev/null; then
	check () { timeout 60 promtool check metrics <"$1"; }
elif /usr/bin/python3 -c "$client" 2>/dev/null; then
	check () { timeout 60 /usr/bin/python3 -c "$client; import sys; list(parse(sys.stdin.read()))" <"$1"; }
else
	skip "needs promtool (prometheus) or python3-prometheus-client"
fi

real_data "$dir/real" 2
start_nbdkit disk=a size=16M backing="$dir/backing" backing-size=8M disk=b.2 size=32M \
    algorithm=zstd:3 mem-limit=8M disk=c size=1G
ctl metrics >"$dir/metrics"
check "$dir/metrics" || fail "metrics of empty disks"
for name in a b.2; do
	timeout 60 "$tools/nbd-do" "nbd+unix:///$name?socket=$sock" put 0 "$dir/real" trim 0 64k flush
	[ $name != a ] || ctl writeback a all
	# What staging took goes back a moment later, or now.
	ctl compact $name
done
ctl metrics >"$dir/metrics"
check "$dir/metrics" || fail "metrics"
ctl --json stat >"$dir/stat"

# same METRIC DISK MORE-LABELS PATH: the metric is what stat has at PATH.
same () {
	local value
	value=$(grep -F "$1{disk=\"$2\"$3}" "$dir/metrics" | awk '{ print $NF }')
	jq -e --arg name "$2" "[.disks[] | select(.name == \$name) | .$4] == [$value]" "$dir/stat" \
	    >/dev/null || fail "$1 of $2 is $value"
}
for name in a b.2 c; do
	same uzram_disk_size_bytes $name "" size
	same uzram_disk_data_bytes $name "" mm_stat.orig_data_size
	same uzram_disk_memory_bytes $name "" mm_stat.mem_used_total
	same uzram_disk_limit_bytes $name "" mm_stat.mem_limit
	same uzram_disk_written_pages_total $name "" writes
	same uzram_disk_freed_pages_total $name "" io_stat.notify_free
	same uzram_disk_staged_pages $name "" stage.pages
	same uzram_disk_coalesced_pages_total $name "" stage.coalesced
	same uzram_disk_direct_pages_total $name "" stage.direct
	same uzram_disk_percpu_pages_total $name "" streams.percpu
	same uzram_disk_batches_total $name "" streams.batches
	same uzram_disk_batch_pages_total $name "" streams.batch_pages
	same uzram_backing_pages $name "" bd_stat.bd_count
	same uzram_backing_used_bytes $name "" bd_stat.bytes_used
	for op in read write trim flush; do
		same uzram_request_duration_seconds_count $name ",op=\"$op\"" latency_us.$op.count
	done
done
ctl --json metrics | jq -e '.text | startswith("# HELP")' \
    >/dev/null || fail "metrics --json"
grep -q '^uzram_backing_pages{disk="a"} [1-9]' "$dir/metrics" || fail "nothing was written back"
resident=$(awk '$1 == "process_resident_memory_bytes" { print $2 }' "$dir/metrics")
[ "$resident" -gt 1000000 ] || fail "resident memory: $resident"
for name in a b.2 c; do
	ctl remove $name
done
ctl metrics >"$dir/metrics"
check "$dir/metrics" || fail "metrics without a disk"
stop_nbdkit
