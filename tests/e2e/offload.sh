#!/bin/sh
# Values that wait for the backward pass on the host: the same bytes of every state, less memory of the device; as
# graphs and command by command, in several orders of the streams, with accumulation and recomputation. On the CPU
# the line changes nothing.
. "$(dirname "$0")/common.sh"
corpus
place() { "$1" --info | awk -v what="$2" '$1 == "memory" && $2 == what {print $3}'; }
sed 's/layer = 2/layer = 4/' "$root/tests/e2e/attend/causal.sn" >"$work/base.sn"
build() { # NAME LINE ARGS...
    name=$1 line=$2
    shift 2
    sed "s/^train {/&\n  $line/" "$work/base.sn" >"$work/$name.sn"
    "$sinter" build "$work/$name.sn" "$@" -o "$work/$name" --verify-each >"$work/$name.said" 2>&1
}

# the CPU: the same plan, a note in the ledger
build plain "" && ok || bad "plain: $(head -1 "$work/plain.said")"
cp "$work/plain" "$work/without"
train "$work/without" "$work/cpu.out" --steps 3
build line "offload : x" && ok || bad "cpu: $(head -1 "$work/line.said")"
train "$work/line" "$work/line.out" --steps 3
same "the CPU with a line 'offload'" "$work/cpu.out/last" "$work/line.out/last"
[ "$(place "$work/line" temporary)" = "$(place "$work/without" temporary)" ] && ok || bad "offload on the CPU changes memory"
"$sinter" explain "$work/line.sn" | grep -q "offload .*this device's memory is the host's" && ok || bad "no note on the CPU"

if ! build plain "" --target sm_90a; then
    grep -q NVRTC "$work/plain.said" || bad "no program for sm_90a: $(head -1 "$work/plain.said")"
    echo "skipped the emulated device: $(head -1 "$work/plain.said")"
    finish
    exit
fi
export SINTER_DEVICE=emu:sm_90a
train "$work/plain" "$work/plain.out" --steps 3
same "the CPU's bytes" "$work/cpu.out/last" "$work/plain.out/last"
all=$(place "$work/plain" temporary)
[ -z "$(place "$work/plain" host)" ] && ok || bad "memory of the host without a line"
# compare LABEL LINE: checkpoint and memory against the plan without it
compare() {
    label=$1 line=$2
    build again "$line" --target sm_90a && ok || bad "$label: $(head -1 "$work/again.said")"
    rm -rf "$work/again.out"
    train "$work/again" "$work/again.out" --steps 3
    same "$label" "$work/plain.out/last" "$work/again.out/last"
    [ "$(place "$work/again" temporary)" -lt "$all" ] && ok || bad "$label saves nothing of $all"
    [ "$(place "$work/again" host)" -gt 0 ] && ok || bad "$label: nothing on the host"
}
compare "the residual stream" "offload : x"
"$sinter" explain "$work/again.sn" --target sm_90a | grep -q 'offload .*links .* values, .* ms out at .* predicted to wait' && ok || bad "no line of the links"
for seed in 2 3; do
    rm -rf "$work/again.out"
    SINTER_EMU_SEED=$seed train "$work/again" "$work/again.out" --steps 3
    same "seed $seed" "$work/plain.out/last" "$work/again.out/last"
done
rm -rf "$work/again.out"
SINTER_CUDA_GRAPHS=off train "$work/again" "$work/again.out" --steps 3
same "command by command" "$work/plain.out/last" "$work/again.out/last"
"$work/again" --data "$work/text" --steps 1 --profile --out "$work/profile.out" >"$work/profile.log" 2>&1 && ok || bad "profile: $(tail -1 "$work/profile.log")"
compare "everything" "offload : *"
build again "offload : attn.p" --target sm_90a && bad "a value that nothing keeps"
grep -q "error: 'attn.p' names no value that waits in memory for the backward pass" "$work/again.said" && ok || bad "$(head -1 "$work/again.said")"
[ "$long" = 0 ] || compare "with recomputation" "offload : x; recompute every(1)"
finish
