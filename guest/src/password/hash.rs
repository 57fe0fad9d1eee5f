//! Password hashes as crypt(5) knows them, of the kind that the distribution uses.

use std::{fs, path::Path};

use password_hash::PasswordHasher as _;
use zeroize::Zeroizing;

use super::shadow::ShadowError;

/// crypt(5) reads at most 16 characters of a SHA-2 salt: these many bytes, as base 64.
const SHA_SALT_BYTES: usize = 12;
/// Where distributions say which hash PAM makes.
const PAM_FILES: [&str; 4] = [
    "etc/pam.d/common-password",
    "etc/pam.d/system-auth",
    "etc/pam.d/password-auth",
    "usr/lib/pam.d/common-password",
];

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `$6$`, which every libcrypt of a Linux distribution reads.
    Sha512,
    /// `$y$`, with libxcrypt's own costs.
    Yescrypt,
}

impl Method {
    /// What the system below `root` makes itself, by PAM's configuration, else by login.defs(5); SHA-512 where neither
    /// says.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let pam = PAM_FILES
            .iter()
            .filter_map(|file| fs::read_to_string(root.join(file)).ok())
            .find_map(|text| by_pam(&text));
        pam.or_else(|| {
            let text = fs::read_to_string(root.join("etc/login.defs")).ok()?;
            by_login_defs(&text)
        })
        .unwrap_or(Self::Sha512)
    }

    /// Hashes a password with a fresh salt.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn hash(self, password: &Zeroizing<String>) -> Result<Zeroizing<String>, ShadowError> {
        let failed = |_| ShadowError::Hash;
        let hashed = match self {
            Self::Sha512 => {
                let mut salt = [0; SHA_SALT_BYTES];
                getrandom::fill(&mut salt).map_err(|_| ShadowError::Hash)?;
                sha_crypt::ShaCrypt::SHA512
                    .hash_password_with_salt(password.as_bytes(), &salt)
                    .map_err(failed)?
                    .to_string()
            }
            Self::Yescrypt => yescrypt::Yescrypt::default()
                .hash_password(password.as_bytes())
                .map_err(failed)?
                .to_string(),
        };
        Ok(Zeroizing::new(hashed))
    }
}

fn word(text: &str) -> Option<Method> {
    match text.to_ascii_lowercase().as_str() {
        "sha512" => Some(Method::Sha512),
        "yescrypt" => Some(Method::Yescrypt),
        _ => None,
    }
}

fn by_pam(text: &str) -> Option<Method> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && line.contains("pam_unix.so"))
        .find_map(|line| line.split_whitespace().find_map(word))
}

fn by_login_defs(text: &str) -> Option<Method> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("ENCRYPT_METHOD"))
        .find_map(|value| word(value.trim()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_distribution_says_which() {
        for (file, text, expected) in [
            ("etc/none", "", Method::Sha512),
            (
                "etc/login.defs",
                "#ENCRYPT_METHOD DES\nENCRYPT_METHOD YESCRYPT\n",
                Method::Yescrypt,
            ),
            ("etc/login.defs", "ENCRYPT_METHOD\tSHA512\n", Method::Sha512),
            ("etc/login.defs", "ENCRYPT_METHOD DES\n", Method::Sha512),
            (
                "etc/pam.d/common-password",
                "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n",
                Method::Yescrypt,
            ),
            (
                "etc/pam.d/system-auth",
                "# password sufficient pam_unix.so yescrypt\npassword sufficient pam_unix.so sha512 shadow\n",
                Method::Sha512,
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            assert_eq!(Method::of(root.path()), expected, "{text}");
        }
    }

    /// The C library's own crypt(3), through perl, which every Debian has.
    fn crypt(password: &str, setting: &str) -> String {
        let output = Command::new("perl")
            .args(["-e", "print crypt($ARGV[0], $ARGV[1])", password, setting])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_system_s_own_crypt_accepts_them() {
        for (method, start) in [(Method::Sha512, "$6$"), (Method::Yescrypt, "$y$")] {
            let password = Zeroizing::new("correct horse, päß".to_owned());
            let hashed = method.hash(&password).unwrap();
            assert!(hashed.starts_with(start), "{hashed:?}");
            assert_eq!(crypt(&password, &hashed), *hashed, "{method:?}");
            assert_ne!(crypt("another", &hashed), *hashed);
            assert_ne!(
                method.hash(&password).unwrap(),
                hashed,
                "the salt is new each time"
            );
        }
    }
}
