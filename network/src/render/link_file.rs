//! udev's `.link` files: they give an interface its name, whatever brings it up later.

use super::{Rendered, ini::Ini};
use crate::model::{Kind, Network};

/// How an interface is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognised {
    /// By its permanent address: systemd from 245 on, which all have that come with networkd, netplan or keyfiles.
    ByPermanent,
    /// By its present address, and by being somewhere on a bus: a bond or VLAN of the same address is not.
    ByPresent,
}

/// Writes one for each interface that is to be renamed.
pub(super) fn render(network: &Network, how: Recognised, rendered: &mut Rendered) {
    for (name, link) in &network.links {
        let Kind::Nic(nic) = &link.kind else { continue };
        let Some(mac) = nic.mac.filter(|_| nic.rename || link.wake_on_lan) else {
            continue;
        };
        let mut ini = Ini::new();
        ini.section("Match");
        match how {
            Recognised::ByPermanent => ini.key("PermanentMACAddress", mac),
            Recognised::ByPresent => {
                ini.key("MACAddress", mac);
                ini.key("Path", "*");
            }
        }
        ini.section("Link");
        if nic.rename {
            ini.key("Name", name);
        } else {
            // What the system's own file says, which this one replaces.
            ini.key("NamePolicy", "keep kernel database onboard slot path");
        }
        if link.wake_on_lan {
            ini.key("WakeOnLan", "magic");
        }
        rendered.add(
            format!("etc/systemd/network/10-imprint-{name}.link"),
            0o644,
            ini.text(),
        );
    }
}
