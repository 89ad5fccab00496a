#!/usr/bin/env python3
"""Makes tests/fixtures/pytorch: a Llama of one layer as torch.save writes it, in three dtypes.

    pip install torch safetensors numpy
    python tests/make_pytorch_fixture.py

`pytorch_model.bin` is the state dict, `expected.safetensors` its values in f32.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parent / "fixtures" / "pytorch"
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = {
    "model.embed_tokens.weight": (8, 4),
    "model.norm.weight": (4,),
    "lm_head.weight": (8, 4),
    "model.layers.0.input_layernorm.weight": (4,),
    "model.layers.0.post_attention_layernorm.weight": (4,),
    "model.layers.0.self_attn.q_proj.weight": (4, 4),
    "model.layers.0.self_attn.k_proj.weight": (2, 4),
    "model.layers.0.self_attn.v_proj.weight": (2, 4),
    "model.layers.0.self_attn.o_proj.weight": (4, 4),
    "model.layers.0.mlp.gate_proj.weight": (6, 4),
    "model.layers.0.mlp.up_proj.weight": (6, 4),
    "model.layers.0.mlp.down_proj.weight": (4, 6),
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 8,
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}

torch.manual_seed(7)
state = {
    name: torch.randn(shape).to(DTYPES[index % 3])
    for index, (name, shape) in enumerate(SHAPES.items())
}
FOLDER.mkdir(exist_ok=True)
# Old checkpoints carry it; it is computed, not read.
rotary = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(1)}
torch.save({**state, **rotary}, FOLDER / "pytorch_model.bin")
save_file({name: value.float() for name, value in state.items()}, FOLDER / "expected.safetensors")
(FOLDER / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
