//! `cargo xtask bench fleet`: what do thousands of servers cost one controller, and does it lose any of their events?
//!
//! `imprint-fleet` of the tests runs the agent's own code of all nodes in one process, for the shipped controller in
//! another, over gRPC and TLS on loopback; docs/reliability.md tells what is made up. Here it is built and given room: two
//! cores are shared by both, as nothing else is to run on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::report::{machine, today};
use crate::binaries;
use crate::screen::step;

/// Files that are open for each node: its session; of some, a disk and both ends of a faulty line; while they boot, more.
const FILES_PER_NODE: u64 = 6;
/// With fewer for each node, it does not work.
const LEAST_FILES: (u64, u64) = (3, 2);
const DOCUMENT: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- bench fleet: begin -->\n";
const END: &str = "<!-- bench fleet: end -->\n";

/// Options of `bench fleet`.
#[derive(Debug, Args)]
pub struct Fleet {
    /// Servers
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    nodes: u32,
    /// How many of them are deployed, all at once
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    deployments: u32,
    /// Kill the controller with SIGKILL when all is done, and wait until all are back
    #[arg(long)]
    kill_controller: bool,
    /// The same in the middle of the deployments
    #[arg(long)]
    kill_amid: bool,
    /// The same run again: the seed that an earlier one has printed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Nodes of a thousand with a fault
    #[arg(long, value_name = "N", default_value_t = 60)]
    faults_per_mille: u32,
    /// Nodes that are switched on in a second
    #[arg(long, value_name = "N", default_value_t = 100)]
    power_on_per_second: u32,
    /// How long the fleet is left alone before the deployments
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    rest: u64,
    /// Another controller than the one of these sources
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,
    /// The build of the tests instead of optimised ones
    #[arg(long)]
    dev: bool,
    /// Put the results into docs/reliability.md
    #[arg(long)]
    write_docs: bool,
}

/// Measures; answers whether the promises are kept.
pub fn run(source: &Path, options: &Fleet) -> Result<bool> {
    let controller = match &options.controller {
        Some(given) => given.clone(),
        None if options.dev => binaries::build_all(source, false)?.join("imprint-controller"),
        None => binaries::build_shipped_controller(source)?,
    };
    let program = binaries::build_fleet_simulator(source, !options.dev)?;
    let results = source.join("target/bench-results");
    fs::create_dir_all(&results).with_context(|| format!("cannot create {}", results.display()))?;
    let json = results.join(format!("fleet-{}.json", today().replace([' ', ':'], "-")));
    step(&format!(
        "{} nodes, {} deployments at once",
        options.nodes, options.deployments
    ));
    let files = open_files(options.nodes)?;
    let mut fleet = Command::new("prlimit");
    fleet.arg(format!("--nofile={files}:")).arg(program);
    fleet.arg("--controller").arg(controller);
    fleet.arg("--work").arg(source.join("target"));
    fleet.arg("--json").arg(&json);
    for (name, value) in [
        ("--nodes", u64::from(options.nodes)),
        ("--deployments", u64::from(options.deployments)),
        ("--faults-per-mille", u64::from(options.faults_per_mille)),
        ("--power-on-per-second", u64::from(options.power_on_per_second)),
        ("--rest", options.rest),
    ] {
        fleet.args([name, &value.to_string()]);
    }
    if let Some(seed) = options.seed {
        fleet.args(["--seed", &seed.to_string()]);
    }
    if options.kill_controller {
        fleet.arg("--kill-controller");
    }
    if options.kill_amid {
        fleet.arg("--kill-amid");
    }
    let output = fleet
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start the fleet")?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("\n{text}");
    eprintln!("figures: {}", json.display());
    if options.write_docs && !text.is_empty() {
        write_docs(source, &text)?;
    }
    Ok(output.status.success())
}

/// How many files may be open: what is wanted, or what this machine lets a process have.
fn open_files(nodes: u32) -> Result<u64> {
    let limits = fs::read_to_string("/proc/self/limits").context("the kernel tells no limits")?;
    let hard = hard_limit(&limits).context("the kernel tells no limit of open files")?;
    let nodes = u64::from(nodes);
    let least = nodes * LEAST_FILES.0 / LEAST_FILES.1 + 1000;
    ensure!(
        hard >= least,
        "{nodes} nodes need {least} open files, and a process may have {hard} here; raise it: ulimit -Hn {least}"
    );
    Ok(hard.min((nodes * FILES_PER_NODE).max(4096)))
}

/// Of open files, in the words of `/proc/PID/limits`.
fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let hard = line.split_whitespace().nth(1)?;
    if hard == "unlimited" {
        Some(u64::MAX)
    } else {
        hard.parse().ok()
    }
}

fn write_docs(source: &Path, text: &str) -> Result<()> {
    let path = source.join(DOCUMENT);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let part = format!("Measured {} on {}.\n\n{}", today(), machine(), text.trim());
    let new =
        replaced(&old, &part).with_context(|| format!("{} has no place for the results", path.display()))?;
    fs::write(&path, new).with_context(|| format!("cannot write {}", path.display()))
}

/// The document with another part between the markers.
fn replaced(old: &str, part: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{part}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             94907                94907                processes\n\
                      Max open files            1024                 20000                files\n";
        assert_eq!(hard_limit(limits), Some(20_000));
        assert_eq!(hard_limit(&limits.replace("20000", "unlimited")), Some(u64::MAX));
        assert_eq!(hard_limit(""), None);
    }

    #[test]
    fn results_go_between_their_markers() {
        let document = format!("# A\n\n{BEGIN}old\n{END}\nrest\n");
        let new = replaced(&document, "new").unwrap();
        assert!(new.contains("new") && !new.contains("old") && new.ends_with("\nrest\n"));
        assert_eq!(replaced(&new, "new").unwrap(), new);
        assert_eq!(replaced("# without", "new"), None);
    }
}
