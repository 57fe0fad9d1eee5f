//! `cargo xtask bench catalog`: how fast is a catalogue of 10,000 images asked?
//!
//! The controller's example `catalogue` fills a database and asks it through the REST router in its own process: token,
//! permission, query, JSON, and no network. The goal is that each kind of question is answered within 50 ms, 99 times out
//! of 100.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::document;
use super::report::{Section, machine, today};
use crate::screen::step;
use crate::{binaries, tool};

/// What the slowest of a hundred answers may take.
const GOAL_MS: f64 = 50.0;

/// Options of `bench catalog`.
#[derive(Debug, Args)]
pub struct Catalog {
    /// Images
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    images: u32,
    /// Projects that share them
    #[arg(long, value_name = "N", default_value_t = 100)]
    tenants: u32,
    /// Requests of each kind
    #[arg(long, value_name = "N", default_value_t = 300)]
    requests: u32,
    /// Ask a controller as it is built for tests: compiled sooner, and slower
    #[arg(long)]
    dev: bool,
    /// Put the results into docs/performance.md
    #[arg(long)]
    write_docs: bool,
}

/// Measures; answers whether the goal is met.
pub fn run(source: &Path, options: &Catalog) -> Result<bool> {
    let program = binaries::build_catalogue(source, !options.dev)?;
    let folder = source.join("target/bench-catalog");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    step(&format!("Asking a catalogue of {} images", options.images));
    let mut ask = Command::new(program);
    ask.arg(&folder);
    ask.args([options.images, options.tenants, options.requests].map(|n| n.to_string()));
    let answered = tool::output(&mut ask);
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    let figures: Value = serde_json::from_str(&answered?).context("the example gave no figures")?;
    let (section, goal_met) = report(options, &figures);
    println!("\n{}", section.text());
    if options.write_docs {
        document::write_sections(source, &[section])?;
    }
    Ok(goal_met)
}

fn report(options: &Catalog, figures: &Value) -> (Section, bool) {
    let results = figures["results"].as_array().map_or(&[][..], Vec::as_slice);
    let number = |result: &Value, key: &str| result[key].as_f64().unwrap_or(f64::INFINITY);
    let slowest = results
        .iter()
        .map(|result| number(result, "p99_ms"))
        .fold(0.0, f64::max);
    let goal_met = !results.is_empty() && slowest < GOAL_MS;
    let row = |result: &Value| {
        let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
        vec![
            text("name"),
            format!("`{}`", text("path")),
            format!("{:.0}", number(result, "items")),
            format!("{:.1}", number(result, "busy_ms")),
            format!("{:.1}", number(result, "p50_ms")),
            format!("{:.1}", number(result, "p99_ms")),
            format!("{:.1}", number(result, "max_ms")),
        ]
    };
    let section = Section {
        title: format!(
            "catalog: {} images of {} projects, {} packages in each ({})",
            options.images,
            options.tenants,
            figures["packages"],
            today()
        ),
        head: vec![
            "question", "path", "items", "CPU ms", "p50 ms", "p99 ms", "max ms",
        ],
        rows: results.iter().map(row).collect(),
        notes: vec![
            format!(
                "Machine: {}. {} requests of each kind.",
                machine(),
                options.requests
            ),
            format!(
                "Goal: under {GOAL_MS:.0} ms, 99 times out of 100: the slowest kind takes {slowest:.1} ms, {}.",
                if goal_met { "met" } else { "missed" }
            ),
            format!(
                "One request after the other through the REST router in one process, an administrator and all tenants in \
                 turn: the check of the token, the query in SQLite, and the JSON. The controller is built as it is {}. \
                 `{{n}}`, `{{id}}` and `{{page}}` differ from request to request. CPU: processor time of the process for one \
                 request.",
                if options.dev { "for tests" } else { "shipped" }
            ),
        ],
    };
    (section, goal_met)
}
