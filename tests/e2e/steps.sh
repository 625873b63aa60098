#!/bin/sh
# Whole training steps, small: exact interpreter = kernel evaluator = native code for each instruction set, by
# equality of bits, for every function of a model: initial values, forward and backward, update, evaluation.
# With attention taken apart and kept whole.
. "$(dirname "$0")/common.sh"
oracle=$build/oracle
# steps MODEL ARGS...: in each precision of $precisions
steps() {
    model=$1
    shift
    for precision in $precisions; do
        "$sinter" dump "$root/models/$model.sn" "$@" -D size.batch=2 -D micro.batch=1 -D precision=$precision \
            --after precision >"$work/$model.ir" || bad "$model in $precision: no module"
        for also in "" recognise,; do
            "$oracle" --passes=${also}chunk,fuse,schedule,bundle,memplan "$work/$model.ir" >"$work/log" 2>&1 &&
                ok || bad "$model in $precision ${also:+with $also} $(grep FAIL "$work/log")"
        done
    done
}
precisions="bf16 f16"
[ "$long" = 1 ] && precisions="f32 $precisions"
steps bytes -D layer=2 -D dim=16 -D head=2 -D vocab=11 -D size.seq=5
[ "$long" = 1 ] || precisions=bf16
steps gpt2 -D layer=1 -D dim=16 -D head=2 -D vocab=11 -D ctx=6 -D size.seq=5
# Moments in blocks of 8 bits
precisions=f32
steps bytes -D layer=1 -D dim=16 -D head=2 -D vocab=16 -D size.seq=4 -D precision.moments=i8
[ "$long" = 1 ] && precisions="f32 bf16 f16"
if [ "$long" = 0 ]; then
    finish
    exit
fi
steps llama -D layer=1 -D dim=16 -D kv=2 -D group=2 -D ff=10 -D vocab=11 -D size.seq=5
steps vit -D layer=1 -D row=4 -D col=6 -D py=2 -D px=2 -D class=3 -D dim=6 -D head=2
finish
