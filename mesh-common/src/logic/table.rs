//! Where a socket's record lies in the `conns` table.
//!
//! The kernel gives out socket cookies one after the other (`gen_cookie_next`,
//! `include/linux/cookie.h`), so their low bits spread evenly by themselves. A cookie belongs to
//! one group of [`WAYS`] records; where all of them are taken, socket storage has the record.

use crate::conn::WAYS;
use crate::limits::{CONN_GROUPS, CONNS};

const _: () =
    assert!(CONN_GROUPS.is_power_of_two() && CONN_GROUPS as usize * WAYS == CONNS as usize);

/// The group of a cookie: index into `conns_index`.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
pub const fn group(cookie: u64) -> u32 {
    (cookie / WAYS as u64) as u32 & (CONN_GROUPS - 1)
}

/// The record of a group's way: index into `conns`.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub const fn place(group: u32, way: usize) -> u32 {
    group * WAYS as u32 + way as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_cookies_fill_the_table_without_a_collision() {
        let mut taken = std::vec![0; CONN_GROUPS as usize];
        let first = 0x1234_5678_9000;
        for cookie in first..first + u64::from(CONNS) {
            taken[group(cookie) as usize] += 1;
        }
        assert!(taken.iter().all(|taken| *taken == WAYS));
    }

    #[test]
    fn every_record_is_in_the_table() {
        assert_eq!(place(CONN_GROUPS - 1, WAYS - 1), CONNS - 1);
    }
}
