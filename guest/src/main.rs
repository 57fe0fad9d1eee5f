//! `imprint-guest`: the plugin in the installed system. All work is in the library; this file is the command line and
//! the translation of outcomes into exit codes, on which the unit's restart policy rests.

mod network_command;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use imprint_guest::{
    chain, drift,
    report::{self, Policy, ReportError, Reported},
    session::{self, Pace, Place, SessionError},
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
        #[command(flatten)]
        files: Files,
    },
    /// Keep a session with the controller: tell it of events, take its orders
    ///
    /// Waits for the certificate that the first-boot report brings, and calls again and again when the controller cannot
    /// be reached. What runs on this system does not depend on it.
    #[command(after_help = "Exit codes:\n  \
        77  the controller has no place for this system any more\n  \
        78  the configuration cannot be used")]
    Run {
        #[command(flatten)]
        files: Files,
    },
    /// Compare the plugin's own files with the list of what was installed
    ///
    /// `sha256sum --check /etc/imprint/guest-files.sha256` does the same.
    #[command(after_help = "Exit codes:\n  \
        0  all files are as they were installed\n  \
        1  it could not be found out; what cannot be read is named\n  \
        2  some are not; each is named")]
    Verify {
        /// Folder that the files are below
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Print the findings as a JSON list
        #[arg(long)]
        json: bool,
    },
    /// What the network of this machine is to be, what differs, and the way back
    #[command(subcommand)]
    Network(network_command::Verb),
}

#[derive(Debug, Args)]
struct Files {
    /// Where the deployment left the controller's address, its CA and the report token
    #[arg(long, value_name = "FILE", default_value = "/etc/imprint/guest.json")]
    config: PathBuf,
    /// Folder whose etc, proc, run and sys are read
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Something differs.
const EXIT_DIFFERS: u8 = 2;
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

    match arguments.command {
        Command::Report { files } => report_once(&files).await,
        Command::Run { files } => keep_session(files).await,
        Command::Verify { root, json } => verify(&root, json),
        Command::Network(verb) => network_command::run(verb).await,
    }
}

async fn report_once(files: &Files) -> ExitCode {
    match report::run(&files.config, &files.root, Policy::default()).await {
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
                ReportError::Identity(_) | ReportError::GaveUp { .. } => ExitCode::FAILURE,
            }
        }
    }
}

async fn keep_session(files: Files) -> ExitCode {
    let place = Place {
        config: files.config,
        root: files.root,
    };
    let Err(failure) = session::run(&place, Pace::default()).await else {
        return ExitCode::SUCCESS;
    };
    error!(remedy = failure.remedy(), "{}", chain(&failure));
    match failure {
        SessionError::Config(_) | SessionError::Identity(_) => ExitCode::from(EXIT_CONFIG),
        SessionError::Refused(_) => ExitCode::from(EXIT_REFUSED),
        SessionError::Key(_) => ExitCode::FAILURE,
    }
}

fn verify(root: &Path, json: bool) -> ExitCode {
    let found = drift::find(root);
    let (differs, unknown) = (!found.different.is_empty(), !found.unknown.is_empty());
    let findings = found.all();
    if json {
        println!("{}", serde_json::json!(findings));
    } else if findings.is_empty() {
        println!("All files of the plugin are as they were installed.");
    } else {
        for finding in &findings {
            println!("{finding}");
        }
    }
    if differs {
        error!(
            remedy = "if the change is meant, write the list again with sha256sum; else deploy again, or copy the files from another \
                      system of the same version",
            "files of the plugin are not as they were installed"
        );
        return ExitCode::from(EXIT_DIFFERS);
    }
    if unknown {
        error!(
            remedy = "run it as root, in the installed system",
            "it could not be found out whether all files of the plugin are as they were installed"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
