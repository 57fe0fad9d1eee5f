//! Prints the facts of a disk image and what is to be said about them, as JSON: `facts FILE`.
//!
//! FILE is a raw disk image or a block device. Nothing is mounted, run or written.

use std::error::Error;
use std::fs::File;

use imprint_image::facts::{self, FileDisk};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = &arguments[..] else {
        return Err("usage: facts FILE".into());
    };
    let disk = FileDisk::new(File::open(path)?)?;
    let facts = facts::read(&disk, None)?;
    let findings = facts::lint(&facts);
    let report = serde_json::json!({ "facts": facts, "lint": findings });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
