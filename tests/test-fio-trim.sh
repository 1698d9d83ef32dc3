# SPDX-License-Identifier: BSD-3-Clause
# fio trims blocks, writes them again, and verifies; a disk that is trimmed all
# over holds nothing.
source "$(dirname "$0")/functions.sh"
requires_fio
requires_tool jq

start_nbdkit 64M
run_fio --rw=trimwrite --bs=16k --size=64m --iodepth=16 --verify=crc32c \
    --buffer_compress_percentage=60 --refill_buffers
[ "$(disk_stat mm_stat.orig_data_size)" = $((64 << 20)) ] || fail "64 MiB were written"
run_fio --rw=randtrim --bs=16k --size=64m --iodepth=16
[ "$(disk_stat mm_stat.orig_data_size)" = 0 ] || fail "not all was freed"
[ "$(disk_stat mm_stat.compr_data_size)" = 0 ] || fail "not all was freed"
timeout 60 "$tools/nbd-do" "$uri" check 0 64m 0
stop_nbdkit
