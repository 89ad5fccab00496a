use std::fs;

use super::super::Tokenizer;
use super::super::tests::fixture;
use super::*;

fn model() -> ModelProto {
    ModelProto::decode(fs::read(fixture("tokenizer.model")).unwrap().as_slice()).unwrap()
}

fn read(model: &ModelProto) -> Result<Vocabulary, TokenizerError> {
    Vocabulary::from_sentencepiece(&model.encode_to_vec())
}

#[track_caller]
fn refused(change: impl Fn(&mut ModelProto), expected: &[&str]) {
    let mut model = model();
    change(&mut model);
    let error = read(&model).unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn absent_fields_have_the_defaults_of_the_format() {
    let mut plain = model();
    let trainer = plain.trainer_spec.as_mut().unwrap();
    (trainer.bos_id, trainer.eos_id, trainer.pad_id) = (None, None, None);
    let vocabulary = read(&plain).unwrap();
    assert_eq!((vocabulary.bos_id, vocabulary.eos_id, vocabulary.pad_id), (Some(1), Some(2), None));
    assert_eq!(vocabulary.algorithm, Algorithm::SentencePiece { add_space_prefix: true });
    assert!(vocabulary.add_bos);
    assert_eq!(vocabulary, read(&model()).unwrap());

    let trainer = plain.trainer_spec.as_mut().unwrap();
    (trainer.bos_id, trainer.pad_id) = (Some(-1), Some(7));
    plain.normalizer_spec.as_mut().unwrap().add_dummy_prefix = Some(false);
    let vocabulary = read(&plain).unwrap();
    assert_eq!((vocabulary.bos_id, vocabulary.pad_id), (None, Some(7)));
    assert!(!vocabulary.add_bos);
    assert_eq!(vocabulary.algorithm, Algorithm::SentencePiece { add_space_prefix: false });
}

#[test]
fn other_kinds_are_refused() {
    refused(|m| m.trainer_spec = None, &["trainer_spec.model_type", "UNIGRAM"]);
    refused(|m| m.trainer_spec.as_mut().unwrap().model_type = Some(1), &["UNIGRAM"]);
    refused(|m| m.trainer_spec.as_mut().unwrap().model_type = Some(4), &["model_type` is 4"]);
    refused(
        |m| m.trainer_spec.as_mut().unwrap().treat_whitespace_as_suffix = Some(true),
        &["treat_whitespace_as_suffix"],
    );
    refused(|m| m.normalizer_spec = None, &["remove_extra_whitespaces` is true"]);
    refused(
        |m| m.normalizer_spec.as_mut().unwrap().precompiled_charsmap = Some(vec![0; 9]),
        &["precompiled_charsmap` is 9 bytes"],
    );
    refused(
        |m| m.normalizer_spec.as_mut().unwrap().escape_whitespaces = Some(false),
        &["escape_whitespaces` is false"],
    );
}

#[test]
fn mistakes_are_named() {
    refused(|m| m.pieces[7].piece = Some(vec![b'a', 0xFF]), &["`pieces[7].piece`", "UTF-8"]);
    refused(|m| m.pieces[7].r#type = Some(9), &["`pieces[7].type` is 9"]);
    refused(|m| m.pieces[300].piece = Some(b"he".to_vec()), &["`pieces[300]` is he", "[259]"]);
    refused(|m| m.pieces.clear(), &["number of pieces", "0"]);
    refused(|m| m.trainer_spec.as_mut().unwrap().bos_id = Some(400), &["`bos_id` is 400"]);
    refused(|m| m.pieces[300].score = Some(f32::NAN), &["`pieces[300].score`"]);
}

/// Any end but the one between two fields breaks the message; none is a panic.
#[test]
fn cut_files_are_errors() {
    let bytes = fs::read(fixture("tokenizer.model")).unwrap();
    let mut protobuf = 0;
    for len in 0..bytes.len() {
        match Vocabulary::from_sentencepiece(&bytes[..len]) {
            Err(TokenizerError::Protobuf { .. }) => protobuf += 1,
            Err(_) => {}
            // The specs are the last fields, and the last bytes of the file say nothing read here.
            Ok(vocabulary) => assert!(len > bytes.len() - 40 && vocabulary.pieces.len() == 400),
        }
    }
    assert!(protobuf > bytes.len() / 2);
    let html = b"<!DOCTYPE html><html>".as_slice();
    assert!(matches!(Vocabulary::from_sentencepiece(html), Err(TokenizerError::Protobuf { .. })));
    // A field that claims more bytes than there are, and groups without end.
    for bytes in [&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F][..], &[0x0B; 100_000]] {
        let error = Vocabulary::from_sentencepiece(bytes).unwrap_err();
        assert!(matches!(error, TokenizerError::Protobuf { .. }), "{error}");
    }
}

/// Whatever the bytes, the answer is a vocabulary or an error.
#[test]
fn changed_bytes_are_no_panic() {
    let bytes = fs::read(fixture("tokenizer.model")).unwrap();
    let mut built = 0;
    for at in (0..bytes.len()).step_by(5) {
        for value in [0x00, 0x7F, 0xFF, bytes[at] ^ 0x08] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let Ok(vocabulary) = Vocabulary::from_sentencepiece(&changed) else { continue };
            if let Ok(tokenizer) = Tokenizer::from_vocabulary(&vocabulary) {
                let ids = tokenizer.encode("the dog é", true).unwrap();
                tokenizer.decode(&ids).unwrap();
                built += 1;
            }
        }
    }
    assert!(built > 100);
}

#[test]
fn empty_pieces_are_counted_before_they_are_made() {
    let bytes = [0x0A, 0x00].repeat(MAX_SIZE + 1);
    let error = Vocabulary::from_sentencepiece(&bytes).unwrap_err().to_string();
    assert!(error.contains("16777217"), "{error}");
}
