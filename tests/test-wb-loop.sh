# SPDX-License-Identifier: BSD-3-Clause
# As test-wb-file.sh, on a block device.
source "$(dirname "$0")/functions.sh"
requires_loop
source "$(dirname "$0")/wb.sh"

truncate -s "${wb_mib}M" "$dir/image"
make_loop "$dir/image"
wb_data
wb_trial backing="$loop"
stop_nbdkit
