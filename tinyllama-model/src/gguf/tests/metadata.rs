//! Getters: every type of value, and the errors that name key, value and type.

use super::builder::{ARRAY, FLOAT64, File, INT8, UINT8, UINT64, array};
use super::{open, refused};
use crate::gguf::Gguf;

fn file() -> Gguf {
    let mut file = File::empty();
    file.string("a.string", "▁a\u{0}b").uint32("a.uint32", 4_000_000_000).bool("a.bool", 1);
    file.set("a.int8", INT8, vec![0x80]).set("a.uint8", UINT8, vec![0x80]);
    file.set("a.uint64", UINT64, vec![255; 8]);
    file.float32("a.float32", 1e-5).set("a.float64", FLOAT64, 0.1f64.to_le_bytes().to_vec());
    file.float32("a.nan", f32::NAN).float32("an.infinity", f32::INFINITY);
    file.strings("some.strings", &["", "b", "cc"]).floats("some.floats", &[1.5, -2.0]);
    file.int32s("some.int32s", &[-1, 7]);
    file.set("some.uint8s", ARRAY, array(UINT8, 2, &[1, 255]));
    file.set("some.arrays", ARRAY, array(ARRAY, 1, &array(UINT8, 1, &[1])));
    open(file.bytes()).unwrap()
}

#[test]
fn values_are_what_the_file_holds() {
    let gguf = file();
    let metadata = gguf.metadata();
    assert_eq!(metadata.string("a.string").unwrap(), Some("▁a\u{0}b"));
    assert_eq!(metadata.unsigned("a.uint32", u64::MAX).unwrap(), Some(4_000_000_000));
    assert_eq!(metadata.unsigned("a.uint8", 128).unwrap(), Some(128));
    assert_eq!(metadata.unsigned("a.uint64", u64::MAX).unwrap(), Some(u64::MAX));
    assert_eq!(metadata.bool("a.bool").unwrap(), Some(true));
    assert_eq!(metadata.float("a.float64").unwrap(), Some(0.1));
    let strings = metadata.strings("some.strings").unwrap().unwrap();
    assert_eq!(strings.len(), 3);
    assert_eq!(strings.collect::<Vec<_>>(), ["", "b", "cc"]);
    let floats = metadata.floats("some.floats").unwrap().unwrap();
    assert_eq!(floats.collect::<Vec<_>>(), [1.5, -2.0]);
    let integers = |key| metadata.integers(key).unwrap().unwrap().collect::<Vec<_>>();
    assert_eq!(integers("some.int32s"), [-1, 7]);
    assert_eq!(integers("some.uint8s"), [1, 255]);
    assert_eq!(metadata.keys().len(), 15);
    assert!(metadata.keys().is_sorted());
}

#[test]
fn a_float_is_the_decimal_that_was_meant() {
    // As f64 the stored value is 0.00000999999974737875…
    assert_eq!(file().metadata().float("a.float32").unwrap(), Some(1e-5));
}

#[test]
fn absent_keys_are_no_error() {
    let gguf = file();
    let metadata = gguf.metadata();
    assert!(metadata.string("absent").unwrap().is_none());
    assert!(metadata.unsigned("absent", 0).unwrap().is_none());
    assert!(metadata.strings("absent").unwrap().is_none());
}

#[test]
fn errors_name_key_value_and_type() {
    let gguf = file();
    let metadata = gguf.metadata();
    let cases = [
        (
            refused(|| metadata.unsigned("a.uint32", 100)),
            "`a.uint32` is 4000000000, but must be between 0 and 100",
        ),
        (refused(|| metadata.unsigned("a.int8", 100)), "`a.int8` is -128, but must be between"),
        (refused(|| metadata.string("a.uint8")), "is the integer 128, but must be a string"),
        (refused(|| metadata.unsigned("a.string", 1)), "is a string, but must be an integer"),
        (refused(|| metadata.bool("a.float64")), "is the float 0.1, but must be a bool"),
        (refused(|| metadata.float("a.bool")), "`a.bool` is the bool true, but must be a float"),
        (refused(|| metadata.float("a.nan")), "`a.nan` is NaN, but must be finite"),
        (refused(|| metadata.float("an.infinity")), "is inf, but must be finite"),
        (
            refused(|| metadata.strings("some.floats").map(|_| ())),
            "is an array of 2 values of type float32, but must be an array of strings",
        ),
        (
            refused(|| metadata.floats("some.strings").map(|_| ())),
            "is an array of 3 values of type string, but must be an array of 32-bit floats",
        ),
        (
            refused(|| metadata.integers("some.arrays").map(|_| ())),
            "is an array of 1 values of type array, but must be an array of integers",
        ),
    ];
    for (message, words) in cases {
        assert!(message.contains(words), "`{message}` does not contain `{words}`");
    }
}
