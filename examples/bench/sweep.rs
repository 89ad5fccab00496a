//! Times every plan of a kernel and keeps the fastest.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use burn::tensor::{DType, Device};
use kernels_cubecl::{Plan, PlanFile, adapter_name, load_plans, set_plan};
use serde_json::json;

use crate::cases::{Case, Sizes};
use crate::command_line::say;
use crate::data::Data;
use crate::timing::{error, time};

/// Adds the winners to `file`, and uses them from here on.
pub(crate) fn sweep(
    cases: &[Case],
    device: &Device,
    dtype: DType,
    sizes: Sizes,
    file: &Path,
    json: bool,
) -> Result<()> {
    let mut winners = match file.exists() {
        true => PlanFile::read(file)?,
        false => PlanFile::default(),
    };
    let mut best: BTreeMap<&str, (f64, Plan)> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.plan.is_some()) {
        let kernel = case.plan.expect("filtered");
        let data = Data::random(device, dtype);
        for plan in plans(kernel) {
            set_plan(kernel, Some(plan))?;
            error(case, device, dtype, sizes)?;
            let mut run = (case.build)(&data, sizes);
            let seconds = time(device, || drop(run(false)));
            let Plan { units, vector_bytes, repeat } = plan;
            let ms = seconds * 1e3;
            match json {
                true => say(json!({
                    "kernel": kernel, "units": units, "vector_bytes": vector_bytes,
                    "repeat": repeat, "ms": ms,
                })),
                false => say(format_args!(
                    "{kernel:<24} units {units:>4}  bytes {vector_bytes:>2}  repeat {repeat:>2}  {ms:>8.4} ms"
                )),
            }
            if best.get(kernel).is_none_or(|(fastest, _)| seconds < *fastest) {
                best.insert(kernel, (seconds, plan));
            }
        }
        set_plan(kernel, None)?;
        // After every kernel: a sweep takes minutes, and one that is ended early is not lost.
        let of_device = winners.0.entry(adapter_name(device)).or_default();
        of_device.extend(best.get(kernel).map(|(_, plan)| (kernel.to_owned(), *plan)));
        winners.write(file)?;
    }
    load_plans(file)?;
    Ok(())
}

/// What is tried: reductions over rows want few cubes, everything else few vectors per unit.
fn plans(kernel: &str) -> Vec<Plan> {
    let repeats: &[u32] = match kernel {
        "rms_norm_backward" | "squared_norm" => &[1, 2, 4, 8, 16],
        _ => &[1, 2, 4],
    };
    let all_units = [32, 64, 128, 256, 512, 1024];
    let of_units = |units| {
        repeats.iter().flat_map(move |&repeat| {
            [8, 16].map(|vector_bytes| Plan { units, vector_bytes, repeat })
        })
    };
    all_units.into_iter().flat_map(of_units).collect()
}
