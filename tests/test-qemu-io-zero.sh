# SPDX-License-Identifier: BSD-3-Clause
# Discard and write-zeroes, by whole pages and in part, read as zeroes and leave
# the neighbours alone; whole pages give their memory back.
source "$(dirname "$0")/functions.sh"
requires_tool qemu-io jq

start_nbdkit 16M
timeout 60 qemu-io -f raw "$uri" \
    -c 'write -P 0xa5 0 1M' \
    -c 'write -z -u 64k 64k' -c 'read -P 0 64k 64k' \
    -c 'write -z 256k 64k' -c 'read -P 0 256k 64k' \
    -c 'discard 512k 256k' -c 'read -P 0 512k 256k' \
    -c 'read -P 0xa5 0 64k' -c 'read -P 0xa5 128k 128k' \
    -c 'read -P 0xa5 320k 192k' -c 'read -P 0xa5 768k 256k'
[ "$(disk_stat mm_stat.orig_data_size)" = $(((1024 - 64 - 64 - 256) << 10)) ] ||
    fail "whole pages that were zeroed or discarded are still stored"

timeout 60 qemu-io -f raw "$uri" \
    -c 'write -z 1000 10000' -c 'read -P 0xa5 0 1000' -c 'read -P 0 1000 10000' \
    -c 'read -P 0xa5 11000 10000' \
    -c 'discard 33k 512' -c 'read -P 0xa5 32k 1k' -c 'read -P 0xa5 34304 1k'
stop_nbdkit
