use std::time::{Duration, Instant};

use serde_json::json;

use super::super::Tokenizer;
use super::super::tests::{byte_level, fixture, llama_like};
use super::*;

fn json_of(tokenizer: &Tokenizer) -> Value {
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path(), None).unwrap();
    let text = std::fs::read(folder.path().join("tokenizer.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn with(json: &Value, path: &str, value: Value) -> Value {
    let mut json = json.clone();
    *json.pointer_mut(path).unwrap() = value;
    json
}

#[track_caller]
fn refused(json: &Value, expected: &[&str]) {
    let error = Tokenizer::from_json(json.to_string().as_bytes()).unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "{error}");
    }
    assert!(error.len() < 500, "{error}");
}

fn regex(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

#[test]
fn broken_models_are_refused() {
    let llama = json_of(&llama_like(true));
    for id in [1 << 24, u64::from(u32::MAX), u64::MAX] {
        refused(&with(&llama, "/model/vocab/lo", json!(id)), &[&id.to_string()]);
    }
    let long = json!({"x".repeat(9000): 0});
    refused(&with(&llama, "/model/vocab", long), &["`model.vocab`", "8192"]);
    let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["y".repeat(100_000), 0.0]]});
    refused(&with(&llama, "/model", unigram), &["`model.vocab`", "8192"]);
    for merge in [
        json!("H z"),
        json!("▁H ▁H"),
        json!("H"),
        json!(["H", "▁"]),
        json!(["H"]),
        json!(7),
        json!("lo lo"),
        json!("▁ H w"),
    ] {
        refused(&with(&llama, "/model/merges/1", merge), &["`model.merges[1]`"]);
    }
    let prefix = with(&llama, "/model/continuing_subword_prefix", json!("##"));
    refused(&prefix, &["model.continuing_subword_prefix", "##"]);
    // A list that comes back to where it started, and one that repeats itself, end all the same.
    let merges = json!([["l", "o"], ["l", "o"], ["▁", "H"], ["l", "o"], [" ", "l"]]);
    let mut cyclic = with(&llama, "/model/merges", merges);
    cyclic["model"]["vocab"][""] = json!(300);
    refused(&cyclic, &["`model.merges[4]`"]);
    cyclic["model"]["merges"][4] = json!(["", "l"]);
    let tokenizer = Tokenizer::from_json(cyclic.to_string().as_bytes()).unwrap();
    assert_eq!(
        tokenizer.decode(&tokenizer.encode("Hello lo", false).unwrap()).unwrap(),
        "Hello lo"
    );
}

#[test]
fn broken_parts_are_refused() {
    let llama = json_of(&llama_like(true));
    let bytes = json_of(&byte_level(&["<s>"]));
    let heavy: Vec<Value> = (0..600)
        .map(|id| {
            json!({
                "id": id, "content": format!("{id:08000}"), "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": false
            })
        })
        .collect();
    refused(&with(&llama, "/added_tokens", json!(heavy)), &["`added_tokens`", "4800000 bytes"]);
    let long = json!("z".repeat(1 << 20));
    refused(&with(&llama, "/added_tokens/1/content", long), &["`added_tokens[1].content`"]);

    let template = "/post_processor/single/0/SpecialToken/id";
    refused(&with(&llama, template, json!("</s>")), &["`post_processor.single` is </s>"]);
    let second = json!({"Sequence": {"id": "B", "type_id": 0}});
    refused(&with(&llama, "/post_processor/single/0", second), &["post_processor.single", "`B`"]);
    let ids = "/post_processor/special_tokens/<s>/ids";
    refused(&with(&llama, ids, json!([1, 2])), &["post_processor.special_tokens.<s>"]);
    let mut nested = llama.clone();
    nested["post_processor"] = json!({"type": "Sequence", "processors": [with(&llama, template, json!("x"))["post_processor"]]});
    refused(&nested, &["`post_processor.single` is x"]);

    let strip = json!({"type": "Strip", "content": " ", "start": 0, "stop": 1});
    refused(&with(&llama, "/decoder/decoders/0", strip), &["`decoder.decoders[0].stop` is 1"]);
    let none = json!({"type": "FixedLength", "length": 0});
    refused(&with(&bytes, "/pre_tokenizer", none), &["`pre_tokenizer.length`"]);
    let map = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
    refused(&with(&bytes, "/normalizer", map), &["normalizer.type", "Precompiled"]);
}

/// Each step alone is harmless; together they would make megabytes of a letter.
#[test]
fn growth_is_bounded() {
    let bytes = json_of(&byte_level(&["<s>"]));
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let steps = |step: &Value, count: usize| json!({"type": "Sequence", "normalizers": vec![step.clone(); count]});
    refused(&with(&bytes, "/normalizer", steps(&double, 30)), &["`normalizer`", "1073741824"]);
    refused(&with(&bytes, "/normalizer", steps(&double, 100)), &["`normalizer`"]);
    let large = json!({"type": "Prepend", "prepend": "x".repeat(1024)});
    refused(&with(&bytes, "/normalizer", large), &["`normalizer`", "1025"]);
    let any = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x".repeat(1024)});
    let decoder = json!({"type": "Sequence", "decoders": [any]});
    refused(&with(&bytes, "/decoder", decoder), &["`decoder`"]);
    let cut = vec![bytes["pre_tokenizer"].clone(); 11];
    let cut = json!({"type": "Sequence", "pretokenizers": cut});
    refused(&with(&bytes, "/pre_tokenizer", cut), &["`pre_tokenizer`", "2048"]);

    let allowed = with(&bytes, "/normalizer", steps(&double, 10));
    let tokenizer = Tokenizer::from_json(allowed.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.encode("a", false).unwrap().len(), 1024);
}

#[test]
fn nests_and_long_lists_are_refused_before_they_are_parsed() {
    let many = format!(r#"{{"model": [{}[]]}}"#, "[],".repeat(MAX_VALUES / 2));
    let error = Tokenizer::from_json(many.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("4194304 values"), "{error}");

    for open in ["[", r#"{"decoder":"#, r#"{"type":"Sequence","normalizers":["#] {
        let error = Tokenizer::from_json(open.repeat(100_000).as_bytes()).unwrap_err();
        assert!(matches!(error, TokenizerError::Invalid { .. }), "{error}");
    }
    let bytes = json_of(&byte_level(&["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "\\\"{{{{{"]));
    assert!(Tokenizer::from_json(bytes.to_string().as_bytes()).is_ok());
}

#[test]
fn bad_patterns_are_refused() {
    let bytes = json_of(&byte_level(&["<s>"]));
    for (pattern, expected) in [
        ("(".to_owned(), "tokenizer.json"),
        ("[z-a]".to_owned(), "tokenizer.json"),
        ("(".repeat(65) + &")".repeat(65), "64 groups"),
        ("a".repeat(5000), "4096 bytes"),
        ("(?<n>\\g<n>)".to_owned(), "tokenizer.json"),
    ] {
        let json = with(&bytes, "/pre_tokenizer", regex(&pattern));
        let error = Tokenizer::from_json(json.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Ten million steps back are the engine's limit; it panics there.
#[test]
fn patterns_that_explode_are_an_error_and_soon() {
    const LIMIT: Duration = Duration::from_secs(30);
    let bytes = json_of(&byte_level(&["<s>"]));
    let text = "a".repeat(60);
    for pattern in ["(a+)+$b", "(a|aa)+[^a]"] {
        let start = Instant::now();
        let cut = with(&bytes, "/pre_tokenizer", regex(pattern));
        let tokenizer = Tokenizer::from_json(cut.to_string().as_bytes()).unwrap();
        let error = tokenizer.encode(&text, false).unwrap_err();
        assert!(error.to_string().contains("retry-limit"), "{error}");
        assert!(tokenizer.encode_marked(&text, &[]).is_err());
        // The tokenizer is as good as before.
        assert_eq!(tokenizer.encode("xyz", false).unwrap().len(), 3);
        let replace = json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"});
        let normal = with(&bytes, "/normalizer", replace.clone());
        let tokenizer = Tokenizer::from_json(normal.to_string().as_bytes()).unwrap();
        assert!(tokenizer.contains_special(&text), "nothing can be said");
        assert!(tokenizer.encode(&text, false).is_err());
        assert!(start.elapsed() < LIMIT, "{pattern}: {:?}", start.elapsed());
    }
}

#[test]
fn large_files_are_not_read() {
    let bytes = vec![b' '; MAX_FILE_BYTES + 1];
    for result in [
        Tokenizer::from_json(&bytes).map(|_| ()),
        super::super::Vocabulary::from_sentencepiece(&bytes).map(|_| ()),
        super::super::Vocabulary::from_llama2c(&bytes, None).map(|_| ()),
    ] {
        assert!(matches!(result, Err(TokenizerError::TooLarge { .. })));
    }
}

/// Whatever is cut off or changed, the answer is a tokenizer that works or an error.
#[test]
fn cut_and_changed_files_are_no_panic() {
    let mut model = json_of(&Tokenizer::from_file(&fixture("tokenizer.model")).unwrap());
    for token in ["<0x00>", "<0x41>"] {
        model["model"]["vocab"].as_object_mut().unwrap().remove(token);
    }
    for json in [json_of(&byte_level(&["<s>", "</s>"])), json_of(&llama_like(false)), model] {
        let text = json.to_string().into_bytes();
        for len in (0..text.len()).step_by(text.len() / 300 + 1) {
            assert!(Tokenizer::from_json(&text[..len]).is_err());
        }
        let mut working = 0;
        for at in (0..text.len()).step_by(text.len() / 500 + 1) {
            for byte in [b'"', b'0', b'[', b'\\', b'}', 0xFF, text[at] ^ 1] {
                let mut changed = text.clone();
                changed[at] = byte;
                if let Ok(tokenizer) = Tokenizer::from_json(&changed) {
                    if let Ok(ids) = tokenizer.encode("Hello </s> w\n", true) {
                        tokenizer.decode(&ids).unwrap();
                    }
                    let _ = tokenizer.to_vocabulary();
                    working += 1;
                }
            }
        }
        assert!(working > 100, "{working}");
    }
}
