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
# functions as arguments, outer forms and argmax, as a user has them: the same bytes as direct calls give, and an
# accuracy that goes from none to all on a text of period two
i=0
while [ $i -lt 400 ]; do printf ab; i=$((i + 1)); done >"$work/ab"
for form in given direct; do
    if [ $form = given ]; then
        head='block mlp(x, act = gelu, norm = layernorm) {' use='act(norm[dim](x) as pre' call='mlp(x, act = steep, norm = rmsnorm)'
        table='bias +[] shift'
    else
        head='block mlp(x) {' use='steep(rmsnorm[dim](x) as pre' call='mlp(x)'
        table='bias @[] (1 + 0 * shift) + shift'
    fi
    cat >"$work/$form.sn" <<MODEL
axis vocab = 256, next = vocab, dim = 8, ff = 16, two = 2, batch = 8, seq = 10
fn steep(x, slope = 2) = tanh(slope * x)
$head
  param up[dim -> ff], down[ff -> dim] ~ normal(0.3)
  return $use @[dim] up) @[ff] down
}
model m(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(1), head[dim -> vocab] ~ 0, bias[dim] ~ normal(0.1), shift[two] ~ 0.1
  x = embed[vocab: tokens]
  x = x + $call
  table = $table
  logits = (x + table[two: iota[seq] % 2]) @[dim] head
  loss = mean[batch, seq](cross_entropy[vocab](logits, targets))
  metric accuracy = mean[batch, seq](real(argmax[vocab](logits) == targets))
}
train {
  data      text("input.txt")
  optimizer adamw
  lr        constant(0.05)
  steps     8
}
MODEL
    "$sinter" build "$work/$form.sn" -o "$work/form" 2>"$work/log" || bad "$form: $(head -1 "$work/log")"
    "$work/form" --data "$work/ab" --out "$work/$form" --log "$work/$form.log" >"$work/log" 2>&1 || bad "$form: $(tail -1 "$work/log")"
    grep -o '"accuracy":[^,]*' "$work/$form.log/metrics.jsonl" | sed -n '1p;8p' | tr '\n' ' ' >"$work/accuracy"
    [ "$(cat "$work/accuracy")" = '"accuracy":0 "accuracy":1 ' ] && ok || bad "$form: $(cat "$work/accuracy")"
done
same "functions given and called" "$work/given/step-00000008.safetensors" "$work/direct/step-00000008.safetensors"
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
