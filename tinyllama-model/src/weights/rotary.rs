//! The order of the rows of q and k.
//!
//! Rotary embeddings turn pairs of elements of a head. Meta's weights, and with them llama2.c and GGUF,
//! keep the two of a pair side by side; Hugging Face keeps all first ones before all second ones. The
//! same model has its rows of q and k in another order then, and whole rows are moved, so that it works
//! in every format and loses nothing.

use bytes::Bytes;

/// Rows of heads with `head_dim` rows each from pairs side by side to halves, Hugging Face's order.
pub(crate) fn to_halves(bytes: &Bytes, rows: usize, head_dim: usize) -> Bytes {
    // Row (half, pair) of a head was row 2·pair + half.
    permute(bytes, rows, head_dim, |row| {
        let (half, pair) = (row / (head_dim / 2), row % (head_dim / 2));
        2 * pair + half
    })
}

/// The reverse of [`to_halves`].
pub(crate) fn to_pairs(bytes: &Bytes, rows: usize, head_dim: usize) -> Bytes {
    permute(bytes, rows, head_dim, |row| (row % 2) * (head_dim / 2) + row / 2)
}

/// Row r of each head becomes what was row `source(r)` of it.
fn permute(bytes: &Bytes, rows: usize, head_dim: usize, source: impl Fn(usize) -> usize) -> Bytes {
    let row_bytes = bytes.len() / rows;
    let mut permuted = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact(head_dim * row_bytes) {
        for row in 0..head_dim {
            permuted.extend_from_slice(&head[source(row) * row_bytes..][..row_bytes]);
        }
    }
    permuted.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_halves_are_the_same_rows() {
        // Two heads of six rows, two bytes a row; digits say head, pair and half.
        let pairs: &[u8] = b"a0A0a1A1a2A2b0B0b1B1b2B2";
        let halves: &[u8] = b"a0a1a2A0A1A2b0b1b2B0B1B2";
        let pairs = Bytes::from_static(pairs);
        assert_eq!(to_halves(&pairs, 12, 6), halves);
        assert_eq!(to_pairs(&Bytes::from_static(halves), 12, 6), pairs);
    }
}
