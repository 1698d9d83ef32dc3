# SPDX-License-Identifier: BSD-3-Clause
# Trim and zero take 4 GiB - 1 bytes in one request: whole pages inside are
# freed, the last byte's page keeps its last byte.
source "$(dirname "$0")/functions.sh"
requires_tool jq

start_nbdkit 8G
for verb in trim zero; do
	timeout 60 "$tools/nbd-do" "$uri" fill 0 8k 1 fill 2g 1m 2 fill 4294963200 8k 3 \
	    $verb 0 4294967295 \
	    check 0 8k 0 check 2g 1m 0 check 4294963200 4095 0 check 4294967295 4097 3
	[ "$(disk_stat mm_stat.orig_data_size)" = 8192 ] || fail "$verb left more than two pages"
	timeout 60 "$tools/nbd-do" "$uri" $verb 4294963200 8k
	[ "$(disk_stat mm_stat.orig_data_size)" = 0 ] || fail "$verb left a page"
done
stop_nbdkit
