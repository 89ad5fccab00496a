//! One device against the CPU.
//!
//! The device is named by TINYLLAMA_TEST_DEVICE. On `cpu`, the default, most tests compare the CPU
//! with itself.

mod model;
mod operations;

use burn::tensor::{DType, Device};
use kernels_cubecl::DeviceSpec;

fn spec() -> DeviceSpec {
    let name = std::env::var("TINYLLAMA_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    name.parse().expect("TINYLLAMA_TEST_DEVICE names a device")
}

fn device() -> Device {
    spec().resolve().expect("the device of TINYLLAMA_TEST_DEVICE exists")
}

/// A binary with CUDA inside starts on a machine without its driver.
#[test]
fn an_absent_card_is_an_error() {
    let error = DeviceSpec::Cuda(99).resolve().unwrap_err().to_string();
    let expected = if cfg!(feature = "cuda") { "absent" } else { "--features cuda" };
    assert!(error.contains("cuda:99") && error.contains(expected), "{error}");
}

/// Whether a device computes in a dtype. cubecl-cpu claims bf16 on any CPU, but its compiler leaves
/// `__truncsfbf2` unresolved on one without AVX512-BF16. Vulkan claims f64, but SPIR-V has no exponential
/// and no logarithm of it: an H100's driver rounds the one to f32, and loses the device over the other.
fn supports(device: &Device, dtype: DType) -> bool {
    let is_broken = match spec() {
        DeviceSpec::CubeclCpu => dtype == DType::BF16,
        DeviceSpec::Vulkan(_) | DeviceSpec::Wgpu(_) => dtype == DType::F64,
        _ => false,
    };
    device.supports_dtype(dtype) && !is_broken
}
