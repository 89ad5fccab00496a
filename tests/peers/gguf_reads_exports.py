#!/usr/bin/env python3
"""PyPI `gguf` reads our GGUF exports of stories260K, in f32, f16, bf16, q8_0 and q4_0.

- The fields that llama.cpp needs have the values of config.json; the vocabulary is the one that the
  package sentencepiece reads from tokenizer.model: pieces, scores, kinds, special ids.
- The tensors have llama.cpp's names and its order of the rows of q and k, and their bytes are those
  that gguf.quants makes of the source's weights in the tensor's type.
- Every matrix has the type that was asked for, where its rows are whole blocks; beside Q4_0 the embedding
  and the head have Q8_0.
"""

import json
from pathlib import Path

import support

support.require("gguf", "numpy", "safetensors.numpy", "sentencepiece")

import gguf
import numpy as np
import sentencepiece
from gguf import GGMLQuantizationType, TokenType, quants
from safetensors.numpy import load_file

import llama_names

FORMATS = {
    "F32": {"dtype": "f32"},
    "F16": {"dtype": "f16"},
    "BF16": {"dtype": "bf16"},
    "Q8_0": {"quantize": "q8_0"},
    "Q4_0": {"quantize": "q4_0"},
}
report = support.Report()


def check_fields(name: str, reader: gguf.GGUFReader, config: dict) -> None:
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    expected = {
        "general.architecture": "llama",
        "llama.block_count": config["num_hidden_layers"],
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": config["num_attention_heads"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.attention.layer_norm_rms_epsilon": float(np.float32(config["rms_norm_eps"])),
        "llama.rope.dimension_count": head_dim,
        "llama.rope.freq_base": config["rope_theta"],
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.bos_token_id": config["bos_token_id"],
        "tokenizer.ggml.eos_token_id": config["eos_token_id"],
    }
    for key, value in expected.items():
        report.equal(f"{name}: {key}", llama_names.field(reader, key), value)


def check_vocabulary(name: str, reader: gguf.GGUFReader, model: Path) -> None:
    pieces = sentencepiece.SentencePieceProcessor(str(model))
    ids = range(pieces.vocab_size())

    def kind(id: int) -> int:
        for test, kind in [
            (pieces.is_unknown, TokenType.UNKNOWN),
            (pieces.is_control, TokenType.CONTROL),
            (pieces.is_byte, TokenType.BYTE),
            (pieces.is_unused, TokenType.UNUSED),
        ]:
            if test(id):
                return int(kind)
        return int(TokenType.NORMAL)

    expected = {
        "tokens": [pieces.id_to_piece(id) for id in ids],
        "scores": [pieces.get_score(id) for id in ids],
        "token_type": [kind(id) for id in ids],
    }
    for key, values in expected.items():
        found = llama_names.field(reader, f"tokenizer.ggml.{key}")
        wrong = [id for id in ids if id >= len(found) or found[id] != values[id]]
        same = len(found) == len(values) and not wrong
        report.check(f"{name}: {key} of {len(values)} pieces", same, "" if same else f"ids {wrong}")


def check_tensors(name: str, reader: gguf.GGUFReader, expected: dict[str, np.ndarray]) -> None:
    report.equal(f"{name}: tensors", sorted(t.name for t in reader.tensors), sorted(expected))
    wrong_bytes, wrong_type = [], []
    for tensor in reader.tensors:
        weight = expected[tensor.name]
        kind = GGMLQuantizationType(tensor.tensor_type)
        wanted = name
        if name == "Q4_0" and tensor.name in ("token_embd.weight", "output.weight"):
            wanted = "Q8_0"
        block_elements, _ = gguf.GGML_QUANT_SIZES[GGMLQuantizationType[wanted]]
        if weight.ndim == 2 and weight.shape[1] % block_elements == 0 and kind.name != wanted:
            wrong_type.append(f"{tensor.name} {kind.name}")
        bytes_expected = np.ascontiguousarray(quants.quantize(weight, kind)).tobytes()
        if list(tensor.shape) != list(weight.shape[::-1]) or tensor.data.tobytes() != bytes_expected:
            wrong_bytes.append(tensor.name)
    report.equal(f"{name}: tensors with other bytes than gguf.quants", wrong_bytes, [])
    report.equal(f"{name}: matrices of another type", wrong_type, [])


def main() -> None:
    if report.missing(support.STORIES):
        report.exit()
    config = json.loads((support.STORIES / "config.json").read_text())
    weights = load_file(support.STORIES / "model.safetensors")
    expected = llama_names.as_llama_cpp(weights, config)
    with support.scratch() as folder:
        for name, options in FORMATS.items():
            path = Path(folder) / f"{name}.gguf"
            reader = gguf.GGUFReader(support.convert(support.STORIES, path, format="gguf", **options))
            check_fields(name, reader, config)
            check_vocabulary(name, reader, support.STORIES / "tokenizer.model")
            check_tensors(name, reader, expected)
    report.exit()


if __name__ == "__main__":
    main()
