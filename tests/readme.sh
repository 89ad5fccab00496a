#!/usr/bin/env bash
# Runs the commands of README.md, with extra arguments that make the results readable and answers short,
# and checks what the README promises of the demo: a held-out loss below that of bigrams, within
# five minutes of training on two cores.
#
# Every line of the README's ```sh blocks must have a row below, and every row a line there: a
# command that changes, appears or goes fails this script until the table says what to do with it.
# Commands run in an empty folder below the clone, so that nobody's out/ is touched and Cargo still
# finds the workspace, its toolchain and its settings.
set -euo pipefail

# README line => "run" and the arguments to append, or "skip" and the reason.
declare -A plan=(
    ["cargo run --release --example pretrain"]="run --metrics-out metrics.jsonl"
    ["cargo run --release --example chat -- --model out/demo"]="run --prompt Hello --max-new-tokens 8"
    ["cargo test --release"]="skip: .ci/run runs it as a part of its own"
)

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
mkdir -p "$root/target"
scratch="$(mktemp --directory --tmpdir="$root/target")"
trap 'rm -rf "$scratch"' EXIT

fail() {
    printf 'readme: error: %s\n' "$*" >&2
    exit 1
}

# Lines inside ```sh fences, without comments and empty lines.
readme_commands() {
    awk '/^```/ { inside = ($0 == "```sh") && !inside; next } inside' "$root/README.md" |
        sed -E 's/[[:space:]]+#.*$//; /^#/d; /^[[:space:]]*$/d'
}

mapfile -t commands < <(readme_commands)
((${#commands[@]} > 0)) || fail "README.md has no command in a \`\`\`sh block"

for command in "${!plan[@]}"; do
    printf '%s\n' "${commands[@]}" | grep -Fxq -- "$command" ||
        fail "README.md no longer has '$command': remove its row in tests/readme.sh"
done
for command in "${commands[@]}"; do
    [[ -n ${plan[$command]-} ]] || fail "'$command' has no row in tests/readme.sh"
done

cd "$scratch"
for command in "${commands[@]}"; do
    case "${plan[$command]}" in
    skip:*) printf 'readme: not run: %s (%s)\n' "$command" "${plan[$command]#skip: }" ;;
    run*)
        extra="${plan[$command]#run}"
        [[ -z $extra || $command == *" -- "* ]] || extra=" --$extra"
        printf 'readme: %s%s\n' "$command" "$extra"
        bash -c "$command$extra" </dev/null || fail "'$command$extra' failed"
        ;;
    *) fail "the row of '$command' starts with neither run nor skip:" ;;
    esac
done
tail -n 1 metrics.jsonl | python3 -c '
import json, sys
final = json.load(sys.stdin)
loss, bigrams, wall_s = final["val_loss"], final["bigram_loss"], final["wall_s"]
verdict = f"held out {loss:.3f}, bigrams {bigrams:.3f} nats/token, {wall_s:.0f} s"
promised = final["event"] == "final" and loss < bigrams and wall_s < 300
sys.exit(None if promised else f"readme: error: the demo breaks its promise: {verdict}")
'
printf 'readme: all commands of README.md work\n'
