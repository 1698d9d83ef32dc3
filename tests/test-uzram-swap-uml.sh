# SPDX-License-Identifier: BSD-3-Clause
# uzram-swap with the kernel's own NBD client and control groups of version 2:
# test-uzram-swap.sh, in fewer rounds, in a user-mode Linux.
source "$(dirname "$0")/functions.sh"
requires_root
requires_tool linux.uml nbd-client insmod mkswap
[ "$UZRAM_SANITIZERS" = no ] || skip "uzram-swap starts the server without the sanitizers' library"

here=$(cd "$(dirname "$0")" && pwd)
cat >"$dir/init" <<END
#!/bin/bash
export DIR='$dir' HERE='$here'
export UZRAM_BUILD='$UZRAM_BUILD' UZRAM_PLUGIN='$UZRAM_PLUGIN' UZRAMCTL='$UZRAMCTL'
exec /bin/bash '$here/uml-uzram-swap-init.sh'
END
chmod +x "$dir/init"
touch "$dir/result" "$dir/init.log"

# Its memory is a file that it maps with execute permission: not in /dev/shm.
TMPDIR=$dir timeout --kill-after=5 300 linux.uml mem=256M uml_dir="$dir/" umid=uml \
    root=/dev/root rootfstype=hostfs rootflags=/ rw init="$dir/init" \
    con=null con0=null,fd:1 </dev/null >"$dir/console" 2>&1 || echo "linux.uml: status $?"
cat "$dir/result"
if ! [ -s "$dir/result" ]; then
	cat "$dir/console"
	grep -q 'Run .*init as init process' "$dir/console" || skip "linux.uml does not boot here"
fi
show () { tail -n 20 "$dir/console"; cat "$dir/init.log"; fail "$*"; }
grep -qx 'status: 0' "$dir/result" || show "uzram-swap over nbd-client"
grep -qx 'attached: nbd' "$dir/result" || show "nbd-client was not used"
grep -qx 'cgroup: 0 1' "$dir/result" || show "the server is in no control group that may not swap"
grep -qx 'unit:  1' "$dir/result" || show "a second control group in the unit's"
