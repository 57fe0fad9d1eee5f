//! systemd-networkd: devices that it has to make.

use super::ini::Ini;
use crate::{
    model::{Bond, Kind, Link},
    name::LinkName,
};

/// The `.netdev` file of a link; none of a physical one.
pub(super) fn text(name: &LinkName, link: &Link) -> Option<String> {
    let kind = match &link.kind {
        Kind::Nic(_) => return None,
        Kind::Bond(_) => "bond",
        Kind::Vlan(_) => "vlan",
        Kind::Bridge(_) => "bridge",
    };
    let mut ini = Ini::new();
    ini.section("NetDev");
    ini.key("Name", name);
    ini.key("Kind", kind);
    ini.maybe("MACAddress", link.mac);
    ini.maybe("MTUBytes", link.mtu);
    match &link.kind {
        Kind::Nic(_) => {}
        Kind::Bond(bond) => bonded(bond, &mut ini),
        Kind::Vlan(vlan) => {
            ini.section("VLAN");
            ini.key("Id", vlan.id);
        }
        Kind::Bridge(bridge) => {
            ini.section("Bridge");
            ini.flag("STP", bridge.stp);
            ini.maybe("ForwardDelaySec", bridge.forward_delay);
        }
    }
    Some(ini.text())
}

fn bonded(bond: &Bond, ini: &mut Ini) {
    let pause = |value: Option<u32>| value.map(|value| format!("{value}ms"));
    ini.section("Bond");
    ini.key("Mode", bond.mode.word());
    ini.maybe("LACPTransmitRate", bond.lacp_rate.map(|rate| rate.word()));
    ini.maybe("TransmitHashPolicy", bond.hash.map(|hash| hash.word()));
    ini.maybe("AdSelect", bond.ad_select.map(|select| select.word()));
    ini.maybe("MIIMonitorSec", pause(bond.miimon));
    ini.maybe("UpDelaySec", pause(bond.up_delay));
    ini.maybe("DownDelaySec", pause(bond.down_delay));
    ini.maybe("MinLinks", bond.min_links);
    ini.maybe("ARPIntervalSec", pause(bond.arp_interval));
    if !bond.arp_targets.is_empty() {
        let targets: Vec<String> = bond.arp_targets.iter().map(ToString::to_string).collect();
        ini.key("ARPIPTargets", targets.join(" "));
    }
}
