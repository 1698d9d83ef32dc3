# SPDX-License-Identifier: BSD-3-Clause
# control-group=: its members may look at everything and change nothing; others may not
# even connect.
source "$(dirname "$0")/functions.sh"
requires_root
requires_tool setpriv getent
getent group daemon >/dev/null && getent passwd nobody >/dev/null ||
    skip "needs the group daemon and the user nobody"

chmod 711 "$dir"
cp "$UZRAMCTL" "$dir/uzramctl"
chmod 755 "$dir/uzramctl"
as () { setpriv --reuid nobody --regid "$1" --clear-groups timeout 20 "$dir/uzramctl" -s "$control" "${@:2}"; }
as daemon --version >/dev/null 2>&1 || skip "nobody cannot run programs in $dir"

start_nbdkit 64M control-group=daemon
[ "$(stat -c '%a %G' "$control")" = "660 daemon" ] || fail "the socket: $(stat -c '%a %G' "$control")"
timeout 60 "$tools/nbd-do" "$uri" fill 0 1m 0x5a
for args in list stat "stat default" "--json stat" blocks "blocks --from 3 --to 4" metrics; do
	as daemon $args >"$dir/out" || fail "a member cannot $args"
	[ -s "$dir/out" ]
done
for args in compact verify drop-stats "set mem-limit=1M" reset "resize 1M" "resize 128M --force" \
    "add x size=1M" "remove default"; do
	status=0
	as daemon $args >"$dir/out" 2>&1 || status=$?
	[ $status = 1 ] && grep -q "\"${args%% *}\" is for the server's user and root; others may use: list, stat, blocks, metrics" "$dir/out" ||
	    { cat "$dir/out"; fail "a member's $args: status $status"; }
done
[ "$(disk_stat size)" = 67108864 ] && [ "$(disk_stat mm_stat.orig_data_size)" = 1048576 ] &&
    [ "$(disk_stat mm_stat.mem_limit)" = 0 ] || fail "a member changed something"
# Nor can one make the server hold, or close, a file: that may wait for whom the file is from.
if [ -x /usr/bin/python3 ]; then
	/usr/bin/python3 - "$control" "/proc/$server/fd" >"$dir/out" 2>&1 <<-'END' ||
		import array, fcntl, os, socket, sys, termios, time
		control, fds = sys.argv[1:]
		nobody = socket.socket(socket.AF_UNIX)
		os.setgroups([])
		os.setegid(1)
		os.seteuid(65534)
		nobody.connect(control)
		os.seteuid(0)
		def held():
		    names = [os.readlink(fds + "/" + f) for f in os.listdir(fds)]
		    return any(os.path.basename(name) == "sent" for name in names)
		sent = os.open(os.path.dirname(control) + "/sent", os.O_RDWR | os.O_CREAT)
		socket.send_fds(nobody, [b"lis"], [sent])
		unread = array.array("i", [1])
		while unread[0]:
		    time.sleep(0.01)
		    fcntl.ioctl(nobody, termios.TIOCOUTQ, unread)
		time.sleep(0.1)
		assert not held(), "a member's file is held"
		nobody.send(b"t\n")
		assert b'"ok":true' in nobody.recv(65536)
	END
	    { cat "$dir/out"; fail "a member sends a file"; }
fi

status=0
as nogroup list >"$dir/out" 2>&1 || status=$?
[ $status = 1 ] && grep -q "Permission denied" "$dir/out" || fail "a stranger: status $status"
ctl set mem-limit=1M || fail "root cannot"
stop_nbdkit

# Without a group nobody else connects.
start_nbdkit 64M
[ "$(stat -c %a "$control")" = 600 ] || fail "the socket: $(stat -c %a "$control")"
! as daemon list >"$dir/out" 2>&1 || fail "a stranger may look"
stop_nbdkit

status=0
nbdkit -f -U "$sock" "$UZRAM_PLUGIN" 1M control="$control" control-group=no-such-group \
    2>"$dir/err" || status=$?
[ $status != 0 ] && grep -q "control-group=no-such-group: there is no group of that name" "$dir/err" ||
    { cat "$dir/err"; fail "an unknown group: status $status"; }
! [ -e "$control" ] || fail "the control socket is left"
