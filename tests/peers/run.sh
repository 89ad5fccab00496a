#!/usr/bin/env bash
# Compares our programs with implementations that nobody here wrote.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: tests/peers/run.sh [--help] [SCRIPT...]
       tests/peers/run.sh --bench [ARGUMENT...]

Builds the examples, installs Hugging Face transformers with PyTorch (5 GB), gguf, and llama.cpp as a
library into TARGET/peers/venv, fetches SmolLM2 (scripts/get-smollm2.sh), runs each SCRIPT of this
folder, by default all, and prints what passed, was skipped or failed. A script whose packages cannot be
installed is skipped, with the reason. It needs python3 3.10 or newer with venv and pip.

--bench compiles llama.cpp's programs too, with cmake from a wheel and the C++ compiler that is there,
and runs bench_cpu.py with the arguments that follow.
TEXT
}

readonly SCRIPTS=(transformers_reads_exports.py gguf_reads_exports.py llama_cpp_runs_exports.py
    ggml_fixtures.py)

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
target="${CARGO_TARGET_DIR:-$root/target}"
readonly here root target venv="$target/peers/venv"

say() { printf 'peers: %s\n' "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

# Installs the packages of a file, once for each of its contents. What cannot be installed is left to
# the scripts, which say what they miss.
install() {
    local file="$here/$1" stamp="$venv/$1"
    cmp --quiet "$file" "$stamp" && return
    say "installing ${1}"
    if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$file" >&2; then
        cp "$file" "$stamp"
    else
        say "cannot install the packages of $1"
    fi
}

# llama.cpp without its server, tests and examples.
export CMAKE_ARGS="-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF
    -DLLAMA_BUILD_APP=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF"
LLAMA_CPP_BUILD_JOBS="$(nproc)"
export LLAMA_CPP_BUILD_JOBS

bench=false
case "${1-}" in
-h | --help)
    usage
    exit 0
    ;;
--bench)
    bench=true
    shift
    ;;
-*)
    usage >&2
    fail "unknown argument '$1'"
    ;;
esac

cd "$root"
cargo build --release --locked --example generate --example chat --example convert
mkdir -p "$target/peers"
[[ -x $venv/bin/python ]] || python3 -m venv "$venv" ||
    fail "python3 cannot make a virtual environment (on Debian: apt-get install python3-venv)"
install requirements.txt
scripts/get-smollm2.sh >&2 || say "no SmolLM2: its checks are left out"

if "$bench"; then
    install requirements-bench.txt
    exec "$venv/bin/python" "$here/bench_cpu.py" "$@"
fi
install requirements-torch.txt

selected=("$@")
((${#selected[@]} > 0)) || selected=("${SCRIPTS[@]}")
passed=0 skipped=0 failed=0 table=""
for script in "${selected[@]}"; do
    [[ -e "$here/$script" ]] || fail "no script '$script'; there are ${SCRIPTS[*]}"
    printf '\n=== %s\n' "$script"
    status=0
    output="$("$venv/bin/python" "$here/$script" 2>&1)" || status=$?
    printf '%s\n' "$output"
    last="$(tail -n 1 <<<"$output")"
    case $status in
    0) verdict="passed" && passed=$((passed + 1)) ;;
    77) verdict="skipped" && skipped=$((skipped + 1)) ;;
    *) verdict="FAILED" && failed=$((failed + 1)) ;;
    esac
    table+="$(printf '%-8s %-32s %s' "$verdict" "$script" "$last")"$'\n'
done
printf '\n%s%d passed, %d failed, %d skipped\n' "$table" "$passed" "$failed" "$skipped"
((failed == 0))
