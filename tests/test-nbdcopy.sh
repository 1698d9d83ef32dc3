# SPDX-License-Identifier: BSD-3-Clause
# A 512 MiB file system of real files goes in and comes out identical, over one
# connection and over four.
source "$(dirname "$0")/functions.sh"
requires_tool nbdcopy mkfs.ext4

mkdir "$dir/tree"
file_list 440 | unpack_list "$dir/tree"
mkfs.ext4 -q -d "$dir/tree" "$dir/image" 512M
rm -rf "$dir/tree"

for connections in 1 4; do
	rm -f "$dir/out"
	start_nbdkit 512M
	timeout 120 nbdcopy --connections=$connections "$dir/image" "$uri"
	timeout 120 nbdcopy --connections=$connections "$uri" "$dir/out"
	cmp "$dir/image" "$dir/out"
	stop_nbdkit
done
