//! The verbs of `imprint-guest network`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use imprint_guest::{
    chain,
    network::{self, NetworkError, guard::Patience, state::StateError},
};
use tracing::{error, warn};

/// Something differs.
const EXIT_DIFFERS: u8 = 2;
/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Tell what differs from the network data of the deployment: files, addresses, routes, links
    #[command(after_help = "Exit codes:\n  \
        0   nothing differs\n  \
        1   it could not be found out\n  \
        2   something differs\n  \
        78  this system was installed without network data, or both copies of it are damaged")]
    Status(Below),
    /// The same with the lines of the files that differ
    Diff(Below),
    /// Put the network's files back as they were written; what stands there is kept in /var/lib/imprint/aside
    Restore(Below),
    /// Have the system read its files again and bring the network up by them; connections may break for a moment
    #[command(after_help = "\
With --at-boot, files and services that differ are put back instead, for the network that is about to be started; the watch \
tells the controller of it. imprint-network-apply.service does that at each boot.")]
    Apply {
        #[command(flatten)]
        below: Below,
        /// The network has not been started yet
        #[arg(long)]
        at_boot: bool,
    },
    /// Take the network's files as they are now for what they are to be; what is watched from then on is those files
    Accept(Below),
    /// Look after the network for as long as this runs: what differs is put back after 20 s, and the controller is told
    #[command(after_help = "\
`accept` within these 20 s, or at any time before a change, makes it stay. A cable that is out is waited for.")]
    Watch(Below),
}

/// Where the system is.
#[derive(Debug, Args)]
pub struct Below {
    /// Folder below which the system lies
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Does it.
pub async fn run(verb: Verb) -> ExitCode {
    let done = match verb {
        Verb::Status(below) => network::status(&below.root)
            .await
            .map(|status| told(&status, false)),
        Verb::Diff(below) => network::status(&below.root)
            .await
            .map(|status| told(&status, true)),
        Verb::Restore(below) => network::restore(&below.root).map(|changes| {
            for change in &changes {
                println!("{change}: put back");
            }
            println!("{} files put back", changes.len());
            ExitCode::SUCCESS
        }),
        Verb::Apply {
            below,
            at_boot: false,
        } => network::apply(&below.root).await.map(|()| ExitCode::SUCCESS),
        Verb::Apply { below, at_boot: true } => network::at_boot::put_back(&below.root).await.map(|what| {
            if let Some(what) = what {
                warn!("the network's files were put back {what}");
            }
            ExitCode::SUCCESS
        }),
        Verb::Accept(below) => network::accept(&below.root).map(|count| {
            println!("{count} files accepted as they are");
            ExitCode::SUCCESS
        }),
        Verb::Watch(below) => network::watch::run(&below.root, Patience::default())
            .await
            .map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|failure| {
        error!(remedy = failure.remedy(), "{}", chain(&failure));
        match failure {
            NetworkError::State(StateError::None | StateError::Damaged(_)) => ExitCode::from(EXIT_CONFIG),
            _ => ExitCode::FAILURE,
        }
    })
}

fn told(status: &network::Status, whole: bool) -> ExitCode {
    print!("{}", status.text(whole));
    if status.is_right() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_DIFFERS)
    }
}
