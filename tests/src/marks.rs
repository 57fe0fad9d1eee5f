//! Is a program of the image run before the image's own boot? In a copy of the image every file that can be executed is a
//! program that leaves a mark on the root file system when it runs, whoever runs it: inside a chroot, or where the agent
//! mounts the root.
//!
//! The program is made here, byte by byte: it needs no interpreter and no library, which would have to be found from where
//! it is run.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gptman::GPT;

use crate::process;

/// Below the root. A mark is a byte in it.
const MARK: &str = "imprint-mark";
/// Where the agent mounts a root, and where it looks for one.
const AGENT_MOUNTS: [&str; 2] = ["/run/imprint/mnt/root", "/run/imprint/mnt/probe"];
/// Fewer would be no operating system.
const FEWEST: usize = 300;
const SECTOR: u64 = 512;
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a copy of an image whose every program leaves a mark, and tries two of them. The answer is how many there are.
pub fn copy(image: &Path, copy: &Path, folder: &Path) -> Result<usize> {
    let mut cp = Command::new("cp");
    process::run(
        cp.args(["--sparse=always", "--reflink=auto"])
            .arg(image)
            .arg(copy),
        Duration::from_secs(300),
    )?;
    let root = Mounted::new(copy, folder, false)?;
    let mark = root.point.join(MARK);
    fs::write(&mark, "").context("cannot make the mark's file")?;
    let own = mark.to_str().context("the lab's folder has an odd name")?;
    let mut paths = vec![format!("/{MARK}"), own.to_owned()];
    paths.extend(AGENT_MOUNTS.map(|point| format!("{point}/{MARK}")));
    let count = replace(&root.point, &program(&paths))?;
    ensure!(count > FEWEST, "only {count} programs in the image");

    // A mark that is never left would prove nothing.
    let shell = root.point.join("usr/bin/env");
    process::run(&mut Command::new(&shell), PATIENCE)?;
    ensure!(
        root.marks()? > 0,
        "a program that is run where it is mounted leaves no mark"
    );
    File::create(&mark).context("cannot take the marks away")?;
    let mut chroot = Command::new("chroot");
    process::run(chroot.arg(&root.point).arg("/usr/sbin/chroot"), PATIENCE)?;
    ensure!(
        root.marks()? > 0,
        "a program that is run in a chroot leaves no mark"
    );
    File::create(&mark).context("cannot take the marks away")?;
    root.unmount()?;
    Ok(count)
}

/// How many marks there are on a disk with such an image.
pub fn count(disk: &Path, folder: &Path) -> Result<u64> {
    let root = Mounted::new(disk, folder, true)?;
    let marks = root.marks();
    root.unmount()?;
    marks
}

/// Puts the program in the place of every file that can be executed, links left alone.
fn replace(folder: &Path, program: &[u8]) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry.context("cannot list a folder")?;
        let facts = entry.metadata().context("cannot look at a file")?;
        if facts.is_dir() {
            count += replace(&entry.path(), program)?;
        } else if facts.is_file() && facts.permissions().mode() & 0o111 != 0 {
            let path = entry.path();
            fs::write(&path, program).with_context(|| format!("cannot replace {}", path.display()))?;
            fs::set_permissions(&path, Permissions::from_mode(facts.permissions().mode() & 0o7777))
                .context("cannot set a mode")?;
            count += 1;
        }
    }
    Ok(count)
}

/// A root file system, the last partition of a disk in a file.
struct Mounted {
    point: PathBuf,
    is_mounted: bool,
}

impl Mounted {
    fn new(disk: &Path, folder: &Path, read_only: bool) -> Result<Self> {
        let mut file = File::open(disk).with_context(|| format!("cannot open {}", disk.display()))?;
        let table = GPT::find_from(&mut file).context("a disk has no partition table")?;
        let last = table
            .iter()
            .filter(|(_, part)| part.is_used())
            .max_by_key(|(_, part)| part.starting_lba);
        let Some((_, root)) = last else {
            bail!("{} has no partitions", disk.display());
        };
        let point = folder.join("marked-root");
        fs::create_dir_all(&point).context("cannot make a mount point")?;
        let options = format!(
            "loop,offset={},sizelimit={}{}",
            root.starting_lba * SECTOR,
            (root.ending_lba + 1 - root.starting_lba) * SECTOR,
            if read_only { ",ro,noload" } else { "" },
        );
        let mut mount = Command::new("mount");
        process::run(mount.args(["-o", &options]).arg(disk).arg(&point), PATIENCE)?;
        Ok(Self {
            point,
            is_mounted: true,
        })
    }

    fn marks(&self) -> Result<u64> {
        let facts = fs::metadata(self.point.join(MARK)).context("the mark's file is gone")?;
        Ok(facts.len())
    }

    fn unmount(mut self) -> Result<()> {
        self.is_mounted = false;
        process::run(Command::new("umount").arg(&self.point), PATIENCE).map(drop)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            // Something else has failed already, and that is what is told.
            let _ = Command::new("umount").arg("--lazy").arg(&self.point).status();
        }
    }
}

const BASE: u64 = 0x40_0000;
const HEADERS: usize = 64 + 56;
const OPEN: u32 = 2;
const WRITE: u32 = 1;
const EXIT: u32 = 60;
/// `O_WRONLY | O_APPEND`: where the file is not, none is made.
const APPEND: u32 = 0o2001;

/// A static ELF program for x86-64 that writes a byte to the end of each of these files that is there, and ends well.
fn program(paths: &[String]) -> Vec<u8> {
    // mov eax, OPEN; lea rdi, [rip + path]; mov esi, APPEND; syscall
    // mov edi, eax; mov eax, WRITE; lea rsi, [rip + path]; mov edx, 1; syscall
    const EACH: usize = 5 + 7 + 5 + 2 + 2 + 5 + 7 + 5 + 2;
    // mov eax, EXIT; xor edi, edi; syscall
    const END: usize = 5 + 2 + 2;
    let code_bytes = EACH * paths.len() + END;
    let mut code = Vec::new();
    let mut texts = Vec::new();
    for path in paths {
        let text = code_bytes + texts.len();
        let relative = |code: &[u8]| {
            let next = code.len() + 4;
            u32::try_from(text - next).unwrap_or(0).to_le_bytes()
        };
        code.push(0xb8);
        code.extend(OPEN.to_le_bytes());
        code.extend([0x48, 0x8d, 0x3d]);
        code.extend(relative(&code));
        code.push(0xbe);
        code.extend(APPEND.to_le_bytes());
        code.extend([0x0f, 0x05, 0x89, 0xc7, 0xb8]);
        code.extend(WRITE.to_le_bytes());
        code.extend([0x48, 0x8d, 0x35]);
        code.extend(relative(&code));
        code.push(0xba);
        code.extend(1_u32.to_le_bytes());
        code.extend([0x0f, 0x05]);
        texts.extend(path.as_bytes());
        texts.push(0);
    }
    code.push(0xb8);
    code.extend(EXIT.to_le_bytes());
    code.extend([0x31, 0xff, 0x0f, 0x05]);
    code.extend(texts);

    let bytes = (HEADERS + code.len()) as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Executable, x86-64, version 1.
    elf.extend([2, 0, 0x3e, 0, 1, 0, 0, 0]);
    elf.extend((BASE + HEADERS as u64).to_le_bytes());
    elf.extend(64_u64.to_le_bytes());
    elf.extend(0_u64.to_le_bytes());
    elf.extend(0_u32.to_le_bytes());
    // Sizes of the headers: one of the program's, none of sections.
    for word in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend(word.to_le_bytes());
    }
    // One segment to load, readable and executable: the whole file.
    elf.extend(1_u32.to_le_bytes());
    elf.extend(5_u32.to_le_bytes());
    for word in [0, BASE, BASE, bytes, bytes, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_marks_the_files_that_are_there_and_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let paths = [path("one"), path("none"), path("other")];
        for there in [&paths[0], &paths[2]] {
            fs::write(there, "").unwrap();
        }
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("usr/bin")).unwrap();
        for (name, mode) in [
            ("usr/bin/a", 0o755),
            ("usr/bin/b", 0o4755),
            ("usr/bin/text", 0o644),
        ] {
            let file = tree.join(name);
            fs::write(&file, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(replace(&tree, &program(&paths)).unwrap(), 2);
        assert_eq!(fs::read(tree.join("usr/bin/text")).unwrap(), b"#!/bin/sh\n");
        let mode = fs::metadata(tree.join("usr/bin/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o4755);
        for round in 1..=2 {
            process::run(&mut Command::new(tree.join("usr/bin/a")), PATIENCE).unwrap();
            for there in [&paths[0], &paths[2]] {
                assert_eq!(fs::metadata(there).unwrap().len(), round);
            }
        }
        assert!(!Path::new(&paths[1]).exists());
    }
}
