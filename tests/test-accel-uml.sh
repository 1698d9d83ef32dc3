# SPDX-License-Identifier: BSD-3-Clause
# The simulated accelerator on Linux 6.1: a user-mode kernel boots on this machine's
# files and runs the accelerator's tests. Its io_uring has MSG_RING, so that must be what
# carries the wake-ups there.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/uml.sh"
[ "$UZRAM_SANITIZERS" = no ] || skip "sanitizers need more memory than that kernel has"

transports="msgring eventfd inline"
tests="test-accel test-accel-wait test-accel-states test-accel-faults test-accel-stress"
boot_uml 512 400 uml-accel-init.sh TRANSPORTS="$transports" TESTS="$tests" \
    ACCEL_PAGES=1000 ACCEL_STRESS_MS=100
for transport in $transports; do
	uml_found "$transport: 20[0-9]* pages, transport $transport" "$transport"
done
for test in $tests; do
	uml_found "$test: status 0" "$test"
done
