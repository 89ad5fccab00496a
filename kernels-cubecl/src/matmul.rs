//! The matrix product under the reference implementations.

use burn::backend::Backend;
use burn::backend::ops::FloatTensorOps as _;
use burn::backend::tensor::FloatTensor;
use burn_flex::Flex;

/// A backend whose matrix products start at once.
///
/// Burn's own `float_matmul` on a CubeCL device times dozens of candidates for every new shape, about
/// five seconds each time on an H100: a first training step then takes minutes. Here the kernel
/// follows from the dtype alone.
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

    impl Matmul for CubeBackend {
        fn matmul(a: CubeTensor, b: CubeTensor) -> CubeTensor {
            let out = init_matmul_output(&a, &b, a.dtype);
            // Matrix units where the device has them for the dtype; f32 stays exact, without TF32.
            let with_matrix_units = Kernel::SimpleCyclicCmma(Default::default());
            let without = Kernel::SimpleUnit(Default::default());
            let result = match a.dtype {
                DType::F32 | DType::F64 => launch(without, &a, &b, &out),
                _ => launch(with_matrix_units, &a, &b, &out)
                    .or_else(|_| launch(without, &a, &b, &out)),
            };
            // An unlaunched kernel would leave the output unwritten: better no result than that.
            if let Err(error) = result {
                panic!("no kernel for the matrix product {} · {}: {error:?}", a.shape(), b.shape());
            }
            out
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
        let mut dtypes =
            MatmulElems::from_globals(&MatmulGlobalElems { lhs: storage, rhs: storage, out: storage });
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
