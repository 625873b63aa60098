#!/bin/sh
# The demonstration: builds Sinter, compiles a language model over bytes (models/bytes.sn) into one
# executable, trains it on the King James Bible, and shows what it writes.
#
#   tools/demo.sh [STEPS]      400 steps unless told otherwise; everything lands in build/demo
set -eu
cd "$(dirname "$0")/.."
. ./tools/packages.sh

steps=${1:-400}
case $steps in
'' | *[!0-9]*)
    echo "usage: tools/demo.sh [STEPS]" >&2
    exit 2
    ;;
esac
directory=${BUILD_DIR:-build}
demo=$directory/demo

require bible-kjv
echo "building sinter in $directory"
build "$directory" sinter

mkdir -p "$demo"
text=$demo/bible.txt
[ -s "$text" ] || { bible -f Gen1:1-Rev22:21 >"$text.tmp" && mv "$text.tmp" "$text"; }
echo "text: $text, $(wc -c <"$text") bytes"

echo
echo "\$ sinter build models/bytes.sn -o $demo/bytes"
"$directory/sinter" build models/bytes.sn -o "$demo/bytes"
echo "one executable of $(wc -c <"$demo/bytes") bytes, which needs:"
ldd "$demo/bytes" | sed 's/ =>.*//; s/ (.*//'

echo
rm -rf "$demo/checkpoints" "$demo/log"
"$demo/bytes" --data "$text" --steps "$steps" --out "$demo/checkpoints" --log "$demo/log"

echo
echo "a sample:"
"$demo/bytes" --resume "$demo/checkpoints" --generate "And God said" --tokens 300 --temperature 0.7

echo
echo "model        models/bytes.sn"
echo "executable   $demo/bytes (--help lists its options)"
echo "checkpoint   $demo/checkpoints"
echo "losses       $demo/log/metrics.jsonl"
echo "train on     $demo/bytes --data $text --resume $demo/checkpoints --steps $((steps * 2))"
