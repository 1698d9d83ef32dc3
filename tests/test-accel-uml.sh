# SPDX-License-Identifier: BSD-3-Clause
# The simulated accelerator on Linux 6.1: a user-mode kernel boots on this machine's
# files and runs the accelerator's tests. Its io_uring has MSG_RING, so that must be what
# carries the wake-ups there.
source "$(dirname "$0")/functions.sh"
requires_root
requires_tool linux.uml
[ "$UZRAM_SANITIZERS" = no ] || skip "sanitizers need more memory than that kernel has"

cat >"$dir/init" <<END
#!/bin/bash
exec </dev/null >>'$dir/log' 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C ACCEL_PAGES=1000 ACCEL_STRESS_MS=100
trap 'echo end >>"$dir/result"; sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
{ echo "kernel: \$(uname -r)"
  for transport in msgring eventfd inline; do
	echo "\$transport: \$('$tools/accel-do' \$transport 2000 2>&1)"
  done; } >>'$dir/result'
for test in test-accel test-accel-wait test-accel-states test-accel-faults test-accel-stress; do
	timeout 120 '$tools'/\$test
	echo "\$test: status \$?" >>'$dir/result'
done
END
chmod +x "$dir/init"
touch "$dir/result" "$dir/log"

# Its memory is a file that it maps with execute permission: not in /dev/shm.
TMPDIR=$dir timeout --kill-after=5 400 linux.uml mem=512M uml_dir="$dir/" umid=uml \
    root=/dev/root rootfstype=hostfs rootflags=/ rw init="$dir/init" \
    con=null con0=null,fd:1 </dev/null >"$dir/console" 2>&1 || echo "linux.uml: status $?"
cat "$dir/result"
if ! [ -s "$dir/result" ]; then
	cat "$dir/console"
	grep -q 'Run .*init as init process' "$dir/console" || skip "linux.uml does not boot here"
fi
show () { tail -n 60 "$dir/log"; fail "$*"; }
for transport in msgring eventfd inline; do
	grep -q "^$transport: 20[0-9]* pages, transport $transport\$" "$dir/result" || show "$transport"
done
for test in test-accel test-accel-wait test-accel-states test-accel-faults test-accel-stress; do
	grep -q "^$test: status 0\$" "$dir/result" || show "$test"
done
