# shellcheck shell=sh
# Sourced by demo.sh and test.sh: installs what is missing, saying what. Needs Debian 12 or a relative.

# require [PACKAGE...] : installs those of the toolchain and those named that are absent; stops the
# script when it cannot.
require() {
    missing=
    for package in gcc libc6-dev cmake ninja-build bison flex llvm-19-dev libcmocka-dev libssl-dev zlib1g-dev \
        "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root=sudo
        if ! command -v sudo >/dev/null; then
            echo "missing packages:$missing; install them as root: apt-get install$missing" >&2
            exit 3
        fi
    fi
    echo "installing$missing"
    $as_root apt-get update -qq || echo "the list of packages is old: apt-get update failed" >&2
    # Word splitting is meant: a list of packages.
    # shellcheck disable=SC2086
    if ! $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
        echo "cannot install:$missing" >&2
        exit 3
    fi
}

# build DIR TARGET... : configures once and builds (all targets when none are named). On failure the
# compiler's words are shown and the script stops.
build() {
    directory=$1
    shift
    mkdir -p "$directory"
    if ! { cmake -B "$directory" -G Ninja -S . && ninja -C "$directory" "$@"; } \
        >"$directory/build.log" 2>&1; then
        tail -n 40 "$directory/build.log" >&2
        echo "the build failed; all of it is in $directory/build.log" >&2
        exit 1
    fi
}
