//! A management controller of a virtual server, as the server itself sees it: `ipmi_sim` of the OpenIPMI project, behind
//! QEMU's KCS interface. It answers what a real one answers, its LAN settings included, which QEMU's own one does not know.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::ipmi;
use crate::process::{self, Service};

/// What manages a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BmcSpec {
    /// Nothing, and the firmware says so.
    None,
    /// QEMU's own one, which is on no network.
    WithoutLan,
    /// One that speaks Redfish, and switches the server by QMP.
    Redfish,
    /// One that speaks IPMI alone and switches the server by QMP; it serves the serial console.
    Ipmi,
    /// The same as `Redfish` by sushy-tools, which somebody else has written; the server has a drive for CDs.
    Sushy,
    /// One with these addresses in the management network.
    WithLan {
        /// Of its network card.
        mac: &'static str,
        /// Fixed.
        address: Ipv4Addr,
    },
}

/// A running management controller. It ends with this value.
#[derive(Debug)]
pub struct Bmc {
    service: Service,
    port: u16,
}

impl Bmc {
    /// Starts one, its files in a folder of its own.
    pub fn start(name: &str, folder: &Path, mac: &str, address: Ipv4Addr) -> Result<Self> {
        let own = folder.join(format!("{name}.bmc"));
        fs::create_dir_all(&own).context("cannot make a folder for the management controller")?;
        let (port, lan_port) = (process::free_port()?, process::free_port()?);
        let settings = format!(
            "#!/bin/sh\n\
             [ \"$1\" = get ] || exit 0\n\
             shift\n\
             for name; do case $name in\n\
             ip_addr) echo \"ip_addr:{address}\";;\n\
             mac_addr) echo \"mac_addr:{mac}\";;\n\
             ip_addr_src) echo ip_addr_src:static;;\n\
             subnet_mask) echo subnet_mask:255.255.255.0;;\n\
             *mac_addr) echo \"$name:00:00:00:00:00:00\";;\n\
             *ip_addr) echo \"$name:0.0.0.0\";;\n\
             esac; done\n"
        );
        // Whatever is asked of the server's power, it is on.
        let chassis = "#!/bin/sh\n[ \"$1\" = get ] || exit 0\nshift\nfor name; do echo \"$name:1\"; done\n";
        for (file, text) in [("lan", settings.as_str()), ("chassis", chassis)] {
            let path = own.join(file);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make {} a program", path.display()))?;
        }
        let shown = own.display();
        let configuration = format!(
            "name \"{name}\"\n\
             set_working_mc 0x20\n\
             startlan 1\n\
             addr 127.0.0.1 {lan_port}\n\
             priv_limit admin\n\
             guid a123456789abcdefa123456789abcdef\n\
             lan_config_program \"{shown}/lan\"\n\
             endlan\n\
             chassis_control \"{shown}/chassis\"\n\
             serial 15 127.0.0.1 {port} codec VM\n\
             user 1 true \"\" \"test\" user 10 none md2 md5 straight\n"
        );
        let service = ipmi::simulate(&own, &configuration, &folder.join(format!("{name}.bmc.log")))?;
        Ok(Self { service, port })
    }

    /// What QEMU is started with. It connects as soon as the controller listens.
    pub fn arguments(&self) -> [String; 6] {
        [
            "-chardev".to_owned(),
            format!("socket,id=bmc,host=127.0.0.1,port={},reconnect=1", self.port),
            "-device".to_owned(),
            "ipmi-bmc-extern,id=bmc0,chardev=bmc".to_owned(),
            "-device".to_owned(),
            "isa-ipmi-kcs,bmc=bmc0".to_owned(),
        ]
    }

    /// An error when it has ended.
    pub fn expect_running(&mut self) -> Result<()> {
        self.service.expect_running()
    }
}

/// The same for a server whose controller is QEMU's own.
pub fn without_lan() -> [String; 4] {
    [
        "-device",
        "ipmi-bmc-sim,id=bmc0",
        "-device",
        "isa-ipmi-kcs,bmc=bmc0",
    ]
    .map(str::to_owned)
}
