"""llama.cpp's rules for a Llama of Hugging Face: names, and the order of the rows of q and k.

Written from convert_hf_to_gguf.py of llama.cpp (`LlamaModel.permute`, `modify_tensors`) and the tables
of PyPI `gguf`, not from our own code.
"""

import gguf
import numpy as np
from gguf import GGMLQuantizationType, quants


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (half, pair) to (pair, half): llama.cpp rotates neighbours."""
    head_rows = weight.shape[0] // heads
    halves = weight.reshape(heads, 2, head_rows // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def unpermuted(weight: np.ndarray, heads: int) -> np.ndarray:
    head_rows = weight.shape[0] // heads
    pairs = weight.reshape(heads, head_rows // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def heads_of(key: str, heads: int, kv_heads: int) -> int | None:
    """How many heads the rows of a projection are, where they change their order."""
    return {"q_proj": heads, "k_proj": kv_heads}.get(key.split(".")[-2])


def as_llama_cpp(weights: dict[str, np.ndarray], config: dict) -> dict[str, np.ndarray]:
    """Weights under the names and in the order of a GGUF file."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    tensors = {}
    for key, weight in weights.items():
        heads = heads_of(key, config["num_attention_heads"], config["num_key_value_heads"])
        name = table.get_name(key, try_suffixes=(".weight",))
        tensors[name] = weight if heads is None else permuted(weight, heads)
    return tensors


def field(reader: gguf.GGUFReader, key: str) -> object:
    """The value of a metadata field; None where it is absent."""
    found = reader.get_field(key)
    return None if found is None else found.contents()


def tensor_values(tensor: gguf.ReaderTensor) -> np.ndarray:
    """The values of a tensor in f32, with its shape as [rows, columns]."""
    values = quants.dequantize(tensor.data, GGMLQuantizationType(tensor.tensor_type))
    return values.astype(np.float32).reshape(tensor.shape[::-1])


def read_as_hugging_face(reader: gguf.GGUFReader) -> dict[str, np.ndarray]:
    """The weights of a file under Hugging Face's names, in f32."""
    layers, heads, kv_heads = (
        field(reader, f"llama.{key}")
        for key in ("block_count", "attention.head_count", "attention.head_count_kv")
    )
    keys = ["model.embed_tokens", "model.norm", "lm_head"]
    parts = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]
    parts += ["input_layernorm", "post_attention_layernorm"]
    keys += [f"model.layers.{layer}.{part}" for layer in range(layers) for part in parts]
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    key_of = {table.get_name(key) + ".weight": f"{key}.weight" for key in keys}
    weights = {}
    for tensor in reader.tensors:
        key, values = key_of[tensor.name], tensor_values(tensor)
        rows = heads_of(key, heads, kv_heads)
        weights[key] = values if rows is None else unpermuted(values, rows)
    return weights
