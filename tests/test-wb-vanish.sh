# SPDX-License-Identifier: BSD-3-Clause
# The NBD server that is the second tier vanishes: for a moment, and nobody notices; for good, and
# what only it has is EIO, all else is served as ever; and it comes back.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/wb.sh"
do="timeout 60 $tools/nbd-do"

truncate -s 64M "$dir/image"
# nbdkit file: what it was told is in the file, whatever becomes of it.
serve () { serve_file nbdkit; }
vanish () {
	kill -9 "$other"
	wait "$other" 2>/dev/null || :
}
serve
real_data "$dir/data" 16
start_nbdkit 64M backing="$other_uri" promote=never
copy_in "$dir/data"
drained
# The first 12 MiB there, the rest in memory.
ctl writeback page_indexes=0-3071
head -c 12M "$dir/data" >"$dir/there"
tail -c 4M "$dir/data" >"$dir/here"

# Gone for a moment, while it is read.
$do "$uri" same 0 "$dir/there"
for i in 1 2 3; do
	command timeout 120 "$tools/nbd-do" "$uri" same 0 "$dir/there" same 0 "$dir/there" &
	reader=$!
	sleep 0.0$i
	vanish
	sleep 0.3
	serve
	wait $reader || fail "a reader noticed"
done
# While it is written to.
vanish
ctl --json writeback page_indexes=3072-3583 >"$dir/out" &
pass=$!
sleep 0.5
serve
wait $pass || { cat "$dir/out"; fail "the pass failed"; }
$do "$uri" same 0 "$dir/data"
wb_clean
[ "$(disk_stat io_stat.failed_reads)" = 0 ] || fail "failed reads"

# For good. A read of what is in memory waits for nobody; one of what is not ends with EIO.
vanish
$do "$uri" same $((14 << 20)) <(tail -c 2M "$dir/data")
nbd_fails EIO check 0 64k 0
# From now on at once.
SECONDS=0
for page in 1 100 1000 3000 3500; do
	status=0
	$do "$uri" check $((page << 12)) 4k 0 >"$dir/said" || status=$?
	grep -q 'EIO' "$dir/said" || [ "$(ctl blocks --from $page --to $page | awk 'NR == 2 { print $3 }')" = s ] ||
	    fail "page $page: $(cat "$dir/said")"
done
[ $SECONDS -lt 20 ] || fail "each read waits"
[ "$(disk_stat io_stat.failed_reads)" -gt 0 ] || fail "failed reads are not counted"
[ "$(bd checksum_errors)" = 0 ] || fail "checksum errors"
# Memory is served, written, trimmed; so are pages there, if they need not be read.
$do "$uri" same $((14 << 20)) <(tail -c 2M "$dir/data") put $((15 << 20)) "$dir/here" \
    same $((15 << 20)) "$dir/here" fill 0 1m 7 check 0 1m 7 trim 1m 1m check 1m 1m 0
ctl stat >"$dir/out"
status=0
ctl writeback page_indexes=3840-4863 >"$dir/out" 2>&1 || status=$?
[ $status = 1 ] || fail "a pass to nowhere: $(cat "$dir/out")"
$do "$uri" same $((15 << 20)) "$dir/here"

# It is back, and with it what it had.
serve
back () { timeout 60 "$tools/nbd-do" "$uri" same 2m <(tail -c +2097153 "$dir/there") >"$dir/said"; }
until_true 30 back || fail "it does not come back: $(cat "$dir/said")"
writes () { ctl writeback page_indexes=3840-4863 >"$dir/out" 2>&1; }
until_true 90 writes || fail "nothing is written any more: $(cat "$dir/out")"
$do "$uri" check 0 1m 7 check 1m 1m 0 same $((15 << 20)) "$dir/here"

# The end does not wait for it.
vanish
SECONDS=0
stop_nbdkit
[ $SECONDS -lt 15 ] || fail "ending took $SECONDS s"
