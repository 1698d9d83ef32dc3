# SPDX-License-Identifier: BSD-3-Clause
# SIGTERM with a stage full of pages and an accelerator that answers no more: the server ends
# within two seconds, and leaves nothing.
source "$(dirname "$0")/functions.sh"
requires_tool jq

accel_stat () { timeout 20 "$UZRAMCTL" -s "$control" --json accel | jq -e ".accel.$1"; }

real_data "$dir/data" 64
for args in "accel=iaa" "accel=hisi accel-transport=eventfd" "accel=qat accel-transport=inline"; do
	# Software workers help as long as the device is full: with zstd's slowest, not for long.
	start_nbdkit 256M algorithm=zstd:22 stage=256M batch=256 workers=1 $args \
	    accel-fault=timeout:1,100,0,-1 accel-timeout-ms=10000
	mkfifo "$dir/hold"
	"$tools/nbd-do" "$uri" put 0 "$dir/data" wait <"$dir/hold" >"$dir/client" &
	client=$!
	cleanup "end_child $client"
	exec 9>"$dir/hold"
	until_true 60 grep -q waiting "$dir/client" || fail "the client does not come to its end"
	staged=$(disk_stat stage.pages)
	stuck=$(accel_stat in_flight)
	echo "$args: $staged pages staged at the end, $stuck of them on the device"
	[ "$staged" -ge 1000 ] || fail "the stage is not full"
	[ "$stuck" -ge 1 ] || fail "the device is not stuck"
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
