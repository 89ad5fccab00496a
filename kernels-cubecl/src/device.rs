//! Naming a device on a command line, and saying which one it is.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
#[cfg(feature = "cubecl-backend")]
use burn::{backend::DispatchDevice, tensor::DeviceType};

/// A device as a user writes it: `auto`, `cpu`, `cuda[:N]`, `vulkan[:N]`, `wgpu[:N]` or `cubecl-cpu`.
///
/// Every name parses in every build; [`resolve`](Self::resolve) says what is missing. A named device
/// is that device or an error, never another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSpec {
    /// The first CUDA device, else the first real GPU behind wgpu, else the CPU.
    Auto,
    /// The CPU backend (Flex), always compiled in.
    Cpu,
    /// CubeCL's kernels compiled for the CPU: for testing kernels where there is no GPU.
    CubeclCpu,
    /// The N-th CUDA device.
    Cuda(usize),
    /// The N-th Vulkan adapter, kernels in SPIR-V.
    Vulkan(usize),
    /// The N-th adapter of wgpu, on the graphics API wgpu chooses.
    Wgpu(usize),
}

/// Why a [`DeviceSpec`] names no usable device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The text is no device name.
    #[error(
        "device `{name}` is unknown; write auto, cpu, cuda[:N], vulkan[:N], wgpu[:N] or cubecl-cpu"
    )]
    Unknown {
        /// The text.
        name: String,
    },
    /// The backend is not part of this build.
    #[error(
        "device `{spec}` needs a build with `--features {feature}`; this one has {}",
        compiled_backends().join(", ")
    )]
    NotCompiled {
        /// The device asked for.
        spec: DeviceSpec,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// The machine has no such device.
    #[error(
        "device `{spec}` is absent: this machine has {found} of that kind; try another index, or cpu"
    )]
    Absent {
        /// The device asked for.
        spec: DeviceSpec,
        /// How many of its kind were found.
        found: usize,
    },
    /// `KERNELS_CUBECL_PLANS` names a file that cannot be used.
    #[error("{message}; mend the file or unset the variable")]
    Plans {
        /// The variable, the file and what is wrong with it.
        message: String,
    },
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { name: text.to_owned() };
        let (kind, index) = match text.split_once(':') {
            Some((kind, index)) => (kind, Some(index.parse::<usize>().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (kind, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("cubecl-cpu", None) => Ok(Self::CubeclCpu),
            ("cuda", index) => Ok(Self::Cuda(index.unwrap_or(0))),
            ("vulkan", index) => Ok(Self::Vulkan(index.unwrap_or(0))),
            ("wgpu", index) => Ok(Self::Wgpu(index.unwrap_or(0))),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Cpu => write!(f, "cpu"),
            Self::CubeclCpu => write!(f, "cubecl-cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
        }
    }
}

impl DeviceSpec {
    /// The device, without autodiff.
    ///
    /// # Errors
    /// When its backend is not compiled in, the machine has no such device, or the file of plans that
    /// `KERNELS_CUBECL_PLANS` names is wrong.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        #[cfg(feature = "cubecl-backend")]
        crate::cube::check_environment().map_err(|message| DeviceError::Plans { message })?;
        match self {
            Self::Auto => Ok(automatic()),
            Self::Cpu => Ok(Device::flex()),
            Self::CubeclCpu => self.nth(Kind::CubeclCpu.devices(), "cubecl-cpu", 0),
            Self::Cuda(index) => self.nth(Kind::Cuda.devices(), "cuda", index),
            Self::Vulkan(index) => self.nth(Kind::Vulkan.devices(), "vulkan", index),
            Self::Wgpu(index) => self.nth(Kind::Wgpu.devices(), "wgpu", index),
        }
    }

    fn nth(
        self,
        devices: Option<Vec<Device>>,
        feature: &'static str,
        index: usize,
    ) -> Result<Device, DeviceError> {
        let devices = devices.ok_or(DeviceError::NotCompiled { spec: self, feature })?;
        let found = devices.len();
        devices.into_iter().nth(index).ok_or(DeviceError::Absent { spec: self, found })
    }
}

/// The backends of this build, by the feature that brings them; `flex` is always there.
pub fn compiled_backends() -> Vec<&'static str> {
    let all = [
        ("flex", true),
        ("wgpu", cfg!(feature = "wgpu")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("metal", cfg!(feature = "metal")),
        ("webgpu", cfg!(feature = "webgpu")),
        ("cuda", cfg!(feature = "cuda")),
        ("cuda-cpp", cfg!(feature = "cuda-cpp")),
        ("cubecl-cpu", cfg!(feature = "cubecl-cpu")),
    ];
    all.into_iter().filter_map(|(name, compiled)| compiled.then_some(name)).collect()
}

/// One line for the user: the backend, the adapter, and what compiles its kernels.
pub fn describe(device: &Device) -> String {
    #[cfg(feature = "cubecl-backend")]
    if let DispatchDevice::Cube(cube) = device.as_dispatch() {
        let client = cube.client();
        let adapter = &client.properties().identity;
        let cuda_compiler = if cfg!(feature = "cuda-cpp") { "NVRTC" } else { "LLVM" };
        return match client.name() {
            "cuda" => {
                format!("CUDA on {} ({cuda_compiler}, {})", adapter.name, adapter.fingerprint)
            }
            // `cpu`, or wgpu with the shader language it settled on, as `wgpu<spirv>`.
            runtime => format!("{runtime} on {} (CubeCL)", adapter.name),
        };
    }
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    match is_host(device) {
        true => format!("Flex on the CPU ({threads} threads, native code)"),
        false => format!("{device:?}"),
    }
}

/// The adapter as it names itself; plans of kernels are kept under this name.
#[cfg(feature = "cubecl-backend")]
pub fn adapter_name(device: &Device) -> String {
    match device.as_dispatch() {
        DispatchDevice::Cube(cube) => cube.client().properties().identity.name.clone(),
        _ => "CPU".to_owned(),
    }
}

/// Whether tensors of the device lie in the host's memory and Flex computes with them.
pub fn is_host(device: &Device) -> bool {
    *device == Device::flex()
}

fn automatic() -> Device {
    let first = |kind: Kind| kind.devices().and_then(|devices| devices.into_iter().next());
    first(Kind::Cuda).or_else(first_card).unwrap_or_else(Device::flex)
}

/// The first wgpu adapter that is a card: software rasterizers are slower than the CPU backend.
#[cfg(feature = "wgpu")]
fn first_card() -> Option<Device> {
    let is_card = |device: &Device| device.identity().is_some_and(|id| id.physical.is_some());
    Kind::Wgpu.devices()?.into_iter().find(is_card)
}

#[cfg(not(feature = "wgpu"))]
fn first_card() -> Option<Device> {
    None
}

/// A kind of device that may be compiled in.
#[derive(Clone, Copy)]
enum Kind {
    CubeclCpu,
    Cuda,
    Vulkan,
    Wgpu,
}

impl Kind {
    /// All devices of this kind on the machine; `None` when the build lacks the backend.
    fn devices(self) -> Option<Vec<Device>> {
        match self {
            #[cfg(feature = "cubecl-cpu")]
            Self::CubeclCpu => Some(Device::enumerate(DeviceType::Cpu).into_vec()),
            #[cfg(any(feature = "cuda", feature = "cuda-cpp"))]
            Self::Cuda => Some(Device::enumerate(DeviceType::Cuda).into_vec()),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(Device::enumerate(DeviceType::Vulkan).into_vec()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(Device::enumerate(DeviceType::Wgpu).into_vec()),
            #[allow(unreachable_patterns, reason = "reached by the kinds that are not compiled in")]
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["auto", "cpu", "cubecl-cpu", "cuda:1", "vulkan:0", "wgpu:2"] {
            assert_eq!(name.parse::<DeviceSpec>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(DeviceSpec::Cuda(0)));
    }

    #[test]
    fn nonsense_is_named() {
        for name in ["gpu", "cuda:", "cuda:-1", "cpu:1", ""] {
            let error = name.parse::<DeviceSpec>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn an_absent_device_is_never_replaced() {
        let error = DeviceSpec::Cuda(4096).resolve().unwrap_err();
        let expected = match cfg!(any(feature = "cuda", feature = "cuda-cpp")) {
            true => "is absent",
            false => "--features cuda",
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
