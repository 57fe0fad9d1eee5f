//! `imprint webhook …`

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Send events to a URL; the secret that they are signed with is printed, once, to standard output
    Add(NewWebhook),
    /// All webhooks
    #[command(after_help = "Example:\n  imprint webhook list")]
    List,
    /// One webhook: how far it is, and what it refuses
    #[command(after_help = "Example:\n  imprint webhook show pager")]
    Show {
        /// Id or name
        webhook: String,
    },
    /// Send one test message now; exits with 0 only when it was taken
    #[command(after_help = "Example:\n  imprint webhook test pager")]
    Test {
        /// Id or name
        webhook: String,
    },
    /// Send again, beginning behind the last event that was taken
    #[command(after_help = "\
Examples:
  imprint webhook enable pager
  imprint webhook enable pager --skip-missed")]
    Enable {
        /// Id or name
        webhook: String,
        /// Leave out what happened while it was disabled
        #[arg(long)]
        skip_missed: bool,
    },
    /// Send nothing until it is enabled again
    #[command(after_help = "Example:\n  imprint webhook disable pager")]
    Disable {
        /// Id or name
        webhook: String,
    },
    /// Delete a webhook with its secret
    #[command(after_help = "Example:\n  imprint webhook delete pager")]
    Delete {
        /// Id or name
        webhook: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Events go out as CloudEvents over HTTPS, signed as Standard Webhooks say, in order and at least once. Nothing is sent to
private addresses unless the controller's configuration has their network in webhooks.allow_networks.

Examples:
  imprint webhook add pager --to https://hooks.example.net/imprint --kind 'alarm.*'
  imprint webhook add audit --to https://audit.example.net/in --after 0 > audit.secret")]
pub struct NewWebhook {
    /// 1 to 64 letters, digits and . _ -
    pub name: String,
    /// Where events are sent to
    #[arg(long = "to", value_name = "URL")]
    pub target: String,
    /// A kind of events, or the beginning of some (alarm.*); may be given several times, all without
    #[arg(long = "kind", value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Only events of this project: id or name
    #[arg(long)]
    pub project: Option<String>,
    /// Begin after the event with this id; 0: with the first of all. Without: from now on
    #[arg(long, value_name = "ID")]
    pub after: Option<i64>,
}
