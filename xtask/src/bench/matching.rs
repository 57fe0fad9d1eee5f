//! `cargo xtask bench match`: how fast are images compared with nodes?
//!
//! The example `fleet` of the hardware crate makes nodes and images of many kinds and compares every pair, with two
//! threads; and one node with all images, as `imprint match NODE` does. Goals: under 2 s, and under 10 ms.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::document;
use super::report::{Section, machine, today};
use crate::screen::step;
use crate::{binaries, tool};

const GOAL_ALL_MS: f64 = 2000.0;
const GOAL_ONE_MS: f64 = 10.0;

/// Options of `bench match`.
#[derive(Debug, Args)]
pub struct Match {
    /// Nodes
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    nodes: u32,
    /// Images
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    images: u32,
    /// Rounds, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: u32,
    /// The build of the tests instead of an optimised one
    #[arg(long)]
    dev: bool,
    /// Put the results into docs/performance.md
    #[arg(long)]
    write_docs: bool,
}

/// Measures; answers whether the goals are met.
pub fn run(source: &Path, options: &Match) -> Result<bool> {
    let program = binaries::build_fleet(source, !options.dev)?;
    step(&format!(
        "Comparing {} images with {} nodes",
        options.images, options.nodes
    ));
    let mut compare = Command::new(program);
    compare.args([options.nodes, options.images, options.rounds].map(|n| n.to_string()));
    let figures = tool::output(&mut compare)?;
    let figures: Value = serde_json::from_str(&figures).context("the example gave no figures")?;
    let (section, goal_met) = report(&figures);
    println!("\n{}", section.text());
    if options.write_docs {
        document::write_sections(source, &[section])?;
    }
    Ok(goal_met)
}

fn report(figures: &Value) -> (Section, bool) {
    let number = |key: &str| figures[key].as_f64().unwrap_or(f64::INFINITY);
    let (all, one) = (number("all_ms"), number("one_ranked_ms"));
    let met = |is: bool| if is { "met" } else { "missed" };
    let row = |what: &str, key: &str, goal: &str| {
        vec![what.to_owned(), format!("{:.2}", number(key)), goal.to_owned()]
    };
    let section = Section {
        title: format!(
            "match: {} nodes, {} images ({})",
            figures["nodes"],
            figures["images"],
            today()
        ),
        head: vec!["what", "median ms", "goal ms"],
        rows: vec![
            row("every pair, with the preparation", "all_ms", "2,000"),
            row("of that the preparation", "prepare_ms", ""),
            row("one node with all images, with the preparation", "one_ms", "10"),
            row("the same, ranked, and 50 answers in words", "one_ranked_ms", "10"),
        ],
        notes: vec![
            format!(
                "Machine: {}. {} rounds, {} threads for every pair, one for one node.",
                machine(),
                figures["rounds"],
                figures["threads"]
            ),
            format!(
                "Verdicts: {} fit, {} unverified, {} refused. Goals: {} and {}.",
                figures["fits"],
                figures["unverified"],
                figures["refused"],
                met(all < GOAL_ALL_MS),
                met(one < GOAL_ONE_MS)
            ),
        ],
    };
    (section, all < GOAL_ALL_MS && one < GOAL_ONE_MS)
}
