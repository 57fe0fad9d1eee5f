//! shadow(5): one field of one line is replaced, under the lock that passwd(1) takes, and the file as a whole.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use backon::{BlockingRetryable as _, ConstantBuilder};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};
use zeroize::Zeroizing;

use crate::file;

/// Largest shadow file that is read.
const MAX_BYTES: u64 = 16 << 20;
/// How often and how many times the lock is tried: 15 s in all, as lckpwdf(3).
const LOCK_PAUSE: Duration = Duration::from_millis(50);
const LOCK_TRIES: usize = 300;
const SELINUX: &str = "security.selinux";

/// The password cannot be set; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The system has no such user.
    #[error("this system has no user {user}")]
    NoUser {
        /// The name.
        user: String,
    },
    /// The user's password is kept somewhere else (LDAP and the like).
    #[error("user {user} has no entry in /etc/shadow; its password is kept elsewhere")]
    NotHere {
        /// The name.
        user: String,
    },
    /// Another program changes passwords.
    #[error("another program holds the lock of the password files for too long")]
    Locked,
    /// A file.
    #[error("cannot {what} {}", path.display())]
    File {
        /// "read", "lock" or "replace".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The hash.
    #[error("cannot hash the password")]
    Hash,
}

/// Puts a hash in place of a user's old one, whatever that was: a locked account is unlocked by it. The day of the change
/// is noted, so that an expired password is good again.
///
/// # Errors
/// See [`ShadowError`].
pub fn set(root: &Path, user: &str, hash: &str, days_since_epoch: u64) -> Result<(), ShadowError> {
    let fault = |what, path: &Path| {
        let path = path.to_owned();
        move |source| ShadowError::File { what, path, source }
    };
    let (passwd, shadow) = (root.join("etc/passwd"), root.join("etc/shadow"));
    let known = file::read_bounded(&passwd, MAX_BYTES).map_err(fault("read", &passwd))?;
    if entry(&known, user).is_none() {
        return Err(ShadowError::NoUser {
            user: user.to_owned(),
        });
    }
    let _lock = lock(&root.join("etc/.pwd.lock"))?;
    let text = Zeroizing::new(file::read_bounded(&shadow, MAX_BYTES).map_err(fault("read", &shadow))?);
    let Some(line) = entry(&text, user) else {
        return Err(ShadowError::NotHere {
            user: user.to_owned(),
        });
    };
    let changed = Zeroizing::new(with_hash(&text[line.clone()], hash, days_since_epoch));
    let new = Zeroizing::new([&text[..line.start], &changed, &text[line.end..]].concat());
    let label = security_label(&shadow);
    file::replace(&shadow, &new).map_err(fault("replace", &shadow))?;
    if let Some(label) = label {
        set_security_label(&shadow, &label).map_err(fault("label", &shadow))?;
    }
    Ok(())
}

/// Where the line of a user is, without its line end.
fn entry(text: &[u8], user: &str) -> Option<std::ops::Range<usize>> {
    // A name with these would be another one's line, or none.
    if user.is_empty() || user.contains([':', '\n', '\0']) {
        return None;
    }
    let mut start = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.strip_suffix(b"\n").unwrap_or(line).len();
        if text[start..end]
            .strip_prefix(user.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b':'))
        {
            return Some(start..end);
        }
        start += line.len();
    }
    None
}

/// name:HASH:DAY:min:max:warn:inactive:expire:reserved
fn with_hash(line: &[u8], hash: &str, day: u64) -> Vec<u8> {
    let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    fields.resize(fields.len().max(9), b"");
    let day = day.to_string();
    fields[1] = hash.as_bytes();
    fields[2] = day.as_bytes();
    fields.join(&b':')
}

/// Locks as lckpwdf(3) does: a write lock over the whole of /etc/.pwd.lock, given back when the file is closed.
fn lock(path: &Path) -> Result<File, ShadowError> {
    let failed = |source| ShadowError::File {
        what: "lock",
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let whole = libc::flock {
        l_type: libc::c_short::try_from(libc::F_WRLCK).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let held = |error: &Errno| matches!(error, Errno::EACCES | Errno::EAGAIN);
    let pauses = ConstantBuilder::default()
        .with_delay(LOCK_PAUSE)
        .with_max_times(LOCK_TRIES);
    let locked = (|| fcntl(&file, FcntlArg::F_SETLK(&whole)))
        .retry(pauses)
        .when(held)
        .call();
    match locked {
        Ok(_) => Ok(file),
        Err(error) if held(&error) => Err(ShadowError::Locked),
        Err(error) => Err(failed(error.into())),
    }
}

/// The SELinux label, where the system has one: a file that is replaced gets that of its folder otherwise, and nobody can
/// log in.
fn security_label(path: &Path) -> Option<Vec<u8>> {
    xattr::get(path, SELINUX).ok().flatten()
}

fn set_security_label(path: &Path, label: &[u8]) -> io::Result<()> {
    xattr::set(path, SELINUX, label)
}

/// Days since 1970, for [`set`].
#[must_use]
pub fn today(unix_seconds: i64) -> u64 {
    u64::try_from(unix_seconds.div_euclid(86_400)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SHADOW: &str =
        "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nadmin:!$6$x$y:19000:0:99999:7:::\nad:!:1";

    fn system() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/bash\nadmin:x:1000:1000::/home/admin:/bin/sh\nad:x:1001:1001::/:/bin/sh\nldap:x:2000:2000::/:/bin/sh\n";
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        fs::write(root.path().join("etc/shadow"), SHADOW).unwrap();
        root
    }

    #[test]
    fn one_field_of_one_line_changes() {
        let root = system();
        set(root.path(), "admin", "$6$new$hash", 20_000).unwrap();
        let text = fs::read_to_string(root.path().join("etc/shadow")).unwrap();
        assert_eq!(
            text,
            SHADOW.replace("admin:!$6$x$y:19000", "admin:$6$new$hash:20000")
        );
        // The last line, short and without a line end, whose name begins another one's.
        set(root.path(), "ad", "$6$n", 20_001).unwrap();
        let text = fs::read_to_string(root.path().join("etc/shadow")).unwrap();
        assert!(text.ends_with("\nad:$6$n:20001::::::"), "{text}");
    }

    #[test]
    fn who_is_not_there_changes_nothing() {
        for (user, expected) in [
            ("nobody-at-all", "no user"),
            ("ldap", "kept elsewhere"),
            ("", "no user"),
            ("root:x", "no user"),
            ("a\nroot", "no user"),
        ] {
            let root = system();
            let said = set(root.path(), user, "$6$n", 1).unwrap_err().to_string();
            assert!(said.contains(expected), "{user:?}: {said}");
            assert_eq!(
                fs::read_to_string(root.path().join("etc/shadow")).unwrap(),
                SHADOW
            );
        }
    }

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!((today(0), today(86_399), today(86_400), today(-1)), (0, 0, 1, 0));
    }
}
