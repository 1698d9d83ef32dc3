# SPDX-License-Identifier: BSD-3-Clause
# A real kernel swaps on the disk over nbd-client: a user-mode Linux with 256 MiB
# of memory, in which the server (swap=yes), its client and a process with 230 MiB
# of real content live together. Every byte comes back.
source "$(dirname "$0")/functions.sh"
requires_root
requires_tool linux.uml nbd-client insmod mkswap
[ "$UZRAM_SANITIZERS" = no ] || skip "sanitizers do not fit into 256 MiB"

# Content that compresses to half on any machine, so that 230 MiB fit: what is
# swapped out needs room too.
{ find /usr/include /usr/share/perl -type f \( -name '*.h' -o -name '*.p[lm]' \) -print0 |
    xargs -0 cat | head -c 24M; } >"$dir/content" 2>/dev/null || :
[ "$(wc -c <"$dir/content")" -ge $((8 << 20)) ] || skip "needs 8 MiB of C headers and Perl modules"

init=$(cd "$(dirname "$0")" && pwd)/uml-swap-init.sh
cat >"$dir/init" <<END
#!/bin/bash
export DIR='$dir' UZRAM_PLUGIN='$UZRAM_PLUGIN' UZRAMCTL='$UZRAMCTL'
export HOG='$tools/hog' HOG_MIB=230 HOG_FILE='$dir/content'
exec /bin/bash '$init'
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
show () { tail -n 40 "$dir/console" "$dir/init.log"; fail "$*"; }
grep -q '^hog: 58880 pages, checked twice, 0 bad$' "$dir/result" || show "the pages' content"
grep -q '^swapoff: done$' "$dir/result" || show "swapoff"
out=$(awk -F': ' '$1 == "pages out" { print $2 }' "$dir/result")
[ "${out:-0}" -ge $((64 << 8)) ] || show "only ${out:-no} pages went through the disk"
