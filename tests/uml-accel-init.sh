# SPDX-License-Identifier: BSD-3-Clause
# The first process of test-accel-uml.sh's kernel.
source "$(dirname "$0")/uml-init.sh"
tools=$UZRAM_BUILD/tests

result "kernel: $(uname -r)"
for transport in $TRANSPORTS; do
	result "$transport: $("$tools/accel-do" "$transport" 2000 2>&1)"
done
for test in $TESTS; do
	timeout 120 "$tools/$test"
	result "$test: status $?"
done
