# SPDX-License-Identifier: BSD-3-Clause
# A file system on the disk through nbdfuse and a loop device: files come back
# whole, fstrim gives the memory of deleted ones back, fsck finds no fault.
source "$(dirname "$0")/functions.sh"
requires_loop
requires_fuse
requires_tool mkfs.ext4 fsck.ext4 fstrim jq

start_nbdkit 512M
attach_disk
timeout 60 mkfs.ext4 -q -F "$loop"
mkdir "$dir/fs"
cleanup 'umount "$dir/fs" 2>/dev/null'
timeout 60 mount -o discard "$loop" "$dir/fs" || skip "may not mount file systems"
empty=$(disk_stat mm_stat.orig_data_size)

file_list 200 >"$dir/list"
mkdir "$dir/fs/tree"
unpack_list "$dir/fs/tree" <"$dir/list"
sync -f "$dir/fs"
timeout 60 umount "$dir/fs"
full=$(disk_stat mm_stat.orig_data_size)
[ $((full - empty)) -gt $((100 << 20)) ] || fail "the files have not reached the disk: $full"

timeout 60 mount -o discard "$loop" "$dir/fs"
while IFS= read -r -d '' file; do
	cmp "$file" "$dir/fs/tree/$file"
done <"$dir/list"

rm -r "$dir/fs/tree"
sync -f "$dir/fs"
timeout 60 fstrim "$dir/fs"
freed () { [ "$(disk_stat mm_stat.orig_data_size)" -lt $((empty + (16 << 20))) ]; }
until_true 20 freed ||
    fail "of $full bytes $(disk_stat mm_stat.orig_data_size) are still stored after fstrim"
timeout 60 umount "$dir/fs"
timeout 60 fsck.ext4 -fn "$loop"
detach_disk
stop_nbdkit
