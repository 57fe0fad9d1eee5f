//! What an initramfs holds: the names in its archives, read as a stream.
//!
//! An initramfs is a row of cpio archives. Those in front are usually plain and hold microcode; the last is usually
//! compressed. Zeros may lie between them.

mod cpio;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Read;

use self::segment::{Budget, BufReadPeek, Compression, Input};
use super::fault::Fault;
use super::model::Initramfs;

/// Most archives in one initramfs.
const MAX_SEGMENTS: usize = 64;
/// Most bytes of names of modules and firmware: many times what the largest initramfs has.
const MAX_NAME_BYTES: usize = 4 << 20;

/// Reads an initramfs from `input`. `plain_left` is how much it may decompress to, and what is left afterwards.
pub(super) fn read(input: impl Read, plain_left: &mut u64) -> Result<Initramfs, Fault> {
    let mut input = Input::new(input);
    let mut names = Names::default();
    let mut found = Initramfs::default();
    while let Some(head) = segment::skip_zeros(&mut input)? {
        let Some(compression) = Compression::detect(&head) else {
            if found.compression.is_empty() {
                return Err(Fault::unsupported(
                    "it begins with no archive and no compression that is known",
                ));
            }
            found
                .notes
                .push("it ends with bytes that are no archive".to_owned());
            break;
        };
        if found.compression.len() >= MAX_SEGMENTS {
            return Err(Fault::limit(format!(
                "an initramfs of more than {MAX_SEGMENTS} archives"
            )));
        }
        found.compression.push(compression.name().to_owned());
        let mut take = |name: &str| names.take(name);
        if compression == Compression::None {
            cpio::read_archive(&mut input, &mut take)?;
            continue;
        }
        let budget = Budget::new(plain_left);
        input = compression.decompress(input, budget, |plain: &mut dyn BufReadPeek| {
            while let Some(head) = segment::skip_zeros(plain)? {
                if Compression::detect(&head) != Some(Compression::None) {
                    return Err(Fault::damaged("what is compressed in it is no archive"));
                }
                cpio::read_archive(plain, &mut take)?;
            }
            Ok(())
        })?;
    }
    if found.compression.is_empty() {
        return Err(Fault::damaged("it is empty"));
    }
    if names.full {
        return Err(Fault::limit(format!(
            "an initramfs whose modules and firmware have more than {MAX_NAME_BYTES} bytes of names"
        )));
    }
    found.made_by = names.made_by.map(str::to_owned);
    found.microcode = names.microcode.into_iter().map(str::to_owned).collect();
    found.modules = names.modules.into_iter().collect();
    found.firmware = names.firmware.into_iter().collect();
    Ok(found)
}

/// What is kept of the names.
#[derive(Debug, Default)]
struct Names {
    modules: BTreeSet<String>,
    firmware: BTreeSet<String>,
    microcode: BTreeSet<&'static str>,
    made_by: Option<&'static str>,
    bytes: usize,
    full: bool,
}

impl Names {
    fn take(&mut self, path: &str) {
        let path = path.trim_start_matches("./").trim_start_matches('/');
        let inner = path.strip_prefix("usr/").unwrap_or(path);
        match path {
            "kernel/x86/microcode/AuthenticAMD.bin" => {
                self.microcode.insert("amd");
            }
            "kernel/x86/microcode/GenuineIntel.bin" => {
                self.microcode.insert("intel");
            }
            _ if inner.starts_with("lib/dracut/") => self.made_by = Some("dracut"),
            "conf/initramfs.conf" | "scripts/init-top/ORDER" => self.made_by = Some("initramfs-tools"),
            "buildconfig" | "hooks/udev" => self.made_by = self.made_by.or(Some("mkinitcpio")),
            _ => {}
        }
        let (names, name) = match inner.strip_prefix("lib/firmware/") {
            Some(firmware) => (&mut self.firmware, Some(firmware.to_owned())),
            None if inner.starts_with("lib/modules/") => (&mut self.modules, module_name(path)),
            None => return,
        };
        let Some(name) = name else { return };
        let bytes = self.bytes + name.len() + size_of::<String>();
        if bytes > MAX_NAME_BYTES {
            self.full = true;
        } else if names.insert(name) {
            self.bytes = bytes;
        }
    }
}

/// `kernel/drivers/nvme/host/nvme-core.ko.zst` as `nvme_core`.
pub(super) fn module_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let name = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))?;
    Some(name.replace('-', "_"))
}
