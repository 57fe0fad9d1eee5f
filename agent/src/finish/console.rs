//! The serial console of the firmware as one of the installed system.

use super::{FinishError, Layout, Places, kernel};
use crate::session::backoff::chain;

mod spcr;

/// Arguments for the kernels of the installed system, or a note why there are none. What the request and the image say of
/// consoles comes first. `asked`: the arguments of the request.
///
/// # Errors
/// See [`FinishError`].
pub(super) fn arguments(
    places: &Places,
    layout: &Layout,
    asked: &[String],
) -> Result<(Vec<String>, Option<String>), FinishError> {
    let none = |note: String| Ok((Vec::new(), Some(note)));
    if asked.iter().any(|argument| argument.starts_with("console=")) {
        return none("the console is the one of the request, not the firmware's".to_owned());
    }
    match spcr::arguments(&places.sys) {
        Err(error) => none(format!(
            "no console is added: the firmware's table of it (SPCR) cannot be used: {}",
            chain(&error)
        )),
        Ok(None) => none("no console is added: the firmware names no serial one (SPCR)".to_owned()),
        Ok(Some(words)) if kernel::names_console(places, layout, &words)? => none(format!(
            "{} of the firmware is not added: the image names a console of its own",
            words.join(" ")
        )),
        Ok(Some(words)) => Ok((words, None)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use imprint_proto::agent::v1::FinishPlan;

    use super::{spcr::tests::table, *};
    use crate::finish::{Done, WrittenDisk, find_layout, seed, tests, with_root};

    #[test]
    fn the_firmware_gives_way_to_the_image_and_to_the_request() {
        const GRUB: &str = "etc/default/grub";
        let folder = tempfile::tempdir().unwrap();
        let Some((device, _image)) = tests::disk(folder.path(), 512) else {
            return; // no root, no loop devices
        };
        let written = WrittenDisk {
            name: device.0.strip_prefix("/dev/").unwrap().to_owned(),
            sector_bytes: 512,
            size_bytes: 96 * tests::MIB,
        };
        let mut places = Places {
            mounts: folder.path().join("mnt"),
            ..Places::below(Path::new("/"), folder.path())
        };
        let layout = find_layout(&places, &written).unwrap();
        places.sys = folder.path().join("sys");
        let tables = places.sys.join("firmware/acpi/tables");
        fs::create_dir_all(&tables).unwrap();
        fs::write(tables.join("SPCR"), table(2, 0, 1, 0x2f8, 7)).unwrap();
        let of = |before: &str, asked: &[&str], places: &Places| {
            let plan = FinishPlan {
                firmware_console: true,
                kernel_arguments: asked.iter().map(ToString::to_string).collect(),
                ..FinishPlan::default()
            };
            let mut after = String::new();
            with_root(places, &layout, |root| {
                root.write(GRUB, before.as_bytes(), 0o644)?;
                Ok(Done::default())
            })
            .unwrap();
            // Twice, as an agent that was killed.
            seed(places, &layout, &plan).unwrap();
            let done = seed(places, &layout, &plan).unwrap();
            with_root(places, &layout, |root| {
                after = String::from_utf8(root.read(GRUB, 4096)?.unwrap()).unwrap();
                Ok(Done::default())
            })
            .unwrap();
            (after, done.notes.join("; "))
        };
        let (after, _) = of("GRUB_CMDLINE_LINUX=\"quiet\"\n", &[], &places);
        assert_eq!(
            after,
            "GRUB_CMDLINE_LINUX=\"quiet console=tty0 console=ttyS1,115200\"\n"
        );
        let own = "GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n";
        let (after, notes) = of(own, &[], &places);
        assert!(
            after == own && notes.contains("a console of its own"),
            "{after} {notes}"
        );
        let (after, notes) = of("GRUB_CMDLINE_LINUX=\"\"\n", &["console=ttyS3"], &places);
        assert_eq!(after, "GRUB_CMDLINE_LINUX=\"console=ttyS3\"\n", "{notes}");
        fs::write(tables.join("SPCR"), [0; 80]).unwrap();
        let (after, notes) = of("GRUB_CMDLINE_LINUX=\"\"\n", &[], &places);
        assert_eq!(after, "GRUB_CMDLINE_LINUX=\"\"\n");
        assert!(
            notes.contains("cannot be used: its signature is wrong"),
            "{notes}"
        );
        fs::remove_file(tables.join("SPCR")).unwrap();
        let (_, notes) = of(own, &[], &places);
        assert!(notes.contains("names no serial one"), "{notes}");
    }
}
