# SPDX-License-Identifier: BSD-3-Clause
# workload: a little of everything a client can ask for, on $uri of 32 MiB, for
# servers that run slowly under a checker.
workload () {
	local do="timeout 300 $tools/nbd-do"
	real_data "$dir/data" 8
	$do "$uri" put 0 "$dir/data" same 0 "$dir/data" \
	    fill 9m 1m 0x5a fill 10000000 12345 1 check 10000000 12345 1 \
	    put 12345678 "$dir/data" same 12345678 "$dir/data" \
	    zero 1000001 99999 check 1000001 99999 0 trim 2m 2m check 2m 2m 0 \
	    cache 0 8m status 0 32m >"$dir/extents"
	timeout 300 nbdcopy --flush --connections=4 --requests=16 "$dir/data" "$uri"
	timeout 300 nbdcopy --connections=4 --requests=16 "$uri" "$dir/out"
	cmp -n $((8 << 20)) "$dir/data" "$dir/out"
	"$tools/nbd-do" "$uri" hangup write 16m 64k 32 2>/dev/null || :
	"$tools/nbd-do" "$uri" hangup read 0 64k 32 2>/dev/null || :
	ctl list
	ctl --json stat >/dev/null
	ctl compact
	$do "$uri" same 0 "$dir/data" trim 0 32m check 0 32m 0
}
