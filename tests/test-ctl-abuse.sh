# SPDX-License-Identifier: BSD-3-Clause
# Clients that misuse the control socket all at once: silent, half-sent, never
# reading, binary, endless lines. The disk serves on and as fast, memory stays bounded,
# and the control socket works again.
source "$(dirname "$0")/functions.sh"
requires_tool jq
python=/usr/bin/python3
[ -x $python ] || skip "needs python3"

start_nbdkit 64M
real_data "$dir/real" 8
timeout 30 nbdcopy "$dir/real" "$uri"
# Reads of 4 KiB, and how long 99 of 100 took at most, in the plugin's own count.
load () { timeout 60 nbdcopy --request-size=4096 --requests=1 --connections=1 "$uri" null:; }
p99 () { disk_stat latency_us.read.p99; }
load
calm=$(p99)
ctl drop-stats
ctl list >/dev/null
before=$(resident "$server")

cat >"$dir/abuse.py" <<'END'
import os, socket, sys, time
def client():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    return s
def feed(s, data, rounds):
    s.setblocking(False)
    try:
        for i in range(rounds):
            s.send(data)
    except OSError:
        pass
    return s
held = []
for i in range(200):
    held.append(client())
    held.append(feed(client(), b"comp", 1))
    held.append(feed(client(), b"stat\n" * 100, 1000))
    held.append(feed(client(), os.urandom(65536), 1))
    held.append(feed(client(), b"x" * 65536, 16))
open(sys.argv[2], "w").close()
# It goes on: some leave, as many come.
kinds = ((b"comp", 1), (b"stat\n" * 100, 10), (os.urandom(4096), 1), (b"x" * 65536, 1),
         (b"blocks\n" * 5, 1), (b"metrics\n", 1))
while not os.path.exists(sys.argv[3]):
    for kind in kinds:
        held.pop(0).close()
        held.append(feed(client(), *kind))
    time.sleep(0.05)
END
ulimit -n 4096 2>/dev/null || skip "needs 4096 file descriptors"
command timeout 60 $python "$dir/abuse.py" "$control" "$dir/ready" "$dir/done" &
abuser=$!
until_true 30 test -e "$dir/ready" || fail "the server stopped accepting"

status=0
timeout 20 "$UZRAMCTL" -s "$control" list >"$dir/out" 2>&1 || status=$?
# There may be a place by chance.
[ $status = 0 ] || grep -q "control connections are open" "$dir/out" ||
    { cat "$dir/out"; fail "one connection too many: status $status"; }
load
timeout 30 nbdcopy "$dir/real" "$uri"
timeout 30 nbdcopy --request-size=4096 "$uri" "$dir/back"
cmp -n "$(wc -c <"$dir/real")" "$dir/real" "$dir/back"
grown=$((($(resident "$server") - before) >> 10))
echo "resident memory grew by $grown KiB"
[ "$UZRAM_SANITIZERS" != no ] || [ $grown -lt 40960 ] || fail "memory grew by $grown KiB"

touch "$dir/done"
wait $abuser
until_true 20 eval 'timeout 20 "$UZRAMCTL" -s "$control" list >/dev/null 2>&1' ||
    fail "the control socket is lost"
abused=$(p99)
echo "99 of 100 reads within $calm us, under abuse within $abused us"
awk -v a="$abused" -v c="$calm" 'BEGIN { exit !(a <= 8 * c + 100) }' || fail "reads are slower"
stop_nbdkit
