//! Start of the boot services: check everything, bind everything, then serve.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::dhcp::server::{self, DhcpServer};
use super::dhcp::{LeaseTable, OwnSettings, PXE_PORT, Range, SERVER_PORT, Settings};
use super::http;
use super::script::{ScriptError, Scripts};
use super::site::{BootSite, Decide};
use super::tftp::Tftp;
use crate::app::App;
use crate::config::{DhcpMode, UefiLoader};

const TFTP_PORT: u16 = 69;

/// Why the boot services cannot start, or stopped. Each names its remedy.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A socket could not be bound.
    #[error("{service} cannot listen on {address}: {remedy}")]
    Listen {
        /// DHCP, TFTP or boot HTTP.
        service: &'static str,
        /// Where.
        address: String,
        /// What to do about it.
        remedy: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The interface of the DHCP service does not exist.
    #[error(
        "dhcp.interface: there is no network interface {interface:?}; this machine has {present}. Set dhcp.interface to one of them, or dhcp.mode to \"off\""
    )]
    Interface {
        /// As configured.
        interface: String,
        /// Interfaces of this machine.
        present: String,
    },
    /// A part of the ramdisk is missing.
    #[error(
        "boot.ramdisk_dir: cannot read {}; make the ramdisk with `cargo xtask ramdisk` and set boot.ramdisk_dir to its folder",
        path.display()
    )]
    Ramdisk {
        /// The missing file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An iPXE file is missing.
    #[error(
        "boot.ipxe_dir: cannot read {}; install the package `ipxe` (apt-get install ipxe) or set boot.ipxe_dir to a folder with undionly.kpxe and snponly.efi",
        path.display()
    )]
    Ipxe {
        /// The missing file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// shim or GRUB is missing.
    #[error(
        "{key}: cannot read {}; install the packages shim-signed and grub-efi-amd64-signed, name the file, or set boot.uefi_loader to \"ipxe\"",
        path.display()
    )]
    Loader {
        /// The key of the configuration.
        key: &'static str,
        /// The missing file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A further initrd is missing.
    #[error("boot.extra_initrds: cannot read {}; correct the path or take it out of the list", path.display())]
    ExtraInitrd {
        /// The missing file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// DHCP mode own without a usable range.
    #[error("dhcp.range: mode \"own\" needs a first and a last address, first not above last")]
    Range,
    /// A value that iPXE could not take.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The leases could not be loaded.
    #[error("cannot load the DHCP leases from the database")]
    Leases(#[source] sqlx::Error),
    /// The TFTP server could not be set up, or stopped.
    #[error("the TFTP server failed; restart the controller")]
    Tftp(#[source] async_tftp::Error),
}

/// The boot services with all their ports and files, not serving yet.
pub struct BootServices {
    router: Router,
    listener: TcpListener,
    tftp: Option<Tftp>,
    dhcp: Option<BoundDhcp>,
    shutdown: CancellationToken,
}

impl std::fmt::Debug for BootServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootServices").finish_non_exhaustive()
    }
}

impl BootServices {
    /// Takes the ports, and everything that can fail.
    pub async fn bind(app: &App) -> Result<Self, BootError> {
        let site = site(app)?;
        check_files(app)?;
        let listener = bind_http(app.config.boot.listen).await?;
        let tftp = bind_tftp(app, &site).await?;
        let dhcp = bind_dhcp(app, &site).await?;
        if site.uefi_loader != UefiLoader::Ipxe && app.config.dhcp.mode == DhcpMode::Proxy {
            tracing::warn!(
                server = %app.config.dhcp.server_address,
                "boot.uefi_loader is \"shim\" beside another DHCP server: GRUB asks the `next-server` of that one for its files, so it has to name this controller"
            );
        }
        tracing::info!(listen = %app.config.boot.listen, dhcp = ?app.config.dhcp.mode, "boot services ready");
        Ok(Self {
            router: http::router(site),
            listener,
            tftp,
            dhcp,
            shutdown: app.shutdown.clone(),
        })
    }

    /// Serves DHCP, TFTP and boot HTTP until the controller ends.
    pub async fn run(self) -> Result<(), BootError> {
        let shutdown = self.shutdown;
        let http = async {
            let limits = http::listen::Limits::default();
            let ended = http::listen::serve(self.listener, self.router, limits, shutdown.clone()).await;
            tracing::debug!(?ended, "boot HTTP has ended");
            Ok(())
        };
        let tftp = async {
            match self.tftp {
                Some(tftp) => tokio::select! {
                    () = shutdown.cancelled() => Ok(()),
                    ended = tftp.serve() => ended.map_err(BootError::Tftp),
                },
                None => Ok(()),
            }
        };
        let dhcp = async {
            if let Some((server, socket, pxe)) = self.dhcp {
                server.serve(socket, pxe, shutdown.clone()).await;
            }
            Ok(())
        };
        tokio::try_join!(http, tftp, dhcp).map(|_| ())
    }
}

fn site(app: &App) -> Result<BootSite, BootError> {
    let boot = &app.config.boot;
    let deployments = app.deployments.clone();
    let decide: Decide = Arc::new(move |facts| {
        let deployments = deployments.clone();
        Box::pin(async move {
            deployments
                .boot_action(&facts)
                .await
                .map_err(|error| error.to_string())
        })
    });
    Ok(BootSite {
        scripts: Scripts::new(&boot.public_url, &boot.kernel_args, boot.extra_initrds.len())?,
        ramdisk_dir: boot.ramdisk_dir.clone(),
        ipxe_dir: boot.ipxe_dir.clone(),
        uefi_loader: boot.uefi_loader.clone(),
        extra_initrds: boot.extra_initrds.clone(),
        controller_url: app.config.public_url.as_str().trim_end_matches('/').to_owned(),
        ca_pem: app.authority.ca_pem().to_string(),
        manifest_keys: app
            .authority
            .manifest_public_keys()
            .iter()
            .map(ToString::to_string)
            .collect(),
        tokens: app.boot_tokens.clone(),
        decide,
    })
}

/// Whatever a boot needs is there. Without DHCP this controller may never be asked to boot anything, so a missing
/// ramdisk is then only told in the log.
fn check_files(app: &App) -> Result<(), BootError> {
    let boot = &app.config.boot;
    for path in &boot.extra_initrds {
        File::open(path).map_err(|source| BootError::ExtraInitrd {
            path: path.clone(),
            source,
        })?;
    }
    let missing = ["vmlinuz", "initrd.img"].iter().find_map(|name| {
        let path = boot.ramdisk_dir.join(name);
        File::open(&path)
            .err()
            .map(|source| BootError::Ramdisk { path, source })
    });
    match missing {
        Some(error) if app.config.dhcp.mode != DhcpMode::Off => return Err(error),
        Some(error) => tracing::warn!(%error, "no machine can boot the ramdisk from here"),
        None => {}
    }
    if tftp_address(app).is_some() {
        check_loaders(&boot.ipxe_dir, &boot.uefi_loader)?;
    }
    Ok(())
}

/// What firmware is pointed at is there. `ipxe.efi` is served where it is there, but no boot depends on it.
fn check_loaders(ipxe_dir: &Path, uefi: &UefiLoader) -> Result<(), BootError> {
    let bios = ["undionly.kpxe"].as_slice();
    let (ipxe, signed) = match uefi {
        UefiLoader::Ipxe => (["undionly.kpxe", "snponly.efi"].as_slice(), Vec::new()),
        UefiLoader::Shim { shim, grub } => (bios, vec![("boot.shim_file", shim), ("boot.grub_file", grub)]),
    };
    for name in ipxe {
        let path = ipxe_dir.join(name);
        if let Err(source) = File::open(&path) {
            return Err(BootError::Ipxe { path, source });
        }
    }
    for (key, path) in signed {
        File::open(path).map_err(|source| BootError::Loader {
            key,
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

async fn bind_http(address: SocketAddr) -> Result<TcpListener, BootError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| listen_error("boot HTTP", address.to_string(), "boot.listen", source))
}

/// TFTP is on where it is configured, and wherever DHCP answers name this controller as TFTP server.
fn tftp_address(app: &App) -> Option<SocketAddr> {
    let dhcp = &app.config.dhcp;
    let with_dhcp = || SocketAddrV4::new(dhcp.server_address, TFTP_PORT).into();
    app.config
        .boot
        .tftp_listen
        .or_else(|| (dhcp.mode != DhcpMode::Off).then(with_dhcp))
}

async fn bind_tftp(app: &App, site: &BootSite) -> Result<Option<Tftp>, BootError> {
    let Some(address) = tftp_address(app) else {
        return Ok(None);
    };
    let socket = UdpSocket::bind(address)
        .map_err(|source| listen_error("TFTP", address.to_string(), "boot.tftp_listen", source))?;
    Tftp::new(Arc::new(site.clone()), socket)
        .await
        .map(Some)
        .map_err(BootError::Tftp)
}

type BoundDhcp = (DhcpServer, tokio::net::UdpSocket, Option<tokio::net::UdpSocket>);

async fn bind_dhcp(app: &App, site: &BootSite) -> Result<Option<BoundDhcp>, BootError> {
    let dhcp = &app.config.dhcp;
    let (own, leases) = match dhcp.mode {
        DhcpMode::Off => return Ok(None),
        DhcpMode::Proxy => (None, LeaseTable::default()),
        DhcpMode::Own => {
            let range = dhcp
                .range
                .and_then(|(first, last)| Range::new(first, last))
                .ok_or(BootError::Range)?;
            let reserved: Vec<Ipv4Addr> = std::iter::once(dhcp.server_address).chain(dhcp.router).collect();
            let own = OwnSettings {
                netmask: dhcp.netmask,
                router: dhcp.router,
                dns: dhcp.dns.clone(),
                lease_seconds: dhcp.lease_seconds,
            };
            (Some(own), LeaseTable::new(range, &reserved))
        }
    };
    let proxy = own.is_none();
    let settings = Settings {
        server: dhcp.server_address,
        boot_url: site.scripts.base().to_owned(),
        secure_boot: site.uefi_loader != UefiLoader::Ipxe,
        own,
    };
    let socket = bind_dhcp_port(&dhcp.interface, SERVER_PORT)?;
    let pxe = if proxy {
        Some(bind_dhcp_port(&dhcp.interface, PXE_PORT)?)
    } else {
        None
    };
    let server = DhcpServer::new(settings, leases, app.db.clone(), app.clock.clone()).await;
    Ok(Some((server.map_err(BootError::Leases)?, socket, pxe)))
}

fn bind_dhcp_port(interface: &str, port: u16) -> Result<tokio::net::UdpSocket, BootError> {
    server::bind(interface, port).map_err(|source| {
        if source.raw_os_error() == Some(nix::libc::ENODEV) {
            return BootError::Interface {
                interface: interface.to_owned(),
                present: interfaces(),
            };
        }
        listen_error(
            "DHCP",
            format!("UDP port {port} of {interface}"),
            "dhcp.mode",
            source,
        )
    })
}

fn listen_error(service: &'static str, address: String, key: &str, source: io::Error) -> BootError {
    let remedy = match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program uses that port. Stop it (`ss -lnp` shows which one it is) or change {key}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need privileges. Run as root or with the packaged systemd unit, or change {key}"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has that address. Assign it, or change {key}")
        }
        _ => format!("check {key}"),
    };
    BootError::Listen {
        service,
        address,
        remedy,
        source,
    }
}

fn interfaces() -> String {
    let mut names: Vec<String> = std::fs::read_dir("/sys/class/net")
        .map(|entries| {
            entries
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names.join(", ")
}
