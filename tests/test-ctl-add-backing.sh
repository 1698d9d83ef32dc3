# SPDX-License-Identifier: BSD-3-Clause
# A disk with a second tier, added while the server runs: uzramctl opens the file and passes it on.
# The server opens nothing itself; a refused disk changes nothing; no descriptor is left behind.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/wb.sh"
python=/usr/bin/python3
[ -x $python ] || skip "needs python3"

start_nbdkit 64M
real_data "$dir/data" 24
cold () { ctl --json stat cold | jq ".disks[0].$1"; }
cold_uri=${uri/'nbd+unix:///'/'nbd+unix:///cold'}
b=$dir/backing
open_files () { find "/proc/$server/fd" -type l | wc -l; }

# refused WORDS ARGUMENT...
refused () {
	local words=$1 status=0
	shift
	ctl add "$@" >"$dir/out" 2>"$dir/said" || status=$?
	[ $status = 1 ] || { cat "$dir/said"; fail "add $*: status $status"; }
	grep -qF -e "$words" "$dir/said" || { cat "$dir/said"; fail "add $*: it does not say: $words"; }
	[ "$(ctl --json list | jq '.disks | length')" = 1 ] || fail "add $*: a disk was added"
}
ctl list >"$dir/out"
before=$(open_files)

refused "No such file or directory; backing-size= would make it" cold size=64M backing="$b"
refused "neither a regular file nor a block device" cold size=64M backing="$dir" backing-size=64M
refused "high=50 low=80" cold size=64M backing="$b" backing-size=64M high=50
refused "has 65536 bytes, 589824 are the least" cold size=64M backing="$b" backing-size=64k
refused "size=SIZE is required" cold backing="$b" backing-size=64M
[ ! -e "$b" ] || fail "a refused disk left its file"
truncate -s 16M "$b"
printf precious | dd of="$b" bs=1 seek=5000 conv=notrunc status=none
cp "$b" "$dir/copy"
refused "holds something that is not ours" cold size=64M backing="$b"
refused "backing-size= says" cold size=64M backing="$b" backing-size=32M
cmp "$b" "$dir/copy" || fail "a refused backing was changed"
rm "$b"

# Over the bare socket: a path without its file, and files that nobody asked for.
$python - "$control" "$dir/data" "$b" <<'END'
import json, os, socket, sys
control, data, backing = sys.argv[1:]
def ask(line, *modes, path=data):
    s = socket.socket(socket.AF_UNIX)
    s.connect(control)
    files = [os.open(path, mode) for mode in modes]
    socket.send_fds(s, [line.encode() + b"\n"], files)
    for f in files:
        os.close(f)
    answer = json.loads(s.makefile().readline())
    s.close()
    return answer
def refused(words, answer):
    assert not answer["ok"] and words in answer["error"], answer
refused("the server opens nothing", ask("add cold size=1M backing=" + data))
refused("not open for reading and writing",
        ask("add cold size=1M backing=x backing-size=16M", os.O_RDONLY))
refused("not open for reading and writing",
        ask("add cold size=1M backing=x backing-size=16M", os.O_RDWR | os.O_APPEND))
refused("neither a regular file", ask("add cold size=1M backing=x backing-size=16M", os.O_RDWR,
                                      path="/dev/null"))
for i in range(100):
    assert ask("list", *[os.O_RDONLY] * 5)["ok"]
    refused("unknown command", ask("nonsense", os.O_RDONLY, os.O_RDONLY))
s = socket.socket(socket.AF_UNIX)  # sent, and gone before the line ends
s.connect(control)
f = os.open(data, os.O_RDONLY)
socket.send_fds(s, [b"add cold"], [f])
s.close()
END
no_more () { [ "$(open_files)" -le "$before" ]; }
until_true 10 no_more || { ls -l "/proc/$server/fd"; fail "files are left open"; }

# One that works; the path is only the client's business.
(cd "$dir" && ctl add cold size=64M mem-limit=4M backing=backing backing-size=64M)
[ "$(stat -c %a "$b")" = 600 ] || fail "the new file's mode is $(stat -c %a "$b")"
timeout 60 nbdcopy "$dir/data" "$cold_uri"
timeout 60 nbdcopy "$cold_uri" "$dir/back"
cmp -n "$(wc -c <"$dir/data")" "$dir/data" "$dir/back" || fail "the content differs"
[ "$(cold bd_stat.bd_count)" -gt 1000 ] || fail "only $(cold bd_stat.bd_count) pages on the backing"
[ "$(cold limit_used)" -le $((4 << 20)) ] || fail "over the limit"
ctl verify cold

# It is held; when the disk has gone it is ours again, whatever it held.
ctl add other size=64M backing="$b" 2>"$dir/said" && fail "two disks have it"
grep -q "in use" "$dir/said" || { cat "$dir/said"; fail "it does not say that it is in use"; }
ctl remove cold
[ "$(stat -c %s "$b")" = $((64 << 20)) ] || fail "the file has gone"
until_true 10 no_more || { ls -l "/proc/$server/fd"; fail "files are left open after remove"; }
ctl add cold size=64M backing="$b"
[ "$(cold bd_stat.bd_count)" = 0 ] || fail "the old content is there"
ctl remove cold

# Behind other requests that the server reads together with it; and one open file, whose lock
# is no lock against itself, for two disks.
$python - "$control" "$b" <<'END'
import json, os, socket, sys
control, backing = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.connect(control)
answers = s.makefile()
file = os.open(backing, os.O_RDWR)
add = b"add cold size=64M backing=" + backing.encode() + b"\n"
for i in range(20):
    s.send(b"stat\n" * 5 + b"add warm size=1M\n")
    socket.send_fds(s, [add], [file])
    s.send(b"list\nremove warm\nremove cold\n")
    for j in range(10):
        answer = json.loads(answers.readline())
        assert answer["ok"], (i, j, answer)
socket.send_fds(s, [add], [file])
assert json.loads(answers.readline())["ok"]
socket.send_fds(s, [add.replace(b"cold", b"other")], [file])
answer = json.loads(answers.readline())
assert answer.get("errno") == "EBUSY" and "in use" in answer["error"], answer
s.send(b"remove cold\n")
assert json.loads(answers.readline())["ok"]
END
until_true 10 no_more || { ls -l "/proc/$server/fd"; fail "files are left open"; }
