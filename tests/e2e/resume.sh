#!/bin/sh
# Stop and resume give the bits of an uninterrupted run: after signals, after kill -9 at random instants
# (20 in the long run, 4 here), and between checkpoints of a finished run.
. "$(dirname "$0")/common.sh"
corpus
# shellcheck disable=SC2086
"$sinter" build "$root/models/bytes.sn" $small -o "$work/exe"
steps=60
train "$work/exe" "$work/whole" --steps $steps
kills=4
[ "$long" = 1 ] && kills=20
seed=${SINTER_SEED:-$$}
echo "seed $seed"
i=0
while [ $i -lt $kills ]; do
    dir=$work/killed-$i
    mkdir -p "$dir"
    rounds=0
    while [ ! -f "$dir/step-000000$steps.safetensors" ] && [ $rounds -lt 40 ]; do
        resume=
        ls "$dir"/step-*.safetensors >/dev/null 2>&1 && resume="--resume $dir"
        # shellcheck disable=SC2086
        "$work/exe" --data "$work/text" --out "$dir" $resume --steps $steps --save-every 3 --keep 2 \
            --eval-batches 1 >"$dir/log" 2>&1 &
        pid=$!
        seed=$(((seed * 1103515245 + 12345) % 2147483648))
        if [ $rounds -lt 4 ]; then
            sleep "0.$((seed / 65536 % 9))$((seed / 1024 % 9))"
            kill -9 $pid 2>/dev/null || true
        fi
        wait $pid 2>/dev/null || true
        rounds=$((rounds + 1))
    done
    last=$(ls "$dir"/step-*.safetensors | tail -1)
    same "resumed after kill -9, round $i" "$work/whole/last" "$last"
    i=$((i + 1))
done
# A run that is asked to end saves its last complete step, also inside an accumulation or an evaluation, and
# when nobody reads its output any more; exits with 0; and goes on as if it had not been asked.
# asked NAME SIGNAL FIRST WORDS ARGS...: a run gets the signal when its log has FIRST, and then has the words. What
# was over before it was asked is done again.
asked() {
    name=$1 signal=$2 first=$3 words=$4
    shift 4
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf "${work:?}/$name"
        "$work/exe" --data "$work/text" --out "$work/$name" --steps $steps --eval-batches 1 "$@" >"$work/$name.log" 2>&1 &
        pid=$!
        when grep -qs "$first" "$work/$name.log"
        kill -"$signal" $pid 2>/dev/null || true
        code=0
        wait $pid || code=$?
        grep -q "^step $steps  validation loss" "$work/$name.log" || break
    done
    [ $code = 0 ] && grep -q "$words" "$work/$name.log" && ok || bad "$name: exit $code, $(tail -1 "$work/$name.log")"
}
goes_on() { # NAME ARGS...
    name=$1
    shift
    "$work/exe" --data "$work/text" --out "$work/$name" --resume "$work/$name" --steps $steps --eval-batches 1 "$@" \
        >"$work/$name-2.log" 2>&1 || bad "resume after $name: $(tail -1 "$work/$name-2.log")"
    same "resumed after $name" "$work/whole/last" "$(ls "$work/$name"/step-*.safetensors | tail -1)"
}
asked term TERM samples "stopped after step"
goes_on term
asked hup HUP samples "stopped after step"
goes_on hup
asked accumulation TERM samples "stopped after step 0" --accum 3000
goes_on accumulation --accum 2
asked evaluation TERM "^step 1/" "step 1  validation stopped before its end" --eval-every 1 --eval-batches 2000 --set data.split=0.01
"$work/exe" --data "$work/text" --out "$work/pipe" --steps $steps --print-every 1 --eval-batches 1 2>"$work/pipe.log" | head -2 >"$work/head.log"
ls "$work/pipe"/step-*.safetensors >/dev/null 2>&1 && ! [ -s "$work/pipe.log" ] && ok || bad "pipe: $(tail -1 "$work/pipe.log")"
goes_on pipe
finish
