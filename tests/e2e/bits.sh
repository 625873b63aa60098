#!/bin/sh
# The same bits for any number of threads, for every instruction set this machine has, with and
# without every bit-neutral pass, fused or not; and the same executable from the same input.
. "$(dirname "$0")/common.sh"
corpus
models=bytes
[ "$long" = 1 ] && models="bytes gpt2 llama mlp"
prompt="int main(void) { return 0; } // longer than a window of 32"
for model in $models; do
    file=$root/models/$model.sn
    options=$small
    case $model in gpt2) options="$small -D head=4 -D vocab=256 -D ctx=32 -D data=text" ;; esac
    options="-D layer=2 -D dim=64 -D size.seq=32 -D size.batch=8 -D micro=4"
    [ $model = gpt2 ] && options="$options -D vocab=256 -D ctx=32 -D head=4"
    [ $model = llama ] && options="$options -D vocab=256 -D kv=2 -D group=2 -D ff=96"
    [ $model = mlp ] && options="-D size.batch=8 -D micro=4"
    build_as() { # NAME ARGS...: builds and trains
        name=$1
        shift
        # shellcheck disable=SC2086
        "$sinter" build "$file" $options "$@" -o "$work/$model-$name" || bad "build $model $name"
        [ -x "$work/$model-$name" ] && train "$work/$model-$name" "$work/$model-$name.out" --steps 4 --threads 2
    }
    build_as base
    for t in 1 3 4; do
        train "$work/$model-base" "$work/$model-t$t.out" --steps 4 --threads "$t"
        same "$model with $t threads" "$work/$model-base.out/last" "$work/$model-t$t.out/last"
    done
    for cpu in x86-64-v3 x86-64-v4; do
        "$sinter" build "$file" $options --cpu $cpu -o "$work/$model-$cpu"
        if "$work/$model-$cpu" --check-cpu >/dev/null 2>&1; then
            train "$work/$model-$cpu" "$work/$model-$cpu.out" --steps 4
            same "$model for $cpu" "$work/$model-base.out/last" "$work/$model-$cpu.out/last"
        else
            echo "skipped $model for $cpu: this machine cannot run it"
        fi
    done
    build_as unfused --no-fuse
    same "$model unfused" "$work/$model-base.out/last" "$work/$model-unfused.out/last"
    all=$("$sinter" passes | awk '{printf "%s%s", s, $1; s=","}')
    neutral=$("$sinter" passes | awk '$2 == "bit-neutral" {print $1}')
    for pass in $neutral; do
        case $pass in
        fuse | memplan | chunk) continue ;; # what lowering needs: unfused above; chunk in the op tests
        esac
        build_as "no-$pass" --passes="$(echo "$all" | tr ',' '\n' | grep -vx "$pass" | paste -sd,)"
        same "$model without $pass" "$work/$model-base.out/last" "$work/$model-no-$pass.out/last"
        if [ "$pass" = position ]; then # it changes generation alone
            for exe in base no-position; do
                "$work/$model-$exe" --resume "$work/$model-base.out" --generate "$prompt" --tokens 20 \
                    >"$work/$model-$exe.text" 2>&1 || grep -q "cannot generate" "$work/$model-$exe.text" ||
                    bad "$model-$exe: $(tail -1 "$work/$model-$exe.text")"
            done
            same "$model generates without $pass" "$work/$model-base.text" "$work/$model-no-position.text"
        fi
    done
    "$sinter" build "$file" $options -o "$work/$model-again"
    same "$model built twice" "$work/$model-base" "$work/$model-again"
done
finish
