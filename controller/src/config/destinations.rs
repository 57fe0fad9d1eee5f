//! `[[destinations]]`: buckets that images may be exported to, and imported from. `[[regions]]`: other controllers that images are copied
//! to, or come from.

use std::path::PathBuf;

use imprint_image::PublicKey;
use toml::{Table, Value};
use url::Url;

use super::{
    problems::ConfigProblem,
    read::{AbsolutePath, is_one_word},
    store::{BucketConfig, read_bucket},
    table::Keys,
};
use crate::identity::PLATFORM;

const MAX_ENTRIES: usize = 100;
const URL_EXAMPLE: &str = "\"https://10.1.0.1:8443\"";

/// Which projects may use an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenTo {
    /// All.
    All,
    /// Those with these ids.
    Projects(Vec<String>),
}

impl OpenTo {
    fn has(&self, project_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Projects(ids) => ids.iter().any(|id| id == project_id),
        }
    }
}

/// A bucket that images may be exported to. Its credentials are elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationConfig {
    /// What requests call it.
    pub name: String,
    /// The bucket.
    pub bucket: BucketConfig,
    /// Who may write to it.
    pub open_to: OpenTo,
}

impl DestinationConfig {
    /// Whether a project may write to it.
    #[must_use]
    pub fn is_open_to(&self, project_id: &str) -> bool {
        self.open_to.has(project_id)
    }

    /// The folder that a project's objects go into where several projects share the bucket.
    #[must_use]
    pub fn folder_of<'a>(&self, project_id: &'a str) -> Option<&'a str> {
        match &self.open_to {
            OpenTo::Projects(ids) if ids.len() == 1 => None,
            _ => Some(project_id),
        }
    }
}

/// Another controller. Its token is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionConfig {
    /// What requests call it.
    pub name: String,
    /// Where it is; `None` when images only come from it.
    pub url: Option<Url>,
    /// The CA that it is trusted by; `None` means those of the system.
    pub ca_file: Option<PathBuf>,
    /// The token that images are written with; it says which project there they belong to.
    pub token_file: Option<PathBuf>,
    /// Keys that manifests from there must be signed with.
    pub keys: Vec<PublicKey>,
    /// Who may copy images there.
    pub open_to: OpenTo,
}

impl RegionConfig {
    /// Whether a project may copy images there.
    #[must_use]
    pub fn is_open_to(&self, project_id: &str) -> bool {
        self.open_to.has(project_id)
    }
}

/// What a request can call something: one word.
struct Word(String);

impl std::str::FromStr for Word {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if is_one_word(s) {
            Ok(Self(s.to_owned()))
        } else {
            Err("a name is 1 to 64 letters, digits and ._-")
        }
    }
}

/// The entries of an array of tables.
fn entries(value: Option<Value>, path: &'static str, problems: &mut Vec<ConfigProblem>) -> Vec<Table> {
    let mut note = |cause: String| {
        problems.push(ConfigProblem {
            key: path.to_owned(),
            cause,
            remedy: format!("Write each one as a section of its own: [[{path}]]."),
        });
    };
    let values = match value {
        None => Vec::new(),
        Some(Value::Array(values)) => values,
        Some(_) => {
            note("is not a list of tables".to_owned());
            Vec::new()
        }
    };
    if values.len() > MAX_ENTRIES {
        note(format!("has {} entries, more than {MAX_ENTRIES}", values.len()));
        return Vec::new();
    }
    let mut tables = Vec::new();
    for value in values {
        match value {
            Value::Table(table) => tables.push(table),
            _ => note("has an entry that is not a table".to_owned()),
        }
    }
    tables
}

fn open_to(keys: &mut Keys<'_>) -> OpenTo {
    match keys.list::<String>("projects", "\"01JD3Y6N9M1V9S1M6V1M3B3W5T\" or \"*\"") {
        None => OpenTo::Projects(vec![PLATFORM.to_owned()]),
        Some(ids) if ids.iter().any(|id| id == "*") => OpenTo::All,
        Some(ids) => OpenTo::Projects(ids),
    }
}

/// The name of an entry, which no other one may have.
fn name(keys: &mut Keys<'_>, taken: &[String]) -> Option<String> {
    let name = keys.text::<Word>("name", "\"backup\"").map(|Word(name)| name);
    match &name {
        None if !keys.has_problem("name") => {
            keys.note("name", "is not set", "Give each entry a name: name = \"backup\".");
        }
        Some(name) if taken.contains(name) => {
            keys.note(
                "name",
                format!("is {name}, as that of another entry"),
                "Give each entry a name of its own.",
            );
            return None;
        }
        _ => {}
    }
    name
}

pub(super) fn read_destinations(
    value: Option<Value>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<DestinationConfig> {
    let mut read: Vec<DestinationConfig> = Vec::new();
    let mut taken = Vec::new();
    for table in entries(value, "destinations", problems) {
        let mut keys = Keys::new("destinations", table, problems);
        let name = name(&mut keys, &taken);
        let open_to = open_to(&mut keys);
        let bucket = read_bucket(&mut keys);
        if bucket.is_none() && !keys.has_problem("url") {
            keys.note("url", "is not set", "Set it like \"s3://bucket/prefix\".");
        }
        keys.finish();
        if let (Some(name), Some(bucket)) = (name, bucket) {
            taken.push(name.clone());
            read.push(DestinationConfig {
                name,
                bucket,
                open_to,
            });
        }
    }
    read
}

pub(super) fn read_regions(value: Option<Value>, problems: &mut Vec<ConfigProblem>) -> Vec<RegionConfig> {
    let mut read: Vec<RegionConfig> = Vec::new();
    let mut taken = Vec::new();
    for table in entries(value, "regions", problems) {
        let mut keys = Keys::new("regions", table, problems);
        let name = name(&mut keys, &taken);
        let open_to = open_to(&mut keys);
        let url: Option<Url> = keys.text("url", URL_EXAMPLE);
        let refused = url.as_ref().is_some_and(|url| {
            url.scheme() != "https"
                || !url.username().is_empty()
                || url.password().is_some()
                || url.query().is_some()
        });
        if refused {
            let remedy = format!("Write it like {URL_EXAMPLE}; the token goes into token_file.");
            keys.note(
                "url",
                "is not an https URL without user, password and query",
                remedy,
            );
        }
        let ca_file = keys
            .text("ca_file", "\"/etc/imprint/west-ca.pem\"")
            .map(|AbsolutePath(path)| path);
        let token_file = keys
            .text("token_file", "\"/etc/imprint/west.token\"")
            .map(|AbsolutePath(path)| path);
        if url.is_some() && token_file.is_none() && !keys.has_problem("token_file") {
            keys.note(
                "token_file",
                "is not set",
                "Name a file with an API token of that controller.",
            );
        }
        let trusted = keys
            .list::<PublicKey>("keys", "\"64 hex digits\"")
            .unwrap_or_default();
        if url.is_none() && trusted.is_empty() && !keys.has_problem("url") && !keys.has_problem("keys") {
            keys.note(
                "url",
                "is not set, and neither is keys",
                "Set url and token_file to copy images there, and keys to take images from there.",
            );
        }
        keys.finish();
        if let Some(name) = name {
            taken.push(name.clone());
            read.push(RegionConfig {
                name,
                url,
                ca_file,
                token_file,
                keys: trusted,
                open_to,
            });
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<DestinationConfig>, Vec<RegionConfig>, Vec<String>) {
        let mut table: Table = text.parse().unwrap();
        let mut problems = Vec::new();
        let destinations = read_destinations(table.remove("destinations"), &mut problems);
        let regions = read_regions(table.remove("regions"), &mut problems);
        (
            destinations,
            regions,
            problems
                .into_iter()
                .map(|p| format!("{} {}", p.key, p.cause))
                .collect(),
        )
    }

    #[test]
    fn entries_are_closed_unless_they_are_opened() {
        let (destinations, regions, problems) = parsed(&format!(
            "[[destinations]]\nname = \"own\"\nurl = \"s3://bucket\"\n\
             [[destinations]]\nname = \"team\"\nurl = \"s3://bucket/team\"\nprojects = [\"P1\"]\n\
             [[destinations]]\nname = \"all\"\nurl = \"s3://bucket/all\"\nprojects = [\"*\"]\n\
             [[regions]]\nname = \"west\"\nurl = \"https://w\"\ntoken_file = \"/t\"\nkeys = [\"{}\"]\n",
            "ab".repeat(32)
        ));
        assert_eq!(problems, Vec::<String>::new());
        let open = |project| {
            destinations
                .iter()
                .filter(|d| d.is_open_to(project))
                .map(|d| d.name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(open(PLATFORM), ["own", "all"]);
        assert_eq!(open("P1"), ["team", "all"]);
        assert_eq!(open("P2"), ["all"]);
        assert_eq!(destinations[1].folder_of("P1"), None);
        assert_eq!(destinations[2].folder_of("P1"), Some("P1"));
        assert_eq!(regions[0].keys.len(), 1);
        assert!(regions[0].is_open_to(PLATFORM) && !regions[0].is_open_to("P1"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, told) in [
            (
                "[[destinations]]\nurl = \"s3://bucket\"",
                "destinations.name is not set",
            ),
            (
                "[[destinations]]\nname = \"a b\"\nurl = \"s3://bucket\"",
                "destinations.name",
            ),
            ("[[destinations]]\nname = \"a\"", "destinations.url is not set"),
            ("destinations = 1", "destinations is not a list"),
            ("[[regions]]\nname = \"a\"", "regions.url is not set, and neither"),
            (
                "[[regions]]\nname = \"a\"\nurl = \"http://w\"\ntoken_file = \"/t\"",
                "regions.url is not an https",
            ),
            (
                "[[regions]]\nname = \"a\"\nurl = \"https://w\"",
                "regions.token_file is not set",
            ),
            ("[[regions]]\nname = \"a\"\nkeys = [\"short\"]", "regions.keys"),
            (
                "[[regions]]\nname = \"a\"\nkeys = []\ncolor = 1\nurl = \"https://w\"\ntoken_file = \"/t\"",
                "regions.color",
            ),
        ] {
            let (_, _, problems) = parsed(text);
            assert!(
                problems.iter().any(|p| p.starts_with(told)),
                "{text}: {problems:?}"
            );
        }
    }
}
