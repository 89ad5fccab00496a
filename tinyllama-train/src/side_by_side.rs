//! Several passes of a model at the same time, on the CPU.
//!
//! Most operations of the CPU backend use one core, matrix products all of them. So passes that do not
//! depend on each other get a thread each; a GPU has its own queue and takes one after the other.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

use burn::tensor::Device;

/// Passes that run at the same time: one per core on the CPU, else one.
pub(crate) fn passes_at_once(device: &Device) -> usize {
    match *device == Device::flex() {
        true => thread::available_parallelism().map_or(1, NonZero::get),
        false => 1,
    }
}

/// `each` of `items`, the results in their order: in a thread per item, or here for a single one.
pub(crate) fn side_by_side<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if let [item] = items {
        return vec![each(item)];
    }
    thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(|| each(item))).collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_keep_their_order_and_passes_meet() {
        // Every pass waits for the others: one after the other they would never end.
        let barrier = Barrier::new(3);
        let meet = |item: &usize| {
            barrier.wait();
            item * 10
        };
        assert_eq!(side_by_side(&[3, 1, 2], meet), [30, 10, 20]);
        let here = thread::current().id();
        assert_eq!(side_by_side(&[0], |_| thread::current().id()), [here]);
    }

    #[test]
    #[should_panic(expected = "the second")]
    fn a_panic_is_passed_on() {
        side_by_side(&[1, 2], |item| assert!(*item != 2, "the second"));
    }
}
