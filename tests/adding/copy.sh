# shellcheck shell=sh
# Sourced by adding.sh and renew.sh: copies of the tree, and patches on them.

# copy_tree ROOT DIR: what git knows of the tree, as it stands.
copy_tree() {
    rm -rf "$2"
    mkdir -p "$2"
    (cd "$1" && git ls-files -co --exclude-standard | while read -r file; do [ ! -f "$file" ] || echo "$file"; done |
        xargs -d '\n' cp -p --parents -t "$2")
}
# apply_patch DIR PATCH ARGS...: to a copy that is no repository, though it may lie in one.
apply_patch() {
    (cd "$1" && patch=$2 && shift 2 && GIT_CEILING_DIRECTORIES=$(cd .. && pwd -P) git apply "$@" "$patch")
}
# touched PATCH: the files that it names
touched() { grep -c '^diff --git ' "$1"; }
