# SPDX-License-Identifier: BSD-3-Clause
# Four jobs, each with its own connection and its own quarter of the disk,
# write and verify as they go.
source "$(dirname "$0")/functions.sh"
requires_fio

start_nbdkit 64M
run_fio --numjobs=4 --offset_increment=16m --size=16m --rw=randwrite --bsrange=4k-64k --iodepth=8 \
    --verify=crc32c --verify_backlog=256 --buffer_compress_percentage=60 --refill_buffers
stop_nbdkit
