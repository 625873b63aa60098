#!/bin/sh
# sinter run builds into a cache: what decides the executable is in its key, nothing else is built again.
. "$(dirname "$0")/common.sh"
XDG_CACHE_HOME=$work/cache
export XDG_CACHE_HOME
mkdir "$work/model"
sed 's/^model mlp/use "lib.sn"\n&/; s/tanh(/act(/' "$root/models/mlp.sn" >"$work/model/mlp.sn"
echo 'fn act(x) = tanh(x)' >"$work/model/lib.sn"
corpus
run() { # NAME ARGS...: trains two steps
    name=$1
    shift
    "$sinter" run "$@" -- --data "$work/text" --steps 2 --seed 3 --out "$work/$name" >"$work/$name.log" 2>&1 ||
        bad "run $name: $(tail -1 "$work/$name.log")"
}
built() { # N LABEL: the cache holds N executables
    n=$(ls "$work/cache/sinter" | wc -l)
    if [ "$n" -eq "$1" ]; then ok; else bad "$2: $n executables in the cache, expected $1"; fi
}
last() { ls "$work/$1"/step-*.safetensors | tail -1; }
run first "$work/model/mlp.sn"
built 1 "first run"
run again "$work/model/mlp.sn"
built 1 "second run"
same "the same model again" "$(last first)" "$(last again)"
run wider "$work/model/mlp.sn" -D hidden=128
built 2 "another axis"
echo 'fn act(x) = sin(x)' >"$work/model/lib.sn"
run other "$work/model/mlp.sn"
built 3 "another file that the model uses"
if cmp -s "$(last first)" "$(last other)"; then bad "the changed file was not seen"; else ok; fi
(cd "$work/model" && run piped - <mlp.sn)
same "a model from standard input" "$(last other)" "$(last piped)"
if "$sinter" run "$work/model/mlp.sn" --cpu nothing 2>/dev/null; then bad "an unknown CPU ran"; else ok; fi
# the executable in the cache speaks as the model, and says what to type as it was typed
code=0
"$sinter" run "$work/model/mlp.sn" -- --dta x >"$work/log" 2>&1 || code=$?
[ "$code" = 2 ] && grep -q "^mlp: error: unknown option '--dta'" "$work/log" && ok || bad "a message of a run: $(cat "$work/log")"
cp "$work/model/mlp.sn" "$work/model/it's a copy.sn"
(cd "$work/model" && "$sinter" run "it's a copy.sn" -D hidden=32 -- --help) >"$work/log" || bad "run -- --help"
[ "$(head -1 "$work/log")" = "usage: $sinter run 'it'\\''s a copy.sn' -D hidden=32 -- [OPTION]..." ] && ok || bad "usage of a run: $(head -1 "$work/log")"
"$sinter" run "$work/model/mlp.sn" >"$work/log" 2>&1 || true
grep -q "^mlp: error: " "$work/log" && ok || bad "a run without arguments: $(cat "$work/log")"
next=$(sed -n 's/^to go on: *//p' "$work/other.log")
case $next in "$sinter run $work/model/mlp.sn -- "*) ok ;; *) bad "what to type next: $next" ;; esac
sh -c "$next --out $work/next" >"$work/log" 2>&1 || bad "'$next': $(tail -1 "$work/log")"
[ -f "$work/next/step-00000004.safetensors" ] && ok || bad "'$next' went to no step 4"
# a run of one step learns; --steps is also the length of the schedule, unless that is set by its name
sed 's/^  lr .*/  lr cosine(peak = 0.5, warmup = 0, steps = 9)/' "$root/models/mlp.sn" >"$work/cosine.sn"
"$sinter" build "$work/cosine.sn" -o "$work/cosine" || bad "build cosine"
train "$work/cosine" "$work/none" --steps 0
train "$work/cosine" "$work/one" --steps 1
train "$work/cosine" "$work/set" --steps 1 --set lr.steps=7
validation() { grep -o 'validation loss [^ ]*' "$work/$1.log"; }
if [ "$(validation none)" = "$(validation one)" ]; then
    bad "one step learns nothing: $(validation one)"
else
    ok
fi
grep -aq '"scalar.lr.steps":"1"' "$work/one/last" && ok || bad "--steps is not the schedule's length"
grep -aq '"scalar.lr.steps":"7"' "$work/set/last" && ok || bad "--set lr.steps is overwritten"
train "$work/cosine" "$work/set" --resume "$work/set" --steps 2
grep -aq '"scalar.lr.steps":"7"' "$work/set/last" && ok || bad "resuming overwrites --set lr.steps"
train "$work/cosine" "$work/one" --resume "$work/one" --steps 2
grep -aq '"scalar.lr.steps":"2"' "$work/one/last" && ok || bad "resuming keeps the length of the run before"
# What lies in the cache is executed: a folder that others can write to, or nobody's, is refused.
[ "$(stat -c %a "$work/cache/sinter")" = 700 ] && ok || bad "the cache is not private: $(stat -c %a "$work/cache/sinter")"
refused() { # LABEL WORDS VARIABLES...: exit 3 and the words, and nothing that lies there runs
    label=$1
    words=$2
    shift 2
    code=0
    env "$@" "$sinter" run "$work/model/mlp.sn" -- --help >"$work/log" 2>&1 || code=$?
    [ $code = 3 ] && grep -q "there is no private folder for the executable: $words" "$work/log" && ok ||
        bad "$label: exit $code, $(tail -1 "$work/log")"
}
chmod g+w "$work/cache/sinter"
refused "a folder of a group" "'$work/cache/sinter' can be written by other users" XDG_CACHE_HOME="$work/cache"
refused "no HOME" "neither XDG_CACHE_HOME nor HOME names a folder" -u XDG_CACHE_HOME -u HOME
refused "a HOME that is no path" "neither" -u XDG_CACHE_HOME HOME=relative
if [ "$(id -u)" = 0 ]; then
    chmod 700 "$work/cache/sinter" && chown 65534 "$work/cache/sinter"
    refused "a folder of somebody else" "'$work/cache/sinter' belongs to another user" XDG_CACHE_HOME="$work/cache"
fi
finish
