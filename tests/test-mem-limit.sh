# SPDX-License-Identifier: BSD-3-Clause
# At mem-limit a write gets ENOSPC and the page keeps its content; smaller
# replacements still succeed, and trimming makes room again.
source "$(dirname "$0")/functions.sh"
requires_tool jq

limit=$((8 << 20))
real_data "$dir/real" 4
head -c 32M /dev/urandom >"$dir/random"
tail -c 4M "$dir/random" >"$dir/random4"
# Each page another, and a few dozen bytes when compressed.
printf '%04095d\n' {1..512} >"$dir/easy"
do="timeout 60 $tools/nbd-do"
below_limit () {
	[ "$(disk_stat limit_used)" -le $limit ] || fail "over the limit: $(disk_stat limit_used)"
}

start_nbdkit 64M mem-limit=$limit
[ "$(disk_stat mm_stat.mem_limit)" = $limit ] || fail "the limit is not shown"
$do "$uri" put 0 "$dir/real" flush

# Fill up: some of it fits, then ENOSPC.
nbd_fails ENOSPC put 8m "$dir/random"
stored=$(awk '{ print $1 }' "$dir/said")
[ "$stored" -ge $((2 << 20)) ] || fail "only $stored bytes fitted"
head -c "$stored" "$dir/random" >"$dir/fitted"
$do "$uri" flush same 8m "$dir/fitted" same 0 "$dir/real" check $(((8 << 20) + stored)) 1m 0
below_limit
[ "$(disk_stat limit_used)" -ge $((limit - (128 << 10))) ] ||
    fail "refused with $(disk_stat limit_used) of $limit used"

# Larger replacements: those before the limit land, the one at it keeps its
# content, and so do those after it.
nbd_fails ENOSPC put 0 "$dir/random4"
replaced=$(awk '{ print $1 }' "$dir/said")
head -c "$replaced" "$dir/random4" >"$dir/head"
tail -c +$((replaced + 1)) "$dir/real" >"$dir/tail"
$do "$uri" same 0 "$dir/head" same "$replaced" "$dir/tail" same 8m "$dir/fitted"
below_limit

# Part of a page, too.
nbd_fails ENOSPC put $((replaced + 100)) "$dir/random4"

# Smaller ones succeed, compressed or filled with one byte.
$do "$uri" put 8m "$dir/easy" same 8m "$dir/easy" fill 0 1m 7 check 0 1m 7
below_limit
# There is room again for most of what they gave up: 2 MiB that was random.
head -c 1536k "$dir/random4" >"$dir/again"
$do "$uri" put 40m "$dir/again" same 40m "$dir/again" same 8m "$dir/easy"
below_limit

# Trimming makes room for all.
$do "$uri" trim 0 64m
[ "$(disk_stat limit_used)" -le $((256 << 10)) ] || fail "$(disk_stat limit_used) used by nothing"
$do "$uri" put 16m "$dir/random4" same 16m "$dir/random4" put 0 "$dir/real" same 0 "$dir/real"
below_limit
stop_nbdkit
