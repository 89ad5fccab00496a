#!/usr/bin/env bash
# Fuzzes the readers of foreign files with libFuzzer, on stable Rust.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/fuzz.sh [--help] [--seconds N] [--jobs N] [TARGET...]

Builds the fuzz targets of fuzz/Cargo.toml with coverage counters in our crates and runs each TARGET, by
default all, for N seconds (default 20), N at a time (default 1), from the seeds of fuzz/corpus/TARGET.
Needs a C++ compiler.

Coverage counters are a stable flag, sanitizers are not: overflow checks and debug assertions are on,
out-of-bounds access in unsafe code goes unnoticed. `cargo +nightly fuzz run TARGET` has both.

An input that fails is kept in fuzz/artifacts/TARGET and runs again with

    TARGET_FOLDER/release/TARGET fuzz/artifacts/TARGET/FILE
TEXT
}

readonly TIMEOUT_S=10 MEMORY_MB=2048 LONGEST_INPUT=8192

say() { printf 'fuzz: %s\n' "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

seconds=20 jobs=1 selected=()
while (($# > 0)); do
    case "$1" in
    -h | --help)
        usage
        exit 0
        ;;
    --seconds | --jobs)
        [[ ${2-} =~ ^[1-9][0-9]*$ ]] || fail "$1 takes a number above 0"
        declare "${1#--}=$2"
        shift
        ;;
    -*)
        usage >&2
        fail "unknown argument '$1'"
        ;;
    *) selected+=("$1") ;;
    esac
    shift
done

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
target="${CARGO_TARGET_DIR:-$root/target}"
mapfile -t targets < <(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
((${#selected[@]} > 0)) || selected=("${targets[@]}")
for name in "${selected[@]}"; do
    [[ " ${targets[*]} " == *" $name "* ]] || fail "no target '$name'; the targets are ${targets[*]}"
done

say "building ${#selected[@]} targets"
start_s=$SECONDS
bins=("${selected[@]/#/--bin=}")
RUSTC_WRAPPER="$root/fuzz/rustc-with-coverage.sh" CARGO_TARGET_DIR="$target" \
    cargo build --release --locked --manifest-path fuzz/Cargo.toml "${bins[@]}"
say "built in $((SECONDS - start_s)) s"

# New inputs stay here; the seeds in the repository are only read.
work="$(mktemp --directory --tmpdir="$target")"
trap 'rm -rf "$work"' EXIT

# Runs one target; leaves its last lines in $work/TARGET.log and its status in $work/TARGET.status.
fuzz_one() {
    local name="$1" status=0
    mkdir -p "$work/$name" "fuzz/artifacts/$name"
    "$target/release/$name" "$work/$name" "fuzz/corpus/$name" -max_total_time="$seconds" \
        -artifact_prefix="fuzz/artifacts/$name/" -timeout="$TIMEOUT_S" -rss_limit_mb="$MEMORY_MB" \
        -max_len="$LONGEST_INPUT" -print_final_stats=1 >"$work/$name.log" 2>&1 || status=$?
    echo "$status" >"$work/$name.status"
}

for name in "${selected[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
    fuzz_one "$name" &
done
wait

failed=0
for name in "${selected[@]}"; do
    log="$work/$name.log"
    # "#1234 DONE cov: 567 ft: …"
    coverage="$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | grep -o '[0-9]*' || true)"
    runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
    if [[ $(<"$work/$name.status") == 0 && -n $coverage && -n $runs ]]; then
        printf 'passed  %-20s %9d inputs, %5d places covered\n' "$name" "$runs" "$coverage"
    else
        failed=$((failed + 1))
        printf 'FAILED  %-20s\n' "$name"
        tail -n 40 "$log" >&2
    fi
done
printf '%d passed, %d failed\n' $((${#selected[@]} - failed)) "$failed"
((failed == 0))
