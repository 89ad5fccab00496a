//! Files that break the rules: the kinds of llama.cpp's `test-gguf`, the limits of candle's reader, and
//! more.

use super::builder::{
    ARRAY, BOOL, F32, FLOAT32, File, INT8, INT32, Q4_0, STRING, Tensor, UINT8, UINT32, UINT64,
    array, text,
};
use super::{assert_refused, open};

/// A file with a change.
fn changed(change: impl FnOnce(&mut File)) -> Vec<u8> {
    let mut file = File::llama();
    change(&mut file);
    file.bytes()
}

/// A file whose second tensor is changed.
fn tensor_changed(change: impl FnOnce(&mut Tensor)) -> Vec<u8> {
    changed(|file| change(&mut file.tensors[1]))
}

/// A file with one key of any type and bytes.
fn with_value(kind: u32, value: Vec<u8>) -> Vec<u8> {
    let mut file = File::empty();
    file.set("some.key", kind, value);
    file.bytes()
}

#[test]
fn counts_that_the_file_has_no_room_for() {
    let cases: [(&str, Vec<u8>, &str); 5] = [
        (
            "2⁶⁴ − 1 tensors",
            changed(|file| file.tensor_count = Some(u64::MAX)),
            "18446744073709551615 tensors: 18446744073709551615 more bytes are needed",
        ),
        (
            "2⁶⁴ − 1 keys",
            changed(|file| file.key_count = Some(u64::MAX)),
            "18446744073709551615 metadata keys: 18446744073709551615 more bytes are needed",
        ),
        (
            "one tensor too many",
            changed(|file| file.tensor_count = Some(4)),
            "tensor 3 (from 0) of 4: ",
        ),
        (
            "one key too many",
            changed(|file| file.key_count = Some(file.keys.len() as u64 + 1)),
            // The first tensor is taken for a key, whose two dimensions for a type.
            "tensor 0 (from 0) of 3: 1125899906842624 more bytes are needed",
        ),
        (
            "as many keys as bytes",
            changed(|file| file.key_count = Some(1000)),
            "1000 metadata keys: 14000 more bytes are needed",
        ),
    ];
    for (case, bytes, words) in &cases {
        assert_refused(case, bytes, words);
    }
}

#[test]
fn more_keys_or_tensors_than_any_model_has() {
    let keys = File { key_count: Some((1 << 16) + 1), ..File::empty() };
    let bytes = [keys.bytes(), vec![0; 14 << 17]].concat();
    assert_refused("keys", &bytes, "`metadata_kv_count` is 65537, which is not supported");
    let tensors = File { tensor_count: Some((1 << 14) + 1), ..File::empty() };
    let bytes = [tensors.bytes(), vec![0; 33 << 15]].concat();
    assert_refused("tensors", &bytes, "`tensor_count` is 16385, which is not supported");
}

#[test]
fn keys_that_break_the_rules() {
    let renamed = |key: &[u8]| changed(|file| file.keys[3].0 = key.to_vec());
    let mut long = File::empty();
    long.uint32(&"k".repeat(1 << 16), 1);
    let mut endless = File::empty().bytes();
    endless[16] = 1; // One key,
    endless.extend([255; 8]); // of 2⁶⁴ − 1 bytes.
    endless.extend([b'k'; 16]);
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("empty", renamed(b""), "metadata key 3 (from 0) of 15: has 0 bytes, not 1 to 65535"),
        ("too long", long.bytes(), "metadata key 0 (from 0) of 1: has 65536 bytes"),
        ("endless", endless, "metadata key 0 (from 0) of 1: 18446744073709551615 more bytes"),
        (
            "not UTF-8",
            renamed(b"llama.\xff"),
            "metadata key 3 (from 0) of 15: the text is not UTF-8",
        ),
        ("twice", renamed(b"llama.context_length"), "`llama.context_length`: is there twice"),
        (
            "hard to show",
            changed(|file| file.keys[3] = (vec![b'\n'; 200], 99, vec![])),
            r"\n\n…`: there is no value type 99",
        ),
    ];
    for (case, bytes, words) in &cases {
        assert_refused(case, bytes, words);
    }
}

#[test]
fn values_that_break_the_rules() {
    let nested = |depth: usize| {
        let inner = (1..depth).fold(array(UINT8, 1, &[7]), |inner, _| array(ARRAY, 1, &inner));
        with_value(ARRAY, inner)
    };
    assert!(open(nested(4)).is_ok(), "arrays may be nested a little");
    let cases: [(&str, Vec<u8>, &str); 15] = [
        ("type 13", with_value(13, vec![0]), "`some.key`: there is no value type 13"),
        ("type −1", with_value(u32::MAX, vec![0]), "there is no value type 4294967295"),
        ("no value", with_value(UINT32, vec![]), "4 more bytes are needed, but only 0 are left"),
        ("half a value", with_value(UINT64, vec![0; 7]), "8 more bytes are needed, but only 7"),
        ("bool of 2", with_value(BOOL, vec![2]), "`some.key`: a bool is 2, neither 0 nor 1"),
        ("bool of 255", with_value(ARRAY, array(BOOL, 2, &[1, 255])), "a bool is 255"),
        ("text", with_value(STRING, text(b"\xc3\x28")), "`some.key`: the text is not UTF-8"),
        ("long text", with_value(STRING, vec![255; 8]), "18446744073709551615 more bytes"),
        ("texts", with_value(ARRAY, array(STRING, 1, &text(b"\xff"))), "the text is not UTF-8"),
        ("element type", with_value(ARRAY, array(77, 0, &[])), "there is no value type 77"),
        (
            "array of 2⁶⁴ − 1 bytes",
            with_value(ARRAY, array(INT8, u64::MAX, &[0; 64])),
            "18446744073709551615 more bytes are needed, but only 64 are left",
        ),
        (
            "array whose size overflows",
            with_value(ARRAY, array(FLOAT32, 1 << 62, &[0; 64])),
            "18446744073709551615 more bytes are needed",
        ),
        (
            "one text too few",
            with_value(ARRAY, array(STRING, 2, &[text(b"abc"), vec![0; 7]].concat())),
            "8 more bytes are needed, but only 7 are left",
        ),
        (
            "2⁶⁰ arrays",
            with_value(ARRAY, array(ARRAY, 1 << 60, &[0; 64])),
            "more bytes are needed, but only 64 are left",
        ),
        ("nesting", nested(5), "`some.key`: arrays are nested more than 4 deep"),
    ];
    for (case, bytes, words) in &cases {
        assert_refused(case, bytes, words);
    }
}

#[test]
fn alignments_that_are_none() {
    let aligned = |kind, value: &[u8]| {
        changed(|file| {
            file.set("general.alignment", kind, value.to_vec());
        })
    };
    let power = "but must be a power of two, at most 65536";
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("0", aligned(UINT32, &0u32.to_le_bytes()), power),
        ("13", aligned(UINT32, &13u32.to_le_bytes()), power),
        ("2³¹", aligned(UINT32, &(1u32 << 31).to_le_bytes()), power),
        ("2¹⁷", aligned(UINT32, &(1u32 << 17).to_le_bytes()), power),
        ("signed", aligned(INT32, &32u32.to_le_bytes()), "but must be of type uint32"),
        ("of 64 bits", aligned(UINT64, &32u64.to_le_bytes()), "but must be of type uint32"),
        ("a text", aligned(STRING, &text(b"32")), "is a string, but must be an integer"),
        // Tensors were laid out for 32.
        ("128", aligned(UINT32, &128u32.to_le_bytes()), "lies at 64, no multiple of 128"),
    ];
    for (case, bytes, words) in &cases {
        assert_refused(&format!("alignment {case}"), bytes, words);
    }
}

#[test]
fn tensors_that_break_the_rules() {
    let renamed = |name: &[u8]| tensor_changed(|tensor| tensor.name = name.to_vec());
    let shaped = |shape: &[u64]| tensor_changed(|tensor| tensor.dimensions = shape.to_vec());
    let placed = |offset| tensor_changed(|tensor| tensor.offset = offset);
    let floats = |shape: &[u64]| {
        tensor_changed(|tensor| (tensor.code, tensor.dimensions) = (F32, shape.to_vec()))
    };
    let this = "tensor `blk.0.ffn_down.weight`";
    let cases: [(&str, Vec<u8>, String); 19] = [
        ("no name", renamed(b""), "tensor 1 (from 0) of 3: has a name of 0 bytes".into()),
        ("long name", renamed(&[b'n'; 65]), "has a name of 65 bytes, not 1 to 64".into()),
        ("name", renamed(b"\xff"), "tensor 1 (from 0) of 3: the text is not UTF-8".into()),
        (
            "twice",
            renamed(b"output_norm.weight"),
            "tensor `output_norm.weight`: is there twice".into(),
        ),
        ("no dimensions", shaped(&[]), format!("{this}: has 0 dimensions, not 1 to 4")),
        ("5 dimensions", shaped(&[32; 5]), format!("{this}: has 5 dimensions, not 1 to 4")),
        ("no columns", shaped(&[0, 2]), format!("{this}: has a dimension of 0")),
        ("no rows", shaped(&[32, 0]), format!("{this}: has a dimension of 0")),
        ("−1 rows", shaped(&[32, u64::MAX]), "is larger than memory".into()),
        ("half a block", shaped(&[48, 2]), "rows of 48 elements, no whole number of Q4_0's".into()),
        ("2⁶⁴ elements", floats(&[1 << 32, 1 << 32]), "is larger than memory".into()),
        ("2⁶⁴ bytes", floats(&[1 << 62]), format!("{this}: of shape [4611686018427387904]")),
        ("product that wraps", floats(&[1 << 31, 1 << 31, 4, 2]), "is larger than memory".into()),
        ("more than there is", floats(&[64, 1 << 20]), "past the end of the file".into()),
        ("offset of 2⁶⁴ − 1", placed(u64::MAX), format!("{this}: lies at 18446744073709551615")),
        ("offset that wraps", placed(u64::MAX - 31), "past the end of the file".into()),
        ("offset of 65", placed(65), format!("{this}: lies at 65, no multiple of 32")),
        ("offset past the end", placed(1 << 20), "has 36 bytes at 1048576 of the data".into()),
        ("overlap", placed(32), format!("{this}: overlaps with tensor `token_embd.weight`")),
    ];
    for (case, bytes, words) in &cases {
        assert_refused(case, bytes, words);
    }
}

#[test]
fn element_types_that_are_not_read() {
    let stored = |code| tensor_changed(|tensor| tensor.code = code);
    let cases: [(u32, &str); 9] = [
        (4, "stored as Q4_2"),
        (10, "stored as Q2_K"),
        (11, "stored as Q3_K"),
        (16, "stored as IQ2_XXS"),
        (24, "stored as I8"),
        (39, "stored as MXFP4"),
        (37, "stored as type 37, which is unknown"),
        (u32::MAX, "stored as type 4294967295"),
        (10, "not supported: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K are"),
    ];
    for (code, words) in cases {
        assert_refused("type", &stored(code), words);
        assert_refused("its tensor", &stored(code), "`tensor blk.0.ffn_down.weight` is stored");
    }
}

/// The two tensors of `DATA_MEM_SIZE_OVERFLOW`: their sizes add up to nothing in 64 bits.
#[test]
fn tensors_whose_sum_wraps() {
    let mut file = File::empty();
    file.tensor("a", &[1 << 60, 8], Q4_0, 32).tensor("b", &[1 << 60, 8], Q4_0, 32);
    assert_refused("sum", &file.bytes(), "tensor `a`: has 5188146770730811392 bytes at 0");
}

#[test]
fn every_file_that_ends_too_early_is_refused() {
    let bytes = File::llama().bytes();
    for len in 0..bytes.len() {
        let error = open(bytes[..len].to_vec()).err().map(|error| error.to_string());
        let error = error.unwrap_or_else(|| panic!("the first {len} bytes were taken for whole"));
        let names_a_place =
            ["header", "metadata key", "tensor", "`"].map(|word| error.contains(word));
        assert!(names_a_place.contains(&true), "{len} bytes: {error}");
        assert!(error.starts_with("m.gguf: ") && error.contains("incomplete"), "{len}: {error}");
    }
}
