//! The bytes of a header, in order, with their offset.

use std::io::{ErrorKind, Read};

use super::error::GgufErrorKind;

/// Longest header that is read: the largest known (300,000 tokens with merges
/// and a chat template) takes 16 MiB.
pub const HEADER_BYTES_MAX: u64 = 256 << 20;

const BUFFER_BYTES: usize = 64 << 10;

/// A buffered source that knows its offset and how much may still come.
pub(super) struct Source<'a> {
    inner: &'a mut dyn Read,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
    limit: u64,
    is_limit_file_size: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(inner: &'a mut dyn Read, file_size: Option<u64>) -> Self {
        let limit = file_size.unwrap_or(u64::MAX).min(HEADER_BYTES_MAX);
        Self {
            inner,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            limit,
            is_limit_file_size: file_size.is_some_and(|size| size <= HEADER_BYTES_MAX),
        }
    }

    /// Offset of the next byte.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The most bytes that may still be read.
    pub(super) const fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.offset)
    }

    /// The bytes at hand, at least one.
    fn fill(&mut self) -> Result<&[u8], GgufErrorKind> {
        while self.start == self.end {
            match self.inner.read(&mut self.buffer) {
                Ok(0) => return Err(GgufErrorKind::Truncated),
                Ok(read) => {
                    self.start = 0;
                    // A reader that claims more than it was given must not move us beyond the buffer.
                    self.end = read.min(self.buffer.len());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(GgufErrorKind::Io(error)),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Fails unless `count` more bytes are possible.
    pub(super) fn expect(&self, what: &'static str, count: u64) -> Result<(), GgufErrorKind> {
        if count <= self.remaining() {
            Ok(())
        } else if self.is_limit_file_size {
            Err(GgufErrorKind::TooMany { what, found: count, limit: self.remaining() })
        } else {
            Err(GgufErrorKind::TooMany { what, found: count, limit: HEADER_BYTES_MAX })
        }
    }

    pub(super) fn read_into(&mut self, mut target: &mut [u8]) -> Result<(), GgufErrorKind> {
        if target.len() as u64 > self.remaining() {
            return Err(self.exhausted());
        }
        while !target.is_empty() {
            let chunk = self.fill()?;
            let count = chunk.len().min(target.len());
            let (head, rest) = target.split_at_mut(count);
            head.copy_from_slice(&chunk[..count]);
            target = rest;
            self.advance(count);
        }
        Ok(())
    }

    const fn exhausted(&self) -> GgufErrorKind {
        if self.is_limit_file_size {
            GgufErrorKind::Truncated
        } else {
            GgufErrorKind::TooMany { what: "the header's length", found: self.limit, limit: HEADER_BYTES_MAX }
        }
    }

    pub(super) fn skip(&mut self, mut count: u64) -> Result<(), GgufErrorKind> {
        if count > self.remaining() {
            return Err(self.exhausted());
        }
        while count > 0 {
            let at_hand = self.fill()?.len();
            let step = usize::try_from(count).unwrap_or(usize::MAX).min(at_hand);
            self.advance(step);
            count -= step as u64;
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufErrorKind> {
        let mut bytes = [0; N];
        // The common case: the value lies in the buffer.
        if self.end - self.start >= N && N as u64 <= self.remaining() {
            bytes.copy_from_slice(&self.buffer[self.start..self.start + N]);
            self.advance(N);
        } else {
            self.read_into(&mut bytes)?;
        }
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufErrorKind> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufErrorKind> {
        self.array().map(u64::from_le_bytes)
    }

    /// A text of `length` bytes; `what` names it in errors.
    pub(super) fn text(&mut self, what: &'static str, length: u64, limit: u64) -> Result<String, GgufErrorKind> {
        if length > limit {
            return Err(GgufErrorKind::TooMany { what, found: length, limit });
        }
        self.expect(what, length)?;
        let length = usize::try_from(length).map_err(|_| GgufErrorKind::TooMany {
            what,
            found: length,
            limit: usize::MAX as u64,
        })?;
        let mut bytes = vec![0; length];
        self.read_into(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| GgufErrorKind::NotText(what))
    }
}
