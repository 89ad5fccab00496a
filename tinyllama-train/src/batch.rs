//! What one forward and backward pass reads, and the one place where targets are shifted.

use burn::tensor::{Device, Int, Tensor, TensorData};
pub use kernels_cubecl::IGNORE_INDEX;

/// A micro-batch of B sequences of T tokens; position `t` predicts token `t + 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    inputs: Vec<i32>,
    targets: Vec<i32>,
    batch_size: usize,
    sequence_tokens: usize,
    num_targets: usize,
}

impl Batch {
    /// Every token but a row's first is a target.
    ///
    /// # Shapes
    /// windows: `[B, T + 1]`, row after row.
    ///
    /// # Panics
    /// When the tokens are no whole number of rows, or there is none.
    pub fn from_windows(windows: &[u32], sequence_tokens: usize) -> Self {
        let window_tokens = sequence_tokens + 1;
        assert!(sequence_tokens > 0, "a sequence needs a token");
        assert!(
            !windows.is_empty() && windows.len().is_multiple_of(window_tokens),
            "{} tokens are no rows of {window_tokens}",
            windows.len()
        );
        let loss_mask = vec![true; window_tokens];
        let rows: Vec<_> = windows.chunks(window_tokens).map(|row| (row, &loss_mask[..])).collect();
        Self::from_masked(&rows, 0)
    }

    /// A row's token is a target where its mask is true; the first token of a row never is.
    ///
    /// Rows shorter than the longest are filled on the right with `pad_id`, which is no target.
    ///
    /// # Panics
    /// When there is no row, a row's mask has another length, a row has fewer than two tokens, or a
    /// token is 2^31 or more.
    pub fn from_masked(rows: &[(&[u32], &[bool])], pad_id: u32) -> Self {
        // What tokenizers and token files may hold is bounded where they are read.
        let id = |token: u32| i32::try_from(token).expect("no vocabulary has 2^31 tokens");
        let sequence_tokens = rows.iter().map(|(tokens, _)| tokens.len().saturating_sub(1)).max();
        let sequence_tokens = sequence_tokens.expect("a batch needs a row");
        let mut inputs = Vec::with_capacity(rows.len() * sequence_tokens);
        let mut targets = Vec::with_capacity(rows.len() * sequence_tokens);
        for (tokens, loss_mask) in rows {
            assert_eq!(tokens.len(), loss_mask.len(), "one mask value per token");
            assert!(tokens.len() > 1, "a row needs a token and its target");
            // The shift by one: input t is token t, its target is token t + 1.
            inputs.extend(tokens[..tokens.len() - 1].iter().map(|&token| id(token)));
            targets.extend(tokens[1..].iter().zip(&loss_mask[1..]).map(|(&token, &is_target)| {
                if is_target { id(token) } else { IGNORE_INDEX as i32 }
            }));
            let padding = sequence_tokens + 1 - tokens.len();
            inputs.extend(std::iter::repeat_n(id(pad_id), padding));
            targets.extend(std::iter::repeat_n(IGNORE_INDEX as i32, padding));
        }
        let num_targets = targets.iter().filter(|&&target| target != IGNORE_INDEX as i32).count();
        Self { inputs, targets, batch_size: rows.len(), sequence_tokens, num_targets }
    }

    /// Sequences, B.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Input tokens of a sequence, T, padding included.
    pub fn sequence_tokens(&self) -> usize {
        self.sequence_tokens
    }

    /// Targets that count, those that are not [`IGNORE_INDEX`].
    pub fn num_targets(&self) -> usize {
        self.num_targets
    }

    /// One more than the largest id, padding included: the rows that an embedding must have.
    pub fn vocab_size(&self) -> usize {
        let largest = self.inputs.iter().chain(&self.targets).copied().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// The inputs `[B, T]` on `device`.
    pub fn inputs(&self, device: &Device) -> Tensor<2, Int> {
        let shape = [self.batch_size, self.sequence_tokens];
        Tensor::from_data(TensorData::new(self.inputs.clone(), shape), device)
    }

    /// The targets `[R]`, R = B·T, on `device`; [`IGNORE_INDEX`] where there is no loss.
    pub fn targets(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.targets.clone(), [self.targets.len()]), device)
    }

    /// Every target that counts, after the token before it: what a bigram model predicts from.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        let pairs = self.inputs.iter().zip(&self.targets);
        pairs
            .filter(|&(_, &target)| target != IGNORE_INDEX as i32)
            .map(|(&previous, &target)| (previous as u32, target as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: i32 = IGNORE_INDEX as i32;

    #[test]
    fn windows_are_shifted_by_one() {
        let batch = Batch::from_windows(&[1, 2, 3, 4, 5, 6], 2);
        assert_eq!((batch.batch_size(), batch.sequence_tokens(), batch.num_targets()), (2, 2, 4));
        assert_eq!(batch.vocab_size(), 7);
        assert_eq!(batch.inputs, [1, 2, 4, 5]);
        assert_eq!(batch.targets, [2, 3, 5, 6]);
        assert_eq!(batch.pairs().collect::<Vec<_>>(), [(1, 2), (2, 3), (4, 5), (5, 6)]);
    }

    #[test]
    fn masked_and_padded_tokens_are_no_targets() {
        let long = ([7, 8, 9, 10], [true, false, true, true]);
        let short = ([5, 6], [false, true]);
        let batch = Batch::from_masked(&[(&long.0, &long.1), (&short.0, &short.1)], 3);
        assert_eq!(batch.inputs, [7, 8, 9, 5, 3, 3]);
        assert_eq!(batch.targets, [NONE, 9, 10, 6, NONE, NONE]);
        assert_eq!(batch.num_targets(), 3);
        assert_eq!(batch.pairs().collect::<Vec<_>>(), [(8, 9), (9, 10), (5, 6)]);
    }

    #[test]
    fn tensors_have_the_documented_shapes() {
        let batch = Batch::from_windows(&[1, 2, 3, 4, 5, 6], 2);
        let device = Device::default();
        assert_eq!(batch.inputs(&device).dims(), [2, 2]);
        let targets = batch.targets(&device).into_data();
        assert_eq!(targets.iter::<i64>().collect::<Vec<_>>(), [2, 3, 5, 6]);
    }
}
