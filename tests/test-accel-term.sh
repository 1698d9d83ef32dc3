# SPDX-License-Identifier: BSD-3-Clause
# SIGTERM with a stage full of pages and an accelerator that answers no more: the server ends
# within two seconds, and leaves nothing.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/term.sh"

for args in "accel=iaa" "accel=hisi accel-transport=eventfd" "accel=qat accel-transport=inline"; do
	# A software worker helps as long as the device is full: not for long.
	start_with_full_stage workers=1 $args accel-fault=timeout:1,100,0,-1 accel-timeout-ms=10000
	stuck=$(accel_stat in_flight)
	echo "$stuck of them on the device"
	[ "$stuck" -ge 1 ] && [ "$(accel_stat completed)" = 0 ] || fail "the device is not stuck"
	ends_at_once
done
