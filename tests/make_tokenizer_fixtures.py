#!/usr/bin/env python3
"""Makes tests/fixtures/tokenizer: what SentencePiece and Python's `regex` say of odd texts.

    pip install sentencepiece protobuf transformers regex
    python tests/make_tokenizer_fixtures.py            # writes
    python tests/make_tokenizer_fixtures.py --check    # regenerates in memory and compares

Last made with sentencepiece 0.2.3, transformers 5.24.0 and regex 2026.11.19.

    tokenizer.model       a byte-pair encoding of 400 pieces, trained on SENTENCES
    sentencepiece.json    name of the model -> [[text, ids], ..]; models that are too large to commit
                          are looked for in TINYLLAMA_ASSETS, else in ../shared/assets
    pre_tokenizers.json   GGUF's name -> [[text, pieces], ..], by the patterns that transformers has
                          for GGUF files, and by another engine than the one of the tests
"""

import argparse
import io
import json
import os
import random
import sys
from pathlib import Path

import regex
import sentencepiece
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests/fixtures/tokenizer"
ASSETS = Path(os.environ.get("TINYLLAMA_ASSETS", ROOT.parent / "shared/assets"))
LARGE_MODELS = {
    "llama2": "tokenizer/TinyLlama-1.1B-Chat-v1.0/tokenizer.model",
    "stories260k": "model/stories260K-hf/tokenizer.model",
}
# GPT-2's own pattern, as its paper's code has it.
GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
PATTERNS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
} | {
    name: [GGUF_PRE_TOKENIZER_SPLITS[name]]
    for name in ["llama-bpe", "smaug-bpe", "qwen2", "tekken", "gpt-4o"]
}
SENTENCES = [
    "the quick brown fox jumps over the lazy dog and then the other dog",
    "once upon a time there was a little girl who liked to play with her ball",
    "she said hello and he said hello, too; they played all day in the garden",
    "    for index in range(10):\n        print(index, total + index)",
    "aaa aaaa aaaaa bbb bbbb -- --- ---- ==== ========",
    "größer als früher; où est la bibliothèque? привет, мир",
]
TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\t\t", "\r\n", "a", " a", "a ", "  a  b  ", "Hello",
    "Hello world", "Hello, world! It's 12345 o'clock.", "I'M you'Re WE'VE they'll", "1 22 333 4444",
    "١٢٣ ½ Ⅷ x²", "é", "e\u0301", "größer Ångström", "日本語 テスト", "日本語テスト123", "😀", "👩‍👩‍👧 🇩🇪",
    "\u200b\u200d", "\u00a0a\u3000b", "▁", "a▁b", " ▁ ", "<s>", "</s>", "<unk>", "<0x0A>", "<0x0a>", "a</s>b",
    "def f(x):\n    return x  # é\n\n\n", "\tif (a&&b) { c->d(); }\n", "http://a.b/c?d=e&f#g", "\u0000", "\u007f",
    "…—«»", "$100+20=~^|`", "..\n\n...", "camelCaseHTTPServer", "ALLCAPS lower", "ÄÖÜß straße", "привет мир",
    "นี่คือ", "हिन्दी", "אבג דהו", "  \u2028\u2029 ", "aaaaaaaaaaaaaaaaa", "-" * 33, "= " * 9, "\uFFFD",
    "a\u0300\u0316\u0301b", "\U0001F468", "\uFDFA", "ﬁ",
]
PIECES = ["a", "aa", "the", "th", "he", " ", "  ", "\n", "e", "-", "==", "0", "17", ".", "é", "漢", "😀", "<s>", "▁", "'s", "A"]


def texts() -> list[str]:
    draw = random.Random(7)
    made = ["".join(draw.choices(PIECES, k=draw.randint(2, 24))) for _ in range(60)]
    return TEXTS + made + [" " * count for count in (5, 15, 16, 17, 31, 64)]


def train() -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def encode(model: bytes) -> list:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [[text, processor.encode(text)] for text in texts()]


def split(text: str, patterns: list[str]) -> list[str]:
    """Each pattern cuts what the ones before left over: its matches, and what lies between."""
    pieces = [text] if text else []
    for pattern in patterns:
        cut = []
        for piece in pieces:
            end = 0
            for match in regex.finditer(pattern, piece):
                cut += [piece[end : match.start()], match.group()]
                end = match.end()
            cut.append(piece[end:])
        pieces = [piece for piece in cut if piece]
    return pieces


def make() -> dict[str, bytes]:
    model = train()
    models = {"fixture": model}
    for name, path in LARGE_MODELS.items():
        models[name] = (ASSETS / path).read_bytes()
    encoded = {name: encode(model) for name, model in models.items()}
    pieces = {
        name: [[text, split(text, patterns)] for text in texts()]
        for name, patterns in PATTERNS.items()
    }
    return {
        "tokenizer.model": model,
        "sentencepiece.json": lines(encoded),
        "pre_tokenizers.json": lines(pieces),
    }


def lines(by_name: dict[str, list]) -> bytes:
    """JSON with one text a line."""
    dump = lambda value: json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    parts = (
        f"{dump(name)}:[\n" + ",\n".join(dump(row) for row in rows) + "\n]"
        for name, rows in by_name.items()
    )
    return ("{" + ",\n".join(parts) + "}\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    check = parser.parse_args().check
    for name, content in make().items():
        path = FIXTURES / name
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        elif path.read_bytes() != content:
            sys.exit(f"{path} differs")


if __name__ == "__main__":
    main()
