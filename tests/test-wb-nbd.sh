# SPDX-License-Identifier: BSD-3-Clause
# As test-wb-file.sh, on other people's NBD servers.
source "$(dirname "$0")/functions.sh"
: "${UZRAM_WB_MIB:=128}"
source "$(dirname "$0")/wb.sh"

wb_data
for other_server in qemu-nbd nbdkit; do
	command -v $other_server >/dev/null || continue
	rm -f "$dir/image"
	truncate -s "${wb_mib}M" "$dir/image"
	serve_file $other_server
	wb_trial backing="$other_uri"
	stop_nbdkit
	end_child "$other"
done
command -v qemu-nbd >/dev/null || skip "without qemu-nbd, only nbdkit's file plugin was tried"
