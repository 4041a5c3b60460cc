//! Writes GGUF files for tests.

use hwledger_core::ElementType;

const ALIGNMENT: usize = 32;

/// A file under construction.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    entries: Vec<u8>,
    entry_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn text(value: &str) -> Vec<u8> {
    let mut bytes = (value.len() as u64).to_le_bytes().to_vec();
    bytes.extend(value.as_bytes());
    bytes
}

/// The number of a type in `enum ggml_type`.
fn type_id(element_type: ElementType) -> u32 {
    match element_type {
        ElementType::F32 => 0,
        ElementType::F16 => 1,
        ElementType::Q4_0 => 2,
        ElementType::Q4_1 => 3,
        ElementType::Q5_0 => 6,
        ElementType::Q5_1 => 7,
        ElementType::Q8_0 => 8,
        ElementType::Q2K => 10,
        ElementType::Q3K => 11,
        ElementType::Q4K => 12,
        ElementType::Q5K => 13,
        ElementType::Q6K => 14,
        ElementType::Iq2Xxs => 16,
        ElementType::Iq2Xs => 17,
        ElementType::Iq3Xxs => 18,
        ElementType::Iq1S => 19,
        ElementType::Iq4Nl => 20,
        ElementType::Iq3S => 21,
        ElementType::Iq2S => 22,
        ElementType::Iq4Xs => 23,
        ElementType::Iq1M => 29,
        ElementType::BF16 => 30,
        ElementType::Tq1_0 => 34,
        ElementType::Tq2_0 => 35,
        ElementType::Mxfp4 => 39,
        ElementType::Nvfp4 => 40,
        ElementType::Q1_0 => 41,
        ElementType::Q2_0 => 42,
        other => panic!("the writer does not know the type {other}"),
    }
}

impl Writer {
    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.entries.extend(text(key));
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.entry_count += 1;
    }

    pub(crate) fn integer(&mut self, key: &str, value: u32) {
        self.entry(key, 4, &value.to_le_bytes());
    }

    pub(crate) fn float(&mut self, key: &str, value: f32) {
        self.entry(key, 6, &value.to_le_bytes());
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.entry(key, 7, &[u8::from(value)]);
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.entry(key, 8, &text(value));
    }

    fn array(&mut self, key: &str, kind: u32, length: usize, elements: impl Iterator<Item = u8>) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((length as u64).to_le_bytes());
        bytes.extend(elements);
        self.entry(key, 9, &bytes);
    }

    pub(crate) fn integers(&mut self, key: &str, values: &[i32]) {
        self.array(key, 5, values.len(), values.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[String]) {
        self.array(key, 8, values.len(), values.iter().flat_map(|value| text(value)));
    }

    /// A tensor, its contiguous extent first.
    pub(crate) fn tensor(&mut self, name: &str, element_type: ElementType, extents: &[usize], bytes: &[u8]) {
        let (block, size) = element_type.block();
        let elements: usize = extents.iter().product();
        assert_eq!(bytes.len() as u64, elements as u64 / block * size, "{name} has the bytes of its shape");
        self.tensors.extend(text(name));
        self.tensors.extend(u32::try_from(extents.len()).unwrap().to_le_bytes());
        self.tensors.extend(extents.iter().flat_map(|&extent| (extent as u64).to_le_bytes()));
        self.tensors.extend(type_id(element_type).to_le_bytes());
        self.tensors.extend((self.data.len() as u64).to_le_bytes());
        self.tensor_count += 1;
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.entry_count.to_le_bytes());
        bytes.extend(&self.entries);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(&self.data);
        bytes
    }
}
