# SPDX-License-Identifier: BSD-3-Clause
# Whatever the command line has wrong is refused at start: one line that says
# what and what is allowed, an exit status, and nothing half-started.
source "$(dirname "$0")/functions.sh"
requires_tool nbdkit

wrong=0
# refused WORD,WORD... ARGUMENT...: all the words must be in the one line.
refused () {
	local words=$1 word status=0
	shift
	timeout 20 env "${nbdkit_env[@]}" nbdkit -f -P "$dir/pid" -U "$sock" "$UZRAM_PLUGIN" "$@" \
	    >"$dir/out" 2>"$dir/err" || status=$?
	bad () { echo "WRONG: $*"; sed 's/^/    | /' "$dir/err"; wrong=$((wrong + 1)); }
	[ $status != 124 ] || bad "$*: is served"
	[ $status = 1 ] || [ $status = 124 ] || bad "$*: status $status"
	[ "$(wc -l <"$dir/err")" = 1 ] || bad "$*: not one line"
	for word in ${words//,/ }; do
		grep -qiF -e "$word" "$dir/err" || bad "$*: does not say $word"
	done
	! [ -e "$sock" ] && ! [ -e "$dir/pid" ] || bad "$*: socket or pid file left"
	rm -f "$sock" "$dir/pid"
}

refused size
refused size,0		size=0
refused size,0		0
refused size,-1		size=-1
refused size,abc	size=abc
refused size,abc	abc
refused size,9e99	size=9e99
refused size		size=
refused size,1x		1x
refused size,9223372036854775808 size=9223372036854775808
refused size,9223372036854775807 size=9223372036854775807
refused size,8E		8E

refused nosuch		1M nosuch=1
refused algorithm,lzo,lz4,lz4hc,zstd,deflate,none 1M algorithm=lzo
refused algorithm,lz4	1M algorithm=
refused algorithm,zstd,99 1M algorithm=zstd:99
refused algorithm,zstd,x  1M algorithm=zstd:x
refused algorithm,zstd	1M algorithm=zstd:
refused algorithm,lz4hc,99 1M algorithm=lz4hc:99
refused algorithm,deflate,99 1M algorithm=deflate:99
refused algorithm,none	1M algorithm=none:1
refused mem-limit,abc	1M mem-limit=abc
refused mem-limit,-1	1M mem-limit=-1
refused swap,maybe	1M swap=maybe
refused swap-reserve,x	1M swap=yes swap-reserve=x
refused write,sideways	1M write=sideways
refused stage=0,4k	1M stage=0
refused stage,size	1M stage=much
refused stage,4g	1M stage=5G
refused batch=0,256	1M batch=0
refused batch,256	1M batch=257
refused batch=4k	1M batch=4k
refused workers=0,64	1M workers=0
refused workers,64	1M workers=65

refused disk,name	1M disk=a/b
refused disk,name	1M disk=
refused disk,word	1M disk=stat
refused disk,already	1M disk=a disk=a
refused disk=b,size,required	disk=a size=1M disk=b
refused control-group,control=PATH 1M control-group=root
refused control-group,nosuchgroup 1M control="$dir/unused" control-group=nosuchgroup

# Keys of later versions.
for arg in upkeep=manual upkeep-cpu=5 pool-overhead=5 recompress=zstd \
    dict=/etc/passwd; do
	refused "${arg%%=*},version" 1M $arg
done

# The second tier: see also test-wb-refused.sh.
for arg in backing-size=1G backing-overwrite=yes writeback=auto writeback-batch=4 high=90 low=80 \
    promote=never; do
	refused "${arg%%=*}=,backing=" 1M $arg
done
refused backing=/dev/null,regular,block	1M backing=/dev/null
refused writeback=auto,mem-limit	1M backing=/x writeback=auto

# The control socket's path.
refused control,"$dir/no/control"	1M control="$dir/no/control"
refused control				1M control=/proc/uzram-control
refused control				1M control=
refused control				1M control="$dir/$(printf 'x%.0s' {1..120})"
refused control,"$dir"			1M control="$dir"
echo precious >"$dir/file"
refused control,"$dir/file"		1M control="$dir/file"
[ "$(cat "$dir/file")" = precious ] || { echo "WRONG: a file is gone"; wrong=$((wrong + 1)); }
ln -s "$dir/nowhere" "$dir/link"
refused control,"$dir/link"		1M control="$dir/link"
# A bad key after a good control path leaves no socket there.
refused nosuch	1M control="$dir/unused" nosuch=1
! [ -e "$dir/unused" ] || { echo "WRONG: a control socket is left"; wrong=$((wrong + 1)); }

# A live server's control socket is refused and goes on working; a dead one's
# is taken over.
start_nbdkit 1M
live=$sock
sock=$dir/sock2
rm -f "$dir/pid"
refused control,"$control" 1M control="$control"
sock=$live
ctl list >/dev/null ||
    { echo "WRONG: the live server's control socket is gone"; wrong=$((wrong + 1)); }
kill_nbdkit
[ -S "$control" ] || fail "killed, and yet the control socket is gone"
start_nbdkit 1M
ctl list >/dev/null
stop_nbdkit

[ $wrong = 0 ] || fail "$wrong wrong"
