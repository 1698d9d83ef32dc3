# SPDX-License-Identifier: BSD-3-Clause
# writeback-limit: 100 pages allowed are 100 pages written, however many are on their way at once;
# for the automatic pass too.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/wb.sh"

real_data "$dir/data" 16
# A pass that the limit ends says so, and it is no failure.
budget () {
	ctl --json writeback all >"$dir/out"
	jq -e ".pages == $1 and .budget_ended and .errors == 0" "$dir/out" >/dev/null ||
	    { cat "$dir/out"; fail "writeback-batch=$batch: not $1 pages"; }
	[ "$(disk_stat writeback.limit)" = 0 ] || fail "$(disk_stat writeback.limit) are left"
}
for batch in 1 32 256; do
	start_nbdkit 64M backing="$dir/backing" backing-size=32M writeback-batch=$batch
	copy_in "$dir/data"
	drained
	ctl set writeback-limit=100 writeback-limit-enable=1
	budget 100
	[ "$(bd bd_count)" = 100 ] && [ "$(bd bd_writes)" = 100 ] || fail "$(bd bd_count) pages"
	budget 0
	ctl writeback page_indexes=0-9 >"$dir/out"
	grep -q '; the writeback-limit has ended it$' "$dir/out" || { cat "$dir/out"; fail "words"; }
	ctl set writeback-limit=1
	budget 1
	# What need not be written costs nothing.
	ctl set writeback-limit=7
	page=$(ctl blocks | awk '$3 ~ /w/ && !n++ { print $1 }')
	ctl --json writeback page_index="$page" | jq -e '.pages == 0' >/dev/null || fail "twice"
	[ "$(disk_stat writeback.limit)" = 7 ] || fail "a page that was there already cost something"
	# Without it, everything goes, and it is not touched.
	ctl set writeback-limit-enable=0
	ctl --json writeback all | jq -e '.budget_ended == false' >/dev/null || fail "not enabled"
	[ "$(disk_stat writeback.limit)" = 7 ] || fail "it counts, and is not enabled"
	[ "$(ctl blocks | awk 'NR > 1 && $3 !~ /[ws]/' | wc -l)" = 0 ] || fail "pages are left"
	same_as "$dir/data"
	wb_clean
	stop_nbdkit
done

# The automatic pass keeps to it; then the limit is the end.
head -c 16M /dev/urandom >"$dir/noise"
start_nbdkit 64M backing="$dir/backing" backing-size=32M mem-limit=4M
ctl set writeback-limit=500 writeback-limit-enable=1
nbd_fails ENOSPC put 0 "$dir/noise"
[ "$(bd bd_writes)" = 500 ] || fail "$(bd bd_writes) pages were written back, not 500"
stored=$(awk '{ print $1 }' "$dir/said")
head -c "$stored" "$dir/noise" >"$dir/fitted"
timeout 60 "$tools/nbd-do" "$uri" same 0 "$dir/fitted"
[ "$stored" -ge $((4 << 20)) ] || fail "only $stored bytes fitted"
ctl set writeback-limit-enable=0
timeout 60 "$tools/nbd-do" "$uri" put 0 "$dir/noise" same 0 "$dir/noise"
# Both tiers full, all is readable.
head -c 48M /dev/urandom >"$dir/noise"
nbd_fails ENOSPC put 0 "$dir/noise"
stored=$(awk '{ print $1 }' "$dir/said")
echo "$stored bytes of noise in 4 MiB and $(bd capacity) bytes of backing"
[ "$stored" -ge $((30 << 20)) ] || fail "only $stored bytes fitted"
head -c "$stored" "$dir/noise" >"$dir/fitted"
timeout 60 "$tools/nbd-do" "$uri" same 0 "$dir/fitted" trim 0 8m
timeout 60 "$tools/nbd-do" "$uri" put 0 <(head -c 4M /dev/urandom)
stop_nbdkit
