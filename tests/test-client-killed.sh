# SPDX-License-Identifier: BSD-3-Clause
# Clients that are killed with many requests in flight, writing and reading, over
# one connection and over four, 20 rounds of each, leave the server serving and the
# rest of the disk as it was. nbdkit's settings are its own: nbdkit before 1.34
# aborts here under the parallel thread model.
source "$(dirname "$0")/functions.sh"
requires_tool nbdcopy

real_data "$dir/data" 64
start_nbdkit 64M
timeout 60 nbdcopy "$dir/data" "$uri"
head -c 48M "$dir/data" >"$dir/upper"
do="$tools/nbd-do"

# Each client runs in the background and kills itself, or is killed after a
# moment; bash would tell of each.
killed () {
	"$@" >/dev/null &
	clients+=($!)
}
for connections in 1 4; do
	for round in {1..20}; do
		clients=()
		for ((i = 0; i < connections; i++)); do
			if ((round % 2)); then
				killed "$do" "$uri" hangup write $((i * 12))m 128k 64
			else
				killed "$do" "$uri" hangup read $((i * 12))m 128k 64
			fi
		done
		if ((round % 4 < 2)); then
			killed nbdcopy --connections=$connections --requests=64 \
			    --request-size=65536 "$dir/upper" "$uri"
		else
			killed nbdcopy --connections=$connections --requests=64 \
			    --request-size=65536 "$uri" null:
		fi
		sleep "0.0$((RANDOM % 9 + 1))"
		kill -9 "${clients[@]}" 2>/dev/null || :
		wait "${clients[@]}" 2>/dev/null || :

		running "$server" || fail "round $round with $connections connections: the server died"
		timeout 60 nbdcopy "$uri" "$dir/out" || fail "round $round: the server serves no more"
		cmp <(tail -c +$(((48 << 20) + 1)) "$dir/data") <(tail -c +$(((48 << 20) + 1)) "$dir/out") ||
		    fail "round $round with $connections connections: data of others changed"
	done
done
stop_nbdkit
