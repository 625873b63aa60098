#!/bin/sh
# Narrow numbers: the same bits for any number of threads, every instruction set, fused or not, stopped and
# resumed; files open whatever the plan says of precision; the loss is that of f32; small updates are not lost.
. "$(dirname "$0")/common.sh"
corpus
all=$("$sinter" passes | awk '{printf "%s%s", s, $1; s=","}')
without() { echo "$all" | tr ',' '\n' | grep -vx "$1" | paste -sd,; }
narrow="-D precision=bf16"
states="$narrow -D precision.grads=bf16 -D precision.moments=bf16 -D precision.master=none"
# build NAME ARGS...: models/bytes.sn, small
build() {
    name=$1
    shift
    # shellcheck disable=SC2086
    "$sinter" build "$root/models/bytes.sn" $small "$@" -o "$work/$name" || bad "build $name"
}
# shellcheck disable=SC2086
for kind in narrow states; do
    eval "options=\$$kind"
    build $kind $options
    train "$work/$kind" "$work/$kind.out" --steps 8 --threads 2
    for t in 1 3 4; do
        train "$work/$kind" "$work/$kind-$t.out" --steps 8 --threads $t
        same "$kind with $t threads" "$work/$kind.out/last" "$work/$kind-$t.out/last"
    done
    for cpu in x86-64-v3 x86-64-v4 x86-64-v4+bf16; do
        build $kind-$cpu $options --cpu $cpu
        if "$work/$kind-$cpu" --check-cpu >/dev/null 2>&1; then
            train "$work/$kind-$cpu" "$work/$kind-$cpu.out" --steps 8
            same "$kind for $cpu" "$work/$kind.out/last" "$work/$kind-$cpu.out/last"
        else
            echo "skipped $kind for $cpu: this machine cannot run it"
        fi
    done
    build $kind-unfused $options --no-fuse
    build $kind-apart $options --passes="$(without recognise)"
    build $kind-order $options --passes="$(without layout)"
    for other in unfused apart order; do
        train "$work/$kind-$other" "$work/$kind-$other.out" --steps 8
        same "$kind, $other" "$work/$kind.out/last" "$work/$kind-$other.out/last"
    done
    train "$work/$kind" "$work/$kind-half.out" --steps 8 --save-every 5 --keep 2
    rm "$work/$kind-half.out/step-00000008.safetensors"
    train "$work/$kind" "$work/$kind-half.out" --steps 8 --resume "$work/$kind-half.out"
    same "$kind resumed" "$work/$kind.out/last" "$work/$kind-half.out/last"
done
# The same on a GPU, with attention and products taken apart as on the CPU.
apart=$(echo "$all" | tr ',' '\n' | grep -vxE 'recognise|flash|merge' | paste -sd,)
build states-gpu $states --passes="$apart" --target cpu,sm_90a
train "$work/states-gpu" "$work/states-cpu.out" --steps 2 --device cpu
train "$work/states-gpu" "$work/states-gpu.out" --steps 2 --device emu:sm_90a
same "states on sm_90a" "$work/states-cpu.out/last" "$work/states-gpu.out/last"
# q and k by one product: the same states in files, also interrupted, on any number of threads.
build merged $narrow -D merge=all
train "$work/merged" "$work/merged.out" --steps 8 --threads 2
train "$work/merged" "$work/merged-3.out" --steps 8 --threads 3
same "merged with 3 threads" "$work/merged.out/last" "$work/merged-3.out/last"
build merged-unfused $narrow -D merge=all --no-fuse
train "$work/merged-unfused" "$work/merged-unfused.out" --steps 8
same "merged, unfused" "$work/merged.out/last" "$work/merged-unfused.out/last"
train "$work/merged" "$work/merged-half.out" --steps 8 --save-every 5 --keep 2
rm "$work/merged-half.out/step-00000008.safetensors"
train "$work/merged" "$work/merged-half.out" --steps 8 --resume "$work/merged-half.out"
same "merged, resumed" "$work/merged.out/last" "$work/merged-half.out/last"
products() { "$1" --info | sed -n 's/.*matrix products \([0-9]*\).*/\1/p'; }
if [ "$(products "$work/merged")" -lt "$(products "$work/narrow")" ]; then ok; else bad "merge = all did nothing"; fi
# Moments of 8 bits: the same bits everywhere; of a file with others, a message.
eight="-D precision.moments=i8"
# shellcheck disable=SC2086
build eight $eight
build eight-unfused $eight --no-fuse
train "$work/eight" "$work/eight.out" --steps 8 --threads 2
train "$work/eight" "$work/eight-3.out" --steps 8 --threads 3
same "8 bits with 3 threads" "$work/eight.out/last" "$work/eight-3.out/last"
train "$work/eight-unfused" "$work/eight-unfused.out" --steps 8
same "8 bits, unfused" "$work/eight.out/last" "$work/eight-unfused.out/last"
train "$work/eight" "$work/eight-half.out" --steps 5
train "$work/eight" "$work/eight-half.out" --steps 8 --resume "$work/eight-half.out"
same "8 bits resumed" "$work/eight.out/last" "$work/eight-half.out/last"
code=0
"$work/eight" --data "$work/text" --resume "$work/narrow.out" --steps 9 >"$work/eight.log" 2>&1 || code=$?
[ $code = 1 ] && grep -q "lacks .*embed.adamw.m.scale" "$work/eight.log" && ok || bad "exit $code, $(tail -1 "$work/eight.log")"
# No shadow is in a file, so a run goes on with another precision; and what is narrow in it is rounded or widened.
build wide
train "$work/wide" "$work/wide.out" --steps 8
tensors() { head -c 60000 "$1" | tr ',{' '\n\n' | grep -a -o '^"[a-z0-9_.]*":$' | sort; }
tensors "$work/wide.out/last" >"$work/wide.names"
tensors "$work/narrow.out/last" >"$work/narrow.names"
grep -q 'mlp.up' "$work/wide.names" && ok || bad "no tensors in $(head -3 "$work/wide.names")"
same "states of a checkpoint" "$work/wide.names" "$work/narrow.names"
tensors "$work/merged.out/last" >"$work/merged.names"
same "states of a merged checkpoint" "$work/narrow.names" "$work/merged.names"
# goes_on FROM EXE: and the loss does not jump
goes_on() {
    train "$work/$2" "$work/$1-$2.out" --resume "$work/$1.out" --steps 16 --print-every 1
    first=$(sed -n 's/^step 9\/16  loss \([0-9.]*\).*/\1/p' "$work/$1-$2.out.log")
    awk -v a="$first" -v b="$reference" 'BEGIN { exit !(a > 0 && (a - b) * (a - b) < 1e-4 * b * b) }' && ok ||
        bad "$2 goes on from $1 with loss $first, not $reference"
}
train "$work/wide" "$work/wide-whole.out" --steps 9 --print-every 1
reference=$(sed -n 's/^step 9\/9  loss \([0-9.]*\).*/\1/p' "$work/wide-whole.out.log")
goes_on wide narrow
goes_on wide states
goes_on wide merged
goes_on merged narrow
goes_on narrow wide
goes_on states wide
# 'precision f32' is what no line says: the same plan and kernels.
# shellcheck disable=SC2086
for say in "" "-D precision=f32"; do
    "$sinter" dump "$root/models/bytes.sn" $small $say --after memplan | grep -v '^//! option\|^precision' >"$work/plan$say"
done
same "precision f32" "$work/plan" "$work/plan-D precision=f32"
# The loss on data that was not trained on.
steps=200
options=$small
[ "$long" = 1 ] && steps=400 && options=
for kind in f32 bf16 i8; do
    of="-D precision=$kind"
    [ $kind = i8 ] && of=$eight
    # shellcheck disable=SC2086
    "$sinter" build "$root/models/bytes.sn" $options $of -o "$work/learns-$kind"
    train "$work/learns-$kind" "$work/learns-$kind.out" --steps $steps
    sed -n "s/^step $steps  validation loss \([0-9.]*\).*/\1/p" "$work/learns-$kind.out.log" >"$work/loss-$kind"
done
for kind in bf16 i8; do
    awk -v a="$(cat "$work/loss-f32")" -v b="$(cat "$work/loss-$kind")" \
        'BEGIN { exit !(a > 0 && b > 0 && b < 1.005 * a && a < 1.005 * b) }' && ok ||
        bad "validation loss $(cat "$work/loss-$kind") in $kind, $(cat "$work/loss-f32") in f32"
done
# Ten thousand steps of 1e-3 from 1: with a master the weight is 11, without one on average (4096 weights, each
# with a deviation of 0.6 in bf16, of 0.2 in f16, whose weights are 16 apart where bf16's are 2).
slowly() { # TYPE MASTER MOST LEAST: the mean is within MOST of 11, and LEAST from bf16's numbers on average
    "$sinter" build "$root/tests/e2e/precision/small.sn" -D precision=$1 -D precision.master=$2 -o "$work/small-$1-$2"
    train "$work/small-$1-$2" "$work/small-$1-$2.out" --steps 10000 --print-every 10000 --save-every 10000
    sed -n 's/^step 10000.* weight \([0-9.]*\) .*apart \([0-9.]*\).*/\1 \2/p' "$work/small-$1-$2.out.log" >"$work/mean"
    awk -v most=$3 -v least=$4 '{ n++; good += $1 > 11 - most && $1 < 11 + most && $2 >= least }
        END { exit !(n == 1 && good == 1) }' "$work/mean" && ok || bad "$1, master $2: weight $(cat "$work/mean")"
}
slowly bf16 f32 0.001 0
slowly bf16 none 0.05 0
slowly f16 none 0.02 0.2
# What was decided, and why.
# shellcheck disable=SC2086
"$sinter" explain "$root/models/bytes.sn" $narrow >"$work/explained"
says() { grep -q "$1" "$work/explained" && ok || bad "explain does not say '$1'"; }
says 'their shadows'
says 'precision  yes  product        h.\*.mlp x 8: bf16 x bf16, summed up in f32: forward'
says 'precision  yes  stored         h.\*.mlp.gelu x 4, 16.0 MiB: bf16 instead of f32'
says 'precision  no   stored         h.\*.norm_1.*: f32: a fold, or made of folds'
says 'precision  yes  shadow         embed'
"$work/narrow" --info | grep -q 'memory     shadows  *[1-9]' && ok || bad "--info shows no shadows"
finish
