//! `imprint project …`, `imprint user …`, `imprint token …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Projects, and who is what in them.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// The projects that the token may see
    #[command(after_help = "Example:\n  imprint project list")]
    List,
    /// One project
    #[command(after_help = "Example:\n  imprint project show web")]
    Show {
        /// Id or name
        project: String,
    },
    /// Make a project (admins only)
    #[command(after_help = "\
Examples:
  imprint project create web --description \"The web shop\"
  imprint project create lab --max-images 10 --max-bytes 200GiB")]
    Create {
        /// 1 to 63 lower-case letters, digits and inner hyphens
        name: String,
        #[command(flatten)]
        settings: ProjectSettings,
    },
    /// Change what is said of a project (admins only)
    #[command(after_help = "\
A limit of 0 goes back to what the controller's configuration says.

Example:
  imprint project update web --max-bytes 500GiB")]
    Update {
        /// Id or name
        project: String,
        #[command(flatten)]
        settings: ProjectSettings,
    },
    /// Delete a project that has no images, nodes or running jobs (admins only)
    #[command(after_help = "\
Its tokens stop working. What it still has is named, and nothing is deleted then.

Example:
  imprint project delete web")]
    Delete {
        /// Id or name
        project: String,
    },
    /// Who is what in a project
    #[command(after_help = "Example:\n  imprint project users web")]
    Users {
        /// Id or name
        project: String,
    },
    /// Give a user a role in a project, in the place of the one it had (admins only)
    #[command(after_help = "\
Roles: reader, member; in the project platform also operator and admin.

Examples:
  imprint project grant web alice --role member
  imprint project grant platform bob --role operator")]
    Grant {
        /// Id or name
        project: String,
        /// Id or name
        user: String,
        /// What the user is to be there
        #[arg(long)]
        role: String,
    },
    /// Take a user out of a project; its tokens for it stop working at once (admins only)
    #[command(after_help = "Example:\n  imprint project withdraw web alice")]
    Withdraw {
        /// Id or name
        project: String,
        /// Id or name
        user: String,
    },
}

/// What can be said of a project.
#[derive(Debug, Args)]
pub struct ProjectSettings {
    /// For people
    #[arg(long)]
    pub description: Option<String>,
    /// Private images that each of its users may have
    #[arg(long, value_name = "N")]
    pub max_images: Option<u64>,
    /// What its images may take in the store (200GiB, 1TB, or bytes)
    #[arg(long, value_name = "SIZE", value_parser = crate::measure::parse_bytes)]
    pub max_bytes: Option<u64>,
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// All users
    #[command(after_help = "Example:\n  imprint user list")]
    List,
    /// One user
    #[command(after_help = "Example:\n  imprint user show alice")]
    Show {
        /// Id or name
        user: String,
    },
    /// Make a user, who has no role anywhere yet
    #[command(after_help = "\
Examples:
  imprint user create alice
  imprint project grant web alice --role member
  imprint token create laptop --user alice --project web --out alice.token")]
    Create {
        /// 1 to 64 letters, digits and `. _ - @`
        name: String,
    },
    /// From now on no token of the user works
    #[command(after_help = "Example:\n  imprint user disable alice")]
    Disable {
        /// Id or name
        user: String,
    },
    /// The user's tokens work again
    #[command(after_help = "Example:\n  imprint user enable alice")]
    Enable {
        /// Id or name
        user: String,
    },
}

/// API tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// The own tokens for this project; all for admins
    #[command(after_help = "Examples:\n  imprint token list\n  imprint token list --user alice")]
    List {
        /// Only those of this user: id or name
        #[arg(long)]
        user: Option<String>,
        /// Only those for this project: id or name
        #[arg(long)]
        project: Option<String>,
    },
    /// Make a token; its text is written once, to standard output or a file
    #[command(after_help = "\
Scopes: images:read, images:write, images:publish, nodes:read, nodes:write, deployments:read, deployments:write, events:read,
jobs:read, jobs:write, metrics:read, store:manage, tenants:manage, tokens:write, webhooks:manage. One that writes also
reads the same area. Without any the token does all that its role may.

Examples:
  imprint token create laptop --out new.token
  imprint token create nightly --scope images:write --scope jobs:read --days 30 --out ci.token
  imprint token create laptop --user alice --project web --out alice.token
  imprint token create ci --service --project web --role member --out ci.token")]
    Create(NewToken),
    /// Take a token back: it stops working at once
    #[command(after_help = "Example:\n  imprint token revoke 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Revoke {
        /// Id of the token, as `imprint token list` shows it
        token: String,
    },
}

/// A token to be made.
#[derive(Debug, Args)]
pub struct NewToken {
    /// What it is for
    pub name: String,
    /// The project that it acts for; without it that of the own token
    #[arg(long)]
    pub project: Option<String>,
    /// Whose it is; without it the own user (others: admins only)
    #[arg(long)]
    pub user: Option<String>,
    /// A token of no user, for a program (admins only)
    #[arg(long, conflicts_with = "user")]
    pub service: bool,
    /// At most the own role and that of the user there; without it as much as that
    #[arg(long)]
    pub role: Option<String>,
    /// Narrow it to this; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Days until it ends; without it what the controller's configuration says
    #[arg(long, value_name = "N")]
    pub days: Option<u32>,
    /// Write the token to this new file, readable by its owner alone, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
