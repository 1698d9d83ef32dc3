# SPDX-License-Identifier: BSD-3-Clause
# Block status of 4 GiB - 1 bytes on a larger disk: nbdkit aborts when a plugin's
# extents reach beyond such a request (CVE-2025-47711).
source "$(dirname "$0")/functions.sh"

start_nbdkit 8G
do="timeout 60 $tools/nbd-do"
map=$($do "$uri" status 0 4294967295)
[ "$map" = "0 4294967295 3" ] || fail "the empty disk's map is: $map"
map=$($do "$uri" status 4294967297 4294967295)
[ "$map" = "4294967297 4294967295 3" ] || fail "the upper half's map is: $map"

# A byte in the far half, and one byte asked for.
$do "$uri" fill 6g 1 7
map=$($do "$uri" status 4294967297 4294967295)
[ "$(head -1 <<<"$map")" = "4294967297 2147483647 3" ] || fail "with a byte at 6 GiB it is: $map"
map=$($do "$uri" status 6g 1)
[ "$map" = "6442450944 1 0" ] || fail "that byte's map is: $map"
stop_nbdkit
