# SPDX-License-Identifier: BSD-3-Clause
# Kernel zram and uzram, the same operations on both: the columns that have zram's names
# have zram's values.
source "$(dirname "$0")/functions.sh"
requires_root
requires_tool jq blkdiscard dd
[ -r /sys/class/zram-control/hot_add ] || skip "needs kernel zram"

real_data "$dir/data" 12
truncate -s 13M "$dir/data"
head -c 1M /dev/zero | tr '\0' Z >>"$dir/data"
head -c 2M /dev/urandom >>"$dir/data"

id=
remove_zram () {
	[ -n "$id" ] || return 0
	echo 1 >"/sys/block/zram$id/reset"
	echo "$id" >/sys/class/zram-control/hot_remove
}
cleanup 'until_true 10 remove_zram 2>/dev/null'
id=$(cat /sys/class/zram-control/hot_add) || skip "cannot add a zram device"
zram=/sys/block/zram$id
until_true 10 test -b "/dev/zram$id" || skip "no device node /dev/zram$id appears"
echo lz4 >$zram/comp_algorithm 2>/dev/null || skip "this zram has no lz4"
echo 64M >$zram/disksize
start_nbdkit 64M algorithm=lz4

zram_column () { awk -v n="$2" '{ print $n }' "$zram/$1"; }
compare () {
	local what=$1 column=$2 name=$3 relation=$4 theirs ours
	theirs=$(zram_column "$what" "$column")
	ours=$(disk_stat "$what.$name")
	echo "$what $name: zram $theirs, uzram $ours"
	test "$ours" "$relation" "$theirs" || fail "$what $name ($step)"
}
columns () {
	step=$1
	# Until a page has been compressed nobody knows whether it is a huge one.
	timeout 60 "$tools/nbd-do" "$uri" flush
	compare mm_stat 1 orig_data_size -eq
	compare mm_stat 6 same_pages -eq
	compare mm_stat 8 huge_pages -le
	compare mm_stat 9 huge_pages_since -le
	compare io_stat 4 notify_free -eq
	compare io_stat 1 failed_reads -eq
	compare io_stat 2 failed_writes -eq
}
both_write () {
	dd if="$dir/data" of="/dev/zram$id" bs=4096 seek=$(($1 / 4096)) oflag=direct conv=notrunc status=none
	timeout 60 "$tools/nbd-do" "$uri" put "$1" "$dir/data"
}
both_discard () {
	blkdiscard -o "$1" -l "$2" "/dev/zram$id"
	timeout 60 "$tools/nbd-do" "$uri" trim "$1" "$2"
}
columns "empty"
both_write 0
columns "written"
[ "$(disk_stat mm_stat.huge_pages)" -ge 500 ] || fail "2 MiB of noise, and few huge pages"
both_write $((20 << 20))
both_write 0
columns "overwritten"
both_discard 0 $((3 << 20))
both_discard $((13 << 20)) $((2 << 20))
columns "discarded"
both_discard $((1 << 20)) $((4 << 20)) # some of it for the second time
both_discard $((60 << 20)) $((1 << 20)) # never written
columns "discarded again"
dd if="/dev/zram$id" bs=1M iflag=direct status=none | cmp - <(timeout 60 nbdcopy "$uri" -) ||
    fail "the contents differ"
both_discard 0 $((64 << 20))
columns "all discarded"
[ "$(disk_stat mm_stat.orig_data_size)" = 0 ]
stop_nbdkit
