# SPDX-License-Identifier: BSD-3-Clause
# Real data through a disk whose memory is a quarter of what it takes compressed; the rest goes to
# a file, by itself. UZRAM_WB_MIB: how much.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/wb.sh"

wb_data
wb_trial backing="$dir/backing" backing-size="${wb_mib}M"
# What was trimmed is given back to the file system, where it has holes.
holes () { [ "$(stat -c %b "$dir/backing")" -le $((4 << 11)) ]; }
until_true 20 holes || fail "the file still takes $(stat -c %b "$dir/backing") sectors"
stop_nbdkit
