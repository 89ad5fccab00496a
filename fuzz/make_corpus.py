#!/usr/bin/env python3
"""Makes fuzz/corpus/TARGET: small files of each kind, where the fuzzer begins.

    pip install numpy safetensors gguf
    python fuzz/make_corpus.py
"""

import json
import shutil
import struct
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save

FUZZ = Path(__file__).resolve().parent
ROOT = FUZZ.parent
CORPUS = FUZZ / "corpus"
# As CONFIG of src/lib.rs.
HIDDEN, FEED_FORWARD, VOCABULARY = 2, 1, 3
SPECIAL = ["<unk>", "<s>", "</s>"]
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
WORDS = [SPACE, "H", "e", "l", "o", "ll", SPACE + "H", SPACE + "He"]


def write(target: str, name: str, contents: bytes | str) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(contents.encode() if isinstance(contents, str) else contents)


def config_json() -> None:
    for path in sorted((ROOT / "tests/fixtures").glob("tiny_llama*/config.json")):
        write("config_json", path.parent.name, path.read_bytes())
    settings = {"bos_token_id": 1, "eos_token_id": [2, 5], "do_sample": True, "temperature": 0.6}
    write("config_json", "generation", json.dumps(settings))


def chat_template() -> None:
    for path in sorted((ROOT / "tinyllama-model/src/templates").glob("*.jinja")):
        write("chat_template", path.stem, path.read_bytes())
    macro = "{% macro say(m) %}{{ bos_token }}[{{ m.role | upper }}]{{ m['content'] | trim }}{% endmacro %}"
    loop = "{% for m in messages %}{{ say(m) }}{% if loop.last %}{{ eos_token }}{% endif %}{% endfor %}"
    write("chat_template", "macro", macro + loop)
    wrong = "{% if messages | length > 9 %}{{ raise_exception('too many') }}{% endif %}"
    namespace = "{% set ns = namespace(n=0) %}{% for i in range(9) %}{% set ns.n = ns.n + i %}{% endfor %}"
    write("chat_template", "namespace", wrong + namespace + "{{ ns.n }} {{ 'x' ~ 2 ** 3 }} {{ [1, 2][::-1] }}")


def added(id: int) -> dict:
    flags = {"special": True, "normalized": False, "lstrip": False, "rstrip": False}
    return {"id": id, "content": SPECIAL[id], "single_word": False} | flags


def tokenizer_json() -> None:
    vocabulary = {piece: id for id, piece in enumerate(SPECIAL + WORDS)}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    llama = {
        "version": "1.0",
        "added_tokens": [added(id) for id in range(3)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, sequence],
            "pair": [begin, sequence, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocabulary,
            "merges": [["l", "l"], [SPACE, "H"], [SPACE + "H", "e"]],
        },
    }
    write("tokenizer_json", "llama", json.dumps(llama))
    # `</s>` is not in this vocabulary and gets the id that is its size, where a piece is already.
    moved = dict(vocabulary) | {"</2>": 2, SPACE + "He": len(vocabulary)}
    del moved["</s>"]
    collision = llama | {"model": llama["model"] | {"vocab": moved}}
    write("tokenizer_json", "added_token_at_the_id_of_a_piece", json.dumps(collision))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    gpt2 = {
        "added_tokens": [added(2)],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {"H": 0, "e": 1, "</s>": 2, "l": 3, "o": 4, "\u0120": 5, "ll": 6, "He": 7},
            "merges": ["l l", "H e"],
        },
    }
    write("tokenizer_json", "gpt2", json.dumps(gpt2))
    split = {"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|\\p{N}{1,3}"}, "behavior": "Isolated"}
    unigram = {
        "pre_tokenizer": split | {"invert": False},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["H", -1.5], ["e", -2.0]]},
    }
    write("tokenizer_json", "unigram", json.dumps(unigram))


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def message(tag: int, contents: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(contents)) + contents


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value & (1 << 64) - 1)


def sentencepiece() -> None:
    """ModelProto of sentencepiece_model.proto: pieces 1, trainer_spec 2, normalizer_spec 3."""

    def piece(text: str, score: float, kind: int) -> bytes:
        return message(1, text.encode()) + b"\x15" + struct.pack("<f", score) + number(3, kind)

    pieces = [piece(text, 0.0, 2 if text == "<unk>" else 3) for text in SPECIAL]
    pieces += [piece(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    pieces += [piece(word, -float(id), 1) for id, word in enumerate(WORDS)]
    # model_type BPE, vocab_size, byte_fallback, ids; add_dummy_prefix, remove_extra_whitespaces.
    trainer = number(3, 2) + number(4, len(pieces)) + number(35, 1)
    trainer += number(40, 0) + number(41, 1) + number(42, 2) + number(43, -1)
    normalizer = message(1, b"identity") + number(3, 1) + number(4, 0) + number(5, 1)
    ends = message(2, trainer) + message(3, normalizer)
    write("sentencepiece", "bytes", b"".join(message(1, piece) for piece in pieces) + ends)
    few = pieces[:3] + pieces[-len(WORDS) :]
    write("sentencepiece", "few", b"".join(message(1, piece) for piece in few) + ends)


def shard_header() -> None:
    """TLTOKENS: see tinyllama-train/src/shards.rs."""
    for name, vocabulary, width in [("u16", 512, 2), ("u32", 70000, 4)]:
        tokens = [1, 7, 9, 2, 1, 300]
        sizes = struct.pack("<IIQQQ", 1, width, len(tokens), 2, 21)
        header = b"TLTOKENS" + sizes + struct.pack("<III", vocabulary, 1, 2)
        header = header.ljust(64, b"\0") + b"0123456789abcdef".ljust(64, b"\0")
        write("shard_header", name, header + struct.pack(f"<6{'H' if width == 2 else 'I'}", *tokens))


def weights() -> dict[str, np.ndarray]:
    layer = "model.layers.0."
    shapes = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCABULARY, HIDDEN),
        f"{layer}input_layernorm.weight": (HIDDEN,),
        f"{layer}post_attention_layernorm.weight": (HIDDEN,),
        f"{layer}mlp.down_proj.weight": (HIDDEN, FEED_FORWARD),
    }
    shapes |= {f"{layer}self_attn.{x}_proj.weight": (HIDDEN, HIDDEN) for x in "qkvo"}
    shapes |= {f"{layer}mlp.{x}_proj.weight": (FEED_FORWARD, HIDDEN) for x in ("gate", "up")}
    return {key: np.full(shape, 0.5, np.float32) for key, shape in shapes.items()}


def safetensors_header() -> None:
    halves = {key: weight.astype(np.float16) for key, weight in weights().items()}
    write("safetensors_header", "f32", save(weights(), metadata={"format": "pt"}))
    write("safetensors_header", "f16", save(halves))


def gguf_file() -> None:
    for name in ["llama", "gpt2"]:
        path = CORPUS / "gguf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_context_length(16)
        writer.add_embedding_length(HIDDEN)
        writer.add_block_count(1)
        writer.add_feed_forward_length(FEED_FORWARD)
        writer.add_head_count(1)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(HIDDEN)
        tokens = SPECIAL + WORDS if name == "llama" else ["H", "e", "</s>", "l", "o", "ll", "He"]
        writer.add_vocab_size(len(tokens))
        writer.add_tokenizer_model(name)
        writer.add_token_list(tokens)
        kinds = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
        writer.add_token_types(kinds)
        if name == "llama":
            writer.add_token_scores([-float(id) for id in range(len(tokens))])
            writer.add_bos_token_id(1)
            writer.add_add_bos_token(True)
        else:
            writer.add_tokenizer_pre("smollm")
            writer.add_token_merges(["l l", "H e"])
        writer.add_eos_token_id(2)
        writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
        table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
        for key, weight in weights().items():
            writer.add_tensor(table.get_name(key, try_suffixes=(".weight",)), weight)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def main() -> None:
    shutil.rmtree(CORPUS, ignore_errors=True)
    for make in [config_json, chat_template, tokenizer_json, sentencepiece]:
        make()
    for make in [shard_header, safetensors_header, gguf_file]:
        make()
    files = [path for path in CORPUS.glob("*/*")]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes in {CORPUS}")


if __name__ == "__main__":
    main()
