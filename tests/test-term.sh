# SPDX-License-Identifier: BSD-3-Clause
# SIGTERM with a connection open: the server takes no new clients, ends with status 0 as
# soon as those it has are gone, idle or busy, and takes its control socket along.
# (nbdkit waits for its clients, and does not close such connections for the
# plugin.)
source "$(dirname "$0")/functions.sh"
requires_tool nbdcopy

start_nbdkit 64M
[ -S "$control" ] || fail "there is no control socket"
hold_client fill 0 1m 3
kill -TERM "$server"
sleep 0.2
SECONDS=0
release_client || :
await_nbdkit
[ $SECONDS -lt 10 ] || fail "it took $SECONDS seconds after an idle client had left"

start_nbdkit 256M
real_data "$dir/data" 64
cat "$dir/data" "$dir/data" "$dir/data" "$dir/data" >"$dir/much"
nbdcopy --connections=4 --requests=64 "$dir/much" "$uri" 2>"$dir/nbdcopy.log" &
client=$!
sleep 0.1
SECONDS=0
stop_nbdkit
[ $SECONDS -lt 10 ] || fail "it took $SECONDS seconds with a busy connection"
wait $client || :
