# SPDX-License-Identifier: BSD-3-Clause
# bash completes uzramctl's and uzram-swap's commands, disks, keys and values.
source "$(dirname "$0")/functions.sh"
completion=$(cd "$(dirname "$0")/../plugin/completion" && pwd)

# What bash does for a line whose end is to be completed.
cat >"$dir/complete" <<'END'
source "$1/uzramctl"
source "$1/uzram-swap"
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
COMP_LINE=$2
COMP_POINT=${#2}
name=${2%% *}
function=$(complete -p "${name##*/}" | sed 's/.*-F \([^ ]*\) .*/\1/')
$function
printf '%s\n' "${COMPREPLY[@]}"
END

# completes LINE WORD...: these, and no others, are what a fresh shell offers at its end.
completes () {
	local line=$1 got want
	shift
	got=$(timeout 20 "$BASH" --norc --noprofile -u "$dir/complete" "$completion" "$line" | sort) ||
	    fail "completion of: $line"
	want=$(printf '%s\n' "$@" | sort)
	[ "$got" = "$want" ] || fail "\"$line\" completes to" $got", not to $*"
}

start_nbdkit 1M
on="$UZRAMCTL -s $control"
mapfile -t commands < <("$UZRAMCTL" --help | sed -n 's/^  \([a-z][a-z-]*\).*/\1/p')
[[ " ${commands[*]} " = *" list "*" compact "* ]] || fail "commands: ${commands[*]}"

completes "$on " "${commands[@]}"
completes "$UZRAMCTL --json lis" list
completes "$UZRAMCTL --js" --json
completes "$on stat " default
completes "$on stat def" default
completes "$on stat x" ""
completes "$on stat default " ""
completes "$UZRAMCTL -s$control compact " default
completes "$UZRAMCTL --socket=$control compact " default
completes "$UZRAMCTL -s $dir/nosuch compact " ""
completes "$UZRAMCTL -s $dir/contr" "$control"
completes "$UZRAMCTL --socket=$dir/contr" "$control"
completes "$on list " ""
keys=(mem-limit= algorithm= batch= writeback= high= low= writeback-batch= promote=
    writeback-limit= writeback-limit-enable=)
completes "$on set " default "${keys[@]}"
completes "$on set default " "${keys[@]}"
completes "$on set default promote=n" never
completes "$on set writeback=" manual auto
modes=(huge idle huge_idle incompressible all page_index= page_indexes=)
completes "$on writeback " default "${modes[@]}"
completes "$on writeback default h" huge huge_idle
completes "$on idle " default all
completes "$on set al" algorithm=
completes "$on set algorithm=l" lz4 lz4hc
completes "$on add x algorithm=z" zstd
completes "$on add x wr" write= writeback= writeback-batch=
completes "$on add x backing=$dir/contr" "$control"
completes "$on accel " stat reset unplug plug fault=
completes "$on resize --" --force
completes "uzram-swap " start stop status --help --version
completes "uzram-swap sta" start status
completes "uzram-swap start " ""
completes "uzram-swap start 1G al" algorithm=
completes "uzram-swap start 1G algorithm=z" zstd
completes "uzram-swap stop " ""
stop_nbdkit
