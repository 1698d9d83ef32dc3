# SPDX-License-Identifier: BSD-3-Clause
# The first process of test-uzram-swap-uml.sh's kernel.
source "$(dirname "$0")/uml-init.sh"
prepare_nbd

# Control groups of version 2, in which others may not be at the root.
cgroups=/sys/fs/cgroup
mount -t cgroup2 none $cgroups && echo +memory >$cgroups/cgroup.subtree_control
mkdir $cgroups/unit

swap=$UZRAM_BUILD/plugin/uzram-swap
(
	export UZRAM_SWAP_DIR=/run/swap
	"$swap" start 64M && grep -q '^nbd ' /run/swap/journal && result "attached: nbd"
	"$swap" status
	read -r _ pid _ < <(grep ^server /run/swap/journal)
	result "cgroup: $(cat $cgroups/swap/memory.swap.max) $(grep -cx "$pid" $cgroups/swap/cgroup.procs)"
	"$swap" stop
	# As in uzram-swap.service: the group is there already.
	echo $BASHPID >$cgroups/unit/cgroup.procs
	echo 0 >$cgroups/unit/memory.swap.max
	"$swap" start 64M
	read -r _ pid _ < <(grep ^server /run/swap/journal)
	result "unit: $(ls -d $cgroups/swap) $(grep -cx "$pid" $cgroups/unit/cgroup.procs)"
	"$swap" stop
)
UZRAM_TEST_ROUNDS=few UZRAM_TEST_STATE=/run/uzram-swap-test \
    /bin/bash "$(dirname "$0")/test-uzram-swap.sh"
result "status: $?"
