//! `yardstick`: the heavy part of `cargo xtask bench`, built optimised and only for it, so that xtask itself stays
//! small. Each command does one thing and prints what it took as one line of JSON.

mod aligned;
mod compare;
mod decode;
mod disk;
mod extents;
mod import;
mod publish;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turns a raw image into a signed artifact in a store
    Publish {
        raw: PathBuf,
        store: PathBuf,
        #[arg(long, default_value_t = 3)]
        level: i32,
    },
    /// Turns an image file into the packs of an artifact
    Import {
        file: PathBuf,
        folder: PathBuf,
        #[arg(long, default_value_t = 3)]
        level: i32,
    },
    /// Hashes and compresses the data of a raw file on all cores, to nowhere
    Pass {
        raw: PathBuf,
        #[arg(long, default_value_t = 3)]
        level: i32,
    },
    /// Decompresses and hashes all frames of an artifact on all cores, to nowhere
    Decode {
        manifest: PathBuf,
        #[arg(long, default_value_t = 0)]
        threads: usize,
    },
    /// Writes as many bytes as the artifact has data, to the same places, with direct I/O
    WriteSame {
        manifest: PathBuf,
        device: PathBuf,
        #[arg(long, default_value_t = 4)]
        depth: usize,
        /// Make everything else in the image's range zero as well
        #[arg(long)]
        zero_holes: bool,
    },
    /// Fills the front of a disk with 0xA5
    Fill { device: PathBuf, bytes: u64 },
    /// Compares a target with the raw image, byte for byte
    Compare { raw: PathBuf, target: PathBuf },
    /// Spreads an image's data over a larger sparse one
    Spread {
        raw: PathBuf,
        out: PathBuf,
        size: u64,
        #[arg(long)]
        data: u64,
    },
    /// How many bytes of chunks one artifact has that another has not at the same place
    Changed { old: PathBuf, new: PathBuf },
}

fn main() -> Result<()> {
    let answer = match Arguments::parse().command {
        Command::Publish { raw, store, level } => publish::publish(&raw, &store, level)?,
        Command::Import { file, folder, level } => import::import(&file, &folder, level)?,
        Command::Pass { raw, level } => import::pass(&raw, level)?,
        Command::Decode { manifest, threads } => decode::decode(&manifest, threads)?,
        Command::WriteSame {
            manifest,
            device,
            depth,
            zero_holes,
        } => disk::write_same(&manifest, &device, depth, zero_holes)?,
        Command::Fill { device, bytes } => disk::fill(&device, bytes)?,
        Command::Compare { raw, target } => compare::compare(&raw, &target)?,
        Command::Spread { raw, out, size, data } => disk::spread(&raw, &out, size, data)?,
        Command::Changed { old, new } => publish::changed(&old, &new)?,
    };
    println!("{answer}");
    Ok(())
}
