# SPDX-License-Identifier: BSD-3-Clause
# The plugin built with the address and undefined-behaviour sanitizers, in a real
# server: no error, and no leak when it ends.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/workload.sh"
UZRAM_PLUGIN=$UZRAM_BUILD/plugin/.libs/nbdkit-uzram-asan-plugin.so
[ "$UZRAM_SANITIZERS" = no ] || skip "the whole build has sanitizers"
[ -e "$UZRAM_PLUGIN" ] || skip "the compiler has no sanitizers"
use_sanitizers address
requires_tool nbdcopy

for algorithm in lz4 lz4hc zstd deflate none; do
	start_nbdkit 32M algorithm=$algorithm
	workload
	stop_nbdkit
done
for args in "" "mem-limit=1M promote=read" swap=yes; do
	start_nbdkit 32M backing="$dir/backing" backing-size=64M $args
	timeout 60 "$tools/nbd-do" "$uri" put 0 "$dir/data" flush
	ctl writeback page_indexes=0-1500
	workload
	stop_nbdkit
done
start_nbdkit 32M mem-limit=4M swap=yes swap-reserve=1M
nbd_fails ENOSPC put 0 <(head -c 16M /dev/urandom)
stop_nbdkit
