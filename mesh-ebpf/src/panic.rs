//! The panic handler that `no_std` wants. The verifier refuses a program that could reach it.

#[panic_handler]
#[expect(clippy::missing_const_for_fn, reason = "a panic handler cannot be const")]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
