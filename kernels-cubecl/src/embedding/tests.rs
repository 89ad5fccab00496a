//! Against indexing, and finite differences.

use burn::tensor::Device;

use crate::embedding;
use crate::testing::{check_gradients, ints, tensor, to_vec, values};

const VOCAB: usize = 5;
const WIDTH: usize = 3;
/// One id three times, one never.
const IDS: [i64; 6] = [2, 0, 2, 4, 3, 2];

#[test]
fn forward_is_indexing() {
    let (weight, device) = (values(VOCAB * WIDTH, 1), Device::flex());
    let y = embedding(tensor(weight.clone(), [VOCAB, WIDTH], &device), ints(&IDS, &device));
    let expected: Vec<f64> =
        IDS.iter().flat_map(|&id| weight[id as usize * WIDTH..][..WIDTH].to_vec()).collect();
    assert_eq!(to_vec(y), expected);
}

#[test]
fn gradients_are_finite_differences() {
    check_gradients([values(VOCAB * WIDTH, 1)], |[weight]| {
        let ids = ints(&IDS, &weight.device());
        embedding(weight.reshape([VOCAB, WIDTH]), ids).reshape([IDS.len() * WIDTH])
    });
}
