//! What a request says of the installed system besides the rest. Pure.

use imprint_proto::agent::v1::SeedLayout;
use serde::{Deserialize, Serialize};

use super::request::{DeployRequest, Refusal};

/// The image's property that says where its cloud-init finds its seed, for deployments that do not.
pub(super) const PROPERTY: &str = "data_source";
/// Most arguments, and letters of one.
const MAX_ARGUMENTS: usize = 32;
const MAX_LETTERS: usize = 256;

/// As it is kept with the deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FinishOptions {
    /// The form of cloud-init's seed.
    pub data_source: DataSource,
    /// File systems get UUIDs of their own.
    pub fresh_uuids: bool,
    /// Added to the command line of the installed kernels.
    pub kernel_arguments: Vec<String>,
    /// Where the root cannot be written, cloud-init's seed goes to a partition of its own.
    pub seed_partition: bool,
    /// Which console the system gets by itself.
    pub console: Console,
}

/// Which console the installed system gets by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Console {
    /// None: those of the image.
    #[default]
    None,
    /// The serial one that the firmware names.
    Firmware,
}

/// Where cloud-init finds its seed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSource {
    /// NoCloud.
    #[default]
    Nocloud,
    /// The layout of OpenStack's configuration drive.
    ConfigDrive,
}

impl DataSource {
    /// For the agent.
    #[must_use]
    pub fn to_wire(self) -> SeedLayout {
        match self {
            Self::Nocloud => SeedLayout::NoCloud,
            Self::ConfigDrive => SeedLayout::ConfigDrive,
        }
    }

    /// meta-data in this form. Host names and ids need no quoting.
    #[must_use]
    pub fn meta_data(self, id: &str, hostname: &str) -> String {
        match self {
            Self::Nocloud => format!("instance-id: {id}\nlocal-hostname: {hostname}\n"),
            Self::ConfigDrive => {
                serde_json::json!({ "uuid": id, "hostname": hostname, "name": hostname }).to_string()
            }
        }
    }
}

/// Whether a request wishes any of it by itself.
pub(super) fn asks(request: &DeployRequest) -> bool {
    request
        .data_source
        .as_deref()
        .is_some_and(|source| !source.is_empty())
        || request.fresh_uuids == Some(true)
        || !request.kernel_arguments.is_empty()
        || request.seed_partition == Some(true)
        || request
            .console
            .as_deref()
            .is_some_and(|console| !matches!(console, "" | "none"))
}

/// What a request says, or every reason why it cannot be used. `of_image`: the property of the image.
pub(super) fn read(request: &DeployRequest, of_image: Option<&str>) -> Result<FinishOptions, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let asked = request.data_source.as_deref().filter(|source| !source.is_empty());
    let data_source = match asked.or(of_image).unwrap_or_default() {
        "" | "nocloud" => DataSource::Nocloud,
        "config-drive" => DataSource::ConfigDrive,
        other => {
            refusals.push(Refusal::DataSource(other.chars().take(40).collect()));
            DataSource::Nocloud
        }
    };
    let console = match request.console.as_deref().unwrap_or_default() {
        "" | "none" => Console::None,
        "firmware" => Console::Firmware,
        other => {
            refusals.push(Refusal::Console(other.chars().take(40).collect()));
            Console::None
        }
    };
    let arguments = &request.kernel_arguments;
    if arguments.len() > MAX_ARGUMENTS {
        refusals.push(Refusal::KernelArguments(format!(
            "there are more than {MAX_ARGUMENTS}"
        )));
    }
    if let Some(bad) = arguments.iter().find(|argument| !usable(argument)) {
        let shown: String = bad.chars().take(60).collect();
        refusals.push(Refusal::KernelArguments(format!(
            "{shown:?} is not one plain word"
        )));
    }
    if refusals.is_empty() {
        Ok(FinishOptions {
            data_source,
            fresh_uuids: request.fresh_uuids.unwrap_or(false),
            kernel_arguments: arguments.clone(),
            seed_partition: request.seed_partition.unwrap_or(false),
            console,
        })
    } else {
        Err(refusals)
    }
}

/// One word that neither a shell nor GRUB reads anything into.
fn usable(argument: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-,=:/@+%".contains(letter);
    (1..=MAX_LETTERS).contains(&argument.len()) && !argument.starts_with('=') && argument.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(source: &str, arguments: &[&str]) -> Result<FinishOptions, Vec<Refusal>> {
        let request = DeployRequest {
            data_source: Some(source.to_owned()),
            kernel_arguments: arguments.iter().map(ToString::to_string).collect(),
            ..DeployRequest::default()
        };
        read(&request, None)
    }

    #[test]
    fn requests_are_read() {
        assert_eq!(asked("", &[]), Ok(FinishOptions::default()));
        let options = asked("config-drive", &["console=ttyS1,115200n8", "mitigations=off"]).unwrap();
        assert_eq!(options.data_source, DataSource::ConfigDrive);
        assert_eq!(options.kernel_arguments.len(), 2);
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<FinishOptions>(&text).unwrap(), options);
        assert_eq!(
            serde_json::from_str::<FinishOptions>("{}").unwrap(),
            FinishOptions::default()
        );
        for (source, arguments, count) in [
            ("floppy", &[][..], 1),
            ("", &["a b"], 1),
            ("", &["x=$(id)"], 1),
            ("", &["quote=\"1"], 1),
            ("", &[""], 1),
            ("floppy", &["a\nb"], 2),
        ] {
            let refusals = asked(source, arguments).unwrap_err();
            assert_eq!(refusals.len(), count, "{source} {arguments:?}");
        }
        assert!(asked("", &vec!["a"; 33]).is_err());
    }

    #[test]
    fn the_image_says_it_for_requests_that_do_not() {
        for (asked, of_image, source) in [
            (None, None, DataSource::Nocloud),
            (None, Some("config-drive"), DataSource::ConfigDrive),
            (Some(""), Some("config-drive"), DataSource::ConfigDrive),
            (Some("nocloud"), Some("config-drive"), DataSource::Nocloud),
            (Some("nocloud"), Some("floppy"), DataSource::Nocloud),
        ] {
            let request = DeployRequest {
                data_source: asked.map(str::to_owned),
                ..DeployRequest::default()
            };
            assert_eq!(asks(&request), asked == Some("nocloud"));
            assert_eq!(read(&request, of_image).unwrap().data_source, source);
        }
        let refused = read(&DeployRequest::default(), Some("floppy")).unwrap_err();
        assert_eq!(refused, [Refusal::DataSource("floppy".to_owned())]);
    }

    #[test]
    fn the_console_is_a_choice() {
        let asked = |console: Option<&str>| {
            let request = DeployRequest {
                console: console.map(str::to_owned),
                ..DeployRequest::default()
            };
            (
                asks(&request),
                read(&request, None).map(|options| options.console),
            )
        };
        for (word, asks, console) in [
            (None, false, Console::None),
            (Some("none"), false, Console::None),
            (Some("firmware"), true, Console::Firmware),
        ] {
            assert_eq!(asked(word), (asks, Ok(console)));
        }
        let refused = asked(Some("ttyS0")).1.unwrap_err();
        assert_eq!(refused, [Refusal::Console("ttyS0".to_owned())]);
        assert!(refused[0].remedy().contains("kernel_arguments"));
    }

    #[test]
    fn meta_data_is_what_the_source_reads() {
        assert_eq!(
            DataSource::Nocloud.meta_data("01AB", "db1"),
            "instance-id: 01AB\nlocal-hostname: db1\n"
        );
        let drive: serde_json::Value =
            serde_json::from_str(&DataSource::ConfigDrive.meta_data("01AB", "db1")).unwrap();
        assert_eq!(
            (&drive["uuid"], &drive["hostname"]),
            (&"01AB".into(), &"db1".into())
        );
    }
}
