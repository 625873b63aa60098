#!/bin/sh
# The loss scale of a run: what is told of skipped steps, that checkpoints keep it through kill -9, that threads,
# instruction sets and devices do not change it, and how a run ends that skips for ever. The rule itself is tested
# step by step in tests/unit/test_scale.c.
. "$(dirname "$0")/common.sh"
corpus
tiny="-D layer=1 -D dim=16 -D head=2 -D vocab=256 -D size.seq=8 -D size.batch=4 -D micro=2"
# build NAME LINE OPTIONS...: bytes with that line in its plan
build() {
    name=$1
    sed "s/^train {/train {\n  $2/" "$root/models/bytes.sn" >"$work/$name.sn"
    shift 2
    # shellcheck disable=SC2086
    "$sinter" build "$work/$name.sn" -o "$work/$name" $tiny "$@" >"$work/log" 2>&1 || bad "$name: $(tail -2 "$work/log")"
}
has() { grep -q -- "$2" "$1" && ok || bad "no '$2' in $(tail -5 "$1")"; }

# ---- a scale at the end of f32: gradients overflow by themselves, now and then
line='precision loss_scale = dynamic(init = 1e38, every = 3, hysteresis = 2)'
build moves "$line"
steps=24
train "$work/moves" "$work/whole" --steps $steps --save-every 5 --log "$work/log.whole" --print-every 1
has "$work/whole.log" '^step 1  skipped, scale 1e+38$'
has "$work/whole.log" '^step 2  skipped, scale 5e+37$'
has "$work/whole.log" '^step 2/24 .* lr [0-9.e-]*  scale 5e+37 '
skips=$(grep -c skipped "$work/whole.log")
{ [ "$skips" -gt 3 ] && [ "$skips" -lt $steps ]; } && ok || bad "$skips of $steps steps were skipped"
[ "$(grep -c '"loss_scale":[0-9.e+]*[,}]' "$work/log.whole/metrics.jsonl")" = $steps ] && ok || bad "scales in the log"

# ---- interrupted
i=0
while [ $i -lt 3 ]; do
    resume=
    ls "$work"/killed/step-*.safetensors >/dev/null 2>&1 && resume="--resume $work/killed"
    # shellcheck disable=SC2086
    "$work/moves" --data "$work/text" --out "$work/killed" $resume --steps $steps --save-every 1 --eval-batches 1 \
        >"$work/killed.log" 2>&1 &
    pid=$!
    at=$((i * 8 + 4))
    when ls "$work/killed/step-000000$(printf %02d $at).safetensors"
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    i=$((i + 1))
done
train "$work/moves" "$work/killed" --resume "$work/killed" --steps $steps --save-every 5
same "resumed after kill -9" "$work/whole/last" "$work/killed/last"

# ---- the same bits everywhere
train "$work/moves" "$work/threads" --steps $steps --threads 3
same "threads" "$work/whole/last" "$work/threads/last"
for cpu in x86-64-v3 x86-64-v4; do
    build $cpu "$line" --cpu $cpu
    "$work/$cpu" --check-cpu >/dev/null 2>&1 || continue
    train "$work/$cpu" "$work/$cpu.out" --steps $steps
    same "$cpu" "$work/whole/last" "$work/$cpu.out/last"
done
build unfused "$line" --no-fuse
train "$work/unfused" "$work/unfused.out" --steps $steps
same "not fused" "$work/whole/last" "$work/unfused.out/last"
# shellcheck disable=SC2086
if "$sinter" build "$work/moves.sn" -o "$work/cuda" $tiny --target cpu,sm_90a >"$work/probe.log" 2>&1; then
    train "$work/cuda" "$work/cuda.out" --device emu:sm_90a --steps 5
    train "$work/moves" "$work/five" --steps 5
    same "emulated device" "$work/five/last" "$work/cuda.out/last"
    has "$work/cuda.out.log" '^step 2  skipped, scale 5e+37$'
else
    echo "skipped the emulated device: $(head -1 "$work/probe.log")"
fi

# ---- a scale that does not move skips as well; the norm's end is no scale's fault where there is none
build fixed 'precision loss_scale = 2e38'
train "$work/fixed" "$work/fixed.out" --steps 3 --print-every 1
has "$work/fixed.out.log" '^step 1  skipped, scale 2e+38$'
build given "$line" -D precision.loss_scale=2e38
train "$work/given" "$work/given.out" --steps 3 --print-every 1
same "a scale given by -D" "$work/fixed.out/last" "$work/given.out/last"

# ---- for ever
build ever 'precision loss_scale = dynamic(init = 3e38, backoff = 0.9999)'
code=0
"$work/ever" --data "$work/text" --out "$work/ever.out" --steps 200 >"$work/ever.log" 2>&1 || code=$?
[ $code = 1 ] && ok || bad "exit $code of a run that skips for ever"
has "$work/ever.log" 'in step 100, number 100 in a row that was skipped: training has diverged'
has "$work/ever.log" 'the last checkpoint is of step 100'
[ "$(grep -c '  skipped, ' "$work/ever.log")" = 100 ] && ok || bad "lines of skipped steps"

# ---- a rate that is no number is no reason to skip
build rate 'precision loss_scale = 1024'
{ sed 's/^  lr .*/  lr late(peak = 0.001)/' "$work/rate.sn" && echo 'fn late_lr(peak) = peak / (3 - step)'; } >"$work/late.sn"
# shellcheck disable=SC2086
"$sinter" build "$work/late.sn" -o "$work/late" $tiny >"$work/log" 2>&1 || bad "late: $(tail -2 "$work/log")"
code=0
"$work/late" --data "$work/text" --steps 5 >"$work/late.log" 2>&1 || code=$?
[ $code = 1 ] && ok || bad "exit $code of a run whose rate is infinite"
has "$work/late.log" 'the learning rate is inf in step 3: training has diverged; the step changed nothing'

# ---- a checkpoint of a run with another scale, or none, goes on: all steps so far count as taken
build without ''
build power 'precision loss_scale = dynamic(init = 1024, every = 3)'
train "$work/without" "$work/none" --steps 12
train "$work/without" "$work/none24" --steps 24
cp -r "$work/none" "$work/begun"
train "$work/power" "$work/begun" --resume "$work/begun" --steps 24 --print-every 1
has "$work/begun.log" '^step 14/24 .* scale 1024 '
has "$work/begun.log" '^step 15/24 .* scale 2048 '
cp -r "$work/begun" "$work/ended"
train "$work/without" "$work/ended" --resume "$work/ended" --steps 30
train "$work/without" "$work/none30" --resume "$work/none24" --steps 30
same "a scale for some of the steps" "$work/none30/last" "$work/ended/last"
cp -r "$work/whole" "$work/other"
train "$work/power" "$work/other" --resume "$work/other" --steps 26 --print-every 1
has "$work/other.log" '^step 26/26 .* scale [0-9.]*e+3[78] '

# ---- a parameter may be called so: it is no state of the scale, and a file must have it
sed 's/ as norm$/ as loss_scale/' "$work/power.sn" >"$work/named.sn"
# shellcheck disable=SC2086
"$sinter" build "$work/named.sn" -o "$work/named" $tiny >"$work/log" 2>&1 || bad "named: $(tail -2 "$work/log")"
cp -r "$work/none" "$work/unnamed"
code=0
"$work/named" --data "$work/text" --out "$work/unnamed" --resume "$work/unnamed" --steps 24 >"$work/named.log" 2>&1 || code=$?
[ $code = 1 ] && ok || bad "exit $code of a file without a parameter"
has "$work/named.log" "'loss_scale\.[a-z]*'"
finish
