//! From text to configuration: types and unknown keys.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use toml::Table;
use url::Url;

use super::{
    Config, ConfigErrors, DeployConfig, DestinationConfig, DhcpMode, EncryptionConfig, Host, ImageConfig,
    IngestConfig, QuotaConfig, RegionConfig, StoreConfig, TimeoutConfig, TokenConfig, UnknownPolicy,
    WrapperKind, derive, destinations, events, images, ingest, logs, problems::ConfigProblem, quota, store,
    table::Keys, telemetry, volumes, webhooks,
};

pub(super) const DEFAULT_DATA_DIR: &str = "/var/lib/imprint";
pub(super) const DEFAULT_RAMDISK_DIR: &str = "/usr/lib/imprint/ramdisk";
pub(super) const DEFAULT_IPXE_DIR: &str = "/usr/lib/ipxe";
/// Of Debian's package `shim-signed`.
pub(super) const DEFAULT_SHIM_FILE: &str = "/usr/lib/shim/shimx64.efi.signed";
/// Of Debian's package `grub-efi-amd64-signed`.
pub(super) const DEFAULT_GRUB_FILE: &str = "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed";
pub(super) const DEFAULT_LEASE_SECONDS: u32 = 3600;
pub(super) const DEFAULT_REGION: &str = "default";
const MAX_SECONDS: u64 = 30 * 24 * 3600;
const MAX_TOKEN_DAYS: u64 = 3650;

/// What flags of the command line say; they win over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<SocketAddr>,
}

/// The file as it was written: nothing derived, only types checked.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub listen: Option<SocketAddr>,
    pub public_url: Option<Url>,
    pub data_dir: Option<PathBuf>,
    pub region: Option<String>,
    pub encryption: EncryptionConfig,
    pub deploy: DeployConfig,
    pub boot: WrittenBoot,
    pub dhcp: WrittenDhcp,
    pub timeouts: TimeoutConfig,
    pub store: StoreConfig,
    pub images: ImageConfig,
    pub tokens: TokenConfig,
    pub destinations: Vec<DestinationConfig>,
    pub regions: Vec<RegionConfig>,
    pub quota: QuotaConfig,
    pub ingest: IngestConfig,
    pub volumes: Option<volumes::WrittenVolumes>,
    pub webhooks: webhooks::WebhookConfig,
    pub logs: logs::LogConfig,
    pub events: events::EventConfig,
    pub telemetry: telemetry::TelemetryConfig,
}

#[derive(Debug, Default)]
pub(super) struct WrittenBoot {
    pub listen: Option<SocketAddr>,
    pub public_url: Option<Url>,
    pub media_url: Option<Url>,
    pub ramdisk_dir: Option<PathBuf>,
    pub ipxe_dir: Option<PathBuf>,
    pub uefi_loader: Option<LoaderKind>,
    pub shim_file: Option<PathBuf>,
    pub grub_file: Option<PathBuf>,
    pub extra_initrds: Vec<PathBuf>,
    pub kernel_args: Vec<String>,
    pub unknown: Option<UnknownPolicy>,
    pub tftp_listen: Option<OnOff<SocketAddr>>,
}

#[derive(Debug, Default)]
pub(super) struct WrittenDhcp {
    pub mode: Option<DhcpMode>,
    pub interface: Option<String>,
    pub server_address: Option<Ipv4Addr>,
    pub range: Option<AddressRange>,
    pub netmask: Option<Ipv4Addr>,
    pub router: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub lease_seconds: Option<u32>,
}

/// The word of `boot.uefi_loader`.
#[derive(Debug, Clone, Copy)]
pub(super) enum LoaderKind {
    Ipxe,
    Shim,
}

impl FromStr for LoaderKind {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "ipxe" => Ok(Self::Ipxe),
            "shim" => Ok(Self::Shim),
            _ => Err("no such loader"),
        }
    }
}

/// A value, or the word "off".
#[derive(Debug, Clone, Copy)]
pub(super) enum OnOff<T> {
    On(T),
    Off,
}

impl<T: FromStr> FromStr for OnOff<T> {
    type Err = T::Err;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s == "off" {
            Ok(Self::Off)
        } else {
            s.parse().map(Self::On)
        }
    }
}

/// "10.0.0.100-10.0.0.200"
#[derive(Debug, Clone, Copy)]
pub(super) struct AddressRange(pub Ipv4Addr, pub Ipv4Addr);

impl FromStr for AddressRange {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (first, last) = s
            .split_once('-')
            .ok_or("a range has a first and a last address")?;
        let read = |a: &str| {
            a.trim()
                .parse::<Ipv4Addr>()
                .map_err(|_| "it has something that is no IPv4 address")
        };
        Ok(Self(read(first)?, read(last)?))
    }
}

impl FromStr for DhcpMode {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "off" => Ok(Self::Off),
            "proxy" => Ok(Self::Proxy),
            "own" => Ok(Self::Own),
            _ => Err("there is no such mode"),
        }
    }
}

impl FromStr for WrapperKind {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "local" => Ok(Self::Local),
            _ => Err("there is no such wrapper of keys"),
        }
    }
}

impl FromStr for UnknownPolicy {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "discover" => Ok(Self::Discover),
            "ignore" => Ok(Self::Ignore),
            _ => Err("there is no such policy"),
        }
    }
}

/// One kernel argument: no space, nothing that a boot script could read as its own.
struct KernelArg(String);

impl FromStr for KernelArg {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-=,:/+@%".contains(c);
        match s {
            "" => Err("it is empty"),
            s if s.chars().all(plain) => Ok(Self(s.to_owned())),
            _ => Err("it has characters other than letters, digits and ._-=,:/+@%"),
        }
    }
}

/// Whether a text is one word that a command line and a path can carry: 1 to 64 letters, digits and `._-`.
pub(super) fn is_one_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

/// The name of a region.
struct Region(String);

impl FromStr for Region {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if is_one_word(s) {
            Ok(Self(s.to_owned()))
        } else {
            Err("a region is 1 to 64 letters, digits and ._-")
        }
    }
}

/// A path from the root, so that it does not depend on where the controller was started.
pub(super) struct AbsolutePath(pub(super) PathBuf);

impl FromStr for AbsolutePath {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let path = PathBuf::from(s);
        if path.is_absolute() {
            Ok(Self(path))
        } else {
            Err("it does not begin with /")
        }
    }
}

impl Config {
    /// Reads a file, or takes the defaults when there is none, and completes it with what the machine says.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigErrors> {
        let host = Host::read().map_err(|e| {
            ConfigErrors::one(
                "this machine",
                "network interfaces",
                e.to_string(),
                "Check /proc and the sandbox of the service.",
            )
        })?;
        let Some(path) = file else {
            return Self::parse("", "defaults", overrides, &host);
        };
        let origin = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|e| {
            ConfigErrors::one(
                &origin,
                "--config",
                format!("cannot be read: {e}"),
                "Check the path and its permissions.",
            )
        })?;
        Self::parse(&text, &origin, overrides, &host)
    }

    /// As [`Config::load`], without touching the machine.
    pub fn parse(text: &str, origin: &str, overrides: &Overrides, host: &Host) -> Result<Self, ConfigErrors> {
        let table = text.parse::<Table>().map_err(|e| {
            let cause = format!("is no TOML: {}", e.to_string().trim_end().replace('\n', "\n    "));
            ConfigErrors::one(origin, "the file", cause, "Mend the line; strings need quotes.")
        })?;
        let mut problems = Vec::new();
        let mut written = written(table, &mut problems);
        if let Some(dir) = &overrides.data_dir {
            written.data_dir = Some(dir.clone());
        }
        if let Some(listen) = overrides.listen {
            written.listen = Some(listen);
        }
        let config = derive::complete(written, host, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors {
                origin: origin.to_owned(),
                problems,
            }),
        }
    }
}

fn written(table: Table, problems: &mut Vec<ConfigProblem>) -> Written {
    let mut keys = Keys::new("", table, problems);
    let mut written = Written {
        listen: keys.text("listen", "\"0.0.0.0:8443\""),
        public_url: keys.text("public_url", "\"https://10.0.0.1:8443\""),
        data_dir: keys
            .text("data_dir", "\"/var/lib/imprint\"")
            .map(|AbsolutePath(p)| p),
        region: keys.text("region", "\"eu-west\"").map(|Region(r)| r),
        ..Written::default()
    };
    let [boot, dhcp, timeouts, store, about_images, tokens, limits] =
        ["boot", "dhcp", "timeouts", "store", "images", "tokens", "quota"].map(|name| keys.section(name));
    let [destination_list, region_list, about_volumes] =
        ["destinations", "regions", "volumes"].map(|name| keys.take(name));
    let [encryption, ingest, deploy, about_webhooks] =
        ["encryption", "ingest", "deploy", "webhooks"].map(|name| keys.section(name));
    let [about_logs, about_events, about_telemetry] =
        ["logs", "events", "telemetry"].map(|name| keys.section(name));
    keys.finish();
    written.encryption = written_encryption(Keys::new("encryption", encryption, problems));
    written.deploy = written_deploy(Keys::new("deploy", deploy, problems));
    written.destinations = destinations::read_destinations(destination_list, problems);
    written.regions = destinations::read_regions(region_list, problems);
    written.boot = written_boot(Keys::new("boot", boot, problems));
    written.dhcp = written_dhcp(Keys::new("dhcp", dhcp, problems));
    written.timeouts = written_timeouts(Keys::new("timeouts", timeouts, problems));
    written.store = store::read(store, problems);
    written.images = images::read(about_images, problems);
    written.tokens = written_tokens(Keys::new("tokens", tokens, problems));
    written.quota = quota::read(limits, problems);
    written.ingest = ingest::read(ingest, problems);
    written.volumes = volumes::read(about_volumes, problems);
    written.webhooks = webhooks::read(about_webhooks, problems);
    written.logs = logs::read(about_logs, problems);
    written.events = events::read(about_events, problems);
    written.telemetry = telemetry::read(about_telemetry, problems);
    written
}

fn written_encryption(mut keys: Keys<'_>) -> EncryptionConfig {
    let encryption = EncryptionConfig {
        default: keys.flag("default").unwrap_or_default(),
        algorithm: keys
            .text("algorithm", "\"aes-256-gcm\" or \"chacha20-poly1305\"")
            .unwrap_or_default(),
        wrapper: keys.text("wrapper", "\"local\"").unwrap_or_default(),
    };
    keys.finish();
    encryption
}

/// What becomes of disks with systems of others.
struct Foreign(bool);

impl FromStr for Foreign {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "warn" => Ok(Self(false)),
            "refuse" => Ok(Self(true)),
            _ => Err("there is no such policy"),
        }
    }
}

fn written_deploy(mut keys: Keys<'_>) -> DeployConfig {
    let deploy = DeployConfig {
        refuse_foreign_systems: keys
            .text("foreign_systems", "\"warn\" or \"refuse\"")
            .is_some_and(|Foreign(refuse)| refuse),
    };
    keys.finish();
    deploy
}

fn written_boot(mut keys: Keys<'_>) -> WrittenBoot {
    let paths = |list: Option<Vec<AbsolutePath>>| list.unwrap_or_default().into_iter().map(|p| p.0).collect();
    let boot = WrittenBoot {
        listen: keys.text("listen", "\"0.0.0.0:8080\""),
        public_url: keys.text("public_url", "\"http://10.0.0.1:8080\""),
        media_url: keys.text("media_url", "\"http://10.9.0.1:8080\""),
        ramdisk_dir: keys
            .text("ramdisk_dir", "\"/usr/lib/imprint/ramdisk\"")
            .map(|AbsolutePath(p)| p),
        ipxe_dir: keys
            .text("ipxe_dir", "\"/usr/lib/ipxe\"")
            .map(|AbsolutePath(p)| p),
        uefi_loader: keys.text("uefi_loader", "\"ipxe\" or \"shim\""),
        shim_file: keys
            .text("shim_file", "\"/usr/lib/shim/shimx64.efi.signed\"")
            .map(|AbsolutePath(p)| p),
        grub_file: keys
            .text(
                "grub_file",
                "\"/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed\"",
            )
            .map(|AbsolutePath(p)| p),
        extra_initrds: paths(keys.list("extra_initrds", "\"/srv/firmware.img\"")),
        kernel_args: keys
            .list::<KernelArg>("kernel_args", "\"console=ttyS0,115200\"")
            .unwrap_or_default()
            .into_iter()
            .map(|a| a.0)
            .collect(),
        unknown: keys.text("unknown", "\"discover\" or \"ignore\""),
        tftp_listen: keys.text("tftp_listen", "\"0.0.0.0:69\" or \"off\""),
    };
    keys.finish();
    boot
}

fn written_dhcp(mut keys: Keys<'_>) -> WrittenDhcp {
    let dhcp = WrittenDhcp {
        mode: keys.text("mode", "\"proxy\", \"own\" or \"off\""),
        interface: keys.text::<String>("interface", "\"eth0\""),
        server_address: keys.text("server_address", "\"10.0.0.1\""),
        range: keys.text("range", "\"10.0.0.100-10.0.0.200\""),
        netmask: keys.text("netmask", "\"255.255.255.0\""),
        router: keys.text("router", "\"10.0.0.254\""),
        dns: keys.list("dns", "\"10.0.0.53\"").unwrap_or_default(),
        lease_seconds: keys
            .count("lease_seconds", MAX_SECONDS)
            .and_then(|n| u32::try_from(n).ok()),
    };
    keys.finish();
    dhcp
}

fn written_timeouts(mut keys: Keys<'_>) -> TimeoutConfig {
    let default = TimeoutConfig::default();
    let mut read = |key, default| keys.count(key, MAX_SECONDS).unwrap_or(default);
    let timeouts = TimeoutConfig {
        queue_seconds: read("queue_seconds", default.queue_seconds),
        boot_seconds: read("boot_seconds", default.boot_seconds),
        step_progress_seconds: read("step_progress_seconds", default.step_progress_seconds),
        first_boot_seconds: read("first_boot_seconds", default.first_boot_seconds),
        agent_silence_seconds: read("agent_silence_seconds", default.agent_silence_seconds),
        boot_token_seconds: read("boot_token_seconds", default.boot_token_seconds),
    };
    keys.finish();
    timeouts
}

fn written_tokens(mut keys: Keys<'_>) -> TokenConfig {
    let default = TokenConfig::default();
    let mut days = |key| {
        let days = keys.number(key, MAX_TOKEN_DAYS, "Give it in days, without quotes.");
        days.and_then(|days| u32::try_from(days).ok())
    };
    let tokens = TokenConfig {
        default_days: days("default_days").unwrap_or(default.default_days),
        max_days: days("max_days").unwrap_or(default.max_days),
    };
    keys.finish();
    tokens
}
