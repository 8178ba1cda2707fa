//! Owns the harness's dice: keys that nobody else has, and choices that can be repeated by seed.

/// Small, fast and good enough for choosing seats (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one buyer of a run.
    pub fn new(seed: u64, buyer: u64) -> Dice {
        Dice(seed ^ buyer.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }
}

/// Sixteen hexadecimal digits that no other run has.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn run_id() -> anyhow::Result<String> {
    Ok(format!("{:016x}", seed()?))
}

/// A new seed.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(u64::from_le_bytes(bytes))
}
