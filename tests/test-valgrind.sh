# SPDX-License-Identifier: BSD-3-Clause
# A server under valgrind's memcheck, from start to end: no byte that was never
# written is looked at or sent, no memory is lost.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/workload.sh"
requires_tool valgrind nbdcopy
[ "$UZRAM_SANITIZERS" = no ] || skip "valgrind and sanitizers exclude each other"

nbdkit_wrapper=(valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite
    --errors-for-leak-kinds=definite --suppressions="$(dirname "$0")/valgrind.supp")
start_nbdkit 32M
workload
stop_nbdkit
