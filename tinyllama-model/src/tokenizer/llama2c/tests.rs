use std::fs;

use super::super::Tokenizer;
use super::super::tests::fixture;
use super::*;

/// The file that llama2.c's tokenizer.py would write for the fixture.
fn exported() -> (Vec<u8>, Vocabulary) {
    let model = fs::read(fixture("tokenizer.model")).unwrap();
    let vocabulary = Vocabulary::from_sentencepiece(&model).unwrap();
    let texts: Vec<String> = (vocabulary.pieces.iter().zip(0..))
        .map(|(piece, id)| match id {
            1 | 2 => format!("\n{}\n", piece.text),
            _ => piece.text.replace(SPACE, " "),
        })
        .collect();
    let longest = texts.iter().map(String::len).max().unwrap() as u32;
    let mut bytes = longest.to_le_bytes().to_vec();
    for (piece, text) in vocabulary.pieces.iter().zip(texts) {
        bytes.extend(piece.score.to_le_bytes());
        bytes.extend((text.len() as i32).to_le_bytes());
        bytes.extend(text.bytes());
    }
    (bytes, vocabulary)
}

#[test]
fn pieces_and_kinds_come_back() {
    let (bytes, vocabulary) = exported();
    assert_eq!(Vocabulary::from_llama2c(&bytes, None).unwrap(), vocabulary);
    assert_eq!(Vocabulary::from_llama2c(&bytes, Some(400)).unwrap(), vocabulary);
    let fewer = Vocabulary::from_llama2c(&bytes, Some(399)).unwrap();
    assert_eq!(fewer.pieces, vocabulary.pieces[..399]);
    let error = Vocabulary::from_llama2c(&bytes, Some(401)).unwrap_err().to_string();
    assert!(error.contains("is 400") && error.contains("401"), "{error}");
}

#[test]
fn mistakes_are_named() {
    let (bytes, _) = exported();
    let refused = |at: usize, new: &[u8], expected: &[&str]| {
        let mut changed = bytes.clone();
        changed[at..at + new.len()].copy_from_slice(new);
        let error = Vocabulary::from_llama2c(&changed, None).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{error}");
        }
    };
    refused(8, &i32::MAX.to_le_bytes(), &["`tokens[0].length` is 2147483647"]);
    refused(8, &(-1_i32).to_le_bytes(), &["`tokens[0].length` is -1"]);
    refused(0, &4_u32.to_le_bytes(), &["`tokens[0].length` is 5", "the 4 of"]);
    refused(13, b"x", &["`tokens[0]`", "<unk>"]);
    refused(4, &f32::NAN.to_le_bytes(), &["`pieces[0].score`"]);
    let second = 4 + 8 + 5 + 8;
    refused(second, b" ", &["`tokens[1]`", "<s>"]);
    refused(second + 5 + 8 + 6 + 8 + 3, b"1", &["`tokens[3]`", "<0x00>"]);
    let few = Vocabulary::from_llama2c(&bytes, Some(258)).unwrap_err().to_string();
    assert!(few.contains("is 258") && few.contains("259"), "{few}");
    refused(bytes.len() - 1, &[0xFF], &["`tokens[399]`", "UTF-8"]);
    assert!(Vocabulary::from_llama2c(b"abc", None).is_err());
}

#[test]
fn cut_and_changed_files_are_no_panic() {
    let (bytes, _) = exported();
    for len in 0..bytes.len() {
        let Ok(vocabulary) = Vocabulary::from_llama2c(&bytes[..len], None) else { continue };
        // Cut between two tokens.
        assert!((259..400).contains(&vocabulary.pieces.len()));
        assert!(Tokenizer::from_vocabulary(&vocabulary).is_ok());
    }
    for at in (0..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x81;
        if let Ok(vocabulary) = Vocabulary::from_llama2c(&changed, None) {
            let _ = Tokenizer::from_vocabulary(&vocabulary);
        }
    }
}
