#!/bin/sh
# Stop and resume give the bits of an uninterrupted run: after SIGTERM, after kill -9 at random instants
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
# SIGTERM finishes the step, saves, and exits with 0
"$work/exe" --data "$work/text" --out "$work/term" --steps $steps --eval-batches 1 >"$work/term.log" 2>&1 &
pid=$!
sleep 0.3
kill -TERM $pid 2>/dev/null || true
if wait $pid; then ok; else bad "SIGTERM: exit code $?"; fi
"$work/exe" --data "$work/text" --out "$work/term" --resume "$work/term" --steps $steps --eval-batches 1 \
    >"$work/term2.log" 2>&1 || bad "resume after SIGTERM: $(tail -1 "$work/term2.log")"
same "resumed after SIGTERM" "$work/whole/last" "$(ls "$work"/term/step-*.safetensors | tail -1)"
finish
