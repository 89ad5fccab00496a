//! Tensors as kernel arguments.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::{copy_contiguous, into_contiguous};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::precision::statistics_dtype;

/// The element type of a dtype inside a kernel.
pub(crate) fn elem(dtype: DType) -> ElemType {
    dtype_to_storage_type(dtype)
}

/// The element type in which a kernel sums values of `dtype`.
pub(crate) fn statistics_elem(dtype: DType) -> ElemType {
    elem(statistics_dtype(dtype))
}

/// An uninitialised contiguous tensor beside `like`.
pub(crate) fn empty(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// The tensor as a kernel reads it: row after row.
pub(crate) fn reads(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}

/// The tensor as a kernel may overwrite it: itself when nobody else holds its memory, else a copy.
pub(crate) fn writable(tensor: CubeTensor) -> CubeTensor {
    match tensor.can_mut() && tensor.is_nonoverlapping() {
        true => into_contiguous(tensor),
        false => copy_contiguous(tensor),
    }
}

/// Elements per load: at most `bytes`, a power of two that divides `width` and that the device has.
pub(crate) fn vector_width(client: &Client, dtype: DType, bytes: u32, width: usize) -> usize {
    let most = (bytes as usize / dtype.size()).min(client.properties().hardware.max_vector_size);
    let mut vector = 1;
    while 2 * vector <= most && width.is_multiple_of(2 * vector) {
        vector *= 2;
    }
    vector
}

/// `count` cubes in as many dimensions as the device needs; the last of them may be idle, so kernels
/// compare `CUBE_POS` with their count.
pub(crate) fn cube_count(client: &Client, count: usize) -> CubeCount {
    let (most, _, _) = client.properties().hardware.max_cube_count;
    let most = (most as usize).min(65_535);
    let y = count.div_ceil(most).max(1);
    CubeCount::Static(count.div_ceil(y).max(1) as u32, y as u32, 1)
}

/// Whether units of a cube can meet in shared memory. SwiftShader, the Vulkan of machines without a GPU,
/// leaves it unwritten in CubeCL's SPIR-V and only warns: there a row has the units of one plane, or one.
pub(crate) fn shares_memory(client: &Client) -> bool {
    !client.properties().identity.name.contains("SwiftShader")
}
