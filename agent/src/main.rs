//! `imprint-agent`: in the ramdisk it serves the controller (`run`); by hand it writes images (`write`) and shows
//! what it sees of the hardware (`inventory`).

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use imprint_agent::{
    inventory,
    log::{Log, LogLayer},
    rescue, run, wipe_command, write_command,
};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::LevelFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

#[derive(Debug, Parser)]
#[command(name = "imprint-agent", version, about = "Puts operating systems onto bare metal, from a ramdisk", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  imprint-agent run                                     as the ramdisk's service does
  imprint-agent inventory --json                        what the controller would be told
  imprint-agent write --manifest https://store/manifests/ab… --target /dev/nvme0n1 --pubkey key.hex
  imprint-agent write --image debian.raw.zst --target disk.img --sha256 9f…

Log level: RUST_LOG=debug imprint-agent …";

#[derive(Debug, Subcommand)]
enum Command {
    /// Enrol with the controller and do what it asks; ends on SIGTERM or with the machine's restart.
    Run {
        /// The boot identity that the controller generated for this machine.
        #[arg(long, default_value = imprint_agent::identity::IDENTITY_FILE)]
        identity: PathBuf,
        /// State of this boot; must be in RAM, it holds the private key.
        #[arg(long, default_value = "/run/imprint")]
        state_dir: PathBuf,
        /// Read the hardware below this folder.
        #[arg(long, default_value = "/")]
        root: PathBuf,
    },
    /// Write an image to a disk or a file, proven.
    Write(Box<write_command::WriteArgs>),
    /// Make what disks hold unreadable, with proof.
    Wipe(Box<wipe_command::WipeArgs>),
    /// Show the hardware as the controller would see it.
    Inventory {
        /// Read the hardware below this folder.
        #[arg(long, default_value = "/")]
        root: PathBuf,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let name = name.to_string_lossy();
    if rescue::shell::is_meant(&name) {
        return rescue::shell::run(&name, words);
    }
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let shown = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_filter(filter);
    let log = Log::default();
    // Only the service has somebody to tell its log to.
    let told = matches!(arguments.command, Command::Run { .. })
        .then(|| LogLayer::new(log.clone()).with_filter(LevelFilter::INFO));
    tracing_subscriber::registry().with(shown).with(told).init();
    match start(arguments, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { error, remedy }) => {
            eprintln!("imprint-agent: {error:#}");
            eprintln!("what to do: {remedy}");
            ExitCode::FAILURE
        }
    }
}

/// More threads than this for the network only take memory, on a machine with many cores.
const MOST_NETWORK_THREADS: usize = 4;

/// What is told at the end.
struct Failure {
    error: anyhow::Error,
    remedy: String,
}

impl Failure {
    fn new(error: impl Into<anyhow::Error>, remedy: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            remedy: remedy.into(),
        }
    }
}

fn start(arguments: Arguments, log: Log) -> Result<(), Failure> {
    let runtime = || {
        // These threads only move bytes between sockets and memory; what computes has threads of its own.
        let threads = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(MOST_NETWORK_THREADS);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .context("cannot start threads");
        runtime
            .map_err(|error| Failure::new(error, "give the machine more memory, or the process more threads"))
    };
    match arguments.command {
        Command::Run {
            identity,
            state_dir,
            root,
        } => {
            let options = run::RunOptions {
                identity,
                state: state_dir,
                root,
                log,
            };
            runtime()?.block_on(run::run(options)).map_err(|error| {
                let remedy = error.remedy();
                Failure::new(error, remedy)
            })
        }
        Command::Write(arguments) => runtime()?
            .block_on(write_command::run(*arguments))
            .map_err(|error| {
                let remedy = error.remedy();
                Failure::new(error, remedy)
            }),
        Command::Wipe(arguments) => runtime()?
            .block_on(wipe_command::run(*arguments))
            .map_err(|error| {
                let remedy = error.remedy();
                Failure::new(error, remedy)
            }),
        Command::Inventory { root, json } => {
            // A tree of files knows nothing of this machine's kernel and devices.
            let inventory = if root == Path::new("/") {
                let mut found = inventory::read(&root, &inventory::Live::now(&root));
                inventory::Live::of_devices(&root, &found).complete(&mut found);
                found
            } else {
                inventory::read(&root, &inventory::Live::default())
            };
            if json {
                println!("{:#}", inventory::to_json(&inventory));
            } else {
                print!("{}", inventory::to_text(&inventory));
            }
            Ok(())
        }
    }
}
