#!/usr/bin/env python3
"""Makes tests/fixtures/: tiny random Llamas with what Hugging Face transformers computes from them.

    pip install torch transformers safetensors numpy
    python tests/make_fixtures.py            # writes tests/fixtures
    python tests/make_fixtures.py --check    # regenerates in memory and compares

Last made with torch 2.15.0 and transformers 5.24.0. Each folder is an ordinary Hugging Face folder
(config.json, model.safetensors in f32) plus reference.safetensors:

    token_ids   i64 [17]       the beginning of the first row of batch_ids, the prompt of greedy_ids
    greedy_ids  i64 [48 or 64] the tokens that greedy decoding with a cache appends to token_ids
    batch_ids   i64 [B, T]
    positions   i64 [P]        those whose logits are kept; absent where all are
    logits      f32 [B, P, V]
    targets     i64 [B, T]     the token that follows batch_ids[b, t]; -100 is ignored
    loss        f32 []         mean cross-entropy over the targets that are not ignored, in nats
    grad.NAME   f32            d loss / d NAME for every tensor NAME of model.safetensors

Where size matters there are no targets, loss and gradients. rope_scaling.json is described in
rope_vectors.py.

The reference is computed in f64 and rounded once, so that a test measures its own error alone.
The weights are far larger than a fresh Llama's: attention is far from uniform and normalization
far from idle, and a wrong rotation, mask, grouping, scale or eps moves the logits by more than any
rounding.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rope_vectors
import torch
from safetensors.torch import load_file, save_file
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

FIXTURES = Path(__file__).resolve().parent / "fixtures"
PROMPT_TOKENS = 17
IGNORED = -100
# Greedy decoding is a fair test only where no rounding can swap the two best tokens.
MIN_GREEDY_MARGIN = 5e-3
SIZE_LIMIT_BYTES = 1_700_000


@dataclass(frozen=True)
class Fixture:
    """One folder: the keys of its config.json, and how its weights are drawn."""

    name: str
    seed: int
    config: dict
    embedding_std: float = 1.0
    batch: int = 3
    tokens: int = PROMPT_TOKENS
    greedy_tokens: int = 64
    positions: tuple[int, ...] | None = None
    gradients: bool = True


COMMON = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# For texts that are longer than those of the first training, 32 or 24 tokens.
LONG = {
    "batch": 2,
    "tokens": 40,
    "greedy_tokens": 48,
    "positions": (0, 7, 23, 24, 31, 32, 39),
    "gradients": False,
}

FIXTURES_TO_MAKE = [
    # Grouped-query attention 3:1; a head_dim that is not hidden_size / num_attention_heads; sizes
    # that are multiples of no vector width.
    Fixture(
        "tiny_llama",
        seed=3,
        config=COMMON
        | {
            "vocab_size": 211,
            "hidden_size": 54,
            "intermediate_size": 77,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 14,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        },
    ),
    # Multi-query attention, tied embeddings, no head_dim key, and the keys of transformers 5
    # (`rope_parameters`, `dtype`) with a base that is not the default.
    Fixture(
        "tiny_llama_tied",
        seed=3,
        embedding_std=0.3,
        config=COMMON
        | {
            "vocab_size": 97,
            "hidden_size": 40,
            "intermediate_size": 56,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
            "tie_word_embeddings": True,
            "dtype": "float32",
        },
    ),
    # Multi-head attention and linear RoPE scaling. The embedding's rows are so small that the first
    # normalization divides by little more than sqrt(eps): eps 1e-6 instead of 1e-5 is plain to see.
    Fixture(
        "tiny_llama_scaled",
        seed=95,
        embedding_std=2e-3,
        config=COMMON
        | {
            "vocab_size": 113,
            "hidden_size": 36,
            "intermediate_size": 60,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "linear", "factor": 4.0},
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        },
    ),
    # Llama 3.1's scaling: of three pairs one stays, one is blended, one is stretched. Heads 3:1, a
    # head_dim of 6 where 12 / 6 is 2.
    Fixture(
        "tiny_llama_llama3",
        seed=24,
        **LONG,
        config=COMMON
        | {
            "vocab_size": 61,
            "hidden_size": 12,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 6,
            "rope_theta": 100.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        },
    ),
    # YaRN in the keys of transformers 5, with gradients, since they pass through its attention factor.
    # A tied head, a head_dim of 14 where 16 / 2 is 8.
    Fixture(
        "tiny_llama_yarn",
        seed=115,
        embedding_std=0.3,
        **LONG | {"gradients": True},
        config=COMMON
        | {
            "vocab_size": 53,
            "hidden_size": 16,
            "intermediate_size": 18,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 14,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 100.0,
                "factor": 4.0,
                "beta_fast": 2.0,
                "beta_slow": 0.5,
                "original_max_position_embeddings": 32,
            },
            "tie_word_embeddings": True,
            "dtype": "float32",
        },
    ),
    # Dynamic NTK: the batch is longer than max_position_embeddings, and greedy decoding grows beyond it.
    Fixture(
        "tiny_llama_dynamic",
        seed=150,
        embedding_std=0.3,
        **LONG,
        config=COMMON
        | {
            "vocab_size": 59,
            "hidden_size": 18,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "max_position_embeddings": 24,
            "rope_theta": 100.0,
            "rope_scaling": {"type": "dynamic", "factor": 3.0},
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
        },
    ),
]


def draw_weights(fixture: Fixture) -> dict[str, torch.Tensor]:
    """Random f32 weights under their Hugging Face names. NumPy's legacy stream never changes."""
    random = np.random.RandomState(fixture.seed)
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**fixture.config))
    weights = {}
    for name, parameter in model.named_parameters():
        draw = random.standard_normal(tuple(parameter.shape))
        if name.endswith("norm.weight"):
            draw = 1.0 + 0.3 * draw
        elif name == "model.embed_tokens.weight":
            draw = fixture.embedding_std * draw
        else:
            draw = 1.5 * draw / math.sqrt(parameter.shape[1])  # Each projection amplifies.
        weights[name] = torch.tensor(draw, dtype=torch.float32)
    return weights


def build(fixture: Fixture, weights: dict[str, torch.Tensor]) -> LlamaForCausalLM:
    """Transformers' own model, in f32, with attention by PyTorch."""
    config = LlamaConfig(**fixture.config, attn_implementation="sdpa", use_cache=False)
    model = LlamaForCausalLM(config).eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = fixture.config["tie_word_embeddings"]
    assert missing == (["lm_head.weight"] if tied else []) and not unexpected
    model.tie_weights()
    return model


def make_exact(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The same model in f64 throughout: transformers rounds its norms and rotations to f32."""

    def norm(module, x):
        mean_square = x.pow(2).mean(-1, keepdim=True)
        return module.weight * (x * torch.rsqrt(mean_square + module.variance_epsilon))

    def rotation(x, position_ids, *_, **__):
        end = position_ids.max().item() + 1
        frequencies, attention_factor = rope_vectors.exact_frequencies(model.config, end)
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos() * attention_factor, angles.sin() * attention_factor

    model = model.double()
    model.model.rotary_emb.forward = rotation
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = norm.__get__(module)
    return model


def draw_batch(fixture: Fixture) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and targets [B, T]; rows of 17 tokens have 16, 9 and 3 targets that count."""
    random = np.random.RandomState(fixture.seed + 1)
    shape = (fixture.batch, fixture.tokens)
    ids = torch.tensor(random.randint(3, fixture.config["vocab_size"], shape), dtype=torch.int64)
    targets = torch.full(shape, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    targets[1, 2:9] = IGNORED
    targets[2:, :13] = IGNORED
    return ids, targets


def loss_and_gradients(model, ids, targets) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    output = model(input_ids=ids)
    loss = torch.nn.functional.cross_entropy(
        output.logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED
    )
    # Transformers shifts labels itself: the same loss by its own route.
    labels = torch.cat([torch.full((len(ids), 1), IGNORED), targets[:, :-1]], dim=1)
    theirs = model(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(theirs.double(), loss.double(), rtol=1e-6, atol=0.0)
    loss.backward()
    gradients = {f"grad.{name}": p.grad for name, p in model.named_parameters()}
    return {"logits": output.logits.detach(), "loss": loss.detach()} | gradients


@torch.no_grad()
def greedy(model, prompt: torch.Tensor, tokens: int) -> torch.Tensor:
    """With a cache: under dynamic scaling it keeps keys that one full pass would turn otherwise."""
    cache = DynamicCache(config=model.config)
    ids, new = prompt[None], []
    for _ in range(tokens):
        logits = model(input_ids=ids, cache=cache, use_cache=True).logits[0, -1]
        best, second = logits.topk(2).values.tolist()
        assert best - second > MIN_GREEDY_MARGIN, f"greedy margin {best - second}: change the seed"
        ids = logits.argmax().view(1, 1)
        new.append(ids.item())
    assert model.config.eos_token_id not in new, "greedy decoding ends early: change the seed"
    assert len(set(new)) >= tokens // 2, "greedy decoding repeats: change the seed"
    return torch.tensor(new)


def make(fixture: Fixture) -> dict[str, dict[str, torch.Tensor]]:
    weights = draw_weights(fixture)
    ids, targets = draw_batch(fixture)
    in_f32 = loss_and_gradients(build(fixture, weights), ids, targets)
    exact_model = make_exact(build(fixture, weights))
    exact = loss_and_gradients(exact_model, ids, targets)

    # What f32 costs transformers itself is the yardstick for a test's tolerances.
    errors = {
        name: ((in_f32[name] - value).norm() / value.norm()).item()
        for name, value in exact.items()
    }
    worst = max(errors, key=errors.get)
    logit_error = (in_f32["logits"] - exact["logits"]).abs().max().item()
    print(
        f"{fixture.name}: loss {exact['loss'].item():.6f}; f32 transformers is off by at most "
        f"{logit_error:.1e} in a logit, by {errors[worst]:.1e} of the norm in {worst}"
    )
    assert logit_error < 1e-4 and errors[worst] < 1e-4, "f32 and f64 disagree"

    prompt = ids[0, :PROMPT_TOKENS].clone()
    reference = {
        "token_ids": prompt,
        "greedy_ids": greedy(exact_model, prompt, fixture.greedy_tokens),
        "batch_ids": ids,
    }
    if fixture.positions:
        reference["positions"] = torch.tensor(fixture.positions)
        exact["logits"] = exact["logits"][:, fixture.positions].contiguous()
    if fixture.gradients:
        reference["targets"] = targets
    else:
        exact = {"logits": exact["logits"]}
    reference |= {name: value.to(torch.float32) for name, value in exact.items()}
    return {"model.safetensors": weights, "reference.safetensors": reference}


def write(fixture: Fixture, files: dict[str, dict[str, torch.Tensor]]) -> None:
    folder = FIXTURES / fixture.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fixture.config, indent=2) + "\n")
    for name, tensors in files.items():
        save_file(tensors, folder / name, metadata={"format": "pt"})
    # The folder as transformers reads it.
    model, report = LlamaForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    logits = model(input_ids=files["reference.safetensors"]["batch_ids"]).logits.detach()
    if fixture.positions:
        logits = logits[:, fixture.positions]
    expected = files["reference.safetensors"]["logits"]
    torch.testing.assert_close(logits, expected, rtol=0.0, atol=1e-4)


def check(fixture: Fixture, files: dict[str, dict[str, torch.Tensor]]) -> None:
    folder = FIXTURES / fixture.name
    assert json.loads((folder / "config.json").read_text()) == fixture.config, "config.json differs"
    for name, expected in files.items():
        found = load_file(folder / name)
        assert found.keys() == expected.keys(), f"{folder / name}: other tensors"
        for tensor, value in expected.items():
            # Weights and ids are drawn alike everywhere; f64 sums may end in another last bit.
            exact = name == "model.safetensors" or value.dtype == torch.int64
            rtol, atol = (0.0, 0.0) if exact else (1e-6, 1e-9)
            message = f"{folder / name}: `{tensor}` differs"
            torch.testing.assert_close(
                found[tensor], value, rtol=rtol, atol=atol, msg=lambda m: f"{message}\n{m}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # rope_vectors.py has configurations that it wonders about.
    torch.set_num_threads(1)  # One order of summation.
    for fixture in FIXTURES_TO_MAKE:
        (check if arguments.check else write)(fixture, make(fixture))
    (rope_vectors.check if arguments.check else rope_vectors.write)(rope_vectors.make())
    size_bytes = sum(file.stat().st_size for file in FIXTURES.rglob("*") if file.is_file())
    print(f"all fixtures: {size_bytes} bytes")
    assert size_bytes <= SIZE_LIMIT_BYTES, f"the fixtures may have {SIZE_LIMIT_BYTES} bytes"


if __name__ == "__main__":
    sys.exit(main())
