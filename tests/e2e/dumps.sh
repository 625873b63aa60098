#!/bin/sh
# Every dump parses back, prints the same again, and builds the executable that the model builds.
. "$(dirname "$0")/common.sh"
for model in bytes mlp; do
    options=$small
    [ $model = mlp ] && options=
    # shellcheck disable=SC2086
    "$sinter" dump "$root/models/$model.sn" $options --dump-dir "$work/$model" >/dev/null
    for ir in "$work/$model"/*.ir; do
        pass=$(basename "$ir" .ir | sed 's/^[0-9]*-//')
        "$sinter" dump "$ir" -o "$work/again.ir" || bad "reading $ir"
        same "$model printed again after $pass" "$ir" "$work/again.ir"
        "$sinter" dump "$ir" --plan -o "$work/$pass.plan" || bad "resuming after $pass"
        [ -f "$work/first.plan" ] || cp "$work/$pass.plan" "$work/first.plan"
        same "$model: plan resumed after $pass" "$work/first.plan" "$work/$pass.plan"
    done
    rm -f "$work/first.plan"
    "$sinter" dump "$work/$model/$(ls "$work/$model" | head -1)" --kernels -o "$work/a.k"
    "$sinter" dump "$root/models/$model.sn" $options --kernels -o "$work/b.k"
    same "$model kernels" "$work/a.k" "$work/b.k"
done
finish
