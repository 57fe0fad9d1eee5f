//! `imprint image share …` and what else is between projects; `imprint quota …`, `imprint usage`

use clap::{Args, Subcommand, ValueEnum};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

/// What is done with images of others, and what others do with one's own.
#[derive(Debug, Subcommand)]
pub enum SharingCommand {
    /// Offer an image to other projects, which then accept it
    #[command(after_help = "\
Other projects are named by id: `imprint whoami --output json` shows it to them. What a member offers stays with the
image's region; published, encrypted and composed images are not shared, and the refusal says what helps.

Examples:
  imprint image share debian-12 01JD3Y6N9M1V9S1M6V1M3B3W5T
  imprint image share shop 01JD3Y6N9M1V9S1M6V1M3B3W5T 01JD3Y7C3F5J1T9Q8V4N2K6M0R")]
    Share {
        /// Id or name
        image: String,
        /// Ids of projects; admins may also give names
        #[arg(required = true, value_name = "PROJECT")]
        projects: Vec<String>,
    },
    /// Stop sharing an image, at once; deployments that run go on
    #[command(after_help = "Example:\n  imprint image unshare shop 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Unshare {
        /// Id or name
        image: String,
        /// Id of the project
        #[arg(value_name = "PROJECT")]
        project: String,
    },
    /// Whom an image is shared with
    #[command(after_help = "Example:\n  imprint image members shop")]
    Members {
        /// Id or name
        image: String,
    },
    /// Images that others offer, or have shared
    #[command(after_help = "\
Examples:
  imprint image invitations
  imprint image invitations --state pending")]
    Invitations {
        /// pending, accepted or rejected
        #[arg(long)]
        state: Option<String>,
    },
    /// Accept an image that another project offers: from then on it is used like an own one
    #[command(after_help = "Example:\n  imprint image accept 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Accept {
        /// Id, or name as in the invitation
        image: String,
    },
    /// Reject an image that another project offers, or give back one that was accepted
    #[command(after_help = "Example:\n  imprint image reject 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Reject {
        /// Id, or name as in the invitation
        image: String,
    },
    /// Publish an image; what is in the way is all said at once
    #[command(after_help = "\
public: the platform's images, for everybody; admins only. Without lint errors, certified for a model of servers, with
  cloud-init, the guest plugin and a driver for volumes.
community: for everybody, on nobody's word.
marketplace: for everybody, on the terms of its publisher, with a licence and a price. Without lint errors.
Publishing it again changes its terms.

Examples:
  imprint image publish debian-12 --to public --certified-for 'PowerEdge R650'
  imprint image publish shop --to marketplace --publisher 'Shops Ltd' --license EULA --price 0.05/EUR/deployment
  imprint image publish toolbox --to community")]
    Publish(Publish),
    /// Make a published image private again; deployments that run go on
    #[command(after_help = "Example:\n  imprint image unpublish shop")]
    Unpublish {
        /// Id or name
        image: String,
    },
    /// Let a project use an image that costs something
    #[command(after_help = "Example:\n  imprint image entitle shop 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Entitle {
        /// Id or name
        image: String,
        /// Id of the project; admins may also give its name
        project: String,
    },
    /// Take that back; deployments that run go on
    #[command(after_help = "Example:\n  imprint image disentitle shop 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Disentitle {
        /// Id or name
        image: String,
        /// Id of the project
        project: String,
    },
    /// Who may use an image that costs something
    #[command(after_help = "Example:\n  imprint image entitlements shop")]
    Entitlements {
        /// Id or name
        image: String,
    },
    /// Whether an image can be deployed, condition by condition; exit code 0 only if it can
    #[command(after_help = "\
A server that runs a system is taken for one that may be installed anew.

Examples:
  imprint image preflight debian-12
  imprint image preflight debian-12 --node web-07")]
    Preflight {
        /// Id or name
        image: String,
        /// Id, name, UUID, serial or MAC of the server
        #[arg(long)]
        node: Option<String>,
        /// Which disk of an image that has several; the system without it
        #[arg(long)]
        role: Option<String>,
    },
}

/// How an image is published.
#[derive(Debug, Args)]
pub struct Publish {
    /// Id or name
    pub image: String,
    /// For whom, and on whose word
    #[arg(long, value_enum)]
    pub to: Audience,
    /// Who publishes it
    #[arg(long, value_name = "NAME")]
    pub publisher: Option<String>,
    /// Model of servers that it was tried on; may be given several times
    #[arg(long, value_name = "MODEL")]
    pub certified_for: Vec<String>,
    /// What each use costs: amount, currency, and deployment, hour or month
    #[arg(long, value_name = "AMOUNT/CURRENCY/PER", value_parser = price, conflicts_with = "free")]
    pub price: Option<Value>,
    /// It costs nothing
    #[arg(long)]
    pub free: bool,
    /// On what terms it may be used
    #[arg(long, value_name = "NAME")]
    pub license: Option<String>,
    /// Where the text of the licence is
    #[arg(long, value_name = "URL", requires = "license")]
    pub license_url: Option<String>,
    /// Whoever deploys it needs a licence of their own
    #[arg(long, requires = "license")]
    pub license_required: bool,
}

/// For whom an image is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Audience {
    /// Everybody, on the platform's word
    Public,
    /// Everybody, on nobody's word
    Community,
    /// Everybody, on the publisher's terms
    Marketplace,
}

/// What projects may keep.
#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// What a project may keep, what it has, and what running imports will take
    #[command(after_help = "\
Public images count for nobody.

Examples:
  imprint quota show
  imprint quota show --project web")]
    Show {
        /// Id or name; the token's own without it
        #[arg(long)]
        project: Option<String>,
    },
    /// Change what a project may keep (admins only); what it has beyond that stays
    #[command(after_help = "\
A limit of 0 goes back to what the controller's configuration says.

Examples:
  imprint quota set web --images 100
  imprint quota set web --bytes 500GiB --images 0")]
    Set {
        /// Id or name
        project: String,
        /// Private images that each of its users may have
        #[arg(long, value_name = "N", required_unless_present = "bytes")]
        images: Option<u64>,
        /// What its images may take in the store (200GiB, 1TB, or bytes)
        #[arg(long, value_name = "SIZE", value_parser = crate::measure::parse_bytes)]
        bytes: Option<u64>,
    },
}

/// What is to be paid for.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --from and --to: the last 30 days. Days are those of UTC.

Examples:
  imprint usage
  imprint usage --from 2026-11-01 --to 2026-12-01 --project web
  imprint usage --records --output json")]
pub struct UsageArguments {
    /// The beginning: a day or a time, 2026-11-01 or 2026-11-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// The end, which does not belong to it
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Timestamp>,
    /// Only this project: id or name
    #[arg(long)]
    pub project: Option<String>,
    /// The records that bills are made of, one by one
    #[arg(long)]
    pub records: bool,
}

fn price(text: &str) -> Result<Value, String> {
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [amount, currency, per] if [amount, currency, per].iter().all(|part| !part.is_empty()) => {
            Ok(json!({ "amount": amount, "currency": currency, "per": per }))
        }
        _ => Err("write it like 0.05/EUR/deployment".to_owned()),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(day) = text.parse::<Date>() {
        let midnight = day.to_zoned(TimeZone::UTC);
        return midnight
            .map(|at| at.timestamp())
            .map_err(|error| error.to_string());
    }
    text.parse()
        .map_err(|_| "write it like 2026-11-01 or 2026-11-01T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_and_times_are_read() {
        assert_eq!(price("0.05/EUR/hour").unwrap()["currency"], "EUR");
        for wrong in ["0.05", "0.05/EUR", "1//hour", "1/EUR/hour/2", ""] {
            assert!(price(wrong).is_err(), "{wrong}");
        }
        assert_eq!(time("2026-11-01"), time("2026-11-01T00:00:00Z"));
        for wrong in ["yesterday", "2026-13-01", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
