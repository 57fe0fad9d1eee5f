//! `imprint-lab`: the lab's own program. `cargo xtask demo` and `cargo xtask lab` prepare what it needs and start it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use imprint_tests::accel::{self, Accel};
use imprint_tests::card::{self, CardOptions};
use imprint_tests::demo::{self, DemoOptions};
use imprint_tests::interrupt::{self, Interrupted};
use imprint_tests::lab::Parts;
use imprint_tests::scenario::{self, Scenario};
use imprint_tests::{assassin, bucket, ipmi, network, runner, story};

/// Virtual servers that really boot over the network.
#[derive(Debug, Parser)]
#[command(name = "imprint-lab")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From a machine without an operating system to a log-in by ssh
    Demo {
        #[command(flatten)]
        parts: PartsArguments,
        #[command(flatten)]
        options: DemoOptions,
    },
    /// Names of the scenarios
    List,
    /// Runs scenarios by name
    Run {
        #[command(flatten)]
        parts: PartsArguments,
        /// Names; or the sets `ci`, `matrix`, `network-watch-all` and `all`
        #[arg(required = true)]
        names: Vec<String>,
        /// Images that cannot be had: scenarios with them are left out
        #[arg(long, value_name = "NAME")]
        without: Vec<String>,
        /// How many at a time
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// Gets a line for each scenario
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Names of the images that scenarios need beside the Debian 12 image
    #[command(hide = true)]
    Variants {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// One scenario in this process
    #[command(hide = true)]
    Scenario {
        #[command(flatten)]
        parts: PartsArguments,
        name: String,
    },
    /// An SDI card beside a virtual server: speaks OPI's storage API, and shows network volumes as disks
    Card {
        #[command(flatten)]
        options: CardOptions,
    },
    /// The DHCP server of somebody else
    #[command(hide = true)]
    InternalDhcpServer { leases: PathBuf },
    /// Switches a server for its BMC
    #[command(hide = true)]
    InternalChassis {
        folder: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// The S3 service that keeps a controller's images
    #[command(hide = true)]
    InternalBucket { listen: SocketAddr, root: PathBuf },
    /// Inside a ramdisk: disturbs the agent in the middle of its work
    #[command(hide = true)]
    InternalDisturbAgent {
        deed: assassin::Deed,
        /// Only in the server with this number
        #[arg(long)]
        server: Option<usize>,
    },
}

#[derive(Debug, Args)]
struct PartsArguments {
    /// Folder with the binaries [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Folder with the ramdisk
    #[arg(long, value_name = "FOLDER", default_value = "target/ramdisk")]
    ramdisk: PathBuf,
    /// The Debian 12 image
    #[arg(long, value_name = "FILE")]
    debian: PathBuf,
    /// Further images
    #[arg(long = "variant", value_name = "NAME=FILE", value_parser = variant)]
    variants: Vec<(String, PathBuf)>,
    /// Gets temporary folders and logs
    #[arg(long, value_name = "FOLDER", default_value = "target")]
    target: PathBuf,
    /// What runs the virtual processors [default: KVM where a kernel really boots under it]
    #[arg(long, value_enum)]
    accel: Option<Accel>,
}

fn variant(text: &str) -> Result<(String, PathBuf)> {
    let (name, file) = text.split_once('=').context("NAME=FILE is expected")?;
    let file = PathBuf::from(file).canonicalize();
    Ok((
        name.to_owned(),
        file.with_context(|| format!("the image {name} is not there"))?,
    ))
}

impl PartsArguments {
    fn complete(self) -> Result<Parts> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let binaries = self
            .binaries
            .or_else(|| own.parent().map(PathBuf::from))
            .context("this program has no folder")?;
        let full = |path: PathBuf| {
            path.canonicalize()
                .with_context(|| format!("{} is not there", path.display()))
        };
        let ramdisk = full(self.ramdisk)?;
        let target = full(self.target)?;
        let accel = match self.accel {
            Some(accel) => accel,
            None => accel::probe(&ramdisk.join("vmlinuz"), &target)?,
        };
        Ok(Parts {
            binaries: full(binaries)?,
            image: full(self.debian)?,
            variants: self.variants.into_iter().collect(),
            ramdisk,
            target,
            accel,
        })
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::InternalDhcpServer { leases } => network::be_foreign_server(&leases).map(|()| true),
        Command::InternalChassis { folder, words } => ipmi::chassis(&folder, &words).map(|()| true),
        Command::InternalBucket { listen, root } => bucket::serve(listen, &root).map(|()| true),
        Command::InternalDisturbAgent { deed, server } => {
            assassin::disturb_agent(deed, server).map(|()| true)
        }
        Command::Card { options } => match card::run(&options) {
            Ok(code) => return ExitCode::from(code),
            Err(error) => Err(error),
        },
        command => interrupt::install().and_then(|()| run(command)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("interrupted; everything was stopped and removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Demo { parts, options } => {
            story::begin("demo");
            network::enter_namespace()?;
            let parts = parts.complete()?;
            story::tell(&format!("virtual processors: {}", parts.accel.argument()));
            demo::run(&parts, &options).map(|()| true)
        }
        Command::List => {
            for scenario in scenario::all() {
                println!(
                    "{:<26} {:<7} {:>4} s  {}",
                    scenario.name,
                    scenario.set(),
                    scenario.rough_seconds,
                    scenario.about
                );
            }
            Ok(true)
        }
        Command::Variants { names } => {
            let needed: BTreeSet<_> = select(&names)?
                .iter()
                .filter_map(|scenario| scenario.variant)
                .collect();
            for name in needed {
                println!("{name}");
            }
            Ok(true)
        }
        Command::Run {
            parts,
            names,
            without,
            jobs,
            report,
        } => {
            let mut scenarios = select(&names)?;
            scenarios.retain(|scenario| {
                let left_out = without.iter().find(|name| scenario.variant == Some(name));
                if let Some(image) = left_out {
                    println!("[{}] left out: there is no image {image}", scenario.name);
                }
                left_out.is_none()
            });
            let outcomes = runner::run(&scenarios, &parts.complete()?, jobs)?;
            if let Some(path) = report {
                runner::write_report(&outcomes, &path)?;
            }
            println!();
            for outcome in &outcomes {
                let verdict = if outcome.passed { "passed" } else { "FAILED" };
                println!("{:<26} {verdict} {:>5} s", outcome.name, outcome.seconds);
            }
            Ok(outcomes.iter().all(|outcome| outcome.passed))
        }
        Command::Scenario { parts, name } => {
            story::begin(&name);
            network::enter_namespace()?;
            let scenario = scenario::find(&name).with_context(|| format!("there is no scenario {name}"))?;
            scenario.run(&parts.complete()?).map(|()| true)
        }
        Command::Card { .. }
        | Command::InternalDhcpServer { .. }
        | Command::InternalChassis { .. }
        | Command::InternalBucket { .. }
        | Command::InternalDisturbAgent { .. } => {
            bail!("not a command of a lab")
        }
    }
}

fn select(names: &[String]) -> Result<Vec<&'static Scenario>> {
    let mut chosen: Vec<&'static Scenario> = Vec::new();
    for name in names {
        match name.as_str() {
            "ci" => chosen.extend(scenario::all().filter(|scenario| scenario.ci)),
            "matrix" => chosen.extend(scenario::MATRIX),
            "network-watch-all" => {
                let all = scenario::all().filter(|scenario| scenario.name.starts_with("network-watch"));
                chosen.extend(all);
            }
            "all" => chosen.extend(scenario::all()),
            name => match scenario::find(name) {
                Some(scenario) => chosen.push(scenario),
                None => bail!("there is no scenario {name}; `cargo xtask lab list` names them all"),
            },
        }
    }
    Ok(chosen)
}
