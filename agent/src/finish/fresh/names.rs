//! Fresh identifiers, and how one is put in the place of another in a text. Pure.

use sha2::{Digest as _, Sha256};

use crate::finish::table::Identity;

/// What an old identifier is called in files, and the new one; in lower case, of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) old: String,
    pub(super) new: String,
    /// Only where a number of two digits follows: partitions of an MBR are named after its signature.
    numbered: bool,
}

/// The change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) identity: Identity,
    pub(super) pairs: Vec<Pair>,
}

/// New identifiers for old ones. They follow from `secret`, which is of this boot of this machine, so that a step that was
/// interrupted between files and table makes the same ones again; none when the disk has them already.
pub(super) fn change(old: &Identity, secret: &[u8]) -> Option<Change> {
    match old {
        Identity::Gpt { disk, partitions } => {
            let fresh = guid(secret, b"disk", &[0; 16]);
            if *disk == fresh {
                return None;
            }
            let new: Vec<(u32, [u8; 16])> = partitions
                .iter()
                .map(|(number, old)| (*number, guid(secret, &number.to_le_bytes(), old)))
                .collect();
            let pair = |old: &[u8; 16], new: &[u8; 16]| Pair {
                old: shown(old),
                new: shown(new),
                numbered: false,
            };
            let pairs = partitions.iter().zip(&new);
            let pairs = pairs
                .filter(|((_, old), _)| *old != [0; 16])
                .map(|((_, old), (_, new))| pair(old, new))
                .chain((*disk != [0; 16]).then(|| pair(disk, &fresh)))
                .collect();
            Some(Change {
                identity: Identity::Gpt {
                    disk: fresh,
                    partitions: new,
                },
                pairs,
            })
        }
        Identity::Mbr(old) => {
            let [a, b, c, d, ..] = guid(secret, b"disk", &[0; 16]);
            // Zeroes are none.
            let new = [a | 1, b, c, d];
            let text = |bytes: &[u8; 4]| format!("{:08x}", u32::from_le_bytes(*bytes));
            (*old != new && *old != [0; 4]).then(|| Change {
                identity: Identity::Mbr(new),
                pairs: vec![Pair {
                    old: text(old),
                    new: text(&new),
                    numbered: true,
                }],
            })
        }
    }
}

/// What a file system is called now, and what it will be called; none for one that has its new name already.
pub(super) fn renamed(old: &str, secret: &[u8], name: &str) -> Option<Pair> {
    let bytes = guid(secret, b"file system", &hash_of(name));
    let new = uuid::Uuid::from_bytes_le(bytes).to_string();
    let new = match old.len() {
        36 => new,
        // FAT's: two words of 16 bits.
        9 => format!("{}-{}", &new[..4], &new[4..8]),
        _ => return None,
    };
    let old = old.to_ascii_lowercase();
    (old != new).then_some(Pair {
        old,
        new,
        numbered: false,
    })
}

fn hash_of(name: &str) -> [u8; 16] {
    Sha256::digest(name.as_bytes())[..16]
        .try_into()
        .expect("16 of 32 bytes")
}

/// A random GUID by its form (version 4), in the byte order of a GPT.
fn guid(secret: &[u8], what: &[u8], old: &[u8; 16]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [secret, what, old] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    let bytes: [u8; 16] = hash.finalize()[..16].try_into().expect("16 of 32 bytes");
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_bytes_le()
}

fn shown(guid: &[u8; 16]) -> String {
    uuid::Uuid::from_bytes_le(*guid).to_string()
}

/// The text with new identifiers in place of old ones; none when it has none of them.
pub(super) fn replaced(text: &[u8], pairs: &[Pair]) -> Option<Vec<u8>> {
    let mut out = None;
    for pair in pairs {
        for at in places(text, pair) {
            let out: &mut Vec<u8> = out.get_or_insert_with(|| text.to_vec());
            let place = &mut out[at..at + pair.new.len()];
            let upper = place.iter().any(u8::is_ascii_uppercase);
            place.copy_from_slice(pair.new.as_bytes());
            if upper || pair.new.len() == 9 {
                // FAT's are written in capitals.
                place.make_ascii_uppercase();
            }
        }
    }
    out
}

/// Whether a text names one of the old identifiers.
pub(super) fn names_any(text: &[u8], pairs: &[Pair]) -> bool {
    pairs.iter().any(|pair| !places(text, pair).is_empty())
}

fn places(text: &[u8], pair: &Pair) -> Vec<usize> {
    let length = pair.old.len();
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
    let ends = |end: usize| {
        if !pair.numbered {
            return !is_part(text.get(end)) && text.get(end) != Some(&b'-');
        }
        text.get(end) == Some(&b'-')
            && is_part(text.get(end + 1))
            && is_part(text.get(end + 2))
            && !is_part(text.get(end + 3))
            && text.get(end + 3) != Some(&b'-')
    };
    let begins = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        !is_part(before) && before != Some(&b'-')
    };
    let first = pair.old.as_bytes()[0];
    text.windows(length)
        .enumerate()
        .filter(|(_, window)| window[0].eq_ignore_ascii_case(&first))
        .filter(|(at, window)| {
            window.eq_ignore_ascii_case(pair.old.as_bytes()) && begins(*at) && ends(at + length)
        })
        .map(|(at, _)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gpt() -> Identity {
        Identity::Gpt {
            disk: [0xd1; 16],
            partitions: vec![(1, [0xa1; 16]), (15, [0xef; 16])],
        }
    }

    const ROOT: &str = "a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1";

    #[test]
    fn all_identifiers_are_fresh_and_come_again_after_an_interruption() {
        let first = change(&gpt(), b"boot 1 sda").unwrap();
        assert_eq!(change(&gpt(), b"boot 1 sda").unwrap(), first);
        assert_eq!(change(&first.identity, b"boot 1 sda"), None);
        for other in [&b"boot 2 sda"[..], b"boot 1 sdb"] {
            let other = change(&gpt(), other).unwrap();
            for (one, two) in first.pairs.iter().zip(&other.pairs) {
                assert!(one.old == two.old && one.new != two.new);
            }
        }
        assert_eq!(first.pairs.len(), 3);
        for pair in &first.pairs {
            let new = uuid::Uuid::parse_str(&pair.new).unwrap();
            assert_eq!(new.get_version_num(), 4, "{pair:?}");
            assert_eq!(new.get_variant(), uuid::Variant::RFC4122);
        }
        let mbr = Identity::Mbr([4, 3, 2, 1]);
        let changed = change(&mbr, b"s").unwrap();
        assert_eq!(changed.pairs[0].old, "01020304");
        assert_eq!(change(&changed.identity, b"s"), None);
        assert_eq!(change(&Identity::Mbr([0; 4]), b"s"), None, "it had none");
    }

    #[test]
    fn names_of_file_systems_are_fresh_and_settle() {
        for old in ["6D1A5C0E-2f0b-4a51-9f3b-0c5e7a1b2d31", "1AB0-0077"] {
            let pair = renamed(old, b"s", "sda3").unwrap();
            assert_eq!((pair.old.len(), pair.new.len()), (old.len(), old.len()));
            assert_eq!(renamed(&pair.new, b"s", "sda3"), None);
            assert_ne!(renamed(old, b"s", "sda2").unwrap().new, pair.new);
            let line = format!("UUID={old} / ext4");
            let new =
                String::from_utf8(replaced(line.as_bytes(), std::slice::from_ref(&pair)).unwrap()).unwrap();
            assert!(
                new.eq_ignore_ascii_case(&format!("UUID={} / ext4", pair.new)),
                "{new}"
            );
        }
        assert_eq!(renamed("0123456789ABCDEF", b"s", "sda3"), None, "NTFS");
    }

    #[test]
    fn texts_name_the_new_ones() {
        let pairs = change(&gpt(), b"s").unwrap().pairs;
        let new = &pairs[0].new;
        for (before, after) in [
            (
                format!("PARTUUID={ROOT} / ext4"),
                Some(format!("PARTUUID={new} / ext4")),
            ),
            (
                format!("root=PARTUUID={} ro", ROOT.to_uppercase()),
                Some(format!("root=PARTUUID={} ro", new.to_uppercase())),
            ),
            (
                format!("/dev/disk/by-partuuid/{ROOT}\n{ROOT}"),
                Some(format!("/dev/disk/by-partuuid/{new}\n{new}")),
            ),
            (format!("UUID={ROOT}0"), None),
            (format!("0{ROOT}"), None),
            ("UUID=11111111-2222-3333-4444-555555555555 /".to_owned(), None),
            (String::new(), None),
        ] {
            let found = replaced(before.as_bytes(), &pairs).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(found, after, "{before}");
            assert_eq!(names_any(before.as_bytes(), &pairs), after.is_some());
        }
        let pairs = change(&Identity::Mbr([4, 3, 2, 0xab]), b"s").unwrap().pairs;
        let new = &pairs[0].new;
        for (before, after) in [
            (
                "PARTUUID=AB020304-01 /".to_owned(),
                Some(format!("PARTUUID={}-01 /", new.to_uppercase())),
            ),
            (
                "root=PARTUUID=ab020304-05".to_owned(),
                Some(format!("root=PARTUUID={new}-05")),
            ),
            ("UUID=ab020304-1234-5678-9abc-def012345678".to_owned(), None),
            ("ab020304".to_owned(), None),
        ] {
            let found = replaced(before.as_bytes(), &pairs).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(found, after, "{before}");
        }
    }

    proptest! {
        #[test]
        fn a_text_keeps_its_length_and_no_old_name(text in "[a1 =-]{0,40}", at in any::<prop::sample::Index>()) {
            let pairs = change(&gpt(), b"s").unwrap().pairs;
            let mut text = text;
            text.insert_str(at.index(text.len() + 1), &format!(" {ROOT} "));
            let new = replaced(text.as_bytes(), &pairs).unwrap();
            prop_assert_eq!(new.len(), text.len());
            prop_assert!(!names_any(&new, &pairs));
        }
    }
}
