#!/bin/sh
# A step whose loss, gradient norm or rate is no finite number changes no byte of any state, ends the run
# with status 1, saves the state before it and removes nothing. For every optimizer, with and without 'clip',
# in the first and in a later micro-batch.
. "$(dirname "$0")/common.sh"
one='\000\000\200\077'
zero='\000\000\000\000'
nan='\000\000\300\177'
huge='\312\362\111\161' # 1e30: its square is infinite
# data FILE VALUE SAMPLE: 12 samples of two ones, and VALUE in one of them (0 … 11)
data() {
    header='{"x":{"dtype":"F32","shape":[12,2],"data_offsets":[0,96]}}'
    {
        # shellcheck disable=SC2059
        printf "\\$(printf %o ${#header})\000\000\000\000\000\000\000$header"
        for i in 0 1 2 3 4 5 6 7 8 9 10 11; do
            # shellcheck disable=SC2059
            if [ $i = "$3" ]; then printf "$2$one"; else printf "$one$one"; fi
        done
    } >"$1"
}
# model OPTIMIZER CLIP LOSS RATE: states of all kinds: parameters, moments, the model's own
model() {
    cat <<MODEL
axis dim = 2, out = 2
axis batch
fn late_lr(peak) = peak / (4 - step)
model m(x: real[batch, dim]) {
  param w[dim -> out] ~ normal(1)
  state seen[out] ~ 1
  y = x @[dim] w
  seen = 0.9 * seen + 0.1 * mean[batch](y)
  loss = mean[batch, out]($3)
}
train {
  data      tensors("x.st", shuffle = false)
  size      batch = 2
  micro     batch = 1
  optimizer $1
  lr        $4
  $2
}
MODEL
}
# The bad sample is in step 4: the first (6) or the second (7) micro-batch of it.
# poisoned LABEL WHAT DATA: the run ends with WHAT; its state is that of a healthy step 3
poisoned() {
    rm -rf "$work/all" "$work/few"
    for dir in all few; do
        every=1
        [ $dir = few ] && every=2
        rc=0
        "$work/exe" --data "$3" --steps 6 --save-every $every --keep 1 --out "$work/$dir" >"$work/$dir.log" 2>&1 || rc=$?
        [ $rc = 1 ] && grep -q "error: the $2 is .* in step 4: .*the step changed nothing, the last checkpoint is of step 3" \
            "$work/$dir.log" && ok || bad "$1: $rc: $(tail -1 "$work/$dir.log")"
    done
    # saved in passing before the bad step, and at the end because of it; what was there is still there
    same "$1" "$work/all/step-00000003.safetensors" "$work/few/step-00000003.safetensors"
    [ "$(ls "$work/few")" = "step-00000002.safetensors
step-00000003.safetensors" ] && ok || bad "$1: there is $(ls "$work/few" | tr '\n' ' ')"
}
build() { model "$@" >"$work/m.sn" && "$sinter" build "$work/m.sn" -o "$work/exe" || bad "cannot build $*"; }

for optimizer in sgd "sgd(momentum = 0.9)" adamw lion muon adafactor; do
    for clip in "" "clip 1"; do
        build "$optimizer" "$clip" "sqrt((y * y) * (y * y))" "constant(0.01)"
        for sample in 6 7; do
            data "$work/x.st" "$nan" $sample
            poisoned "$optimizer $clip, loss" loss "$work/x.st"
            data "$work/x.st" "$huge" $sample
            poisoned "$optimizer $clip, infinite" loss "$work/x.st"
        done
    done
    # finite loss, NaN gradient: the slope of sqrt at 0 is infinite, that of the square 0
    build "$optimizer" "" "sqrt(x[dim -> out]^2 * w[dim: 0]^2)" "constant(0.01)"
    for sample in 6 7; do
        data "$work/x.st" "$zero" $sample
        poisoned "$optimizer, gradient" "norm of the gradient" "$work/x.st"
    done
done
build lion "" "y^2" "late(0.01)"
data "$work/x.st" "$one" 0
poisoned "rate" "learning rate" "$work/x.st"
# every number is finite, but for the square of the gradient
build lion "" "y" "constant(0.01)"
data "$work/x.st" "$huge" 7
poisoned "norm" "norm of the gradient" "$work/x.st"
# the bad step is the last one: no exit with 0, nothing saved under its number
build adamw "" "sqrt(x[dim -> out]^2 * w[dim: 0]^2)" "constant(0.01)"
data "$work/x.st" "$zero" 7
rc=0
"$work/exe" --data "$work/x.st" --steps 4 --out "$work/last" >"$work/log" 2>&1 || rc=$?
[ $rc = 1 ] && [ ! -e "$work/last/step-00000004.safetensors" ] && ok || bad "the last step: $rc: $(tail -1 "$work/log")"
# without --out it says so
rc=0
"$work/exe" --data "$work/x.st" --steps 4 >"$work/log" 2>&1 || rc=$?
[ $rc = 1 ] && grep -q "nothing has been saved" "$work/log" && ok || bad "without --out: $rc: $(tail -1 "$work/log")"
# an update that breaks off in its middle leaves some states new and some old: they are not saved
model "sgd" "" "y^2" "constant(0.01)" | sed 's/^  optimizer.*/  optimizer sgd\n  optimizer late : v/
    s/^  state/  param v[out] ~ 1\n  state/; s/x @\[dim\] w$/x @[dim] w + v/
    s/^fn late_lr.*/block late(w[..r], g[..r], lr) { return w - lr * g * sqrt(2.5 - step) }/' >"$work/m.sn"
"$sinter" build "$work/m.sn" -o "$work/exe" || bad "cannot build the late optimizer"
data "$work/x.st" "$one" 0
"$work/exe" --data "$work/x.st" --steps 2 --out "$work/two" >"$work/log" 2>&1 || bad "two steps: $(tail -1 "$work/log")"
rc=0
SINTER_FIND_NAN=on "$work/exe" --data "$work/x.st" --steps 4 --out "$work/torn" >"$work/log" 2>&1 || rc=$?
[ $rc = 1 ] && grep -q "first NaN" "$work/log" && [ -z "$(ls "$work/torn")" ] && ok ||
    bad "torn: $rc, $(ls "$work/torn"): $(tail -1 "$work/log")"
# the emulated GPU: the same bytes; what was started before the bad step is known may change the state, so
# nothing is saved then
if model adamw "" "sqrt(x[dim -> out]^2 * w[dim: 0]^2)" "constant(0.01)" >"$work/m.sn" &&
    "$sinter" build "$work/m.sn" --target cpu,sm_90a -o "$work/exe" >"$work/probe.log" 2>&1; then
    data "$work/x.st" "$zero" 7
    poisoned "the CPU of both" "norm of the gradient" "$work/x.st"
    rm -rf "$work/ahead"
    mv "$work/few/step-00000003.safetensors" "$work/cpu"
    rc=0
    SINTER_DEVICE=emu:sm_90a "$work/exe" --data "$work/x.st" --steps 6 --save-every 1 --keep 2 \
        --out "$work/gpu" >"$work/log" 2>&1 || rc=$?
    [ $rc = 1 ] && grep -q "the norm of the gradient is .* in step 4: .*of step 3" "$work/log" && ok ||
        bad "emulated: $rc: $(tail -1 "$work/log")"
    same "emulated" "$work/cpu" "$work/gpu/step-00000003.safetensors"
    rc=0
    SINTER_DEVICE=emu:sm_90a "$work/exe" --data "$work/x.st" --steps 6 \
        --out "$work/ahead" >"$work/log" 2>&1 || rc=$?
    [ $rc = 1 ] && grep -q "in step 4: .*nothing has been saved" "$work/log" && ! ls "$work"/ahead/step-* >/dev/null 2>&1 && ok ||
        bad "emulated, ahead: $rc: $(tail -1 "$work/log")"
elif grep -q NVRTC "$work/probe.log"; then
    echo "skipped the emulated device: $(head -1 "$work/probe.log")"
else
    bad "no program for sm_90a: $(head -1 "$work/probe.log")"
fi
finish
