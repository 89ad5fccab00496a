#!/usr/bin/env python3
"""Hugging Face transformers opens our safetensors exports and computes what we compute.

For every Llama of tests/fixtures with a tokenizer, chat template and generation settings made here,
and for stories260K, exported in f32:

- the weights are those of the source, bit by bit, and none is missing or left over;
- config.json says the same, RoPE scaling included; so do generation_config.json and the tokenizer;
- the chat template renders the same text;
- logits of transformers and of `generate` on the exported folder agree.

Exports in bf16 and f16 hold what torch's own cast makes of each weight. A checkpoint of llama2.c
(stories260K.bin) becomes a folder on which transformers computes the logits of run.c. SmolLM2's GGUF
file becomes a folder with the weights that gguf.quants reads from it.
"""

import shutil
from pathlib import Path

import support

support.require("torch", "transformers", "safetensors.torch", "gguf", "sentencepiece")

import gguf
import numpy as np
import sentencepiece
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

import llama_names

# f32 against f32, with sums in another order.
LOGIT_TOLERANCE = 1e-4
# Keys that say who wrote config.json and in which dtype.
OF_THE_WRITER = {"transformers_version", "dtype", "_name_or_path", "architectures"}
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MESSAGES = [
    {"role": "user", "content": "t3 t4"},
    {"role": "assistant", "content": "t5"},
    {"role": "user", "content": "t6"},
]
logging.disable_progress_bar()
report = support.Report()


def source_of_fixture(fixture: Path, folder: Path) -> Path:
    """A fixture's model with a tokenizer of words `t3 t4 …` and everything else a folder may hold."""
    source = folder / "source"
    source.mkdir()
    for name in ["config.json", "model.safetensors"]:
        shutil.copy(fixture / name, source / name)
    size = AutoConfig.from_pretrained(source).vocab_size
    special = ["<unk>", "<s>", "</s>"]
    vocabulary = {word: id for id, word in enumerate(special)}
    vocabulary |= {f"t{id}": id for id in range(len(special), size)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(source)
    settings = {"bos_token_id": 1, "eos_token_id": [2, 5], "do_sample": True, "temperature": 0.6}
    GenerationConfig(**settings).save_pretrained(source)
    return source


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a folder, in one file or several."""
    weights = {}
    for path in sorted(folder.glob("model*.safetensors")):
        weights |= load_file(path)
    return weights


def load(folder: Path, name: str):
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    left = {key: value for key, value in info.items() if value}
    report.equal(f"{name}: weights missing or left over", left, {})
    return model.eval()


def settings(config) -> dict:
    known = {key: value for key, value in config.to_dict().items() if key not in OF_THE_WRITER}
    # Its older name, which may stand beside it.
    known.get("rope_parameters", {}).pop("type", None)
    return known


@torch.no_grad()
def compare_logits(name: str, model, ids: np.ndarray, expected: np.ndarray) -> None:
    found = model(input_ids=torch.tensor(ids)[None]).logits[0].float().numpy()
    worst = np.abs(found - expected).max()
    report.check(f"{name}: logits of {len(ids)} tokens", worst <= LOGIT_TOLERANCE, f"{worst:.1e} off")


def check_folder(name: str, source: Path, export: Path, texts: list[str], encode) -> None:
    """An export in f32 against its source, and its tokenizer against the function `encode`."""
    old, new = (AutoConfig.from_pretrained(folder) for folder in (source, export))
    report.equal(f"{name}: config.json", settings(new), settings(old))
    if (source / "generation_config.json").exists():
        old, new = (GenerationConfig.from_pretrained(folder) for folder in (source, export))
        report.equal(f"{name}: generation_config.json", settings(new), settings(old))
    weights, exported = stored(source), stored(export)
    same = weights.keys() == exported.keys() and all(
        exported[key].dtype == torch.float32 and torch.equal(exported[key], weights[key])
        for key in weights
    )
    report.check(f"{name}: {len(weights)} tensors, bit by bit", same)
    tokenizer = AutoTokenizer.from_pretrained(export)
    model = load(export, name)
    for text in texts:
        ids, logits = support.logits(export, text)
        report.equal(f"{name}: ids of {text!r}", tokenizer(text).input_ids, encode(text))
        report.equal(f"{name}: our ids of it", ids.tolist(), encode(text))
        compare_logits(name, model, ids, logits)


def check_casts(name: str, source: Path, folder: Path) -> None:
    weights = stored(source)
    for dtype, torch_dtype in [("bf16", torch.bfloat16), ("f16", torch.float16)]:
        export = support.convert(source, folder / dtype, format="safetensors", dtype=dtype)
        exported = stored(export)
        wrong = [key for key in weights if not torch.equal(exported[key], weights[key].to(torch_dtype))]
        report.equal(f"{name} in {dtype}: tensors other than torch's cast", wrong, [])
        loaded = AutoModelForCausalLM.from_pretrained(export)
        report.equal(f"{name} in {dtype}: dtype when loaded", loaded.dtype, torch_dtype)


def fixtures() -> None:
    for fixture in sorted(support.FIXTURES.glob("tiny_llama*")):
        with support.scratch() as folder:
            source = source_of_fixture(fixture, Path(folder))
            export = support.convert(source, Path(folder) / "f32", format="safetensors", dtype="f32")
            tokenizer = AutoTokenizer.from_pretrained(source)
            encode = lambda text: tokenizer(text).input_ids
            check_folder(fixture.name, source, export, ["t7 t11 t3 t20 t42 t9"], encode)
            chats = [
                AutoTokenizer.from_pretrained(folder).apply_chat_template(
                    MESSAGES, tokenize=False, add_generation_prompt=True
                )
                for folder in (source, export)
            ]
            report.equal(f"{fixture.name}: chat", chats[1], chats[0])
            if fixture.name == "tiny_llama":
                check_casts(fixture.name, source, Path(folder))


def stories() -> None:
    if report.missing(support.STORIES):
        return
    with support.scratch() as folder:
        options = {"format": "safetensors", "dtype": "f32"}
        export = support.convert(support.STORIES, Path(folder) / "f32", **options)
        pieces = sentencepiece.SentencePieceProcessor(str(support.STORIES / "tokenizer.model"))
        encode = lambda text: pieces.encode(text, add_bos=True)
        check_folder("stories260K", support.STORIES, export, support.PROMPTS, encode)


def llama2_c() -> None:
    checkpoint = support.ASSETS / "model" / "stories260K.bin"
    reference = support.ASSETS / "reference" / "stories260K_run_c_logits.safetensors"
    if report.missing(checkpoint) or report.missing(reference):
        return
    run_c = load_file(reference)
    with support.scratch() as folder:
        options = {"format": "safetensors", "dtype": "f32"}
        export = support.convert(checkpoint, Path(folder) / "f32", **options)
        ids, expected = run_c["token_ids"].numpy(), run_c["run_c_logits"].numpy()
        compare_logits("stories260K.bin against run.c", load(export, "run.c"), ids[: len(expected)], expected)


def smollm2() -> None:
    reference = support.ASSETS / "reference" / "smollm2_135m_q4_1_logits.safetensors"
    if report.missing(support.SMOLLM2):
        return
    with support.scratch() as folder:
        options = {"format": "safetensors", "dtype": "f32"}
        export = support.convert(support.SMOLLM2, Path(folder) / "f32", **options)
        exported = stored(export)
        expected = llama_names.read_as_hugging_face(gguf.GGUFReader(support.SMOLLM2))
        report.equal("SmolLM2: names of tensors", sorted(exported), sorted(expected))
        wrong = [key for key in exported if not np.array_equal(exported[key].numpy(), expected[key])]
        report.equal("SmolLM2: tensors other than those gguf.quants reads", wrong, [])
        model = load(export, "SmolLM2")
        if not report.missing(reference):
            tokens = AutoTokenizer.from_pretrained(export)("The capital of France is").input_ids
            expected = load_file(reference)["p0.logits_all"].numpy()
            compare_logits("SmolLM2", model, np.array(tokens), expected)


if __name__ == "__main__":
    fixtures()
    stories()
    llama2_c()
    smollm2()
    report.exit()
