//! Passwords that the controller makes: told once, kept by nobody.

use password_hash::PasswordHasher as _;
use zeroize::Zeroizing;

/// Letters that nobody mistakes for one another.
const LETTERS: &[u8; 56] = b"23456789abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ";
const LENGTH: usize = 20;
/// Longer salts are cut off by `crypt`.
const SALT_BYTES: usize = 12;

/// The system has no random numbers, or a password cannot be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no password can be made: the system gives no random numbers")]
pub struct PasswordError;

/// A password of 20 letters and digits: 116 bits.
///
/// # Errors
/// When the system's random source fails.
pub fn new_password() -> Result<Zeroizing<String>, PasswordError> {
    let mut password = Zeroizing::new(String::with_capacity(LENGTH));
    while password.len() < LENGTH {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| PasswordError)?;
        // 224 = 4 * 56: what is left out keeps all letters equally likely.
        let letters = bytes
            .iter()
            .filter(|byte| **byte < 224)
            .map(|byte| char::from(LETTERS[usize::from(byte % 56)]));
        for letter in letters.take(LENGTH - password.len()) {
            password.push(letter);
        }
    }
    Ok(password)
}

/// What a system compares the password with: `crypt` of SHA-512 with a fresh salt, `$6$…`.
///
/// # Errors
/// When the system's random source fails.
pub fn sha512_crypt(password: &Zeroizing<String>) -> Result<Zeroizing<String>, PasswordError> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| PasswordError)?;
    let hash = sha_crypt::ShaCrypt::SHA512
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|_| PasswordError)?;
    Ok(Zeroizing::new(hash.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_hashes_are_never_the_same() {
        let password = new_password().unwrap();
        assert_eq!(password.len(), LENGTH);
        assert!(password.bytes().all(|letter| LETTERS.contains(&letter)));
        assert_ne!(password, new_password().unwrap());
        let hash = sha512_crypt(&password).unwrap();
        assert!(
            hash.starts_with("$6$") && !hash.contains(password.as_str()),
            "{hash:?}"
        );
        assert_ne!(hash, sha512_crypt(&password).unwrap());
    }
}
