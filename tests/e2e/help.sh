#!/bin/sh
# What --help says of sinter, of each command and of a training executable, byte for byte: tests/help/NAME.txt.
#
#   tests/e2e/help.sh BUILD_DIRECTORY [-w]   -w writes the files instead: read the difference
. "$(dirname "$0")/common.sh"
unset COLUMNS
golden=$root/tests/help
# help NAME COMMAND...: what the command prints, with exit code 0 and nothing on stderr
help() {
    name=$1
    shift
    "$@" >"$work/$name" 2>"$work/stderr" </dev/null || bad "exit code $?: $*"
    [ ! -s "$work/stderr" ] || bad "$* writes to stderr: $(head -1 "$work/stderr")"
    [ "${writing:-}" ] && cp "$work/$name" "$golden/$name.txt"
    same "$*" "$work/$name" "$golden/$name.txt"
}
[ "${2:-}" = -w ] && writing=1

help sinter "$sinter" --help
commands=$(sed -n '/^options$/q; s/^  \([a-z]\{1,\}\).*/\1/p' "$work/sinter")
for command in $commands; do
    help "$command" "$sinter" "$command" --help
    "$sinter" help "$command" >"$work/again"
    same "help $command" "$work/again" "$work/$command"
    "$sinter" "$command" -h >"$work/again"
    same "$command -h" "$work/again" "$work/$command"
done
[ "$(echo "$commands" | wc -w)" -ge 12 ] || bad "only these commands: $commands"
# a training executable
"$sinter" build "$root/models/mlp.sn" -o "$work/mlp" || bad "build"
help train env -C "$work" ./mlp --help
"$work/mlp" --steps 3 -h >"$work/again" || bad "mlp -h"
sed '1s/.*/usage: .\/mlp [OPTION].../' "$work/again" >"$work/named"
same "mlp -h" "$work/named" "$work/train"
[ "$(sed -n 's/^  --\([a-z-]*\).*/\1/p' "$work/train" | sort | uniq -d)" = set ] && ok || bad "an option stands twice"
COLUMNS=57 "$work/mlp" --help | awk 'length($0) > 57 && !/^usage/ { exit 1 }' && ok || bad "lines longer than the terminal"
for file in "$golden"/*.txt; do
    [ -f "$work/$(basename "$file" .txt)" ] || bad "$file belongs to no command"
done
# the devices that help names are those that there are
for device in cpu $("$sinter" targets | sed -n 's/^    //p'); do
    tr '\n' ' ' <"$work/build" | tr -s ' ' | grep -q "devices:[^;]* $device[,;]" && ok || bad "help does not name $device"
done
# the bench is a program of its own, which knows its options too
if [ -x "$build/sinter-bench" ]; then
    "$build/sinter-bench" --help >"$work/again"
    same "sinter-bench --help" "$work/again" "$work/bench"
fi
# help is given before anything is asked for, behind other arguments too
"$sinter" build models/absent.sn --help >"$work/again" || bad "exit code $? of --help behind a file"
same "--help behind a file" "$work/again" "$work/build"

# the version: of what was built from what, and of the libraries
"$sinter" --version >"$work/version" || bad "--version"
commit=unknown
[ -e "$root/.git" ] && commit=$(git -C "$root" describe --always --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)
llvm=$(llvm-config-19 --version)
for line in "1:sinter [0-9][0-9.]*" "2:commit  $commit\(-dirty\)*" "3:LLVM    $llvm" "4:NVRTC   \(not found\|[0-9]*\.[0-9]* (.*)\)"; do
    sed -n "${line%%:*}p" "$work/version" | grep -qx "${line#*:}" && ok || bad "--version has no '${line#*:}'"
done
SINTER_NVRTC=/nowhere "$sinter" --version | grep -qx "NVRTC   not found" && ok || bad "NVRTC is found where it is not"

# lines fit the terminal, down to 40 columns
for width in 200 80 57 40; do
    for command in "" $commands; do
        # shellcheck disable=SC2086 # nothing is no argument
        COLUMNS=$width "$sinter" $command --help >"$work/wide"
        long=$(awk -v w="$width" 'length($0) > w && !/^  sinter / { print; exit }' "$work/wide")
        [ -z "$long" ] && ok || bad "longer than $width columns: $long"
    done
done
COLUMNS=3 "$sinter" build --help >"$work/narrow"
COLUMNS=40 "$sinter" build --help >"$work/forty"
same "fewer columns than can be read" "$work/narrow" "$work/forty"
COLUMNS=57 "$sinter" build --help >"$work/narrow"
cmp -s "$work/narrow" "$work/forty" && bad "COLUMNS changes nothing"
finish
