//! Parameters as ranges of flat buffers.
//!
//! A group (the embedding, a block, the last norm, the head) owns one contiguous buffer; the modules' parameters are
//! views of ranges of it, and gradients and moments use the same ranges. Optimizer steps, sharding and
//! checkpoints then work on a few buffers instead of on hundreds of tensors.
//!
//! Burn has no flat parameter of its own, and slicing a buffer inside the recorded graph would write a
//! buffer-sized zero tensor per slice in every backward pass. So the slices are taken outside the
//! graph and become the leaves: [`FlatParameters::install`] replaces each parameter's value by a view
//! (no copy where the backend's slice is a view), and [`FlatParameters::gather_gradients`] lays the
//! leaves' gradients side by side (one copy).

use std::ops::Range;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

/// One parameter's place in its group's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterRange {
    /// Path of the parameter in the module, as `layers.3.mlp.down_proj.weight`.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements in the group's buffer.
    pub range: Range<usize>,
}

/// The parameters that share one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterGroup {
    /// `embed_tokens`, `layers.N`, `norm` or `lm_head`.
    pub name: String,
    /// In module order, without gaps.
    pub ranges: Vec<ParameterRange>,
}

impl ParameterGroup {
    /// Number of elements of the buffer.
    pub fn len(&self) -> usize {
        self.ranges.last().map_or(0, |last| last.range.end)
    }

    /// Whether the group has no parameter.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// The flat buffers of a model, one `[len]` tensor without autodiff per group.
#[derive(Clone, Debug)]
pub struct FlatParameters {
    groups: Vec<ParameterGroup>,
    buffers: Vec<Tensor<1>>,
}

impl FlatParameters {
    /// Copies a model's parameters into flat buffers.
    pub fn from_model<M: Module>(model: &M) -> Self {
        let mut flattener = Flattener::default();
        model.visit(&mut flattener);
        let buffers = flattener.values.into_iter().map(|values| Tensor::cat(values, 0)).collect();
        Self { groups: flattener.groups, buffers }
    }

    /// The groups in module order.
    pub fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    /// The buffers in the order of [`groups`](Self::groups), each `[len]`.
    pub fn buffers(&self) -> &[Tensor<1>] {
        &self.buffers
    }

    /// Takes the buffers out for an update; give the new ones to [`set_buffers`](Self::set_buffers).
    pub fn take_buffers(&mut self) -> Vec<Tensor<1>> {
        std::mem::take(&mut self.buffers)
    }

    /// Puts updated buffers in place.
    ///
    /// # Panics
    /// When their number or lengths are not those of the groups.
    pub fn set_buffers(&mut self, buffers: Vec<Tensor<1>>) {
        let lengths = buffers.iter().map(|buffer| buffer.dims()[0]);
        assert!(
            lengths.eq(self.groups.iter().map(ParameterGroup::len)),
            "flat buffers must have the lengths of their groups"
        );
        self.buffers = buffers;
    }

    /// Makes every parameter of `model` a view of its range, as a fresh leaf on an autodiff device if
    /// the parameter was one.
    pub fn install<M: Module>(&self, model: M) -> M {
        model.map(&mut Installer { flat: self, group: 0, index: 0 })
    }

    /// The gradients of `model`'s parameters, one flat buffer per group. A parameter that the loss
    /// did not reach has a zero gradient.
    pub fn gather_gradients<M: Module>(
        &self,
        model: &M,
        gradients: &mut Gradients,
    ) -> Vec<Tensor<1>> {
        let mut collector = GradientCollector { gradients, values: Vec::new() };
        model.visit(&mut collector);
        let mut values = collector.values.into_iter();
        self.groups
            .iter()
            .map(|group| Tensor::cat(values.by_ref().take(group.ranges.len()).collect(), 0))
            .collect()
    }
}

/// Group of a module path: `layers.N` for blocks, else the first component.
fn group_name(path: &[String]) -> String {
    match path {
        [layers, index, ..] if layers == "layers" => format!("{layers}.{index}"),
        [first, ..] => first.clone(),
        [] => String::new(),
    }
}

#[derive(Default)]
struct Flattener {
    path: Vec<String>,
    groups: Vec<ParameterGroup>,
    values: Vec<Vec<Tensor<1>>>,
}

impl ModuleVisitor for Flattener {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = group_name(&self.path);
        if self.groups.last().is_none_or(|group| group.name != name) {
            self.groups.push(ParameterGroup { name, ranges: Vec::new() });
            self.values.push(Vec::new());
        }
        let group = self.groups.last_mut().expect("a group was pushed just above");
        let values = self.values.last_mut().expect("its values were pushed beside it");
        let value = param.val().inner();
        let shape = value.dims().to_vec();
        let start = group.len();
        let len = shape.iter().product::<usize>();
        group.ranges.push(ParameterRange {
            path: self.path.join("."),
            shape,
            range: start..start + len,
        });
        values.push(value.reshape([len]));
    }
}

struct Installer<'a> {
    flat: &'a FlatParameters,
    group: usize,
    index: usize,
}

impl ModuleMapper for Installer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let group = &self.flat.groups[self.group];
        let range = group.ranges[self.index].range.clone();
        let buffer = self.flat.buffers[self.group].clone();
        self.index += 1;
        if self.index == group.ranges.len() {
            (self.group, self.index) = (self.group + 1, 0);
        }
        param.map(|old| {
            let view = buffer.slice([range]).reshape(old.dims());
            if old.is_autodiff() { Tensor::from_inner(view).require_grad() } else { view }
        })
    }
}

struct GradientCollector<'a> {
    gradients: &'a mut Gradients,
    values: Vec<Tensor<1>>,
}

impl ModuleVisitor for GradientCollector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let len = value.shape().num_elements();
        let gradient = match value.grad_remove(self.gradients) {
            Some(gradient) => gradient.reshape([len]),
            None => Tensor::zeros([len], &value.device().inner()),
        };
        self.values.push(gradient);
    }
}
