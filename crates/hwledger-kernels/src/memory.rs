//! Large buffers: huge pages where the system has them, zeroed, aligned to pages.

use std::fs::File;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};

/// A buffer of bytes aligned to a page, in huge pages where the system grants them.
///
/// Pages count as used once they are written.
#[derive(Debug)]
pub struct Memory {
    map: MmapMut,
    bytes: usize,
}

impl Memory {
    /// `bytes` zero bytes. Fails where the system refuses the memory.
    pub fn zeroed(bytes: usize) -> std::io::Result<Self> {
        // An empty mapping is refused by systems.
        let map = MmapMut::map_anon(bytes.max(1))?;
        #[cfg(target_os = "linux")]
        if bytes >= 2 << 20 {
            // Only advice: a system without huge pages answers with an error that changes nothing.
            map.advise(memmap2::Advice::HugePage).ok();
        }
        Ok(Self { map, bytes })
    }

    /// How many bytes.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map[..self.bytes]
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[..self.bytes]
    }
}

/// Bytes that many weights share: memory of our own, or a mapped file.
#[derive(Clone, Debug)]
pub struct Region {
    source: Source,
    start: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Source {
    Memory(Arc<Memory>),
    File(Arc<Mmap>),
}

impl Region {
    /// All of a buffer.
    pub fn from_memory(memory: Memory) -> Self {
        let bytes = memory.len();
        Self { source: Source::Memory(Arc::new(memory)), start: 0, bytes }
    }

    /// A whole file, mapped to be read. The file must be one that nobody writes or shortens any more, such as one
    /// that was written under another name, renamed, and is readable by its owner only: a page that is gone ends
    /// the process, and bytes that change under a kernel make wrong numbers.
    #[expect(unsafe_code, reason = "the promise about the file is the caller's")]
    pub fn map_unchanging(file: &File) -> std::io::Result<Self> {
        // SAFETY: the caller promises that the file stays as it is.
        let map = unsafe { Mmap::map(file)? };
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage).ok();
        let bytes = map.len();
        Ok(Self { source: Source::File(Arc::new(map)), start: 0, bytes })
    }

    /// The part of `bytes` bytes from `start`; none if it is not all there.
    pub fn part(&self, start: usize, bytes: usize) -> Option<Self> {
        let end = start.checked_add(bytes)?;
        (end <= self.bytes).then(|| Self { source: self.source.clone(), start: self.start + start, bytes })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        let all: &[u8] = match &self.source {
            Source::Memory(memory) => memory.bytes(),
            Source::File(map) => map,
        };
        &all[self.start..self.start + self.bytes]
    }

    /// How many bytes.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// Numbers that any bytes make: safe to view memory as.
#[expect(unsafe_code, reason = "the promise that every bit pattern is a value")]
mod plain {
    /// Types without padding for which every bit pattern is a value.
    ///
    /// # Safety
    ///
    /// Only such types may implement it.
    pub unsafe trait Plain: Copy + Send + Sync + 'static {}
    // SAFETY: integers and floating-point numbers have no padding and no invalid bits.
    unsafe impl Plain for f32 {}
    // SAFETY: as above.
    unsafe impl Plain for i32 {}
    // SAFETY: as above.
    unsafe impl Plain for u16 {}
    // SAFETY: as above.
    unsafe impl Plain for i8 {}
    // SAFETY: as above.
    unsafe impl Plain for u8 {}
}
pub use plain::Plain;

/// A growing buffer of numbers, aligned to a page and in huge pages where the system has them.
#[derive(Debug)]
pub struct Buffer<T> {
    memory: Memory,
    kind: std::marker::PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// `length` zeros.
    pub fn zeroed(length: usize) -> std::io::Result<Self> {
        let bytes = length.checked_mul(size_of::<T>()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory: Memory::zeroed(bytes)?, kind: std::marker::PhantomData })
    }

    /// Room for `length` numbers; what it held is lost if it had less.
    pub fn reserve(&mut self, length: usize) -> std::io::Result<()> {
        if self.len() < length {
            *self = Self::zeroed(length)?;
        }
        Ok(())
    }

    /// Bytes that it takes.
    pub const fn bytes(&self) -> usize {
        self.memory.len()
    }
}

impl<T> Buffer<T> {
    /// How many numbers it holds.
    pub const fn len(&self) -> usize {
        self.memory.len() / size_of::<T>()
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[expect(unsafe_code, reason = "bytes viewed as numbers")]
impl<T: Plain> std::ops::Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the memory starts at a page, holds `len` values, and any bytes are values of a plain type.
        unsafe { std::slice::from_raw_parts(self.memory.bytes().as_ptr().cast(), self.len()) }
    }
}

#[expect(unsafe_code, reason = "bytes viewed as numbers")]
impl<T: Plain> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let length = self.len();
        // SAFETY: as above, and the memory is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.memory.bytes_mut().as_mut_ptr().cast(), length) }
    }
}
