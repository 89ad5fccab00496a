//! From tensors to slices and back, with as few passes over memory as possible.

use std::mem::MaybeUninit;
use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::ops::IntTensorOps;
use burn::tensor::{DType, IntDType, Shape};
use burn_flex::{Flex, FlexTensor};

use super::Scalar;

/// The dtype that all tensors have.
pub(crate) fn shared_dtype<const N: usize>(tensors: [&FlexTensor; N]) -> Option<DType> {
    let dtype = tensors[0].dtype();
    tensors.iter().all(|tensor| tensor.dtype() == dtype).then_some(dtype)
}

/// The elements of a tensor in order; copied to new memory only if they do not lie so.
pub(crate) struct Contiguous(FlexTensor);

impl Contiguous {
    pub(crate) fn elements<E: Scalar>(&self) -> &[E] {
        &E::storage(&self.0)[range(&self.0).expect("made contiguous")]
    }
}

/// See [`Contiguous`].
pub(crate) fn contiguous(tensor: FlexTensor) -> Contiguous {
    Contiguous(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
}

/// The numbers of an integer tensor of any dtype.
pub(crate) fn ids(tensor: FlexTensor) -> Vec<i64> {
    let tensor = match tensor.dtype() {
        DType::I64 => tensor,
        _ => Flex::int_cast(tensor, IntDType::I64),
    };
    let tensor = tensor.to_contiguous();
    tensor.storage::<i64>()[..tensor.shape().num_elements()].to_vec()
}

/// The elements of a contiguous tensor that nobody else holds.
pub(crate) fn overwritable<E: Scalar>(tensor: &mut FlexTensor) -> Option<&mut [E]> {
    let range = range(tensor)?;
    Some(&mut E::storage_mut(tensor)?[range])
}

/// Memory for `len` results.
pub(crate) fn unwritten<E: Scalar>(len: usize) -> Vec<MaybeUninit<E>> {
    let mut memory = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, and a MaybeUninit needs no initialisation.
    unsafe { memory.set_len(len) };
    memory
}

/// Written memory as memory to write.
///
/// # Safety
/// Nothing uninitialised is written to it.
pub(crate) unsafe fn writable<E: Scalar>(written: &mut [E]) -> &mut [MaybeUninit<E>] {
    // SAFETY: the same layout; what is written is initialised, as the caller says.
    unsafe { &mut *(written as *mut [E] as *mut [MaybeUninit<E>]) }
}

/// A tensor of results.
///
/// # Safety
/// Every element has been written.
pub(crate) unsafe fn into_tensor<E: Scalar>(
    results: Vec<MaybeUninit<E>>,
    shape: impl Into<Shape>,
) -> FlexTensor {
    let mut results = std::mem::ManuallyDrop::new(results);
    let (start, len, capacity) = (results.as_mut_ptr(), results.len(), results.capacity());
    // SAFETY: memory of a vector that is forgotten, with the layout of E, written as the caller says.
    E::tensor(unsafe { Vec::from_raw_parts(start.cast::<E>(), len, capacity) }, shape.into())
}

/// The tensor itself if it is contiguous and nobody else holds it, else a copy of its elements.
pub(crate) fn owned<E: Scalar>(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_unique() && tensor.is_contiguous() {
        return tensor;
    }
    let shape = tensor.shape();
    if tensor.is_contiguous() {
        return E::tensor(contiguous(tensor).elements::<E>().to_vec(), shape);
    }
    tensor.to_contiguous()
}

/// Where the elements of a contiguous tensor lie in its buffer; a view of none may begin behind its end.
fn range(tensor: &FlexTensor) -> Option<Range<usize>> {
    let (start, end) = tensor.layout().contiguous_offsets()?;
    Some(if start == end { 0..0 } else { start..end })
}
