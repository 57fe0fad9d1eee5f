//! Is a result younger than all it was made from?

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

/// Whether `result` is there and nothing among the files and folders of `sources` has changed since.
pub fn is_fresh(result: &Path, sources: &[&Path]) -> Result<bool> {
    let Ok(made) = fs::metadata(result).and_then(|facts| facts.modified()) else {
        return Ok(false);
    };
    for source in sources {
        if newest(source)? >= made {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The last change of a file, or of anything in a folder.
fn newest(path: &Path) -> Result<SystemTime> {
    let facts = fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    let mut newest = facts.modified().context("this file system keeps no times")?;
    if facts.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
            let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
            newest = newest.max(self::newest(&entry.path())?);
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_deep_in_a_folder_counts() {
        let folder = std::env::temp_dir().join(format!("xtask-fresh-{}", std::process::id()));
        let deep = folder.join("sources/deep");
        fs::create_dir_all(&deep).unwrap();
        let (result, source) = (folder.join("result"), deep.join("file"));
        assert!(!is_fresh(&result, &[&deep]).unwrap(), "it is not there");
        fs::write(&source, "").unwrap();
        fs::write(&result, "").unwrap();
        let now = SystemTime::now();
        let touch = |path: &Path, at| File::open(path).unwrap().set_modified(at).unwrap();
        touch(&result, now + Duration::from_secs(10));
        assert!(is_fresh(&result, &[&folder.join("sources")]).unwrap());
        touch(&source, now + Duration::from_secs(20));
        assert!(!is_fresh(&result, &[&folder.join("sources")]).unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }
}
