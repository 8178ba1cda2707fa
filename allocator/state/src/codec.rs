//! Owns the primitive spelling of values in bytes: little-endian, LEB128 varints, length-prefixed
//! strings; used by batches, the hash chain and snapshots.
//!
//! Must never panic on foreign bytes, nor allocate more than a small multiple of what was given.

use crate::error::DecodeError;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    let mut bytes = [0u8; 10];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    // A copy of fixed size and a cut are cheaper than a copy of unknown size.
    let end = out.len() + len + 1;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// Small when the two are near each other, in either direction; exact for all values.
pub(crate) fn put_delta(out: &mut Vec<u8>, value: u64, base: u64) {
    let delta = value.wrapping_sub(base) as i64;
    put_varint(out, ((delta << 1) ^ (delta >> 63)) as u64);
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_le_bytes());
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

pub(crate) fn put_opt_varint(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
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
