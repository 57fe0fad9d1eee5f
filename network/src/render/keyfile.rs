//! NetworkManager's keyfiles. It takes no file that others can read.

use uuid::Uuid;

use super::{
    Rendered,
    ini::Ini,
    keyfile_ip,
    link_file::{self, Recognised},
};
use crate::{
    model::{Bond, Kind, Link, Network, Nic},
    name::LinkName,
};

const FOLDER: &str = "etc/NetworkManager/system-connections";

/// Connections are known by an identifier, which is made of the link's name in this space: it survives a new installation.
const SPACE: Uuid = Uuid::from_u128(0x5ee5_6ad1_9f3d_4c0e_8d0b_70a1_3f2c_91e4);

pub(super) fn render(network: &Network) -> Rendered {
    // A preferred member is named to the kernel, so its name has to be certain.
    let primaries: Vec<&LinkName> = network
        .links
        .values()
        .filter_map(|link| match &link.kind {
            Kind::Bond(bond) => bond.primary.as_ref(),
            _ => None,
        })
        .collect();
    let network = network.renamed(|name| primaries.contains(&name));
    let mut rendered = Rendered::default();
    link_file::render(&network, Recognised::ByPermanent, &mut rendered);
    for (name, link) in &network.links {
        rendered.add(
            format!("{FOLDER}/imprint-{name}.nmconnection"),
            0o600,
            connection(&network, name, link),
        );
    }
    rendered
}

fn identifier(name: &LinkName) -> Uuid {
    Uuid::new_v5(&SPACE, name.as_str().as_bytes())
}

fn connection(network: &Network, name: &LinkName, link: &Link) -> String {
    let mut ini = Ini::new();
    ini.section("connection");
    ini.key("id", format!("imprint-{name}"));
    ini.key("uuid", identifier(name));
    ini.key(
        "type",
        match &link.kind {
            Kind::Nic(_) => "ethernet",
            Kind::Bond(_) => "bond",
            Kind::Vlan(_) => "vlan",
            Kind::Bridge(_) => "bridge",
        },
    );
    // What has a pattern or a MAC address is found by it.
    let named = match &link.kind {
        Kind::Nic(nic) => nic.rename || (nic.mac.is_none() && nic.pattern.is_none()),
        _ => true,
    };
    if named {
        ini.key("interface-name", name);
    }
    ini.key("autoconnect", "true");
    // Another connection of the same interface, which the system may make up, does not come first.
    ini.key("autoconnect-priority", 100);
    let master = network.master(name);
    if let Some((master_name, master)) = master {
        ini.key("master", identifier(master_name));
        ini.key(
            "slave-type",
            if matches!(master.kind, Kind::Bond(_)) {
                "bond"
            } else {
                "bridge"
            },
        );
    } else if has_members(link) {
        // A bond that comes up brings its members up.
        ini.key("autoconnect-slaves", 1);
    }
    if let Kind::Nic(Nic {
        mac: None,
        pattern: Some(pattern),
        ..
    }) = &link.kind
    {
        ini.section("match");
        ini.key("interface-name", format!("{pattern};"));
    }
    ethernet(link, &mut ini);
    match &link.kind {
        Kind::Nic(_) => {}
        Kind::Bond(bond) => bonded(bond, &mut ini),
        Kind::Vlan(vlan) => {
            ini.section("vlan");
            ini.key("id", vlan.id);
            ini.key("parent", identifier(&vlan.parent));
        }
        Kind::Bridge(bridge) => {
            ini.section("bridge");
            ini.maybe("mac-address", link.mac);
            ini.maybe("stp", bridge.stp);
            ini.maybe("forward-delay", bridge.forward_delay);
        }
    }
    if let Some((_, master)) = master {
        if matches!(master.kind, Kind::Bridge(_)) {
            // The section says to NetworkManager that it is a port, even without a setting.
            ini.section("bridge-port");
        }
    } else {
        keyfile_ip::families(link, &mut ini);
    }
    ini.text()
}

fn has_members(link: &Link) -> bool {
    matches!(link.kind, Kind::Bond(_) | Kind::Bridge(_))
}

fn ethernet(link: &Link, ini: &mut Ini) {
    ini.section("ethernet");
    if let Kind::Nic(nic) = &link.kind {
        ini.maybe("mac-address", nic.mac);
        if link.wake_on_lan {
            // NetworkManager's number for "magic packet".
            ini.key("wake-on-lan", 64);
        }
    }
    if !matches!(link.kind, Kind::Bridge(_)) {
        ini.maybe("cloned-mac-address", link.mac);
    }
    ini.maybe("mtu", link.mtu);
}

fn bonded(bond: &Bond, ini: &mut Ini) {
    ini.section("bond");
    for (key, value) in bond.options() {
        ini.key(key, value);
    }
}
