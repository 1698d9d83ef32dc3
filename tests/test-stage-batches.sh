# SPDX-License-Identifier: BSD-3-Clause
# Random 4 KiB writes over two connections, verified: batches of more than one page form by
# themselves, none larger than batch=; what is shown adds up; and with nobody writing
# the stage is empty a moment later. With write=through there is no stage.
source "$(dirname "$0")/functions.sh"
requires_fio
requires_tool jq

for batch in 32 256 1; do
	start_nbdkit 256M batch=$batch
	run_fio --rw=randwrite --bs=4k --size=48m --iodepth=16 --numjobs=2 --offset_increment=64m \
	    --verify=crc32c --buffer_compress_percentage=60 --refill_buffers
	until_true 20 stage_is_empty || fail "pages stay staged"
	ctl --json stat | jq -c '.disks[0] | .stage, .streams' |
	    tee "$dir/streams"
	jq -es --argjson batch $batch '.[0].write == "behind" and .[0].pages_max > 0 and
	    (.[1] | .batches == ([.batch_sizes[][1]] | add) and .batch_pages >= .batches and
	    .batch_pages <= .batches * $batch and .managed == 0 and .fallback == 0 and
	    .percpu >= .batch_pages and ([.batch_sizes[][0]] | max) <= $batch)' \
	    "$dir/streams" >/dev/null || fail "batch=$batch: it does not add up"
	# Which sizes there are depends on who gets a CPU; pages more than batches do not.
	[ $batch = 1 ] || jq -es '.[1] | .batch_pages > .batches and
	    ([.batch_sizes[] | select(.[0] > 1)] | length > 0)' "$dir/streams" >/dev/null ||
	    fail "batch=$batch: no batch of more than one page"
	stop_nbdkit
done

start_nbdkit 64M write=through
run_fio --rw=randwrite --bs=4k --size=16m --iodepth=16 --verify=crc32c --refill_buffers
ctl --json stat | jq -e '.disks[0] | .stage.write == "through" and
    .stage.pages_max == 0 and .stage.direct == 0 and .streams.batches == 0 and
    .streams.percpu >= 4096' >/dev/null || fail "write=through has a stage"
stop_nbdkit
