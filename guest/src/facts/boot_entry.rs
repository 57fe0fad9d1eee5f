//! The entry that the firmware started, by its variables (UEFI specification, 3.1.3 and 3.3). efivarfs puts four bytes of
//! attributes before each value.

use std::path::Path;

use super::bounded;
use crate::file;

const VARIABLES: &str = "sys/firmware/efi/efivars";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const MAX_BYTES: u64 = 64 << 10;

/// "Boot0003 debian"; empty under BIOS, or when the firmware does not say.
pub(super) fn read(root: &Path) -> String {
    let variable = |name: &str| {
        let path = root.join(VARIABLES).join(format!("{name}-{GLOBAL}"));
        let bytes = file::read_bounded(&path, MAX_BYTES).ok()?;
        bytes.get(4..).map(<[u8]>::to_vec)
    };
    let Some(current) =
        variable("BootCurrent").and_then(|value| Some(u16::from_le_bytes(value[..].try_into().ok()?)))
    else {
        return String::new();
    };
    let name = format!("Boot{current:04X}");
    // Some firmware starts what has no entry: its own menu, or the removable path.
    match variable(&name).and_then(|value| label(&value)) {
        Some(label) if !label.is_empty() => format!("{name} {label}"),
        _ => name,
    }
}

/// The description of an `EFI_LOAD_OPTION`: after attributes and the length of the path, UTF-16, ended by a zero.
fn label(option: &[u8]) -> Option<String> {
    let units: Vec<u16> = option
        .get(6..)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    Some(bounded(&String::from_utf16_lossy(&units)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_entry_that_was_started_is_named() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()), "", "a BIOS");
        let folder = root.path().join(VARIABLES);
        fs::create_dir_all(&folder).unwrap();
        let put = |name: &str, value: &[u8]| {
            let bytes = [&[7, 0, 0, 0], value].concat();
            fs::write(folder.join(format!("{name}-{GLOBAL}")), bytes).unwrap();
        };
        put("BootCurrent", &[0x1a, 0]);
        assert_eq!(read(root.path()), "Boot001A", "an entry that is gone");
        let mut option = vec![1, 0, 0, 0, 4, 0];
        option.extend("debian\0".encode_utf16().flat_map(u16::to_le_bytes));
        option.extend([0x7f, 0xff, 4, 0]);
        put("Boot001A", &option);
        assert_eq!(read(root.path()), "Boot001A debian");
        for spoilt in [&[][..], &[1, 0, 0], &[1, 0, 0, 0, 4, 0, 9]] {
            put("Boot001A", spoilt);
            assert_eq!(read(root.path()), "Boot001A");
        }
        put("BootCurrent", &[1]);
        assert_eq!(read(root.path()), "");
    }
}
