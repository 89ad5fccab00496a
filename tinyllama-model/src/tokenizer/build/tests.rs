use super::super::Vocabulary;
use super::super::tests::{byte_level, fixture};
use super::super::vocabulary::Piece;
use super::*;

fn piece(text: &str, kind: PieceKind) -> Piece {
    Piece { text: text.to_owned(), score: 0.0, kind }
}

fn letters() -> Vocabulary {
    let bytes = std::fs::read(fixture("tokenizer.model")).unwrap();
    Vocabulary::from_sentencepiece(&bytes).unwrap()
}

fn bytes(pre_tokenizer: &str, merges: &[&str], pieces: &[Piece]) -> Vocabulary {
    let mut vocabulary = byte_level(&["<s>"]).to_vocabulary().unwrap();
    vocabulary.pieces.extend_from_slice(pieces);
    vocabulary.algorithm = Algorithm::ByteLevel {
        merges: merges.iter().map(|&merge| merge.to_owned()).collect(),
        pre_tokenizer: pre_tokenizer.to_owned(),
    };
    vocabulary
}

#[track_caller]
fn refused(vocabulary: &Vocabulary, expected: &[&str]) {
    let error = Tokenizer::from_vocabulary(vocabulary).unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "{error}");
    }
    assert!(error.len() < 1000 && !error.contains('\n'), "{error}");
}

#[test]
fn the_beginning_is_added_where_it_is_wanted() {
    let mut vocabulary = letters();
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    assert!(tokenizer.adds_bos());
    assert_eq!(tokenizer.encode("", true).unwrap(), [1]);
    // A name that a template could take for something else.
    vocabulary.pieces[1].text = "$A:0".to_owned();
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    assert_eq!(tokenizer.encode("", true).unwrap(), [1]);
    vocabulary.add_bos = false;
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    assert_eq!(tokenizer.encode("a", true).unwrap(), tokenizer.encode("a", false).unwrap());
    assert_eq!(tokenizer.bos_id(), Some(1));
}

#[test]
fn without_a_space_prefix_text_stays_as_it_is() {
    let mut vocabulary = letters();
    vocabulary.algorithm = Algorithm::SentencePiece { add_space_prefix: false };
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    for text in ["the", " the", "  the"] {
        let ids = tokenizer.encode(text, false).unwrap();
        let first = tokenizer.id_to_token(ids[0]).unwrap();
        assert_eq!(first.starts_with(SPACE), text.starts_with(' '), "{text:?}: {first}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    assert_eq!(tokenizer.to_vocabulary().unwrap(), vocabulary);
}

/// They are found in text before anything else, and are text when they are decoded.
#[test]
fn user_defined_pieces_are_whole() {
    let mut sentencepiece = letters();
    sentencepiece.pieces.push(piece("th\u{2581}\u{2581}e", PieceKind::UserDefined));
    let byte_level = bytes("gpt-2", &[], &[piece("th  e", PieceKind::UserDefined)]);
    for vocabulary in [sentencepiece, byte_level] {
        let id = vocabulary.pieces.len() as u32 - 1;
        let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
        assert!(!tokenizer.is_special(id));
        let ids = tokenizer.encode("ath  e", false).unwrap();
        assert_eq!(ids.iter().filter(|&&each| each == id).count(), 1, "{ids:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), "ath  e");
        let again = Tokenizer::from_vocabulary(&tokenizer.to_vocabulary().unwrap()).unwrap();
        assert_eq!(again.encode("ath  e", false).unwrap(), ids);
    }
}

#[test]
fn unused_and_empty_pieces_are_never_given() {
    let mut vocabulary = letters();
    let known = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    let unused = known.encode("the a", false).unwrap();
    for &id in &unused {
        vocabulary.pieces[id as usize].kind = PieceKind::Unused;
    }
    vocabulary.pieces.push(piece("", PieceKind::Control));
    vocabulary.pieces.push(piece("", PieceKind::Normal));
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    let ids = tokenizer.encode("the a", false).unwrap();
    assert!(ids.iter().all(|id| !unused.contains(id)), "{ids:?} of {unused:?}");
    assert_eq!(tokenizer.decode(&ids).unwrap(), "the a");
    let again = Tokenizer::from_vocabulary(&tokenizer.to_vocabulary().unwrap()).unwrap();
    assert_eq!(again.encode("the a", false).unwrap(), ids);
}

/// Llama 3's rule: a word that is a token is one, whatever its merges.
#[test]
fn merges_are_ignored_for_whole_words_where_the_name_says_so() {
    let pieces = ["th", "the", "Ġthe"].map(|text| piece(text, PieceKind::Normal));
    for (name, expected) in [("llama-bpe", 1), ("tekken", 1), ("smaug-bpe", 3), ("gpt-2", 3)] {
        let tokenizer = Tokenizer::from_vocabulary(&bytes(name, &["t h"], &pieces)).unwrap();
        let vocabulary = tokenizer.to_vocabulary().unwrap();
        assert_eq!(tokenizer.encode(" the", false).unwrap().len(), expected, "{name}");
        let Algorithm::ByteLevel { pre_tokenizer, .. } = vocabulary.algorithm else { panic!() };
        assert_eq!(pre_tokenizer, name);
    }
}

#[test]
fn what_no_text_can_be_trusted_with_is_refused() {
    let control = |text: &str| [piece(text, PieceKind::Control)];
    let mut one_letter = letters();
    one_letter.pieces.push(piece("я", PieceKind::Control));
    refused(&one_letter, &["`pieces[400]`", "я", "plain text"]);
    refused(&bytes("llama-bpe", &[], &control("Ġend")), &["`pieces[257]`", "Ġend"]);
    refused(&bytes("llama-bpe", &[], &control("end")), &["`pieces[257]`", "end"]);
    refused(&bytes("gpt-2", &["t h"], &control("th")), &["`merges[0]`", "`t h`"]);
    assert!(Tokenizer::from_vocabulary(&bytes("llama-bpe", &[], &control("<|end|>"))).is_ok());
    assert!(Tokenizer::from_vocabulary(&bytes("gpt-2", &[], &control("end"))).is_ok());
}

#[test]
fn contradictions_are_refused() {
    let changed = |change: &dyn Fn(&mut Vocabulary)| {
        let mut vocabulary = letters();
        change(&mut vocabulary);
        vocabulary
    };
    refused(&changed(&|v| v.pieces.clear()), &["number of pieces", "0"]);
    refused(&changed(&|v| v.bos_id = Some(400)), &["`bos_id` is 400", "400 pieces"]);
    refused(&changed(&|v| v.eos_id = Some(u32::MAX)), &["`eos_id` is 4294967295"]);
    refused(&changed(&|v| v.pad_id = Some(400)), &["`pad_id`"]);
    refused(&changed(&|v| v.bos_id = None), &["`bos_id` is missing", "add_bos"]);
    refused(&changed(&|v| v.pieces[300].score = f32::NAN), &["`pieces[300].score` is NaN"]);
    refused(&changed(&|v| v.pieces[300].text = "he".to_owned()), &["`pieces[300]` is he", "[259]"]);
    refused(&changed(&|v| v.pieces[300].text = "x".repeat(10_000)), &["`pieces[300]`", "8192"]);
    refused(&changed(&|v| v.pieces[9].kind = PieceKind::Normal), &["255 pieces", "256"]);
    refused(&changed(&|v| v.pieces[9].text = "<0xzz>".to_owned()), &["`pieces[9]`", "<0xFF>"]);
    refused(&changed(&|v| v.pieces.retain(|piece| piece.kind == PieceKind::Normal)), &["express"]);
    let twice = [" ", "\u{2581}"].map(|text| piece(&text.repeat(9), PieceKind::UserDefined));
    refused(&changed(&|v| v.pieces.extend(twice.clone())), &["`pieces[401]`", "space"]);
    let heavy = (0..600).map(|i| piece(&format!("{i:08192}"), PieceKind::Control));
    refused(&changed(&|v| v.pieces.extend(heavy.clone())), &["`added_tokens`", "1048576 bytes"]);

    let pieces = ["th", "the"].map(|text| piece(text, PieceKind::Normal));
    refused(&bytes("gpt-2", &["t h", "th e", "t h"], &pieces), &["`merges[2]`", "`t h`"]);
    for (index, broken) in ["t", "", "t h e", "t  h", "x y", "the e"].into_iter().enumerate() {
        let field = format!("`merges[1]` is `{broken}`");
        refused(&bytes("gpt-2", &["t h", broken], &pieces), &[&field]);
        assert!(index < 6);
    }
    refused(&bytes("klingon", &[], &[]), &["`klingon`", "gpt-2, gpt2"]);
}
