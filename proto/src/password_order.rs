//! What both sides of a password reset have to agree on (`guest.proto`).

/// HPKE's info, and the beginning of what is signed: an order can't be taken for anything else that is signed.
pub const PASSWORD_RESET: &str = "imprint password reset v1";

/// Longest encoded [`PasswordOrder`](crate::agent::v1::PasswordOrder), in bytes.
pub const MAX_PASSWORD_ORDER: usize = 4096;

/// The bytes that the signature of an encoded order covers.
#[must_use]
pub fn signed_bytes(order: &[u8]) -> Vec<u8> {
    [PASSWORD_RESET.as_bytes(), &[0], order].concat()
}
