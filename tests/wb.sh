# SPDX-License-Identifier: BSD-3-Clause
# What tests of the second tier share.
# shellcheck disable=SC2034 # Not every test uses all of it.

requires_tool jq nbdcopy cmp perl

wb_mib=${UZRAM_WB_MIB:-192}	# of real data
copy_in () { timeout 300 nbdcopy --connections=2 --requests=8 "$1" "$uri"; }

# serve_file nbdkit|qemu-nbd: $dir/image by other people's server, $other, at $other_uri.
other=
other_uri="nbd+unix:///?socket=$dir/other"
serve_file () {
	local command
	case $1 in
	nbdkit)
		command=(nbdkit -f -U "$dir/other" -P "$dir/other.pid" file "$dir/image") ;;
	qemu-nbd)
		command=(qemu-nbd -t -k "$dir/other" --pid-file="$dir/other.pid" -f raw
		    --discard=unmap -e 8 "$dir/image") ;;
	esac
	rm -f "$dir/other" "$dir/other.pid"
	"${command[@]}" >>"$dir/other.log" 2>&1 &
	other=$!
	until_true 20 test -s "$dir/other.pid" || { cat "$dir/other.log"; fail "$1 does not start"; }
}

# Data in $dir/data; what it takes as cells and table in $charged.
wb_data () {
	real_data "$dir/data" "$wb_mib"
	start_nbdkit "${wb_mib}M"
	copy_in "$dir/data"
	drained
	charged=$(disk_stat limit_used)
	stop_nbdkit
}

# The bytes on the backing are those of the records, with what the headers take; and it takes no
# more of them than it may.
bd () { disk_stat "bd_stat.$1"; }
wb_tight () {
	local used sizes
	sizes=$(ctl blocks | awk '$3 ~ /w/ { n += $4 } END { printf "%d", n }')
	used=$(bd bytes_used)
	[ "$used" -le $((sizes * 103 / 100 + 4096)) ] ||
	    fail "$used bytes of records for $sizes compressed ones"
	echo "$(bd bd_count) pages on the backing, $sizes bytes, $used with headers, $(bd bytes_allocated) allocated"
}
allocated_in_bounds () {
	[ "$(bd bytes_allocated)" -le $(($(bd bytes_used) * 10 / 8 + (1 << 20))) ]
}

# The memory tier is within its limit: pool and process.
wb_within () {
	local limit=$1 empty=$2 pool rss
	pool=$(disk_stat mm_stat.mem_used_max)
	rss=$(($(resident "$server") - empty))
	echo "limit $limit, used $(disk_stat limit_used), pool at most $pool, resident growth $rss"
	[ "$(disk_stat limit_used)" -le "$limit" ] || fail "over the limit"
	[ "$pool" -le $((limit * 103 / 100 + (192 << 10))) ] || fail "the pool is over the limit"
	[ "$UZRAM_SANITIZERS" != no ] || [ "$rss" -le $((limit * 103 / 100 + wb_buffers)) ] ||
	    fail "the process is over the limit"
}
wb_buffers=$((8 << 20)) # streams, buffers of the backing: not the disk's data

# wb_trial KEY=VALUE...: all the data through a disk whose memory is a quarter of it, twice; nobody
# types a command that would move anything.
wb_trial () {
	local limit=$((charged / 4)) empty
	start_nbdkit "${wb_mib}M" mem-limit=$limit "$@"
	empty=$(resident "$server")
	copy_in "$dir/data"
	wb_within $limit "$empty"
	same_as "$dir/data"
	[ "$(bd bd_count)" -gt $((wb_mib * 64)) ] || fail "only $(bd bd_count) pages on the backing"
	wb_tight
	until_true 60 allocated_in_bounds || fail "$(bd bytes_allocated) for $(bd bytes_used)"

	# All of it anew, in another place: the old records die.
	tail -c +1048577 "$dir/data" >"$dir/data2"
	head -c 1048576 "$dir/data" >>"$dir/data2"
	copy_in "$dir/data2"
	same_as "$dir/data2"
	wb_within $limit "$empty"
	wb_tight
	until_true 60 allocated_in_bounds || fail "$(bd bytes_allocated) for $(bd bytes_used)"

	# Every other 64 KiB goes: half of each segment is dead, until it is cleaned.
	seq 0 131072 $(((wb_mib << 20) - 1)) | sed 's/.*/trim & 65536/' |
	    timeout 60 xargs -n 3000 "$tools/nbd-do" "$uri"
	perl -e 'open(my $f, "+<", shift) or die; for (my $at = 0; $at < -s $f; $at += 131072)
	    { seek($f, $at, 0); print $f "\0" x 65536; }' "$dir/data2"
	echo "half of it trimmed: $(bd bytes_used) used, $(bd bytes_allocated) allocated"
	until_true 60 allocated_in_bounds || fail "$(bd bytes_allocated) for $(bd bytes_used)"
	wb_tight
	same_as "$dir/data2" "$uri" "half of it was trimmed"
	rm "$dir/data2"
	wb_clean
	ctl verify
	timeout 60 "$tools/nbd-do" "$uri" trim 0 "${wb_mib}m"
	[ "$(bd bytes_used)" = 0 ] && [ "$(bd bd_count)" = 0 ] && [ "$(disk_stat limit_used)" = 0 ] ||
	    fail "something is left after all was trimmed"
}

# Nothing went wrong, and no pass decompressed.
wb_clean () {
	ctl --json stat | jq -e '.disks[0] | .io_stat.failed_reads == 0 and
	    .io_stat.failed_writes == 0 and .writeback.paused == false and
	    (.bd_stat | .checksum_errors + .read_errors + .write_errors + .decompressed == 0)' \
	    >/dev/null || { ctl stat; fail "errors"; }
}
