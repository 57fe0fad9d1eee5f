//! The trusted platform module: its driver's word, else the table by which the firmware announces one.

use std::path::Path;

use imprint_proto::agent::v1::Tpm;

use super::sysfs;

pub(super) fn read(root: &Path) -> Option<Tpm> {
    let class = root.join("sys/class/tpm");
    let version = if let Some(name) = sysfs::names(&class).first() {
        match sysfs::value(class.join(name).join("tpm_version_major")).as_str() {
            "1" => "1.2",
            "2" => "2.0",
            _ => "",
        }
    } else {
        let tables = root.join("sys/firmware/acpi/tables");
        if tables.join("TPM2").exists() {
            "2.0"
        } else if tables.join("TCPA").exists() {
            "1.2"
        } else {
            return None;
        }
    };
    Some(Tpm {
        version: version.to_owned(),
    })
}
