#!/bin/sh
# The CUDA target on the emulated device: models train as on the CPU, bit for bit, with all checks on;
# any seed of the device's order gives the same; a run stopped on one device goes on on the other.
. "$(dirname "$0")/common.sh"
corpus
models="gpt2 llama mlp"
targets=sm_90a
steps=4
[ "$long" = 1 ] && models="gpt2 llama mlp bytes vit convnet" && targets=sm_80,sm_89,sm_90a,sm_100a,sm_120 && steps=20
"$sinter" build "$root/models/mlp.sn" --target sm_90a -o "$work/probe" >"$work/probe.log" 2>&1 || {
    if grep -q NVRTC "$work/probe.log"; then
        echo "skipped the emulated device: $(head -1 "$work/probe.log")"
        exit 77
    fi
    bad "no program for sm_90a: $(head -1 "$work/probe.log")"
}
on() { # DEVICE ARGS...: as train, on a device
    device=$1
    shift
    SINTER_DEVICE=$device train "$@"
}
for model in $models; do
    options="-D layer=2 -D dim=64 -D size.seq=32 -D size.batch=8 -D micro=4"
    [ $model = gpt2 ] && options="$options -D vocab=256 -D ctx=32 -D head=4"
    [ $model = llama ] && options="$options -D vocab=256 -D kv=2 -D group=2 -D ff=96"
    [ $model = mlp ] && options="-D size.batch=8 -D micro=4"
    # shellcheck disable=SC2086
    "$sinter" build "$root/models/$model.sn" $options --target cpu,$targets -o "$work/$model" || bad "build $model"
    [ -x "$work/$model" ] || continue
    on cpu "$work/$model" "$work/$model-cpu" --steps $steps
    for target in $(echo $targets | tr , ' '); do
        on "emu:$target" "$work/$model" "$work/$model-$target" --steps $steps
        same "$model on $target" "$work/$model-cpu/last" "$work/$model-$target/last"
    done
done
for seed in 2 3; do
    SINTER_EMU_SEED=$seed on emu:sm_90a "$work/gpt2" "$work/gpt2-seed$seed" --steps $steps
    same "gpt2 with seed $seed" "$work/gpt2-cpu/last" "$work/gpt2-seed$seed/last"
done
on emu:sm_90a "$work/gpt2" "$work/half" --steps $steps --save-every 2 --keep 0
rm -f "$work"/half/step-00000004* "$work/half/last"
on cpu "$work/gpt2" "$work/half" --resume "$work/half" --steps $steps
same "gpt2 begun emulated, ended on the CPU" "$work/gpt2-cpu/last" "$work/half/last"
"$work/gpt2" --info >"$work/info"
grep -q 'runs on *cpu' "$work/info" && grep -q 'runs on *cuda: sm_90a' "$work/info" && ok || bad "--info names no devices"
finish
