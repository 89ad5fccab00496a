//! The matrix product under the reference implementations.

use burn::backend::Backend;
use burn::backend::ops::FloatTensorOps as _;
use burn::backend::tensor::FloatTensor;
use burn_flex::Flex;

/// A backend whose matrix products start at once.
///
/// Burn's own `float_matmul` on a CubeCL device times dozens of candidates for every new shape, about
/// five seconds each time on an H100: a first training step then takes minutes. Here the kernel
/// follows from the dtype and the width of the device's SIMD groups.
pub(crate) trait Matmul: Backend {
    /// a `[.., M, K]` · b `[.., K, N]` → `[.., M, N]`, leading dimensions and dtypes alike.
    fn matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Matmul for Flex {
    fn matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(a, b)
    }
}

#[cfg(feature = "cubecl-backend")]
mod cube {
    use burn::backend::TensorMetadata;
    use burn::backend::cubecl::dtype_to_storage_type;
    use burn::tensor::DType;
    use burn_cubecl::CubeBackend;
    use burn_cubecl::kernel::matmul::init_matmul_output;
    use burn_cubecl::tensor::CubeTensor;
    use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError};
    use cubek::matmul::launch::launch_ref;
    use cubek::matmul::multi_level::Strategy as Kernel;
    use cubek::matmul::strategy::Strategy;
    use cubek::std::InputBinding;

    use super::Matmul;

    /// Narrowest SIMD group of a real GPU. SwiftShader, with 4 lanes, runs no tiled kernel: it warns
    /// of a pointer type and leaves the output unwritten.
    const MIN_GPU_PLANE: u32 = 8;

    impl Matmul for CubeBackend {
        fn matmul(a: CubeTensor, b: CubeTensor) -> CubeTensor {
            let out = init_matmul_output(&a, &b, a.dtype);
            // Of several kernels, a later one stands in where the device cannot launch the first.
            let mut result = Ok(());
            for kernel in kernels(&out) {
                result = launch(kernel, &a, &b, &out);
                if result.is_ok() {
                    return out;
                }
            }
            // An unlaunched kernel leaves the output unwritten: better no result than that.
            panic!("no kernel for the matrix product {} · {}: {result:?}", a.shape(), b.shape())
        }
    }

    fn kernels(out: &CubeTensor) -> Vec<Kernel> {
        if out.client.properties().hardware.plane_size_max < MIN_GPU_PLANE {
            return vec![Kernel::Naive];
        }
        let on_matrix_units = Kernel::SimpleCyclicCmma(Default::default());
        let on_plain_units = Kernel::SimpleUnit(Default::default());
        match out.dtype {
            // Matrix units would round f32 to TF32.
            DType::F32 | DType::F64 => vec![on_plain_units],
            _ => vec![on_matrix_units, on_plain_units],
        }
    }

    fn launch(
        kernel: Kernel,
        a: &CubeTensor,
        b: &CubeTensor,
        out: &CubeTensor,
    ) -> Result<(), MatmulSetupError> {
        let storage = dtype_to_storage_type(out.dtype);
        let input = |tensor: &CubeTensor| InputBinding::new(tensor.clone().binding(), storage);
        let mut dtypes = MatmulElems::from_globals(&MatmulGlobalElems {
            lhs: storage,
            rhs: storage,
            out: storage,
        });
        launch_ref(
            &Strategy::MultiLevel(kernel),
            &out.client,
            input(a),
            input(b),
            out.clone().binding(),
            &mut dtypes,
        )
    }
}
