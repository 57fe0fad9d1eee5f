//! What only makes sense together: addresses that follow from each other, and contradictions.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use url::Url;

use super::{
    BootConfig, Config, DhcpConfig, DhcpMode, Host, HostInterface, UefiLoader, UnknownPolicy,
    problems::ConfigProblem,
    read::{
        DEFAULT_DATA_DIR, DEFAULT_GRUB_FILE, DEFAULT_IPXE_DIR, DEFAULT_LEASE_SECONDS, DEFAULT_RAMDISK_DIR,
        DEFAULT_REGION, DEFAULT_SHIM_FILE, LoaderKind, OnOff, Written, WrittenBoot, WrittenDhcp,
    },
};

type Problems<'p> = &'p mut Vec<ConfigProblem>;

fn note(problems: Problems<'_>, key: &str, cause: impl Into<String>, remedy: impl Into<String>) {
    problems.push(ConfigProblem {
        key: key.to_owned(),
        cause: cause.into(),
        remedy: remedy.into(),
    });
}

/// Fills in what was left out. `None` when something that has no default could not be found; the reason is noted.
pub(super) fn complete(written: Written, host: &Host, problems: Problems<'_>) -> Option<Config> {
    let listen = written
        .listen
        .unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)));
    let dhcp = complete_dhcp(&written.dhcp, listen, host, problems);
    let seen_at = dhcp
        .as_ref()
        .filter(|d| d.mode != DhcpMode::Off)
        .map(|d| d.server_address);
    let public_url = match written.public_url {
        Some(url) => checked_url(url, "public_url", "https", problems),
        None => derived_url("public_url", "https", listen, seen_at, host, problems),
    };
    let boot = complete_boot(written.boot, seen_at, host, problems);
    if written.tokens.default_days > written.tokens.max_days {
        note(
            problems,
            "tokens.default_days",
            format!("is more than tokens.max_days, {}", written.tokens.max_days),
            "Lower it, or raise tokens.max_days.",
        );
    }
    let data_dir = written
        .data_dir
        .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    Some(Config {
        listen,
        public_url: public_url?,
        volumes: written.volumes.map(|volumes| volumes.complete(&data_dir)),
        data_dir,
        region: written.region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        boot: boot?,
        dhcp: dhcp?,
        encryption: written.encryption,
        deploy: written.deploy,
        timeouts: written.timeouts,
        store: written.store,
        images: written.images,
        tokens: written.tokens,
        destinations: written.destinations,
        regions: written.regions,
        quota: written.quota,
        ingest: written.ingest,
        webhooks: written.webhooks,
        logs: written.logs,
        events: written.events,
        telemetry: written.telemetry,
    })
}

fn complete_boot(
    boot: WrittenBoot,
    seen_at: Option<Ipv4Addr>,
    host: &Host,
    problems: Problems<'_>,
) -> Option<BootConfig> {
    let listen = boot
        .listen
        .unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)));
    let public_url = match boot.public_url {
        Some(url) => checked_url(url, "boot.public_url", "http", problems),
        None => derived_url("boot.public_url", "http", listen, seen_at, host, problems),
    };
    let media_url = match boot.media_url {
        Some(url) => checked_url(url, "boot.media_url", "http", problems),
        None => public_url.clone(),
    };
    let tftp_listen = match boot.tftp_listen {
        Some(OnOff::Off) => None,
        Some(OnOff::On(address)) => Some(address),
        None => Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 69))),
    };
    let uefi_loader = match boot.uefi_loader {
        None | Some(LoaderKind::Ipxe) => UefiLoader::Ipxe,
        Some(LoaderKind::Shim) => UefiLoader::Shim {
            shim: boot.shim_file.unwrap_or_else(|| PathBuf::from(DEFAULT_SHIM_FILE)),
            grub: boot.grub_file.unwrap_or_else(|| PathBuf::from(DEFAULT_GRUB_FILE)),
        },
    };
    Some(BootConfig {
        listen,
        public_url: public_url?,
        media_url: media_url?,
        ramdisk_dir: boot
            .ramdisk_dir
            .unwrap_or_else(|| PathBuf::from(DEFAULT_RAMDISK_DIR)),
        ipxe_dir: boot.ipxe_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_IPXE_DIR)),
        uefi_loader,
        extra_initrds: boot.extra_initrds,
        kernel_args: boot.kernel_args,
        unknown: boot.unknown.unwrap_or(UnknownPolicy::Discover),
        tftp_listen,
    })
}

fn complete_dhcp(
    dhcp: &WrittenDhcp,
    listen: SocketAddr,
    host: &Host,
    problems: Problems<'_>,
) -> Option<DhcpConfig> {
    let mode = dhcp.mode.unwrap_or(DhcpMode::Proxy);
    let lease_seconds = dhcp.lease_seconds.unwrap_or(DEFAULT_LEASE_SECONDS);
    let interface = match mode {
        DhcpMode::Off => None,
        DhcpMode::Proxy | DhcpMode::Own => Some(serving_interface(dhcp, listen, host, problems)?),
    };
    let server_address = dhcp
        .server_address
        .or(interface.as_ref().map(|i| i.address))
        .unwrap_or(Ipv4Addr::LOCALHOST);
    let netmask = dhcp
        .netmask
        .or(interface.as_ref().map(|i| i.netmask))
        .unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
    if !is_netmask(netmask) {
        note(
            problems,
            "dhcp.netmask",
            format!("{netmask} is no netmask"),
            "Write it like \"255.255.255.0\".",
        );
    }
    let range = dhcp.range.map(|r| (r.0, r.1));
    match (mode, range) {
        (DhcpMode::Own, None) => note(
            problems,
            "dhcp.range",
            "is not set, but dhcp.mode \"own\" gives out addresses",
            "Set it like \"10.0.0.100-10.0.0.200\", or choose dhcp.mode \"proxy\" beside another DHCP server.",
        ),
        (_, Some((first, last))) => check_range(first, last, server_address, netmask, problems),
        _ => {}
    }
    Some(DhcpConfig {
        mode,
        interface: interface
            .map(|i| i.name)
            .or_else(|| dhcp.interface.clone())
            .unwrap_or_default(),
        server_address,
        range,
        netmask,
        router: dhcp.router,
        dns: dhcp.dns.clone(),
        lease_seconds,
    })
}

/// The interface DHCP serves: the one named, the one that carries a given address, or the only one there is.
fn serving_interface(
    dhcp: &WrittenDhcp,
    listen: SocketAddr,
    host: &Host,
    problems: Problems<'_>,
) -> Option<HostInterface> {
    let found = match (&dhcp.interface, dhcp.server_address, listen.ip()) {
        (Some(name), Some(address), _) => host
            .interfaces
            .iter()
            .find(|i| i.name == *name && i.address == address)
            .or_else(|| host.by_name(name)),
        (Some(name), None, _) => host.by_name(name),
        (None, Some(address), _) => host.by_address(address),
        (None, None, IpAddr::V4(ip)) if !ip.is_unspecified() => host.by_address(ip),
        _ => host.only(),
    };
    if found.is_none() {
        let cause = match (&dhcp.interface, dhcp.server_address) {
            (Some(name), _) => format!("`{name}` is not up or has no IPv4 address"),
            (None, Some(address)) => format!("is not set, and no interface has the address {address}"),
            (None, None) => "is not set, and this machine has not just one network interface".to_owned(),
        };
        note(
            problems,
            "dhcp.interface",
            cause,
            format!(
                "Name the interface that the servers boot from, or set dhcp.mode to \"off\". This machine has: {}.",
                host.describe()
            ),
        );
    }
    found.cloned()
}

fn check_range(first: Ipv4Addr, last: Ipv4Addr, server: Ipv4Addr, netmask: Ipv4Addr, problems: Problems<'_>) {
    let remedy = "Choose addresses of the interface's own network, first before last, without the controller's address.";
    let network = |a: Ipv4Addr| a.to_bits() & netmask.to_bits();
    let cause = if first > last {
        Some(format!(
            "the first address {first} is after the last address {last}"
        ))
    } else if network(first) != network(server) || network(last) != network(server) {
        Some(format!(
            "{first}-{last} is not in the network of {server} with netmask {netmask}"
        ))
    } else if (first..=last).contains(&server) {
        Some(format!("holds the controller's own address {server}"))
    } else {
        None
    };
    if let Some(cause) = cause {
        note(problems, "dhcp.range", cause, remedy);
    }
}

fn is_netmask(mask: Ipv4Addr) -> bool {
    let bits = mask.to_bits();
    bits != 0 && bits.leading_ones() + bits.trailing_zeros() == 32
}

fn checked_url(url: Url, key: &str, scheme: &str, problems: Problems<'_>) -> Option<Url> {
    let cause = if url.scheme() != scheme {
        format!("`{url}` does not begin with {scheme}://")
    } else if url.host().is_none() {
        format!("`{url}` has no host")
    } else if !url.username().is_empty() || url.password().is_some() {
        "has a user name or password in it".to_owned()
    } else if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        format!("`{url}` has more than scheme, host and port")
    } else {
        return Some(url);
    };
    note(
        problems,
        key,
        cause,
        format!(
            "Write it like \"{scheme}://imprint.example.net:{}\".",
            default_port(scheme)
        ),
    );
    None
}

fn derived_url(
    key: &str,
    scheme: &str,
    listen: SocketAddr,
    seen_at: Option<Ipv4Addr>,
    host: &Host,
    problems: Problems<'_>,
) -> Option<Url> {
    let address = if listen.ip().is_unspecified() {
        seen_at.or_else(|| host.only().map(|i| i.address)).map(IpAddr::V4)
    } else {
        Some(listen.ip())
    };
    let Some(address) = address else {
        let listen_key = key.replace("public_url", "listen");
        note(
            problems,
            key,
            format!(
                "is not set and cannot be derived: {listen_key} is {listen}, and no interface says which address counts"
            ),
            format!(
                "Set it to what machines can reach, like \"{scheme}://10.0.0.1:{}\". This machine has: {}.",
                listen.port(),
                host.describe()
            ),
        );
        return None;
    };
    let url = format!("{scheme}://{}", SocketAddr::new(address, listen.port()));
    Some(Url::parse(&url).expect("a scheme and a socket address make a URL"))
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 8443 } else { 8080 }
}
