//! Measures: `cargo run --release --example bench -- kernels`, or `-- train`.

mod cases;
#[path = "../command_line/mod.rs"]
mod command_line;
mod data;
mod report;
#[cfg(any(feature = "cuda", feature = "cuda-cpp", feature = "wgpu", feature = "cubecl-cpu"))]
mod sweep;
mod timing;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};
use clap::{Args, Parser, Subcommand, ValueEnum};
use kernels_cubecl::{DeviceSpec, describe, is_host};

use command_line::{exit_code, say};

/// Measure the speed of kernels and of training
///
/// Kernels are checked before they are timed: results are compared with the CPU's in f64, and a wrong one
/// ends the program.
#[derive(Parser, Debug)]
struct CommandLine {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Time the operations of kernels-cubecl beside the device's copy bandwidth
    Kernels(Kernels),
    /// Time training steps on a random walk of tokens
    Train(train::Train),
}

#[derive(Args, Debug)]
struct Kernels {
    /// Only these operations, forward and backward; without it, all
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    op: Vec<String>,
    /// auto, cpu, cuda[:N], vulkan[:N], wgpu[:N] or cubecl-cpu
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
    /// Element types; without it, bf16 and f32 where the device has them
    #[arg(long, value_enum, value_delimiter = ',')]
    dtype: Vec<Dtype>,
    /// Rows, tokens of a batch; without it 16384 on a GPU and 512 on a CPU
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    /// Time every plan of each kernel and write the fastest to FILE, which KERNELS_CUBECL_PLANS may name
    #[arg(long, value_name = "FILE")]
    sweep: Option<PathBuf>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dtype {
    Bf16,
    F16,
    F32,
}

impl Dtype {
    fn dtype(self) -> DType {
        match self {
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
            Self::F32 => DType::F32,
        }
    }
}

fn main() -> ExitCode {
    exit_code(match CommandLine::parse().what {
        What::Kernels(args) => kernels(&args),
        What::Train(args) => train::train(&args),
    })
}

fn kernels(args: &Kernels) -> Result<()> {
    let device = args.device.resolve()?;
    let on_cpu = is_host(&device) || args.device == DeviceSpec::CubeclCpu;
    let rows = args.rows.unwrap_or(if on_cpu { 512 } else { 16_384 });
    if rows == 0 {
        bail!("--rows is 0; give at least 1");
    }
    let sizes = if on_cpu { cases::Sizes::small(rows) } else { cases::Sizes::tinyllama(rows) };
    let dtypes: Vec<DType> = match args.dtype.as_slice() {
        [] if on_cpu => vec![DType::F32],
        [] => vec![DType::BF16, DType::F32],
        some => some.iter().map(|dtype| dtype.dtype()).collect(),
    };
    let cases = cases::select(&args.op)?;
    if !args.json {
        say(describe(&device));
    }
    for dtype in dtypes {
        if !device.supports_dtype(dtype) {
            if args.dtype.is_empty() {
                continue;
            }
            bail!("--dtype {dtype:?}: this device has no such element type");
        }
        let copy = timing::copy_gb_per_s(&device, dtype, sizes);
        if let Some(file) = &args.sweep {
            sweep(&cases, &device, dtype, sizes, file, args.json)?;
        }
        let mut table = report::Report::new(args.json, copy);
        for case in &cases {
            table.add(timing::measure(case, &device, dtype, sizes)?);
        }
    }
    Ok(())
}

#[cfg(any(feature = "cuda", feature = "cuda-cpp", feature = "wgpu", feature = "cubecl-cpu"))]
fn sweep(
    cases: &[cases::Case],
    device: &Device,
    dtype: DType,
    sizes: cases::Sizes,
    file: &std::path::Path,
    json: bool,
) -> Result<()> {
    if is_host(device) {
        bail!("--sweep: Flex has no plans; name a device of CubeCL");
    }
    sweep::sweep(cases, device, dtype, sizes, file, json)
}

#[cfg(not(any(feature = "cuda", feature = "cuda-cpp", feature = "wgpu", feature = "cubecl-cpu")))]
fn sweep(
    _: &[cases::Case],
    _: &Device,
    _: DType,
    _: cases::Sizes,
    _: &std::path::Path,
    _: bool,
) -> Result<()> {
    bail!("--sweep: Flex has no plans; build with a GPU feature")
}
