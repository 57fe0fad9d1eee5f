//! The file system of a seed partition, made in memory: FAT, which every cloud-init reads. Pure.

use std::io::{self, Cursor, Write as _};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use crate::finish::table::room::SEED_BYTES;

/// A file system of [`SEED_BYTES`] with these files; folders in their paths are made. `sector` is the disk's block: the
/// kernel mounts no FAT with smaller ones. The same files make the same bytes.
///
/// # Errors
/// When the files do not fit.
pub(super) fn build(label: &str, serial: u32, files: &[(&str, &[u8])], sector: u64) -> io::Result<Vec<u8>> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut padded = [b' '; 11];
    let label = label.as_bytes();
    padded
        .get_mut(..label.len())
        .ok_or(io::ErrorKind::InvalidInput)?
        .copy_from_slice(label);
    let options = FormatVolumeOptions::new()
        .bytes_per_sector(u16::try_from(sector).map_err(invalid)?)
        .volume_id(serial)
        .volume_label(padded);
    let size = usize::try_from(SEED_BYTES).map_err(invalid)?;
    let mut volume = Cursor::new(vec![0; size]);
    format_volume(&mut volume, options)?;
    volume.set_position(0);
    let system = FileSystem::new(&mut volume, FsOptions::new())?;
    {
        let root = system.root_dir();
        for (path, content) in files {
            let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
            for folder in folders {
                root.create_dir(folder)?;
            }
            let mut file = root.create_file(path)?;
            file.truncate()?;
            file.write_all(content)?;
            file.flush()?;
        }
    }
    system.unmount()?;
    let bytes = volume.into_inner();
    // Files that do not fit have ended in an error before; a cursor over a vector would grow.
    if bytes.len() == size {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _};

    use super::*;
    use crate::finish::tests::run;

    #[test]
    fn other_programs_read_it() {
        let long = vec![b'x'; 200 << 10];
        for sector in [512, 4096] {
            let files: [(&str, &[u8]); 3] = [
                ("openstack/latest/user_data", &long),
                ("openstack/latest/meta_data.json", b"{}"),
                ("user-data", b"#cloud-config\n"),
            ];
            let bytes = build("config-2", 0x1234_abcd, &files, sector).unwrap();
            assert_eq!(bytes, build("config-2", 0x1234_abcd, &files, sector).unwrap());
            assert_eq!(bytes.len() as u64, SEED_BYTES);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("volume");
            fs::write(&path, &bytes).unwrap();
            let path = path.to_str().unwrap();
            if let Some(said) = run("blkid", &["-p", "-o", "export", path]) {
                let lines: Vec<&str> = said.lines().collect();
                for line in ["LABEL=config-2", "TYPE=vfat", "UUID=1234-ABCD"] {
                    assert!(lines.contains(&line), "{said}");
                }
            }
            if let Some(said) = run("fsck.fat", &["-n", "-v", path]) {
                assert!(!said.contains("Label"), "{said}");
            }
            // mtools know sectors of 512 bytes only, unless they are told.
            if sector == 512
                && let Some(said) = run("mtype", &["-i", path, "::/user-data"])
            {
                assert_eq!(said, "#cloud-config");
            }
            let mut disk = Cursor::new(bytes);
            let system = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
            let mut read = Vec::new();
            let mut file = system.root_dir().open_file("openstack/latest/user_data").unwrap();
            file.read_to_end(&mut read).unwrap();
            assert_eq!(read, long);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = vec![0; 5 << 20];
        assert!(build("CIDATA", 1, &[("user-data", &long)], 512).is_err());
        assert!(build("longer than FAT allows", 1, &[], 512).is_err());
        assert!(build("CIDATA", 1, &[], 1 << 20).is_err());
    }
}
