//! Pages of keys and values: the memory, and how a token is written to it and read from it.
//!
//! A page holds the keys and values of [`PAGE_TOKENS`] tokens of one sequence, of every layer. Within
//! a page each layer's each head has a stretch of its own: keys as `[element][token]`, so that scores
//! of all its tokens are computed side by side, then values as `[token][element]`.

use std::io;

use crate::elementwise::for_every_set;
use crate::half::{f16_from_f32, f32_from_f16};
use crate::instruction_set::InstructionSet;
use crate::memory::Buffer;
use crate::pool::Pool;

/// Tokens of one page.
pub const PAGE_TOKENS: usize = 32;
/// Elements that share a scale in the 8-bit form.
const BLOCK: usize = 32;
/// Bytes of pages that are taken from the system at a time, at least one page.
const SEGMENT_BYTES: usize = 4 << 20;

/// How a cache holds its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheFormat {
    /// Half precision.
    F16,
    /// 8 bits in blocks of 32 elements with a half-precision scale.
    Q8,
}

impl CacheFormat {
    /// Bytes of one head's `elements` elements for a page of tokens.
    const fn page_bytes(self, elements: usize) -> usize {
        match self {
            Self::F16 => elements * PAGE_TOKENS * 2,
            Self::Q8 => elements * PAGE_TOKENS + elements.div_ceil(BLOCK) * PAGE_TOKENS * 2,
        }
    }
}

/// What one layer keeps per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerShape {
    /// Key and value heads.
    pub heads: usize,
    /// Elements of a key.
    pub key: usize,
    /// Elements of a value; zero where the value is the start of the key (latent attention).
    pub value: usize,
}

/// What a page holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageShape {
    format: CacheFormat,
    layers: Vec<LayerShape>,
    /// Where each layer starts; one more than layers, the last being the page's size.
    starts: Vec<usize>,
}

impl PageShape {
    /// The pages of these layers.
    pub fn new(format: CacheFormat, layers: Vec<LayerShape>) -> Self {
        let mut starts = vec![0];
        for layer in &layers {
            let bytes = layer.heads * (format.page_bytes(layer.key) + format.page_bytes(layer.value));
            starts.push(starts[starts.len() - 1] + bytes.next_multiple_of(64));
        }
        Self { format, layers, starts }
    }

    /// Bytes of one page.
    pub fn bytes(&self) -> usize {
        self.starts[self.layers.len()]
    }

    /// The layers.
    pub fn layers(&self) -> &[LayerShape] {
        &self.layers
    }

    /// Where a head's stretch lies in a page, and how long it is.
    fn head(&self, layer: usize, head: usize) -> (usize, usize) {
        let shape = self.layers[layer];
        let bytes = self.format.page_bytes(shape.key) + self.format.page_bytes(shape.value);
        (self.starts[layer] + head * bytes, bytes)
    }
}

/// All pages, taken from the system as they are asked for.
#[derive(Debug)]
pub struct Pages {
    shape: PageShape,
    per_segment: usize,
    segments: Vec<Buffer<u8>>,
}

/// Where a token's keys and values go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The page.
    pub page: u32,
    /// The token's place in it, below [`PAGE_TOKENS`].
    pub slot: usize,
}

impl Pages {
    /// No pages yet.
    pub fn new(shape: PageShape) -> Self {
        let per_segment = (SEGMENT_BYTES / shape.bytes().max(1)).max(1);
        Self { shape, per_segment, segments: Vec::new() }
    }

    /// What a page holds.
    pub const fn shape(&self) -> &PageShape {
        &self.shape
    }

    /// Pages that there is memory for.
    pub fn count(&self) -> usize {
        self.segments.len() * self.per_segment
    }

    /// Bytes taken from the system.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(Buffer::bytes).sum()
    }

    /// Takes memory until there are at least `count` pages. Fails where the system refuses it.
    pub fn grow(&mut self, count: usize) -> io::Result<()> {
        while self.count() < count {
            self.segments.push(Buffer::zeroed(self.per_segment * self.shape.bytes())?);
        }
        Ok(())
    }

    fn head(&self, page: u32, layer: usize, head: usize) -> &[u8] {
        let (start, bytes) = self.shape.head(layer, head);
        let page = page as usize;
        &self.segments[page / self.per_segment][page % self.per_segment * self.shape.bytes() + start..][..bytes]
    }

    /// Copies a page's content to another.
    pub fn copy(&mut self, from: u32, to: u32) {
        let bytes = self.shape.bytes();
        let (from, to) = (from as usize, to as usize);
        let content = self.segments[from / self.per_segment][from % self.per_segment * bytes..][..bytes].to_vec();
        self.segments[to / self.per_segment][to % self.per_segment * bytes..][..bytes].copy_from_slice(&content);
    }

    /// Writes the keys and values of a batch: token `i`'s are in row `i` (of `stride` numbers), all heads' keys
    /// from `key` on, then all heads' values from `value` on. Heads are shared among threads.
    ///
    /// # Panics
    ///
    /// If a place lies outside the pages or a row is missing.
    pub fn write(&mut self, layer: usize, places: &[Place], rows: &Rows<'_>, pool: &Pool) {
        let shape = self.shape.layers[layer];
        let (start, bytes) = self.shape.head(layer, 0);
        let (page_bytes, per_segment, format) = (self.shape.bytes(), self.per_segment, self.shape.format);
        let segments: Vec<SegmentMut> =
            self.segments.iter_mut().map(|segment| SegmentMut(segment.as_mut_ptr())).collect();
        let (segments, count) = (&segments, self.segments.len() * per_segment);
        assert!(
            places.iter().all(|place| (place.page as usize) < count && place.slot < PAGE_TOKENS),
            "places are within the pages"
        );
        pool.run(if places.len() == 1 { 1 } else { shape.heads }, &|chunk| {
            let heads = if places.len() == 1 { 0..shape.heads } else { chunk..chunk + 1 };
            for head in heads {
                for (index, place) in places.iter().enumerate() {
                    let page = place.page as usize;
                    let offset = page % per_segment * page_bytes + start + head * bytes;
                    // SAFETY: the page exists, its head's stretch is within it, and this chunk alone has the head.
                    #[expect(unsafe_code, reason = "threads write different heads of the same pages")]
                    let stretch =
                        unsafe { std::slice::from_raw_parts_mut(segments[page / per_segment].0.add(offset), bytes) };
                    let row = &rows.values[index * rows.stride..];
                    let key = &row[rows.key + head * shape.key..][..shape.key];
                    let value = &row[rows.value + head * shape.value..][..shape.value];
                    write_token(format, stretch, place.slot, key, value);
                }
            }
        });
    }

    /// Reads one head of a page as numbers: `keys[element][token]`, `values[token][element]`.
    pub(crate) fn read(&self, set: InstructionSet, page: u32, layer: usize, head: usize, read: &mut Scratch) {
        let shape = self.shape.layers[layer];
        let stretch = self.head(page, layer, head);
        let (keys, values) = stretch.split_at(self.shape.format.page_bytes(shape.key));
        match self.shape.format {
            CacheFormat::F16 => {
                widen(set, keys, &mut read.keys);
                widen(set, values, &mut read.values);
            }
            CacheFormat::Q8 => {
                widen_keys(set, keys, shape.key, &mut read.keys);
                widen_values(set, values, shape.value, &mut read.values);
            }
        }
        if shape.value == 0 {
            transpose(set, &read.keys, &mut read.values);
        }
    }
}

/// Elements that are moved side by side: a line of the first cache.
const TRANSPOSED_TOGETHER: usize = 16;

/// The first elements of keys as values, as many as there is room for.
#[inline(always)]
fn transpose_body(keys: &[f32], values: &mut [f32]) {
    let width = values.len() / PAGE_TOKENS;
    let mut first = 0;
    while first + TRANSPOSED_TOGETHER <= width {
        let keys = &keys[first * PAGE_TOKENS..][..TRANSPOSED_TOGETHER * PAGE_TOKENS];
        for token in 0..PAGE_TOKENS {
            let row = &mut values[token * width + first..][..TRANSPOSED_TOGETHER];
            for element in 0..TRANSPOSED_TOGETHER {
                row[element] = keys[element * PAGE_TOKENS + token];
            }
        }
        first += TRANSPOSED_TOGETHER;
    }
    for element in first..width {
        for token in 0..PAGE_TOKENS {
            values[token * width + element] = keys[element * PAGE_TOKENS + token];
        }
    }
}

for_every_set! {
    /// `[element][token]` to `[token][element]`.
    fn transpose(keys: &[f32], values: &mut [f32]) = transpose_body
}

/// A batch's keys and values within rows of other things.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The rows.
    pub values: &'a [f32],
    /// Numbers of a row.
    pub stride: usize,
    /// Where keys start in a row.
    pub key: usize,
    /// Where values start in a row.
    pub value: usize,
}

/// One head of a page as numbers.
pub(crate) struct Scratch {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

struct SegmentMut(*mut u8);

#[expect(unsafe_code, reason = "threads write different heads of the same pages")]
// SAFETY: it only carries the address; each chunk writes its own head's stretch.
unsafe impl Sync for SegmentMut {}
#[expect(unsafe_code, reason = "threads write different heads of the same pages")]
// SAFETY: as above.
unsafe impl Send for SegmentMut {}

fn put_half(bytes: &mut [u8], index: usize, value: f32) {
    bytes[2 * index..2 * index + 2].copy_from_slice(&f16_from_f32(value).to_le_bytes());
}

fn write_token(format: CacheFormat, stretch: &mut [u8], slot: usize, key: &[f32], value: &[f32]) {
    let (keys, values) = stretch.split_at_mut(format.page_bytes(key.len()));
    match format {
        CacheFormat::F16 => {
            for (element, &number) in key.iter().enumerate() {
                put_half(keys, element * PAGE_TOKENS + slot, number);
            }
            for (element, &number) in value.iter().enumerate() {
                put_half(values, slot * value.len() + element, number);
            }
        }
        CacheFormat::Q8 => {
            let scales = key.len() * PAGE_TOKENS;
            for (block, numbers) in key.chunks(BLOCK).enumerate() {
                let scale = largest(numbers) / 127.0;
                put_half(&mut keys[scales..], block * PAGE_TOKENS + slot, scale);
                let scale = stored(scale);
                for (index, &number) in numbers.iter().enumerate() {
                    keys[(block * BLOCK + index) * PAGE_TOKENS + slot] = rounded(number, scale).cast_unsigned();
                }
            }
            let scales = value.len() * PAGE_TOKENS;
            let blocks = value.len().div_ceil(BLOCK);
            for (block, numbers) in value.chunks(BLOCK).enumerate() {
                let scale = largest(numbers) / 127.0;
                put_half(&mut values[scales..], slot * blocks + block, scale);
                let scale = stored(scale);
                for (index, &number) in numbers.iter().enumerate() {
                    values[slot * value.len() + block * BLOCK + index] = rounded(number, scale).cast_unsigned();
                }
            }
        }
    }
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |max, number| max.max(number.abs()))
}

/// The scale as it will be read.
fn stored(scale: f32) -> f32 {
    f32_from_f16(f16_from_f32(scale))
}

fn rounded(number: f32, scale: f32) -> i8 {
    if scale > 0.0 { (number / scale).round_ties_even().clamp(-127.0, 127.0) as i8 } else { 0 }
}

#[inline(always)]
fn half_at(bytes: &[u8], index: usize) -> f32 {
    half_value(u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]))
}

/// [`f32_from_f16`] without branches, for loops that fill registers. Not for infinities, which no cache holds.
#[inline(always)]
fn half_value(bits: u16) -> f32 {
    // Shifted to their places, exponent and fraction are those of a number 2^112 times smaller; the
    // product is exact, for subnormal numbers too.
    let magnitude = f32::from_bits((u32::from(bits) & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | (u32::from(bits) & 0x8000) << 16)
}

#[inline(always)]
fn widen_body(halves: &[u8], numbers: &mut [f32]) {
    for (number, half) in numbers.iter_mut().zip(halves.chunks_exact(2)) {
        *number = half_value(u16::from_le_bytes([half[0], half[1]]));
    }
}

for_every_set! {
    /// Half-precision numbers to single precision.
    fn widen(halves: &[u8], numbers: &mut [f32]) = widen_body
}

#[inline(always)]
fn widen_keys_body(bytes: &[u8], elements: usize, numbers: &mut [f32]) {
    let (bytes, scales) = bytes.split_at(elements * PAGE_TOKENS);
    for (element, (lane, numbers)) in
        bytes.chunks_exact(PAGE_TOKENS).zip(numbers.chunks_exact_mut(PAGE_TOKENS)).enumerate()
    {
        let scales = &scales[element / BLOCK * PAGE_TOKENS * 2..][..PAGE_TOKENS * 2];
        for token in 0..PAGE_TOKENS {
            numbers[token] = f32::from(lane[token].cast_signed()) * half_at(scales, token);
        }
    }
}

for_every_set! {
    fn widen_keys(bytes: &[u8], elements: usize, numbers: &mut [f32]) = widen_keys_body
}

#[inline(always)]
fn widen_values_body(bytes: &[u8], elements: usize, numbers: &mut [f32]) {
    let (bytes, scales) = bytes.split_at(elements * PAGE_TOKENS);
    let blocks = elements.div_ceil(BLOCK);
    if elements == 0 {
        return;
    }
    for (token, (row, numbers)) in bytes.chunks_exact(elements).zip(numbers.chunks_exact_mut(elements)).enumerate() {
        for (block, (row, numbers)) in row.chunks(BLOCK).zip(numbers.chunks_mut(BLOCK)).enumerate() {
            let scale = half_at(scales, token * blocks + block);
            for (number, &byte) in numbers.iter_mut().zip(row) {
                *number = f32::from(byte.cast_signed()) * scale;
            }
        }
    }
}

for_every_set! {
    fn widen_values(bytes: &[u8], elements: usize, numbers: &mut [f32]) = widen_values_body
}
