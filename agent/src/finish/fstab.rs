//! Lines of fstab that would hold up the first boot: swap that stayed with the builder, file systems on disks that this machine
//! does not have. Pure.

/// Whether what a line names is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Here,
    /// No disk of this machine has it.
    Absent,
    /// That can't be known from outside of the running system.
    Unknown,
}

/// The text without what holds up the boot, and a sentence for each line; none when nothing had to be changed.
///
/// Swap that is not there is commented out, and any other file system but the root gets the option `nofail`.
#[must_use]
pub fn tidied(fstab: &str, presence: impl Fn(&str) -> Presence) -> Option<(String, Vec<String>)> {
    let (mut out, mut notes) = (String::new(), Vec::new());
    for line in fstab.split_inclusive('\n') {
        let fields = fields(line);
        let [spec, point, kind, ..] = fields[..] else {
            out.push_str(line);
            continue;
        };
        let text = |(begin, end): (usize, usize)| &line[begin..end];
        let is_comment = text(spec).starts_with('#');
        if is_comment || text(point) == "/" || presence(text(spec)) != Presence::Absent {
            out.push_str(line);
            continue;
        }
        if text(kind) == "swap" {
            out.push_str("# Not on this machine's disks: ");
            out.push_str(line);
            notes.push(format!(
                "fstab: swap on {} is not there any more and was commented out",
                text(spec)
            ));
            continue;
        }
        let options = fields.get(3).copied();
        let has =
            |word: &str| options.is_some_and(|options| text(options).split(',').any(|option| option == word));
        if has("nofail") || has("noauto") {
            out.push_str(line);
            continue;
        }
        let end = options.map_or(kind.1, |options| options.1);
        let added = if options.is_some() { ",nofail" } else { " nofail" };
        out.push_str(&line[..end]);
        out.push_str(added);
        out.push_str(&line[end..]);
        notes.push(format!(
            "fstab: {} is on no disk of this machine; {} does not hold up the boot any more (nofail)",
            text(spec),
            text(point)
        ));
    }
    (!notes.is_empty()).then_some((out, notes))
}

/// Begin and end of each field.
fn fields(line: &str) -> Vec<(usize, usize)> {
    let mut fields = Vec::new();
    let mut begin = None;
    for (at, letter) in line.char_indices() {
        match (letter.is_whitespace(), begin) {
            (false, None) => begin = Some(at),
            (true, Some(from)) => {
                fields.push((from, at));
                begin = None;
            }
            _ => {}
        }
    }
    fields.extend(begin.map(|from| (from, line.len())));
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn presence(spec: &str) -> Presence {
        match spec {
            _ if spec.contains("here") => Presence::Here,
            _ if spec.contains("gone") => Presence::Absent,
            _ => Presence::Unknown,
        }
    }

    #[test]
    fn only_what_holds_up_the_boot_is_changed() {
        for (line, expected) in [
            ("UUID=here / ext4 defaults 0 1\n", None),
            ("UUID=gone / ext4 defaults 0 1\n", None),
            ("UUID=here none swap sw 0 0\n", None),
            ("/dev/mapper/vg-swap none swap sw 0 0\n", None),
            ("# UUID=gone none swap sw\n", None),
            ("tmpfs /tmp tmpfs\n", None),
            ("\n", None),
            ("UUID=gone /srv ext4 nofail 0 2\n", None),
            ("UUID=gone /srv ext4 noauto,user 0 2\n", None),
            (
                "UUID=gone none swap sw 0 0\n",
                Some("# Not on this machine's disks: UUID=gone none swap sw 0 0\n"),
            ),
            (
                "UUID=gone\t/srv  xfs\tdefaults,ro\t0 2\n",
                Some("UUID=gone\t/srv  xfs\tdefaults,ro,nofail\t0 2\n"),
            ),
            ("UUID=gone /srv xfs", Some("UUID=gone /srv xfs nofail")),
        ] {
            let found = tidied(line, presence);
            assert_eq!(found.as_ref().map(|found| found.0.as_str()), expected, "{line}");
            if let Some((text, notes)) = found {
                assert_eq!(notes.len(), 1);
                assert_eq!(tidied(&text, presence), None, "a second time changes nothing");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([#a-z=/ \t\n]|gone|swap|é){0,60}") {
            if let Some((text, _)) = tidied(&text, presence) {
                prop_assert_eq!(tidied(&text, presence), None);
            }
        }
    }
}
