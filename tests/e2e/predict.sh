#!/bin/sh
# --predict writes what a model gives for all of its data, in order: the values that an evaluation computes,
# of samples that exist, on any device; only inputs that are needed are asked for; nothing half-written
# gets the file's name. --eval evaluates all of the data.
. "$(dirname "$0")/common.sh"
corpus
expect() { # STATUS TEXT COMMAND...
    want=$1 text=$2 rc=0
    shift 2
    "$@" >"$work/said" 2>&1 || rc=$?
    [ $rc = "$want" ] && grep -qF -- "$text" "$work/said" && ok || bad "$*: $rc, not $want with '$text': $(tail -2 "$work/said")"
}
# tensors FILE HEADER: a safetensors file whose data is the standard input
tensors() { { printf '%b' "\\0$(printf '%03o' ${#2})\\0\\0\\0\\0\\0\\0\\0" && printf '%s' "$2" && cat; } >"$1"; }
# value FILE TENSOR FORMAT INDEX: one element, as od prints it
value() {
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    begin=$(head -c $((n + 8)) "$1" | tail -c "$n" | sed "s/.*\"$2\":{[^}]*\"data_offsets\":\[\([0-9]*\),.*/\1/")
    size=$(echo "$3" | tr -dc 0-9)
    od -An -t"$3" -j $((n + 8 + begin + $4 * size)) -N "$size" "$1" | tr -d ' '
}
cat >"$work/model.sn" <<'MODEL'
axis batch, feat = 4, class = 3
model small(x: real[batch, feat], number: int[batch], label: class[batch]) {
  param w[feat -> class] ~ normal(0.5)
  param b[class] ~ 0
  z = dropout(x, 0.5) @[feat] w + b
  turned = w @[feat] x
  hi = floor(z * 4096)
  output score = z
  output high = hi
  output low = floor((z * 4096 - hi) * 4096)
  output across = floor(turned * 4096)
  output kept = number + 1
  output sure = z > 0
  output weight = sum[feat, class](w^2)
  output sum = sum[batch](x)
  loss = mean[batch](cross_entropy[class](z, label))
  metric high_6 = sum[batch, class](where(number == 6, hi * real(iota[class] == 2), 0))
  metric low_6 = sum[batch, class](where(number == 6, floor((z * 4096 - hi) * 4096) * real(iota[class] == 2), 0))
}
train {
  data      tensors("data", split = 0.3)
  size      batch = 8
  micro     batch = 4
  optimizer sgd
  lr        constant(0.1)
  steps     3
}
MODEL
shapes='"x":{"dtype":"I8","shape":[10,4],"data_offsets":[0,40]},"number":{"dtype":"U8","shape":[10],"data_offsets":[40,50]}'
values() { printf '%b' '\01\02\03\04\00\02\01\05\07\0377\03\02\01\01\0376\04\05\02\0200\01\02\07\01\03\011\01\03\02\01\0377\05\06\01\07\03\0376\02\02\02\01' && printf '\000\001\002\003\004\005\006\007\010\011'; }
{ values && printf '\000\001\002\000\001\002\000\001\002\000'; } | tensors "$work/data" "{$shapes,\"label\":{\"dtype\":\"U8\",\"shape\":[10],\"data_offsets\":[50,60]}}"
values | tensors "$work/unknown" "{$shapes}" # no labels
"$sinter" build "$work/model.sn" -o "$work/exe" || bad "build"
exe=$work/exe
"$exe" --data "$work/data" --out "$work/run" --log "$work/log" >"$work/said" 2>&1 || bad "training: $(tail -1 "$work/said")"
expect 0 "10 samples: across F32[10, 3], high F32[10, 3]" "$exe" --resume "$work/run" --data "$work/unknown" --predict "$work/out"
head -c 2000 "$work/out" >"$work/header"
for part in '"score":{"dtype":"F32","shape":[10,3]' '"across":{"dtype":"F32","shape":[10,3]' '"kept":{"dtype":"I32","shape":[10]' \
    '"sure":{"dtype":"BOOL","shape":[10,3]' '"weight":{"dtype":"F32","shape":[]' '"sum":{"dtype":"F32","shape":[4]' \
    '"axes.score":"batch, class"' '"axes.across":"batch, class"' '"axes.weight":""' '"sinter.step":"3"' '"sinter.model":"small"' \
    "\"sinter.checkpoint\":\"$work/run/step-00000003.safetensors\""; do
    grep -qaF -- "$part" "$work/header" && ok || bad "no $part in $(head -c 900 "$work/header" | tail -c 890)"
done
# sample 6, class 2: what the evaluation of the same weights computed, to 24 bits behind the point
for part in high low; do
    want=$(grep '"eval"' "$work/log/metrics.jsonl" | tail -1 | sed "s/.*\"${part}_6\":\([^,}]*\).*/\1/")
    got=$(value "$work/out" $part f4 20)
    awk "BEGIN {exit !($want == $got && $got != 0)}" && ok || bad "$part of sample 6 is $got, the evaluation says $want"
done
[ "$(for i in 0 3 6 9; do value "$work/out" kept d4 $i; done | tr '\n' ' ')" = "1 4 7 10 " ] && ok || bad "not in order"
[ "$(for i in 0 1 2 3; do value "$work/out" sum f4 $i; done | tr '\n' ' ')" = "29 22 -109 26 " ] && ok || bad "sum over all samples: $(for i in 0 1 2 3; do value "$work/out" sum f4 $i; done | tr '\n' ' ')"
for i in 0 1 2 13 29; do
    [ "$(value "$work/out" sure u1 $i)" = "$(value "$work/out" high f4 $i | awk '{print ($1 >= 0)}')" ] && ok || bad "sure $i"
    # without the bias, which stands after three small steps, the turned product is the same sum
    awk "BEGIN {d = $(value "$work/out" high f4 $i) - $(value "$work/out" across f4 $i); exit !(d < 1300 && d > -1300)}" && ok || bad "across $i"
done

# The same bytes on another number of threads, in one micro-batch, over an older file, on the emulated device.
"$exe" --resume "$work/run" --data "$work/data" --predict "$work/again" --threads 3 >/dev/null || bad "again"
same "threads, labels" "$work/out" "$work/again"
echo old >"$work/again"
"$sinter" build "$work/model.sn" -D micro=8 --target cpu,sm_90a -o "$work/wide" >"$work/said" 2>&1 ||
    { echo "skipped the emulated device: $(head -1 "$work/said")" && "$sinter" build "$work/model.sn" -D micro=8 -o "$work/wide"; }
"$work/wide" --device cpu --resume "$work/run" --data "$work/unknown" --predict "$work/again" >/dev/null || bad "micro = 8"
same "micro-batches of 8" "$work/out" "$work/again"
[ -s "$work/said" ] || expect 0 "10 samples" "$work/wide" --device emu:sm_90a --resume "$work/run" --data "$work/unknown" --predict "$work/again"
same "the emulated device" "$work/out" "$work/again"
# What was written is data again, and not a checkpoint.
expect 1 "it is no checkpoint" "$exe" --resume "$work/out" --data "$work/data" --steps 1

# An evaluation alone: of all samples, other data without asking. Of the seven that training kept, in their
# order, it is the evaluation after training.
cksum "$work/run"/* >"$work/before"
expect 0 "10 of 10 samples" "$exe" --resume "$work/run" --data "$work/data" --eval --log "$work/alone"
expect 0 "validation loss" "$exe" --resume "$work/run" --data "$work/data" --eval --threads 3 --eval-batches 9
expect 0 "4 of 10 samples" "$exe" --resume "$work/run" --data "$work/data" --eval --eval-batches 1
cksum "$work/run"/* >"$work/after"
same "the checkpoints of what is evaluated" "$work/before" "$work/after"
for part in high low; do
    want=$(sed "s/.*\"${part}_6\":\([^,}]*\).*/\1/" "$work/alone/metrics.jsonl")
    awk "BEGIN {exit !($want == $(value "$work/out" $part f4 20))}" && ok || bad "--eval: ${part}_6 is $want"
done
seven='{"x":{"dtype":"I8","shape":[7,4],"data_offsets":[0,28]},"number":{"dtype":"U8","shape":[7],"data_offsets":[28,35]},"label":{"dtype":"U8","shape":[7],"data_offsets":[35,42]}}'
{ values | head -c 40 | tail -c 28 && printf '\003\004\005\006\007\010\011\000\001\002\000\001\002\000'; } | tensors "$work/kept" "$seven"
"$exe" --data "$work/data" --set data.shuffle=false --out "$work/ordered" --log "$work/ordered.log" >/dev/null 2>&1 || bad "in order"
"$exe" --resume "$work/ordered" --data "$work/kept" --eval --log "$work/seven" >/dev/null 2>&1 || bad "--eval of seven"
numbers() { grep '"eval"' "$1/metrics.jsonl" | sed 's/,"seconds".*//'; }
[ "$(numbers "$work/ordered.log")" = "$(numbers "$work/seven")" ] && ok || bad "seven: $(numbers "$work/ordered.log"), $(numbers "$work/seven")"
expect 2 "--eval needs weights" "$exe" --data "$work/data" --eval
expect 2 "--predict and --eval do different things" "$exe" --resume "$work/run" --data "$work/data" --eval --predict "$work/out"
expect 1 "has no tensor 'label'" "$exe" --resume "$work/run" --data "$work/unknown" --eval

# Bad uses. Nothing is left behind.
cp "$work/out" "$work/keep"
expect 2 "--predict needs weights" "$exe" --data "$work/data" --predict "$work/out"
expect 2 "do different things" "$exe" --resume "$work/run" --predict "$work/out" --generate abc
expect 1 "is what is read" "$exe" --resume "$work/run" --data "$work/data" --predict "$work/data"
{ printf '\0\0\11\2\0\0\0\12\0\0\0\4' && values | head -c 40; } >"$work/x.idx"
{ printf '\0\0\10\1\0\0\0\12' && values | tail -c 10; } | gzip >"$work/number.idx"
idx="--set data.kind=idx --data $work/x.idx,number=$work/number.idx"
# shellcheck disable=SC2086 # words are meant
expect 1 "is what is read" "$exe" --resume "$work/run" $idx --predict "$work/number.idx"
ln -s number.idx "$work/link"
# shellcheck disable=SC2086
expect 1 "is what is read" "$exe" --resume "$work/run" $idx --predict "$work/link"
# shellcheck disable=SC2086
expect 0 "10 samples" "$exe" --resume "$work/run" $idx --predict "$work/again"
same "arrays" "$work/out" "$work/again"
expect 1 "is what is read" "$exe" --resume "$work/run" --data "$work/data" --predict "$work/run/step-00000003.safetensors"
expect 1 "is there and is not a file" "$exe" --resume "$work/run" --data "$work/data" --predict "$work/run"
expect 1 "is there and is not a file" "$exe" --resume "$work/run" --data "$work/data" --predict /dev/null
mkfifo "$work/pipe"
expect 1 "is there and is not a file" "$exe" --resume "$work/run" --data "$work/data" --predict "$work/pipe"
expect 1 "writes a file, not the output" "$exe" --resume "$work/run" --data "$work/data" --predict -
ln -s absent "$work/astray"
expect 1 "is a link that leads nowhere" "$exe" --resume "$work/run" --data "$work/data" --predict "$work/astray"
[ -L "$work/astray" ] && [ ! -e - ] && ok || bad "a link or '-' was written to"
expect 1 "cannot write in" "$exe" --resume "$work/run" --data "$work/data" --predict "$work/nowhere/out"
expect 1 "has no tensor 'x'" "$exe" --resume "$work/run" --data "$work/run/step-00000003.safetensors" --predict "$work/out"
head -c 20000 /dev/zero | tensors "$work/long" '{"x":{"dtype":"I8","shape":[4000,4],"data_offsets":[0,16000]},"number":{"dtype":"U8","shape":[4000],"data_offsets":[16000,20000]}}'
expect 3 "is not written: File too large" sh -c "trap '' XFSZ; ulimit -f 64; '$exe' --resume '$work/run' --data '$work/long' --predict '$work/out'"
same "after failures" "$work/keep" "$work/out"
find "$work" -name '.*.tmp' >"$work/left"
[ ! -s "$work/left" ] && ok || bad "left behind: $(cat "$work/left")"

# Windows of text: all of them, in order, also the last one, which nothing follows.
cat >"$work/next.sn" <<'MODEL'
axis vocab = 256, dim = 8
axis batch, seq
model next(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.3)
  logits = embed[vocab: tokens] @[dim] embed
  output seen = tokens + 0
  output best = max[vocab](logits)
  loss = mean[batch, seq](cross_entropy[vocab](logits, targets))
}
train {
  data      text("text", split = 0.9)
  size      batch = 4, seq = 8
  optimizer sgd
  lr        constant(0.1)
  steps     1
}
MODEL
"$sinter" build "$work/next.sn" -D eval.batches=1 -o "$work/next" || bad "build next"
"$work/next" --data "$work/text" --out "$work/next.run" >/dev/null 2>&1 || bad "train next"
head -c 72 "$work/text" >"$work/short" # nine windows
expect 0 "9 samples: best F32[9, 8], seen I32[9, 8]" "$work/next" --resume "$work/next.run" --data "$work/short" --predict "$work/ids"
n=$(od -An -tu8 -N8 "$work/ids" | tr -d ' ')
od -An -v -td4 -w4 -j $((n + 8 + 288)) "$work/ids" | tr -d ' ' >"$work/got"
od -An -v -tu1 -w1 "$work/short" | tr -d ' ' >"$work/want"
same "windows in order" "$work/want" "$work/got"
expect 0 "8 of 8 samples" "$work/next" --resume "$work/next.run" --data "$work/short" --eval
printf 'abc' >"$work/few"
expect 1 "one sample takes 8" "$work/next" --resume "$work/next.run" --data "$work/few" --predict "$work/ids"

# Samples that depend on each other: as many as one micro-batch holds, no more and no less.
sed 's/^  output score = z/  output score = z - max[batch](z)/; /micro /d' "$work/model.sn" >"$work/whole.sn"
"$sinter" build "$work/whole.sn" -D size.batch=10 -o "$work/whole" || bad "build whole"
"$work/whole" --data "$work/data" --set data.split=1 --steps 1 --out "$work/whole.run" >/dev/null 2>&1 || bad "train whole"
expect 0 "10 samples" "$work/whole" --resume "$work/whole.run" --data "$work/data" --predict "$work/all"
expect 1 "those of 10 samples at once, since they depend on each other, and the data has 4000" \
    "$work/whole" --resume "$work/whole.run" --data "$work/long" --predict "$work/all"
sed 's/  loss = /  loss = sum[class](max[batch](z)) + /' "$work/whole.sn" >"$work/together.sn"
"$sinter" build "$work/together.sn" -D size.batch=10 -o "$work/together" || bad "build together"
expect 0 "10 of 10 samples" "$work/together" --resume "$work/whole.run" --data "$work/data" --eval
expect 1 "loss and metrics of this model are those of 10 samples at once" \
    "$work/together" --resume "$work/whole.run" --data "$work/kept" --eval
# In micro-batches that cannot be: the model trains, and a warning says why it does not predict.
expect 0 "warning: no 'predict':" "$sinter" build "$work/whole.sn" -D size.batch=10 -D micro=5 -o "$work/cut"
expect 1 "nothing to predict" "$work/cut" --resume "$work/run" --data "$work/data" --predict "$work/all"
sed '/^  output/d' "$work/model.sn" >"$work/mute.sn"
"$sinter" build "$work/mute.sn" -o "$work/mute" || bad "build mute"
expect 1 "'output NAME = VALUE' says what is wanted" "$work/mute" --resume "$work/run" --data "$work/data" --predict "$work/all"

# Asked to stop in the middle: an error, and nothing under the name.
head -c 20000000 /dev/zero | tensors "$work/endless" '{"x":{"dtype":"I8","shape":[4000000,4],"data_offsets":[0,16000000]},"number":{"dtype":"U8","shape":[4000000],"data_offsets":[16000000,20000000]}}'
"$exe" --resume "$work/run" --data "$work/endless" --predict "$work/none" >"$work/said" 2>&1 &
pid=$!
when eval 'ls "$work"/.none.*.tmp'
kill -TERM $pid
rc=0
wait $pid || rc=$?
[ $rc = 1 ] && grep -q "is not written: stopped" "$work/said" && [ ! -e "$work/none" ] && ok || bad "stopped: $rc, $(tail -1 "$work/said")"
find "$work" -name '.*.tmp' >"$work/left"
[ ! -s "$work/left" ] && ok || bad "left behind after a signal: $(cat "$work/left")"
finish
