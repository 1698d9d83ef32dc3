# SPDX-License-Identifier: BSD-3-Clause
# `idle` and `writeback` choose the pages that zram's attributes of these names would; and
# `promote` brings back what it should.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/wb.sh"
do="timeout 60 $tools/nbd-do"

# Pages 0-9: one word. 10-29: noise. 30-59: text. 60-69: noise.
head -c 10M /dev/urandom >"$dir/noise"
for ((i = 30; i < 60; i++)); do
	printf '%4096d' $i | tr ' ' 'x' | sed "s/x\{100\}/page $i /g" | head -c 4096 >"$dir/page"
	truncate -s 4096 "$dir/page"
	cat "$dir/page"
done >"$dir/text"
{ head -c 40960 /dev/zero | tr '\0' Z; head -c 80k "$dir/noise"; cat "$dir/text"
    tail -c 40k "$dir/noise"; } >"$dir/all"
fresh () {
	start_nbdkit 64M backing="$dir/backing" backing-size=16M "$@"
	$do "$uri" put 0 "$dir/all"
	drained
}
# writes PAGES MODE...: a pass writes back so many.
writes () {
	local want=$1 got
	shift
	got=$(ctl --json writeback "$@" | jq .pages)
	[ "$got" = "$want" ] || { ctl blocks; fail "writeback $*: $got pages, not $want"; }
}
# flagged LETTER PAGE...: these pages, and no others, have it.
flagged () {
	local want got
	want=${*:2}
	got=$(ctl blocks | awk -v f="$1" 'NR > 1 && index($3, f) { print $1 }' | paste -sd ' ')
	[ "$got" = "$want" ] || { ctl blocks; fail "$1 is set for $got, not for $want"; }
}
idles () {
	local got
	got=$(ctl --json idle "$2" | jq .pages)
	[ "$got" = "$1" ] || fail "idle $2: $got pages, not $1"
}
[ "$(wc -c <"$dir/all")" = 286720 ]

fresh promote=never
flagged s {0..9}
flagged h {10..29} {60..69}
flagged w
flagged i

# Nothing is idle: nothing is written.
writes 0 idle
writes 0 huge_idle
# By number; a page that is there already, or is of one word, or empty, is not written.
writes 1 page_index=30
writes 0 page_index=30
writes 4 page_index=31 page_indexes=30-33 page_index=34 page_index=0 page_index=100
flagged w {30..34}
[ "$(bd bd_count)" = 5 ] && [ "$(bd bd_writes)" = 5 ] || fail "bd_count, bd_writes"

# Idle: all in memory but those of one word. An access ends it, of a part of a page too.
idles 0 3600
idles 55 all
flagged i {10..29} {35..69}
$do "$uri" check $((60 << 12)) 0 0 same $((35 << 12)) <(tail -c +20481 "$dir/text" | head -c 8192)
$do "$uri" fill $(((37 << 12) + 100)) 10 7
drained
flagged i {10..29} {38..69}
# Those that did not change since: 22 of 38-59, and the noise, which is huge too.
writes 30 huge_idle
flagged w {10..29} {30..34} {60..69}
flagged i {38..59}
writes 22 type=idle
flagged i
flagged w {10..34} {38..69}
# What was read or written stays.
writes 0 idle huge
$do "$uri" fill $(((37 << 12) + 100)) 10 7 >/dev/null
printf '\7%.0s' {1..10} | dd of="$dir/all" bs=1 seek=$(((37 << 12) + 100)) conv=notrunc status=none
drained
$do "$uri" same 0 "$dir/all"
writes 3 all
[ "$(bd bd_count)" = 60 ] || fail "bd_count is $(bd bd_count)"
flagged w {10..69}

# All is as it was; with promote=never it stays where it is, however often it is read.
for i in 1 2 3; do
	$do "$uri" same 0 "$dir/all"
done
flagged w {10..69}
[ "$(bd bd_reads)" -ge 180 ] || fail "bd_reads is $(bd bd_reads)"
[ "$(bd promoted)" = 0 ] || fail "promoted"
# As zram counts: what is written back is stored.
[ "$(disk_stat mm_stat.orig_data_size)" = 286720 ] || fail "orig_data_size"

# Overwriting a page or a part of it, and trimming, free its record.
before=$(bd bytes_used)
$do "$uri" put $((10 << 12)) <(head -c 4k "$dir/noise" | tr '[:lower:]' '[:upper:]') \
    fill $((11 << 12)) 1 0 trim $((12 << 12)) 4k zero $(((13 << 12) + 1)) 10
drained
flagged w {14..69}
[ "$(bd bd_count)" = 56 ] && [ "$(bd bytes_used)" = $((before - 4 * 4108)) ] ||
    fail "$(bd bytes_used) used of $before"
$do "$uri" check $((12 << 12)) 4k 0 \
    same $((11 << 12)) <(printf '\0'; head -c 8k "$dir/noise" | tail -c 4095)
ctl verify
$do "$uri" trim 0 64m
drained
ctl --json stat | jq -e '.disks[0] | .limit_used == 0 and .mm_stat.orig_data_size == 0 and
    .mm_stat.huge_pages == 0 and .bd_stat.bd_count == 0 and .bd_stat.bytes_used == 0' >/dev/null ||
    { ctl stat; fail "something is left of nothing"; }

# read: at once. second-read: not at the first.
$do "$uri" put 0 "$dir/all"
drained
ctl set promote=second-read
writes 60 all
$do "$uri" same 0 "$dir/all"
flagged w {10..69}
$do "$uri" same 0 "$dir/all"
flagged w
[ "$(bd bd_count)" = 0 ] && [ "$(bd bytes_used)" = 0 ] || fail "promoted pages are on the backing"
[ "$(bd promoted)" = 60 ] || fail "promoted: $(bd promoted)"
writes 60 all
ctl set promote=read
$do "$uri" same $((30 << 12)) "$dir/text" >/dev/null || :
flagged w {10..29} {60..69}
stop_nbdkit

# The largest gain first: noise, whatever its place.
fresh
ctl set writeback-limit=25 writeback-limit-enable=1
writes 25 all
[ "$(ctl blocks | awk '$3 ~ /w/ && $1 >= 30 && $1 < 60' | wc -l)" = 0 ] ||
    { ctl blocks; fail "text before noise"; }
wb_clean
# reset: all of it goes, and the disk is as good as new.
until_true 20 no_clients || fail "clients that have gone count"
ctl reset
[ "$(bd bytes_used)" = 0 ] && [ "$(bd bd_count)" = 0 ] || fail "reset leaves something"
$do "$uri" check 0 1m 0 put 0 "$dir/all"
drained
ctl set writeback-limit-enable=0
writes 60 all
$do "$uri" same 0 "$dir/all"
stop_nbdkit

# `incompressible`: what no codec made smaller.
fresh algorithm=zstd
writes 30 incompressible
flagged w {10..29} {60..69}
stop_nbdkit

# Settings of a disk in use: a limit and writeback=auto move what is beyond the watermark at once.
real_data "$dir/data" 16
start_nbdkit 64M backing="$dir/backing" backing-size=32M backing-overwrite=yes
copy_in "$dir/data"
drained
used=$(disk_stat limit_used)
ctl set mem-limit=$used
[ "$(disk_stat writeback.mode)" = '"manual"' ] && [ "$(bd bd_count)" = 0 ] || fail "not manual"
below () { [ "$(disk_stat limit_used)" -le $((used * $1 / 100)) ]; }
ctl set writeback=auto
until_true 20 below 80 || fail "high=90 low=80: $(disk_stat limit_used) of $used"
sleep 0.3
! below 60 || fail "more was written back than asked for"
ctl set high=40 low=20
until_true 20 below 20 || fail "high=40 low=20: $(disk_stat limit_used) of $used"
before=$(bd bd_count)
ctl set writeback=manual mem-limit=$((used / 10))
sleep 0.3
[ "$(bd bd_count)" = "$before" ] || fail "writeback=manual moves pages"
nbd_fails ENOSPC put 32m "$dir/noise"
ctl set writeback=auto high=90 low=80
$do "$uri" put 32m "$dir/noise" same 32m "$dir/noise"
same_as "$dir/data"
clean_but_for_enospc () {
	ctl --json stat | jq -e '.disks[0] | .io_stat.failed_reads == 0 and
	    (.bd_stat | .checksum_errors + .read_errors + .write_errors + .decompressed == 0)' >/dev/null
}
clean_but_for_enospc || { ctl stat; fail "errors"; }
stop_nbdkit
