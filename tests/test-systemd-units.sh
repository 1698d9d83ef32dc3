# SPDX-License-Identifier: BSD-3-Clause
# systemd accepts the units, and what uzram@.service starts takes over the socket
# that it is given.
source "$(dirname "$0")/functions.sh"
requires_tool systemd-analyze systemd-socket-activate nbdkit
units=$(cd "$(dirname "$0")/../plugin/systemd" && pwd)

# As installed, but for the place of uzram-swap; an instance has to have a name.
mkdir "$dir/units"
sed "s,=.*/uzram-swap ,=$UZRAM_BUILD/plugin/uzram-swap ," \
    "$UZRAM_BUILD/plugin/systemd/uzram-swap.service" >"$dir/units/uzram-swap.service"
for unit in service socket; do
	cp "$units/uzram@.$unit" "$dir/units/uzram@x.$unit"
done
timeout 60 systemd-analyze verify --man=no "$dir"/units/* >"$dir/out" 2>&1 ||
    { cat "$dir/out"; fail "systemd-analyze verify"; }
# Words that it does not know are warnings only; so is much about a machine without systemd.
! grep -F "$dir/units/" "$dir/out" || fail "systemd-analyze verify"
! grep '@[A-Za-z_]*@' "$dir"/units/* || fail "a variable was not replaced"

# The service's own command line, with a socket from somebody else.
[ "$UZRAM_SANITIZERS" = no ] || skip "only verified: sanitizers do not get through activation"
command=$(sed -n 's/^ExecStart=//p' "$units/uzram@.service")
command=${command//%t\/uzram\/%i/$dir}
command=${command//\$OPTIONS/size=64M algorithm=zstd mem-limit=32M}
command=${command/ uzram / $UZRAM_PLUGIN }
read -r -a command <<<"$command"
systemd-socket-activate -l "$sock" "${command[@]}" 2>"$dir/log" &
server=$!
until_true 10 test -S "$sock" || { cat "$dir/log"; skip "systemd-socket-activate does not listen"; }
timeout 60 "$tools/nbd-do" "$uri" fill 0 1m 7 check 0 1m 7 || { cat "$dir/log"; fail "no service"; }
ctl list | grep -q '^default .*zstd' || fail "no control socket"
