//! Owns the spelling of lengths of time in rules: `10m`, `90s`, `1h30m`.
//!
//! Must never round: what cannot be spelled exactly is spelled in milliseconds.

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Milliseconds of a text like `1h30m`; units stand once each and from large to small.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let place = UNITS.iter().position(|(name, _)| *name == unit)?;
        if place < next_unit {
            return None;
        }
        next_unit = place + 1;
        let number: u64 = number.parse().ok()?;
        total = total.checked_add(number.checked_mul(UNITS[place].1)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// The shortest spelling of so many milliseconds.
pub(crate) fn format(milliseconds: u64) -> String {
    let mut rest = milliseconds;
    let mut text = String::new();
    for (name, size) in UNITS {
        let number = rest / size;
        rest %= size;
        if number > 0 {
            text.push_str(&number.to_string());
            text.push_str(name);
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written() {
        for (text, milliseconds) in
            [("10m", 600_000), ("90s", 90_000), ("1h30m", 5_400_000), ("1500ms", 1_500), ("0s", 0)]
        {
            assert_eq!(parse(text), Some(milliseconds), "{text}");
            assert_eq!(parse(&format(milliseconds)), Some(milliseconds));
        }
        for bad in
            ["", "10", "m", "10 m", "1m1h", "1m1m", "-1s", "1.5h", "99999999999999999999s", "10d"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(format(600_000), "10m");
    }
}
