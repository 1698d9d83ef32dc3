# SPDX-License-Identifier: BSD-3-Clause
# The accelerator by its commands: what they show, what reset, unplug and plug do to a server
# in use, faults at run time, and the words with which they are refused.
source "$(dirname "$0")/functions.sh"
requires_fio
requires_tool jq nbdcopy
schema=$(dirname "$0")/../docs/stat.schema.json

# refused WORDS ARGUMENT...: in one line that has the words.
refused () {
	local words=$1 status=0
	shift
	ctl "$@" >"$dir/out" 2>"$dir/err" || status=$?
	[ $status = 1 ] || fail "$*: status $status"
	[ "$(wc -l <"$dir/err")" = 1 ] && [ ! -s "$dir/out" ] && grep -qF -e "$words" "$dir/err" ||
	    { cat "$dir/err"; fail "$*: not the words: $words"; }
}
# Two writers, deep enough for batches that are worth the device's while; verified. What fio
# checks by sums hardly compresses; a pattern of each offset does.
load () {
	run_fio --rw=randwrite --bs=64k --size=16m --iodepth=8 --numjobs=2 --offset_increment=32m \
	    --verify="${1:-crc32c}" --verify_interval=4k --refill_buffers "${@:2}"
}
load_text () { load pattern --verify_pattern='"page at "%o", its text; "'; }
settled () { stage_is_empty && [ "$(accel_stat in_flight)" = 0 ]; }
# Moments after the last write nothing is staged, and each page has been counted once.
adds_up () {
	until_true 20 settled || fail "$1: pages stay staged"
	ctl --json stat >"$dir/stat.json"
	jq -c '.disks[0].streams, (.accel | {state, submitted, accepted, busy, completed, status})' \
	    "$dir/stat.json"
	jq -e '.accel as $a | .disks[0] | .streams.managed == $a.status.success +
	    $a.status.incompressible and .streams.managed + .streams.percpu ==
	    .streams.batch_pages + .stage.direct and .streams.fallback <= .streams.percpu and
	    $a.submitted == $a.accepted + $a.busy and $a.accepted == $a.completed and
	    $a.completed == ([$a.status[]] | add) and $a.fallback == .streams.fallback and
	    .io_stat.failed_writes == 0 and .io_stat.failed_reads == 0' "$dir/stat.json" >/dev/null ||
	    { cat "$dir/stat.json"; fail "$1: it does not add up"; }
	/usr/bin/python3 -c 'import jsonschema' 2>/dev/null || return 0
	timeout 20 /usr/bin/python3 - "$schema" "$dir/stat.json" <<-'END' || fail "$1: the schema"
		import json, sys, jsonschema
		schema, document = (json.load(open(name)) for name in sys.argv[1:])
		jsonschema.Draft7Validator(schema).validate(document)
	END
}
managed () { disk_stat streams.managed; }
percpu () { disk_stat streams.percpu; }

# None.
start_nbdkit 16M
for args in "" stat reset unplug plug fault=busy:1,1,0,1 nosuch; do
	refused "there is no accelerator: start the server with accel=PROFILE" accel $args
done
ctl --json stat | jq -e 'has("accel") | not' >/dev/null || fail "statistics of no accelerator"
stop_nbdkit

for args in "accel=iaa" "accel=swthread accel-transport=eventfd" \
    "accel=qat accel-transport=inline accel-queue-depth=64 workers=1"; do
	start_nbdkit 128M batch=64 accel-max-resets=1000000 accel-timeout-ms=50 $args
	profile=${args#accel=}; profile=${profile%% *}

	# What is shown.
	ctl accel >"$dir/out"
	head -1 "$dir/out" | grep -qE "^$profile: enabled, (msgring|eventfd|inline)$" ||
	    { cat "$dir/out"; fail "accel"; }
	for word in queue_depth queues engines submitted accepted busy completed fallback \
	    in_flight_max doorbells resets pages_per_second utilisation; do
		grep -qE "^  $word +" "$dir/out" || { cat "$dir/out"; fail "accel lacks $word"; }
	done
	ctl accel stat >"$dir/out2"
	[ "$(head -1 "$dir/out2")" = "$(head -1 "$dir/out")" ] || fail "accel stat"
	ctl --json accel >"$dir/out"
	jq -e --arg p "$profile" 'keys == ["accel"] and .accel.profile == $p and
	    .accel.state == "enabled" and .accel.completed == 0' "$dir/out" >/dev/null ||
	    { cat "$dir/out"; fail "accel --json"; }
	adds_up "a new server"

	# At work.
	load_text
	adds_up "under load"
	before=$(managed)
	[ "$before" -gt 0 ] || fail "the accelerator does nothing"

	# reset, while it works.
	load & writer=$!
	resets=0
	while running $writer; do
		[ "$(ctl accel reset)" = enabled ] || fail "reset"
		resets=$((resets + 1))
		sleep 0.05
	done
	wait $writer || fail "the client saw resets"
	[ "$(accel_stat resets)" = $resets ] || fail "$resets resets, counted $(accel_stat resets)"
	adds_up "reset"
	before2=$(managed)
	[ "$before2" -gt "$before" ] || fail "it does nothing after a reset"

	# unplug: everything in software.
	[ "$(ctl accel unplug)" = unplugged ] || fail "unplug"
	[ "$(ctl accel unplug)" = unplugged ] || fail "unplug again"
	ctl accel | head -1 | grep -q ": unplugged," || fail "accel, unplugged"
	refused "accel reset: No such device (state unplugged)" accel reset
	adds_up "unplug"
	before=$(percpu)
	before2=$(managed)
	load
	adds_up "unplugged"
	[ "$(percpu)" -gt "$before" ] || fail "software does nothing"
	[ "$(managed)" = "$before2" ] || fail "an unplugged device works"

	# plug: managed grows again.
	[ "$(ctl --json accel plug | jq -r .state)" = enabled ] || fail "plug"
	[ "$(ctl accel plug)" = enabled ] || fail "plug again"
	load
	adds_up "plug"
	[ "$(managed)" -gt "$before2" ] || fail "the device does not come back"

	# Both, while it works.
	load & writer=$!
	while running $writer; do
		[ "$(ctl accel unplug)" = unplugged ] || fail "unplug under load"
		sleep 0.02
		[ "$(ctl accel plug)" = enabled ] || fail "plug under load"
		sleep 0.1
	done
	wait $writer || fail "the client saw the device go"
	adds_up "unplug under load"

	# Faults.
	for kind in busy hw-error corrupt overflow timeout; do
		before=$(accel_stat "faults[\"$kind\"]")
		[ "$(ctl --json accel "fault=$kind:1,2,0,-1" | jq -r .fault)" = $kind ] || fail "$kind"
		load_text
		ctl accel "fault=$kind:1,0,0,0"
		adds_up "fault $kind"
		[ "$(accel_stat "faults[\"$kind\"]")" -gt "$before" ] || fail "no fault: $kind"
	done
	[ "$(accel_stat state)" = '"enabled"' ] || fail "the device failed"
	[ "$(disk_stat streams.fallback)" -gt 0 ] || fail "faults, and no fallback"

	# A device that does not come back.
	ctl accel unplug >/dev/null
	ctl accel fault=init:1,100,0,1
	refused "accel plug: Input/output error (state unplugged)" accel plug
	[ "$(ctl accel plug)" = enabled ] || fail "plug after a fault that is over"

	refused "accel nosuch: allowed is stat, reset, unplug, plug, fault=KIND:" accel nosuch
	refused "accel fault=fire:1,1,0,1: " accel fault=fire:1,1,0,1
	for spec in busy busy:1,101,0,1 busy:1,1,0 busy:x,1,0,1 ""; do
		refused "not KIND:INTERVAL,PROBABILITY,SPACE,TIMES" accel "fault=$spec"
	done

	# Another algorithm, and pages of both.
	real_data "$dir/data" 8
	ctl set algorithm=zstd
	timeout 60 nbdcopy "$dir/data" "$uri"
	ctl set algorithm=lz4
	same_as "$dir/data"
	stop_nbdkit
done

# A disk that wants none of it, beside one that does; and a device that has not the algorithm.
start_nbdkit accel=iaa accel-codecs=zstd disk=a size=32M streams=percpu algorithm=zstd \
    disk=b size=32M disk=c size=32M algorithm=zstd
grep -qF "accel=iaa has no lz4 (it has: zstd): software compresses that" "$dir/server.log" ||
    fail "no warning of a codec that it has not"
for name in a b c; do
	timeout 60 nbdcopy "$dir/data" "nbd+unix:///$name?socket=$sock"
	same_as "$dir/data" "nbd+unix:///$name?socket=$sock" "disk $name"
done
ctl --json stat | jq -e '[.disks[].streams.managed] | .[0] == 0 and .[1] == 0 and .[2] > 0' \
    >/dev/null || fail "the wrong disks are managed"
stop_nbdkit

# It cannot be started: the disks work without.
start_nbdkit 16M accel=iaa accel-fault=init:1,100,0,-1
grep -qF "managed streams are off, software compresses everything" "$dir/server.log" ||
    fail "no warning of a device that does not start"
refused "there is no accelerator" accel
timeout 60 nbdcopy "$dir/data" "$uri"
same_as "$dir/data"
stop_nbdkit
