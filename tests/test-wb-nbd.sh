# SPDX-License-Identifier: BSD-3-Clause
# As test-wb-file.sh, on other people's NBD servers.
source "$(dirname "$0")/functions.sh"
: "${UZRAM_WB_MIB:=128}"
source "$(dirname "$0")/wb.sh"

# serve COMMAND...: an NBD server that makes $dir/other.
serve () {
	rm -f "$dir/other"
	"$@" >"$dir/other.log" 2>&1 &
	other=$!
	cleanup "end_child $other"
	until_true 20 test -S "$dir/other" || { cat "$dir/other.log"; fail "$1 does not start"; }
}

wb_data
if command -v qemu-nbd >/dev/null; then
	truncate -s "${wb_mib}M" "$dir/image"
	serve qemu-nbd -t -k "$dir/other" -f raw --discard=unmap -e 8 "$dir/image"
	wb_trial backing="nbd+unix:///?socket=$dir/other"
	stop_nbdkit
	end_child $other
fi
rm -f "$dir/image"
truncate -s "${wb_mib}M" "$dir/image"
serve nbdkit -f -U "$dir/other" file "$dir/image"
wb_trial backing="nbd+unix:///?socket=$dir/other"
stop_nbdkit
end_child $other
command -v qemu-nbd >/dev/null || skip "without qemu-nbd, only nbdkit's file plugin was tried"
