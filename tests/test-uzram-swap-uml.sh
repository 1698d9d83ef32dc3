# SPDX-License-Identifier: BSD-3-Clause
# uzram-swap with the kernel's own NBD client and control groups of version 2:
# test-uzram-swap.sh, in fewer rounds, in a user-mode Linux.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/uml.sh"
requires_tool nbd-client insmod mkswap
[ "$UZRAM_SANITIZERS" = no ] || skip "uzram-swap starts the server without the sanitizers' library"

boot_uml 256 300 uml-uzram-swap-init.sh
uml_found "status: 0" "uzram-swap over nbd-client"
uml_found "attached: nbd" "nbd-client was not used"
uml_found "cgroup: 0 1" "the server is in no control group that may not swap"
uml_found "unit:  1" "a second control group in the unit's"
