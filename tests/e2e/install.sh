#!/bin/sh
# cmake --install into an empty folder; what lies there is used by somebody who may write nowhere else, while the
# sources and the build are out of sight: two empty file systems lie over them where that is allowed.
. "$(dirname "$0")/common.sh"
corpus
prefix=$work/prefix
home=$work/home
mkdir "$home"
# the folders are those of most systems, whatever the build was configured for
for folder in CMAKE_INSTALL_BINDIR:PATH=bin CMAKE_INSTALL_LIBDIR:PATH=lib; do
    grep -q "^$folder\$" "$build/CMakeCache.txt" || { echo "skipped: not $folder"; exit 77; }
done
cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || bad "cmake --install: $(tail -1 "$work/log")"
find "$prefix" -type f | sort >"$work/there"
grep -v "^$prefix/" "$build/install_manifest.txt" >"$work/outside" || true
[ ! -s "$work/outside" ] && ok || bad "installed outside of the prefix: $(head -1 "$work/outside")"
tr -d '\r' <"$build/install_manifest.txt" | sort >"$work/told"
echo >>"$work/told"
grep . "$work/told" >"$work/manifest"
same "what was installed" "$work/there" "$work/manifest"
for file in bin/sinter lib/sinter/libsinter_train.a lib/sinter/libsinter_emulator.a \
    include/sinter/runtime/sinter.h share/doc/sinter/README.md share/doc/sinter/LICENSE \
    share/doc/sinter/docs/running.md share/doc/sinter/models/gpt2.sn share/man/man1/sinter.1 \
    share/bash-completion/completions/sinter; do
    [ -s "$prefix/$file" ] && ok || bad "no $file"
done
[ ! -x "$build/sinter-bench" ] || [ -x "$prefix/bin/sinter-bench" ] && ok || bad "no bin/sinter-bench"
# the links of the pages lead to pages
for page in "$prefix"/share/doc/sinter/*.md "$prefix"/share/doc/sinter/docs/*.md; do
    awk '/^```/ { code = !code; next } !code { gsub(/`[^`]*`/, ""); print }' "$page" | grep -oE '\]\([^)#]+' |
        sed 's/^](//' | grep -v '^https\?:' | while read -r link; do
        [ -e "$(dirname "$page")/$link" ] || echo "$page: $link"
    done || true
done >"$work/links"
[ ! -s "$work/links" ] && ok || bad "a link leads nowhere: $(head -1 "$work/links")"
# what the same sinter builds where it was made
"$sinter" build "$root/models/mlp.sn" -o "$work/expected" || bad "build"
"$work/expected" --data "$work/text" --steps 2 --out "$work/run" >/dev/null 2>&1 || bad "a run of two steps"

cat >"$work/use.sh" <<'END'
set -eu
prefix=$1 home=$2 root=$3 build=$4 work=$5 hidden=$6 long=$7
export HOME="$home" PATH="$prefix/bin:/usr/bin:/bin"
unset XDG_CACHE_HOME
model=$prefix/share/doc/sinter/models/mlp.sn
cd "$home"
fail() { echo "FAIL: $*"; }
check() { # LABEL COMMAND...
    label=$1
    shift
    "$@" >log 2>&1 && echo ok || fail "$label: $(tail -1 log)"
}
if [ "$hidden" = yes ]; then
    [ -e "$root/README.md" ] || [ -e "$build/sinter" ] && fail "the tree can be seen" || echo ok
fi
[ "$(id -u)" = 0 ] || [ ! -w "$prefix/bin" ] || fail "the prefix can be written to"
check "--version" sinter --version
check "help of the bench" sinter bench --help
check "build" sinter build "$model" -o train
check "the same bits as where it was made" cmp train "$work/expected"
check "two steps" ./train --data "$work/text" --steps 2 --out run
check "the same checkpoint" cmp run/step-00000002.safetensors "$work/run/step-00000002.safetensors"
check "run" sinter run "$model" -- --data "$work/text" --steps 2
ln -s "$prefix/bin/sinter" s
mkdir deep
check "build by a link, from another folder" sh -c 'cd deep && ../s build "$1" -o ../linked' - "$model"
check "the same bits by a link" cmp linked train
# for a GPU, where NVRTC is there: linked with the emulated device
if [ "$long" != 1 ]; then
    [ -s "$prefix/lib/sinter/libsinter_emulator.a" ] && echo ok || fail "no emulated device"
elif sinter --version | grep -q "^NVRTC .*not found"; then
    echo "skipped building for a GPU: no NVRTC"
else
    check "build for a GPU" sinter build "$model" -o both --target cpu,sm_90a
    check "two steps on the emulated device" env SINTER_DEVICE=emu:sm_90a ./both --data "$work/text" --steps 2
fi
# the runtime as a library
cat >reader.c <<'C'
#include <runtime/safetensors.h>
#include <stdio.h>
int main(int argc, char **argv) {
    SnSafetensors *st;
    SnError e;
    if (argc != 2 || sn_st_open(argv[1], &st, &e)) return 1;
    puts(sn_st_metadata(st, "sinter.step"));
    sn_st_close(st);
    return 0;
}
C
check "a program with the runtime" cc -Wall -Werror -I"$prefix/include/sinter" reader.c -o reader \
    "$prefix/lib/sinter/libsinter_train.a" -lm -lpthread
check "what it reads" sh -c '[ "$(./reader run/step-00000002.safetensors)" = 2 ]'
for header in "$prefix"/include/sinter/runtime/*.h; do
    echo "#include <runtime/$(basename "$header")>" >header.c
    check "$header alone" cc -fsyntax-only -Wall -Werror -I"$prefix/include/sinter" header.c
done
# completion, as bash asks for it: the words so far, and what is offered
cat >complete.bash <<'C'
. "$1/share/bash-completion/completions/sinter"
shopt -s nullglob
offers() { # EXPECTED, sorted, WORD...: the last one is begun
    expected=$1
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    # the function that was registered for the name of the program
    $(complete -p "${1##*/}" | sed 's/.*-F \([^ ]*\).*/\1/') "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    got=$(printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort | paste -sd ' ')
    [ "$got" = "$expected" ] && echo ok || echo "FAIL: '$*' offers '$got', not '$expected'"
}
listed() { LC_ALL=C sort | paste -sd ' '; }
offers "$(sinter --help | sed -n '/^options$/q; s/^  \([a-z]\{1,\}\).*/\1/p' | listed)" sinter ""
offers "bench build" sinter b
offers "--help --version" sinter -
offers "$(sinter dump --help | sed -n 's/^  \(--*[a-zD-]*\).*/\1/p' | grep -- -- | listed)" sinter dump --
offers "memplan merge microbatch" sinter dump m.sn --after m
offers "cpu" sinter build --target = c
offers "cpu,sm_100a cpu,sm_120" sinter build --target cpu,sm_1
offers "autodiff,tidy" sinter opt x.ir --passes = autodiff,t
offers "native x86-64-v3 x86-64-v4 x86-64-v4+bf16" sinter build --cpu =
offers "H100\\ PCIe H100\\ SXM" sinter bench --gpu "H100 "
offers "" sinter check --kern
offers "fmt" sinter help f
offers "log_softmax" sinter std log_softm
mkdir files files/folder
touch files/a.sn "files/b c.ir" files/d.txt
offers "files/a.sn files/b c.ir files/folder" sinter check files/
offers "files/a.sn files/folder" sinter fmt files/
offers "files/folder" sinter dump --dump-dir files/
(cd files && offers "folder" sinter dump --dump-dir =)
offers "files/d.txt" sinter build a.sn -o files/d
offers "--eval --eval-batches --eval-every" sinter run a.sn -- --eval
offers "data.stride=" sinter run a.sn -- --set data.st
offers "true" train --set data.shuffle = t
offers "tensors text" ./train --set data.kind = te
offers "files/d.txt" ./train --data files/d
offers "files/folder" ./train --out files/
offers "" ./train --steps ""
C
if command -v bash >/dev/null; then
    bash complete.bash "$prefix" 2>&1 || fail "the completion ends"
else
    echo "skipped the completion: no bash"
fi
# another prefix: nothing knows where it was installed
cp -R "$prefix" moved
chmod -R u+w moved
check "a moved prefix" moved/bin/sinter build "$model" -o elsewhere
check "the same bits from a moved prefix" cmp elsewhere train
rm moved/lib/sinter/libsinter_train.a
code=0
moved/bin/sinter build "$model" -o none >log 2>&1 || code=$?
[ $code = 3 ] && grep -q "cannot read '.*/libsinter_train.a', which every executable is linked with" log &&
    echo ok || fail "without the runtime: exit $code: $(tail -1 log)"
END

# use HIDDEN COMMAND...: runs use.sh, by nobody where that can be said
use() {
    how=$1
    shift
    drop=
    chmod -R a-w "$prefix"
    if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
        chmod 755 "$work"
        chown 65534 "$home"
        drop="setpriv --reuid=65534 --regid=65534 --clear-groups"
    fi
    # shellcheck disable=SC2086 # words are meant
    "$@" $drop sh "$work/use.sh" "$prefix" "$home" "$root" "$build" "$work" "$how" "$long" >"$work/used" 2>&1 ||
        bad "use.sh ends: $(tail -1 "$work/used")"
}
hide='mount -t tmpfs none "$1" && { [ ! -d "$2" ] || mount -t tmpfs none "$2"; } && shift 2 && exec "$@"'
if unshare -m sh -c "$hide" - "$root" "$build" true 2>/dev/null; then
    use yes unshare -m sh -c "$hide" - "$root" "$build"
elif unshare -rm sh -c "$hide" - "$root" "$build" true 2>/dev/null; then
    use yes unshare -rm sh -c "$hide" - "$root" "$build"
else
    echo "skipped hiding the sources and the build: no mount namespaces"
    use no
fi
chmod -R u+w "$prefix"
grep -v '^ok$' "$work/used" || true
passed=$((passed + $(grep -c '^ok$' "$work/used")))
failed=$((failed + $(grep -c '^FAIL' "$work/used" || true)))
finish
