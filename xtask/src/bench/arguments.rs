//! The command line of the bench.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::catalog::Catalog;
use super::contender::{self, Contender, Group};
use super::experiments::{self, Experiment};
use super::fleet::Fleet;
use super::guest::Guest;
use super::import::Import;
use super::matching::Match;
use super::workload::Image;

/// Measurements, with everything they need made and installed
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Names of contenders and experiments
    List,
    /// Puts one image on one disk, by Imprint and by other tools, and compares
    Write(Write),
    /// Imports a qcow2, and compares with its conversion and compression by themselves
    Import(Import),
    /// Asks a catalogue of 10,000 images, and says how long the answers take
    Catalog(Catalog),
    /// Compares 1,000 images with 10,000 nodes, and says how long it takes
    Match(Match),
    /// Runs the guest plugin as an installed system does, and says what it costs
    Guest(Guest),
    /// Runs the agents of thousands of servers for one controller, with faults, and says what that costs and whether an event is lost
    Fleet(Fleet),
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table
    Text,
    /// All figures
    Json,
}

/// Options of `bench write`.
#[derive(Debug, Args)]
pub struct Write {
    /// Runs of each contender of ours and of each part of the floor
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// Runs of each foreign tool; they take longest
    #[arg(long, value_name = "N")]
    peer_runs: Option<usize>,
    /// The image: `large` has 4 GiB of data on 10 GiB, `server` is a Debian server with 1.2 GB on 10 GiB, `small` is
    /// the lab's, with 0.4 GiB on 0.8 GiB
    #[arg(long, value_name = "NAME")]
    image: Option<Image>,
    /// One run of each with the small image
    #[arg(long)]
    quick: bool,
    /// These contenders alone (names separated by commas; `ours`, `peer` and `floor` name groups)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// All but these
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    skip: Vec<String>,
    /// Experiments instead of the table (names separated by commas; `all`)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    experiment: Vec<String>,
    /// Another agent than the one of these sources
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// How to show results
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// Put the results into docs/performance.md
    #[arg(long)]
    pub write_docs: bool,
    /// Leave the target's file there
    #[arg(long)]
    pub keep: bool,
    /// A run that takes longer is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub limit: u64,
}

impl Write {
    /// Rounds of ours and the floor.
    pub fn runs(&self) -> usize {
        if self.quick { 1 } else { self.runs.max(1) }
    }

    /// Rounds of foreign tools.
    pub fn peer_runs(&self) -> usize {
        self.peer_runs.unwrap_or(3).min(self.runs())
    }

    /// The image to write.
    pub fn image(&self) -> Image {
        match self.image {
            Some(image) => image,
            None if self.quick => Image::Small,
            None => Image::Large,
        }
    }

    /// Whether JSON is wanted.
    pub fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// Those who compete.
    pub fn contenders(&self) -> Result<Vec<Contender>> {
        let all = contender::all();
        for name in self.only.iter().chain(&self.skip) {
            if Group::named(name).is_none() && !all.iter().any(|contender| contender.name == name) {
                bail!("there is no contender {name:?}; `cargo xtask bench list` names them");
            }
        }
        let named = |names: &[String], contender: &Contender| {
            names
                .iter()
                .any(|name| name == contender.name || Group::named(name) == Some(contender.group))
        };
        Ok(all
            .into_iter()
            .filter(|contender| {
                if self.only.is_empty() {
                    contender.usual
                } else {
                    named(&self.only, contender)
                }
            })
            .filter(|contender| !named(&self.skip, contender))
            .collect())
    }

    /// The experiments that were asked for.
    pub fn experiments(&self) -> Result<Vec<&'static Experiment>> {
        if self.experiment.iter().any(|name| name == "all") {
            return Ok(experiments::ALL.iter().collect());
        }
        self.experiment
            .iter()
            .map(|name| {
                let found = experiments::ALL.iter().find(|experiment| experiment.name == name);
                match found {
                    Some(experiment) => Ok(experiment),
                    None => bail!("there is no experiment {name:?}; `cargo xtask bench list` names them"),
                }
            })
            .collect()
    }

    /// The command that was given, for the record.
    pub fn command_line() -> String {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        format!("cargo xtask {}", arguments.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        bench: Bench,
    }

    fn chosen(line: &str) -> Result<Vec<&'static str>> {
        let cli = Cli::try_parse_from(format!("bench write {line}").split_whitespace())?;
        let Bench::Write(write) = cli.bench else {
            bail!("not write")
        };
        Ok(write.contenders()?.iter().map(|found| found.name).collect())
    }

    #[test]
    fn names_and_groups_choose() {
        assert_eq!(chosen("--only artifact").unwrap(), ["artifact"]);
        assert!(chosen("--only floor").unwrap().contains(&"floor-disk"));
        let most = chosen("--skip peer,artifact").unwrap();
        assert!(!most.contains(&"qemu-img") && !most.contains(&"artifact") && most.contains(&"zst"));
        let wrong = chosen("--only nobody").unwrap_err().to_string();
        assert!(wrong.contains("nobody"), "{wrong}");
    }
}
