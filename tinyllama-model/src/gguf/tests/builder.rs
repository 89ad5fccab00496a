//! Builds the bytes of a GGUF file from the specification alone, right or wrong as a test wants them.

/// GGUF's numbers of value types.
pub(super) const UINT8: u32 = 0;
pub(super) const INT8: u32 = 1;
pub(super) const UINT32: u32 = 4;
pub(super) const INT32: u32 = 5;
pub(super) const FLOAT32: u32 = 6;
pub(super) const BOOL: u32 = 7;
pub(super) const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;
pub(super) const UINT64: u32 = 10;
pub(super) const FLOAT64: u32 = 12;

/// GGML's numbers of element types.
pub(super) const F32: u32 = 0;
pub(super) const Q4_0: u32 = 2;

/// A tensor's entry; its bytes are part of [`File::data`].
#[derive(Clone)]
pub(super) struct Tensor {
    pub(super) name: Vec<u8>,
    /// Fastest first, as the file has them.
    pub(super) dimensions: Vec<u64>,
    pub(super) code: u32,
    pub(super) offset: u64,
}

/// A file whose every part can be set.
#[derive(Clone)]
pub(super) struct File {
    pub(super) magic: [u8; 4],
    pub(super) version: u32,
    pub(super) tensor_count: Option<u64>,
    pub(super) key_count: Option<u64>,
    /// Key, number of the type, bytes of the value.
    pub(super) keys: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub(super) tensors: Vec<Tensor>,
    pub(super) alignment: usize,
    pub(super) data: Vec<u8>,
}

impl File {
    /// Without keys and tensors.
    pub(super) fn empty() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            keys: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            data: Vec::new(),
        }
    }

    /// A Llama of D = 4, F = 8, N = 2, K = 1, one layer and four tokens, with three tensors.
    pub(super) fn llama() -> Self {
        let mut file = Self::empty();
        file.string("general.architecture", "llama");
        file.uint32("llama.context_length", 16);
        file.uint32("llama.embedding_length", 4);
        file.uint32("llama.block_count", 1);
        file.uint32("llama.feed_forward_length", 8);
        file.uint32("llama.attention.head_count", 2);
        file.uint32("llama.attention.head_count_kv", 1);
        file.float32("llama.attention.layer_norm_rms_epsilon", 1e-5);
        file.string("tokenizer.ggml.model", "llama");
        file.strings("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "▁a"]);
        file.floats("tokenizer.ggml.scores", &[0.0, 0.0, 0.0, -1.5]);
        file.int32s("tokenizer.ggml.token_type", &[2, 3, 3, 1]);
        file.uint32("tokenizer.ggml.bos_token_id", 1);
        file.uint32("tokenizer.ggml.eos_token_id", 2);
        file.string("tokenizer.chat_template", "{{ messages }}");
        file.tensor("token_embd.weight", &[4, 4], F32, 64);
        file.tensor("blk.0.ffn_down.weight", &[32, 2], Q4_0, 36);
        file.tensor("output_norm.weight", &[4], F32, 16);
        file
    }

    /// Sets a key to a value of any type and bytes, replacing one of the same name.
    pub(super) fn set(&mut self, key: &str, kind: u32, value: Vec<u8>) -> &mut Self {
        let pair = (key.as_bytes().to_vec(), kind, value);
        match self.keys.iter().position(|(known, ..)| known == key.as_bytes()) {
            Some(index) => self.keys[index] = pair,
            None => self.keys.push(pair),
        }
        self
    }

    pub(super) fn without(&mut self, key: &str) -> &mut Self {
        self.keys.retain(|(known, ..)| known != key.as_bytes());
        self
    }

    pub(super) fn string(&mut self, key: &str, value: &str) -> &mut Self {
        self.set(key, STRING, text(value.as_bytes()))
    }

    pub(super) fn uint32(&mut self, key: &str, value: u32) -> &mut Self {
        self.set(key, UINT32, value.to_le_bytes().to_vec())
    }

    pub(super) fn float32(&mut self, key: &str, value: f32) -> &mut Self {
        self.set(key, FLOAT32, value.to_le_bytes().to_vec())
    }

    pub(super) fn bool(&mut self, key: &str, value: u8) -> &mut Self {
        self.set(key, BOOL, vec![value])
    }

    pub(super) fn strings(&mut self, key: &str, values: &[&str]) -> &mut Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| text(value.as_bytes())).collect();
        self.set(key, ARRAY, array(STRING, values.len() as u64, &elements))
    }

    pub(super) fn floats(&mut self, key: &str, values: &[f32]) -> &mut Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.set(key, ARRAY, array(FLOAT32, values.len() as u64, &elements))
    }

    pub(super) fn int32s(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.set(key, ARRAY, array(INT32, values.len() as u64, &elements))
    }

    /// Appends a tensor whose `len` bytes are 0, 1, 2 and so on.
    pub(super) fn tensor(
        &mut self,
        name: &str,
        dimensions: &[u64],
        code: u32,
        len: usize,
    ) -> &mut Self {
        pad(&mut self.data, self.alignment);
        self.tensors.push(Tensor {
            name: name.as_bytes().to_vec(),
            dimensions: dimensions.to_vec(),
            code,
            offset: self.data.len() as u64,
        });
        self.data.extend((0..len).map(|index| index as u8));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        let tensor_count = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        bytes.extend(tensor_count.to_le_bytes());
        bytes.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.keys {
            bytes.extend(text(key));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        for tensor in &self.tensors {
            bytes.extend(text(&tensor.name));
            bytes.extend((tensor.dimensions.len() as u32).to_le_bytes());
            bytes.extend(tensor.dimensions.iter().flat_map(|size| size.to_le_bytes()));
            bytes.extend(tensor.code.to_le_bytes());
            bytes.extend(tensor.offset.to_le_bytes());
        }
        if !self.tensors.is_empty() {
            pad(&mut bytes, self.alignment);
            bytes.extend(&self.data);
        }
        bytes
    }
}

/// A length and bytes.
pub(super) fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// The value of an array that says to have `count` elements.
pub(super) fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}
