# SPDX-License-Identifier: BSD-3-Clause
# An empty disk of 16 TiB, written at its far end, takes less than 8 MiB more than
# nbdkit's null plugin. Sizes up to the largest that NBD knows are served, or
# refused in one line.
source "$(dirname "$0")/functions.sh"
requires_tool nbdinfo
[ "$UZRAM_SANITIZERS" = no ] || skip "sanitizers have much memory of their own"

nbdkit -f -P "$dir/null.pid" -U "$dir/null.sock" null 16T &
null=$!
until_true 20 eval "[ -s '$dir/null.pid' ]"
timeout 60 "$tools/nbd-do" "nbd+unix:///?socket=$dir/null.sock" check 0 1m 0
base=$(resident $null)
end_child $null

start_nbdkit 16T
[ "$(timeout 60 nbdinfo --size "$uri")" = $((16 << 40)) ] || fail "the size is wrong"
timeout 60 "$tools/nbd-do" "$uri" fill 17592184995840 1m 5 check 17592184995840 1m 5 check 1g 1m 0
ours=$(resident "$server")
echo "resident: $ours bytes, the null plugin $base"
[ $((ours - base)) -lt $((8 << 20)) ] || fail "$((ours - base)) bytes more than the null plugin"
timeout 60 "$tools/nbd-do" "$uri" trim 17592184995840 1m
[ "$(timeout 120 nbdinfo --map "$uri" | awk '{ print $1, $2, $3 }')" = "0 $((16 << 40)) 3" ] ||
    fail "the map of an empty disk"
stop_nbdkit

for size in 256T 1P 1E 4E 9223372036854771711; do
	rm -f "$sock" "$dir/pid"
	if command timeout 20 nbdkit -U - "$UZRAM_PLUGIN" $size --run 'nbdinfo --size "$uri"' \
	    >"$dir/size" 2>"$dir/err"; then
		echo "$size: served as $(cat "$dir/size")"
	else
		[ "$(wc -l <"$dir/err")" = 1 ] && grep -q size "$dir/err" ||
		    fail "$size is not refused in words: $(cat "$dir/err")"
		cat "$dir/err"
	fi
done
