//! `imprint-guest`: the plugin in the installed system. All work is in the library; this file is the command line and
//! the translation of outcomes into exit codes, on which the unit's restart policy rests.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use imprint_guest::{
    chain,
    report::{self, Policy, ReportError, Reported},
};
use tracing::{error, info};

/// The guest plugin of Imprint, in the installed system.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell the controller that the installed system is up; this ends the deployment
    ///
    /// Done once: after a successful report the token is taken out of the configuration, and later runs do nothing.
    #[command(after_help = "Exit codes:\n  \
        0   reported, now or earlier\n  \
        1   the controller could not be reached within the time; worth another try\n  \
        77  the controller refused the report; another try cannot help\n  \
        78  the configuration cannot be used")]
    Report {
        /// Where the deployment left the controller's address, its CA and the report token
        #[arg(long, value_name = "FILE", default_value = "/etc/imprint/guest.json")]
        config: PathBuf,
        /// Folder whose etc, proc, run and sys are read
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
    },
}

/// `EX_NOPERM` of sysexits.h: the unit does not restart after it.
const EXIT_REFUSED: u8 = 77;
/// `EX_CONFIG` of sysexits.h: the unit does not restart after it.
const EXIT_CONFIG: u8 = 78;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The journal stamps each line itself.
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("IMPRINT_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();

    let Command::Report { config, root } = arguments.command;
    match report::run(&config, &root, Policy::default()).await {
        Ok(Reported::Now { attempts }) => {
            info!(attempts, "the first boot has been reported");
            ExitCode::SUCCESS
        }
        Ok(Reported::Earlier) => {
            info!("this deployment has been reported already; nothing to do");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            error!(remedy = failure.remedy(), "{}", chain(&failure));
            match failure {
                ReportError::Config(_) => ExitCode::from(EXIT_CONFIG),
                ReportError::Refused { .. } => ExitCode::from(EXIT_REFUSED),
                ReportError::GaveUp { .. } => ExitCode::FAILURE,
            }
        }
    }
}
