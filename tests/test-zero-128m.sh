# SPDX-License-Identifier: BSD-3-Clause
# One request zeroes 128 MiB. nbdkit's fall-back for plugins that leave it the
# work stops after 64 MiB, so the plugin has to do it itself.
source "$(dirname "$0")/functions.sh"

start_nbdkit 200M
timeout 60 "$tools/nbd-do" "$uri" fill 0 200m 0x55 zero 1m 128m \
    check 0 1m 0x55 check 1m 128m 0 check 129m 71m 0x55
timeout 60 "$tools/nbd-do" "$uri" zero 100000 199000000 \
    check 0 100000 0x55 check 100000 199000000 0 check 199100000 10615200 0x55
stop_nbdkit
