#!/bin/sh
# The number of samples as the run has it: a step of four is the same whether one pass holds it or
# four do, built for it or accumulated, whatever is computed from the extent of the sample axis; and an
# evaluation counts each validation sample once, whatever a micro-batch holds.
. "$(dirname "$0")/common.sh"
# 8 windows of 8 ids for training and 8 for validation
head -c 130 "$root/README.md" >"$work/text"
cat >"$work/batch.sn" <<'MODEL'
axis vocab = 256, dim = 4
axis batch, seq
root = sqrt(batch)
fn half(n) = n / 2
fn average(x[..a]) {
  axis all = ..a
  return sum[..a](x) / all
}
model m(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.5)
  x = embed[vocab: tokens]
  each = mean[seq](cross_entropy[vocab](x @[dim] embed, targets))
  loss = sum[batch](each) / (sqrt(batch) * sqrt(batch))
  metric a = sum[batch](each) / (root * root)
  metric b = batch ^ 0.5
  metric c = log(batch)
  metric d = max(batch, 3)
  metric e = batch // 3 + batch % 3 * 10
  metric f = where(batch > 2, 1, 0)
  metric g = half(batch)
  metric h = average(each)
  metric i = -batch
  metric j = (batch + 1) ^ 2
  metric k = int(batch / 3)
  metric l = where(not (batch == 4), 1, 2)
  metric n = real(sum[batch, seq](iota[seq] * batch + tokens))
  metric o = min(1, 2 / batch) + abs(3 - batch)
  metric p = mean[batch, seq](real(tokens)) / mean[batch](each)
  metric q = sum[dim, vocab](abs(x @[batch, seq] real(iota[vocab] == tokens)))
  metric r = real(any[batch](each > 5.4))
  metric s = mean[batch, seq, dim](abs(x) ^ batch)
  metric t = mean[vocab, dim](embed ^ batch)
}
train {
  data      text("input.txt", split = 0.5)
  size      batch = 4, seq = 8
  micro     batch = 1
  optimizer sgd
  lr        constant(0.1)
  steps     2
}
MODEL
# run NAME DEVICE ARGS...: two steps and an evaluation; their lines without the time
run() {
    name=$1
    device=$2
    exe=$3
    shift 3
    rm -rf "$work/log"
    SINTER_DEVICE=$device "$exe" --data "$work/text" --log "$work/log" "$@" >"$work/out" 2>&1 ||
        bad "$name: $(tail -1 "$work/out")"
    sed 's/,"seconds".*//' "$work/log/metrics.jsonl" >"$work/$name.lines"
}
# close LABEL A B: the same keys, and numbers within 1e-6 of each other
close() {
    paste -d, "$2" "$3" | tr -d '{}"' | awk -F, '{
        for (i = 1; i <= NF / 2; i++) {
            split($i, x, ":"); split($(i + NF / 2), y, ":")
            d = x[2] - y[2]; m = x[2] < 0 ? -x[2] : x[2]
            if (x[1] != y[1] || (d < 0 ? -d : d) > 1e-6 * (m > 1 ? m : 1)) { print $i, $(i + NF / 2); exit 1 }
        }
        n++
    } END { exit n == 0 }' >"$work/differs" && ok || bad "$1: $(cat "$work/differs")"
}
build_as() { # NAME OPTIONS...
    name=$1
    shift
    "$sinter" build "$work/batch.sn" "$@" -o "$work/$name" >"$work/out" 2>&1
}
for size in 1 2 3 4 6 8; do
    build_as "micro$size" -D size.batch="$size" -D micro="$size" || bad "build micro $size"
    run "micro$size" cpu "$work/micro$size" --steps 0
    close "evaluation by $size" "$work/micro1.lines" "$work/micro$size.lines"
done
run some cpu "$work/micro3" --steps 0 --eval-batches 2
run same cpu "$work/micro6" --steps 0 --eval-batches 1
close "six samples of eight" "$work/some.lines" "$work/same.lines"
if cmp -s "$work/same.lines" "$work/micro6.lines"; then bad "six samples are not eight"; else ok; fi
if build_as device -D size.batch=3 -D micro=3 --target cpu,sm_90a; then
    run emulated emu:sm_90a "$work/device" --steps 0
    same "evaluation on the emulated device" "$work/micro3.lines" "$work/emulated.lines"
else
    grep -q NVRTC "$work/out" && echo "skipped the emulated device" || bad "build for it: $(tail -1 "$work/out")"
fi
build_as parts && run parts cpu "$work/parts"
run whole cpu "$work/micro4"
run grown cpu "$work/micro1" --accum 4
close "four passes and one" "$work/whole.lines" "$work/parts.lines"
same "accumulated or built so" "$work/parts.lines" "$work/grown.lines"
# samples that depend on each other are evaluated together, or not at all
sed 's/metric d = .*/metric d = max[batch](each)/; /micro/d' "$work/batch.sn" >"$work/top.sn"
"$sinter" build "$work/top.sn" -D size.batch=9 -o "$work/top" >"$work/out" 2>&1 || bad "build top"
rc=0
"$work/top" --data "$work/text" >"$work/out" 2>&1 || rc=$?
[ $rc = 1 ] && grep -q "takes 9 samples at once" "$work/out" && ok || bad "too few: $rc: $(tail -1 "$work/out")"
"$work/top" --data "$work/text" --set data.split=1 >"$work/out" 2>&1 && ok || bad "none: $(tail -1 "$work/out")"
finish
