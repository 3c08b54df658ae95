//! What all types of flags can do: a number, of which each bit says something.

/// Gives it to a type whose only field is the number `bits`.
macro_rules! flags {
    ($type:ty) => {
        impl $type {
            /// Whether all bits of `flags` are set.
            #[must_use]
            #[inline(always)]
            pub const fn contains(self, flags: Self) -> bool {
                self.bits & flags.bits == flags.bits
            }

            /// With the bits of others.
            #[must_use]
            #[inline(always)]
            pub const fn and(self, others: Self) -> Self {
                Self { bits: self.bits | others.bits }
            }

            /// Without the bits of others.
            #[must_use]
            #[inline(always)]
            pub const fn without(self, others: Self) -> Self {
                Self { bits: self.bits & !others.bits }
            }
        }
    };
}

pub(crate) use flags;
