//! Which program of an EFI system partition is the boot loader: a table, from the best to the last resort.

use crate::finish::confined::{ConfinedError, ConfinedRoot, Kind};

/// Longest program that is copied to the removable path.
const MAX_PROGRAM_BYTES: u64 = 64 << 20;
const MAX_CSV_BYTES: u64 = 64 << 10;

/// What an architecture calls its files.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// The list that shim's fall-back reads.
    pub csv: &'static str,
    /// The removable path's file.
    pub removable: &'static str,
    /// Loaders by preference, in any folder below EFI.
    pub loaders: &'static [&'static str],
    /// What a loader wants beside it on the removable path.
    pub companions: &'static [&'static str],
}

/// The names of this machine's architecture.
pub const NAMES: Names = if cfg!(target_arch = "aarch64") {
    Names {
        csv: "BOOTAA64.CSV",
        removable: "BOOTAA64.EFI",
        loaders: &[
            "shimaa64.efi",
            "shim.efi",
            "grubaa64.efi",
            "systemd-bootaa64.efi",
            "bootmgfw.efi",
        ],
        companions: &["grubaa64.efi", "mmaa64.efi", "grub.cfg"],
    }
} else {
    Names {
        csv: "BOOTX64.CSV",
        removable: "BOOTX64.EFI",
        loaders: &[
            "shimx64.efi",
            "shim.efi",
            "grubx64.efi",
            "systemd-bootx64.efi",
            "bootmgfw.efi",
        ],
        companions: &["grubx64.efi", "mmx64.efi", "grub.cfg"],
    }
};

/// A boot loader that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// Path from the root of the partition, with slashes, as its names are spelt there.
    pub path: String,
    /// Label for the firmware's menu.
    pub label: String,
    /// How it was found, for the report.
    pub found_by: &'static str,
}

impl Loader {
    /// The path as the firmware wants it.
    #[must_use]
    pub fn efi_path(&self) -> String {
        format!("\\{}", self.path.replace('/', "\\"))
    }
}

/// Looks through the table. `preferred` is the folder that the installed system's ID suggests ("debian").
///
/// # Errors
/// When the partition can't be read.
pub fn find(esp: &ConfinedRoot, names: &Names, preferred: &str) -> Result<Option<Loader>, ConfinedError> {
    let Some(efi) = entry(esp, "", "EFI")? else {
        return Ok(None);
    };
    let mut folders: Vec<String> = Vec::new();
    for name in esp.list(&efi)? {
        let folder = format!("{efi}/{name}");
        if !name.eq_ignore_ascii_case("BOOT") && esp.kind(&folder)? == Some(Kind::Folder) {
            folders.push(folder);
        }
    }
    // Several systems on one partition: the one that was installed before the others.
    folders.sort_by_key(|folder| !tail(folder).eq_ignore_ascii_case(preferred));
    for folder in &folders {
        let Some(csv) = entry(esp, folder, names.csv)? else {
            continue;
        };
        let rows = parse_csv(&esp.read(&csv, MAX_CSV_BYTES)?.unwrap_or_default());
        for (file, label) in rows {
            if let Some(path) = entry(esp, folder, &file)? {
                return Ok(Some(Loader {
                    path,
                    label,
                    found_by: "the distribution's own list",
                }));
            }
        }
    }
    for name in names.loaders {
        for folder in &folders {
            let nested = entry(esp, folder, "Boot")?; // EFI/Microsoft/Boot
            for place in std::iter::once(folder).chain(nested.as_ref()) {
                if let Some(path) = entry(esp, place, name)? {
                    let label = label_of(tail(folder), preferred);
                    return Ok(Some(Loader {
                        path,
                        label,
                        found_by: "the loader's name",
                    }));
                }
            }
        }
    }
    for folder in folders
        .iter()
        .filter(|folder| tail(folder).eq_ignore_ascii_case("Linux"))
    {
        let kernels = esp.list(folder)?;
        if let Some(name) = kernels
            .iter()
            .rev()
            .find(|name| name.to_ascii_lowercase().ends_with(".efi"))
        {
            let label = label_of("linux", preferred);
            return Ok(Some(Loader {
                path: format!("{folder}/{name}"),
                label,
                found_by: "a unified kernel image",
            }));
        }
    }
    Ok(removable(esp, names)?.map(|path| Loader {
        path,
        label: label_of("linux", preferred),
        found_by: "the removable path",
    }))
}

/// The removable path's program, when it is there.
///
/// # Errors
/// When the partition can't be read.
pub fn removable(esp: &ConfinedRoot, names: &Names) -> Result<Option<String>, ConfinedError> {
    let Some(efi) = entry(esp, "", "EFI")? else {
        return Ok(None);
    };
    let Some(boot) = entry(esp, &efi, "BOOT")? else {
        return Ok(None);
    };
    entry(esp, &boot, names.removable)
}

/// Fills the removable path with a loader and what it wants beside it. Needs a writable mount.
///
/// # Errors
/// When a file can't be copied.
pub fn fill_removable(
    esp: &ConfinedRoot,
    names: &Names,
    loader: &Loader,
) -> Result<Vec<String>, ConfinedError> {
    let efi = entry(esp, "", "EFI")?.unwrap_or_else(|| "EFI".to_owned());
    let boot = entry(esp, &efi, "BOOT")?.unwrap_or_else(|| format!("{efi}/BOOT"));
    let (folder, _) = loader.path.rsplit_once('/').unwrap_or(("", &loader.path));
    let mut copied = Vec::new();
    // Companions first: the program that makes the path bootable comes last.
    for name in names.companions {
        let Some(from) = entry(esp, folder, name)? else {
            continue;
        };
        if from == loader.path || entry(esp, &boot, name)?.is_some() {
            continue;
        }
        let to = format!("{boot}/{name}");
        esp.write(
            &to,
            &esp.read(&from, MAX_PROGRAM_BYTES)?.unwrap_or_default(),
            0o644,
        )?;
        copied.push(to);
    }
    let to = format!("{boot}/{}", names.removable);
    esp.write(
        &to,
        &esp.read(&loader.path, MAX_PROGRAM_BYTES)?.unwrap_or_default(),
        0o644,
    )?;
    copied.push(to);
    Ok(copied)
}

/// A name in a folder as it is spelt there: vfat doesn't mind the case, other file systems do.
fn entry(root: &ConfinedRoot, folder: &str, name: &str) -> Result<Option<String>, ConfinedError> {
    let names = root.list(folder)?;
    let spelt = names.iter().find(|found| *found == name);
    let spelt = spelt.or_else(|| names.iter().find(|found| found.eq_ignore_ascii_case(name)));
    Ok(spelt.map(|spelt| {
        if folder.is_empty() {
            spelt.clone()
        } else {
            format!("{folder}/{spelt}")
        }
    }))
}

fn tail(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn label_of(folder: &str, preferred: &str) -> String {
    match folder.to_ascii_lowercase().as_str() {
        "microsoft" => "Windows Boot Manager".to_owned(),
        // Folders that name the loader, not the system.
        "systemd" | "linux" | "grub" if !preferred.is_empty() => preferred.to_owned(),
        "systemd" | "grub" => "linux".to_owned(),
        _ => folder.to_owned(),
    }
}

/// Rows of `BOOTX64.CSV`: file and label. UTF-16 by the standard, UTF-8 in the wild. Pure.
#[must_use]
pub fn parse_csv(bytes: &[u8]) -> Vec<(String, String)> {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.get(1) == Some(&0);
    let text = if utf16 {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    } else {
        String::from_utf8_lossy(bytes).into_owned()
    };
    text.trim_start_matches('\u{feff}')
        .lines()
        .filter_map(|line| {
            let mut columns = line.trim_matches(['\0', ' ', '\r']).split(',');
            let (file, label) = (columns.next()?.trim(), columns.next()?.trim());
            let plain = |text: &str| !text.is_empty() && !text.contains(['/', '\\']) && text.len() <= 128;
            let printable = label.chars().all(|letter| !letter.is_control());
            (plain(file) && plain(label) && printable).then(|| (file.to_owned(), label.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const X64: Names = Names {
        csv: "BOOTX64.CSV",
        removable: "BOOTX64.EFI",
        loaders: &[
            "shimx64.efi",
            "grubx64.efi",
            "systemd-bootx64.efi",
            "bootmgfw.efi",
        ],
        companions: &["grubx64.efi", "mmx64.efi", "grub.cfg"],
    };

    fn utf16(text: &str) -> Vec<u8> {
        [0xff, 0xfe]
            .into_iter()
            .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
            .collect()
    }

    fn esp(files: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, ConfinedRoot) {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let root = ConfinedRoot::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn reads_lists_in_both_encodings() {
        let text = "shimx64.efi,debian,,This is the boot entry for debian\r\n../evil.efi,x\nfbx64.efi\n";
        let expected = [("shimx64.efi".to_owned(), "debian".to_owned())];
        assert_eq!(parse_csv(&utf16(text)), expected);
        assert_eq!(parse_csv(text.as_bytes()), expected);
        assert_eq!(parse_csv(&[0xff]), []);
    }

    #[test]
    fn finds_the_loader_from_the_best_to_the_last_resort() {
        let file = || b"MZ".to_vec();
        let csv = utf16("SHIMX64.EFI,Debian GNU,,\n");
        type Files<'a> = &'a [(&'a str, Vec<u8>)];
        let cases: [(Files<'_>, &str, &str); 8] = [
            (
                &[
                    ("EFI/debian/BOOTX64.CSV", csv),
                    ("EFI/debian/shimx64.efi", file()),
                ],
                "\\EFI\\debian\\shimx64.efi",
                "Debian GNU",
            ),
            (
                &[
                    ("EFI/a/grubx64.efi", file()),
                    ("EFI/z/shimx64.efi", file()),
                    ("EFI/z/grubx64.efi", file()),
                ],
                "\\EFI\\z\\shimx64.efi",
                "z",
            ),
            (
                &[("EFI/a/grubx64.efi", file()), ("EFI/Debian/grubx64.efi", file())],
                "\\EFI\\Debian\\grubx64.efi",
                "Debian",
            ),
            (
                &[("EFI/systemd/systemd-bootx64.efi", file())],
                "\\EFI\\systemd\\systemd-bootx64.efi",
                "debian",
            ),
            (
                &[
                    ("EFI/Microsoft/Boot/bootmgfw.efi", file()),
                    ("EFI/Boot/bootx64.efi", file()),
                ],
                "\\EFI\\Microsoft\\Boot\\bootmgfw.efi",
                "Windows Boot Manager",
            ),
            (
                &[("EFI/Linux/a-6.1.efi", file()), ("EFI/Linux/b-6.9.EFI", file())],
                "\\EFI\\Linux\\b-6.9.EFI",
                "debian",
            ),
            (
                &[("efi/boot/bootx64.efi", file())],
                "\\efi\\boot\\bootx64.efi",
                "debian",
            ),
            (&[("EFI/empty/readme.txt", file())], "", ""),
        ];
        for (files, path, label) in cases {
            let (_folder, esp) = esp(files);
            let found = find(&esp, &X64, "debian").unwrap();
            let found = found.map_or((String::new(), String::new()), |loader| {
                (loader.efi_path(), loader.label)
            });
            assert_eq!(found, (path.to_owned(), label.to_owned()));
        }
    }

    #[test]
    fn fills_the_removable_path_with_companions() {
        let (folder, esp) = esp(&[
            ("EFI/debian/shimx64.efi", b"shim".to_vec()),
            ("EFI/debian/grubx64.efi", b"grub".to_vec()),
            ("EFI/debian/grub.cfg", b"cfg".to_vec()),
        ]);
        assert_eq!(removable(&esp, &X64).unwrap(), None);
        let loader = find(&esp, &X64, "").unwrap().unwrap();
        fill_removable(&esp, &X64, &loader).unwrap();
        for (name, content) in [
            ("BOOTX64.EFI", "shim"),
            ("grubx64.efi", "grub"),
            ("grub.cfg", "cfg"),
        ] {
            assert_eq!(
                fs::read_to_string(folder.path().join("EFI/BOOT").join(name)).unwrap(),
                content
            );
        }
        assert_eq!(
            removable(&esp, &X64).unwrap().as_deref(),
            Some("EFI/BOOT/BOOTX64.EFI")
        );
    }
}
