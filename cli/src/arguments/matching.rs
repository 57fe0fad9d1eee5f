//! `imprint model …` and `imprint match …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Take a model from a file; the same file again changes nothing, another content needs a higher version
    #[command(after_help = "\
Every mistake in the file is told at once, with its line and column.

Examples:
  imprint model apply rack-1.toml
  imprint model suggest web-07 > rack-1.toml && editor rack-1.toml && imprint model apply rack-1.toml")]
    Apply {
        /// The model, in TOML; - for standard input
        file: PathBuf,
    },
    /// All models
    #[command(after_help = "Examples:\n  imprint model list\n  imprint model list --output json")]
    List,
    /// One model: its document; with --output json also its history
    #[command(after_help = "Example:\n  imprint model show qemu-q35")]
    Show {
        /// Name of the model
        model: String,
    },
    /// Delete a model that was applied; one that comes with the controller is in its place again
    #[command(after_help = "Example:\n  imprint model delete rack-1")]
    Delete {
        /// Name of the model
        model: String,
    },
    /// Write a first version of a model for servers like this one
    #[command(after_help = "Example:\n  imprint model suggest web-07 > rack-1.toml")]
    Suggest {
        /// Id, name, UUID, serial or MAC of a server
        node: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Verdicts: fits; unverified (deploy asks for --allow-unverified); refused. docs/matching.md explains each reason.

Examples:
  imprint match web-07
  imprint match web-07 --family debian --intent clean
  imprint match --image debian-12 --all
  imprint match --image debian-12 --verdict refused --output json")]
pub struct MatchArguments {
    /// Id, name, UUID, serial or MAC of a server
    #[arg(required_unless_present = "image")]
    pub node: Option<String>,
    /// Only images of this family
    #[arg(long, requires = "node")]
    pub family: Option<String>,
    /// Of a server: the image that is wanted. Without a server: compare this image with the fleet
    #[arg(long)]
    pub image: Option<String>,
    /// What is wanted: it comes first among images that are as good
    #[arg(long, value_enum, requires = "node")]
    pub intent: Option<Intent>,
    /// Of a server: also images that nobody would take. Of an image: all servers, not the first 100
    #[arg(long)]
    pub all: bool,
    /// Of an image: only servers with this verdict
    #[arg(long, value_enum, conflicts_with = "node")]
    pub verdict: Option<Verdict>,
}

/// What somebody wants to do with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Intent {
    /// A fresh system: public images
    Clean,
    /// The same as another server: the project's own images
    Replicate,
    /// What others have made: shared images
    Shared,
    /// A complete environment: the marketplace
    Marketplace,
}

/// How an image stands to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verdict {
    /// Nothing is against it
    Fits,
    /// It needs a permission
    Unverified,
    /// It cannot be
    Refused,
}

/// The word that the API takes.
pub fn word(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}
