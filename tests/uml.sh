# SPDX-License-Identifier: BSD-3-Clause
# What tests share that run in a kernel of their own, a user-mode Linux. uml-init.sh is its part in
# there.

requires_root
requires_tool linux.uml

# boot_uml MIB SECONDS SCRIPT [NAME=VALUE...]: a kernel with so much memory and this machine's
# files, whose first process is a script of this folder with these variables. What it has found
# out is in $dir/result, line by line.
boot_uml () {
	local mib=$1 seconds=$2 script
	script=$(cd "$(dirname "$0")" && pwd)/$3
	shift 3
	{
		echo '#!/bin/bash'
		printf 'export %q\n' DIR="$dir" UZRAM_BUILD="$UZRAM_BUILD" UZRAMCTL="$UZRAMCTL" \
		    UZRAM_PLUGIN="$UZRAM_PLUGIN" "$@"
		printf 'exec /bin/bash %q\n' "$script"
	} >"$dir/init"
	chmod +x "$dir/init"
	touch "$dir/result" "$dir/init.log"

	# Its memory is a file that it maps with execute permission: not in /dev/shm.
	attended "$seconds" env TMPDIR="$dir" linux.uml mem="${mib}M" uml_dir="$dir/" umid=uml \
	    root=/dev/root rootfstype=hostfs rootflags=/ rw init="$dir/init" \
	    con=null con0=null,fd:1 >"$dir/console" 2>&1 || echo "linux.uml: status $?"
	cat "$dir/result"
	if ! [ -s "$dir/result" ]; then
		cat "$dir/console"
		grep -q 'Run .*init as init process' "$dir/console" || skip "linux.uml does not boot here"
	fi
}

uml_fails () {
	tail -n 40 "$dir/console"
	cat "$dir/init.log"
	fail "$*"
}
# uml_found REGEX WHAT: a line of the result is like that, or that is what failed.
uml_found () { grep -qx -e "$1" "$dir/result" || uml_fails "$2"; }
