# SPDX-License-Identifier: BSD-3-Clause
# A real kernel swaps on the disk over nbd-client: a user-mode Linux with 256 MiB
# of memory, in which the server (swap=yes), its client and a process with 230 MiB
# of real content live together. Every byte comes back.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/uml.sh"
requires_tool nbd-client insmod mkswap
[ "$UZRAM_SANITIZERS" = no ] || skip "sanitizers do not fit into 256 MiB"

# Content that compresses to half on any machine, so that 230 MiB fit: what is
# swapped out needs room too.
{ find /usr/include /usr/share/perl -type f \( -name '*.h' -o -name '*.p[lm]' \) -print0 |
    xargs -0 cat | head -c 24M; } >"$dir/content" 2>/dev/null || :
[ "$(wc -c <"$dir/content")" -ge $((8 << 20)) ] || skip "needs 8 MiB of C headers and Perl modules"

boot_uml 256 300 uml-swap-init.sh HOG_MIB=230 HOG_FILE="$dir/content"
uml_found "hog: $((230 << 8)) pages, checked twice, 0 bad" "the pages' content"
uml_found "swapoff: done" "swapoff"
out=$(awk -F': ' '$1 == "pages out" { print $2 }' "$dir/result")
[ "${out:-0}" -ge $((64 << 8)) ] || uml_fails "only ${out:-no} pages went through the disk"
