# SPDX-License-Identifier: BSD-3-Clause
# nbdinfo --map: all hole on an empty disk, data where half was written, hole
# again once trimmed. The same with every algorithm.
source "$(dirname "$0")/functions.sh"
requires_tool nbdinfo

expect () {
	timeout 60 nbdinfo --map "$uri" | awk '{ print $1, $2, $3, $4 }' >"$dir/map"
	diff - "$dir/map" || fail "$1"
}

for algorithm in lz4 lz4hc zstd deflate none; do
	start_nbdkit 64M algorithm=$algorithm
	expect "an empty disk" <<-END
		0 67108864 3 hole,zero
	END
	timeout 60 "$tools/nbd-do" "$uri" fill 0 32m 0x5a
	expect "a disk half full" <<-END
		0 33554432 0 data
		33554432 33554432 3 hole,zero
	END
	timeout 60 "$tools/nbd-do" "$uri" trim 8m 8m trim 20m 1
	expect "a disk trimmed in the middle" <<-END
		0 8388608 0 data
		8388608 8388608 3 hole,zero
		16777216 16777216 0 data
		33554432 33554432 3 hole,zero
	END
	timeout 60 "$tools/nbd-do" "$uri" trim 0 64m
	expect "a disk trimmed all over" <<-END
		0 67108864 3 hole,zero
	END
	stop_nbdkit
done
