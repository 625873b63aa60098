#!/bin/sh
# 'sinter verify': all ranks of a mesh, interpreted, against one device. Every strategy that lists of axes give, on
# two models; how many collectives a layer costs; what is refused, and that build and the later passes refuse a mesh.
. "$(dirname "$0")/common.sh"
models=$(dirname "$0")/../../models
gpt2="$models/gpt2.sn -D size.seq=8 -D size.batch=8 -D micro=8 -D dim=16 -D head=2 -D vocab=32 -D ctx=16 -D layer=2"
llama="$models/llama.sn -D size.seq=8 -D size.batch=8 -D micro=8 -D dim=16 -D kv=2 -D group=2 -D ff=32 -D vocab=32 -D layer=2"
agree() { # MODEL MESH LISTS VALUES: at least so many compared
    model=$1 over=$2 by=$3 least=$4
    if "$sinter" verify $model --mesh $over --shard "$by" >"$work/out" 2>&1; then
        n=$(sed -n 's/.* ranks, 2 steps: \([0-9]*\) values and [1-9][0-9]* copies agree/\1/p' "$work/out")
        [ "${n:-0}" -ge "$least" ] && ok || bad "$over: ${n:-no} values"
    else
        bad "$over, $by: $(cat "$work/out")"
    fi
}
for list in "data=4|data: batch" "tensor=2|tensor: vocab, HEAD, ff" "tensor=2|tensor: vocab, HEAD, ff, seq" \
    "context=2|context: seq" "data=2,tensor=2|data: batch; tensor: vocab, HEAD, ff, seq" \
    "data=2,context=2,tensor=2|data: batch; context: seq; tensor: vocab, HEAD, ff"; do
    mesh=${list%%|*} lists=${list#*|}
    agree "$gpt2" "$mesh" "$(echo "$lists" | sed s/HEAD/head/)" 2400
    agree "$llama" "$mesh" "$(echo "$lists" | sed s/HEAD/kv/)" 2000
done
agree "$gpt2 -D precision=bf16" data=2 "data: batch" 2400
agree "$models/mlp.sn -D size.batch=4 -D micro=4 -D size.seq=4 -D hidden=8" data=2 "data: batch" 200
agree "$models/../tests/models/optimizers.sn" tensor=2 "tensor: n" 4500
# two axes of the mesh that trade axes of a value
agree "$gpt2 -D layer=1" a=2,b=2 "a: vocab, dim; b: dim, ff" 1200
# a gradient that is 0 but for rounding, divided by its own size: what the order of sums does is measured
agree "$models/convnet.sn -D size.batch=8 -D micro=8 -D f1=2 -D f2=4 -D hidden=8" data=2 "data: batch" 200
# ---- a layer's collectives: Megatron's four ----------------------------------------------------------
count() { # LAYERS -> all_reduces of micro
    "$sinter" verify $gpt2 -D layer=$1 --mesh tensor=2 --shard "tensor: vocab, head, ff" |
        awk '/^[a-z]/ { f = $1 } f == "micro" && $1 == "shard" { print $5 }'
}
[ $(($(count 3) - $(count 2))) = 4 ] && ok || bad "a layer has not 4 collectives: $(count 2), $(count 3)"
# ---- refusals ----------------------------------------------------------------------------------------
refuse() { # STATUS MESSAGE ARGUMENTS...
    want=$1 text=$2 rc=0
    shift 2
    "$sinter" "$@" >"$work/out" 2>"$work/err" || rc=$?
    [ $rc = $want ] && [ ! -s "$work/out" ] && grep -qF "$text" "$work/err" && ok || bad "$text: $rc, $(cat "$work/err")"
}
refuse 1 "'head' has 2, 4 ranks of 'tensor' do not divide it: these do: 2" verify $gpt2 --mesh tensor=4 --shard "tensor: head"
refuse 1 "'batch' has 2 in a micro-batch, 4 ranks of 'data' do not divide it" verify $gpt2 -D micro=2 --mesh data=4 --shard "data: batch"
refuse 1 "mesh axis 'tensor' divides nothing" verify $gpt2 --mesh data=2,tensor=2 --shard "data: batch"
refuse 2 "'--mesh data': expected axes with their ranks" verify $gpt2 --mesh data --shard "data: batch"
refuse 2 "expected each axis once" verify $gpt2 --mesh data=2,data=2 --shard "data: batch"
refuse 2 "expected each axis once" verify $gpt2 --mesh data=65 --shard "data: batch"
refuse 2 "expected each axis once" verify $gpt2 --mesh data=2,tensor=4611686018427387968 --shard "data: batch; tensor: ff"
refuse 2 "the model has no axis 'heads'" verify $gpt2 --mesh data=2 --shard "data: heads"
refuse 2 "expected a list for each mesh axis" verify $gpt2 --mesh data=2 --shard "tensor: head"
refuse 2 "needs --mesh and --shard" verify $gpt2 --mesh data=2
refuse 2 "give smaller sizes by -D" verify "$models/gpt2.sn" -D size.batch=8 -D micro=8 --mesh data=2 --shard "data: batch"
"$sinter" dump $gpt2 -D layer=1 --after precision >"$work/one.ir" 2>/dev/null
awk '/^axis/ && !d { print "mesh data=2"; d = 1 } /^(repeat|state)/ && !e { print "shard data (batch)"; e = 1 } { print }' "$work/one.ir" >"$work/mesh.ir"
"$sinter" opt "$work/mesh.ir" --passes shard --verify-each >"$work/ranks.ir" 2>"$work/err" && ok || bad "shard: $(cat "$work/err")"
grep -q 'f32\[batch/data=4, seq=8' "$work/ranks.ir" && grep -q '^state d.wte : .* local=.* +data' "$work/ranks.ir" && ok || bad "no places"
"$sinter" opt "$work/ranks.ir" --passes shard 2>/dev/null | sed '/^\/\//d' >"$work/again.ir"
sed '/^\/\//d' "$work/ranks.ir" >"$work/first.ir"
same "shard does nothing to its output" "$work/first.ir" "$work/again.ir"
refuse 1 "a mesh of 2 ranks is not compiled yet" build "$work/ranks.ir" -o "$work/exe"
refuse 1 "a mesh of 2 ranks is not compiled yet" explain "$work/mesh.ir"
[ ! -e "$work/exe" ] && ok || bad "an executable"
finish
