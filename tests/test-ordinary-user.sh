# SPDX-License-Identifier: BSD-3-Clause
# An ordinary user can serve; with swap=yes each thing that user may not do is
# one warning, and serving goes on.
source "$(dirname "$0")/functions.sh"
requires_root
requires_tool setpriv nbdkit
[ "$UZRAM_SANITIZERS" = no ] || skip "sanitizers need their library preloaded"

mkdir "$dir/user"
cp "$UZRAM_PLUGIN" "$dir/user/nbdkit-uzram-plugin.so"
chmod 711 "$dir"
chown 65534:65534 "$dir/user"
as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
"${as_user[@]}" test -r "$dir/user/nbdkit-uzram-plugin.so" || skip "nobody may not read /tmp"
UZRAM_PLUGIN=$dir/user/nbdkit-uzram-plugin.so
sock=$dir/user/sock
control=$dir/user/control
uri="nbd+unix:///?socket=$sock"

ulimit -l 64
for swap in no yes; do
	rm -f "$dir/server.log" "$dir/user/pid" "$sock"
	"${as_user[@]}" nbdkit -f -P "$dir/user/pid" -U "$sock" "$UZRAM_PLUGIN" 64M \
	    swap=$swap control="$control" 2>"$dir/server.log" &
	server=$!
	until_true 20 eval "[ -s '$dir/user/pid' ] || ! running $server"
	timeout 60 "$tools/nbd-do" "$uri" fill 0 64m 9 check 0 64m 9
	stop_nbdkit
	cat "$dir/server.log"
	case $swap in
	no)
		! [ -s "$dir/server.log" ] || fail "warnings without swap=yes" ;;
	yes)
		[ "$(grep -ci lock "$dir/server.log")" = 1 ] || fail "not one warning of locking"
		[ "$(grep -ci oom_score_adj "$dir/server.log")" = 1 ] ||
		    fail "not one warning of oom_score_adj"
		[ "$(sort "$dir/server.log" | uniq -d | wc -l)" = 0 ] || fail "a warning twice" ;;
	esac
done
