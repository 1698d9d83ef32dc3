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
read -r name size data compr algorithm streams zero _ limit _ migrated ratio wb \
    < <(tail -1 "$dir/out")
[ "$name $size $data $compr $algorithm $zero $limit $migrated $ratio $wb" = \
    "default 64M 0B 0B lz4 0 32M 0 - 0B" ] || fail "an empty disk: $(tail -1 "$dir/out")"
[ "$streams" -ge 1 ]

# With 1 MiB of one word, and 1 MiB of real data.
real_data "$dir/real" 1
timeout 60 "$tools/nbd-do" "$uri" fill 0 1m 0x5a
timeout 60 nbdcopy "$dir/real" "$uri"
timeout 60 "$tools/nbd-do" "$uri" flush
run 0 "${on[@]}" list
read -r name size data compr algorithm streams zero _ limit _ migrated ratio wb \
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
    notify_free limit_used ratio write pages pages_max coalesced direct managed percpu fallback \
    raw batches batch_pages; do
	says out "  $name "
done
UZRAM_CONTROL=/nowhere run 0 "${on[@]}" stat
UZRAM_CONTROL=/nowhere run 0 --socket="$control" stat

# Compaction, after every other page has gone.
for ((i = 0; i < 256; i += 2)); do
	echo trim $((i * 4096)) 4096
done | timeout 60 xargs "$tools/nbd-do" "$uri"
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
for args in recompress "train x"; do
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

# What changes a disk.
uzramctl () { timeout 20 "$UZRAMCTL" "${on[@]}" "$@"; }
run 0 "${on[@]}" verify
grep -Eqx 'default: [1-9][0-9]* pages, none bad' "$dir/out" || { cat "$dir/out"; fail verify; }
run 0 "${on[@]}" --json verify default
jq -e '.name == "default" and .pages > 0 and .bad == 0' "$dir/out" >/dev/null || fail "verify --json"

[ "$(disk_stat writes)" -gt 0 ]
run 0 "${on[@]}" drop-stats
[ "$(disk_stat writes)" = 0 ] || fail "drop-stats leaves writes"
[ "$(disk_stat latency_us.write.count)" = 0 ] || fail "drop-stats leaves latencies"
[ "$(disk_stat mm_stat.orig_data_size)" -gt 0 ] || fail "drop-stats drops data"

run 0 "${on[@]}" idle all
grep -Eqx 'default: [1-9][0-9]* pages marked idle' "$dir/out" || { cat "$dir/out"; fail idle; }

run 0 "${on[@]}" set mem-limit=16M
[ ! -s "$dir/out" ] || fail "set says: $(cat "$dir/out")"
[ "$(disk_stat mm_stat.mem_limit)" = 16777216 ]
# Old pages keep their codec, new ones have the new one.
run 0 "${on[@]}" reset
timeout 60 "$tools/nbd-do" "$uri" put 0 "$dir/real" flush
run 0 "${on[@]}" set default algorithm=zstd:3 mem-limit=20M
[ "$(disk_stat mm_stat.mem_limit)" = 20971520 ]
[ "$(uzramctl --json stat | jq -r '.disks[0] | "\(.algorithm):\(.level)"')" = zstd:3 ] ||
    fail "the algorithm is not zstd:3"
timeout 60 "$tools/nbd-do" "$uri" put 32m "$dir/real" same 32m "$dir/real" same 0 "$dir/real" flush
uzramctl blocks | awk 'NR > 1 && $5 ~ /lz4|zstd/ { n[$1 < 8192 ? "old" : "new", $5]++ }
    END { exit !(n["old", "lz4"] && !n["old", "zstd"] && n["new", "zstd"] && !n["new", "lz4"]) }' ||
    fail "codecs after set algorithm"
# A failure changes nothing, and says what is allowed.
while IFS='|' read -r args words; do
	run 1 "${on[@]}" $args
	one_line err
	says err "$words"
	[ "$(disk_stat mm_stat.mem_limit)" = 20971520 ] || fail "$args changed the limit"
	[ "$(uzramctl --json stat | jq -r '.disks[0].algorithm')" = zstd ] || fail "$args"
done <<'END'
set mem-limit=1M algorithm=lz9|lz4, lz4hc, zstd, deflate, none
set algorithm=lz4 mem-limit=x|mem-limit=x
set algorithm=lz4 mem-limit=-1|mem-limit=-1
set mem-limit=1M nosuch=1|allowed is mem-limit=SIZE, algorithm=NAME[:LEVEL], batch=N
set mem-limit=1M mem-limit|allowed is mem-limit=SIZE
set mem-limit=1M =5|allowed is mem-limit=SIZE
set mem-limit=1M dict=/x|"set dict=/x" is not supported by this version
set mem-limit=1M writeback-limit=3|disk "default" has no backing
set mem-limit=1M writeback=auto|disk "default" has no backing
set mem-limit=1M batch=0|batch=0: allowed is 1 to 256
writeback all|disk "default" has no backing
writeback nosuch huge|has no backing
idle x|idle x: allowed is all, or a number of seconds
idle nosuch all|no disk named "nosuch"
set mem-limit=1M upkeep=auto|not supported by this version
set nosuch mem-limit=1M|no disk named "nosuch"; disks: default
resize nosuch 1M|no disk named "nosuch"; disks: default
resize 0|size=0
resize x|size=x
resize 1M 2M|no disk named "1M"
resize 16E|size=16E
verify nosuch|no disk named "nosuch"
drop-stats nosuch|no disk named "nosuch"
reset nosuch|no disk named "nosuch"
blocks nosuch|no disk named "nosuch"
blocks --from 99999999|has 16384 pages
blocks --from 5 --to 4|is behind
add default size=1M|there is a disk "default" already
add stat size=1M|a word of uzramctl
add x/y size=1M|no disk's name
add x algorithm=lz4|size=SIZE is required
add x size=1M nosuch=1|nosuch
add x size=1M swap=yes|swap
add x size=1M stage=1k|stage=1k
add x size=1M batch=257|batch=257
add x size=1M workers=2|workers=2
add x size=1M backing=nbd://localhost|an NBD server can only be given when this one starts
add x size=1M low=3|low=: allowed with backing= only
add x 1M|KEY=VALUE
remove nosuch|no disk named "nosuch"
END

# A client is attached: reset, remove are refused, resize but for --force to larger.
hold_client size
[ "$(disk_stat clients)" = 1 ] || fail "clients: $(disk_stat clients)"
for args in reset "remove default" "resize 128M" "resize 32M --force"; do
	run 1 "${on[@]}" $args
	one_line err
	says err 'client is attached to disk "default"'
done
run 0 "${on[@]}" resize 128M --force
[ "$(disk_stat size)" = 134217728 ]
[ "$(timeout 20 "$tools/nbd-do" "$uri" size)" = 134217728 ] ||
    fail "the next connection sees another size"
release_client
timeout 60 "$tools/nbd-do" "$uri" same 32m "$dir/real"
until_true 20 no_clients || fail "clients that have gone count"
run 0 "${on[@]}" resize 4097
[ "$(disk_stat size)" = 8192 ]
[ "$(disk_stat mm_stat.orig_data_size)" -le 8192 ] || fail "pages beyond the end are left"
run 0 "${on[@]}" resize default 64M

# reset: no counter, no content.
timeout 60 nbdcopy "$dir/real" "$uri"
until_true 20 no_clients || fail "clients that have gone count"
run 0 "${on[@]}" reset
uzramctl --json stat | jq -e '.disks[0] | .size == 67108864 and .algorithm == "zstd" and
    .limit_used == 0 and ([.mm_stat | del(.mem_limit)[]] + [.io_stat[]] +
    [.latency_us[].count] + [.reads, .writes, .trims, .zero_pages] | unique) == [0]' >/dev/null ||
    { uzramctl --json stat; fail "reset leaves something"; }
timeout 60 "$tools/nbd-do" "$uri" check 0 1m 0

# Disks come and go.
run 0 "${on[@]}" add more size=32M algorithm=lz4hc mem-limit=8M
[ "$(uzramctl --json list | jq -c '[.disks[] | [.name, .disksize, .algorithm, .mem_limit]][1]')" = \
    '["more",33554432,"lz4hc",8388608]' ] || { uzramctl; fail add; }
run 1 "${on[@]}" compact
says err '"compact" needs the name of a disk; disks: default, more'
[ "$(timeout 20 nbdinfo --list "$uri" | sed -n 's/^export="\(.*\)":/<\1>/p' | xargs)" = "<> <more>" ] ||
    fail "exports: $(timeout 20 nbdinfo --list "$uri")"
more="nbd+unix:///more?socket=$sock"
timeout 60 nbdcopy "$dir/real" "$more"
timeout 60 "$tools/nbd-do" "$more" same 0 "$dir/real"
run 0 "${on[@]}" compact more
no_more_clients () { uzramctl --json stat more | jq -e '.disks[0].clients == 0' >/dev/null; }
until_true 20 no_more_clients
run 0 "${on[@]}" remove more
run 1 "${on[@]}" stat more
! timeout 20 "$tools/nbd-do" "$more" size >"$dir/out" 2>&1 || fail "a removed disk is served"

# What uzramctl cannot parse.
run 2 "${on[@]}" nosuch
one_line err
says err 'unknown command "nosuch"; commands: list stat watch blocks metrics compact'
run 2 "${on[@]}" list default
run 2 "${on[@]}" stat a b
says err 'too many arguments: "b"'
run 2 "${on[@]}" compact a b
for args in "verify a b" "drop-stats a b" set "reset a b" "resize a 1 2" add "add x" remove \
    "remove a b" "blocks a b" "metrics a" "watch 1 2" "watch x" "watch 0" "watch -1" \
    idle "idle a b c" writeback "blocks --from x" "blocks --to" "blocks --from -1" "stat --force" "list --from 3" \
    "resize --force"; do
	run 2 "${on[@]}" $args
done
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
for words in "stat [DISK]" "compact [DISK]" "verify [DISK]" "drop-stats [DISK]" "reset [DISK]" \
    "set [DISK] KEY=VALUE" "resize [DISK] SIZE [--force]" "add NAME size=SIZE" "remove NAME" \
    "blocks [DISK] [--from N] [--to M]" metrics "watch [SECONDS]" \
    "idle [DISK] all|SECONDS" "writeback [DISK] MODE..."; do
	says out "  $words"
done
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
