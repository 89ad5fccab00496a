//! How each kernel is cut for a device: a small table, no timing at run time.
//!
//! Burn's autotune compiles and times dozens of candidates in the first step of a program. Here the
//! choice is made beforehand: `--example bench -- kernels --sweep` times every plan of a kernel, checks its
//! result and writes the winners; `plans.toml` in this crate holds those of the devices measured so far.
//! A file of one's own, named by `KERNELS_CUBECL_PLANS`, goes before it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, PoisonError, RwLock};

use burn::tensor::DType;
use cubecl::client::Client;
use cubecl::ir::features::Plane;
use cubecl::prelude::*;
use serde::{Deserialize, Serialize};

use super::launch::{cube_count, shares_memory, vector_width};
use super::reduce::RowUnits;

/// How a memory-bound kernel is cut. What a device cannot do is reduced to what it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Units that share a row; of kernels without rows, units of a cube. A power of two.
    pub units: u32,
    /// Bytes of one load of the main operand, at most 16.
    pub vector_bytes: u32,
    /// Rows of a cube; of kernels without rows, vectors of a unit; of reductions over rows, cubes per
    /// streaming multiprocessor.
    pub repeat: u32,
}

/// The kernels that have a plan, with what serves an unknown device.
const DEFAULTS: [(&str, Plan); 12] = [
    ("rms_norm", plan(256, 16, 1)),
    ("add_rms_norm", plan(256, 16, 1)),
    ("rms_norm_backward", plan(256, 16, 4)),
    ("rope", plan(256, 16, 1)),
    ("swiglu", plan(256, 16, 1)),
    ("swiglu_backward", plan(256, 16, 1)),
    ("cross_entropy", plan(256, 16, 1)),
    ("cross_entropy_backward", plan(256, 16, 1)),
    ("embedding", plan(256, 16, 1)),
    ("adamw", plan(256, 16, 1)),
    ("squared_norm", plan(256, 16, 4)),
    ("sample", plan(1024, 4, 1)),
];

const fn plan(units: u32, vector_bytes: u32, repeat: u32) -> Plan {
    Plan { units, vector_bytes, repeat }
}

/// Plans by the name of a device and of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanFile(pub BTreeMap<String, BTreeMap<String, Plan>>);

/// Why a file of plans is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// It is no table of plans.
    #[error("{}: {message}; sections are [\"DEVICE\".KERNEL] with units, vector_bytes and repeat", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        message: String,
    },
    /// A value is out of range, or a kernel has no plan.
    #[error("plan of `{kernel}`: {message}")]
    Invalid {
        /// The kernel.
        kernel: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

impl PlanFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The file is unreadable, malformed, or has a plan that no device could follow.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PlanError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Writes a file that [`read`](Self::read) reads.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), PlanError> {
        let text = toml::to_string(self).expect("maps of numbers are TOML");
        std::fs::write(path, text).map_err(|source| PlanError::Io { path: path.to_owned(), source })
    }

    fn parse(text: &str, path: &Path) -> Result<Self, PlanError> {
        let file: Self = toml::from_str(text).map_err(|error| PlanError::Malformed {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        for (kernel, plan) in file.0.values().flatten() {
            plan.validate(kernel)?;
        }
        Ok(file)
    }

    fn get(&self, device: &str, kernel: &str) -> Option<Plan> {
        self.0.get(device)?.get(kernel).copied()
    }
}

impl Plan {
    fn validate(&self, kernel: &str) -> Result<(), PlanError> {
        let invalid =
            |message: String| Err(PlanError::Invalid { kernel: kernel.to_owned(), message });
        if DEFAULTS.iter().all(|(name, _)| *name != kernel) {
            let known: Vec<&str> = DEFAULTS.iter().map(|(name, _)| *name).collect();
            return invalid(format!("no such kernel; there are {}", known.join(", ")));
        }
        let Self { units, vector_bytes, repeat } = *self;
        match (units.is_power_of_two() && units <= 1024, vector_bytes, repeat) {
            (false, ..) => invalid(format!("units is {units}; it is a power of two up to 1024")),
            (_, 1..=16, 1..=64) => Ok(()),
            (_, 1..=16, _) => invalid(format!("repeat is {repeat}; it is 1 to 64")),
            _ => invalid(format!("vector_bytes is {vector_bytes}; it is 1 to 16")),
        }
    }
}

struct Tables {
    /// Of this process, for every device.
    set: BTreeMap<String, Plan>,
    /// Of the user's file.
    loaded: PlanFile,
    shipped: PlanFile,
}

static TABLES: LazyLock<RwLock<Tables>> = LazyLock::new(|| {
    let shipped = PlanFile::parse(include_str!("plans.toml"), Path::new("plans.toml"))
        .expect("a test parses it");
    // `DeviceSpec::resolve` has refused a file that cannot be used.
    let loaded = of_environment().unwrap_or_else(|error| panic!("{ENVIRONMENT}: {error}"));
    RwLock::new(Tables { set: BTreeMap::new(), loaded, shipped })
});

/// The variable that names a file of plans.
const ENVIRONMENT: &str = "KERNELS_CUBECL_PLANS";

/// The plans of the file that the environment names, if it names one.
fn of_environment() -> Result<PlanFile, PlanError> {
    std::env::var_os(ENVIRONMENT)
        .map_or_else(|| Ok(PlanFile::default()), |path| PlanFile::read(Path::new(&path)))
}

/// Whether the file that the environment names, if any, can be used; else what is wrong with it.
pub(crate) fn check_environment() -> Result<(), String> {
    of_environment().map(drop).map_err(|error| format!("{ENVIRONMENT}: {error}"))
}

/// Cuts a kernel in one way on all devices of this process, from its next launch; `None` returns to the
/// tables.
///
/// # Errors
/// The kernel has no plan, or the plan is out of range.
pub fn set_plan(kernel: &str, plan: Option<Plan>) -> Result<(), PlanError> {
    let mut tables = TABLES.write().unwrap_or_else(PoisonError::into_inner);
    match plan {
        None => tables.set.remove(kernel),
        Some(plan) => {
            plan.validate(kernel)?;
            tables.set.insert(kernel.to_owned(), plan)
        }
    };
    Ok(())
}

/// Puts the plans of a file before those of this crate, in this process.
///
/// # Errors
/// As [`PlanFile::read`].
pub fn load_plans(path: &Path) -> Result<(), PlanError> {
    let file = PlanFile::read(path)?;
    TABLES.write().unwrap_or_else(PoisonError::into_inner).loaded = file;
    Ok(())
}

fn look_up(client: &Client, kernel: &str) -> Plan {
    let tables = TABLES.read().unwrap_or_else(PoisonError::into_inner);
    let device = &client.properties().identity.name;
    let in_tables = tables
        .set
        .get(kernel)
        .copied()
        .or_else(|| tables.loaded.get(device, kernel))
        .or_else(|| tables.shipped.get(device, kernel));
    let default = || DEFAULTS.iter().find(|(name, _)| *name == kernel).map(|(_, plan)| *plan);
    in_tables.or_else(default).expect("every kernel has a default")
}

/// A kernel over rows, cut for this call.
pub(crate) struct RowPlan {
    /// Elements per load.
    pub(crate) vector: usize,
    /// Units of a row and rows of a cube.
    pub(crate) row: RowUnits,
    /// The plan's `repeat`.
    pub(crate) repeat: u32,
}

impl RowPlan {
    pub(crate) fn cube_dim(&self) -> CubeDim {
        CubeDim::new_2d(self.row.units, self.row.rows)
    }

    /// Cubes for all of `rows`.
    pub(crate) fn cube_count(&self, client: &Client, rows: usize) -> CubeCount {
        cube_count(client, rows.div_ceil(self.row.rows as usize))
    }
}

/// Cuts a kernel over rows of `width` elements; `rows_per_cube` says whether `repeat` is that.
pub(crate) fn row_plan(
    client: &Client,
    kernel: &str,
    dtype: DType,
    width: usize,
    rows_per_cube: bool,
) -> RowPlan {
    let Plan { units, vector_bytes, repeat } = look_up(client, kernel);
    let vector = vector_width(client, dtype, vector_bytes, width);
    let plane = plane(client);
    let most = if shares_memory(client) { most_units(client) } else { plane.max(1) };
    // A row of few vectors needs few units; the rest of the cube takes other rows.
    let needed = (width / vector).max(1).next_power_of_two().min(1 << 10) as u32;
    let row_units = if shares_memory(client) { units.min(needed).min(most) } else { most };
    let wanted = if rows_per_cube { repeat.max(units / row_units) } else { 1 };
    let rows = wanted.min(most_units(client) / row_units).max(1);
    RowPlan { vector, row: RowUnits { units: row_units, rows, plane }, repeat }
}

/// A kernel over single vectors, cut for this call.
pub(crate) struct UnitPlan {
    /// Elements per load.
    pub(crate) vector: usize,
    /// Units of a cube.
    pub(crate) units: u32,
    /// The plan's `repeat`.
    pub(crate) repeat: u32,
}

impl UnitPlan {
    pub(crate) fn cube_dim(&self) -> CubeDim {
        CubeDim::new_1d(self.units)
    }

    /// Cubes for `vectors` in all.
    pub(crate) fn cube_count(&self, client: &Client, vectors: usize) -> CubeCount {
        cube_count(client, vectors.div_ceil(self.units as usize * self.repeat as usize))
    }
}

/// Cuts a kernel over vectors that do not cross a multiple of `width` elements.
pub(crate) fn unit_plan(client: &Client, kernel: &str, dtype: DType, width: usize) -> UnitPlan {
    let Plan { units, vector_bytes, repeat } = look_up(client, kernel);
    let vector = vector_width(client, dtype, vector_bytes, width);
    UnitPlan { vector, units: units.min(most_units(client)), repeat }
}

/// Units of a cube, a power of two; CubeCL's CPU runtime has one per core.
pub(crate) fn most_units(client: &Client) -> u32 {
    let hardware = &client.properties().hardware;
    1 << hardware.max_units_per_cube.min(hardware.max_cube_dim.0).max(1).ilog2()
}

/// Units of a plane, where all planes have that many; else 0.
fn plane(client: &Client) -> u32 {
    let properties = client.properties();
    let hardware = &properties.hardware;
    let uniform = hardware.plane_size_min == hardware.plane_size_max;
    match uniform && properties.features.plane.contains(Plane::Ops) {
        true => hardware.plane_size_max,
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_plans_are_valid() {
        PlanFile::parse(include_str!("plans.toml"), Path::new("plans.toml")).unwrap();
    }

    #[test]
    fn a_file_round_trips() {
        let path = std::env::temp_dir().join(format!("plans-{}.toml", std::process::id()));
        let of_device = BTreeMap::from([("rope".to_owned(), plan(128, 8, 2))]);
        let file = PlanFile(BTreeMap::from([("Some GPU (8 GB)".to_owned(), of_device)]));
        file.write(&path).unwrap();
        let read = PlanFile::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), file);
    }

    #[test]
    fn nonsense_is_named() {
        let parse =
            |text: &str| PlanFile::parse(text, Path::new("some.toml")).unwrap_err().to_string();
        let of = |kernel: &str, units: u32, bytes: u32, repeat: u32| {
            format!("[gpu.{kernel}]\nunits = {units}\nvector_bytes = {bytes}\nrepeat = {repeat}\n")
        };
        assert!(parse("[gpu.rope]\nunits = 3").contains("some.toml"));
        for (text, expected) in [
            (of("ropes", 64, 8, 1), "no such kernel"),
            (of("rope", 65, 8, 1), "units is 65"),
            (of("rope", 64, 32, 1), "vector_bytes is 32"),
            (of("rope", 64, 8, 0), "repeat is 0"),
        ] {
            let error = parse(&text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
