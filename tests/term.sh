# SPDX-License-Identifier: BSD-3-Clause
# What tests of SIGTERM with a full stage share.

requires_tool jq
real_data "$dir/data" 64

# start_with_full_stage KEY=VALUE...: a server, and a client that stays. What the client has
# written is mostly staged: with zstd's slowest, a page in ms, all of it would take many seconds.
start_with_full_stage () {
	local staged
	start_nbdkit 256M algorithm=zstd:22 stage=256M batch=256 "$@"
	hold_client put 0 "$dir/data"
	staged=$(disk_stat stage.pages)
	echo "$*: $staged pages staged at the end"
	[ "$staged" -ge 1000 ] || fail "the stage is not full"
}

# The client leaves; the server, told to end, is gone within two seconds, and leaves nothing.
ends_at_once () {
	local start ms
	release_client
	start=$(date +%s%N)
	stop_nbdkit
	ms=$((($(date +%s%N) - start) / 1000000))
	echo "gone after $ms ms"
	[ $ms -lt 2000 ] || [ "$UZRAM_SANITIZERS" != no ] || fail "it took $ms ms"
}
