//! Puts results into docs/performance.md, between the markers of their kind.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::report::{Report, Section};

const DOCUMENT: &str = "docs/performance.md";

/// The table of a session.
pub fn write(source: &Path, report: &Report) -> Result<()> {
    place(source, "table", &report.text())
}

/// Experiments.
pub fn write_sections(source: &Path, sections: &[Section]) -> Result<()> {
    for section in sections {
        let name = section.title.split([':', ' ']).next().unwrap_or("experiment");
        place(source, &name.to_lowercase(), &section.text())?;
    }
    Ok(())
}

fn place(source: &Path, name: &str, text: &str) -> Result<()> {
    let path = source.join(DOCUMENT);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(&path, replaced(&old, name, text)).with_context(|| format!("cannot write {}", path.display()))
}

/// The document with the part of that name replaced, or added at the end.
fn replaced(old: &str, name: &str, text: &str) -> String {
    let begin = format!("<!-- bench write {name}: begin -->\n");
    let end = format!("<!-- bench write {name}: end -->\n");
    let part = format!("{begin}\n{}\n\n{end}", text.trim());
    let found = old.find(&begin).zip(old.find(&end));
    match found.filter(|(from, to)| from < to) {
        Some((from, to)) => format!("{}{part}{}", &old[..from], &old[to + end.len()..]),
        None => format!("{}\n\n{part}", old.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn a_part_is_added_once_and_replaced_later() {
        let first = replaced("# Title\n\nText.\n", "table", "one");
        assert!(first.starts_with("# Title\n\nText.\n\n<!-- bench write table: begin -->\n\none\n"));
        let other = replaced(&first, "tls", "two");
        let again = replaced(&other, "table", "three");
        assert!(again.contains("three") && again.contains("two") && !again.contains("one"));
        assert_eq!(again.matches("table: begin").count(), 1);
    }
}
