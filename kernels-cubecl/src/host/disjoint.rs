//! Results of tasks that write into the same tensor, each a part of its own that is no slice.

use std::marker::PhantomData;

/// Memory that several tasks write at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: the parts that tasks take do not overlap, as `part` and the users of `rows` demand.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(memory: &'a mut [T]) -> Self {
        Self { start: memory.as_mut_ptr(), len: memory.len(), memory: PhantomData }
    }

    /// The `len` elements from `first` on.
    ///
    /// # Safety
    /// Nobody else uses them as long as the part lives.
    pub(crate) unsafe fn part(self, first: usize, len: usize) -> &'a mut [T] {
        assert!(first + len <= self.len, "a part of {len} at {first} of {}", self.len);
        // SAFETY: inside the memory, and nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }

    /// Where `rows` rows of `width` elements begin, the first at `first`, `stride` apart.
    pub(crate) fn rows(self, first: usize, rows: usize, width: usize, stride: usize) -> *mut T {
        let end = first + rows.saturating_sub(1) * stride + width;
        assert!(end <= self.len, "rows that end at {end} of {}", self.len);
        // SAFETY: inside the memory.
        unsafe { self.start.add(first) }
    }
}
