//! `cargo xtask bench guest`: what does the guest plugin cost a system?
//!
//! The example `costs` of the guest crate makes a system of a folder and a network namespace, and runs the shipped binary on
//! it: before the network at each boot, and as a watch. Goals: under 300 ms, and under 10 MiB.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::document;
use super::report::{Section, machine, today};
use crate::screen::step;
use crate::{binaries, tool};

const GOAL_BOOT_MS: f64 = 300.0;
const GOAL_KIB: f64 = 10.0 * 1024.0;

/// Options of `bench guest`.
#[derive(Debug, Args)]
pub struct Guest {
    /// Runs before the network, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 41)]
    rounds: u32,
    /// Put the results into docs/performance.md
    #[arg(long)]
    write_docs: bool,
}

/// Measures; answers whether the goals are met.
pub fn run(source: &Path, options: &Guest) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this bench needs root: it makes a network namespace; run it as root or with sudo");
    }
    let (costs, guest) = binaries::build_guest_costs(source)?;
    step("Running the guest plugin");
    let figures = tool::output(Command::new(costs).arg(guest).arg(options.rounds.to_string()))?;
    let figures: Value = serde_json::from_str(&figures).context("the example gave no figures")?;
    let (section, goals_met) = report(&figures);
    println!("\n{}", section.text());
    if options.write_docs {
        document::write_sections(source, &[section])?;
    }
    Ok(goals_met)
}

fn report(figures: &Value) -> (Section, bool) {
    let number = |key: &str| figures[key].as_f64().unwrap_or(f64::INFINITY);
    let row = |what: &str, value: String, goal: &str| vec![what.to_owned(), value, goal.to_owned()];
    let ms = |key: &str| format!("{:.1} ms", number(key));
    let mib = |key: &str| format!("{:.1} MiB", number(key) / 1024.0);
    let goals_met = number("boot_ms") < GOAL_BOOT_MS && number("watch_rss_kib") < GOAL_KIB;
    let section = Section {
        title: format!("guest: what the plugin costs a system ({})", today()),
        head: vec!["what", "figure", "goal"],
        rows: vec![
            row("before the network at each boot, median", ms("boot_ms"), "300 ms"),
            row("the same, the slowest", ms("boot_slowest_ms"), ""),
            row("the watch: resident", mib("watch_rss_kib"), "10 MiB"),
            row(
                "of that its share, where pages are shared",
                mib("watch_pss_kib"),
                "",
            ),
            row("of that its own, not of the file", mib("watch_anonymous_kib"), ""),
            row(
                "the watch at rest: processor time of a minute",
                ms("watch_minute_ms"),
                "",
            ),
        ],
        notes: vec![
            format!(
                "Machine: {}. {} runs; systemd-networkd's files for one interface, nothing differs.",
                machine(),
                figures["rounds"]
            ),
            format!("Goals: {}.", if goals_met { "met" } else { "missed" }),
        ],
    };
    (section, goals_met)
}
