//! Which boot file a boot client gets, and how it is told.

use dhcproto::v4::{DhcpOption, Message, OptionCode, UnknownOption};

use super::Settings;
use super::request::{BootClient, IPXE_OPTIONS};
use crate::boot::tftp;

/// Length of the `file` field of a BOOTP header, with room for its final zero.
const FILE_FIELD: usize = 127;

/// What tells an answer apart that comes from a proxy from one with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Boot information only.
    Proxy,
    /// Address and boot information.
    Own,
}

/// The name or URL of the boot file; `None` when there is none for this client.
pub(super) fn boot_file(settings: &Settings, client: BootClient) -> Option<String> {
    match client {
        BootClient::Ipxe => Some(format!("{}/boot/start.ipxe", settings.boot_url)),
        BootClient::PxeBios => Some("undionly.kpxe".to_owned()),
        BootClient::PxeEfi64 if settings.secure_boot => Some(tftp::SHIM.to_owned()),
        BootClient::PxeEfi64 => Some("snponly.efi".to_owned()),
        BootClient::HttpEfi64 => Some(format!("{}/ipxe/snponly.efi", settings.boot_url)),
        BootClient::Unsupported(_) => None,
    }
}

/// Puts the boot information for `client` into an answer and returns the boot file it names.
pub(super) fn add(
    message: &mut Message,
    settings: &Settings,
    client: BootClient,
    role: Role,
) -> Option<String> {
    let file = boot_file(settings, client)?;
    // iPXE ignores a proxy's answer without a next server, whatever the boot file is.
    message.set_siaddr(settings.server);
    if file.len() <= FILE_FIELD {
        message.set_fname_str(&file);
    }
    let options = message.opts_mut();
    options.insert(DhcpOption::TFTPServerName(
        settings.server.to_string().into_bytes(),
    ));
    options.insert(DhcpOption::BootfileName(file.clone().into_bytes()));
    match (client, role) {
        // Without the echo UEFI takes the answer for an ordinary one and waits on.
        (BootClient::HttpEfi64, _) => class(message, b"HTTPClient"),
        // The proxy wait is pointless: this is the only server.
        (BootClient::Ipxe, Role::Own) => no_proxy_wait(message),
        (BootClient::PxeBios, Role::Proxy) => {
            class(message, b"PXEClient");
            discovery_control(message);
        }
        // No option 43 for UEFI: firmware reads it as a boot menu to discover servers with; without it the boot file
        // of the header is taken.
        (_, Role::Proxy) => class(message, b"PXEClient"),
        (_, Role::Own) => {}
    }
    Some(file)
}

fn class(message: &mut Message, class: &[u8]) {
    message
        .opts_mut()
        .insert(DhcpOption::ClassIdentifier(class.to_vec()));
}

/// PXE_DISCOVERY_CONTROL, bit 3: no boot server discovery, no menu, take the boot file of this answer.
fn discovery_control(message: &mut Message) {
    message
        .opts_mut()
        .insert(DhcpOption::VendorExtensions(vec![6, 1, 8, 255]));
}

/// iPXE's `no-pxedhcp` (175.176): do not wait for a proxy's answer.
fn no_proxy_wait(message: &mut Message) {
    let option = UnknownOption::new(OptionCode::from(IPXE_OPTIONS), vec![176, 1, 1]);
    message.opts_mut().insert(DhcpOption::Unknown(option));
}
