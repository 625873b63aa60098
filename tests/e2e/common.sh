# Shared by the end-to-end tests: sourced, not run. $1 is the build directory.
set -eu
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
sinter=$build/sinter
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
long=${SINTER_LONG:-0}
passed=0
failed=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAIL: $*"; }
# same LABEL A B: the two files hold the same bytes.
same() { if cmp -s "$2" "$3"; then ok; else bad "$1: $2 and $3 differ"; fi; }
# when COMMAND...: waits until it succeeds, on a slow machine too: as long as the process $pid lives, and minutes.
when() {
    waited=0
    until "$@" >/dev/null 2>&1 || ! kill -0 $pid 2>/dev/null || [ $waited = 6000 ]; do
        sleep 0.05
        waited=$((waited + 1))
    done
}
finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
# Text that any machine has: the project's own sources; of even length, so that two letters can be a token.
corpus() { cat "$root"/ir/*.c "$root"/passes/*.c | head -c 300000 >"$work/text"; }
small="-D layer=2 -D dim=64 -D size.seq=32 -D size.batch=8 -D micro=4"
# train EXE DIR ARGS...: a short run; the checkpoint is $DIR/last
train() {
    exe=$1
    dir=$2
    shift 2
    "$exe" --data "$work/text" --eval-batches 2 --out "$dir" "$@" >"$dir.log" 2>&1 || {
        bad "training failed: $(tail -2 "$dir.log")"
        return 0
    }
    cp "$(ls "$dir"/step-*.safetensors | tail -1)" "$dir/last"
}
