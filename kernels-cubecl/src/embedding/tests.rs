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

mod of_the_host {
    use burn::tensor::TensorData;
    use burn_flex::{Flex, FlexTensor};

    use crate::embedding::{host, reference};
    use crate::host::testing::{assert_same_bits, elements, f32s, f64s, portable, scattered};

    type Make = fn([usize; 2], u64) -> FlexTensor;

    /// Every third row has the last id.
    fn ids(rows: usize, vocab_size: usize) -> FlexTensor {
        let last = vocab_size - 1;
        let ids: Vec<i32> = (0..rows)
            .map(|row| if row % 3 == 0 { last } else { row * row % vocab_size } as i32)
            .collect();
        FlexTensor::from_data(TensorData::new(ids, [rows]))
    }

    /// Bit by bit: nothing is rounded, or in the same order.
    #[test]
    fn it_is_the_reference() {
        for make in [f64s as Make, f32s] {
            for layout in [|tensor| tensor, scattered] {
                for [vocab_size, rows, width] in [[1, 1, 1], [9, 1, 67], [5, 40, 3], [70, 33, 9]] {
                    let ids = ids(rows, vocab_size);
                    let weight = layout(make([vocab_size, width], 1));
                    let dy = layout(make([rows, width], 2));
                    let found = host::forward(weight.clone(), ids.clone());
                    let expected = reference::forward::<Flex>(weight, ids.clone());
                    assert_eq!(elements(&found), elements(&expected));
                    let found = elements(&host::backward(ids.clone(), dy.clone(), vocab_size));
                    let expected = reference::backward::<Flex>(ids.clone(), dy.clone(), vocab_size);
                    assert_eq!(found, elements(&expected));
                    let old = portable(|| host::backward(ids, dy, vocab_size));
                    assert_eq!(found, elements(&old));
                }
            }
        }
    }

    #[test]
    fn no_ids_give_no_rows() {
        assert!(elements(&host::forward(f32s([5, 8], 1), ids(0, 5))).is_empty());
        assert_eq!(elements(&host::backward(ids(0, 5), f32s([0, 8], 1), 5)), [0.0; 40]);
    }

    #[test]
    fn threads_change_no_bit() {
        let ids = ids(700, 50);
        assert_same_bits(|| {
            let y = host::forward(f32s([50, 200], 1), ids.clone());
            vec![y, host::backward(ids.clone(), f32s([700, 200], 2), 50)]
        });
    }
}
