#!/bin/sh
# Cargo calls it in place of rustc (RUSTC_WRAPPER), with rustc and its arguments. Crates that Cargo.toml
# gives debug assertions, ours, get the coverage counters of LLVM that libFuzzer reads. These are stable
# flags; the sanitizers would need nightly. Cargo does not see a change of this file.
rustc=$1
shift
for argument; do
    if [ "$argument" = debug-assertions=on ]; then
        exec "$rustc" "$@" -C passes=sancov-module \
            -C llvm-args=-sanitizer-coverage-level=4 \
            -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
            -C llvm-args=-sanitizer-coverage-pc-table \
            -C llvm-args=-sanitizer-coverage-trace-compares
    fi
done
exec "$rustc" "$@"
