# SPDX-License-Identifier: BSD-3-Clause
# uzramctl's commands on a real server: what they print, their exit status, and
# the words with which they are refused.
source "$(dirname "$0")/functions.sh"
requires_tool jq

# Nothing of the caller's may decide.
unset UZRAM_CONTROL

# run STATUS ARGUMENT...: output in $dir/out, complaints in $dir/err.
run () {
	local want=$1 status=0
	shift
	timeout 20 "$UZRAMCTL" "$@" >"$dir/out" 2>"$dir/err" || status=$?
	[ $status = "$want" ] || { cat "$dir/err"; fail "uzramctl $*: status $status, not $want"; }
	if [ $status = 0 ]; then
		[ ! -s "$dir/err" ] || fail "uzramctl $*: complains: $(cat "$dir/err")"
	else
		[ ! -s "$dir/out" ] || fail "uzramctl $*: prints: $(cat "$dir/out")"
		[ -s "$dir/err" ] || fail "uzramctl $*: fails without a word"
	fi
}
# says FILE WORDS: they are in $dir/FILE.
says () {
	grep -qF -e "$2" "$dir/$1" || { cat "$dir/$1"; fail "it does not say: $2"; }
}
one_line () { [ "$(wc -l <"$dir/$1")" = 1 ] || { cat "$dir/$1"; fail "not one line"; }; }

start_nbdkit 64M mem-limit=32M
on=(-s "$control")

# An empty disk.
run 0 "${on[@]}"
cp "$dir/out" "$dir/list"
run 0 "${on[@]}" list
cmp "$dir/list" "$dir/out"
[ "$(head -1 "$dir/out" | tr -s ' ')" = \
    "NAME DISKSIZE DATA COMPR ALGORITHM STREAMS ZERO-PAGES TOTAL MEM-LIMIT MEM-USED MIGRATED COMP-RATIO WB" ] ||
    fail "other columns than zramctl's"
[ "$(wc -l <"$dir/out")" = 2 ] || fail "not one line for one disk"
read -r name size data compr algorithm streams zero total limit used migrated ratio wb \
    < <(tail -1 "$dir/out")
[ "$name $size $data $compr $algorithm $zero $limit $migrated $ratio $wb" = \
    "default 64M 0B 0B lz4 0 32M 0 - 0B" ] || fail "an empty disk: $(tail -1 "$dir/out")"
[ "$streams" -ge 1 ]

# With 1 MiB of one word, and 1 MiB of real data.
real_data "$dir/real" 1
timeout 60 "$tools/nbd-do" "$uri" fill 0 1m 0x5a
timeout 60 nbdcopy "$dir/real" "$uri"
run 0 "${on[@]}" list
read -r name size data compr algorithm streams zero total limit used migrated ratio wb \
    < <(tail -1 "$dir/out")
[ "$data" = 1M ] || fail "1 MiB stored, DATA is $data"
run 0 "${on[@]}" --json list
jq -e '.disks | length == 1' "$dir/out" >/dev/null
jq -e '.disks[0] | .data == 1048576 and .total > 0 and .total <= .mem_used and
    ((.comp_ratio - .data / .total) | fabs) < 0.001 and .mem_limit == 33554432' \
    "$dir/out" >/dev/null || { cat "$dir/out"; fail "list --json"; }
jq -e 'has("ok") | not' "$dir/out" >/dev/null || fail "the protocol's ok in the document"

# Options may stand anywhere, the socket may come from the environment.
for args in "--json stat" "stat --json" "--json stat default" "stat default --json"; do
	run 0 "${on[@]}" $args
	jq -e '.version == 1 and .disks[0].mm_stat.orig_data_size == 1048576' "$dir/out" \
	    >/dev/null || fail "$args"
done
UZRAM_CONTROL=$control run 0 stat
for name in orig_data_size compr_data_size mem_used_total mem_limit mem_used_max same_pages \
    pages_compacted huge_pages huge_pages_since failed_reads failed_writes invalid_io \
    notify_free limit_used ratio; do
	says out "  $name "
done
UZRAM_CONTROL=/nowhere run 0 "${on[@]}" stat
UZRAM_CONTROL=/nowhere run 0 --socket="$control" stat

# Compaction, after every other page has gone.
for ((i = 0; i < 256; i += 2)); do
	echo trim $((i * 4096)) 4096
done | xargs timeout 60 "$tools/nbd-do" "$uri"
run 0 "${on[@]}" compact
one_line out
grep -Eqx 'default: [0-9]+ pages \([0-9.]+[BKM]\) given back' "$dir/out" ||
    { cat "$dir/out"; fail "compact"; }
pages=$(awk '{ print $2 }' "$dir/out")
[ "$(disk_stat mm_stat.pages_compacted)" = "$pages" ] || fail "pages_compacted is not $pages"
run 0 "${on[@]}" --json compact default
jq -e '.name == "default" and .pages_compacted >= 0' "$dir/out" >/dev/null

# What the server refuses.
run 1 "${on[@]}" stat nosuch
one_line err
says err 'no disk named "nosuch"; disks: default'
run 1 "${on[@]}" --json compact nosuch
says err 'no disk named "nosuch"; disks: default'
for args in "idle all" "writeback huge" recompress verify drop-stats "set mem-limit=1M" reset \
    "resize 1G" "add x size=1M" "remove x" blocks "train x" accel metrics watch; do
	run 1 "${on[@]}" $args
	one_line err
	says err "\"${args%% *}\" is not supported by this version"
done
run 1 "${on[@]}" set "x=$(printf 'y%.0s' {1..5000})"
says err "4096 bytes at most"
run 1 -s "$dir/nosuch" list
one_line err
says err "$dir/nosuch: no server there"
run 1 -s "$dir/$(printf 'x%.0s' {1..120})" list
says err "107 bytes at most"
run 1 -s "$dir" list
if [ "$(id -u)" != 0 ] && [ -S /run/uzram.sock ]; then
	echo "a server is at /run/uzram.sock: not tried without a socket"
elif ! [ -e /run/uzram.sock ]; then
	run 1 list
	says err "/run/uzram.sock"
fi

# What uzramctl cannot parse.
run 2 "${on[@]}" nosuch
one_line err
says err 'unknown command "nosuch"; commands: list stat compact'
run 2 "${on[@]}" list default
run 2 "${on[@]}" stat a b
says err 'too many arguments: "b"'
run 2 "${on[@]}" compact a b
run 2 "${on[@]}" resize
says err "needs an argument"
run 2 "${on[@]}" stat "a b"
says err "holds a space"
run 2 "${on[@]}" stat $'a\nb'
run 2 "${on[@]}" stat ""
run 2 "${on[@]}" ""
run 2 "${on[@]}" --nosuch stat
run 2 "${on[@]}" stat -x
run 2 -s

run 0 --help
says out "compact [DISK]"
run 0 --version
grep -Eqx 'uzramctl [0-9][0-9.]*' "$dir/out" || fail "--version: $(cat "$dir/out")"

# Output that cannot be written is no success.
if [ -w /dev/full ]; then
	status=0
	"$UZRAMCTL" "${on[@]}" list >/dev/full 2>"$dir/err" || status=$?
	[ $status = 1 ] || fail "list into a full device: status $status"
fi
stop_nbdkit
run 1 "${on[@]}" list
says err "no server there"
