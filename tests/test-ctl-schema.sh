# SPDX-License-Identifier: BSD-3-Clause
# `uzramctl --json stat` is as docs/stat.schema.json says, with every algorithm,
# empty and not, with a limit and without; and of three disks.
source "$(dirname "$0")/functions.sh"
schema=$(dirname "$0")/../docs/stat.schema.json
requires_tool jq
/usr/bin/python3 -c 'import jsonschema' 2>/dev/null || skip "needs python3-jsonschema"

check () {
	ctl --json stat >"$dir/stat.json"
	timeout 20 /usr/bin/python3 - "$schema" "$dir/stat.json" <<-'END' || fail "$1"
		import json, sys, jsonschema
		schema, document = (json.load(open(name)) for name in sys.argv[1:])
		jsonschema.Draft7Validator.check_schema(schema)
		jsonschema.Draft7Validator(schema).validate(document)
		# The schema has to be worth something.
		for spoil in (lambda d: d.pop("mm_stat"), lambda d: d.update(size="1"),
		              lambda d: d["mm_stat"].update(nosuch=1),
		              lambda d: d["io_stat"].update(failed_reads=-1),
		              lambda d: d["bd_stat"].update(decompressed=1),
		              lambda d: d["bd_stat"].pop("bytes_used"),
		              lambda d: d.update(writeback={}), lambda d: d["ages"].pop(),
		              lambda d: d["latency_us"].pop("trim"),
		              lambda d: d["latency_us"]["read"].update(p50="1"),
		              lambda d: d["latency_us"]["read"].update(buckets=[[1]])):
		    spoiled = json.loads(json.dumps(document))
		    spoil(spoiled["disks"][0])
		    if jsonschema.Draft7Validator(schema).is_valid(spoiled):
		        sys.exit("a spoiled document passes")
		for spoil in (lambda a: a.pop("state"), lambda a: a.update(state="ill"),
		              lambda a: a.update(nosuch=1), lambda a: a["status"].pop("zero"),
		              lambda a: a["faults"].update(busy=-1), lambda a: a["wall"].pop("total"),
		              lambda a: a["modelled"].update(utilisation="1"),
		              lambda a: a.update(batch_sizes=[[1]])):
		    spoiled = json.loads(json.dumps(document))
		    if "accel" not in spoiled:
		        break
		    spoil(spoiled["accel"])
		    if jsonschema.Draft7Validator(schema).is_valid(spoiled):
		        sys.exit("a spoiled document passes")
	END
}

real_data "$dir/real" 2
for args in "" algorithm=lz4hc algorithm=zstd:5 "algorithm=deflate mem-limit=64M" algorithm=none; do
	start_nbdkit 32M $args
	check "an empty disk, $args"
	timeout 60 nbdcopy "$dir/real" "$uri"
	check "a disk in use, $args"
	stop_nbdkit
done

for args in "" "mem-limit=300k low=30 high=50" promote=never; do
	start_nbdkit 32M backing="$dir/backing" backing-size=8M backing-overwrite=yes $args
	check "an empty disk with a backing, $args"
	timeout 60 nbdcopy "$dir/real" "$uri"
	ctl writeback all >"$dir/out"
	check "a disk with pages on a backing, $args"
	jq -e '.disks[0] | .bd_stat.bd_count > 0 and .writeback.mode ==
	    (if .mm_stat.mem_limit > 0 then "auto" else "manual" end) and
	    ([.ages[][1]] | add) * 4096 == .mm_stat.orig_data_size' "$dir/stat.json" >/dev/null ||
	    { cat "$dir/stat.json"; fail "statistics with a backing, $args"; }
	stop_nbdkit
done

for profile in iaa qat mobile swthread hisi; do
	start_nbdkit 32M accel=$profile
	check "an idle accelerator, $profile"
	jq -e '.accel.completed == 0 and .accel.wall.total.p50 == null' "$dir/stat.json" >/dev/null ||
	    fail "an idle accelerator, $profile"
	timeout 60 nbdcopy "$dir/real" "$uri"
	ctl accel reset >"$dir/out"
	timeout 60 nbdcopy "$dir/real" "$uri"
	check "an accelerator in use, $profile"
	jq -e --arg profile $profile '.accel | .profile == $profile and .completed > 0 and
	    .wall.total.count > 0 and .modelled.total.count > 0 and .resets == 1' \
	    "$dir/stat.json" >/dev/null || { cat "$dir/stat.json"; fail "accel=$profile"; }
	stop_nbdkit
done

start_nbdkit disk=a size=16M disk=b.2 size=32M algorithm=zstd mem-limit=8M disk=c size=1G \
    algorithm=deflate
check "three disks"
for name in a b.2; do
	timeout 60 nbdcopy "$dir/real" "nbd+unix:///$name?socket=$sock"
	same_as "$dir/real" "nbd+unix:///$name?socket=$sock" "disk $name"
done
check "three disks, two in use"
ctl --json stat | jq -e '[.disks[].name] == ["a", "b.2", "c"] and
    (.disks[0].latency_us.read | .count > 0 and .p50 > 0 and .p99 >= .p50 and .max >= .p99 and
	([.buckets[][1]] | add) == .count) and .disks[2].latency_us.read.count == 0' >/dev/null ||
    fail "latencies of three disks"
ctl --json stat b.2 >"$dir/stat.json"
jq -e '[.disks[].name] == ["b.2"]' "$dir/stat.json" >/dev/null || fail "stat of one disk"
stop_nbdkit
