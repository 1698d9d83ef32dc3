# SPDX-License-Identifier: BSD-3-Clause
# Random 4 KiB writes of compressible data, many in flight, read back and
# verified by fio.
source "$(dirname "$0")/functions.sh"
requires_fio

start_nbdkit 256M
run_fio --rw=randwrite --bs=4k --size=64m --iodepth=32 --verify=crc32c \
    --buffer_compress_percentage=70 --refill_buffers
# Over what is there, reading in between.
run_fio --rw=randrw --bs=4k --size=64m --iodepth=32 --verify=crc32c \
    --buffer_compress_percentage=30 --refill_buffers
stop_nbdkit
