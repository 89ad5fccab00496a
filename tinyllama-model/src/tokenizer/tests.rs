//! A byte-level and a SentencePiece-like vocabulary built here, and the real one where it is found.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Tokenizer;
use crate::error::TokenizerError;

mod gguf;
mod properties;
mod vectors;

/// A folder of the shared test assets: `TINYLLAMA_ASSETS`, else `../shared/assets` beside the
/// repository. `None`, with a line that says so, where it is absent.
pub(crate) fn asset(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TINYLLAMA_ASSETS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/assets")),
        PathBuf::from,
    );
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    // Not through println!, which a passing test hides.
    writeln!(io::stderr(), "skipped: {} is absent (see TINYLLAMA_ASSETS)", path.display()).ok();
    None
}

fn added_tokens(tokens: &[&str]) -> Value {
    let added = tokens.iter().enumerate().map(|(id, content)| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        })
    });
    added.collect()
}

fn build(json: Value) -> Tokenizer {
    Tokenizer::from_json(json.to_string().as_bytes()).expect("a valid tokenizer.json")
}

/// GPT-2's kind: `special`, then one token for each byte, no merges.
pub(crate) fn byte_level(special: &[&str]) -> Tokenizer {
    let mut alphabet: Vec<char> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let words = special.iter().map(|word| word.to_string());
    let vocab: Map<String, Value> = words
        .chain(alphabet.into_iter().map(String::from))
        .enumerate()
        .map(|(id, word)| (word, json!(id)))
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    build(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens(special),
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}
    }))
}

/// Llama 2's kind: `<unk>`, `<s>`, `</s>`, 256 bytes, some characters and merges; BOS in front.
/// `legacy` puts a `▁` before each piece between special tokens, otherwise before the first only.
pub(crate) fn llama_like(legacy: bool) -> Tokenizer {
    let words = ["▁", "H", "e", "l", "o", "w", "<", "/", "s", ">", "#", "▁H", "lo", "▁w"];
    let bytes = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>"));
    let special = ["<unk>", "<s>", "</s>"];
    let vocab: Map<String, Value> = (special.iter().map(|word| word.to_string()))
        .chain(bytes)
        .chain(words.iter().map(|word| word.to_string()))
        .enumerate()
        .map(|(id, word)| (word, json!(id)))
        .collect();
    let (normalizer, pre_tokenizer) = if legacy {
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        (json!({"type": "Sequence", "normalizers": [prepend, replace]}), Value::Null)
    } else {
        let metaspace = json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false
        });
        (Value::Null, metaspace)
    };
    let piece = |kind: &str, id: &str| json!({kind: {"id": id, "type_id": 0}});
    build(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens(&special),
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("SpecialToken", "<s>"), piece("Sequence", "A")],
            "pair": [piece("Sequence", "A"), piece("Sequence", "B")],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]},
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": vocab, "merges": ["▁ H", "l o", "▁ w"]
        }
    }))
}

fn words(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.id_to_token(id).expect("a known id")).collect()
}

/// A file of tests/fixtures/tokenizer, which tests/make_tokenizer_fixtures.py makes.
pub(super) fn fixture(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tokenizer");
    PathBuf::from(folder).join(name)
}

/// The stream gives whole characters that concatenate to the decoded whole.
#[track_caller]
fn streams(tokenizer: &Tokenizer, ids: &[u32]) {
    let mut stream = tokenizer.decode_stream();
    let mut text = String::new();
    for &id in ids {
        text.extend(stream.push(id).expect("decodable"));
    }
    text.extend(stream.finish().expect("decodable"));
    assert_eq!(text, tokenizer.decode(ids).expect("decodable"), "{ids:?}");
}

#[test]
fn special_tokens_in_text_are_text() {
    for tokenizer in [llama_like(true), llama_like(false), byte_level(&["<s>", "</s>"])] {
        let text = "Hello</s>w<s>";
        let ids = tokenizer.encode(text, false).expect("encodable");
        assert!(ids.iter().all(|&id| !tokenizer.is_special(id)), "{ids:?}");
        assert_eq!(tokenizer.decode(&ids).expect("decodable"), text);
        assert!(tokenizer.contains_special(text) && !tokenizer.contains_special("Hello< /s>"));
    }
}

#[test]
fn special_tokens_are_added_only_where_the_tokenizer_adds_them() {
    let llama = llama_like(true);
    assert!(llama.adds_bos());
    assert_eq!(llama.encode("Hello", true).expect("encodable")[0], 1);
    assert_eq!(
        words(&llama, &llama.encode("Hello", false).expect("encodable")),
        ["▁H", "e", "l", "lo"]
    );
    let bytes = byte_level(&["<s>", "</s>"]);
    assert!(!bytes.adds_bos());
    assert_eq!(bytes.bos_id(), Some(0));
    assert_eq!(
        bytes.encode("Hello", true).expect("encodable"),
        bytes.encode("Hello", false).expect("encodable")
    );
}

/// Reference: the `tokenizers` crate itself, with special tokens recognised.
#[test]
fn marked_text_equals_the_plain_library() {
    for tokenizer in [llama_like(true), llama_like(false)] {
        let mut library = tokenizer.inner.clone();
        library.set_encode_special_tokens(false);
        for text in ["", "Hello w", "Hello</s>Hello</s> w", "</s></s>", "<s>Hello</s>\nHé </s>"] {
            let expected = library.encode(text, false).expect("encodable");
            let marked = tokenizer.encode_marked(text, &[]).expect("encodable");
            let ids: Vec<u32> = marked.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, expected.get_ids(), "{text}");
            let offsets: Vec<_> =
                marked.iter().map(|(_, range)| (range.start, range.end)).collect();
            assert_eq!(offsets, expected.get_offsets(), "{text}");
        }
    }
}

#[test]
fn literal_ranges_are_text_and_change_nothing_else() {
    // Of the three end tokens the middle one is the user's.
    let text = "Hello</s>w</s>w</s>";
    let literal = 10..14;
    assert_eq!(&text[literal.clone()], "</s>");
    for (legacy, second) in [(true, "▁w"), (false, "w")] {
        let tokenizer = llama_like(legacy);
        let marked =
            tokenizer.encode_marked(text, std::slice::from_ref(&literal)).expect("encodable");
        let ids: Vec<u32> = marked.iter().map(|(id, _)| *id).collect();
        let expected = ["▁H", "e", "l", "lo", "</s>", second, "<", "/", "s", ">", "w", "</s>"];
        assert_eq!(words(&tokenizer, &ids), expected);
        assert_eq!(ids.iter().filter(|&&id| id == 2).count(), 2);
        let (_, last) = marked.last().expect("not empty");
        assert_eq!(&text[last.clone()], "</s>");
        assert_eq!(last.end, text.len());
    }
}

#[test]
fn offsets_are_bytes_of_the_text() {
    let text = "He é😀 w";
    for tokenizer in [llama_like(true), llama_like(false), byte_level(&[])] {
        let placed = tokenizer.encode_marked(text, &[]).expect("encodable");
        assert_eq!(
            placed.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            tokenizer.encode(text, false).expect("encodable")
        );
        let mut covered = vec![false; text.len()];
        for (_, range) in &placed {
            covered[range.clone()].fill(true);
            assert!(text.get(range.clone()).is_some(), "{range:?} cuts a character");
        }
        assert!(covered.into_iter().all(|byte| byte));
    }
}

/// Else the spaces of an answer would not be learned.
#[test]
fn offsets_hold_the_spaces_whatever_the_post_processor_trims() {
    let mut json: Value = serde_json::from_str(&byte_level(&[]).json(false)).unwrap();
    json["post_processor"] = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokens = build(json).encode_marked("a   b", &[]).unwrap();
    let mut at = 0;
    for (id, range) in tokens {
        assert!(range.start == at && range.end > at, "token {id} at {range:?}, not at {at}");
        at = range.end;
    }
    assert_eq!(at, "a   b".len());
}

#[test]
fn a_stream_equals_the_whole() {
    let texts = ["Hello w", " Hello", "  w", "", "é", "😀H😀", "a\n\nb", "\u{FFFD}", "日本 語"];
    for tokenizer in [llama_like(true), llama_like(false), byte_level(&["<s>", "</s>"])] {
        let bos = tokenizer.bos_id().expect("known");
        for text in texts {
            let mut ids = tokenizer.encode(text, true).expect("encodable");
            streams(&tokenizer, &ids);
            ids.insert(0, bos);
            ids.push(bos);
            ids.extend(tokenizer.encode(text, false).expect("encodable"));
            streams(&tokenizer, &ids);
        }
        // A character that is never finished, and an id that the vocabulary lacks.
        let emoji = tokenizer.encode("😀", false).expect("encodable");
        streams(&tokenizer, &emoji[..emoji.len() - 1]);
        streams(&tokenizer, &[bos, 1_000_000]);
    }
}

#[test]
fn a_stream_holds_back_unfinished_characters() {
    let tokenizer = byte_level(&[]);
    let ids = tokenizer.encode("é", false).expect("encodable");
    let mut stream = tokenizer.decode_stream();
    assert_eq!(stream.push(ids[0]).expect("decodable"), None);
    assert_eq!(stream.push(ids[1]).expect("decodable").as_deref(), Some("é"));
    assert_eq!(stream.finish().expect("decodable"), None);
}

/// Text once handed out stays, even where SentencePiece would take it back.
#[test]
fn a_stream_survives_invalid_bytes() {
    let tokenizer = llama_like(true);
    let byte = |value: u8| tokenizer.token_to_id(&format!("<0x{value:02X}>")).expect("a byte");
    let mut stream = tokenizer.decode_stream();
    let ids = [byte(b'\n'), byte(0xE2), byte(b'x'), tokenizer.token_to_id("▁w").expect("a word")];
    let mut text = String::new();
    for id in ids {
        text.extend(stream.push(id).expect("decodable"));
    }
    text.extend(stream.finish().expect("decodable"));
    assert_eq!(text, "\n\u{FFFD}\u{FFFD} w");
}

#[test]
fn truncation_and_padding_are_off() {
    let mut json: Value = serde_json::from_str(&byte_level(&["<s>"]).json(false)).expect("JSON");
    json["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<s>"
    });
    assert_eq!(build(json).encode("Hello", true).expect("encodable").len(), 5);
}

#[test]
fn fingerprints_tell_vocabularies_apart() {
    let fingerprint = byte_level(&["<s>"]).fingerprint();
    assert_eq!(fingerprint.len(), 16);
    assert_eq!(byte_level(&["<s>"]).fingerprint(), fingerprint);
    assert_ne!(byte_level(&["</s>"]).fingerprint(), fingerprint);
    assert_eq!(llama_like(true).fingerprint(), llama_like(true).fingerprint());
}

#[test]
fn a_saved_folder_reads_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokenizer = byte_level(&["<|endoftext|>", "<s>"]);
    tokenizer.save(folder.path(), Some("{{ eos_token }}")).expect("a writable folder");
    let read = Tokenizer::from_folder(folder.path()).expect("our own folder");
    assert_eq!(read.fingerprint(), tokenizer.fingerprint());
    assert_eq!((read.bos_id(), read.eos_id()), (Some(1), Some(0)));
    assert_eq!(read.vocab_size(), 258);

    // What the folder says has precedence over usual names, null included; its keys are kept.
    let path = folder.path().join("tokenizer_config.json");
    let config = json!({"bos_token": null, "eos_token": {"content": "<s>"}, "model_max_length": 7});
    fs::write(&path, config.to_string()).expect("a writable folder");
    let read = Tokenizer::from_folder(folder.path()).expect("a valid folder");
    assert_eq!((read.bos_id(), read.eos_token()), (None, Some("<s>")));
    read.save(folder.path(), None).expect("a writable folder");
    let written: Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("written")).expect("JSON");
    assert_eq!(written["model_max_length"], 7);
    assert_eq!(written["bos_token"], Value::Null);

    fs::write(&path, r#"{"eos_token": "<|nobody|>"}"#).expect("a writable folder");
    let error = Tokenizer::from_folder(folder.path()).expect_err("no such token");
    assert!(matches!(&error, TokenizerError::UnknownSpecialToken { key: "eos_token", .. }));
    assert!(error.to_string().contains("<|nobody|>"), "{error}");
}

#[test]
fn broken_files_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = Tokenizer::from_folder(folder.path()).expect_err("an empty folder");
    assert!(matches!(error, TokenizerError::Missing { .. }));
    let path = folder.path().join("tokenizer.json");
    for text in ["", "{}", "[1]", r#"{"model": {"type": "BPE"}}"#] {
        fs::write(&path, text).expect("a writable folder");
        let error = Tokenizer::from_folder(folder.path()).expect_err("broken").to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
}

/// Ids decide how large embeddings, counts and token files are, so none is taken on trust.
#[test]
fn ids_outside_of_the_vocabulary_are_refused() {
    let mut json: Value = serde_json::from_str(&llama_like(true).json(false)).expect("JSON");
    json["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([70_000]);
    let error = Tokenizer::from_json(json.to_string().as_bytes()).expect_err("no such token");
    assert!(matches!(error, TokenizerError::ForeignId { id: 70_000, vocab_size: 273 }), "{error}");

    let mut json: Value = serde_json::from_str(&byte_level(&[]).json(false)).expect("JSON");
    json["model"]["vocab"]["large"] = json!(u32::MAX);
    let error = Tokenizer::from_json(json.to_string().as_bytes()).expect_err("a huge vocabulary");
    assert!(error.to_string().contains("4294967295"), "{error}");
}

/// NFKC makes two characters of the ligature, and the added token is one of them.
#[test]
fn special_tokens_inside_of_a_character_are_no_panic() {
    let mut json: Value = serde_json::from_str(&byte_level(&["f", "i"]).json(false)).expect("JSON");
    json["normalizer"] = json!({"type": "NFKC"});
    for token in json["added_tokens"].as_array_mut().expect("a list") {
        token["normalized"] = json!(true);
    }
    let tokenizer = build(json);
    for text in ["\u{FB01}", "a\u{FB01}b", "\u{FB01}\u{FB03}", "f\u{FB01}"] {
        for literal in 0..text.len() {
            // Either an encoding or an error that says why there is none.
            let literal = literal..text.len();
            if let Ok(placed) = tokenizer.encode_marked(text, std::slice::from_ref(&literal)) {
                assert!(placed.iter().all(|(_, range)| text.get(range.clone()).is_some()));
            }
        }
    }
}
