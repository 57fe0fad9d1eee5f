//! The key to a bucket: from a file that nobody else can read, or from the environment. Never from the configuration.

use std::{env, fmt, fs, io::Read, os::unix::fs::PermissionsExt, path::Path};

use serde::Deserialize;
use zeroize::Zeroizing;

const MAX_FILE_BYTES: u64 = 64 << 10;
const KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";

/// An access key with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Names the key; no secret.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: Zeroizing<String>,
    /// Of temporary keys.
    pub session_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.access_key_id)
    }
}

/// What is wrong, and what to do.
pub(super) type Unusable = (String, &'static str);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// Reads them from the file, or else from the environment.
pub(super) fn read(file: Option<&Path>) -> Result<Credentials, Unusable> {
    match file {
        Some(path) => of_file(path),
        None => of_variables(|name| env::var(name).ok()),
    }
}

fn of_file(path: &Path) -> Result<Credentials, Unusable> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        (
            format!("{shown} cannot be read ({error})"),
            "check store.credentials_file and that this user may read it",
        )
    };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    // A group may read it: that is how systemd hands out credentials.
    if mode & 0o027 != 0 {
        return Err((
            format!("others may read or change {shown} (mode {mode:o})"),
            "make it the controller's own: chmod 600, and replace the key if others have used it",
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    // The parser's message would repeat the line, with the secret in it.
    let written: Written = toml::from_str(&text).map_err(|_| {
        (
            format!("{shown} is not what it should be"),
            "write access_key_id = \"…\" and secret_access_key = \"…\", and session_token = \"…\" for temporary keys",
        )
    })?;
    complete(
        written.access_key_id,
        Zeroizing::new(written.secret_access_key),
        written.session_token.map(Zeroizing::new),
    )
}

fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Credentials, Unusable> {
    let (Some(key), Some(secret)) = (variable(KEY), variable(SECRET)) else {
        return Err((
            format!(
                "store.credentials_file is not set, and {KEY} and {SECRET} are not both in the environment"
            ),
            "set store.credentials_file to a file with access_key_id and secret_access_key",
        ));
    };
    complete(key, Zeroizing::new(secret), variable(TOKEN).map(Zeroizing::new))
}

fn complete(
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
) -> Result<Credentials, Unusable> {
    if access_key_id.is_empty() || secret_access_key.is_empty() {
        return Err((
            "the access key or its secret is empty".to_owned(),
            "set both, access_key_id and secret_access_key",
        ));
    }
    Ok(Credentials {
        access_key_id,
        secret_access_key,
        session_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_be_private_and_whole_and_is_never_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s3.toml");
        let good = "access_key_id = \"AK\"\nsecret_access_key = \"hunter2\"\n";
        for (mode, text, says) in [
            (0o600, good, None),
            (0o440, good, None),
            (0o604, good, Some("mode 604")),
            (0o620, good, Some("mode 620")),
            (
                0o600,
                "access_key_id = \"AK\"\nsecret_access_key = hunter2",
                Some("not what it should be"),
            ),
            (
                0o600,
                "access_key_id = \"AK\"\nsecret = \"hunter2\"",
                Some("not what it should be"),
            ),
            (
                0o600,
                "access_key_id = \"\"\nsecret_access_key = \"hunter2\"",
                Some("empty"),
            ),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match (read(Some(&path)), says) {
                (Ok(credentials), None) => {
                    assert_eq!(credentials.secret_access_key.as_str(), "hunter2");
                    assert!(!format!("{credentials:?}").contains("hunter2"));
                }
                (Err((cause, remedy)), Some(says)) => {
                    assert!(cause.contains(says), "{cause}");
                    assert!(!cause.contains("hunter2") && !remedy.is_empty());
                }
                (got, says) => panic!("{mode:o} {text}: {got:?}, {says:?}"),
            }
        }
        assert!(
            read(Some(&dir.path().join("none")))
                .unwrap_err()
                .0
                .contains("cannot be read")
        );
    }

    #[test]
    fn the_environment_has_both_or_none() {
        let some = |name: &str| (name != TOKEN).then(|| name.to_lowercase());
        let credentials = of_variables(some).unwrap();
        assert_eq!(credentials.access_key_id, "aws_access_key_id");
        assert_eq!(credentials.session_token, None);
        assert!(of_variables(|name| (name == KEY).then(String::new)).is_err());
    }
}
