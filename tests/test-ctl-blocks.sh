# SPDX-License-Identifier: BSD-3-Clause
# `uzramctl blocks` tells, page by page, what was written where; more pages than one
# answer holds, too.
source "$(dirname "$0")/functions.sh"
requires_tool jq

# Pages 0-2: one word. 3: incompressible. 4: text. 5, 6: nothing. 7: one word.
head -c 4096 /dev/urandom >"$dir/random"
printf "some text\n%.0s" {1..409} >"$dir/text"
start_nbdkit 1G
timeout 60 "$tools/nbd-do" "$uri" fill 0 12k 0x5a put 12k "$dir/random" put 16k "$dir/text" \
    fill 20k 12k 0x11 trim 20k 8k flush
ctl blocks >"$dir/out"
read -r -a heading <"$dir/out"
[ "${heading[*]}" = "INDEX AGE FLAGS SIZE CODEC" ] || fail "heading: ${heading[*]}"
size=$(awk '$1 == 4 { print $4 }' "$dir/out")
[ "$size" -gt 0 ] && [ "$size" -lt 200 ] || fail "text takes $size bytes"
awk 'NR > 1 { print $1, $3, $4, $5 }' "$dir/out" >"$dir/rows"
diff - "$dir/rows" <<END || fail "blocks"
0 s 0 -
1 s 0 -
2 s 0 -
3 h 4096 -
4 - $size lz4
7 s 0 -
END
awk 'NR > 1 && $2 > 60 { exit 1 }' "$dir/out" || fail "pages written just now are old"
[ "$(ctl --json blocks default --from 2 --to 4 | jq -c '[.blocks[] | [.index, .flags]]')" = \
    '[[2,"s"],[3,"h"],[4,""]]' ] || fail "a range as JSON"
[ "$(ctl blocks --from=5 --to=6 | wc -l)" = 1 ] || fail "empty pages are listed"
ctl --json blocks --from 8 | jq -e '.blocks == []' >/dev/null || fail "nothing, as JSON"

# Age is the time since the last read or write.
sleep 2.1
timeout 60 "$tools/nbd-do" "$uri" same 12k "$dir/random"
ctl blocks | awk '$1 == 0 && $2 < 2 { exit 1 } $1 == 3 && $2 > 1 { exit 1 }' || fail "age"

# Several answers, which leave nothing out and have nothing twice.
timeout 60 "$tools/nbd-do" "$uri" fill 512m 20m 0x77
ctl blocks --from 131072 | awk 'NR > 1 && $1 != 131072 + NR - 2 { exit 1 }
    END { exit NR != 5121 }' || fail "5120 pages in a row"
ctl --json blocks | jq -e '.blocks | length == 5126 and ([.[].index] | . == unique)' >/dev/null ||
    fail "5126 pages as JSON"
[ "$(ctl blocks --from 132096 --to 133119 | wc -l)" = 1025 ] || fail "a range of 1024"
# Into a pipe that closes early.
ctl blocks 2>"$dir/err" | head -1 >"$dir/out" || :
stop_nbdkit
