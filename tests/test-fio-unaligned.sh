# SPDX-License-Identifier: BSD-3-Clause
# Writes of any length from 512 bytes to 128 KiB at any offset, so that pages
# are patched in part, read back and verified by fio.
source "$(dirname "$0")/functions.sh"
requires_fio

start_nbdkit 128M
run_fio --rw=randrw --bsrange=512-128k --bs_unaligned=1 --size=64m --iodepth=1 --verify=md5 \
    --buffer_compress_percentage=60 --refill_buffers
# Neighbours in one page, in flight together.
run_fio --rw=randwrite --bsrange=512-8k --bs_unaligned=1 --size=16m --iodepth=16 --verify=md5 \
    --buffer_compress_percentage=60 --refill_buffers
stop_nbdkit
