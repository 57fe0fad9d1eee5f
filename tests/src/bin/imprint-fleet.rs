//! `imprint-fleet`: thousands of made-up servers for one real controller. `cargo xtask bench fleet` builds what it needs
//! and starts it.

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use imprint_tests::fleet::{
    FleetOptions,
    controller::ControllerProcess,
    faults::Misfortune,
    outcome::Outcome,
    run::{self, RunOptions},
};

/// Thousands of made-up servers for one real controller.
#[derive(Debug, Parser)]
#[command(name = "imprint-fleet")]
struct Arguments {
    /// The controller's binary
    #[arg(long, value_name = "FILE")]
    controller: PathBuf,
    /// Servers
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: u32,
    /// How many of them are deployed, all at once
    #[arg(long, value_name = "N", default_value_t = 50)]
    deployments: u32,
    /// What decides everything that is left to chance; another one each time when it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Nodes of a thousand with a fault
    #[arg(long, value_name = "N", default_value_t = 60)]
    faults_per_mille: u32,
    /// Kill the controller and start it again when all is done
    #[arg(long)]
    kill_controller: bool,
    /// Kill the controller and start it again in the middle of the deployments
    #[arg(long)]
    kill_amid: bool,
    /// Nodes that are switched on in a second
    #[arg(long, value_name = "N", default_value_t = 100)]
    power_on_per_second: u32,
    /// How long the fleet is left alone before the deployments
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    rest: u64,
    /// The longest that anything may take
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    patience: u64,
    /// Folder for the memory of the nodes, in RAM; removed at the end
    #[arg(long, value_name = "FOLDER", default_value = "/dev/shm")]
    state: PathBuf,
    /// Folder for the controller's data; removed at the end
    #[arg(long, value_name = "FOLDER", default_value = "target")]
    work: PathBuf,
    /// Where to write all figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(outcome) => {
            println!("{}", outcome.text());
            if outcome.is_right() && outcome.misses().is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Outcome> {
    let folder = |prefix: &str, below: &PathBuf| {
        let made = tempfile::Builder::new().prefix(prefix).tempdir_in(below);
        made.with_context(|| format!("cannot make a folder below {}", below.display()))
    };
    let (memory, work) = (
        folder("imprint-fleet-", &arguments.state)?,
        folder("fleet-", &arguments.work)?,
    );
    let options = RunOptions {
        fleet: FleetOptions {
            nodes: arguments.nodes,
            seed: arguments
                .seed
                .unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 32),
            misfortune: Misfortune {
                per_mille: arguments.faults_per_mille,
                ..Misfortune::default()
            },
            takes: (Duration::from_secs(20), Duration::from_secs(60)),
            engine_of: 50,
            power_on_per_second: arguments.power_on_per_second,
            folder: memory.path().to_owned(),
        },
        deployments: arguments.deployments,
        rest: Duration::from_secs(arguments.rest),
        kill: arguments.kill_controller,
        kill_amid: arguments.kill_amid,
        patience: Duration::from_secs(arguments.patience),
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the threads of the fleet")?;
    let begun = Instant::now();
    let say = |words: &str| {
        let seconds = begun.elapsed().as_secs();
        eprintln!("[{:3}:{:02}] {words}", seconds / 60, seconds % 60);
    };
    let outcome = runtime.block_on(async {
        let mut controller = ControllerProcess::init(&arguments.controller, work.path())?;
        controller.start().await?;
        let site = controller.site.clone();
        run::run(&site, Some(&mut controller), &options, &say).await
    });
    // A fleet that is in disorder has threads that wait.
    runtime.shutdown_timeout(Duration::from_secs(5));
    let outcome = outcome?;
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&outcome).context("the figures are no JSON")?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(outcome)
}
