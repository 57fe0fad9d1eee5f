//! What a dynamically linked program needs: DT_NEEDED and the interpreter of 64-bit little-endian ELF files.

use anyhow::{Context, Result, ensure};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// Libraries by name, and the interpreter by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub libraries: Vec<String>,
    pub interpreter: Option<String>,
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// Reads the needs of a file; a file that is no ELF has none.
pub fn needs(file: &[u8]) -> Result<Needs> {
    if !file.starts_with(b"\x7fELF") {
        return Ok(Needs::default());
    }
    ensure!(
        file.get(4..6) == Some(&[2, 1]),
        "not a 64-bit little-endian ELF file"
    );
    let table = number(file, 32, 8)?;
    let entry_size = number(file, 54, 2)?;
    let count = number(file, 56, 2)?;
    let mut segments = Vec::new();
    for i in 0..count {
        let at = table.saturating_add(i * entry_size);
        segments.push(Segment {
            kind: u32::try_from(number(file, at, 4)?)?,
            offset: number(file, at.saturating_add(8), 8)?,
            address: number(file, at.saturating_add(16), 8)?,
            size: number(file, at.saturating_add(32), 8)?,
        });
    }
    let mut needs = Needs::default();
    for segment in &segments {
        match segment.kind {
            PT_INTERP => needs.interpreter = Some(string(file, segment.offset)?),
            PT_DYNAMIC => needs.libraries = libraries(file, segment, &segments)?,
            _ => {}
        }
    }
    Ok(needs)
}

fn libraries(file: &[u8], dynamic: &Segment, segments: &[Segment]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut table = None;
    for i in 0..dynamic.size / 16 {
        let at = dynamic.offset.saturating_add(i * 16);
        let value = number(file, at.saturating_add(8), 8)?;
        match number(file, at, 8)? {
            0 => break,
            DT_NEEDED => names.push(value),
            DT_STRTAB => table = Some(value),
            _ => {}
        }
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let table = table.context("libraries without a string table")?;
    let load = segments
        .iter()
        .find(|s| s.kind == PT_LOAD && table >= s.address && table - s.address < s.size)
        .context("the string table is not in the file")?;
    let start = load.offset.saturating_add(table - load.address);
    let names = names
        .into_iter()
        .map(|name| string(file, start.saturating_add(name)));
    names.collect()
}

fn number(file: &[u8], at: u64, length: usize) -> Result<u64> {
    let at = usize::try_from(at)?;
    let bytes = at
        .checked_add(length)
        .and_then(|end| file.get(at..end))
        .context("the ELF file is cut short")?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn string(file: &[u8], at: u64) -> Result<String> {
    let rest = file
        .get(usize::try_from(at)?..)
        .context("the ELF file is cut short")?;
    let end = rest
        .iter()
        .position(|b| *b == 0)
        .context("a name without an end")?;
    Ok(String::from_utf8(rest[..end].to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_needs_its_libraries() {
        let needs = needs(&std::fs::read("/bin/ls").unwrap()).unwrap();
        assert!(needs.libraries.iter().any(|l| l == "libc.so.6"), "{needs:?}");
        assert!(needs.interpreter.is_some());
    }

    #[test]
    fn text_needs_nothing_and_rubbish_is_an_error() {
        assert_eq!(needs(b"#!/bin/sh\n").unwrap(), Needs::default());
        assert!(needs(b"\x7fELF\x02\x01\x01").is_err());
        assert!(needs(b"\x7fELF\x01\x01\x01").is_err());
    }

    #[test]
    fn a_static_program_needs_no_library() {
        // All of this workspace is linked statically, this test too.
        let own = needs(&std::fs::read("/proc/self/exe").unwrap()).unwrap();
        assert_eq!(own.libraries, Vec::<String>::new());
    }

    #[test]
    fn a_damaged_program_is_an_error_and_no_panic() {
        let good = std::fs::read("/bin/ls").unwrap();
        for length in (4..64).chain([100, 500, 1000]) {
            assert!(needs(&good[..length]).is_err(), "{length} bytes");
        }
        // Table of segments, then offset, address and size of each segment at the end of all numbers.
        let table = usize::try_from(number(&good, 32, 8).unwrap()).unwrap();
        let count = usize::try_from(number(&good, 56, 2).unwrap()).unwrap();
        let fields = (0..count).flat_map(|i| [8, 16, 32].map(|field| table + 56 * i + field));
        let mut failed = 0;
        for at in std::iter::once(32).chain(fields) {
            let mut bad = good.clone();
            bad[at..at + 8].fill(0xff);
            failed += usize::from(needs(&bad).is_err());
        }
        assert!(failed > 1, "{failed}");
    }
}
