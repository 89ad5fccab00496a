use serde_json::json;

use super::super::tests::{byte_level, fixture, llama_like};
use super::*;

fn json_of(tokenizer: &Tokenizer) -> Value {
    serde_json::from_str(&tokenizer.json(false)).unwrap()
}

#[track_caller]
fn refused(json: &Value, field: &str) {
    let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
    match tokenizer.to_vocabulary().unwrap_err() {
        TokenizerError::Unsupported { field: found, .. }
        | TokenizerError::Invalid { field: found, .. } => assert_eq!(found, field),
        other => panic!("{other}"),
    }
}

#[test]
fn kinds_are_told_apart() {
    for legacy in [true, false] {
        let vocabulary = llama_like(legacy).to_vocabulary().unwrap();
        let kind = |id: usize| vocabulary.pieces[id].kind;
        assert_eq!(kind(0), PieceKind::Unknown);
        assert_eq!((kind(1), kind(2)), (PieceKind::Control, PieceKind::Control));
        assert!((3..259).all(|id| kind(id) == PieceKind::Byte));
        assert!((259..273).all(|id| kind(id) == PieceKind::Normal));
        assert_eq!(vocabulary.algorithm, Algorithm::SentencePiece { add_space_prefix: true });
        assert_eq!((vocabulary.bos_id, vocabulary.eos_id), (Some(1), Some(2)));
        assert!(vocabulary.add_bos);
    }
    let vocabulary = byte_level(&["<s>"]).to_vocabulary().unwrap();
    assert!(!vocabulary.add_bos);
    assert_eq!(vocabulary.pieces[0].kind, PieceKind::Control);
}

/// SentencePiece has no such exception, and llama.cpp none.
#[test]
fn a_metaspace_is_exported_without_its_exception() {
    let metaspace = llama_like(false);
    let exported = Tokenizer::from_vocabulary(&metaspace.to_vocabulary().unwrap()).unwrap();
    let ids = |tokenizer: &Tokenizer, text: &str| tokenizer.encode(text, false).unwrap();
    for text in ["Hello", "Hello  w\n", "He </s>"] {
        assert_eq!(ids(&exported, text), ids(&metaspace, text), "{text:?}");
    }
    assert_eq!(ids(&exported, " w").len(), ids(&metaspace, " w").len() + 1);
    assert_eq!(ids(&exported, " w"), ids(&llama_like(true), " w"));
}

/// Ids that the file skips, a token beyond the model's own, and the padding token of the settings.
#[test]
fn holes_and_settings_are_kept() {
    let mut json = json_of(&byte_level(&["<s>", "</s>"]));
    json["model"]["vocab"]["~~"] = json!(300);
    json["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": 301, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    }));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let config = json!({"bos_token": null, "pad_token": {"content": "<pad>"}}).to_string();
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    let vocabulary = tokenizer.to_vocabulary().unwrap();
    assert_eq!(vocabulary.pieces.len(), tokenizer.vocab_size());
    assert_eq!((vocabulary.bos_id, vocabulary.eos_id), (None, Some(1)));
    assert_eq!(vocabulary.pad_id, tokenizer.token_to_id("<pad>"));
    assert_eq!(vocabulary.pieces[270].kind, PieceKind::Unused);
    let again = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    assert_eq!(again.vocab_size(), tokenizer.vocab_size());
    assert_eq!(again.to_vocabulary().unwrap(), vocabulary);
    again.save(folder.path(), None).unwrap();
    let read = Tokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(read.to_vocabulary().unwrap(), vocabulary);
}

#[test]
fn what_has_no_place_is_refused() {
    let llama = json_of(&llama_like(true));
    let bytes = json_of(&byte_level(&["<s>", "</s>"]));
    let fixture = json_of(&Tokenizer::from_file(&fixture("tokenizer.model")).unwrap());
    let with = |json: &Value, path: &str, value: Value| {
        let mut json = json.clone();
        *json.pointer_mut(path).unwrap() = value;
        json
    };
    refused(&with(&llama, "/model/dropout", json!(0.5)), "model.dropout");
    refused(&with(&llama, "/model/ignore_merges", json!(true)), "model.ignore_merges");
    refused(&with(&bytes, "/model/end_of_word_suffix", json!("</w>")), "model.end_of_word_suffix");
    refused(&with(&llama, "/added_tokens/1/lstrip", json!(true)), "added_tokens.lstrip");
    refused(&with(&bytes, "/added_tokens/1/single_word", json!(true)), "added_tokens.single_word");
    refused(&with(&llama, "/normalizer/normalizers/1/content", json!("_")), "pre_tokenizer");
    refused(&with(&bytes, "/pre_tokenizer", json!({"type": "Whitespace"})), "pre_tokenizer");
    refused(&with(&bytes, "/normalizer", json!({"type": "Lowercase"})), "normalizer");
    let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]});
    let mut other = with(&llama, "/model", unigram);
    other["added_tokens"] = json!([]);
    other["post_processor"] = Value::Null;
    refused(&other, "model.type");
    let end = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let mut both = llama.clone();
    both["post_processor"]["single"].as_array_mut().unwrap().push(end);
    refused(&both, "post_processor");
    let mut fewer = llama.clone();
    fewer["model"]["vocab"].as_object_mut().unwrap().remove("<0x41>");
    refused(&fewer, "model");
    let mut fewer = fixture.clone();
    fewer["model"]["merges"].as_array_mut().unwrap().remove(0);
    refused(&fewer, "model.merges");
    let mut same_id = bytes.clone();
    same_id["model"]["vocab"]["~~"] = json!(7);
    refused(&same_id, "model.vocab");
}
