#!/bin/sh
# What holds of the tree itself: who includes whom, no mutable globals, the canonical layout of C files,
# generated pages up to date, links and examples of the pages true, no words that belong to one machine.
#
#   tests/structure.sh BUILD_DIRECTORY
. "$(dirname "$0")/e2e/common.sh"
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# none LABEL FILE: the file is a list of faults and must be empty.
none() {
    if [ -s "$2" ]; then
        bad "$1"
        sed 's/^/    /' "$2"
    else
        ok
    fi
}
sources() { find "$@" -name '*.[chly]' -o -name '*.def' | sort; }

# ---- includes: folder, then the folders it may include ---------------------------------------------
arrows() { # FOLDER 'PATTERN OF ALLOWED INCLUDES'
    sources "$1" | xargs grep -HnE '^ *# *include "' | grep -vE ":[0-9]+: *# *include \"($2)" >"$work/arrows" || true
    [ "$(sources "$1" | wc -l)" -gt 0 ] || bad "no sources in $1"
    none "$1 includes what it must not" "$work/arrows"
}
arrows ir 'ir/'
arrows frontend 'ir/|frontend/|parser\.tab\.h"|runtime/setting\.h"'
arrows passes 'ir/|passes/'
arrows codegen 'ir/|codegen/|runtime/(plan\.h|elem\.def|dtypes\.def)"'
arrows runtime 'runtime/'
# The rooms of the runtime. What others include stands in runtime/ itself.
shared='runtime/(sinter|plan|plain|elem|narrow|safetensors|setting|xxh64)\.h"|runtime/(plan|elem|dtypes)\.def"'
arrows runtime/core "$shared|runtime/core/"
arrows runtime/files "$shared|runtime/files/"
arrows runtime/comm "$shared|runtime/core/cgroup\.h\"|runtime/comm/"
arrows runtime/cpu "$shared|runtime/core/|runtime/cpu/"
arrows runtime/cuda "$shared|runtime/core/device\.h\"|runtime/files/folder\.h\"|runtime/cuda/"
arrows runtime/emulator "runtime/(elem|narrow)\.h\"|runtime/core/(gemm|pool)\.h\"|runtime/cuda/api\.|runtime/emulator/"
arrows runtime/emulator/engine 'runtime/core/pool\.h"|runtime/emulator/engine/'
# What is included from the compiler's own headers by system-style brackets would slip through.
sources ir frontend passes codegen runtime | xargs grep -HnE '# *include <(ir|frontend|passes|codegen|runtime)/' \
    >"$work/brackets" || true
none "own headers in brackets" "$work/brackets"

# ---- one word, one type ----------------------------------------------------------------------------
# A name that two typedefs give has two meanings, wherever they stand.
sources ir frontend passes codegen runtime tools tests | xargs awk '
    function flat(text) { # without what stands in braces
        while (match(text, /\{[^{}]*\}/)) text = substr(text, 1, RSTART - 1) " " substr(text, RSTART + RLENGTH)
        return text
    }
    FNR == 1 { text = "" }
    {
        line = $0
        sub(/\/\/.*/, "", line)
        if (text == "" && line !~ /(^|[^A-Za-z0-9_])typedef[^A-Za-z0-9_]/) next
        if (text == "") { sub(/.*typedef/, "", line); at = FNR }
        text = text " " line
        whole = flat(text)
        if (whole ~ /\{/ || whole !~ /;/) next
        sub(/;.*/, "", whole)
        gsub(/__attribute__ *\(\(.*\)\)|\[[^]]*\]/, "", whole)
        if (!sub(/.*\( *\* */, "", whole)) sub(/ *\([^()]*\) *$/, "", whole)
        else sub(/\).*/, "", whole)
        n = split(whole, part, ",")
        for (i = 1; i <= n; i++) {
            sub(/ *$/, "", part[i])
            sub(/.*[^A-Za-z0-9_]/, "", part[i])
            print part[i], FILENAME ":" at
        }
        text = ""
    }' | sort >"$work/types"
[ "$(wc -l <"$work/types")" -gt 300 ] || bad "only $(wc -l <"$work/types") typedefs were found"
awk '$1 == last { print last ": " where ", " $2 } { last = $1; where = $2 }' "$work/types" >"$work/twice"
none "a name stands for two types" "$work/twice"

# ---- no mutable globals ----------------------------------------------------------------------------
# Constant tables of pointers are in .data.rel.ro; whatever is in .data, .bss or thread storage can
# change. The CUDA driver's interface has one state per process, and so has its emulation: `the` in
# emulator/driver/driver.c.
for library in libsn_ir libsn_passes frontend/libsn_frontend libsn_codegen libsinter_runtime libsinter_emulator; do
    [ -f "$build/$library.a" ] || { bad "no $build/$library.a"; continue; }
    objdump -t "$build/$library.a" | awk '
        /file format/ { member = $1 }
        / (\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && !/ d  / && !/\.data\.rel\.ro/ { print member, $NF }' | grep -vE '__(a|ub|t)san|\.LASAN|^driver\.c\.o: the$' >"$work/mutable" || true
    none "$library has mutable globals" "$work/mutable"
done

# ---- layout of C files -----------------------------------------------------------------------------
tracked() { git ls-files -co --exclude-standard -- "$@"; }
if command -v clang-format >/dev/null; then
    tracked '*.c' '*.h' '*.cuh' | while read -r file; do [ ! -f "$file" ] || echo "$file"; done |
        xargs -P 2 -n 40 clang-format --dry-run -Werror 2>&1 | sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: error.*/\1/p' | sort -u >"$work/layout"
    none "not laid out as .clang-format says (clang-format -i FILE)" "$work/layout"
else
    echo "skipped the layout of C files: no clang-format"
fi

# ---- layout of the library --------------------------------------------------------------------------
"$build/sinter" fmt frontend/std.sn >"$work/std" || bad "fmt frontend/std.sn"
same "frontend/std.sn is not laid out as 'sinter fmt' does" "$work/std" frontend/std.sn

# ---- generated pages -------------------------------------------------------------------------------
for page in ops passes std commands; do
    "$build/docs" --$page >"$work/page" || bad "docs --$page"
    same "docs/$page.md is not what 'docs --$page' prints" "$work/page" "docs/$page.md"
done

# Tables inside of a page: between a line '<!-- docs --NAME -->' and the next '<!-- end -->'.
for table in language:lines running:settings; do
    page=docs/${table%:*}.md name=${table#*:}
    "$build/docs" --$name >"$work/table" || bad "docs --$name"
    sed -n "/^<!-- docs --$name -->\$/,/^<!-- end -->\$/p" "$page" | sed '1d;$d' >"$work/in_page"
    same "the table in $page is not what 'docs --$name' prints" "$work/table" "$work/in_page"
done

# ---- links of the pages ----------------------------------------------------------------------------
pages=$(tracked '*.md')
prose() { awk '/^```/ { code = !code; next } !code { gsub(/`[^`]*`/, ""); print }' "$1"; }
for page in $pages; do
    directory=$(dirname "$page")
    prose "$page" | grep -oE '\]\([^)]*\)' | sed 's/^](//; s/)$//; s/#.*//' | grep -v '^https\?:' | while read -r link; do
        [ -z "$link" ] || [ -e "$directory/$link" ] || echo "$page: $link"
    done || true
    # Paths in back quotes that name a file of the tree. A '*' stands for several.
    grep -oE '`(ir|frontend|passes|codegen|runtime|tests|tools|models|docs)/[A-Za-z0-9_./*-]+`' "$page" | tr -d '`' |
        while read -r path; do
            # shellcheck disable=SC2086 # the pattern is meant
            ls -d $path >/dev/null 2>&1 || echo "$page: $path"
        done || true
done >"$work/links"
none "links that lead nowhere" "$work/links"

# ---- examples of the pages: each block marked sn is a whole model that compiles, or lines of a model -
# blocks PAGE: writes every such block to $work/block.N
blocks() {
    rm -f "$work"/block.*
    awk -v to="$work/block." '/^```sn$/ { n++; on = 1; next } /^```/ { on = 0 } on { print > (to n) }' "$1"
}
# excerpt FILE MODEL: the lines of FILE stand in MODEL, one after the other.
excerpt() {
    awk 'NR == FNR { want = want $0 "\n"; next } { have = have $0 "\n" }
         END { exit index("\n" have, "\n" want) ? 0 : 1 }' "$1" "$2"
}
examples=0
for page in $pages; do
    blocks "$page"
    for block in "$work"/block.*; do
        [ -f "$block" ] || continue
        examples=$((examples + 1))
        found=
        for model in models/*.sn; do excerpt "$block" "$model" && found=$model; done
        [ -n "$found" ] && ok && continue
        if "$build/sinter" check "$block" >"$work/check" 2>&1; then ok; else
            bad "$page: a block is neither lines of a model nor compiles: $(head -1 "$work/check")"
        fi
    done
done
[ "$examples" -ge 7 ] || bad "only $examples examples were found"
grep -q '^```sn$' README.md || bad "README.md shows no model"

# ---- words of one machine --------------------------------------------------------------------------
# Brackets keep the patterns from finding themselves.
tracked . | grep -vE '\.safetensors$' | while read -r file; do [ ! -f "$file" ] || echo "$file"; done >"$work/tracked"
{
    xargs grep -nHIE '[/](work|home|Users|root)/|[f]ile://|[p]ypi\.|[c]rates\.io|[n]pmjs|[d]eb\.debian\.org|[g]hcr\.io|[d]ocker\.io' \
        <"$work/tracked" || true
    xargs grep -nHIE '\b([T]ODO|[F]IXME|[X]XX)\b' <"$work/tracked" || true
} >"$work/words"
none "words that belong to one machine, or notes of things not done" "$work/words"

# ---- files open with what they are for -------------------------------------------------------------
tracked '*.c' '*.h' '*.cuh' | while read -r file; do
    [ -f "$file" ] || continue
    head -c 3 "$file" | grep -q '^// ' || echo "$file"
done >"$work/heads"
none "files that do not open with a comment" "$work/heads"
finish
