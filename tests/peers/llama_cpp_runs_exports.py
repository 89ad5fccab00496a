#!/usr/bin/env python3
"""llama.cpp runs our GGUF exports, and a GGUF file that others made, as we do.

stories260K, exported in f32, f16 and q8_0, through llama.cpp's server as a library (xllamacpp):

- in f32 and f16 200 greedy tokens from the beginning token are the text that llama2.c's own test
  expects; ours are the same ids;
- llama.cpp cuts texts into the ids into which we cut them;
- after a prompt the probabilities of all 512 tokens agree.

SmolLM2-135M-Instruct in Q4_1, as scripts/get-smollm2.sh fetches it: llama.cpp renders a chat, answers
greedily and stops; our `chat` has the same ids for question and answer.

Everything is deterministic: temperature 0, keys and values in f32, a server on the loopback device
that answers one request at a time.
"""

import json
import sys
import urllib.request
from pathlib import Path

import support

support.require("xllamacpp", "numpy", "safetensors.numpy")

import numpy as np
import xllamacpp

GREEDY_TOKENS = 200
QUESTION = "What is the capital of Italy? Answer in one sentence."
# Largest difference of two log-probabilities. In f16 llama.cpp rounds the activations of its matrix
# products to f16 as well, in q8_0 to 8 bits; in f32 only the order of sums differs.
LOGPROB_TOLERANCES = {"f32": 1e-4, "f16": 2e-2, "q8_0": 0.5}
# Tokens too rare to be compared: their relative rounding is the largest and matters least.
LEAST_LOGPROB = -10.0
report = support.Report()


class LlamaCpp:
    """llama.cpp with one model, two threads, no GPU."""

    def __init__(self, model: Path, context_tokens: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = context_tokens
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = 2
        params.fit_params = params.warmup = False
        params.offline = True
        params.verbosity = 0
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(params)

    def post(self, path: str, **body: object) -> dict:
        request = urllib.request.Request(
            self.server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)

    def greedy(self, ids: list[int], tokens: int, probabilities: int = 0) -> dict:
        """A continuation of ids, which get no second beginning token."""
        return self.post(
            "/completion",
            prompt=ids,
            n_predict=tokens,
            n_probs=probabilities,
            temperature=0,
            cache_prompt=False,
            return_tokens=True,
        )

    def ids(self, text: str, add_special: bool) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": True}
        return self.post("/tokenize", **body)["tokens"]


def compare_probabilities(name: str, llama: LlamaCpp, ids: list[int], logits: np.ndarray) -> None:
    last = logits[-1].astype(np.float64)
    ours = last - np.log(np.exp(last - last.max()).sum()) - last.max()
    found = llama.greedy(ids, 1, probabilities=len(ours))["completion_probabilities"][0]
    theirs = {entry["id"]: entry["logprob"] for entry in found["top_logprobs"]}
    likely = [id for id in theirs if max(ours[id], theirs[id]) > LEAST_LOGPROB]
    worst = max(abs(ours[id] - theirs[id]) for id in likely)
    holds = len(theirs) == len(ours) and worst <= LOGPROB_TOLERANCES[name]
    report.check(f"{name}: log-probabilities of {len(likely)} tokens", holds, f"{worst:.1e} off")


def stories() -> None:
    expected_file = support.ASSETS / "reference" / "stories260K_expected_greedy_200.txt"
    if report.missing(support.STORIES) or report.missing(expected_file):
        return
    expected = expected_file.read_text()
    with support.scratch() as folder:
        for name in LOGPROB_TOLERANCES:
            options = {"quantize": name} if name == "q8_0" else {"dtype": name}
            path = Path(folder) / f"{name}.gguf"
            support.convert(support.STORIES, path, format="gguf", **options)
            llama = LlamaCpp(path, context_tokens=512)
            for prompt in support.PROMPTS:
                ids, logits = support.logits(path, prompt)
                ids = ids.tolist()
                report.equal(f"{name}: ids of {prompt!r}", ids, llama.ids(prompt, add_special=True))
                compare_probabilities(name, llama, ids, logits)
            if name == "q8_0":
                continue
            ours = support.generate(path, "", GREEDY_TOKENS)
            theirs = llama.greedy(ours["prompt_ids"], GREEDY_TOKENS)
            # llama2.c leaves out the space in front of the first word.
            report.equal(f"{name}: text of llama.cpp", theirs["content"].removeprefix(" "), expected)
            report.equal(f"{name}: {GREEDY_TOKENS} greedy ids", ours["ids"], theirs["tokens"])
            report.equal(f"{name}: our text", ours["text"].removeprefix(" "), expected)


def smollm2() -> None:
    if report.missing(support.SMOLLM2):
        return
    llama = LlamaCpp(support.SMOLLM2, context_tokens=1024)
    question = {"role": "user", "content": QUESTION}
    rendered = llama.post("/apply-template", messages=[question])["prompt"]
    arguments = ["--temperature", 0, "--max-new-tokens", 64, "--device", "cpu", "--json"]
    output = support.run("chat", "--model", support.SMOLLM2, "--prompt", QUESTION, *arguments)
    ours = json.loads(output)
    prompt_ids = llama.ids(rendered, add_special=False)
    report.equal("SmolLM2: ids of a chat", ours["prompt_ids"], prompt_ids)
    theirs = llama.greedy(prompt_ids, 64)
    report.equal("SmolLM2: greedy answer", ours["ids"], theirs["tokens"])
    report.check("SmolLM2: text of llama.cpp", "Rome" in theirs["content"], repr(theirs["content"]))


if __name__ == "__main__":
    stories()
    smollm2()
    sys.stdout.flush()
    report.exit()
