# SPDX-License-Identifier: BSD-3-Clause
# Three disks with three codecs in one process, loaded at once by a client each.
# Each counts its own requests; their memory adds up to the process's; and a
# disk without load keeps all its figures while the others work.
source "$(dirname "$0")/functions.sh"
requires_fio
requires_tool jq nbdinfo
[ "$UZRAM_SANITIZERS" = no ] || skip "sanitizers have much memory of their own"

# load DISK MODE: 64 MiB in 4 KiB requests, verified when read; fio's count of
# bytes, reads and writes, goes to $dir/DISK.io.
load () {
	timeout 200 fio --name="$1" --ioengine=nbd --uri="nbd+unix:///$1?socket=$sock" --rw="$2" \
	    --bs=4k --size=64m --iodepth=16 --verify=crc32c --verify_fatal=1 \
	    --buffer_compress_percentage=60 --refill_buffers --randseed=7 \
	    --verify_state_save=0 --output-format=json --output="$dir/$1.fio"
	# Warnings stand before the document.
	sed -n "/^{/,$ p" "$dir/$1.fio" |
	    jq ".jobs[0] | .error, .read.io_bytes, .write.io_bytes" >"$dir/$1.io"
}
load_all () {
	local disk jobs=()
	for disk in "${@:2}"; do
		load "$disk" "$1" &
		jobs+=($!)
	done
	for disk in "${jobs[@]}"; do
		wait "$disk" || fail "fio found something wrong"
	done
}

start_nbdkit size=128M disk=a algorithm=lz4 disk=b algorithm=zstd disk=c algorithm=deflate:1
[ "$(timeout 20 nbdinfo --list "nbd+unix:///?socket=$sock" | grep -c '^export=')" = 3 ] ||
    fail "there are not three exports"
load_all randwrite a b c # warm: buffers and stacks are there
ctl reset a
ctl reset b
ctl reset c
empty=$(resident "$server")

load_all randwrite a b c
# What is staged, and the memory that it took, would go by itself in a moment.
for disk in a b c; do
	timeout 20 "$tools/nbd-do" "nbd+unix:///$disk?socket=$sock" flush
	ctl compact $disk
done
ctl --json stat >"$dir/all"
jq -r '.disks[] | "\(.name) \(.algorithm) \(.reads) \(.writes) \(.mm_stat.orig_data_size)
	\(.mm_stat.compr_data_size) \(.io_stat.failed_reads + .io_stat.failed_writes)"' "$dir/all" |
while read -r name algorithm reads writes data && read -r compressed failed; do
	{ read -r error; read -r fio_reads; read -r fio_writes; } <"$dir/$name.io"
	echo "$name $algorithm: $((reads)) pages read, $writes written, $data bytes in $compressed"
	[ "$error" = 0 ] && [ "$failed" = 0 ] || fail "$name: errors"
	[ "$fio_reads" = $((reads * 4096)) ] || fail "$name: fio read $fio_reads bytes"
	[ "$fio_writes" = $((writes * 4096)) ] || fail "$name: fio wrote $fio_writes bytes"
	[ "$data" = $((64 << 20)) ] || fail "$name: not all of it is stored"
	[ "$compressed" -lt $((48 << 20)) ] || fail "$name: not compressed"
done

# The disks' memory, added up, is what the process has grown by.
sum=$(jq '[.disks[] | .mm_stat.mem_used_total + .table_bytes] | add' "$dir/all")
grown=$(($(resident "$server") - empty))
echo "the disks say $sum bytes, the process grew by $grown"
[ "$grown" -ge $((sum * 98 / 100)) ] && [ "$grown" -le $((sum * 103 / 100 + (2 << 20))) ] ||
    fail "they do not add up"

# Two go on; the third rests.
load_all randread a c
ctl --json stat >"$dir/two"
# (But for its age.)
[ "$(jq -S '.disks[1] | del(.ages)' "$dir/all")" = "$(jq -S '.disks[1] | del(.ages)' "$dir/two")" ] ||
    fail "the disk at rest has changed"
[ "$(jq '.disks[0].reads' "$dir/all")" != "$(jq '.disks[0].reads' "$dir/two")" ] ||
    fail "the disk under load has not"

# One goes: its memory goes, the others stay.
ctl remove b
gone=$(jq '.disks[1] | .mm_stat.mem_used_total + .table_bytes' "$dir/all")
left=$(($(resident "$server") - empty))
[ "$left" -le $((grown - gone * 98 / 100 + (1 << 20))) ] || fail "removed, and $left bytes are left"
load_all randread a c
stop_nbdkit
