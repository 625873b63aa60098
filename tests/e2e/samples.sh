#!/bin/sh
# A state that keeps single samples holds those of its step, on every device; more than one micro-batch is
# refused. A product that is also generate's, with another outermost extent, is one kernel with two grids.
. "$(dirname "$0")/common.sh"
corpus
plan='train {
  data      text("input.txt", split = 0.9)
  size      batch = 4, seq = 6
  optimizer sgd
  lr        constant(0.1)
  steps     3
}'
cat >"$work/seen.sn" <<MODEL
axis vocab = 256, dim = 8
axis batch, seq, lane = batch
model seen(tokens: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.3)
  state seen[lane, seq, dim] ~ 0
  h = tanh(embed[vocab: tokens])
  seen = h[batch -> lane]
  loss = mean[batch, seq, dim](h^2)
}
$plan
MODEL
cat >"$work/grid.sn" <<MODEL
axis vocab = 256, dim = 8, part = 4, slot = 3
axis batch, seq
model grid(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.3)
  param gate[vocab, slot: dim -> part] ~ normal(0.3)
  output h = embed[vocab: tokens] @[dim] gate[vocab: targets]
  loss = mean[batch, seq, slot, part](h^2)
}
$plan
MODEL
sed 's/lane = batch/lane = 4/' "$work/seen.sn" >"$work/kept.sn"
"$sinter" build "$work/kept.sn" -D micro=2 -o "$work/exe" 2>"$work/log" && bad "built in micro-batches" || ok
grep -q "kept.sn:7:.*: one pass must hold the batch" "$work/log" && [ "$(grep -c "error:" "$work/log")" = 1 ] && ok ||
    bad "micro-batches: $(grep "error:" "$work/log")"
"$sinter" explain "$work/seen.sn" >"$work/log" 2>&1
grep -q "microbatch  *yes  keep  *seen" "$work/log" && ok || bad "explain: $(grep microbatch "$work/log")"
"$sinter" build "$work/seen.sn" -o "$work/exe" || bad "build for the CPU"
rc=0
"$work/exe" --data "$work/text" --accum 2 >"$work/log" 2>&1 || rc=$?
[ $rc = 2 ] && grep -q "micro-batch" "$work/log" && ok || bad "--accum 2: $rc, $(tail -1 "$work/log")"
# 'position' would leave generate one row, and so no product of that shape
whole=$("$sinter" passes | awk '$1 != "position" {printf "%s%s", s, $1; s=","}')
for model in seen grid; do
    "$sinter" build "$work/$model.sn" --passes="$whole" --target cpu,sm_90a -o "$work/$model" >"$work/log" 2>&1 || {
        grep -q NVRTC "$work/log" || bad "build $model: $(head -1 "$work/log")"
        echo "skipped $model on the emulated device: $(head -1 "$work/log")"
        continue
    }
    train "$work/$model" "$work/$model-cpu" --device cpu
    train "$work/$model" "$work/$model-emulated" --device emu:sm_90a
    same "$model on the emulated device" "$work/$model-cpu/last" "$work/$model-emulated/last"
done
"$sinter" dump "$work/grid.sn" --passes="$whole" --target sm_90a --cuda >"$work/log"
grep -q "generate_h.*<<<(6, 1, 1)" "$work/log" && grep -q "micro_h.*<<<(24, 1, 1)" "$work/log" && ok || bad "one grid: $(grep "_h.*<<<" "$work/log")"
finish
