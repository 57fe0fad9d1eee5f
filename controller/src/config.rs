//! What an operator can set, in TOML, with the defaults for everything that is left out.
//!
//! Reading goes in two passes over the whole file: types and unknown keys first, then what only makes sense together.
//! Every fault of both passes is collected, so that one run shows them all.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use imprint_image::seal::Algorithm;
use url::Url;

mod derive;
mod destinations;
mod events;
mod host;
mod images;
mod ingest;
mod logs;
mod problems;
mod quota;
mod read;
mod size;
mod store;
mod table;
mod telemetry;
#[cfg(test)]
mod tests;
mod volumes;
mod webhooks;

pub use destinations::{DestinationConfig, OpenTo, RegionConfig};
pub use events::EventConfig;
pub use host::{Host, HostInterface};
pub use images::ImageConfig;
pub use ingest::{CredentialConfig, IngestConfig};
pub use logs::LogConfig;
pub use problems::{ConfigErrors, ConfigProblem};
pub use quota::QuotaConfig;
pub use read::Overrides;
pub use store::{BucketConfig, BucketUrl, StoreConfig};
pub use telemetry::TelemetryConfig;
pub use volumes::VolumesConfig;
pub use webhooks::WebhookConfig;

/// The whole configuration, checked and with nothing left to derive.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where REST and gRPC listen (TLS).
    pub listen: SocketAddr,
    /// What agents and callers dial: `https://…`.
    pub public_url: Url,
    /// Database, keys, certificates and the artifact store.
    pub data_dir: PathBuf,
    /// Where images can be used that this controller deploys.
    pub region: String,
    /// Encryption of images at rest.
    pub encryption: EncryptionConfig,
    /// Boot HTTP, TFTP and ramdisk.
    pub boot: BootConfig,
    /// DHCP.
    pub dhcp: DhcpConfig,
    /// Rules for deployments.
    pub deploy: DeployConfig,
    /// Deadlines of deployments.
    pub timeouts: TimeoutConfig,
    /// Where manifests and packs are kept.
    pub store: StoreConfig,
    /// Rules for images.
    pub images: ImageConfig,
    /// Lives of API tokens.
    pub tokens: TokenConfig,
    /// Buckets that images may be exported to.
    pub destinations: Vec<DestinationConfig>,
    /// Other controllers that images are copied to, or come from.
    pub regions: Vec<RegionConfig>,
    /// What projects may keep.
    pub quota: QuotaConfig,
    /// What imports may cost.
    pub ingest: IngestConfig,
    /// The back-end of volumes that this controller has itself; `None`: it has none.
    pub volumes: Option<VolumesConfig>,
    /// Where events may be sent to.
    pub webhooks: WebhookConfig,
    /// What is kept of the logs of deployments.
    pub logs: LogConfig,
    /// How long what happened is kept.
    pub events: EventConfig,
    /// Where traces are sent.
    pub telemetry: TelemetryConfig,
}

/// How images are encrypted in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncryptionConfig {
    /// Whether an image is encrypted of which the request does not say.
    pub default: bool,
    /// With what.
    pub algorithm: Algorithm,
    /// What wraps the data keys of images.
    pub wrapper: WrapperKind,
}

/// What wraps the data keys of images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WrapperKind {
    /// A key of the data folder.
    #[default]
    Local,
}

/// Rules for deployments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeployConfig {
    /// Leave disks with systems or data of others alone, unless their wipe is asked for.
    pub refuse_foreign_systems: bool,
}

/// What machines boot from.
#[derive(Debug, Clone)]
pub struct BootConfig {
    /// Where boot HTTP listens (plain HTTP: firmware has no CA of ours).
    pub listen: SocketAddr,
    /// The base URL of boot HTTP as machines see it: `http://…`.
    pub public_url: Url,
    /// The same as BMCs see it, which read CDs from it: `http://…`.
    pub media_url: Url,
    /// Folder with `vmlinuz`, `initrd.img` and `ramdisk.json`; `media.iso` and `media.json` for CDs.
    pub ramdisk_dir: PathBuf,
    /// Folder with `undionly.kpxe` and `snponly.efi`.
    pub ipxe_dir: PathBuf,
    /// What UEFI machines load first.
    pub uefi_loader: UefiLoader,
    /// Further initrds, loaded after the ramdisk.
    pub extra_initrds: Vec<PathBuf>,
    /// Further kernel arguments of the ramdisk.
    pub kernel_args: Vec<String>,
    /// What is done with machines nobody has registered.
    pub unknown: UnknownPolicy,
    /// Where TFTP listens; `None` turns it off.
    pub tftp_listen: Option<SocketAddr>,
}

/// What UEFI machines load first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UefiLoader {
    /// iPXE, which is not signed: not with Secure Boot.
    Ipxe,
    /// shim and a GRUB that shim trusts, for Secure Boot.
    Shim {
        /// shim, signed by whom the firmware trusts.
        shim: PathBuf,
        /// GRUB for network boot, signed by whom shim trusts.
        grub: PathBuf,
    },
}

/// What is done with machines nobody has registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// They boot the ramdisk once, are listed as `discovered`, and nothing is written to them.
    Discover,
    /// They get no answer that would change how they boot.
    Ignore,
}

/// The DHCP service.
#[derive(Debug, Clone)]
pub struct DhcpConfig {
    /// Off, beside another DHCP server, or as the only one.
    pub mode: DhcpMode,
    /// The network interface it serves. Empty only when `mode` is off.
    pub interface: String,
    /// The address of this controller on that network.
    pub server_address: Ipv4Addr,
    /// First and last address to give out. Set when `mode` is own.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Netmask given out.
    pub netmask: Ipv4Addr,
    /// Default gateway given out.
    pub router: Option<Ipv4Addr>,
    /// Name servers given out.
    pub dns: Vec<Ipv4Addr>,
    /// Life of a lease.
    pub lease_seconds: u32,
}

/// How DHCP is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpMode {
    /// Not at all: another server gives out addresses and boot file.
    Off,
    /// Only the boot file, beside the DHCP server of the network.
    Proxy,
    /// Addresses and boot file, on an isolated network.
    Own,
}

/// How long a deployment may wait at its steps, in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeoutConfig {
    /// Until the turn of a deployment in its batch comes.
    pub queue_seconds: u64,
    /// From the start of a deployment to the first call of the agent.
    pub boot_seconds: u64,
    /// Without any progress of a step.
    pub step_progress_seconds: u64,
    /// From the restart to the report of the installed system.
    pub first_boot_seconds: u64,
    /// Without a sign of life of an agent whose session was open.
    pub agent_silence_seconds: u64,
    /// Life of a one-time boot token.
    pub boot_token_seconds: u64,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            queue_seconds: 7 * 24 * 3600,
            boot_seconds: 1800,
            step_progress_seconds: 600,
            first_boot_seconds: 1800,
            agent_silence_seconds: 90,
            boot_token_seconds: 900,
        }
    }
}

/// How long API tokens live, in days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// What a token gets that asks for nothing.
    pub default_days: u32,
    /// What it can ask for.
    pub max_days: u32,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            default_days: 90,
            max_days: 365,
        }
    }
}

impl Config {
    /// Everything on the loopback interface and on ports of the kernel's choice, DHCP and TFTP off.
    pub fn loopback(data_dir: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any,
            public_url: Url::parse("https://127.0.0.1:8443").expect("a constant URL parses"),
            data_dir: data_dir.into(),
            region: read::DEFAULT_REGION.to_owned(),
            encryption: EncryptionConfig::default(),
            boot: BootConfig {
                listen: any,
                public_url: Url::parse("http://127.0.0.1:8080").expect("a constant URL parses"),
                media_url: Url::parse("http://127.0.0.1:8080").expect("a constant URL parses"),
                ramdisk_dir: PathBuf::from(read::DEFAULT_RAMDISK_DIR),
                ipxe_dir: PathBuf::from(read::DEFAULT_IPXE_DIR),
                uefi_loader: UefiLoader::Ipxe,
                extra_initrds: Vec::new(),
                kernel_args: Vec::new(),
                unknown: UnknownPolicy::Discover,
                tftp_listen: None,
            },
            dhcp: DhcpConfig {
                mode: DhcpMode::Off,
                interface: String::new(),
                server_address: Ipv4Addr::LOCALHOST,
                range: None,
                netmask: Ipv4Addr::new(255, 255, 255, 0),
                router: None,
                dns: Vec::new(),
                lease_seconds: read::DEFAULT_LEASE_SECONDS,
            },
            deploy: DeployConfig::default(),
            timeouts: TimeoutConfig::default(),
            store: StoreConfig::default(),
            images: ImageConfig::default(),
            tokens: TokenConfig::default(),
            destinations: Vec::new(),
            regions: Vec::new(),
            quota: QuotaConfig::default(),
            ingest: IngestConfig {
                system_disk_min_bytes: 0,
                ..IngestConfig::default()
            },
            volumes: None,
            webhooks: WebhookConfig::default(),
            logs: LogConfig::default(),
            events: EventConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }

    /// Host names and addresses that the server certificate must carry.
    pub fn server_names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let listen = (!self.listen.ip().is_unspecified()).then(|| self.listen.ip().to_string());
        let server =
            (self.dhcp.mode != DhcpMode::Off).then(|| IpAddr::V4(self.dhcp.server_address).to_string());
        let public = match self.public_url.host() {
            Some(url::Host::Domain(name)) => Some(name.to_owned()),
            Some(url::Host::Ipv4(ip)) => Some(ip.to_string()),
            Some(url::Host::Ipv6(ip)) => Some(ip.to_string()),
            None => None,
        };
        for name in [public, listen, server].into_iter().flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
