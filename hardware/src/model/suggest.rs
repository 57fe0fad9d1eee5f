//! A first version of a model, from the facts of one server.

use std::{collections::BTreeSet, fmt::Write};

use super::{boot_disks, drivers_of};
use crate::facts::{Disk, Inventory};

/// A document that describes this server, to be looked through by an operator. It is a model that
/// [`super::HardwareModel::read`] takes, and that matches the server.
#[must_use]
pub fn suggest(inventory: &Inventory) -> String {
    let mut text = String::new();
    write_model(&mut text, inventory).expect("a String takes everything that is written to it");
    text
}

fn write_model(text: &mut String, inventory: &Inventory) -> std::fmt::Result {
    let system = &inventory.system;
    let hardware = match inventory.hardware() {
        name if name.is_empty() => "a server that does not tell its maker".to_owned(),
        name => name,
    };
    writeln!(
        text,
        "# Written from the facts of one server. Look through it before it is applied:"
    )?;
    writeln!(
        text,
        "# fewer conditions in [match] take in more servers, more in [needs] keep more images out."
    )?;
    writeln!(text, "schema = {}", super::SCHEMA)?;
    writeln!(text, "name = {}", quoted(&slug(&inventory.hardware())))?;
    writeln!(text, "version = 1")?;
    writeln!(text, "description = {}", quoted(&hardware))?;
    writeln!(text, "\n[match]")?;
    let texts = [
        ("vendor", &system.vendor),
        ("product", &system.product),
        ("sku", &system.sku),
    ];
    let mut any = false;
    for (key, value) in texts {
        // A SKU of the firmware's default settings says nothing.
        let said = !(value.trim().is_empty() || key == "sku" && is_filler(value));
        if said {
            writeln!(text, "{key} = {}", quoted(value.trim()))?;
        }
        any |= said;
    }
    if !inventory.cpu.architecture.is_empty() {
        writeln!(text, "architecture = {}", quoted(&inventory.cpu.architecture))?;
    } else if !any {
        writeln!(text, "architecture = \"x86_64\"")?;
    }
    let candidates = boot_disks(None, &inventory.disks);
    write_needs(text, inventory, &candidates)?;
    let transports: BTreeSet<&str> = candidates.iter().map(|disk| disk.transport.as_str()).collect();
    if let (1, Some(transport)) = (transports.len(), transports.first())
        && !transport.is_empty()
    {
        writeln!(
            text,
            "\n[disks]\nboot = {}",
            quoted(&format!("transport={transport}"))
        )?;
    }
    Ok(())
}

fn write_needs(text: &mut String, inventory: &Inventory, candidates: &[&Disk]) -> std::fmt::Result {
    let drivers: Vec<Vec<String>> = candidates
        .iter()
        .map(|disk| drivers_of(disk, inventory))
        .collect();
    let sectors: BTreeSet<u32> = candidates
        .iter()
        .map(|disk| disk.logical_sector_bytes)
        .filter(|sector| sector.is_power_of_two() && (512..=65536).contains(sector))
        .collect();
    writeln!(text, "\n[needs]")?;
    // What every disk needs; which one it will be is not known.
    let common = drivers.first().map(|first| {
        let common = first
            .iter()
            .filter(|driver| drivers.iter().all(|of| of.contains(driver)));
        common.map(|driver| quoted(driver)).collect::<Vec<_>>()
    });
    if let Some(common) = common.filter(|common| !common.is_empty()) {
        writeln!(text, "drivers = [{}]", common.join(", "))?;
    }
    if ["uefi", "bios"].contains(&inventory.firmware.mode.as_str()) {
        writeln!(text, "firmware = [{}]", quoted(&inventory.firmware.mode))?;
    }
    if let Some(on) = inventory.firmware.secure_boot {
        writeln!(
            text,
            "# Secure Boot was {}; `secure_boot = {on}` would ask for it.",
            if on { "on" } else { "off" }
        )?;
    }
    if !sectors.is_empty() {
        let sectors: Vec<String> = sectors.iter().map(ToString::to_string).collect();
        writeln!(text, "sector_sizes = [{}]", sectors.join(", "))?;
    }
    Ok(())
}

fn is_filler(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    [
        "sku",
        "default string",
        "to be filled by o.e.m.",
        "not specified",
        "none",
    ]
    .contains(&text.as_str())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// "Dell Inc. PowerEdge R650" → "dell-inc-poweredge-r650".
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    slug.truncate(64);
    match slug.trim_end_matches('-') {
        "" => "unnamed-server".to_owned(),
        slug => slug.to_owned(),
    }
}
