#!/bin/sh
# The CUDA target on the emulated device: models train as on the CPU, bit for bit, with all checks on;
# any seed of the device's order gives the same; a run stopped on one device goes on on the other.
. "$(dirname "$0")/common.sh"
corpus
models="gpt2 llama mlp turned"
gpt2="$small -D vocab=256 -D ctx=32 -D head=4"
others="sm_80 sm_89 sm_100a sm_120" # beside sm_90a: two steps each
all=sm_80,sm_89,sm_90a,sm_100a,sm_120
"$sinter" build "$root/models/mlp.sn" --target sm_90a -o "$work/probe" >"$work/probe.log" 2>&1 || {
    if grep -q NVRTC "$work/probe.log"; then
        echo "skipped the emulated device: $(head -1 "$work/probe.log")"
        exit 77
    fi
    bad "no program for sm_90a: $(head -1 "$work/probe.log")"
}
# Two parameters that meet across each other's layout: gradients and optimizers are transposing maps.
cat >"$work/turned.sn" <<'end'
axis vocab = 256, dim = 48
axis batch, seq

model turned(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim], gate[dim -> vocab] ~ normal(0.3)
  table = embed * gate
  logits = embed[vocab: tokens] @[dim] table
  loss = mean[batch, seq](cross_entropy[vocab](logits, targets))
}

train {
  data      text("input.txt", split = 0.9)
  size      batch = 8, seq = 32
  micro     batch = 4
  optimizer adamw
  lr        constant(0.01)
  steps     20
}
end
on() { # DEVICE ARGS...: as train, on a device
    device=$1
    shift
    SINTER_DEVICE=$device train "$@"
}
for model in $models; do
    options="$small"
    [ $model = gpt2 ] && options=$gpt2
    [ $model = llama ] && options="$options -D vocab=256 -D kv=2 -D group=2 -D ff=96"
    [ $model = mlp ] && options="-D size.batch=8 -D micro=4"
    [ $model = turned ] && options=
    source=$root/models/$model.sn
    [ -f "$source" ] || source=$work/$model.sn
    # shellcheck disable=SC2086
    "$sinter" build "$source" $options --target cpu,$all -o "$work/$model" 2>"$work/warnings" ||
        bad "build $model"
    if [ -s "$work/warnings" ]; then bad "$model: $(head -1 "$work/warnings")"; else ok; fi # spills are warnings
    [ -x "$work/$model" ] || continue
    on cpu "$work/$model" "$work/$model-cpu" --steps 20
    on emu:sm_90a "$work/$model" "$work/$model-sm_90a" --steps 20
    same "$model on sm_90a" "$work/$model-cpu/last" "$work/$model-sm_90a/last"
    on cpu "$work/$model" "$work/$model-cpu2" --steps 2
    for target in $others; do
        on "emu:$target" "$work/$model" "$work/$model-$target" --steps 2
        same "$model on $target" "$work/$model-cpu2/last" "$work/$model-$target/last"
    done
done
# In bf16 and f16: products by cuBLASLt and by tensor cores of our own, attention taken apart. Products of one value are
# one in bf16, on the CPU too.
apart=$("$sinter" passes | awk '{print $1}' | grep -vxE 'recognise|flash' | paste -sd,)
for precision in bf16 f16; do
    merge=none
    [ $precision = bf16 ] && merge=all
    # shellcheck disable=SC2086
    "$sinter" build "$root/models/gpt2.sn" $gpt2 -D precision=$precision -D merge=$merge --passes="$apart" --target cpu,sm_80,sm_90a -o "$work/$precision" ||
        bad "build gpt2 in $precision"
    on cpu "$work/$precision" "$work/$precision-cpu" --steps 3
    for target in sm_80 sm_90a; do
        on emu:$target "$work/$precision" "$work/$precision-$target" --steps 3
        same "gpt2 in $precision on $target" "$work/$precision-cpu/last" "$work/$precision-$target/last"
    done
done
# Moments of 8 bits.
# shellcheck disable=SC2086
"$sinter" build "$root/models/gpt2.sn" $gpt2 -D precision.moments=i8 --target cpu,sm_90a -o "$work/eight" || bad "build gpt2 with moments of 8 bits"
on cpu "$work/eight" "$work/eight-cpu" --steps 3
on emu:sm_90a "$work/eight" "$work/eight-sm_90a" --steps 3
same "moments of 8 bits" "$work/eight-cpu/last" "$work/eight-sm_90a/last"
# In tf32: products by cuBLASLt, of operands rounded to 11 bits, all others as in f32; each loss agrees to 1e-4.
losses() { # LOG: of each step, a line each
    grep -o '"loss":[^,}]*' "$work/$1/metrics.jsonl" | cut -d: -f2 >"$work/$1.txt"
}
agree() { # WHAT LOG LOG BOUND
    paste "$work/$2.txt" "$work/$3.txt" | awk -v most="$4" '
        { d = $1 - $2; n++; bad += !($1 > 0 && $2 > 0 && d * d <= most * most * $1 * $1) }
        END { exit !(n >= 20 && bad == 0) }' && ok || bad "$1"
}
# shellcheck disable=SC2086
"$sinter" build "$root/models/gpt2.sn" $gpt2 -D precision=tf32 --target sm_90a -o "$work/tf32" || bad "build gpt2 in tf32"
on cpu "$work/gpt2" "$work/gpt2-losses" --steps 20 --log "$work/log-cpu"
on emu:sm_90a "$work/tf32" "$work/gpt2-tf32" --steps 20 --log "$work/log-tf32"
losses log-cpu
losses log-tf32
agree "losses in tf32" log-cpu log-tf32 1e-4
if cmp -s "$work/gpt2-losses/last" "$work/gpt2-tf32/last"; then bad "tf32 did nothing"; else ok; fi
# What the library computes beside its products is rounded its own way: each loss agrees to 1e-4.
# shellcheck disable=SC2086
"$sinter" build "$root/models/gpt2.sn" $gpt2 --target sm_90a --cublaslt-epilogues -o "$work/epilogues" ||
    bad "build with --cublaslt-epilogues"
on emu:sm_90a "$work/epilogues" "$work/gpt2-epilogues" --steps 20 --log "$work/log-epilogues"
losses log-epilogues
agree "losses with --cublaslt-epilogues" log-cpu log-epilogues 1e-4
if cmp -s "$work/gpt2-losses/last" "$work/gpt2-epilogues/last"; then bad "--cublaslt-epilogues did nothing"; else ok; fi
on cpu "$work/gpt2" "$work/gpt2-cpu4" --steps 4
for seed in 2 3; do
    SINTER_EMU_SEED=$seed on emu:sm_90a "$work/gpt2" "$work/gpt2-seed$seed" --steps 4
    same "gpt2 with seed $seed" "$work/gpt2-cpu4/last" "$work/gpt2-seed$seed/last"
done
on emu:sm_90a "$work/gpt2" "$work/half" --steps 4 --save-every 2 --keep 0
rm -f "$work"/half/step-00000004* "$work/half/last"
on cpu "$work/gpt2" "$work/half" --resume "$work/half" --steps 4
same "gpt2 begun emulated, ended on the CPU" "$work/gpt2-cpu4/last" "$work/half/last"
# Algorithms of products are measured, remembered, and give the same bits; a damaged file costs nothing else.
tuned() { # NAME ARGS...: four steps with a cache of this test's
    name=$1
    shift
    XDG_CACHE_HOME=$work/cache on emu:sm_90a "$work/gpt2" "$work/$name" --steps 4 "$@"
    same "gpt2, $name" "$work/gpt2-cpu4/last" "$work/$name/last"
}
info() { XDG_CACHE_HOME=$work/cache SINTER_DEVICE=emu:sm_90a "$work/gpt2" --info | grep '^algorithms '; }
lines() { grep -c "^cuBLASLt [0-9]*: .*: $2, " "$work/$1.log" || true; } # NAME SOURCE
info | grep -q "$work/cache/sinter/cublaslt-.*not there; --tune writes it" && ok || bad "--info before: $(info)"
tuned untuned --profile
products=$(lines untuned "first choice")
tuned measured --tune
info | grep -q "$work/cache/sinter/cublaslt-.* bytes)" && ok || bad "--info after: $(info)"
grep -q "^measured algorithms: $work/cache/sinter/cublaslt-" "$work/measured.log" && ok || bad "--tune names no file"
tuned remembered --profile
[ "$products" -gt 5 ] && [ "$(lines measured measured)" = "$products" ] &&
    [ "$(lines remembered cache)" = "$products" ] && ok || bad "$products products: $(lines measured measured) measured, $(lines remembered cache) of the cache"
for file in "$work"/cache/sinter/cublaslt-*; do
    head -c 1000 "$file" >"$work/part" && cp "$work/part" "$file"
done
tuned cut --profile
grep -q "note: .*cublaslt-.*: 1 of its lines are damaged and ignored" "$work/cut.log" && ok || bad "a cut file: $(head -1 "$work/cut.log")"
[ "$(($(lines cut cache) + $(lines cut "first choice")))" = "$products" ] && ok || bad "a cut file: not all products are listed"
"$work/gpt2" --device cpu --data "$work/text" --steps 1 --tune >"$work/out" 2>&1 &&
    grep -q "this device has nothing to choose" "$work/out" && ok || bad "--tune on the CPU: $(tail -1 "$work/out")"
"$work/gpt2" --help | grep -q -e '--tune' && ok || bad "--help has no --tune"
# A fault is an error of the machine with a line that says what and where; the names of devices are checked.
code=0
SINTER_DEVICE=emu:sm_70 "$work/gpt2" --data "$work/text" >"$work/out" 2>&1 || code=$?
[ $code = 2 ] && grep -q "no device 'emu:sm_70'" "$work/out" && ok || bad "emu:sm_70: exit $code"
code=0
"$work/gpt2" --device gpu7 --data "$work/text" >"$work/out" 2>&1 || code=$?
[ $code = 2 ] && grep -q "no device 'gpu7'" "$work/out" && ok || bad "--device gpu7: exit $code"
# A run that diverges names the op that stored the first NaN, as the slow search for it does: of a value
# that a parameter made after some steps, and of a gradient while the loss is still a number.
seq 1 20000 >"$work/digits" # the step depends on the text
diverges() { # MODEL WHAT STEP: a model that $work/nan.sn is, and what ends it after which step
    "$sinter" build "$work/nan.sn" --target cpu,sm_90a -o "$work/nan" || bad "build $1"
    SINTER_FIND_NAN=on "$work/nan" --device emu:sm_90a --data "$work/digits" >"$work/out" 2>&1 || true
    first=$(sed -n "s/^$1: error: \('.*' (line [0-9]*) stored the first NaN, at element .*\)/\1/p" "$work/out")
    [ -n "$first" ] || bad "$1: $(tail -1 "$work/out")"
    end="$1: error: the $2 is nan in step $3: training has diverged; the step changed nothing, nothing has been saved; in step $3 $first"
    for way in SEED=1 EMU_SEED=2 EMU_SEED=3 CUDA_GRAPHS=off SANITIZE=on; do
        code=0
        env SINTER_SANITIZE=off "SINTER_$way" "$work/nan" --device emu:sm_90a --data "$work/digits" \
            >"$work/out" 2>&1 || code=$?
        [ $code = 1 ] && grep -qxF "$end" "$work/out" && ok || bad "$1 with $way: $code, $(tail -1 "$work/out")"
    done
}
cat >"$work/nan.sn" <<'MODEL'
axis vocab = 256, dim = 24
axis batch, seq
model nan(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.5)
  param gate[dim] ~ 0.02
  x = embed[vocab: tokens]
  x = x * log(gate)
  output logits = x @[dim] embed
  loss = mean[batch, seq](cross_entropy[vocab](logits, targets))
}
train {
  data      text("input.txt", split = 0.9)
  size      batch = 4, seq = 8
  micro     batch = 2
  optimizer sgd(momentum = 0.9)
  clip      1
  lr        constant(2)
  steps     50
}
MODEL
diverges nan loss 11
sed -i 's/gate\[dim\] ~ 0.02/gate[dim] ~ 0/; s/log(gate)/(1 + sqrt(gate * gate))/' "$work/nan.sn"
diverges nan "norm of the gradient" 1
if [ "$long" = 1 ]; then
    # A whole step of GPT-2 124M with all checks on. Two letters of the text are one id.
    "$sinter" build "$root/models/gpt2.sn" -D size.seq=64 -D size.batch=1 -D micro=1 --target cpu,sm_90a -o "$work/whole"
    on cpu "$work/whole" "$work/whole-cpu" --steps 1 --set data.kind=tokens
    on emu:sm_90a "$work/whole" "$work/whole-emu" --steps 1 --set data.kind=tokens
    same "GPT-2 124M, one step" "$work/whole-cpu/last" "$work/whole-emu/last"
fi
"$work/gpt2" --info >"$work/info"
grep -q 'runs on *cpu' "$work/info" && grep -q 'runs on *cuda: .*sm_90a' "$work/info" && ok || bad "--info names no devices"
finish
