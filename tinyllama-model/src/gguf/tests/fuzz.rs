//! Whatever the bytes, reading ends in a value or an error, and soon.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::builder::File;
use super::open;
use crate::gguf::Gguf;

const MUTATIONS: usize = 20_000;
/// For all of them, a hundred times what they take on one core.
const TIME: Duration = Duration::from_secs(20);

/// Asks a file for everything it can tell.
pub(super) fn read_all(gguf: &Gguf) -> usize {
    let metadata = gguf.metadata();
    let mut seen = 0;
    for key in metadata.keys() {
        seen += usize::from(metadata.string(key).is_ok());
        seen += usize::from(metadata.bool(key).is_ok());
        seen += usize::from(metadata.unsigned(key, u64::MAX).is_ok());
        seen += usize::from(metadata.float(key).is_ok());
        seen += metadata.strings(key).map_or(0, |strings| strings.map_or(0, Iterator::count));
        seen += metadata.floats(key).map_or(0, |floats| floats.map_or(0, Iterator::count));
        seen += metadata.integers(key).map_or(0, |integers| integers.map_or(0, Iterator::count));
    }
    seen += gguf.tensors().iter().map(|tensor| usize::from(tensor.bytes[0])).sum::<usize>();
    seen += gguf.chat_template().map_or(0, str::len);
    seen += usize::from(gguf.config().is_ok()) + usize::from(gguf.vocabulary().is_ok());
    seen + usize::from(gguf.eos_token_ids().is_ok() && gguf.rope_frequency_divisors().is_ok())
}

/// Changes one to four places: a bit, a byte, a word of 8 bytes that is small, large or a power of two,
/// a run moved elsewhere, or the length.
pub(super) fn mutate(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let mut below = |limit: usize| (random.next_u64() % limit.max(1) as u64) as usize;
    for _ in 0..1 + below(4) {
        let place = below(bytes.len());
        let word = |value: u64, bytes: &mut Vec<u8>| {
            let end = (place + 8).min(bytes.len());
            bytes[place..end].copy_from_slice(&value.to_le_bytes()[..end - place]);
        };
        match below(8) {
            0 => bytes[place] ^= 1 << below(8),
            1 => bytes[place] = below(256) as u8,
            2 => bytes[place] = [0, 1, 8, 9, 12, 127, 128, 255][below(8)],
            3 => word(below(1024) as u64, bytes),
            4 => word(u64::MAX - below(64) as u64, bytes),
            5 => word(1 << below(64), bytes),
            6 => {
                let (from, len) = (below(bytes.len()), below(64));
                let run = bytes[from..(from + len).min(bytes.len())].to_vec();
                bytes.splice(place..place, run);
            }
            _ => bytes.truncate(place.max(1)),
        }
    }
}

#[test]
fn mutated_files_never_panic() {
    let mut files = vec![File::llama().bytes()];
    let mut other = File::llama();
    other.string("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.merges", &["a b", "ab c"]);
    other.uint32("general.alignment", 64).float32("llama.rope.scaling.factor", 2.0);
    other.alignment = 64;
    other.tensors.clear();
    other.data.clear();
    other.tensor("token_embd.weight", &[4, 4], 1, 32).tensor("rope_freqs.weight", &[1], 0, 4);
    files.push(other.bytes());
    let mut random = ChaCha8Rng::seed_from_u64(0x4755_4746);
    let (started, mut opened, mut models) = (Instant::now(), 0, 0);
    for index in 0..MUTATIONS {
        let mut bytes = files[index % files.len()].clone();
        mutate(&mut bytes, &mut random);
        if let Ok(gguf) = open(bytes) {
            opened += 1;
            models += usize::from(gguf.config().is_ok());
            std::hint::black_box(read_all(&gguf));
        }
    }
    assert!(started.elapsed() < TIME, "{:?}", started.elapsed());
    // Mutations that break everything or nothing would test little.
    assert!((MUTATIONS / 50..MUTATIONS / 2).contains(&opened), "{opened} files opened");
    assert!((MUTATIONS / 100..opened).contains(&models), "{models} models");
}
