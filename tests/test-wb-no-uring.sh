# SPDX-License-Identifier: BSD-3-Clause
# Where io_uring is forbidden, as in many containers, threads do its work.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/wb.sh"

wb_mib=64
wb_data
without_uring EPERM
wb_trial backing="$dir/backing" backing-size="${wb_mib}M"
[ "$(disk_stat writeback.backing)" = '"threads"' ] || fail "backing: $(disk_stat writeback.backing)"
stop_nbdkit
without_uring ENOSYS
start_nbdkit 1M backing="$dir/backing" backing-size="${wb_mib}M"
[ "$(disk_stat writeback.backing)" = '"threads"' ] || fail "backing: $(disk_stat writeback.backing)"
stop_nbdkit
