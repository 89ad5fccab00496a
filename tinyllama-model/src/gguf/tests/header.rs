//! What a whole file gives, and what is said about the wrong kind of file.

use std::fs;
use std::path::Path;

use kernels_cubecl::Format;

use super::builder::{F32, File, INT32, Q4_0};
use super::{assert_refused, open};
use crate::gguf::{Gguf, GgufError};

#[test]
fn tensors_are_views_with_rows_first() {
    let gguf = open(File::llama().bytes()).unwrap();
    let found: Vec<_> = gguf
        .tensors()
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice(), tensor.format))
        .collect();
    assert_eq!(
        found,
        [
            ("token_embd.weight", &[4, 4][..], Format::F32),
            ("blk.0.ffn_down.weight", &[2, 32], Format::Q4_0),
            ("output_norm.weight", &[4], Format::F32),
        ]
    );
    for tensor in gguf.tensors() {
        let expected: Vec<u8> = (0..tensor.bytes.len()).map(|index| index as u8).collect();
        assert_eq!(tensor.bytes, expected, "{}", tensor.name);
    }
    assert_eq!(gguf.tensors()[1].bytes.len(), 36);
    assert_eq!(gguf.tensor("output_norm.weight").unwrap().bytes.len(), 16);
    assert!(gguf.tensor("output.weight").is_none());
    assert_eq!(gguf.chat_template(), Some("{{ messages }}"));
    assert_eq!(gguf.path(), Path::new("m.gguf"));
}

#[test]
fn version_2_is_read_too() {
    let file = File { version: 2, ..File::llama() };
    assert_eq!(open(file.bytes()).unwrap().tensors().len(), 3);
}

#[test]
fn a_file_may_hold_nothing() {
    let gguf = open(File::empty().bytes()).unwrap();
    assert_eq!((gguf.tensors().len(), gguf.metadata().keys().len()), (0, 0));
    assert_eq!(gguf.chat_template(), None);
    assert!(gguf.eos_token_ids().unwrap().is_empty());
}

#[test]
fn data_begin_at_the_alignment_that_the_file_names() {
    for alignment in [1, 8, 64, 4096] {
        let mut file = File { alignment, ..File::empty() };
        file.uint32("general.alignment", alignment as u32);
        file.tensor("a", &[3], F32, 12).tensor("b", &[32], Q4_0, 18);
        let gguf = open(file.bytes()).unwrap();
        let starts = gguf.tensors().iter().map(|tensor| tensor.bytes[..4].to_vec());
        assert!(starts.into_iter().all(|start| start == [0, 1, 2, 3]), "alignment {alignment}");
    }
}

#[test]
fn the_data_may_end_without_padding_or_with_more_than_tensors() {
    let mut file = File::llama();
    file.data.extend([0; 100]);
    assert!(open(file.bytes()).is_ok());
    // The last tensor of the plain file ends in the middle of a block of 32 bytes.
    assert!(!File::llama().bytes().len().is_multiple_of(32));
}

#[test]
fn other_files_are_refused_by_name() {
    let with_version = |version| File { version, ..File::llama() }.bytes();
    let big_endian = 3u32.swap_bytes();
    let mut parts = File::llama();
    parts.uint32("split.count", 3).uint32("split.no", 1);
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("an empty file", Vec::new(), "header: 4 more bytes are needed, but only 0 are left"),
        ("a JSON file", b"{\"a\"".to_vec(), r#"it begins with "{\"a\"", not with "GGUF""#),
        ("bytes", vec![0, 255, 7, 10, 1], r#"it begins with "\x00\xff\x07\n""#),
        ("a reversed word", File { magic: *b"FUGG", ..File::llama() }.bytes(), "not a GGUF file"),
        ("version 0", with_version(0), "GGUF version 0 is not read: versions 2 and 3 are"),
        ("version 1", with_version(1), "GGUF version 1 is not read: convert the model again"),
        ("version 4", with_version(4), "GGUF version 4 is not read"),
        ("big-endian", with_version(big_endian), "GGUF version 3 in big-endian byte order"),
        ("a part", parts.bytes(), "`split.count` is 3, which is not supported: this is part 2"),
        (
            "a template of another type",
            File::llama().uint32("tokenizer.chat_template", 7).bytes(),
            "`tokenizer.chat_template` is the integer 7, but must be a string",
        ),
        (
            "other blocks",
            File::llama().set("general.quantization_version", INT32, vec![1, 0, 0, 0]).bytes(),
            "`general.quantization_version` is 1, which is not supported: blocks of version 2",
        ),
    ];
    for (case, bytes, words) in &cases {
        assert_refused(case, bytes, words);
    }
}

#[test]
fn paths_that_are_no_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent.gguf");
    let error = Gguf::open(&absent).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot read the GGUF file", absent.display())));
    let error = Gguf::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let empty = dir.path().join("empty.gguf");
    fs::write(&empty, []).unwrap();
    let error = Gguf::open(&empty).unwrap_err();
    assert!(error.to_string().contains("empty.gguf: header: 4 more bytes are needed"), "{error}");
    assert!(matches!(error, GgufError::InFile { .. }));
}

#[test]
fn a_mapped_file_is_the_same_as_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let bytes = File::llama().bytes();
    fs::write(&path, &bytes).unwrap();
    let (mapped, in_memory) = (Gguf::open(&path).unwrap(), open(bytes).unwrap());
    assert_eq!(mapped.config().unwrap(), in_memory.config().unwrap());
    for (mapped, in_memory) in mapped.tensors().iter().zip(in_memory.tensors()) {
        assert_eq!(mapped.bytes, in_memory.bytes);
    }
}
