//! GGUF files made byte by byte, whole ones and broken ones of every kind, and real ones.

mod builder;
mod config;
mod fuzz;
mod header;
mod malformed;
mod memory;
mod metadata;
mod properties;
mod real_files;
mod vocabulary;
mod writer;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::builder::File;
use super::{Gguf, GgufError};

/// What a user waits at most to hear that a file is broken.
const LONGEST: Duration = Duration::from_millis(10);

/// Opens bytes under the name `m.gguf`.
fn open(bytes: Vec<u8>) -> Result<Gguf, GgufError> {
    Gguf::from_bytes(Path::new("m.gguf"), Bytes::from(bytes))
}

/// The message of the error that `read` must end with, which names the file and comes at once.
#[track_caller]
fn refused<T>(read: impl Fn() -> Result<T, GgufError>) -> String {
    let started = Instant::now();
    let error = read().err().expect("an error");
    let mut took = started.elapsed();
    // A busy machine may take the time away from one attempt, hardly from three.
    for _ in 0..2 {
        let started = Instant::now();
        let _ = read();
        took = took.min(started.elapsed());
    }
    assert!(took < LONGEST, "{took:?} to say: {error}");
    let message = error.to_string();
    assert!(message.starts_with("m.gguf: "), "no file is named: {message}");
    message
}

/// Asserts that a file is refused when it is opened, in these words.
#[track_caller]
fn assert_refused(case: &str, bytes: &[u8], words: &str) {
    let message = refused(|| open(bytes.to_vec()));
    assert!(message.contains(words), "{case}: `{message}` does not contain `{words}`");
}

/// Asserts that a file opens, but its config is refused in these words.
#[track_caller]
fn assert_config_refused(case: &str, file: &File, words: &str) {
    let gguf = open(file.bytes()).expect(case);
    let message = refused(|| gguf.config());
    assert!(message.contains(words), "{case}: `{message}` does not contain `{words}`");
}

/// Asserts that a file opens, but its vocabulary is refused in these words.
#[track_caller]
fn assert_vocabulary_refused(case: &str, file: &File, words: &str) {
    let gguf = open(file.bytes()).expect(case);
    let message = refused(|| gguf.vocabulary());
    assert!(message.contains(words), "{case}: `{message}` does not contain `{words}`");
}
