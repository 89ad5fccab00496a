//! Rows in chunks whose logits fit a fixed amount of memory.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};

use crate::backend::{KernelBackend, KernelBackward};
use crate::cross_entropy::CrossEntropyOptions;
use crate::precision::statistics_dtype;

/// Logits of one chunk take at most this many bytes, 128 MiB; their gradient lies in the same memory.
const CHUNK_BYTES: usize = 128 << 20;

/// The gradients of a summed loss of 1.
pub(crate) struct Loss<B: Backend> {
    /// `[1]`
    pub(crate) sum: FloatTensor<B>,
    /// `[R, D]`
    pub(crate) dx: FloatTensor<B>,
    /// `[V, D]`
    pub(crate) dweight: FloatTensor<B>,
}

/// x `[R, D]`, weight `[V, D]`, targets `[R]` → `[1]`.
pub(crate) fn forward<B: KernelBackend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    targets: IntTensor<B>,
    options: CrossEntropyOptions,
) -> FloatTensor<B> {
    let sums = chunks::<B>(&x, &weight).map(|[start, end]| {
        let (x, targets) = rows::<B>(&x, &targets, [start, end]);
        let (loss, _lse) = B::cross_entropy(B::linear_forward(x, weight.clone()), targets, options);
        B::float_sum(loss)
    });
    let zero = || B::float_zeros(Shape::new([1]), &x.device(), statistics_dtype(x.dtype()).into());
    sums.reduce(B::float_add).unwrap_or_else(zero)
}

/// The loss with its gradients, from one product of each kind per chunk.
pub(crate) fn forward_backward<B: KernelBackward>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    targets: IntTensor<B>,
    options: CrossEntropyOptions,
) -> Loss<B> {
    let (device, dtype) = (x.device(), statistics_dtype(x.dtype()));
    let (mut dx, mut total) = (Vec::new(), None::<(FloatTensor<B>, FloatTensor<B>)>);
    for [start, end] in chunks::<B>(&x, &weight) {
        let (x, targets) = rows::<B>(&x, &targets, [start, end]);
        let logits = B::linear_forward(x.clone(), weight.clone());
        let (loss, lse) = B::cross_entropy(logits.clone(), targets.clone(), options);
        let ones = B::float_ones(Shape::new([end - start]), &device, dtype.into());
        let dlogits = B::cross_entropy_backward(logits, targets, lse, ones, options);
        dx.push(B::linear_dgrad(dlogits.clone(), weight.clone()));
        let of_chunk = (B::float_sum(loss), B::linear_wgrad(dlogits, x));
        total = Some(match total {
            None => of_chunk,
            Some((sum, dweight)) => {
                (B::float_add(sum, of_chunk.0), B::float_add(dweight, of_chunk.1))
            }
        });
    }
    let zeros =
        |shape: Shape, dtype: burn::tensor::DType| B::float_zeros(shape, &device, dtype.into());
    let (sum, dweight) = total
        .unwrap_or_else(|| (zeros(Shape::new([1]), dtype), zeros(weight.shape(), weight.dtype())));
    let dx = match dx.len() {
        0 => zeros(x.shape(), x.dtype()),
        1 => dx.remove(0),
        _ => B::float_cat(dx, 0),
    };
    Loss { sum, dx, dweight }
}

/// First and last-but-one row of each chunk.
fn chunks<B: Backend>(
    x: &FloatTensor<B>,
    weight: &FloatTensor<B>,
) -> impl Iterator<Item = [usize; 2]> + use<B> {
    let (rows, vocab_size) = (x.shape()[0], weight.shape()[0]);
    let per_chunk = (CHUNK_BYTES / (vocab_size * x.dtype().size()).max(1)).max(1);
    (0..rows).step_by(per_chunk).map(move |start| [start, rows.min(start + per_chunk)])
}

fn rows<B: Backend>(
    x: &FloatTensor<B>,
    targets: &IntTensor<B>,
    [start, end]: [usize; 2],
) -> (FloatTensor<B>, IntTensor<B>) {
    let some = [Slice::from(start..end)];
    (B::float_slice(x.clone(), &some), B::int_slice(targets.clone(), &some))
}
