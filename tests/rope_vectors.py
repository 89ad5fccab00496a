"""Rotary frequencies as Hugging Face transformers computes them: tests/fixtures/rope_scaling.json.

make_fixtures.py writes and checks the file. It lists cases:

    config      what a config.json says about positions, in a spelling found in the wild
    written     `rope_scaling` as this project writes it; transformers computes the same from it
    tables      for texts of `seq_tokens`: H/2 `frequencies` in radians per token, and the
                `attention_factor` that multiplies cosines and sines

The numbers come from transformers' own code, run in f64.
"""

import json
import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from transformers import LlamaConfig, modeling_rope_utils
from transformers.models.llama import modeling_llama

PATH = Path(__file__).resolve().parent / "fixtures" / "rope_scaling.json"
ORIGINAL = "original_max_position_embeddings"


class DoubleTorch:
    """torch, but what asks for f32 gets f64."""

    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def frequencies(config: LlamaConfig, seq_tokens: int) -> tuple[torch.Tensor, float]:
    """H/2 angles in radians per token, and the attention factor, in f32 as transformers has them."""
    rope_type = config.rope_parameters["rope_type"]
    if rope_type == "default":
        return modeling_llama.LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    compute = modeling_rope_utils.ROPE_INIT_FUNCTIONS[rope_type]
    return compute(config, torch.device("cpu"), seq_len=seq_tokens)


def exact_frequencies(config: LlamaConfig, seq_tokens: int) -> tuple[torch.Tensor, float]:
    """The same from the same code, in f64."""
    with ExitStack() as stack:
        for module in (modeling_rope_utils, modeling_llama):
            stack.enter_context(mock.patch.object(module, "torch", DoubleTorch()))
        exact, attention_factor = frequencies(config, seq_tokens)
    in_f32, factor_in_f32 = frequencies(config, seq_tokens)
    assert (exact.dtype, in_f32.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(in_f32.double(), exact, rtol=2e-6, atol=0.0)
    assert attention_factor == factor_in_f32
    return exact, attention_factor


@dataclass(frozen=True)
class Vector:
    """The keys of config.json, the `rope_scaling` that this project writes, and lengths of texts."""

    config: dict
    written: dict | None
    seq_tokens: tuple[int, ...] = (1_000_000,)


def says(head_dim: int, max_position_embeddings: int, **keys) -> dict:
    return {"head_dim": head_dim, "max_position_embeddings": max_position_embeddings} | keys


def linear(factor: float) -> dict:
    return {"type": "linear", "factor": factor}


def dynamic(factor: float, **keys) -> dict:
    return {"type": "dynamic", "factor": factor} | keys


def yarn(factor: float, **keys) -> dict:
    betas = {"beta_fast": 32.0, "beta_slow": 1.0}
    return {"type": "yarn", "rope_type": "yarn", "factor": factor} | betas | keys


def llama3(factor: float, low: float, high: float, original: int) -> dict:
    frequencies = {"low_freq_factor": low, "high_freq_factor": high}
    return {"rope_type": "llama3", "factor": factor} | frequencies | {ORIGINAL: original}


MANY_KEYS = yarn(
    4.0,
    attention_factor=0.75,
    beta_fast=9.5,
    beta_slow=0.25,
    mscale=2.0,
    mscale_all_dim=1.0,
    **{ORIGINAL: 64},
)

VECTORS = {
    "none": Vector(says(10, 128, rope_theta=500_000.0), None),
    "default": Vector(says(4, 128, rope_scaling={"rope_type": "default"}), None),
    "linear": Vector(says(64, 8192, rope_scaling=linear(4.0)), linear(4.0)),
    "linear, transformers 5": Vector(
        says(6, 96, rope_parameters={"rope_type": "linear", "factor": 2.5, "rope_theta": 700.0}),
        linear(2.5),
    ),
    "both keys": Vector(
        says(
            6,
            96,
            rope_theta=700.0,
            rope_scaling={"rope_type": "linear", "factor": 3},
            rope_parameters={"rope_type": "linear", "factor": 2.5, "rope_theta": 70.0},
        ),
        linear(3.0),
    ),
    "dynamic": Vector(
        says(64, 2048, rope_scaling=dynamic(2.0)), dynamic(2.0), (1, 2048, 2049, 4096)
    ),
    "dynamic whose original length changes nothing": Vector(
        says(10, 96, rope_theta=500.0, rope_scaling=dynamic(3.5, **{ORIGINAL: 32})),
        dynamic(3.5, **{ORIGINAL: 32}),
        (33, 96, 97, 336),
    ),
    "yarn": Vector(
        says(128, 65_536, rope_scaling={"type": "yarn", "factor": 16.0, ORIGINAL: 4096}),
        yarn(16.0, **{ORIGINAL: 4096}),
    ),
    "yarn without original length, with betas of nothing and mscale alone": Vector(
        says(
            16,
            512,
            rope_scaling={
                "rope_type": "yarn",
                "factor": 2.5,
                "beta_fast": 0,
                "beta_slow": None,
                "mscale": 0.5,
            },
        ),
        yarn(2.5, mscale=0.5),
    ),
    "yarn of DeepSeek": Vector(
        says(
            64,
            163_840,
            rope_scaling={
                "type": "yarn",
                "factor": 40,
                "beta_fast": 32,
                "beta_slow": 1,
                "mscale": 1.0,
                "mscale_all_dim": 0.707,
                ORIGINAL: 4096,
            },
        ),
        yarn(40.0, mscale=1.0, mscale_all_dim=0.707, **{ORIGINAL: 4096}),
    ),
    "yarn of gpt-oss": Vector(
        says(
            64,
            131_072,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 150_000,
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                ORIGINAL: 4096,
            },
        ),
        yarn(32.0, truncate=False, **{ORIGINAL: 4096}),
    ),
    "yarn with all that it can say": Vector(
        says(20, 256, rope_theta=50.0, rope_scaling=MANY_KEYS), MANY_KEYS
    ),
    "yarn with a step": Vector(
        says(6, 16, rope_scaling={"rope_type": "yarn", "factor": 1.5, ORIGINAL: 4}),
        yarn(1.5, **{ORIGINAL: 4}),
    ),
    "yarn whose ramp ends beyond the head": Vector(
        says(8, 4096, rope_theta=2.0, rope_scaling={"rope_type": "yarn", "factor": 2.0}), yarn(2.0)
    ),
    "yarn with the original length beside it": Vector(
        says(16, 512, rope_scaling={"rope_type": "yarn", "factor": 4.0, ORIGINAL: 32})
        | {ORIGINAL: 128},
        yarn(4.0, **{ORIGINAL: 128}),
    ),
    "yarn whose factor is null": Vector(
        says(16, 512, rope_scaling={"rope_type": "yarn", "factor": None, ORIGINAL: 64}),
        yarn(8.0, **{ORIGINAL: 64}),
    ),
    "llama 3.1": Vector(
        says(128, 131_072, rope_theta=500_000.0, rope_scaling=llama3(8.0, 1.0, 4.0, 8192)),
        llama3(8.0, 1.0, 4.0, 8192),
    ),
    "llama 3.2": Vector(
        says(64, 131_072, rope_theta=500_000.0, rope_scaling=llama3(32.0, 1.0, 4.0, 8192)),
        llama3(32.0, 1.0, 4.0, 8192),
    ),
    "llama3 without original length": Vector(
        says(
            10,
            64,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 90.0,
                "factor": 3,
                "low_freq_factor": 0.5,
                "high_freq_factor": 6,
            },
        ),
        llama3(3.0, 0.5, 6.0, 64),
    ),
}


def make() -> list[dict]:
    """The cases, in the order of VECTORS."""

    def read(keys: dict) -> LlamaConfig:
        keys = {"hidden_size": 64, "num_attention_heads": 1} | keys
        return LlamaConfig.from_dict(json.loads(json.dumps(keys)))  # It changes what it is given.

    cases = []
    for name, vector in VECTORS.items():
        config = read(vector.config)
        written = {key: vector.config[key] for key in ("head_dim", "max_position_embeddings")}
        written["rope_theta"] = config.rope_parameters["rope_theta"]
        written = read(written | {"rope_scaling": vector.written})
        tables = []
        for seq_tokens in vector.seq_tokens:
            table, attention_factor = exact_frequencies(config, seq_tokens)
            again, factor_again = exact_frequencies(written, seq_tokens)
            assert torch.equal(table, again) and attention_factor == factor_again, name
            tables.append(
                {
                    "seq_tokens": seq_tokens,
                    "attention_factor": attention_factor,
                    "frequencies": table.tolist(),
                }
            )
        cases.append(
            {"name": name, "config": vector.config, "written": vector.written, "tables": tables}
        )
    return cases


def write(cases: list[dict]) -> None:
    lines = ",\n".join(json.dumps(case) for case in cases)  # One line for each.
    PATH.write_text(f'{{"cases": [\n{lines}\n]}}\n')


def check(cases: list[dict]) -> None:
    compare(json.loads(PATH.read_text()), {"cases": cases}, PATH.name)


def compare(found, expected, where: str) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), f"{where}: other keys"
        for key, value in expected.items():
            compare(found[key], value, f"{where}: {key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), f"{where}: another length"
        for index, value in enumerate(expected):
            compare(found[index], value, f"{where}: {index}")
    elif isinstance(expected, float):
        # The last bits of a power are the library's.
        assert math.isclose(found, expected, rel_tol=1e-13), f"{where} differs"
    else:
        assert found == expected, f"{where} differs"
