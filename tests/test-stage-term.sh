# SPDX-License-Identifier: BSD-3-Clause
# SIGTERM with a stage full of pages that take long to compress: the server ends within two
# seconds, and leaves nothing. What was acknowledged before is drained by nobody any more.
source "$(dirname "$0")/functions.sh"
requires_tool jq

real_data "$dir/data" 64
for workers in 1 4; do
	# zstd's slowest, one page in ms: all of the stage would take many seconds.
	start_nbdkit 256M algorithm=zstd:22 stage=256M batch=256 workers=$workers
	mkfifo "$dir/hold"
	"$tools/nbd-do" "$uri" put 0 "$dir/data" wait <"$dir/hold" >"$dir/client" &
	client=$!
	cleanup "end_child $client"
	exec 9>"$dir/hold"
	until_true 60 grep -q waiting "$dir/client" || fail "the client does not come to its end"
	staged=$(disk_stat stage.pages)
	echo "$staged pages staged at the end"
	[ "$staged" -ge 1000 ] || fail "the stage is not full"
	exec 9>&-
	wait $client
	start=$(date +%s%N)
	kill -TERM "$server"
	await_nbdkit
	ms=$((($(date +%s%N) - start) / 1000000))
	echo "gone after $ms ms"
	[ $ms -lt 2000 ] || [ "$UZRAM_SANITIZERS" != no ] || fail "it took $ms ms"
	! [ -e "$control" ] || fail "the control socket is left"
	rm "$dir/hold"
done
