//! What QEMU is started with.

use std::path::Path;

use super::{CD_DRIVE, Firmware, Node};
use crate::bmc::{self, BmcSpec};
use crate::redfish::{self, qemu};
use crate::sdi;

impl Node {
    pub(super) fn arguments(&self, socket: &Path) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("-machine", self.spec.firmware.machine().to_owned());
        add("-accel", self.accel.argument().to_owned());
        add("-name", self.name.clone());
        add("-m", self.spec.memory_mib.to_string());
        add("-smp", self.spec.processors.to_string());
        add("-uuid", self.uuid.clone());
        add(
            "-smbios",
            format!(
                "type=1,manufacturer=Imprint,product=Lab server,serial=SN-{}",
                self.name
            ),
        );
        add("-display", "none".to_owned());
        let console = match &self.ipmi {
            // Its BMC has it.
            Some(bmc) => format!("host=127.0.0.1,port={}", bmc.console_port),
            None => format!("path={}", self.console_path().display()),
        };
        add(
            "-chardev",
            format!(
                "socket,id=console,{console},server=on,wait=off,logfile={},logappend=off",
                self.serial_path().display()
            ),
        );
        add("-serial", "chardev:console".to_owned());
        add("-qmp", format!("unix:{},server=on,wait=off", socket.display()));
        add("-object", "rng-random,id=rng0,filename=/dev/urandom".to_owned());
        add("-device", "virtio-rng-pci,rng=rng0".to_owned());
        for (index, (tap, mac)) in self.taps.iter().zip(&self.macs).enumerate() {
            add(
                "-netdev",
                format!("tap,id=net{index},ifname={tap},script=no,downscript=no"),
            );
            let card = format!("virtio-net-pci,id=nic{index},netdev=net{index},mac={mac}");
            // Without QEMU's boot ROM it is the firmware that boots over the network, as in a real server.
            let boots = match (index, self.spec.firmware) {
                (0, Firmware::Bios) => ",bootindex=1",
                (0, Firmware::Uefi | Firmware::SecureUefi) => ",bootindex=1,romfile=",
                _ => ",romfile=",
            };
            add("-device", format!("{card}{boots}"));
        }
        if let Some((code, _)) = self.spec.firmware.ovmf() {
            let vars = self.folder.join(format!("{}.vars", self.name));
            add(
                "-drive",
                format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"),
            );
            add(
                "-drive",
                format!("if=pflash,format=raw,unit=1,file={}", vars.display()),
            );
            if self.spec.firmware == Firmware::SecureUefi {
                add(
                    "-global",
                    "driver=cfi.pflash01,property=secure,value=on".to_owned(),
                );
                add("-global", "ICH9-LPC.disable_s3=1".to_owned());
            }
            // The IPv6 attempt after a failed IPv4 one takes minutes.
            add(
                "-fw_cfg",
                "name=opt/org.tianocore/IPv6PXESupport,string=n".to_owned(),
            );
            if self.spec.http_boot {
                add(
                    "-fw_cfg",
                    "name=opt/org.tianocore/IPv4PXESupport,string=n".to_owned(),
                );
            }
        }
        for (index, disk) in self.disks.iter().enumerate() {
            arguments.extend(disk.arguments(index));
        }
        match &self.bmc {
            Some(bmc) => arguments.extend(bmc.arguments()),
            None if self.spec.bmc == BmcSpec::WithoutLan => arguments.extend(bmc::without_lan()),
            None => {}
        }
        if self.sushy.is_some() {
            arguments.extend(["-device".to_owned(), format!("ide-cd,id={CD_DRIVE},bus=ide.5")]);
        }
        if self.expect_managed().is_ok() {
            let socket = redfish::socket(&self.folder, &self.name);
            for place in [socket.with_extension("look"), socket] {
                arguments.extend([
                    "-qmp".to_owned(),
                    format!("unix:{},server=on,wait=off", place.display()),
                ]);
            }
            arguments.extend(qemu::ARGUMENTS.map(str::to_owned));
        }
        if let Some(sdi) = self.spec.sdi {
            arguments.extend(sdi.arguments(&sdi::socket(&self.folder, &self.name)));
        }
        arguments.extend(["-nodefaults".to_owned(), "-no-user-config".to_owned()]);
        if self.spec.stop_at_reboot {
            arguments.push("-no-reboot".to_owned());
        }
        arguments
    }
}
