//! Arbitrary safetensors files, whole, cut short and changed.

use std::collections::BTreeMap;
use std::fs;

use ::safetensors::Dtype;
use ::safetensors::tensor::TensorView;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

use super::super::{Tensors, WeightsError};
use crate::config::ModelConfig;

fn settings() -> ProptestConfig {
    // The same cases in every run, and no file beside the sources.
    let (rng_seed, failure_persistence) = (RngSeed::Fixed(1), None);
    ProptestConfig { cases: 64, rng_seed, failure_persistence, ..ProptestConfig::default() }
}

type Content = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn content() -> impl Strategy<Value = Content> {
    let dtypes = select(vec![(Dtype::F32, 4), (Dtype::F16, 2), (Dtype::BF16, 2)]);
    let tensor = (dtypes, vec(0usize..4, 0..=3), vec(any::<u8>(), 41)).prop_map(
        |((dtype, size), shape, pattern)| {
            let len = size * shape.iter().product::<usize>();
            let bytes = pattern.into_iter().cycle().take(len).collect();
            (dtype, shape, bytes)
        },
    );
    btree_map("[^_]{1,20}", tensor, 0..6)
}

fn file(content: &Content) -> Vec<u8> {
    let views = content.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    ::safetensors::serialize(views, None).unwrap()
}

/// Everything that opening a folder with this file looks at.
fn read(folder: &tempfile::TempDir, bytes: &[u8]) -> Result<Tensors, WeightsError> {
    // A new file for each: the map of the last one may still be there.
    let path = folder.path().join("model.safetensors");
    fs::remove_file(&path).ok();
    fs::write(&path, bytes).unwrap();
    let tensors = Tensors::from_folder(folder.path())?;
    tensors.require_finite().ok();
    tensors.check(&ModelConfig::demo()).ok();
    tensors.by_name.values().for_each(|tensor| drop(tensor.to_f32()));
    Ok(tensors)
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_file_is_read_as_it_was_written_or_refused(
        content in content(),
        cuts in vec(any::<Index>(), 32),
        changes in vec((any::<Index>(), 1u8..), 32),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let whole = file(&content);
        let tensors = read(&folder, &whole).unwrap();
        prop_assert_eq!(tensors.by_name.len(), content.len());
        for (name, (dtype, shape, bytes)) in &content {
            let tensor = &tensors.by_name[name];
            prop_assert_eq!(&tensor.shape, shape);
            prop_assert_eq!(tensor.format.to_string(), format!("{dtype:?}"));
            prop_assert_eq!(&tensor.bytes[..], &bytes[..]);
        }
        for cut in cuts {
            let refused = read(&folder, &whole[..cut.index(whole.len())]).is_err();
            prop_assert!(refused, "a part of {} bytes", cut.index(whole.len()));
        }
        for (at, change) in changes {
            let mut bytes = whole.clone();
            bytes[at.index(whole.len())] ^= change;
            read(&folder, &bytes).ok();
        }
    }
}
