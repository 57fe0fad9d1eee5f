//! The one-time password: in `/etc/shadow` until it has let somebody in, and never again.
//!
//! Two programs write here, the agent and root's login shell; a lock keeps them apart. The books outlive both, within this
//! boot.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::Place;
use crate::identity::private_file;

/// No password is this one's hash.
const LOCKED: &str = "!";
/// After so many wrong ones, over all connections, a password is good no more.
pub const MOST_WRONG: u32 = 100;
/// Stands for the connection of a password that nobody has used.
const NOBODY: &str = "nobody";

/// What is kept of the passwords of a rescue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Books {
    /// The newest password, counted from 1; 0: none yet.
    number: u32,
    /// The newest one that has let somebody in, or was guessed at too often.
    used: u32,
    /// The connection that has used it.
    connection: String,
    /// Wrong ones that were tried since the newest one was set.
    #[serde(default)]
    wrong: u32,
}

/// The password of root.
#[derive(Debug, Clone)]
pub struct Password {
    shadow: PathBuf,
    books: PathBuf,
    lock: PathBuf,
}

impl Password {
    /// Of a rescue.
    #[must_use]
    pub fn of(place: &Place) -> Self {
        Self {
            shadow: place.root.join("etc/shadow"),
            books: place.folder.join("password"),
            lock: place.folder.join("lock"),
        }
    }

    /// Begins the books of a rescue: numbers of an earlier one in this boot say nothing.
    ///
    /// # Errors
    /// When they can't be removed.
    pub fn begin(&self) -> io::Result<()> {
        let _lock = self.locked()?;
        private_file::remove(&self.books)
    }

    /// Sets the password by its hash. One that was used already, or is older than the present one, is not set again.
    ///
    /// # Errors
    /// When the files can't be written.
    pub fn set(&self, hash: &str, number: u32) -> io::Result<()> {
        let _lock = self.locked()?;
        let mut books = self.read()?;
        if number < books.number {
            return Ok(());
        }
        if number > books.number {
            books.wrong = 0;
        }
        books.number = number;
        self.write(&books)?;
        let good = books.used < number && is_hash(hash);
        self.write_shadow(if good { hash } else { LOCKED })
    }

    /// The password has let somebody in: it is good no more.
    ///
    /// # Errors
    /// When the files can't be written.
    pub fn used(&self) -> io::Result<u32> {
        let _lock = self.locked()?;
        let mut books = self.read()?;
        if books.used < books.number {
            books.used = books.number;
            books.connection.clear();
            self.write(&books)?;
        }
        self.write_shadow(LOCKED)?;
        Ok(books.used)
    }

    /// So many wrong ones were tried; true when the password is good no more for that.
    ///
    /// # Errors
    /// When the files can't be written.
    pub fn wrong(&self, tried: u32) -> io::Result<bool> {
        let _lock = self.locked()?;
        let mut books = self.read()?;
        if books.used >= books.number {
            return Ok(false);
        }
        books.wrong = books.wrong.saturating_add(tried);
        let ends = books.wrong >= MOST_WRONG;
        if ends {
            books.used = books.number;
            NOBODY.clone_into(&mut books.connection);
            self.write_shadow(LOCKED)?;
        }
        self.write(&books)?;
        Ok(ends)
    }

    /// The number of the newest password that is good no more; 0: none.
    ///
    /// # Errors
    /// When the books can't be read.
    pub fn newest_used(&self) -> io::Result<u32> {
        Ok(self.read()?.used)
    }

    /// Whether a connection that knew the password may have a shell: the first one may, as often as it asks.
    ///
    /// # Errors
    /// When the files can't be written: then nobody may.
    pub fn claim(&self, connection: &str) -> io::Result<bool> {
        let _lock = self.locked()?;
        let mut books = self.read()?;
        if books.used == books.number && !books.connection.is_empty() {
            return Ok(books.connection == connection);
        }
        books.used = books.number;
        connection.clone_into(&mut books.connection);
        self.write(&books)?;
        self.write_shadow(LOCKED)?;
        Ok(true)
    }

    /// Nobody is let in by a password any more.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn end(&self) -> io::Result<()> {
        let _lock = self.locked()?;
        self.write_shadow(LOCKED)
    }

    fn locked(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.lock)?;
        file.lock()?;
        Ok(file)
    }

    fn read(&self) -> io::Result<Books> {
        match private_file::read(&self.books)? {
            Some(bytes) => Ok(serde_json::from_slice(&bytes)?),
            None => Ok(Books::default()),
        }
    }

    fn write(&self, books: &Books) -> io::Result<()> {
        private_file::write(&self.books, &serde_json::to_vec(books)?)
    }

    fn write_shadow(&self, hash: &str) -> io::Result<()> {
        let new = self.shadow.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        // Since when it is good, and all that makes it old, does not matter here.
        writeln!(file, "root:{hash}:1:0:99999:7:::")?;
        drop(file);
        fs::rename(&new, &self.shadow)
    }
}

/// A hash of `crypt` with SHA-512, which breaks no line of the file.
fn is_hash(text: &str) -> bool {
    text.starts_with("$6$")
        && text.len() < 256
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"$./=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$6$salt$hash./";

    fn password() -> (tempfile::TempDir, Password) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc")).unwrap();
        fs::create_dir_all(folder.path().join("state/rescue")).unwrap();
        let place = Place::below(folder.path(), &folder.path().join("state"));
        let password = Password::of(&place);
        (folder, password)
    }

    fn hash(password: &Password) -> String {
        let text = fs::read_to_string(&password.shadow).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text.split(':').nth(1).unwrap().to_owned()
    }

    #[test]
    fn a_password_lets_one_connection_in() {
        let (_folder, password) = password();
        password.set(HASH, 1).unwrap();
        assert_eq!(hash(&password), HASH);
        assert!(password.claim("300 5000").unwrap());
        assert_eq!(hash(&password), LOCKED);
        assert!(password.claim("300 5000").unwrap(), "its second channel");
        assert!(!password.claim("301 5001").unwrap(), "another one that knew it");
        // The controller sends the task anew in each session.
        password.set(HASH, 1).unwrap();
        assert_eq!(
            (hash(&password).as_str(), password.newest_used().unwrap()),
            (LOCKED, 1)
        );
        password.set(HASH, 2).unwrap();
        assert_eq!(hash(&password), HASH);
        assert!(password.claim("301 5001").unwrap(), "a new password, a new claim");
        password.set("$6$old", 1).unwrap();
        assert_eq!(hash(&password), LOCKED, "an older one is not set");
    }

    #[test]
    fn what_the_log_tells_first_is_claimed_by_the_first_shell() {
        let (_folder, password) = password();
        password.set(HASH, 1).unwrap();
        assert_eq!(password.used().unwrap(), 1);
        assert_eq!(hash(&password), LOCKED);
        assert!(password.claim("300 5000").unwrap());
        assert!(!password.claim("301 5001").unwrap());
        assert_eq!(password.used().unwrap(), 1);
        assert!(
            !password.claim("301 5001").unwrap(),
            "who has used it stays known"
        );
    }

    #[test]
    fn who_guesses_ends_the_password_and_not_the_rescue() {
        let (_folder, password) = password();
        password.set(HASH, 1).unwrap();
        assert!(!password.wrong(MOST_WRONG - 1).unwrap());
        // In each session the controller sends the task anew.
        password.set(HASH, 1).unwrap();
        assert_eq!(hash(&password), HASH);
        assert!(password.wrong(1).unwrap());
        assert_eq!(
            (hash(&password).as_str(), password.newest_used().unwrap()),
            (LOCKED, 1)
        );
        assert!(
            !password.claim("300 5000").unwrap(),
            "who came in the same moment"
        );
        assert!(!password.wrong(MOST_WRONG).unwrap(), "told once");
        password.set(HASH, 2).unwrap();
        assert!(!password.wrong(1).unwrap(), "counted anew");
        assert!(password.claim("301 5001").unwrap());
        assert!(!password.wrong(MOST_WRONG).unwrap());
        assert!(password.claim("301 5001").unwrap(), "who is in stays in");
    }

    #[test]
    fn what_is_no_hash_is_no_line() {
        let (_folder, password) = password();
        for bad in ["", "plain", "$6$a\nroot::", "$6$a:b", "$1$abc"] {
            password.set(bad, 1).unwrap();
            assert_eq!(hash(&password), LOCKED, "{bad:?}");
        }
        password.set(HASH, 1).unwrap();
        password.used().unwrap();
        password.begin().unwrap();
        password.set(HASH, 1).unwrap();
        assert_eq!(hash(&password), HASH, "of another rescue");
        password.end().unwrap();
        assert_eq!(hash(&password), LOCKED);
    }
}
