"""What the scripts of this folder share: where things lie, our own programs, and how a script ends.

A script collects results in a `Report` and ends with its exit status: 0 when all checks hold, 1 when
one fails, 77 when it could check nothing.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

SKIPPED = 77
ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
ASSETS = Path(os.environ.get("TINYLLAMA_ASSETS") or ROOT.parent / "shared" / "assets")
PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "examples"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinyllama"
SMOLLM2 = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
STORIES = ASSETS / "model" / "stories260K-hf"
PROMPTS = ["Once upon a time", "Lily and Tom went to the park.\nThey saw a big dog", "Zoë!  2 cats?"]

# Everything is on this disk; a question to the hub would be a mistake.
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def skip(reason: str) -> NoReturn:
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def require(*modules: str) -> None:
    """Ends the script as skipped unless all can be imported."""
    for module in modules:
        try:
            importlib.import_module(module)
        except (ImportError, ValueError, OSError) as error:
            skip(f"cannot import {module}: {error}")


class Report:
    """Prints one line per check and remembers failures."""

    def __init__(self) -> None:
        self.held = self.failed = 0

    def check(self, what: str, holds: bool, detail: object = "") -> None:
        self.held += bool(holds)
        self.failed += not holds
        print(f"{'ok    ' if holds else 'FAILED'} {what}" + (f": {detail}" if detail != "" else ""))

    def equal(self, what: str, found: object, expected: object) -> None:
        same = found == expected
        if isinstance(found, dict) and isinstance(expected, dict):
            absent = "nothing"
            differing = [key for key in found | expected if found.get(key, absent) != expected.get(key, absent)]
            found, expected = ({key: side.get(key, absent) for key in differing} for side in (found, expected))
        self.check(what, same, "" if same else f"{found!r} instead of {expected!r}")

    def missing(self, path: Path) -> bool:
        """Whether a file or folder is absent; says so."""
        if not path.exists():
            print(f"left out: no {path}")
        return not path.exists()

    def exit(self) -> NoReturn:
        print(f"{self.held} checks hold, {self.failed} fail")
        if self.failed == 0 and self.held == 0:
            skip("nothing to check with")
        sys.exit(1 if self.failed else 0)


def scratch() -> tempfile.TemporaryDirectory:
    """An empty folder on the disk of the target folder, for exports."""
    return tempfile.TemporaryDirectory(prefix="peers-", dir=PROGRAMS.parent)


def run(program: str, *arguments: object) -> str:
    """Runs one of our examples; what it writes to stdout."""
    command = [str(PROGRAMS / program), *map(str, arguments)]
    if not Path(command[0]).exists():
        sys.exit(f"FAILED no program {command[0]}: cargo build --release --example {program}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"FAILED {' '.join(command)}\n{done.stderr}")
    return done.stdout


def convert(source: Path, target: Path, **options: str) -> Path:
    """Our export, as `format="gguf", quantize="q8_0"`."""
    flags = [flag for key, value in options.items() for flag in (f"--{key}", value)]
    run("convert", "--model", source, "--out", target, *flags)
    return target


def generate(model: Path, prompt: str, max_new_tokens: int) -> dict:
    """Our greedy continuation: `prompt_ids`, `ids`, `text` and speeds."""
    greedy = ["--temperature", 0, "--max-new-tokens", max_new_tokens, "--device", "cpu", "--json"]
    return json.loads(run("generate", "--model", model, "--prompt", prompt, *greedy))


def logits(model: Path, prompt: str):
    """Our ids of a prompt, i64 [T], and the logits after each, f32 [T, V]."""
    from safetensors.numpy import load_file

    with scratch() as folder:
        path = Path(folder) / "logits.safetensors"
        few = ["--temperature", 0, "--max-new-tokens", 1, "--device", "cpu", "--logits-out", path]
        run("generate", "--model", model, "--prompt", prompt, *few)
        tensors = load_file(path)
    return tensors["token_ids"], tensors["logits"]
