# SPDX-License-Identifier: BSD-3-Clause
# Sizes are read as nbdkit's own plugins read them, and rounded up to a page.
source "$(dirname "$0")/functions.sh"
requires_tool nbdkit nbdinfo

# size PLUGIN STRING: what it serves, or "refused".
size () {
	command timeout 20 env "${nbdkit_env[@]}" nbdkit -U - "$1" size="$2" \
	    --run 'env -u LD_PRELOAD nbdinfo --size "$uri"' 2>/dev/null || echo refused
}

wrong=0
for string in 1 2 512 4095 4096 4097 8191 8193 1b 4096b 5000B 1k 1K 5k 10M 10m 1G 1g 1T 2t \
    1s 7s 8s 9S 010 0010k 1000000 123456789 4294967295 4294967296 \
    -1 -1k +5 +5M 0x10 1KB 1kk 1.5M 1,5M M k 5Q 1_000 '5 ' ' 5' '' 'abc' '1 M' '5M ' '5M x' \
    99999999999G 9223372036854775808 18446744073709551616 9999999999999999999 8E 16E 9e99; do
	theirs=$(size memory "$string")
	ours=$(size "$UZRAM_PLUGIN" "$string")
	case $theirs in
	refused) expected=refused ;;
	*) expected=$(((theirs + 4095) / 4096 * 4096)) ;;
	esac
	if [ "$ours" != "$expected" ]; then
		echo "WRONG: '$string' is $theirs for nbdkit, $ours here"
		wrong=$((wrong + 1))
	fi
done
[ $wrong = 0 ] || fail "$wrong wrong"
