//! Against the formula in scalars, and finite differences.

use burn::tensor::Device;

use crate::swiglu;
use crate::testing::{F64_ROUNDING, assert_close, check_gradients, tensor, to_vec, values};

const ROWS: usize = 3;
const WIDTH: usize = 5; // F

/// Values in (-4, 4): both tails of the sigmoid.
fn gate_up() -> Vec<f64> {
    values(ROWS * 2 * WIDTH, 1).into_iter().map(|value| 4.0 * value).collect()
}

#[test]
fn forward_is_the_formula() {
    let input = gate_up();
    let y = swiglu(tensor(input.clone(), [ROWS, 2 * WIDTH], &Device::flex()));
    let expected: Vec<f64> = input
        .chunks(2 * WIDTH)
        .flat_map(|row| {
            let (gate, up) = row.split_at(WIDTH);
            gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect::<Vec<_>>()
        })
        .collect();
    assert_close(&to_vec(y), &expected, F64_ROUNDING);
}

#[test]
fn gradients_are_finite_differences() {
    check_gradients([gate_up()], |[x]| {
        swiglu(x.reshape([ROWS, 2 * WIDTH])).reshape([ROWS * WIDTH])
    });
}

mod of_the_host {
    use burn_flex::{Flex, FlexTensor};

    use super::{F64_ROUNDING, assert_close};
    use crate::host::testing::{
        F32_SUMS, assert_same_bits, elements, f32s, f64s, portable, scaled, scattered,
    };
    use crate::swiglu::{host, reference};

    type Make = fn([usize; 2], u64) -> FlexTensor;

    fn all(gate_up: FlexTensor, dy: FlexTensor) -> [FlexTensor; 2] {
        [host::forward(gate_up.clone()), host::backward(gate_up, dy)]
    }

    #[track_caller]
    fn check(make: Make, tolerance: f64, layout: fn(FlexTensor) -> FlexTensor) {
        for [rows, width] in [[1, 1], [1, 67], [5, 9], [70, 33], [3, 576]] {
            let gate_up = || layout(scaled(make([rows, 2 * width], 1), 10.0));
            let dy = || layout(make([rows, width], 2));
            let found = all(gate_up(), dy()).map(|tensor| elements(&tensor));
            let expected = [
                reference::forward::<Flex>(gate_up()),
                reference::backward::<Flex>(gate_up(), dy()),
            ];
            for (found, expected) in found.iter().zip(&expected) {
                assert_close(found, &elements(expected), tolerance);
            }
            assert_eq!(found, portable(|| all(gate_up(), dy())).map(|tensor| elements(&tensor)));
        }
    }

    #[test]
    fn it_is_the_reference() {
        check(f64s, F64_ROUNDING, |tensor| tensor);
        check(f64s, F64_ROUNDING, scattered);
        check(f32s, F32_SUMS, |tensor| tensor);
        check(f32s, F32_SUMS, scattered);
    }

    /// Gates whose exp is 0 or infinite.
    #[test]
    fn far_gates_are_0_or_themselves() {
        let gate_up = || scaled(f32s([1, 2], 1), 0.0);
        let far = |gate: f32| {
            let mut tensor = gate_up();
            tensor.storage_mut::<f32>().copy_from_slice(&[gate, 2.0]);
            all(tensor, scaled(f32s([1, 1], 1), 0.0)).map(|tensor| elements(&tensor))
        };
        assert_eq!(far(-1e4), [vec![0.0], vec![0.0, 0.0]]);
        assert_eq!(far(1e4), [vec![2e4], vec![0.0, 0.0]]);
    }

    #[test]
    fn no_rows_give_no_rows() {
        let [y, dgate_up] = all(f32s([0, 8], 1), f32s([0, 4], 1));
        assert!(elements(&y).is_empty() && elements(&dgate_up).is_empty());
    }

    #[test]
    fn threads_change_no_bit() {
        assert_same_bits(|| all(f32s([333, 514], 1), f32s([333, 257], 2)).into());
    }

    #[test]
    fn memory_is_reused_only_if_nobody_else_holds_it() {
        let (gate_up, dy) = (f64s([5, 18], 1), f64s([5, 9], 2));
        let expected = host::backward(gate_up.clone(), dy.clone());
        assert_eq!(elements(&gate_up), elements(&f64s([5, 18], 1)));
        let address = gate_up.bytes().as_ptr();
        let found = host::backward(gate_up, dy);
        assert_eq!(found.bytes().as_ptr(), address);
        assert_eq!(elements(&found), elements(&expected));
    }
}
