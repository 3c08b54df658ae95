//! Gives memory back to the system after a large piece of work. The allocator keeps what was
//! freed, and a push of 100,000 resources frees more than the agent holds.

#![expect(unsafe_code, reason = "the allocator's own call")]

/// From how many resources on a piece of work is large.
pub const LARGE: usize = 5_000;

/// Has the allocator return what is free. Takes some milliseconds.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: no preconditions; glibc locks each arena while it looks at it.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators decide that for themselves.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back() {}
