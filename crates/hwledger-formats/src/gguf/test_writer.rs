//! Writes GGUF headers for tests.

/// A header under construction.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    entries: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
    ends: Vec<u64>,
    pub(crate) version: u32,
}

fn text(value: &str) -> Vec<u8> {
    let mut bytes = (value.len() as u64).to_le_bytes().to_vec();
    bytes.extend(value.as_bytes());
    bytes
}

impl Writer {
    pub(crate) fn new(architecture: &str) -> Self {
        let mut writer = Self { version: 3, ..Self::default() };
        writer.text("general.architecture", architecture);
        writer
    }

    pub(crate) fn entry(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        let mut bytes = text(key);
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
        self.entries.push(bytes);
        self
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.entry(key, 8, &text(value))
    }

    pub(crate) fn number(&mut self, key: &str, value: u32) -> &mut Self {
        self.entry(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn numbers(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let mut bytes = 5_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.entry(key, 9, &bytes)
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[&str]) -> &mut Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| text(value)));
        self.entry(key, 9, &bytes)
    }

    /// A tensor of F32 (0), F16 (1) or `Q4_K` (12), placed behind the one before.
    pub(crate) fn tensor(&mut self, name: &str, kind: u32, dimensions: &[u64]) -> &mut Self {
        let elements: u64 = dimensions.iter().product();
        let bytes = match kind {
            0 => elements * 4,
            1 => elements * 2,
            12 => elements / 256 * 144,
            other => panic!("the test writer does not know type {other}"),
        };
        let offset = self.data_bytes();
        self.tensors.push((name.to_owned(), dimensions.to_vec(), kind, offset));
        self.ends.push(offset + bytes.next_multiple_of(32));
        self
    }

    /// The same with the type and offset as given.
    pub(crate) fn raw_tensor(&mut self, name: &str, kind: u32, dimensions: &[u64], offset: u64) -> &mut Self {
        self.tensors.push((name.to_owned(), dimensions.to_vec(), kind, offset));
        self
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        bytes.extend(self.entries.iter().flatten());
        for (name, dimensions, kind, offset) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
            bytes.extend(dimensions.iter().flat_map(|extent| extent.to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes
    }
}

/// A small Llama with `layers` layers and tied embeddings, in `Q4_K`.
pub(crate) fn llama(layers: u32) -> Writer {
    let mut writer = Writer::new("llama");
    writer
        .number("llama.block_count", layers)
        .number("llama.context_length", 8192)
        .number("llama.embedding_length", 512)
        .number("llama.feed_forward_length", 1024)
        .number("llama.attention.head_count", 8)
        .number("llama.attention.head_count_kv", 2)
        .number("general.file_type", 15)
        .texts("tokenizer.ggml.tokens", &["a", "bc", ""])
        .tensor("token_embd.weight", 12, &[512, 1000])
        .tensor("output_norm.weight", 0, &[512]);
    for layer in 0..layers {
        let name = |rest: &str| format!("blk.{layer}.{rest}.weight");
        writer
            .tensor(&name("attn_norm"), 0, &[512])
            .tensor(&name("attn_q"), 12, &[512, 512])
            .tensor(&name("attn_k"), 12, &[512, 128])
            .tensor(&name("attn_v"), 1, &[512, 128])
            .tensor(&name("attn_output"), 12, &[512, 512])
            .tensor(&name("ffn_norm"), 0, &[512])
            .tensor(&name("ffn_gate"), 12, &[512, 1024])
            .tensor(&name("ffn_up"), 12, &[512, 1024])
            .tensor(&name("ffn_down"), 12, &[1024, 512]);
    }
    writer
}
