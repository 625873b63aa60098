#!/bin/sh
# What a run tells while it goes on and when it is done: lines in a pipe or a file, one row that is rewritten
# on a terminal and never wider than it, colours only where they are wanted, commands that can be typed.
. "$(dirname "$0")/common.sh"
corpus
cat >"$work/model.sn" <<'END'
axis vocab = 256, dim = 8
axis batch, seq

model tiny(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {
  param embed[vocab -> dim] ~ normal(0.02)
  x = embed[vocab: tokens]
  output logits = x @[dim] embed
  loss = mean[batch, seq](cross_entropy[vocab](logits, targets))
  loss small = 1e-3 * mean[batch, seq](sum[dim](x^2))
  metric size = mean[batch, seq](sum[dim](abs(x)))
}

train {
  data      text("none", split = 0.9)
  size      batch = 4, seq = 8
  optimizer adamw
  lr        constant(1e-3)
}
END
"$sinter" build "$work/model.sn" -o "$work/exe"
sed 's/^  output logits/  logits/' "$work/model.sn" >"$work/mute.sn"
"$sinter" build "$work/mute.sn" -o "$work/mute"
exe=$work/exe
run="$exe --data $work/text --eval-batches 2 --threads 1"
cr=$(printf '\r')
esc=$(printf '\033')
# has LABEL PATTERN FILE: an extended pattern in a line of the file.
has() { if grep -qE -- "$2" "$3"; then ok; else bad "$1: no '$2' in: $(head -c 2000 "$3")"; fi; }
hasnt() { if grep -qE -- "$2" "$3"; then bad "$1: '$2' in: $(grep -E -- "$2" "$3" | head -2)"; else ok; fi; }

# ---- lines ---------------------------------------------------------------------------------------------
TERM=xterm $run --steps 25 --eval-every 10 --log "$work/log" >"$work/lines" 2>"$work/errors"
number='-?[0-9.]+(e[-+][0-9]+)?'
[ "$(grep -cE "^step [0-9]+/25  loss $number  norm $number  lr 1.00e-03  small $number  size $number  $number ms  $number tokens/s(  [0-9:]+ left)?\$" "$work/lines")" = 4 ] && ok ||
    bad "not the lines of steps 1, 10, 20 and 25: $(cat "$work/lines")"
has "the first step gives no pace" '^step 1/25 .* tokens/s$' "$work/lines"
has "time left" '^step 10/25 .*  0:0[0-9] left$' "$work/lines"
has "nothing left" '^step 25/25 .* tokens/s$' "$work/lines"
for step in 10 20 25; do
    has "evaluation" "^step $step  validation loss $number  small $number  size $number  $number ms  $number tokens/s\$" "$work/lines"
done
hasnt "a pipe" "$cr|$esc" "$work/lines"
has "no --out" 'nothing was kept of the 25 steps' "$work/errors"
hasnt "no --out" '^to ' "$work/lines"
# The same numbers as in the log: of step 20, and of the evaluation after it.
for kind in train eval; do
    line=$(grep "\"kind\":\"$kind\",\"step\":20," "$work/log/metrics.jsonl")
    for key in loss size; do
        value=$(echo "$line" | sed "s/.*\"$key\":\([^,}]*\).*/\1/")
        shown=$(printf '%.4f' "$value")
        case $kind in train) at='^step 20/' ;; *) at='^step 20  validation' ;; esac
        grep "$at" "$work/lines" | grep -qF " $key $shown " && ok || bad "$kind: $key is not $shown: $(grep "$at" "$work/lines")"
    done
done
$run --steps 7 --print-every 3 >"$work/lines" 2>&1
[ "$(grep -c '^step [1367]/7  ' "$work/lines")" = 4 ] && ok || bad "--print-every: $(cat "$work/lines")"

# Evaluations to come are part of the time left: two thousand steps take a tenth of a second without them.
$run --steps 2000 --eval-every 1 --eval-batches 400 >"$work/lines" 2>&1 &
pid=$!
when grep '^step 10/' "$work/lines"
kill -TERM $pid
wait $pid || bad "a stopped run failed"
has "evaluations in the time left" '^step 10/2000 .*  ([1-9]|0:0[3-9]|0:[1-9])[0-9:]* left$' "$work/lines"

# ---- terminals -----------------------------------------------------------------------------------------
if script --version 2>/dev/null | grep -q util-linux; then
    # terminal COLUMNS COMMAND: what it writes to a terminal of that width, in $work/seen; its rows in $work/rows.
    terminal() {
        script -qec "stty cols $1; $2" /dev/null </dev/null >"$work/seen" 2>&1 || bad "on a terminal: $2"
        # a row is what stands between two returns; colours take no room
        sed "s/$esc\\[[0-9;]*m//g" "$work/seen" | tr '\r' '\n' | sed "s/^$esc\\[K//" | grep -E '^step [0-9]+/|^[0-9]+/|^[0-9]+%$|^[0-9]+%  ' >"$work/rows" || true
    }
    # widest: of the rows
    widest() { awk '{ if (length($0) > n) n = length($0) } END { print n + 0 }' "$work/rows"; }
    TERM=xterm
    export TERM
    unset NO_COLOR
    for columns in 0 1 2 10 20 40 79 80 200; do
        terminal $columns "$run --steps 40"
        at_most=$columns
        [ $columns = 0 ] && at_most=80
        [ "$(widest)" -le $at_most ] && ok || bad "$columns columns: a row of $(widest)"
        awk -v n=$at_most '/\]/ && length($0) != n { exit 1 }' "$work/rows" && ok || bad "$columns columns: a bar does not fill them"
        if [ $columns -ge 79 ]; then
            has "$columns columns" '^step 40/40  \[=*\]  loss' "$work/rows"
            has "$columns columns" "$esc\\[32m" "$work/seen"
        fi
        [ $columns -lt 10 ] || [ "$(sed -n '1s/.*0\/40.*/0/p' "$work/rows")" = 0 ] && ok || bad "$columns columns: nothing before the first step"
        has "$columns columns" "^step 40  validation loss $number  small" "$work/seen"
    done
    has "200 columns" "  small $number  size $number  $number ms  $number tokens/s" "$work/rows"
    # The row of the bar is taken away before another line is printed.
    terminal 60 "$run --steps 40 --eval-every 1"
    hasnt "lines between" '.step [0-9]+  validation' "$work/rows"
    tr '\r' '\n' <"$work/seen" | grep "  validation" | grep -vqE "^($esc\\[K)?step [0-9]+  validation" &&
        bad "a line behind a row: $(tr '\r' '\n' <"$work/seen" | grep validation | head -2 | cat -v)" || ok
    # The window becomes smaller while the run goes on.
    cat >"$work/narrow.sh" <<'END'
stty cols 150
$1 --steps 100000000 &
rows() { tr -cd '\r' <"$seen" | wc -c; }
more() { # N: rows from now on
    end=$(($(rows) + $1))
    while [ "$(rows)" -lt $end ] && kill -0 $!; do sleep 0.05; done
}
seen=$2
more 4
stty cols 30
more 3
kill -TERM $!
wait
END
    script -qec "sh '$work/narrow.sh' '$run' '$work/seen'" /dev/null </dev/null >"$work/seen" 2>&1 || true
    sed "s/$esc\\[[0-9;]*m//g" "$work/seen" | tr '\r' '\n' | sed "s/^$esc\\[K//" | grep -E '^(step )?[0-9]+/' >"$work/rows"
    [ "$(head -2 "$work/rows" | awk '{ print length($0) }' | tail -1)" = 150 ] && ok || bad "not 150 columns: $(head -2 "$work/rows")"
    [ "$(tail -1 "$work/rows" | awk '{ print length($0) <= 30 && length($0) }')" = 1 ] && ok || bad "not 30 columns: $(tail -1 "$work/rows")"
    has "stopped" 'stopped after step [0-9]+' "$work/seen"
    # Colours: any text in NO_COLOR, but no empty one.
    NO_COLOR=1 terminal 100 "$run --steps 20"
    hasnt "NO_COLOR" "$esc\\[[0-9;]*m" "$work/seen"
    has "NO_COLOR" "^step 20/20  \\[=" "$work/rows"
    NO_COLOR='' terminal 100 "$run --steps 20"
    has "NO_COLOR is empty" "$esc\\[32m" "$work/seen"
    # A terminal that cannot do it gets lines; so does a file beside a terminal.
    for term in dumb ''; do
        TERM=$term terminal 100 "$run --steps 20"
        hasnt "TERM=$term" "$esc" "$work/seen"
        [ "$(tr -d '\r' <"$work/seen" | grep -cE '^step (1|10|20)/20  loss')" = 3 ] && ok || bad "TERM=$term: $(cat "$work/seen")"
    done
    # So is what a prediction shows.
    $run --steps 1 --out "$work/short" >/dev/null
    for columns in 1 10 80; do
        terminal $columns "$exe --data $work/text --resume $work/short --predict $work/out"
        tr '\r' '\n' <"$work/seen" | sed -n "s/^$esc\\[K//p" | grep '^[0-9]' | grep -v '^[0-9]* samples:' >"$work/rows"
        [ -s "$work/rows" ] && [ "$(widest)" -le $columns ] && ok || bad "a prediction on $columns columns: $(cat "$work/rows")"
    done
    terminal 100 "$run --steps 20 | cat"
    hasnt "a pipe beside a terminal" "$esc" "$work/seen"
else
    echo "skipped what a terminal shows: there is no script of util-linux"
fi

# ---- the end -------------------------------------------------------------------------------------------
# next KIND: the command that the run proposed, as it was printed
next() { sed -n "s/^to $1: *//p" "$work/said"; }
odd="$work/it's \"here\" \$1"
mkdir "$odd"
cp "$work/text" "$odd/text"
"$exe" --data "$odd/text" --out "$odd/run" --log "$odd/log" --steps 3 --set data.split=0.5 --eval-batches=2 --seed 4 >"$work/said"
has "the end" "^3 steps in 0:0[0-9]: newest checkpoint .*/run/step-00000003.safetensors, losses .*/log/metrics.jsonl\$" "$work/said"
cp "$work/said" "$work/first"
eval "$(next 'go on')" >"$work/said" 2>&1 || bad "it cannot go on with: $(next 'go on'): $(tail -1 "$work/said")"
has "go on" '^resumed from .* at step 3$' "$work/said"
has "go on" '^3 steps in ' "$work/said"
[ -e "$odd/run/step-00000006.safetensors" ] && ok || bad "it went on elsewhere"
[ "$(grep -c '"kind":"train"' "$odd/log/metrics.jsonl")" = 6 ] && ok || bad "it did not go on with the log"
cp "$work/first" "$work/said"
eval "$(next generate)" >"$work/words" 2>&1 || bad "generate: $(tail -1 "$work/words")"
has "generate" '^Once upon a time' "$work/words"
[ -z "$(next evaluate)" ] && ok || bad "more than three lines"
"$work/mute" --data "$work/text" --out "$work/mute.out" --steps 2 --eval-batches 1 >"$work/said"
[ -z "$(next generate)" ] && ok || bad "it proposes to generate"
eval "$(next evaluate)" >"$work/words" 2>&1 || bad "evaluate: $(tail -1 "$work/words")"
[ "$(grep -o 'validation loss [^ ]*' "$work/words")" = "$(grep -o 'validation loss [^ ]*' "$work/said")" ] && ok ||
    bad "it evaluates to something else: $(cat "$work/words")"
# A run that was stopped goes on to where it was to end.
$run --steps 100000000 --out "$work/stopped" >"$work/said" 2>&1 &
pid=$!
when grep '^step 10/' "$work/said"
kill -TERM $pid
wait $pid || bad "a stopped run failed"
next 'go on' >"$work/words"
has "stopped" "^$exe .*--resume $work/stopped\$" "$work/words"
finish
