//! Rows in shares, one per core.

use rayon::prelude::*;

/// Elements, read or written, below which one core is done before another has woken: some 30 µs.
const WORTH_WAKING: usize = 1 << 17;

/// Rows of each share, of `rows` rows that touch `elements` elements in all; at least 1.
pub(crate) fn rows_per_share(rows: usize, elements: usize) -> usize {
    let cores = if elements < WORTH_WAKING { 1 } else { rayon::current_num_threads() };
    rows.div_ceil(cores).max(1)
}

/// `each` of the shares, the first of them on this thread.
pub(crate) fn for_each_share<T: Send>(
    shares: impl IntoIterator<Item = T>,
    each: impl Fn(T) + Sync,
) {
    let mut shares = shares.into_iter();
    let Some(own) = shares.next() else { return };
    let Some(second) = shares.next() else { return each(own) };
    let each = &each;
    rayon::in_place_scope(|scope| {
        for share in std::iter::once(second).chain(shares) {
            scope.spawn(move |_| each(share));
        }
        each(own);
    });
}

/// `each` of the tasks with a scratch of its thread: one after the other if all of them are little work,
/// which is counted in elements that pass, else on all cores.
pub(crate) fn for_each_task<T: Send, S>(
    tasks: Vec<T>,
    elements: usize,
    scratch: impl Fn() -> S + Sync + Send,
    each: impl Fn(&mut S, T) + Sync + Send,
) {
    if elements < WORTH_WAKING || tasks.len() < 2 {
        let mut scratch = scratch();
        return tasks.into_iter().for_each(|task| each(&mut scratch, task));
    }
    tasks.into_par_iter().with_max_len(1).for_each_init(scratch, each);
}
