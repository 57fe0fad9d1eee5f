//! What Dropbear says: who was let in, and who was not.
//!
//! A line is `[4711] Nov 22 13:00:00 Password auth succeeded for 'root' from 10.0.0.9:50000`; the number is the process of one
//! connection. Nothing that a client sends can begin a line.

/// What is worth knowing of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Somebody was let in by the password.
    ByPassword {
        /// Address and port.
        from: String,
    },
    /// Somebody was let in by a key.
    ByKey {
        /// The key's fingerprint.
        key: String,
        /// Address and port.
        from: String,
    },
    /// A password was wrong.
    Wrong {
        /// Address and port.
        from: String,
    },
    /// Somebody who was in is gone.
    Left {
        /// Address and port.
        from: String,
    },
}

/// The process of the connection, and what it says; none of lines that say nothing of interest.
#[must_use]
pub fn read(line: &str) -> Option<(u32, Said)> {
    let (process, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let process = process.parse().ok()?;
    // Month, day, time; a day below 10 has two spaces before it.
    let text = rest.get(16..)?;
    let said = if let Some(rest) = text.strip_prefix("Password auth succeeded for 'root' from ") {
        Said::ByPassword { from: plain(rest) }
    } else if let Some(rest) = text.strip_prefix("Pubkey auth succeeded for 'root' with ") {
        let (key, from) = rest.split_once(" from ")?;
        Said::ByKey {
            key: plain(key.rsplit(' ').next()?),
            from: plain(from),
        }
    } else if let Some(rest) = text.strip_prefix("Bad password attempt for 'root' from ") {
        Said::Wrong { from: plain(rest) }
    } else if let Some(rest) = text.strip_prefix("Exit (root) from <") {
        Said::Left {
            from: plain(rest.split('>').next()?),
        }
    } else {
        return None;
    };
    Some((process, said))
}

/// An address and a port, or a fingerprint, and nothing else.
fn plain(text: &str) -> String {
    text.trim()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || ".:[]%+/=-_".contains(*letter))
        .take(100)
        .collect()
}

/// How the connection of this process was let in last.
#[must_use]
pub fn let_in(log: &str, process: u32) -> Option<Said> {
    log.lines()
        .filter_map(read)
        .rfind(|(own, said)| *own == process && matches!(said, Said::ByPassword { .. } | Said::ByKey { .. }))
        .map(|(_, said)| said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[300] Nov 22 13:00:00 Not backgrounding
[311] Nov  2 13:00:01 Child connection from 10.0.0.9:50000
[311] Nov  2 13:00:02 Bad password attempt for 'root' from 10.0.0.9:50000
[311] Nov  2 13:00:03 Password auth succeeded for 'root' from 10.0.0.9:50000
[312] Nov 22 13:00:04 Pubkey auth succeeded for 'root' with ssh-ed25519 key SHA256:ab+/c= from [fe80::1]:50001
[312] Nov 22 13:00:05 Exit (root) from <[fe80::1]:50001>: Disconnect received
[311] Nov 22 13:00:05 Exit before auth from <10.0.0.9:1>: Exited normally
nonsense
[] x
[9";

    #[test]
    fn who_was_let_in_is_read_and_the_rest_passed_over() {
        let said: Vec<(u32, Said)> = LOG.lines().filter_map(read).collect();
        let (there, other) = ("10.0.0.9:50000".to_owned(), "[fe80::1]:50001".to_owned());
        assert_eq!(
            said,
            [
                (311, Said::Wrong { from: there.clone() }),
                (311, Said::ByPassword { from: there.clone() }),
                (
                    312,
                    Said::ByKey {
                        key: "SHA256:ab+/c=".to_owned(),
                        from: other.clone()
                    }
                ),
                (312, Said::Left { from: other.clone() }),
            ]
        );
        assert_eq!(let_in(LOG, 311), Some(Said::ByPassword { from: there }));
        assert!(matches!(let_in(LOG, 312), Some(Said::ByKey { .. })));
        assert_eq!(let_in(LOG, 300), None);
    }
}
