# SPDX-License-Identifier: BSD-3-Clause
# What a backing may hold, and who may have it: refused in one line, and untouched, unless it is
# empty or our own store that nobody holds; or backing-overwrite=yes.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/wb.sh"

real_data "$dir/data" 4
# refused WORDS KEY=VALUE...: nbdkit does not start, and says why, in one line.
refused () {
	local words=$1 status=0
	shift
	timeout 60 env "${nbdkit_env[@]}" nbdkit -f -U "$dir/no" "$UZRAM_PLUGIN" 16M "$@" \
	    </dev/null >"$dir/said" 2>&1 || status=$?
	rm -f "$dir/no"
	[ $status != 0 ] && [ $status != 124 ] || { cat "$dir/said"; fail "$*: status $status"; }
	[ "$(grep -vc -i sanitizer "$dir/said")" = 1 ] || { cat "$dir/said"; fail "$*: not one line"; }
	says said "$words"
}
# works KEY=VALUE...: it starts, and the backing can be used.
works () {
	start_nbdkit 16M "$@"
	copy_in "$dir/data"
	ctl writeback all >"$dir/out"
	[ "$(bd bd_count)" -gt 500 ] || fail "$*: $(bd bd_count) pages, $(cat "$dir/out")"
	same_as "$dir/data"
	wb_clean
}
b=$dir/backing

# Keys that do not go together.
refused "writeback=auto: allowed with mem-limit= only" backing="$b" backing-size=16M writeback=auto
refused "backing-size=: allowed with backing= only" backing-size=16M
refused "high=50 low=80: allowed is a low below high" backing="$b" backing-size=16M high=50
refused 'disks "x" and "y" have it' size=1M disk=x backing="$b" disk=y backing="$b"
refused "writeback-batch=1000: allowed is 1 to 256" backing="$b" writeback-batch=1000
refused "promote=often: allowed is" backing="$b" promote=often

# What is not there, or nothing to write to.
refused "backing=$b" backing="$b"
says said "backing-size=" # how
[ ! -e "$b" ] || fail "a file was made"
refused "backing=$dir: neither a regular file nor a block device" backing="$dir" backing-size=16M
refused "backing=/dev/null: neither" backing=/dev/null
refused "backing=$dir/no/such" backing="$dir/no/such" backing-size=16M
refused "backing=nbd+unix:///?socket=$dir/nobody" backing="nbd+unix:///?socket=$dir/nobody"
refused "has 65536 bytes, 589824 are the least" backing="$b" backing-size=64k
[ ! -e "$b" ] || fail "a refused file of a wrong size is left"

# Somebody's data, at the beginning or at the end.
for where in 0 5000 16773120; do
	truncate -s 16M "$b"
	printf 'precious' | dd of="$b" bs=1 seek=$where conv=notrunc status=none
	cp "$b" "$dir/copy"
	refused "backing=$b holds something that is not ours; backing-overwrite=yes would take it" \
	    backing="$b"
	refused "holds something that is not ours" backing="$b" backing-size=16M
	refused "backing=$b" backing="$b" backing-size=32M
	cmp "$b" "$dir/copy" || fail "a refused backing was changed"
	works backing="$b" backing-overwrite=yes
	stop_nbdkit
	rm -f "$b"
done
# A file of zeroes is nobody's.
truncate -s 16M "$b"
works backing="$b"

# Held by a live server, overwrite or not; which does not notice.
refused "backing=$b: in use" backing="$b"
refused "backing=$b: in use" backing="$b" backing-overwrite=yes
same_as "$dir/data"
stop_nbdkit

# Left by a server that ended, or was killed.
works backing="$b"
kill_nbdkit
works backing="$b"
stop_nbdkit
# Of another size.
refused "backing=$b: it has 16777216 bytes, backing-size= says 33554432" backing="$b" backing-size=32M
truncate -s 32M "$b"
refused "backing=$b was made with 16777216 bytes and has 33554432; backing-overwrite=yes would" \
    backing="$b"
works backing="$b" backing-size=8M backing-overwrite=yes
[ "$(stat -c %s "$b")" = $((8 << 20)) ] || fail "it is not as large as asked for"
stop_nbdkit
# Damaged, or another version's.
printf '\377' | dd of="$b" bs=1 seek=8 conv=notrunc status=none
refused "backing=$b is another version's store" backing="$b"
printf '\1\0\0\0' | dd of="$b" bs=1 seek=8 conv=notrunc status=none
printf '\377' | dd of="$b" bs=1 seek=20 conv=notrunc status=none
refused "backing=$b has a damaged superblock" backing="$b"
works backing="$b" backing-overwrite=yes
stop_nbdkit

# An NBD server's export cannot be locked: one that was left open must be given up in words.
truncate -s 16M "$dir/image"
serve_file nbdkit
nbd=$other_uri
works backing="$nbd"
refused "is in use, or was left so, by process $server of this machine" backing="$nbd"
kill_nbdkit
refused "backing=$nbd is in use, or was left so, by process $server of this machine" backing="$nbd"
works backing="$nbd" backing-overwrite=yes
stop_nbdkit
works backing="$nbd"
stop_nbdkit
# A start that fails for another reason gives it back.
refused "cannot open the directory" backing="$nbd" control="$dir/no/such"
works backing="$nbd"
stop_nbdkit
if timeout 60 env "${nbdkit_env[@]}" nbdkit -f -U "$dir/no" "$UZRAM_PLUGIN" 16M backing="$nbd" \
    swap=yes mem-limit=16k </dev/null >"$dir/said" 2>&1; then
	fail "it starts without room for its table"
fi
grep -q "mem-limit is smaller" "$dir/said" || { cat "$dir/said"; fail "it does not say why"; }
works backing="$nbd"
stop_nbdkit
refused "backing=$nbd" backing="$nbd" backing-size=32M
# For swap, such a server on this machine is one warning; a file is none.
for where in "$nbd" "$b"; do
	: >"$dir/server.log"
	works backing="$where" swap=yes swap-reserve=1M mem-limit=1M
	stop_nbdkit
	warnings=$(grep -c "backing=$where is a server on this machine" "$dir/server.log") || :
	[ "$where: $warnings" = "$nbd: 1" ] || [ "$where: $warnings" = "$b: 0" ] ||
	    fail "swap=yes backing=$where: $warnings warnings"
done
end_child "$other"

# A device that is mounted.
if [ "$(id -u)" = 0 ] && command -v mkfs.ext4 losetup >/dev/null && losetup -f >/dev/null 2>&1; then
	truncate -s 16M "$dir/fs"
	mkfs.ext4 -q -F "$dir/fs"
	make_loop "$dir/fs"
	mkdir "$dir/mnt"
	cleanup 'umount "$dir/mnt" 2>/dev/null'
	refused "backing=$loop holds something that is not ours" backing="$loop"
	mount "$loop" "$dir/mnt"
	refused "backing=$loop: in use" backing="$loop" backing-overwrite=yes
	umount "$dir/mnt"
	e2fsck -fn "$dir/fs" >"$dir/out" 2>&1 || { cat "$dir/out"; fail "a refused device was changed"; }
	works backing="$loop" backing-overwrite=yes
	stop_nbdkit
	free_loop
fi
