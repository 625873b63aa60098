#!/bin/sh
# Renews a patch of this folder that no longer applies, or no longer is all that there is to do.
#
#   tests/adding/renew.sh open NAME     build/adding/NAME: a copy of the tree with the patch, rejected parts as *.rej
#   tests/adding/renew.sh write NAME    makes the patch of what the copy is by then, and lowers its count if it fell
#
# A patch holds what is written by hand. Pages and tables that build/docs makes are not in it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/copy.sh"
usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}
[ $# = 2 ] && [ -f "$here/$2.patch" ] || usage
name=$2
copy=$root/build/adding/$name
case $1 in
open)
    copy_tree "$root" "$copy"
    git -C "$copy" init -q
    git -C "$copy" add -A
    git -C "$copy" -c user.name=renew -c user.email= commit -qm tree
    git -C "$copy" apply --reject "$here/$name.patch" || true
    echo "edit $copy, build it there, then: tests/adding/renew.sh write $name"
    ;;
write)
    [ -d "$copy/.git" ] || usage
    rejected=$(find "$copy" -name '*.rej')
    [ -z "$rejected" ] || {
        echo "still there: $rejected" >&2
        exit 1
    }
    git -C "$copy" add -A
    # one line of context: what stands further away may change
    git -C "$copy" diff --cached --no-color --no-ext-diff --no-renames -U1 -- . ':!docs/ops.md' ':!docs/passes.md' |
        sed '/^index /d' >"$here/$name.patch"
    n=$(touched "$here/$name.patch")
    before=$(sed -n "s/^$name //p" "$here/counts")
    echo "$name: $n files, $before before"
    [ "$n" -ge "$before" ] || sed -i "s/^$name .*/$name $n/" "$here/counts"
    ;;
*) usage ;;
esac
