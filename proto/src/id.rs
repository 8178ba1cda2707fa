//! Owns the public spelling of ids: a prefix and 128 bits in Crockford's base 32 (lower case).
//!
//! Hold, order and ticket ids carry their shard in the top 16 bits; a ticket's id is its order's
//! with the ticket's number, from 1, in the low 16 bits. Must never hand out an id that can be
//! guessed: the bits between are random.

use std::cell::RefCell;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;
const TICKET_MASK: u128 = 0xffff;

/// Prefix of hold ids.
pub const HOLD: &str = "hold_";
/// Prefix of order ids.
pub const ORDER: &str = "ord_";
/// Prefix of ticket ids.
pub const TICKET: &str = "tkt_";
/// Prefix of event ids.
pub const EVENT: &str = "evt_";

/// An id's bits in public spelling.
#[must_use]
pub fn format(prefix: &str, bits: u128) -> String {
    let mut text = String::with_capacity(prefix.len() + DIGITS);
    text.push_str(prefix);
    for place in (0..DIGITS).rev() {
        let digit = (bits >> (place * 5)) & 31;
        text.push(char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)]));
    }
    text
}

/// The bits of an id in exactly the spelling that [`format`] gives; `None` for anything else.
#[must_use]
pub fn parse(prefix: &str, text: &str) -> Option<u128> {
    let digits = text.strip_prefix(prefix)?.as_bytes();
    if digits.len() != DIGITS || digits[0] > b'7' {
        return None;
    }
    digits.iter().try_fold(0_u128, |bits, digit| {
        let value = ALPHABET.iter().position(|letter| letter == digit)?;
        Some((bits << 5) | value as u128)
    })
}

/// A new random hold id of a shard.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new_hold(shard: u32) -> Result<u128, getrandom::Error> {
    Ok(with_shard(random()?, shard))
}

/// A new random order id of a shard; its low 16 bits are zero.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new_order(shard: u32) -> Result<u128, getrandom::Error> {
    Ok(with_shard(random()?, shard) & !TICKET_MASK)
}

/// A new random event id, in public spelling.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new_event() -> Result<String, getrandom::Error> {
    Ok(format(EVENT, random()?))
}

/// The shard that a hold, order or ticket lives in.
#[must_use]
pub fn shard_of(bits: u128) -> u32 {
    u32::try_from(bits >> 112).unwrap_or(0)
}

/// The id of an order's ticket; tickets are counted from 1.
#[must_use]
pub fn ticket(order: u128, number: u16) -> u128 {
    (order & !TICKET_MASK) | u128::from(number)
}

/// A ticket's order and its number, from 1; `None` for number 0.
#[must_use]
pub fn ticket_parts(ticket: u128) -> Option<(u128, u16)> {
    let number = u16::try_from(ticket & TICKET_MASK).ok()?;
    (number > 0).then_some((ticket & !TICKET_MASK, number))
}

/// Sixteen bytes, most significant first, as ids travel in messages.
#[must_use]
pub fn to_bytes(bits: u128) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&bits.to_be_bytes())
}

/// The inverse of [`to_bytes`]; `None` unless there are sixteen.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

fn with_shard(bits: u128, shard: u32) -> u128 {
    (bits >> 16) | (u128::from(shard & 0xffff) << 112)
}

/// Random bits of the operating system, fetched for many ids at a time: a call for each cost a
/// fiftieth of a hold. What was given out is wiped.
fn random() -> Result<u128, getrandom::Error> {
    const IDS: usize = 64;
    thread_local! {
        static POOL: RefCell<([u128; IDS], usize)> = const { RefCell::new(([0; IDS], 0)) };
    }
    POOL.with_borrow_mut(|(pool, left)| {
        if *left == 0 {
            let mut bytes = [0; IDS * 16];
            getrandom::fill(&mut bytes)?;
            for (id, bytes) in pool.iter_mut().zip(bytes.as_chunks().0) {
                *id = u128::from_be_bytes(*bytes);
            }
            *left = IDS;
        }
        *left -= 1;
        Ok(std::mem::take(&mut pool[*left]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_nothing_else_is_read() {
        let bits = with_shard(u128::MAX - 12_345, 3);
        let text = format(HOLD, bits);
        assert_eq!(parse(HOLD, &text), Some(bits));
        assert_eq!(parse(ORDER, &text), None);
        assert_eq!(parse(HOLD, &text[..text.len() - 1]), None);
        assert_eq!(parse(HOLD, &text.to_uppercase()), None);
        assert_eq!(parse(HOLD, "hold_zzzzzzzzzzzzzzzzzzzzzzzzzz"), None, "more than 128 bits");
        assert_eq!(parse(HOLD, &format(HOLD, u128::MAX)), Some(u128::MAX));
    }

    #[test]
    fn a_ticket_knows_its_order_and_both_their_shard() {
        let order = new_order(7).expect("randomness");
        let id = ticket(order, 2);
        assert_eq!(ticket_parts(id), Some((order, 2)));
        assert_eq!(ticket_parts(order), None);
        assert_eq!((shard_of(order), shard_of(id)), (7, 7));
    }
}
