//! Numbers as metrics hold them.

/// For a gauge, which is signed; as large as there are where that is too little.
#[must_use]
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_the_largest() {
        assert_eq!([0, 7, u64::MAX].map(signed), [0, 7, i64::MAX]);
    }
}
