//! As much of a GGUF file as tells its vocabulary: for llama.cpp's `ggml-vocab-*.gguf`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::super::{Algorithm, Piece, PieceKind, Vocabulary};

#[derive(Debug)]
enum Value {
    Number(f64),
    Text(String),
    List(Vec<Value>),
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().expect("a whole file");
        self.0 = rest;
        *head
    }

    fn text(&mut self) -> String {
        let len = u64::from_le_bytes(self.bytes()) as usize;
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        String::from_utf8(text.to_vec()).expect("UTF-8")
    }

    fn value(&mut self, kind: u32) -> Value {
        Value::Number(match kind {
            0 | 7 => f64::from(self.bytes::<1>()[0]),
            1 => f64::from(i8::from_le_bytes(self.bytes())),
            2 => f64::from(u16::from_le_bytes(self.bytes())),
            3 => f64::from(i16::from_le_bytes(self.bytes())),
            4 => f64::from(u32::from_le_bytes(self.bytes())),
            5 => f64::from(i32::from_le_bytes(self.bytes())),
            6 => f64::from(f32::from_le_bytes(self.bytes())),
            8 => return Value::Text(self.text()),
            9 => {
                let kind = u32::from_le_bytes(self.bytes());
                let len = u64::from_le_bytes(self.bytes());
                return Value::List((0..len).map(|_| self.value(kind)).collect());
            }
            10 => u64::from_le_bytes(self.bytes()) as f64,
            11 => i64::from_le_bytes(self.bytes()) as f64,
            12 => f64::from_le_bytes(self.bytes()),
            _ => panic!("type {kind}"),
        })
    }
}

/// The vocabulary of a file, by the keys that llama.cpp reads.
pub(super) fn vocabulary(path: &Path) -> Vocabulary {
    let bytes = fs::read(path).expect("readable");
    let mut reader = Reader(&bytes);
    assert_eq!(&reader.bytes(), b"GGUF");
    let _version_and_tensors: [u8; 12] = reader.bytes();
    let len = u64::from_le_bytes(reader.bytes());
    let mut keys = HashMap::new();
    for _ in 0..len {
        let key = reader.text();
        let kind = u32::from_le_bytes(reader.bytes());
        keys.insert(key, reader.value(kind));
    }
    let get = |key: &str| keys.get(&format!("tokenizer.ggml.{key}"));
    let number = |value: &Value| match value {
        Value::Number(number) => *number,
        other => panic!("{other:?}"),
    };
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let list = |key: &str| match get(key) {
        Some(Value::List(list)) => list.as_slice(),
        _ => &[],
    };
    let id = |key: &str| get(key).map(|id| number(id) as u32);
    let kinds = list("token_type").iter().map(|kind| number(kind) as i32);
    let mut scores = list("scores").iter().map(|score| number(score) as f32);
    let pieces = (list("tokens").iter().zip(kinds))
        .map(|(token, kind)| Piece {
            text: text(token),
            score: scores.next().unwrap_or_default(),
            kind: PieceKind::of_number(kind).expect("a kind"),
        })
        .collect();
    let sentencepiece = text(get("model").expect("a model")) == "llama";
    Vocabulary {
        pieces,
        algorithm: if sentencepiece {
            Algorithm::SentencePiece { add_space_prefix: true }
        } else {
            Algorithm::ByteLevel {
                merges: list("merges").iter().map(text).collect(),
                pre_tokenizer: text(get("pre").expect("a pre-tokenizer")),
            }
        },
        bos_id: id("bos_token_id"),
        eos_id: id("eos_token_id"),
        pad_id: id("padding_token_id"),
        add_bos: get("add_bos_token").map_or(sentencepiece, |flag| number(flag) != 0.0),
    }
}
