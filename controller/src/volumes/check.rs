//! What a volume may be like.

use std::{collections::HashSet, net::SocketAddr};

use ulid::Ulid;

use super::{Backing, Limits, NewVolume};

/// A petabyte.
const LARGEST_BYTES: u64 = 1 << 50;
const MOST_ADDRESSES: usize = 8;
/// Of a volume's name.
pub(super) const LONGEST_NAME: usize = 100;
/// NVMe: an NQN has no more bytes.
const LONGEST_NQN: usize = 223;
/// Of serial numbers and world-wide names, in characters.
const LONGEST_SERIAL: usize = 128;
/// `/v1/volumes/orphans` is something else.
const RESERVED: &str = "orphans";

/// Why a volume like this cannot be.
pub(super) fn check(new: &NewVolume) -> Result<(), String> {
    name(&new.name)?;
    if new.size_bytes == 0 || !new.size_bytes.is_multiple_of(512) || new.size_bytes > LARGEST_BYTES {
        return Err(format!(
            "the size is a multiple of 512 bytes, {LARGEST_BYTES} at most"
        ));
    }
    if new.limits.kiops == Some(0) || new.limits.mb_per_s == Some(0) {
        return Err("a limit of 0 lets nothing pass; leave it out for none".to_owned());
    }
    match &new.backing {
        Backing::Named { name } if visible(name, LONGEST_NQN) => Ok(()),
        Backing::Named { .. } => Err(format!(
            "the card's name of a volume has 1 to {LONGEST_NQN} visible characters"
        )),
        Backing::NvmeTcp {
            subsystem,
            namespace,
            addresses,
        } => storage(subsystem, *namespace, addresses),
        Backing::Static { .. } if new.limits != Limits::default() => {
            Err("nobody holds a disk that is presented already to limits; leave them out".to_owned())
        }
        Backing::Static { serial, wwn } => disk(serial.as_deref(), wwn.as_deref()),
    }
}

fn name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts || name.len() > LONGEST_NAME || !name.chars().all(good) {
        return Err(format!(
            "a name has 1 to {LONGEST_NAME} letters, digits, dots, hyphens and underscores, and starts with a letter or \
             a digit"
        ));
    }
    if name.eq_ignore_ascii_case(RESERVED) {
        return Err(format!("no volume can be called `{RESERVED}`"));
    }
    if Ulid::from_string(name).is_ok() {
        return Err(format!("`{name}` is an id, and cannot be a name"));
    }
    Ok(())
}

fn storage(subsystem: &str, namespace: u32, addresses: &[SocketAddr]) -> Result<(), String> {
    if !visible(subsystem, LONGEST_NQN) || !subsystem.starts_with("nqn.") {
        let clipped: String = subsystem.chars().take(40).collect();
        return Err(format!("`{clipped}` is no NQN"));
    }
    if namespace == 0 {
        return Err("namespaces count from 1".to_owned());
    }
    if addresses.is_empty() || addresses.len() > MOST_ADDRESSES {
        return Err(format!("a storage system has 1 to {MOST_ADDRESSES} addresses"));
    }
    let reachable = |address: &&SocketAddr| {
        address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
    };
    if let Some(bad) = addresses.iter().find(|address| !reachable(address)) {
        return Err(format!("no storage system is at {bad}"));
    }
    let different: HashSet<_> = addresses.iter().collect();
    if different.len() != addresses.len() {
        return Err("an address of the storage system is named twice".to_owned());
    }
    Ok(())
}

fn disk(serial: Option<&str>, wwn: Option<&str>) -> Result<(), String> {
    if serial.is_none() && wwn.is_none() {
        return Err("a disk that is presented already is known by a serial number or a WWN".to_owned());
    }
    // Serial numbers have blanks within.
    let good = |text: &str| {
        let graphic = |c: char| c.is_ascii_graphic() || c == ' ';
        !text.is_empty() && text.trim() == text && text.len() <= LONGEST_SERIAL && text.chars().all(graphic)
    };
    if !serial.is_none_or(good) {
        return Err(format!(
            "a serial number has 1 to {LONGEST_SERIAL} characters of ASCII, and no blanks around them"
        ));
    }
    if !wwn.is_none_or(|wwn| visible(wwn, LONGEST_SERIAL)) {
        return Err(format!("a WWN has 1 to {LONGEST_SERIAL} visible characters"));
    }
    Ok(())
}

fn visible(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && text.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, backing: Backing) -> NewVolume {
        NewVolume {
            name: name.to_owned(),
            project_id: None,
            size_bytes: 1 << 20,
            backing,
            limits: Limits::default(),
        }
    }

    fn named() -> Backing {
        Backing::Named { name: "x".into() }
    }

    fn storage(subsystem: &str, namespace: u32, addresses: &[&str]) -> Backing {
        Backing::NvmeTcp {
            subsystem: subsystem.into(),
            namespace,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn disk(serial: Option<&str>, wwn: Option<&str>) -> Backing {
        Backing::Static {
            serial: serial.map(Into::into),
            wwn: wwn.map(Into::into),
        }
    }

    #[test]
    fn good_volumes_pass() {
        let nine = "192.0.2.7:4420";
        for backing in [
            named(),
            storage("nqn.2026-01.example:a", 1, &[nine, "[2001:db8::7]:4420"]),
            disk(Some("S3 X 1"), None),
            disk(None, Some("eui.0025385b71b00001")),
        ] {
            assert_eq!(check(&volume("web-data.1", backing)), Ok(()));
        }
    }

    #[test]
    fn names_lead_to_one_volume_only() {
        let long = "x".repeat(LONGEST_NAME + 1);
        for name in [
            "",
            ".",
            "..",
            "-x",
            "a b",
            "a/b",
            "Orphans",
            "01K9ZZZZZZZZZZZZZZZZZZZZZZ",
            &long,
        ] {
            assert!(check(&volume(name, named())).is_err(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let nqn = "nqn.2026-01.example:a";
        let many: Vec<String> = (0..9).map(|last| format!("192.0.2.{last}:4420")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for backing in [
            Backing::Named { name: String::new() },
            storage("iqn.2026", 1, &["192.0.2.7:4420"]),
            storage(nqn, 0, &["192.0.2.7:4420"]),
            storage(nqn, 1, &[]),
            storage(nqn, 1, &many),
            storage(nqn, 1, &["192.0.2.7:0"]),
            storage(nqn, 1, &["0.0.0.0:4420"]),
            storage(nqn, 1, &["192.0.2.7:4420", "192.0.2.7:4420"]),
            disk(None, None),
            disk(Some(""), None),
            disk(Some(" x"), Some("y")),
            disk(Some("x"), Some("a b")),
        ] {
            assert!(check(&volume("x", backing.clone())).is_err(), "{backing:?}");
        }
        for size_bytes in [0, 513, LARGEST_BYTES + 512] {
            let new = NewVolume {
                size_bytes,
                ..volume("x", named())
            };
            assert!(check(&new).is_err(), "{size_bytes}");
        }
        let limits = |kiops| Limits {
            kiops,
            mb_per_s: None,
        };
        for (limits, backing) in [
            (limits(Some(0)), named()),
            (limits(Some(1)), disk(Some("x"), None)),
        ] {
            let new = NewVolume {
                limits,
                ..volume("x", backing)
            };
            assert!(check(&new).is_err(), "{new:?}");
        }
    }
}
