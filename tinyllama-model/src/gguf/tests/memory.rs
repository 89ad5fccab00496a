//! Nothing is allocated because a file says so: every allocation of a thread is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::builder::{F32, File};
use super::fuzz::{mutate, read_all};
use super::open;

/// What opening may take besides twice the file: messages, and the lists of a file of a few bytes.
const SMALL: usize = 1 << 15;
/// The longest lists that are read: 65,536 keys of 24 bytes and 16,384 tensors of 160.
const LISTS: usize = 5 << 20;

thread_local! {
    /// Bytes that this thread holds, and the most it has held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, with a count.
struct Counting;

fn count(bytes: isize) {
    // A thread that ends has no count any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` holds at a time, beyond those that are held before.
pub(super) fn most_held<T>(work: impl FnOnce() -> T) -> usize {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    drop(work());
    let (_, most) = HELD.get();
    (most - before) as usize
}

/// Asserts that opening and reading everything takes at most twice the file and a little. The copy of
/// the file that `bytes` is, which a mapped file has not, is not counted.
#[track_caller]
fn assert_frugal(bytes: Vec<u8>, little: usize) {
    let len = bytes.len();
    let held = most_held(|| open(bytes).map(|gguf| read_all(&gguf)));
    assert!(held <= 2 * len + little, "{held} bytes for a file of {len}");
}

#[test]
fn the_count_counts() {
    assert_eq!(most_held(|| vec![0u8; 1000]), 1000);
    assert_eq!(most_held(|| (0..4).for_each(|_| drop(vec![0u8; 1000]))), 1000);
}

#[test]
fn broken_files_take_no_memory() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..5_000 {
        let mut bytes = File::llama().bytes();
        mutate(&mut bytes, &mut random);
        assert_frugal(bytes, SMALL);
    }
}

#[test]
fn large_files_take_no_more_than_twice_their_size() {
    let mut keys = File::empty();
    for index in 0..60_000 {
        keys.keys.push((format!("{index:x}").into_bytes(), 0, vec![1]));
    }
    assert_frugal(keys.bytes(), LISTS);
    let mut tensors = File { alignment: 1, ..File::empty() };
    tensors.uint32("general.alignment", 1);
    for index in 0..16_000 {
        tensors.tensor(&format!("{index:x}"), &[1, 1, 1, 1], F32, 4);
    }
    assert_frugal(tensors.bytes(), LISTS);
    let mut texts = File::llama();
    let token_count = 100_000;
    texts.strings("tokenizer.ggml.tokens", &vec!["some token of a text"; token_count]);
    texts.floats("tokenizer.ggml.scores", &vec![0.5; token_count]);
    texts.int32s("tokenizer.ggml.token_type", &vec![1; token_count]);
    assert_frugal(texts.bytes(), SMALL);
    let mut numbers = File::llama();
    numbers.floats("some.numbers", &vec![0.5; 1 << 20]);
    assert_frugal(numbers.bytes(), SMALL);
}
