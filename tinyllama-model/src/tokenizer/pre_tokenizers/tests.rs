use std::collections::HashMap;
use std::fs;

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Decoder, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

use super::super::tests::fixture;
use super::*;

fn pieces(name: &str, text: &str) -> Vec<String> {
    let mut cut = PreTokenizedString::from(text);
    PreTokenizer::of_name(name).unwrap().pre_tokenizer().pre_tokenize(&mut cut).unwrap();
    let decode = |piece: &str| ByteLevel::default().decode(vec![piece.to_owned()]).unwrap();
    cut.get_splits(OffsetReferential::Original, OffsetType::Byte)
        .into_iter()
        .map(|(piece, ..)| decode(piece))
        .collect()
}

/// Reference: Python's `regex` with the patterns that transformers has for GGUF files.
#[test]
fn pieces_equal_those_of_another_engine() {
    let json = fs::read(fixture("pre_tokenizers.json")).unwrap();
    let all: HashMap<String, Vec<(String, Vec<String>)>> = serde_json::from_slice(&json).unwrap();
    assert_eq!(all.len(), 8);
    for (name, vectors) in all {
        assert!(vectors.len() > 100);
        for (text, expected) in vectors {
            assert_eq!(pieces(&name, &text), expected, "{name}: {text:?}");
        }
    }
}

#[test]
fn every_name_is_found_again() {
    let names: Vec<&str> = KNOWN.iter().flat_map(|known| known.names).copied().collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name} stands for two ways");
        let known = PreTokenizer::of_name(name).unwrap();
        let (normalizer, cut) = (to_value(&known.normalizer()), to_value(&known.pre_tokenizer()));
        let found =
            PreTokenizer::name_of(&steps(&normalizer, "normalizers"), &cut, known.ignore_merges);
        assert_eq!(found.unwrap(), known.names[0]);
    }
}

/// Forms that files in use have: falcon's, GPT-2's inside of a sequence, Qwen 2's.
#[test]
fn other_spellings_are_recognised() {
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let sequence = |steps: &[Value]| json!({"type": "Sequence", "pretokenizers": steps});
    let name = |cut: &Value| PreTokenizer::name_of(&[], cut, false);
    let punctuation = json!({"type": "Punctuation", "behavior": "Contiguous"});
    let falcon = sequence(&[punctuation, bytes(true), split(THREE_DIGITS)]);
    assert_eq!(name(&falcon).unwrap(), "falcon");
    assert_eq!(name(&sequence(&[sequence(&[bytes(true)])])).unwrap(), "gpt-2");
    assert_eq!(name(&sequence(&[split(GPT2), bytes(false)])).unwrap(), "gpt-2");
    assert_eq!(name(&sequence(&[split(r"\p{N}"), bytes(true)])).unwrap(), "smollm");
    let nfc = json!({"type": "NFC"});
    let qwen = sequence(&[split(QWEN2), bytes(false)]);
    assert_eq!(PreTokenizer::name_of(&[&nfc], &qwen, false).unwrap(), "qwen2");

    let mut spaced = bytes(true);
    spaced["add_prefix_space"] = json!(true);
    for other in
        [spaced, qwen, json!({"type": "Whitespace"}), sequence(&[bytes(true), bytes(true)])]
    {
        let error = name(&other).unwrap_err();
        assert!(
            matches!(&error, TokenizerError::Unsupported { field, .. } if field == "pre_tokenizer")
        );
        assert!(error.to_string().len() < 400, "{error}");
    }
    let lower = json!({"type": "Lowercase"});
    let error = PreTokenizer::name_of(&[&lower], &bytes(true), false).unwrap_err();
    assert!(error.to_string().contains("Lowercase"), "{error}");
}

#[test]
fn an_unknown_name_is_named() {
    let error = PreTokenizer::of_name("bloom").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`bloom`") && error.contains("llama-bpe"), "{error}");
}
