//! The part of a corpus that a tokenizer is trained on.

/// Text that training looks at. Pair counts of 16 MiB have settled for vocabularies of a few thousand
/// tokens, and take seconds instead of minutes.
pub(crate) const SAMPLE_BYTES: usize = 16 << 20;

/// An evenly spaced selection of documents that never exceeds its budget by more than one document.
///
/// It keeps every `stride`-th document; when the budget overflows the stride doubles and every other
/// kept document goes. One pass over a corpus of unknown length, and no randomness.
#[derive(Clone, Debug)]
pub(crate) struct EvenSample {
    documents: Vec<String>,
    bytes: usize,
    budget_bytes: usize,
    stride: u64,
    num_seen: u64,
}

impl EvenSample {
    /// An empty sample of at most about `budget_bytes`.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Self { documents: Vec::new(), bytes: 0, budget_bytes, stride: 1, num_seen: 0 }
    }

    /// Offers the next document of the corpus.
    pub(crate) fn offer(&mut self, document: &str) {
        let index = self.num_seen;
        self.num_seen += 1;
        if !index.is_multiple_of(self.stride) {
            return;
        }
        self.bytes += document.len();
        self.documents.push(document.to_owned());
        while self.bytes > self.budget_bytes && self.documents.len() > 1 {
            self.stride *= 2;
            let mut position = 0;
            self.documents.retain(|_| {
                position += 1;
                position % 2 == 1
            });
            self.bytes = self.documents.iter().map(String::len).sum();
        }
    }

    /// The documents kept, in corpus order.
    pub(crate) fn documents(&self) -> &[String] {
        &self.documents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_even_and_bounded() {
        let mut sample = EvenSample::new(40);
        for i in 0..1000 {
            sample.offer(&format!("{i:04}"));
            assert!(sample.documents().iter().map(String::len).sum::<usize>() <= 40);
        }
        let numbers: Vec<usize> = sample.documents().iter().map(|d| d.parse().unwrap()).collect();
        assert_eq!(numbers, [0, 128, 256, 384, 512, 640, 768, 896]);
    }
}
