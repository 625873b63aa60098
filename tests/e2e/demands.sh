#!/bin/sh
# The plan's demands: 'nofuse' changes what is computed together and no bit, 'fuse' changes nothing.
. "$(dirname "$0")/common.sh"
corpus
file=$root/tests/e2e/attend/causal.sn
# kernels FILE: of each function
kernels() { "$sinter" explain "$1" | sed -n '/^function/,/^$/p' | awk '{print $1, $2}'; }
# compare LINE: the checkpoint with that line of the plan is that without
compare() {
    sed "s/^train {/&\n  $1/" "$file" >"$work/demand.sn"
    rm -rf "$work/demand.out"
    "$sinter" build "$work/demand.sn" -o "$work/demand" || bad "build with '$1'"
    train "$work/demand" "$work/demand.out" --steps 3
    same "'$1'" "$work/plain.out/last" "$work/demand.out/last"
}
"$sinter" build "$file" -o "$work/plain"
train "$work/plain" "$work/plain.out" --steps 3
plain=$(kernels "$file")
for line in "nofuse : attn.s" "nofuse : attn.p" "nofuse : h.1.attn, cross_entropy" "nofuse : *"; do
    compare "$line"
    [ "$plain" != "$(kernels "$work/demand.sn")" ] && ok || bad "'$line' changes no kernel"
done
# where nothing is updated, nothing selected by '*' is computed together
of_eval() { "$sinter" explain "$@" | awk '$1 == "eval_micro" && NF > 2 {print $2}'; }
[ "$(of_eval "$work/demand.sn")" = "$(of_eval "$file" --no-fuse)" ] && ok || bad "'nofuse : *' is not --no-fuse"
compare "fuse : attn, attn.p, x; fuse : layernorm"
[ "$plain" = "$(kernels "$work/demand.sn")" ] && ok || bad "'fuse' changes a kernel"
finish
