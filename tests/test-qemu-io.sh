# SPDX-License-Identifier: BSD-3-Clause
# QEMU's client: patterns at odd places, many writes in flight, an image
# converted and compared.
source "$(dirname "$0")/functions.sh"
requires_tool qemu-io qemu-img

start_nbdkit 128M
timeout 60 qemu-io -f raw "$uri" \
    -c 'write -P 0xa5 0 1M' -c 'read -P 0xa5 0 1M' \
    -c 'write -P 0x11 4095 4098' -c 'read -P 0xa5 0 4095' -c 'read -P 0x11 4095 4098' \
    -c 'read -P 0xa5 8193 8192' \
    -c 'write -P 0x22 512 512' -c 'read -P 0x22 512 512' -c 'read -P 0xa5 1024 3071' \
    -c 'aio_write -P 1 1M 1M' -c 'aio_write -P 2 2M 64k' -c 'aio_write -P 3 3M 512' \
    -c 'aio_flush' -c 'flush' \
    -c 'read -P 1 1M 1M' -c 'read -P 2 2M 64k' -c 'read -P 3 3M 512' -c 'read -P 0 3146240 64k' \
    -c 'write -f -P 4 127M 1M' -c 'read -P 4 127M 1M'

real_data "$dir/data" 64
timeout 60 qemu-img convert -n -f raw -O raw "$dir/data" "$uri"
timeout 60 qemu-io -f raw "$uri" -c 'discard 64M 64M'
timeout 60 qemu-img compare -f raw -F raw "$dir/data" "$uri"
stop_nbdkit

# A wrong pattern is noticed: the test can fail.
start_nbdkit 1M
if timeout 60 qemu-io -f raw "$uri" -c 'read -P 1 0 4k' >/dev/null; then
	fail "qemu-io took zeroes for ones"
fi
stop_nbdkit
