//! What `imprint image list`, `update`, `compose` and the verbs of states take.

use clap::Args;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::measure;

/// Which images; all conditions must hold.
#[derive(Debug, Default, Args)]
pub struct ImageListArguments {
    /// Of this family
    #[arg(long)]
    pub family: Option<String>,
    /// Of this kind
    #[arg(long)]
    pub kind: Option<String>,
    /// With this visibility
    #[arg(long)]
    pub visibility: Option<String>,
    /// In this state
    #[arg(long)]
    pub state: Option<String>,
    /// For this region
    #[arg(long)]
    pub region: Option<String>,
    /// With this distribution
    #[arg(long)]
    pub os: Option<String>,
    /// With this version of the distribution
    #[arg(long, value_name = "VERSION")]
    pub os_version: Option<String>,
    /// For this architecture
    #[arg(long)]
    pub arch: Option<String>,
    /// That start in this way: uefi or bios
    #[arg(long, value_name = "MODE")]
    pub boot: Option<String>,
    /// With this tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// That hold this software
    #[arg(long, value_name = "NAME[=VERSION]")]
    pub software: Option<String>,
    /// With this text in name, family, description, distribution or a tag
    #[arg(long, value_name = "TEXT")]
    pub q: Option<String>,
    /// Certified for this model of servers
    #[arg(long, value_name = "MODEL")]
    pub certified_for: Option<String>,
    /// Of the own project (`own`), or of the project with this id or name
    #[arg(long, value_name = "PROJECT")]
    pub owner: Option<String>,
    /// That fit this server, or else servers of this hardware model
    #[arg(long, value_name = "NODE_OR_MODEL")]
    pub fits: Option<String>,
}

impl ImageListArguments {
    /// As the API takes it.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let tags = (!self.tags.is_empty()).then(|| self.tags.join(","));
        [
            ("family", &self.family),
            ("kind", &self.kind),
            ("visibility", &self.visibility),
            ("state", &self.state),
            ("region", &self.region),
            ("os", &self.os),
            ("os_version", &self.os_version),
            ("architecture", &self.arch),
            ("boot", &self.boot),
            ("tag", &tags),
            ("software", &self.software),
            ("q", &self.q),
            ("certified_for", &self.certified_for),
            ("owner", &self.owner),
            ("fits", &self.fits),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect()
    }
}

/// When and why an image takes a state.
#[derive(Debug, Args)]
pub struct StateArguments {
    /// Id or name
    pub image: String,
    /// When: a date, a time, or how long from now (30d, 12h); now without it
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub at: Option<Timestamp>,
    /// Id or name of the image to use instead
    #[arg(long, value_name = "IMAGE")]
    pub replacement: Option<String>,
    /// What everybody should know who uses the image
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What is to be said of an image.
#[derive(Debug, Args)]
pub struct UpdateArguments {
    /// Id or name
    pub image: String,
    /// A new name
    #[arg(long)]
    pub name: Option<String>,
    /// The family whose version it is
    #[arg(long)]
    pub family: Option<String>,
    /// Which version of the family
    #[arg(long)]
    pub version: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// All its tags; may be given several times, an empty one takes all away
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// All its properties; may be given several times
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair)]
    pub properties: Vec<(String, String)>,
    /// Distribution, where nothing was found
    #[arg(long)]
    pub os: Option<String>,
    /// Version of the distribution, where nothing was found
    #[arg(long, value_name = "VERSION")]
    pub os_version: Option<String>,
    /// Architecture, where nothing was found
    #[arg(long)]
    pub arch: Option<String>,
    /// How firmware may start it: uefi, bios, or both with a comma
    #[arg(long, value_name = "MODES")]
    pub boot: Option<String>,
    /// The smallest disk that it is used on, such as 20GiB
    #[arg(long, value_name = "SIZE", value_parser = measure::parse_bytes)]
    pub min_disk: Option<u64>,
    /// The least memory of its machines, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = measure::parse_bytes)]
    pub min_memory: Option<u64>,
    /// On what terms it may be used, as JSON: {"name": "RHEL", "required": true}
    #[arg(long, value_name = "JSON")]
    pub license: Option<String>,
    /// What its use costs: 0.05EUR/hour; per deployment, hour or month
    #[arg(long, value_name = "PRICE")]
    pub price: Option<String>,
    /// What machines it was made for: baremetal, vm or any
    #[arg(long)]
    pub target: Option<String>,
    /// It cannot be deleted
    #[arg(long, conflicts_with = "unprotect")]
    pub protect: bool,
    /// It can be deleted
    #[arg(long)]
    pub unprotect: bool,
    /// It is never the newest of its family
    #[arg(long, conflicts_with = "include")]
    pub exclude: bool,
    /// It can be the newest of its family
    #[arg(long)]
    pub include: bool,
    /// When it deletes itself: a date, a time, how long from now (14d), or `never`
    #[arg(long, value_name = "WHEN", value_parser = when_or_never)]
    pub expires: Option<When>,
}

/// A full machine.
#[derive(Debug, Args)]
pub struct ComposeArguments {
    /// Name of the new image
    pub name: String,
    /// A disk: its role, and id or name of its image; exactly one has the role `system`
    #[arg(long = "disk", value_name = "ROLE=IMAGE", required = true, value_parser = pair)]
    pub disks: Vec<(String, String)>,
    /// The family whose version it is
    #[arg(long)]
    pub family: Option<String>,
    /// Which version of the family
    #[arg(long)]
    pub version: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// A time, or the word `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Never,
    At(Timestamp),
}

fn when_or_never(text: &str) -> Result<When, String> {
    match text {
        "never" => Ok(When::Never),
        other => when(other).map(When::At),
    }
}

fn when(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(date) = text.parse::<Date>() {
        let at = date
            .to_zoned(TimeZone::system())
            .map_err(|error| error.to_string())?;
        return Ok(at.timestamp());
    }
    let wrong = || "not a time; write it like 2026-12-31, 2026-12-31T20:00:00Z, 30d or 12h".to_owned();
    // A number alone could be seconds, or a year.
    let unit = text.chars().last().filter(|c| !c.is_ascii_digit());
    let from_now = unit
        .and_then(|_| measure::parse_duration(text).ok())
        .ok_or_else(wrong)?;
    let from_now = SignedDuration::try_from(from_now).map_err(|_| wrong())?;
    Timestamp::now().checked_add(from_now).map_err(|_| wrong())
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it like KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_times_and_spans() {
        let at: Timestamp = "2026-12-31T20:00:00Z".parse().unwrap();
        assert_eq!(when("2026-12-31T20:00:00Z"), Ok(at));
        let midnight = when("2026-12-31").unwrap();
        assert!((at - midnight).total(jiff::Unit::Hour).unwrap().abs() < 35.0);
        let soon = when("12h").unwrap();
        assert!(soon > Timestamp::now() && soon < Timestamp::now() + SignedDuration::from_hours(13));
        assert_eq!(when_or_never("never"), Ok(When::Never));
        for wrong in ["", "soon", "2026-13-01", "12"] {
            assert!(when(wrong).is_err(), "{wrong}");
        }
    }
}
