//! Hugging Face safetensors, in and out. The names of that format live here and nowhere else.
//!
//! Hugging Face keeps q, k, v and gate, up apart; this crate packs each set into one matrix
//! `[out, in]` by stacking rows, so packing is a concatenation and unpacking a split.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::config::ModelConfig;
use crate::error::ConfigError;
use crate::model::{Matrix, TinyLlama};

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The folder's `config.json` is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file system said no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Neither `model.safetensors` nor `model.safetensors.index.json` is there.
    #[error("{}: no model.safetensors and no model.safetensors.index.json; name a folder in Hugging Face layout", .folder.display())]
    NoWeights {
        /// The folder searched.
        folder: PathBuf,
    },
    /// The file is not what its name says.
    #[error("{}: {detail}; the file is damaged or incomplete, fetch it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser found.
        detail: String,
    },
    /// A tensor that the config asks for is absent.
    #[error("{}: tensor `{name}` is missing; config.json describes another model than these weights", .folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// Hugging Face's name of the tensor.
        name: String,
    },
    /// A tensor has another shape than the config says.
    #[error("{}: tensor `{name}` has shape {found:?}, config.json needs {expected:?}", .folder.display())]
    Shape {
        /// The folder.
        folder: PathBuf,
        /// Hugging Face's name of the tensor.
        name: String,
        /// What the config says.
        expected: Vec<usize>,
        /// What the file holds.
        found: Vec<usize>,
    },
    /// A tensor is stored in a dtype that is not read.
    #[error("{}: tensor `{name}` is stored as {dtype}; F32, F16 and BF16 are read", .folder.display())]
    Dtype {
        /// The folder.
        folder: PathBuf,
        /// Hugging Face's name of the tensor.
        name: String,
        /// The dtype found.
        dtype: String,
    },
    /// A tensor that this model has no place for.
    #[error("{}: tensor `{name}` has no place in a Llama without biases; these weights are of another architecture", .folder.display())]
    Unexpected {
        /// The folder.
        folder: PathBuf,
        /// The tensor's name.
        name: String,
    },
}

/// Loads a folder in Hugging Face layout: `config.json` and `model.safetensors`, single or sharded.
///
/// Files are memory-mapped and converted to f32 one matrix at a time.
///
/// # Errors
/// Everything a damaged, incomplete or foreign folder can be: see [`WeightsError`].
pub fn load(folder: &Path, device: &Device) -> Result<TinyLlama, WeightsError> {
    let config = ModelConfig::from_file(&folder.join("config.json"))?;
    let files = map_files(folder)?;
    let mut tensors = HashMap::new();
    for (path, bytes) in &files {
        let file = SafeTensors::deserialize(bytes).map_err(|error| WeightsError::Damaged {
            path: path.clone(),
            detail: error.to_string(),
        })?;
        for (name, view) in file.tensors() {
            if tensors.insert(name.clone(), view).is_some() {
                let detail = format!("holds `{name}`, as a file before it does");
                return Err(WeightsError::Damaged { path: path.clone(), detail });
            }
        }
    }
    // Everything is checked before anything of the config's sizes is allocated.
    check_tensors(folder, &config, &tensors)?;
    let mut model = TinyLlama::build(&config, device, |matrix| {
        let packed = packed(&config, matrix);
        let rows = packed.iter().map(|part| part.rows).sum::<usize>();
        let columns = packed[0].columns;
        let values: Vec<f32> =
            packed.iter().flat_map(|part| to_f32(&tensors[&part.name])).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), device)
    });
    let norm = |name: &str| {
        let values = to_f32(&tensors[name]);
        Param::from_tensor(Tensor::from_data(TensorData::new(values, [config.hidden_size]), device))
    };
    for (index, layer) in model.layers.iter_mut().enumerate() {
        let [before, after] = layer_norm_names(index);
        layer.input_layernorm.weight = norm(&before);
        layer.post_attention_layernorm.weight = norm(&after);
    }
    model.norm.weight = norm(FINAL_NORM);
    Ok(model)
}

/// Writes `config.json` and `model.safetensors` (f32) into `folder`, which must exist.
///
/// # Errors
/// When a file cannot be written.
pub fn save(model: &TinyLlama, folder: &Path) -> Result<(), WeightsError> {
    let config = &ModelConfig { torch_dtype: "float32".to_owned(), ..model.config().clone() };
    config.save(&folder.join("config.json"))?;
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut put_matrix = |matrix: Matrix, value: Tensor<2>| {
        let mut start = 0;
        for part in packed(config, matrix) {
            let rows = value.clone().narrow(0, start, part.rows);
            start += part.rows;
            tensors.insert(part.name, (vec![part.rows, part.columns], f32_bytes(rows)));
        }
    };
    put_matrix(Matrix::EmbedTokens, model.embed_tokens.val());
    for (index, layer) in model.layers.iter().enumerate() {
        put_matrix(Matrix::QkvProj(index), layer.self_attn.qkv_proj.weight.val());
        put_matrix(Matrix::OProj(index), layer.self_attn.o_proj.weight.val());
        put_matrix(Matrix::GateUpProj(index), layer.mlp.gate_up_proj.weight.val());
        put_matrix(Matrix::DownProj(index), layer.mlp.down_proj.weight.val());
    }
    if let Some(head) = &model.lm_head {
        put_matrix(Matrix::LmHead, head.weight.val());
    }
    let mut put_norm = |name: String, value: Tensor<1>| {
        tensors.insert(name, (vec![config.hidden_size], f32_bytes(value)));
    };
    for (index, layer) in model.layers.iter().enumerate() {
        let [before, after] = layer_norm_names(index);
        put_norm(before, layer.input_layernorm.weight.val());
        put_norm(after, layer.post_attention_layernorm.weight.val());
    }
    put_norm(FINAL_NORM.to_owned(), model.norm.weight.val());

    let path = folder.join("model.safetensors");
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .expect("the byte length was computed from the shape");
        (name.clone(), view)
    });
    // transformers refuses files that do not name their framework.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), &path)
        .map_err(|error| WeightsError::Io { path, source: std::io::Error::other(error) })
}

const FINAL_NORM: &str = "model.norm.weight";

/// One Hugging Face matrix: a run of rows of a packed one.
struct Part {
    name: String,
    rows: usize,
    columns: usize,
}

/// The Hugging Face matrices that are stacked into `matrix`, top to bottom.
fn packed(config: &ModelConfig, matrix: Matrix) -> Vec<Part> {
    let (d, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let q = config.num_attention_heads * config.head_dim();
    let kv = config.num_key_value_heads * config.head_dim();
    let whole = |name: &str, rows, columns| vec![Part { name: name.to_owned(), rows, columns }];
    let in_layer = |layer: usize, parts: &[(&str, usize)], columns| {
        let part = |&(name, rows): &(&str, usize)| Part {
            name: format!("model.layers.{layer}.{name}.weight"),
            rows,
            columns,
        };
        parts.iter().map(part).collect()
    };
    match matrix {
        Matrix::EmbedTokens => whole("model.embed_tokens.weight", v, d),
        Matrix::LmHead => whole("lm_head.weight", v, d),
        Matrix::QkvProj(layer) => in_layer(
            layer,
            &[("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)],
            d,
        ),
        Matrix::OProj(layer) => in_layer(layer, &[("self_attn.o_proj", d)], q),
        Matrix::GateUpProj(layer) => {
            in_layer(layer, &[("mlp.gate_proj", f), ("mlp.up_proj", f)], d)
        }
        Matrix::DownProj(layer) => in_layer(layer, &[("mlp.down_proj", d)], f),
    }
}

fn layer_norm_names(layer: usize) -> [String; 2] {
    ["input_layernorm", "post_attention_layernorm"]
        .map(|norm| format!("model.layers.{layer}.{norm}.weight"))
}

/// Maps the weight files of a folder: the single one, or all that the index names.
fn map_files(folder: &Path) -> Result<Vec<(PathBuf, Mmap)>, WeightsError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    let paths = if single.exists() {
        vec![single]
    } else if index.exists() {
        sharded(folder, &index)?
    } else {
        return Err(WeightsError::NoWeights { folder: folder.to_owned() });
    };
    let map = |path: PathBuf| {
        let io = |source| WeightsError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        // SAFETY: the map is read-only and private to this call; a file that another process cuts
        // short meanwhile would fault, as it would for every reader of mapped weights.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok((path, map))
    };
    paths.into_iter().map(map).collect()
}

/// The shard files named by `model.safetensors.index.json`, each once.
fn sharded(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = fs::read_to_string(index)
        .map_err(|source| WeightsError::Io { path: index.to_owned(), source })?;
    let damaged = |detail: String| WeightsError::Damaged { path: index.to_owned(), detail };
    let parsed: Index = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let names: std::collections::BTreeSet<String> = parsed.weight_map.into_values().collect();
    if let Some(name) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref()))
    {
        return Err(damaged(format!("weight_map names `{name}`, which is no plain file name")));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Checks that every tensor the config asks for is there, with its shape and a dtype that is read, and
/// that no other one is.
fn check_tensors(
    folder: &Path,
    config: &ModelConfig,
    tensors: &HashMap<String, TensorView<'_>>,
) -> Result<(), WeightsError> {
    let folder = || folder.to_owned();
    let mut known = HashSet::new();
    for (name, expected) in expected_tensors(config) {
        let Some(view) = tensors.get(&name) else {
            return Err(WeightsError::Missing { folder: folder(), name });
        };
        if view.shape() != expected {
            let found = view.shape().to_vec();
            return Err(WeightsError::Shape { folder: folder(), name, expected, found });
        }
        if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let dtype = format!("{:?}", view.dtype());
            return Err(WeightsError::Dtype { folder: folder(), name, dtype });
        }
        known.insert(name);
    }
    // A tied checkpoint may still carry its head, a copy of the embedding, and older transformers
    // saved the rotary table, which is computed here.
    let is_extra = |name: &&String| {
        !known.contains(*name)
            && *name != "lm_head.weight"
            && !name.ends_with("rotary_emb.inv_freq")
    };
    match tensors.keys().filter(is_extra).min() {
        Some(name) => Err(WeightsError::Unexpected { folder: folder(), name: name.clone() }),
        None => Ok(()),
    }
}

/// Every tensor that the config asks for, with its shape. Made one by one: only the weights can tell
/// whether config.json exaggerates.
fn expected_tensors(config: &ModelConfig) -> impl Iterator<Item = (String, Vec<usize>)> {
    let norm = |name: String| (name, vec![config.hidden_size]);
    let matrix = |matrix| {
        packed(config, matrix).into_iter().map(|part| (part.name, vec![part.rows, part.columns]))
    };
    let head = (!config.tie_word_embeddings).then_some(Matrix::LmHead);
    let outer = [Matrix::EmbedTokens].into_iter().chain(head).flat_map(matrix);
    let layers = (0..config.num_hidden_layers).flat_map(move |layer| {
        let matrices = [
            Matrix::QkvProj(layer),
            Matrix::OProj(layer),
            Matrix::GateUpProj(layer),
            Matrix::DownProj(layer),
        ];
        layer_norm_names(layer).map(norm).into_iter().chain(matrices.into_iter().flat_map(matrix))
    });
    outer.chain([norm(FINAL_NORM.to_owned())]).chain(layers)
}

/// The elements of a tensor that `check_tensors` has passed.
fn to_f32(view: &TensorView<'_>) -> Vec<f32> {
    let bytes = view.data();
    let halves = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    match view.dtype() {
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect(),
        Dtype::F16 => halves().map(|pair| f16::from_le_bytes(pair).to_f32()).collect(),
        Dtype::BF16 => halves().map(|pair| bf16::from_le_bytes(pair).to_f32()).collect(),
        other => unreachable!("dtype {other:?} was refused before"),
    }
}

/// The values of a tensor as little-endian f32.
fn f32_bytes<const D: usize>(tensor: Tensor<D>) -> Vec<u8> {
    let data = tensor.inner().cast(FloatDType::F32).into_data();
    data.iter::<f32>().flat_map(f32::to_le_bytes).collect()
}
