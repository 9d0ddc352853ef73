//! A generator's choices, read from bytes, so that proptest, libFuzzer and a plain loop can all drive the same
//! generator.

/// Bytes that are consumed one choice at a time. When none are left, every choice is the first one, which is the
/// plainest.
#[derive(Clone, Debug)]
pub struct Choices<'b> {
    bytes: &'b [u8],
    /// Only plain choices are made.
    calm: bool,
}

impl<'b> Choices<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, calm: false }
    }

    /// Whether only plain choices are made.
    pub fn is_calm(&self) -> bool {
        self.calm
    }

    /// Sets whether only plain choices are made from here on.
    pub fn set_calm(&mut self, calm: bool) {
        self.calm = calm;
    }

    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        let wide = count > 256;
        let number = usize::from(self.byte()) + if wide { usize::from(self.byte()) << 8 } else { 0 };
        number % count.max(1)
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    /// Like [`Choices::below`], but 0 when calm.
    pub fn odd(&mut self, count: usize) -> usize {
        if self.calm { 0 } else { self.below(count) }
    }

    /// Like [`Choices::one_in`], but false when calm.
    pub fn oddly_one_in(&mut self, count: usize) -> bool {
        !self.calm && self.one_in(count)
    }

    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    /// Up to `most` different elements, in any order.
    pub fn some<T: Clone>(&mut self, from: &[T], most: usize) -> Vec<T> {
        let mut left = from.to_vec();
        let count = self.below(most.min(from.len()) + 1);
        (0..count).map(|_| left.remove(self.below(left.len()))).collect()
    }

    /// Shuffles a list.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in 1..list.len() {
            list.swap(at, at - self.below(at + 1));
        }
    }

    /// The remaining bytes, for the last choice.
    pub fn rest(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.bytes)
    }
}

/// Bytes from a fixed seed (splitmix64): for short random budgets that are the same in every run.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
