//! Owns the primitive spelling of values in bytes: little-endian, LEB128 varints, length-prefixed
//! strings; used by batches, the hash chain and snapshots.
//!
//! Must never panic on foreign bytes, nor allocate more than a small multiple of what was given.

use crate::error::DecodeError;

/// What values are written to.
pub(crate) trait Sink {
    /// Adds the first `len` of these bytes.
    fn put<const N: usize>(&mut self, bytes: [u8; N], len: usize);
}

impl Sink for Vec<u8> {
    fn put<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        // A copy of fixed size and a cut are cheaper than a copy of unknown size.
        let end = self.len() + len;
        self.extend_from_slice(&bytes);
        self.truncate(end);
    }
}

/// Bytes of a [`Line`].
pub(crate) const LINE_BYTES_MAX: usize = 256;

/// A short piece of writing that knows its bound beforehand: it is put together in place, where the
/// next byte's position need not be read back from memory, and copied once.
pub(crate) struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    len: usize,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; LINE_BYTES_MAX], len: 0 }
    }

    /// Begins again.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline(always)]
    pub(crate) fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Sink for Line {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        let place = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut());
        match place {
            Some(place) => *place = bytes,
            None => panic!("a line is longer than {LINE_BYTES_MAX}"),
        }
        self.len += len;
    }
}

#[inline(always)]
pub(crate) fn put_u8(out: &mut impl Sink, value: u8) {
    out.put([value], 1);
}

#[inline(always)]
pub(crate) fn put_varint(out: &mut impl Sink, value: u64) {
    if value < 0x80 {
        out.put([value as u8], 1);
    } else if value < 1 << 56 {
        // Seven bits into each byte, all at once; then the mark on each byte but the last.
        let len = (70 - value.leading_zeros()) / 7;
        let spread = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
        let spread = spread & 0x0000_3fff_0000_3fff | (spread & 0x0fff_c000_0fff_c000) << 2;
        let spread = spread & 0x007f_007f_007f_007f | (spread & 0x3f80_3f80_3f80_3f80) << 1;
        let marks = 0x0080_8080_8080_8080 & ((1 << (8 * (len - 1))) - 1);
        out.put((spread | marks).to_le_bytes(), len as usize);
    } else {
        put_long_varint(out, value);
    }
}

#[cold]
fn put_long_varint(out: &mut impl Sink, mut value: u64) {
    let mut bytes = [0u8; 10];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    out.put(bytes, len + 1);
}

/// Small when the two are near each other, in either direction; exact for all values.
#[inline(always)]
pub(crate) fn put_delta(out: &mut impl Sink, value: u64, base: u64) {
    let delta = value.wrapping_sub(base) as i64;
    put_varint(out, ((delta << 1) ^ (delta >> 63)) as u64);
}

#[inline(always)]
pub(crate) fn put_u64(out: &mut impl Sink, value: u64) {
    out.put(value.to_le_bytes(), 8);
}

#[inline(always)]
pub(crate) fn put_u128(out: &mut impl Sink, value: u128) {
    out.put(value.to_le_bytes(), 16);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

pub(crate) fn put_opt_str(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put_bytes(out, value.as_bytes());
        }
    }
}

#[inline(always)]
pub(crate) fn put_opt_varint(out: &mut impl Sink, value: Option<u64>) {
    match value {
        None => put_u8(out, 0),
        Some(value) => {
            put_u8(out, 1);
            put_varint(out, value);
        }
    }
}

pub(crate) fn put_opt_u64(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put_u64(out, value);
        }
    }
}

pub(crate) fn put_opt_u128(out: &mut Vec<u8>, value: Option<u128>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put_u128(out, value);
        }
    }
}

pub(crate) fn put_signatures(out: &mut Vec<u8>, signatures: &[[u8; 64]]) {
    put_varint(out, signatures.len() as u64);
    for signature in signatures {
        out.extend_from_slice(signature);
    }
}

/// Reads values off the front of a slice.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

type Read<T> = Result<T, DecodeError>;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn finish(&self) -> Read<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    pub(crate) fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn bool(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid { what: "a flag" }),
        }
    }

    pub(crate) fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Read<u128> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// Only the shortest spelling is accepted, so that equal values have equal bytes.
    pub(crate) fn varint(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(DecodeError::Invalid { what: "a varint" });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid { what: "a varint" })
    }

    pub(crate) fn delta(&mut self, base: u64) -> Read<u64> {
        let zigzag = self.varint()?;
        Ok(base.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg()))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Read<u32> {
        u32::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge { what })
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Read<u16> {
        u16::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge { what })
    }

    /// A count of things that take at least `each` bytes: never more than the bytes left can hold.
    pub(crate) fn count(&mut self, max: usize, each: usize, what: &'static str) -> Read<usize> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge { what })?;
        if count > max {
            return Err(DecodeError::TooLarge { what });
        }
        if count > self.bytes.len() / each.max(1) {
            return Err(DecodeError::Truncated);
        }
        Ok(count)
    }

    /// A count as in `count`, with a flag in its lowest bit.
    pub(crate) fn count_and_flag(
        &mut self,
        each: usize,
        what: &'static str,
    ) -> Read<(usize, bool)> {
        let both = self.varint()?;
        let count = usize::try_from(both >> 1).map_err(|_| DecodeError::TooLarge { what })?;
        if count > self.bytes.len() / each.max(1) {
            return Err(DecodeError::Truncated);
        }
        Ok((count, both & 1 == 1))
    }

    pub(crate) fn bytes(&mut self, max: usize, what: &'static str) -> Read<&'a [u8]> {
        let len = self.count(max, 1, what)?;
        self.take(len)
    }

    pub(crate) fn str(&mut self, max: usize, what: &'static str) -> Read<Box<str>> {
        let bytes = self.bytes(max, what)?;
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid { what })?;
        Ok(text.into())
    }

    pub(crate) fn opt<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.bool()? { Ok(Some(read(self)?)) } else { Ok(None) }
    }

    pub(crate) fn signatures(&mut self) -> Read<Vec<[u8; 64]>> {
        let count = self.count(usize::from(u16::MAX), 64, "signatures")?;
        (0..count).map(|_| self.array()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_of_any_length_is_read_back_from_a_line_and_from_a_vector() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift, 0x5a5a << shift] {
                let (mut line, mut vector, mut long) = (Line::new(), Vec::new(), Vec::new());
                put_varint(&mut line, value);
                put_varint(&mut vector, value);
                put_long_varint(&mut long, value);
                assert_eq!(line.written(), vector);
                assert_eq!(vector, long);
                let mut reader = Reader::new(&vector);
                assert_eq!(reader.varint().ok(), Some(value));
                assert!(reader.finish().is_ok());
            }
        }
    }
}
