//! One of so many. Pure.

/// Takes one of so many, and counts the others.
#[derive(Clone, Copy, Debug)]
pub struct OneOf {
    of: u32,
    /// How many go by until one is taken.
    skip: u32,
    left_out: u64,
}

impl OneOf {
    /// The first is taken; 0 and 1 take each.
    #[must_use]
    pub fn new(of: u32) -> Self {
        Self { of: of.max(1), skip: 0, left_out: 0 }
    }

    /// Whether this one is taken.
    pub const fn take(&mut self) -> bool {
        if let Some(rest) = self.skip.checked_sub(1) {
            self.skip = rest;
            self.left_out = self.left_out.saturating_add(1);
            false
        } else {
            self.skip = self.of - 1;
            true
        }
    }

    /// How many were not.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn one_of_so_many_is_taken_and_all_others_are_counted(of in 0u32..20, count in 0u32..200) {
            let mut choice = OneOf::new(of);
            let taken = (0..count).filter(|_| choice.take()).count();
            let expected = count.div_ceil(of.max(1));
            prop_assert_eq!(taken, expected as usize);
            prop_assert_eq!(choice.left_out(), u64::from(count - expected));
        }
    }
}
