# SPDX-License-Identifier: BSD-3-Clause
# `uzramctl watch`: in a pipe one view follows the other, 80 columns wide at most; it
# ends well when interrupted, and with a complaint when the server goes.
source "$(dirname "$0")/functions.sh"
requires_tool jq

real_data "$dir/real" 4
start_nbdkit disk=a size=16M mem-limit=12M \
    disk=a-name-of-many-letters-that-does-not-fit-into-a-line size=1T
uri="nbd+unix:///a?socket=$sock"
timeout 60 "$tools/nbd-do" "$uri" put 0 "$dir/real"
views () { [ "$(grep -c '^NAME ' "$dir/out" 2>/dev/null)" -ge "$1" ] 2>/dev/null; }

"$UZRAMCTL" -s "$control" watch 0.5 >"$dir/out" 2>"$dir/err" &
watch=$!
until_true 20 views 1 || fail "no view"
timeout 60 "$tools/nbd-do" "$uri" put 0 "$dir/real" same 0 "$dir/real"
nr=$(grep -c '^NAME ' "$dir/out")
until_true 20 views $((nr + 3)) || fail "no further views"
kill -INT $watch
wait $watch || fail "interrupted, watch ends with status $?"
[ ! -s "$dir/err" ] || fail "it complains: $(cat "$dir/err")"
awk 'length($0) > 80 { exit 1 }' "$dir/out" || { cat "$dir/out"; fail "wider than 80 columns"; }
! grep -q $'\033' "$dir/out" || fail "escape sequences in a pipe"
cat "$dir/out"
# The first view knows no rates; a later one has those of what was done.
awk '$1 == "a" { n++; if (n == 1 && ($7 != "-" || $10 != "-")) exit 1
    if (n > 1 && $7 > 0 && $8 ~ /[um]s$/ && $9 ~ /s$/) reads = 1
    if (n > 1 && $10 > 0 && $11 ~ /[um]s$/ && $12 ~ /s$/) writes = 1
    if ($2 != "4.0M" || $6 !~ /%$/ || NF != 12) exit 1 }
    { last = $7 " " $10 } END { exit !(reads && writes && last == "0.0 0.0") }' \
    <(grep '^a ' "$dir/out") || fail "rates and latencies"
grep -q '^a-name-of-m+ ' "$dir/out" || fail "a long name"

# As JSON, a document a line.
timeout --preserve-status -s INT 1 "$UZRAMCTL" -s "$control" --json watch 0.3 >"$dir/out" ||
    fail "--json: status $?"
jq -es 'length >= 2 and all(.version == 1 and (.disks | length == 2))' "$dir/out" >/dev/null ||
    fail "watch --json"

# On a terminal it stays in its place.
if command -v script >/dev/null; then
	timeout --preserve-status 20 script -qec \
	    "timeout --foreground --preserve-status -s INT 1 '$UZRAMCTL' -s '$control' watch 0.3" \
	    /dev/null </dev/null >"$dir/out" || fail "on a terminal: status $?"
	[ "$(grep -c $'\033\[H' "$dir/out")" -ge 2 ] || fail "it does not redraw"
	[ "$(grep -o $'\033\[2J' "$dir/out" | wc -l)" = 1 ] || fail "it clears more than once"
fi

# The server goes.
rm "$dir/out"
"$UZRAMCTL" -s "$control" watch 60 >"$dir/out" 2>"$dir/err" &
watch=$!
until_true 20 views 1 || fail "no view"
stop_nbdkit
status=0
wait $watch || status=$?
[ $status = 1 ] && grep -q "the server went away" "$dir/err" ||
    { cat "$dir/err"; fail "without a server: status $status"; }
