#!/bin/sh
# Extents of 0 and 1 train, save and resume, fused or not: an axis without elements adds nothing.
. "$(dirname "$0")/common.sh"
corpus
cat >"$work/edges.sn" <<'MODEL'
axis vocab = 256, dim = 4, extra = 0, one = 1
axis batch, seq
model edges(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.5)
  param in[dim -> extra] ~ normal(0.1)
  param out[extra -> dim] ~ normal(0.1)
  param scale[one, dim] ~ 1
  x = embed[vocab: tokens]
  y = tanh(x @[dim] in)
  x = x + y @[extra] out + sum[extra](y * y)
  output logits = x * sum[one](scale) @[dim] embed
  loss = mean[batch, seq](cross_entropy[vocab](logits, targets))
}
train {
  data      text("input.txt", split = 0.9)
  size      batch = 4, seq = 8
  micro     batch = 2
  optimizer adamw()
  lr        0.01
}
MODEL
for sizes in "" "-D extra=1" "-D dim=1 -D size.seq=1 -D size.batch=1 -D micro=1" "-D one=0"; do
    # shellcheck disable=SC2086
    "$sinter" build "$work/edges.sn" $sizes -o "$work/exe" || { bad "cannot build with '$sizes'"; continue; }
    # shellcheck disable=SC2086
    "$sinter" build "$work/edges.sn" $sizes --no-fuse -o "$work/plain" || bad "cannot build unfused with '$sizes'"
    rm -rf "$work/whole" "$work/half" "$work/unfused"
    train "$work/exe" "$work/whole" --steps 6
    train "$work/plain" "$work/unfused" --steps 6
    train "$work/exe" "$work/half" --steps 3
    "$work/exe" --data "$work/text" --eval-batches 2 --resume "$work/half" --steps 6 >"$work/log" 2>&1 ||
        bad "resuming with '$sizes': $(tail -1 "$work/log")"
    same "unfused with '$sizes'" "$work/whole/last" "$work/unfused/last"
    same "resumed with '$sizes'" "$work/whole/last" "$work/half/step-00000006.safetensors"
done
# tensors: read ahead over steps and evaluations, stopped and resumed
cat >"$work/tensors.sn" <<'MODEL'
axis batch, row = 40, col = 50, class = 256, hid = 4
model tensors(image: real[batch, row, col], label: class[batch]) {
  param w[row, col -> hid] ~ normal(0.001)
  param u[hid -> class] ~ normal(0.1)
  loss = mean[batch](cross_entropy[class](tanh(image @[row, col] w) @[hid] u, label))
}
train {
  data      tensors("data", split = 0.8)
  size      batch = 8
  micro     batch = 2
  optimizer adamw
  lr        constant(1e-3)
}
MODEL
{
    header='{"label":{"dtype":"U8","shape":[100],"data_offsets":[0,100]},"image":{"dtype":"U8","shape":[100,40,50],"data_offsets":[100,200100]}}'
    printf '%b' "\\0$(printf '%03o' ${#header})\\0\\0\\0\\0\\0\\0\\0"
    printf '%s' "$header"
    head -c 200100 "$work/text"
} >"$work/data"
"$sinter" build "$work/tensors.sn" -o "$work/images"
images() { "$work/images" --data "$work/data" --eval-every 3 --eval-batches 4 "$@" >"$work/log" 2>&1 || bad "$*: $(tail -1 "$work/log")"; }
images --steps 12 --out "$work/one"
images --steps 5 --out "$work/two"
images --steps 12 --resume "$work/two"
same "tensors resumed" "$work/one/step-00000012.safetensors" "$work/two/step-00000012.safetensors"
# more elements than an i32 counts: refused where two indices are computed, not read at a wrong place
cat >"$work/wide.ir" <<'IR'
axis a = 70000
axis b = 70000
axis n = 5
axis c = 350000
func f {
  %0 = input : f32[a=70000, b=70000] {name=x}
  %1 = input : i32[n=5] {name=i, range=a}
  %2 = gather %0, %1 : f32[n=5, b=70000] {axis=a}
  %3 = merge %2 : f32[c=350000] {from=(n, b), to=c}
  %4 = abs %3 : f32[c=350000]
  output y = %4
}
IR
rc=0
"$sinter" dump "$work/wide.ir" --kernels >"$work/log" 2>&1 || rc=$?
[ "$rc" = 1 ] && grep -q "two computed indices" "$work/log" && ok || bad "wide index: $rc: $(tail -1 "$work/log")"
sed 's/350000/3500/g; s/70000/700/g' "$work/wide.ir" >"$work/narrow.ir"
"$sinter" dump "$work/narrow.ir" --kernels >"$work/log" 2>&1 && ok || bad "narrow index: $(tail -1 "$work/log")"
finish
