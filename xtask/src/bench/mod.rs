//! `cargo xtask bench write`: how fast is an image put on a disk, by Imprint and by the tools people use today? The other
//! way, from a file into the store, is [`import`].
//!
//! One session measures everything, interleaved in rounds, on one machine: contenders write the same image, served on
//! loopback, to the same disk full of old data, and every byte is compared after every run. Between them run the parts
//! that nobody can do without (disk, network, decompression, hashing), which give the floor.
//!
//! [`workload`] makes the image, [`forms`] its served forms, [`tools`] gets whoever competes, [`server`] serves,
//! [`target`] is the disk, [`contender`] and [`floor`] say what is run, [`measure`] runs and watches it, [`session`]
//! does the rounds, [`report`] tells. Whatever is made lies in `target/bench-*`; loop device, servers and network
//! namespaces vanish with this process, however it ends.

mod arguments;
mod catalog;
mod contender;
mod document;
mod experiments;
mod fleet;
mod floor;
mod forms;
mod goals;
mod guest;
mod import;
mod lab;
mod matching;
mod measure;
mod network;
mod processes;
mod proxy;
mod report;
mod server;
mod session;
mod target;
mod tools;
mod workload;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

pub use arguments::Bench;
use arguments::Write;
use lab::Lab;

/// Runs `cargo xtask bench`.
pub fn run(source: &Path, bench: &Bench) -> Result<bool> {
    match bench {
        Bench::List => {
            for contender in contender::all() {
                println!(
                    "{:<20} {:<6} {}",
                    contender.name,
                    contender.group.name(),
                    contender.about
                );
            }
            for experiment in experiments::ALL {
                println!("{:<20} {:<6} {}", experiment.name, "extra", experiment.about);
            }
            Ok(true)
        }
        Bench::Write(write) => write_bench(source, write),
        Bench::Import(import) => import::run(source, import),
        Bench::Catalog(catalog) => catalog::run(source, catalog),
        Bench::Guest(guest) => guest::run(source, guest),
        Bench::Fleet(fleet) => fleet::run(source, fleet),
        Bench::Match(compared) => matching::run(source, compared),
    }
}

fn write_bench(source: &Path, options: &Write) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the bench needs root: it writes to a loop device; run it as root or with sudo");
    }
    let chosen = options.contenders()?;
    let experiments = options.experiments()?;
    let lab = Lab::prepare(source, options, &chosen)?;
    let answer = if experiments.is_empty() {
        let results = session::run(&lab, options, &chosen)?;
        let report = report::Report::new(&lab, options, &results);
        if options.json() {
            println!("{:#}", report.json());
        } else {
            println!("{}", report.text());
        }
        keep_json(source, &report)?;
        if options.write_docs {
            document::write(source, &report)?;
        }
        results.iter().all(|run| !run.is_fault())
    } else {
        let mut sections = Vec::new();
        for experiment in experiments {
            crate::screen::step(&format!("Experiment {}: {}", experiment.name, experiment.about));
            let section =
                (experiment.run)(&lab, options).with_context(|| format!("experiment {}", experiment.name))?;
            if !options.json() {
                println!("\n{}", section.text());
            }
            sections.push(section);
        }
        if options.json() {
            let all: Vec<_> = sections.iter().map(report::Section::json).collect();
            println!("{:#}", serde_json::Value::from(all));
        }
        if options.write_docs {
            document::write_sections(source, &sections)?;
        }
        true
    };
    lab.clear(options.keep)?;
    Ok(answer)
}

/// Every session's figures stay, for comparison with later ones.
fn keep_json(source: &Path, report: &report::Report) -> Result<()> {
    let folder = source.join("target/bench-results");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("write-{}.json", report.stamp()));
    fs::write(&path, format!("{:#}\n", report.json()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("figures: {}", path.display());
    Ok(())
}
