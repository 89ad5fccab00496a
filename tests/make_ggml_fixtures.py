#!/usr/bin/env python3
"""Makes tests/fixtures/ggml_blocks.safetensors: GGML's blocks and what GGML reads and writes.

    pip install numpy safetensors gguf libggml-python
    python tests/make_ggml_fixtures.py            # writes the file
    python tests/make_ggml_fixtures.py --check    # regenerates in memory and compares

Last made with gguf 0.19.0 and libggml-python 0.20.2. For every format FORMAT but F32:

    FORMAT.blocks      u8 [N, bytes]      random bytes, with finite scales of every kind
    FORMAT.values      f32 [N, elements]  what they stand for

and for the formats that can be written:

    quantize.values    f32 [M, 32]        ordinary and hostile rows
    quantize.FORMAT    u8 [M, bytes]      their blocks

Two implementations must agree on every bit (but one, see MINUS_ZEROS): `gguf.quants` in NumPy and
ggml's own C, the functions `to_float` and `ggml_quantize_chunk` of libggml. Without libggml-python
the second is left out, with a word about it.
"""

import argparse
import ctypes
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, quants
from safetensors.numpy import load_file, save_file

FIXTURE = Path(__file__).resolve().parent / "fixtures" / "ggml_blocks.safetensors"
# Format: blocks in the file, and where the f16 numbers of a block begin.
READ = {
    "F16": (128, [0]),
    "BF16": (128, []),
    "Q4_0": (8, [0]),
    "Q4_1": (8, [0, 2]),
    "Q5_0": (8, [0]),
    "Q5_1": (8, [0, 2]),
    "Q8_0": (8, [0]),
    "Q4_K": (3, [0, 2]),
    "Q5_K": (3, [0, 2]),
    "Q6_K": (3, [208]),
}
WRITTEN = ["F16", "BF16", "Q4_0", "Q8_0"]
# Signs of zero, denormals, extremes, ordinary numbers.
SCALES = np.array(
    [0.01, -0.02, 0.0, -0.0, 6e-8, -6.09e-5, 65504.0, -65504.0, 0.333, 1.0, 6.1e-5, -3.7], np.float16
)
# The one row for which gguf.quants and ggml differ, and the file holds what ggml writes.
MINUS_ZEROS = 1


def blocks_of(name: str, random: np.random.RandomState) -> np.ndarray:
    count, scales = READ[name]
    _, size = quants.GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = random.randint(0, 256, (count, size)).astype(np.uint8)
    if name == "BF16":
        blocks[:, 1] &= 0xBF  # Neither NaN nor infinity.
        blocks[:4] = np.array([0, 0x8000, 1, 0xFF7F], "<u2").view(np.uint8).reshape(4, 2)
    for offset in scales:
        numbers = np.roll(np.resize(SCALES, count), offset // 2 * 5)
        blocks[:, offset : offset + 2] = numbers[:, None].view(np.uint8)
    if name == "F16":
        bits = random.randint(0, 0x7C00, count) | random.randint(0, 2, count) << 15
        blocks[len(SCALES) :] = bits.astype("<u2")[len(SCALES) :, None].view(np.uint8)
    return blocks


def rows_to_quantize(random: np.random.RandomState) -> np.ndarray:
    """f32 [M, 32]."""
    normal = lambda: random.standard_normal(32).astype(np.float32)
    outlier = lambda x: np.where(np.arange(32) == 17, np.float32(x), np.float32(0.25) * normal())
    rows = [
        np.zeros(32),
        -np.zeros(32),  # MINUS_ZEROS
        np.full(32, -0.7),
        *(normal() for _ in range(6)),
        outlier(9.0),
        outlier(-9.0),
        # The furthest occurs with both signs: the first one counts.
        np.where(np.arange(32) % 2 == 0, 1.0, -1.0) * 3.0,
        np.where(np.arange(32) % 2 == 0, -1.0, 1.0) * 3.0,
        # Halfway between codes of Q8_0 (scale 1) and of Q4_0 (scale 1).
        np.concatenate([[127.0], np.arange(31) - 15.5]),
        np.concatenate([[-127.0], 15.5 - np.arange(31)]),
        np.concatenate([[-8.0], np.arange(31) * 0.5 - 7.5]),
        np.concatenate([[8.0], np.arange(31) * 0.5 - 7.5]),
        # Scales that are denormal or zero as f16; then without an inverse in f32.
        normal() * 1e-4,
        normal() * 1e-6,
        normal() * 1e-9,
        normal() * 1e-37,
        normal() * 1e-39,
        np.arange(32) * 1e-45,
        # Near and above the largest f16; scales that round up and overflow.
        normal() * 6e4,
        normal() * 1e6,
        normal() * 1e30,
        np.linspace(-3.4e38, 3.4e38, 32),
        # Ties of f16 and of bf16.
        1.0 + np.arange(32) * 2.0**-11,
        1.0 + np.arange(32) * 2.0**-8,
        np.arange(32) * 2.0**-25,
        65488.0 + np.arange(32) * 2.0,
    ]
    return np.stack(rows).astype(np.float32)


class Traits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("block_elements", ctypes.c_int64),
        ("interleave", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    ]


def load_ggml() -> ctypes.CDLL | None:
    try:
        import libggml
    except ImportError:
        return None
    ggml = ctypes.CDLL(str(Path(libggml.__file__).parent / "lib64" / "libggml-base.so.0"))
    ggml.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    ggml.ggml_quantize_chunk.argtypes += [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    return ggml


def same_bits(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    same = np.array_equal(ours.reshape(-1).view(np.uint8), theirs.reshape(-1).view(np.uint8))
    assert same, f"{name}: gguf.quants and ggml differ"


def make(ggml: ctypes.CDLL | None) -> dict[str, np.ndarray]:
    random = np.random.RandomState(11)
    rows = rows_to_quantize(random)
    tensors = {"quantize.values": rows}
    for name in READ:
        kind = GGMLQuantizationType[name]
        blocks = blocks_of(name, random)
        values = quants.dequantize(blocks, kind).astype(np.float32)
        tensors |= {f"{name}.blocks": blocks, f"{name}.values": values}
        if name in WRITTEN:
            with np.errstate(all="ignore"):
                quantized = np.ascontiguousarray(quants.quantize(rows, kind)).view(np.uint8)
            if name == "Q4_0":
                quantized[MINUS_ZEROS, 1] = 0x80  # ggml's scale of zeros is always -0.
            tensors[f"quantize.{name}"] = quantized
        if ggml is None:
            continue
        traits = ggml.ggml_get_type_traits(int(kind)).contents
        shape = (traits.name.decode().upper(), traits.block_elements, traits.block_bytes)
        assert shape == (name, values.shape[1], blocks.shape[1]), shape
        found = np.empty_like(values)
        traits.to_float(blocks.ctypes.data, found.ctypes.data, values.size)
        same_bits(f"{name}.values", values, found)
        if name in WRITTEN:
            found = np.empty_like(quantized)
            arguments = (rows.ctypes.data, found.ctypes.data, 0, len(rows), rows.shape[1], None)
            ggml.ggml_quantize_chunk(int(kind), *arguments)
            same_bits(f"quantize.{name}", quantized, found)
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing")
    check = parser.parse_args().check
    ggml = load_ggml()
    tensors = make(ggml)
    second = "ggml's C agrees" if ggml else "not compared with ggml's C: no libggml-python"
    if check:
        stored = load_file(FIXTURE)
        differing = sorted(stored.keys() ^ tensors.keys())
        common = stored.keys() & tensors.keys()
        differing += [name for name in common if stored[name].tobytes() != tensors[name].tobytes()]
        if differing:
            sys.exit(f"{FIXTURE.name} differs in {', '.join(differing)}")
        print(f"{FIXTURE.name} is as made here; {second}")
    else:
        save_file(tensors, FIXTURE)
        print(f"wrote {FIXTURE}, {FIXTURE.stat().st_size} bytes; {second}")


if __name__ == "__main__":
    main()
