//! Users that the image brings: the keys and passwords of its builder, or of the machine that it was made of, open every
//! machine that gets it. What becomes of them is said by the deployment.
//!
//! Users stay, with their files; only what lets somebody in goes.

use std::collections::BTreeSet;

use super::confined::{ConfinedError, ConfinedRoot, Kind};

/// The folder of most homes.
pub const HOMES: &str = "home";

const MAX_FILE: u64 = 4 << 20;
const MAX_CONFIG: u64 = 256 << 10;
/// Users that are named in the report.
const MAX_NAMED: usize = 20;
/// Where sshd's settings are, each with a folder of more beside it; SUSE's own are below /usr.
const SSHD: [&str; 2] = ["etc/ssh/sshd_config", "usr/etc/ssh/sshd_config"];
/// What sshd reads when its settings don't say.
const KEY_FILES: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];
/// No password opens it, and it counts as locked.
const LOCKED: &str = "!*";

/// A line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    id: String,
    /// Without the slash in front.
    home: String,
}

/// Removes keys, locks passwords, or both. The answer is what was done, for the report.
///
/// # Errors
/// When a file can't be read or changed.
pub fn apply(root: &ConfinedRoot, keys: bool, passwords: bool) -> Result<Vec<String>, ConfinedError> {
    let mut notes = Vec::new();
    if keys {
        notes.push(told("keys of the image removed", &remove_keys(root)?));
    }
    if passwords {
        notes.push(told("passwords of the image locked", &lock_passwords(root)?));
    }
    Ok(notes)
}

fn told(what: &str, names: &[String]) -> String {
    match names {
        [] => format!("{what}: there were none"),
        names if names.len() > MAX_NAMED => format!(
            "{what}: {} and {} more",
            names[..MAX_NAMED].join(", "),
            names.len() - MAX_NAMED
        ),
        names => format!("{what}: {}", names.join(", ")),
    }
}

fn text(root: &ConfinedRoot, path: &str, limit: u64) -> Result<Option<String>, ConfinedError> {
    let bytes = root.read(path, limit)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn remove_keys(root: &ConfinedRoot) -> Result<Vec<String>, ConfinedError> {
    let patterns = key_files(root)?;
    let mut done = Vec::new();
    for user in users(root)? {
        let paths: BTreeSet<String> = patterns
            .iter()
            .filter_map(|pattern| expand(pattern, &user))
            .collect();
        let mut any = false;
        for path in paths {
            any |= root.remove_file(&path)?;
        }
        if any {
            done.push(user.name);
        }
    }
    Ok(done)
}

/// Those of /etc/passwd, and whoever else has a home.
fn users(root: &ConfinedRoot) -> Result<Vec<User>, ConfinedError> {
    let passwd = text(root, "etc/passwd", MAX_FILE)?.unwrap_or_default();
    let mut users: Vec<User> = passwd
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some(User {
                name: (*fields.first()?).to_owned(),
                id: (*fields.get(2)?).to_owned(),
                home: fields.get(5)?.trim_matches('/').to_owned(),
            })
        })
        .collect();
    for name in root.list(HOMES)? {
        let home = format!("{HOMES}/{name}");
        if root.kind(&home)? == Some(Kind::Folder) && users.iter().all(|user| user.home != home) {
            users.push(User {
                name,
                id: String::new(),
                home,
            });
        }
    }
    Ok(users)
}

/// What sshd's settings name, in any of their blocks, and what it reads without them.
fn key_files(root: &ConfinedRoot) -> Result<Vec<String>, ConfinedError> {
    let mut found: BTreeSet<String> = KEY_FILES.iter().map(|&path| path.to_owned()).collect();
    for main in SSHD {
        let folder = format!("{main}.d");
        let more = root.list(&folder)?;
        let paths = more.iter().map(|name| format!("{folder}/{name}"));
        for path in paths.chain([main.to_owned()]) {
            if root.kind(&path)? == Some(Kind::Folder) {
                continue;
            }
            let settings = text(root, &path, MAX_CONFIG)?.unwrap_or_default();
            for line in settings.lines() {
                let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
                if words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case("AuthorizedKeysFile"))
                {
                    let named = words.map(|word| word.trim_matches('"').to_owned());
                    found.extend(named.filter(|word| word != "none"));
                }
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The file of one user, below the root: sshd_config(5), TOKENS. None for what has no meaning here.
fn expand(pattern: &str, user: &User) -> Option<String> {
    let mut path = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => match letters.next()? {
                '%' => path.push('%'),
                'h' => {
                    path.push('/');
                    path.push_str(&user.home);
                }
                'u' => path.push_str(&user.name),
                'U' => path.push_str(&user.id),
                _ => return None,
            },
            letter => path.push(letter),
        }
    }
    match path.strip_prefix('/') {
        Some(absolute) => Some(absolute.trim_start_matches('/').to_owned()),
        None if user.home.is_empty() => Some(path),
        None => Some(format!("{}/{path}", user.home)),
    }
}

/// In /etc/shadow, and in /etc/passwd where a system without shadow has them. Copies with the old ones go.
fn lock_passwords(root: &ConfinedRoot) -> Result<Vec<String>, ConfinedError> {
    let mut done = Vec::new();
    for (path, elsewhere) in [("etc/shadow", None), ("etc/passwd", Some("x"))] {
        let Some(bytes) = root.read(path, MAX_FILE)? else {
            continue;
        };
        let Ok(old) = str::from_utf8(&bytes) else {
            continue;
        };
        let (new, names) = locked(old, elsewhere);
        if !names.is_empty() {
            root.replace(path, new.as_bytes())?;
            done.extend(names);
        }
        root.remove_file(&format!("{path}-"))?;
    }
    Ok(done)
}

/// The second field of each line. An empty one opens without any password; `elsewhere` stands for one in another file.
fn locked(text: &str, elsewhere: Option<&str>) -> (String, Vec<String>) {
    let mut names = Vec::new();
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| {
            let mut fields = line.splitn(3, ':');
            let (Some(name), Some(password), Some(rest)) = (fields.next(), fields.next(), fields.next())
            else {
                return line.to_owned();
            };
            if password.starts_with(['!', '*']) || Some(password) == elsewhere {
                return line.to_owned();
            }
            names.push(name.to_owned());
            format!("{name}:{LOCKED}:{rest}")
        })
        .collect();
    (lines.join("\n"), names)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
        path::Path,
    };

    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n\
        builder:x:1000:1000:B,,,:/home/builder:/bin/bash\ndeploy:x:1001:1001::/srv/deploy/:/bin/sh\n";

    #[test]
    fn keys_go_wherever_sshd_looks_for_them_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "etc/passwd", PASSWD);
        put(
            root,
            "etc/ssh/sshd_config",
            "#AuthorizedKeysFile no\nMatch User x\n  authorizedkeysfile=\"/etc/ssh/keys/%u\" none %h/.k/%U\n",
        );
        put(
            root,
            "etc/ssh/sshd_config.d/50-cloud.conf",
            "AuthorizedKeysFile\t/var/keys/%% %q/x\n",
        );
        let gone = [
            "root/.ssh/authorized_keys",
            "home/builder/.ssh/authorized_keys",
            "home/builder/.ssh/authorized_keys2",
            "srv/deploy/.ssh/authorized_keys",
            "home/left-over/.ssh/authorized_keys",
            "etc/ssh/keys/builder",
            "home/builder/.k/1000",
            "var/keys/%",
        ];
        let kept = [
            "home/builder/.ssh/known_hosts",
            "home/builder/.ssh/id_ed25519",
            "etc/ssh/keys/other",
        ];
        for path in gone.iter().chain(&kept) {
            put(root, path, "ssh-ed25519 AAAA");
        }
        std::os::unix::fs::symlink("/etc/shadow", root.join("home/link")).unwrap();
        let notes = apply(&ConfinedRoot::open(root).unwrap(), true, false).unwrap();
        assert_eq!(
            notes,
            ["keys of the image removed: root, builder, deploy, left-over"]
        );
        for path in gone {
            assert!(!root.join(path).exists(), "{path}");
        }
        for path in kept {
            assert!(root.join(path).exists(), "{path}");
        }
        let notes = apply(&ConfinedRoot::open(root).unwrap(), true, false).unwrap();
        assert_eq!(notes, ["keys of the image removed: there were none"]);
    }

    #[test]
    fn passwords_are_locked_and_the_file_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(
            root,
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nold:$1$ab$cd:5:5::/home/old:/bin/sh\nopen::6:6::/:/bin/sh\n",
        );
        let shadow = "root:$y$j9T$salt$hash:19000:0:99999:7:::\nnobody:*:1::::::\nlocked:!$6$a$b:1::::::\nnone:!!:1::::::\n\
            empty::1::::::\nno line\n";
        put(root, "etc/shadow", shadow);
        put(root, "etc/shadow-", shadow);
        fs::set_permissions(root.join("etc/shadow"), Permissions::from_mode(0o640)).unwrap();
        // Where the test may: the group that the distribution gives it.
        let owned = std::os::unix::fs::chown(root.join("etc/shadow"), None, Some(42)).is_ok();
        let notes = apply(&ConfinedRoot::open(root).unwrap(), false, true).unwrap();
        assert_eq!(notes, ["passwords of the image locked: root, empty, old, open"]);
        assert_eq!(
            fs::read_to_string(root.join("etc/shadow")).unwrap(),
            "root:!*:19000:0:99999:7:::\nnobody:*:1::::::\nlocked:!$6$a$b:1::::::\nnone:!!:1::::::\nempty:!*:1::::::\nno line\n"
        );
        assert_eq!(
            fs::read_to_string(root.join("etc/passwd")).unwrap(),
            "root:x:0:0::/root:/bin/sh\nold:!*:5:5::/home/old:/bin/sh\nopen:!*:6:6::/:/bin/sh\n"
        );
        let file = fs::metadata(root.join("etc/shadow")).unwrap();
        assert_eq!(file.mode() & 0o7777, 0o640);
        assert!(!owned || file.gid() == 42);
        assert!(!root.join("etc/shadow-").exists());
        let notes = apply(&ConfinedRoot::open(root).unwrap(), false, true).unwrap();
        assert_eq!(notes, ["passwords of the image locked: there were none"]);
    }

    #[test]
    fn to_keep_is_to_touch_nothing() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "etc/shadow", "root::1::::::\n");
        put(folder.path(), "root/.ssh/authorized_keys", "k");
        let root = ConfinedRoot::open(folder.path()).unwrap();
        assert_eq!(apply(&root, false, false).unwrap(), [""; 0]);
        assert!(folder.path().join("root/.ssh/authorized_keys").exists());
        // A system without users is none of ours to judge.
        let empty = tempfile::tempdir().unwrap();
        let root = ConfinedRoot::open(empty.path()).unwrap();
        assert_eq!(apply(&root, true, true).unwrap().len(), 2);
    }
}
