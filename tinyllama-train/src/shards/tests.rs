use std::fs;

use super::*;

fn format(vocab_size: u32) -> TokenFormat {
    TokenFormat { vocab_size, bos_id: None, eos_id: Some(1), fingerprint: "abc123".into() }
}

/// Writes `documents` and returns the folder and the tokens one after another.
fn written(vocab_size: u32, max_shard_tokens: u64) -> (tempfile::TempDir, Vec<u32>) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        ShardWriter::new(dir.path(), Split::Train, format(vocab_size), max_shard_tokens);
    let mut all = Vec::new();
    for i in 0..20u32 {
        let document: Vec<u32> = (0..=i).map(|j| (i * 31 + j * 7) % vocab_size).collect();
        writer.push(&document, 10).unwrap();
        all.extend(document);
    }
    let size = writer.finish().unwrap();
    assert_eq!(size, SplitSize { num_documents: 20, num_tokens: 210, text_bytes: 200 });
    (dir, all)
}

/// Opens a copy of the first file whose bytes `change` has changed; returns the message.
#[track_caller]
fn check_refused(change: impl FnOnce(&mut Vec<u8>), words: &[&str]) {
    let (dir, _) = written(500, u64::MAX);
    let path = dir.path().join("train_00000.bin");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let error = TokenShards::open(dir.path(), Split::Train).unwrap_err().to_string();
    assert!(error.contains("train_00000.bin"), "{error}");
    for word in words {
        assert!(error.contains(word), "{error} does not say {word}");
    }
}

#[test]
fn round_trip_in_both_widths_and_across_files() {
    for vocab_size in [500, 70_000] {
        for max_shard_tokens in [1, 50, u64::MAX] {
            let (dir, all) = written(vocab_size, max_shard_tokens);
            let shards = TokenShards::open(dir.path(), Split::Train).unwrap();
            assert_eq!(shards.format(), &format(vocab_size));
            assert_eq!(shards.size().num_tokens, 210);
            for (start, len) in [(0, 210), (0, 1), (209, 1), (49, 60), (210, 0), (3, 0)] {
                let mut read = Vec::new();
                shards.read(start as u64, len, &mut read).unwrap();
                assert_eq!(read, all[start..start + len], "{start}, {len}");
            }
        }
    }
}

#[test]
fn no_temporary_file_remains() {
    let (dir, _) = written(500, 50);
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| name.to_string_lossy().ends_with(".bin")));
}

#[test]
fn damaged_files_are_refused() {
    check_refused(|bytes| bytes.truncate(40), &["file size", "40 bytes", "128"]);
    check_refused(|bytes| bytes.clear(), &["file size", "0 bytes"]);
    check_refused(
        |bytes| bytes.truncate(300),
        &["300 bytes", "548 bytes", "210 tokens", "cut off"],
    );
    check_refused(|bytes| bytes.push(0), &["549 bytes", "548 bytes"]);
    check_refused(|bytes| bytes[0] = b'X', &["magic", "XLTOKENS", "TLTOKENS"]);
    check_refused(|bytes| bytes[8] = 9, &["version is 9, expected 1", "prepare_data"]);
    check_refused(|bytes| bytes[12] = 4, &["bytes per token is 4, expected 2", "500"]);
    check_refused(|bytes| bytes[40..44].fill(0), &["vocabulary size is 0"]);
    check_refused(|bytes| bytes[48..50].fill(0xee), &["ends documents", "500"]);
    // A length that would overflow, and would exhaust memory if it were believed.
    check_refused(|bytes| bytes[16..24].fill(0xff), &["18446744073709551615 tokens"]);
}

#[test]
fn a_token_outside_of_the_vocabulary_is_named() {
    let (dir, _) = written(500, u64::MAX);
    let path = dir.path().join("train_00000.bin");
    let mut bytes = fs::read(&path).unwrap();
    bytes[128 + 2 * 7..][..2].copy_from_slice(&600u16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let shards = TokenShards::open(dir.path(), Split::Train).unwrap();
    assert!(shards.read(0, 7, &mut Vec::new()).is_ok());
    let error = shards.read(5, 10, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("token 7 is 600") && error.contains("500 tokens"), "{error}");
}

#[test]
fn files_of_two_data_sets_do_not_mix() {
    let (dir, _) = written(500, 50);
    let (other, _) = written(501, 50);
    fs::copy(other.path().join("train_00001.bin"), dir.path().join("train_00001.bin")).unwrap();
    let error = TokenShards::open(dir.path(), Split::Train).unwrap_err().to_string();
    assert!(error.contains("train_00001.bin") && error.contains("mixes two data sets"), "{error}");
}

#[test]
fn counts_that_a_header_makes_up_do_not_wrap() {
    let (dir, _) = written(500, 50);
    for name in ["train_00000.bin", "train_00001.bin"] {
        let mut bytes = fs::read(dir.path().join(name)).unwrap();
        bytes[24..40].fill(0xff);
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let size = TokenShards::open(dir.path(), Split::Train).unwrap().size();
    assert_eq!((size.num_documents, size.text_bytes), (u64::MAX, u64::MAX));
}

#[test]
fn an_empty_folder_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = TokenShards::open(dir.path(), Split::Validation).unwrap_err().to_string();
    assert!(error.contains("validation_00000.bin") && error.contains("prepare_data"), "{error}");
}

#[test]
fn bits_per_byte_of_two_bytes_per_token() {
    // Four operations of f64, each good to 1e-16.
    const F64_ROUNDING: f64 = 1e-15;
    let size = SplitSize { num_documents: 1, num_tokens: 100, text_bytes: 200 };
    // 2 ln 2 nats are 2 bits a token, which is 1 bit for each of its two bytes.
    assert!((size.bits_per_byte(2.0 * std::f64::consts::LN_2) - 1.0).abs() < F64_ROUNDING);
}
