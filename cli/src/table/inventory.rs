//! What is worth a line of an agent's inventory; all of it is in the JSON.

use serde_json::Value;

use super::Facts;
use crate::measure;

/// Adds the lines. What an older agent did not send, or the machine does not say, makes none.
pub(super) fn add(facts: &mut Facts, inventory: &Value) {
    let system = &inventory["system"];
    facts.add(
        "chassis",
        words([
            text(&system["chassis"]),
            labelled("serial=", &system["chassis_serial"]),
            labelled("asset=", &system["asset_tag"]),
        ]),
    );
    facts.add("cpu", processor(&inventory["cpu"]));
    facts.add("memory", memory(inventory));
    facts.add("firmware", firmware(&inventory["firmware"]));
    for entry in list(&inventory["disks"]) {
        facts.add("disk", disk(entry));
        for content in list(&entry["contents"]) {
            facts.add("  on it", self::content(content));
        }
    }
    for entry in list(&inventory["nics"]) {
        facts.add("nic", nic(entry));
    }
    for device in list(&inventory["pci"]) {
        let is_display = text(&device["class"]).starts_with("03");
        let driver = text(&device["driver"]);
        // Devices with drivers show as disks and NICs; what has none is worth a look.
        if is_display || driver.is_empty() {
            let driver = if driver.is_empty() {
                "no driver".to_owned()
            } else {
                driver
            };
            let id = format!("{}:{}", text(&device["vendor_id"]), text(&device["device_id"]));
            let class = labelled("class=", &device["class"]);
            let line = words([text(&device["address"]), id, class, driver]);
            facts.add(if is_display { "gpu" } else { "pci" }, line);
        }
    }
    facts.add("tpm", text(&inventory["tpm"]["version"]));
    let bmc = &inventory["bmc"];
    if bmc.is_object() {
        let address = text(&bmc["address"]);
        let address = if address.is_empty() {
            "address unknown".to_owned()
        } else {
            address
        };
        facts.add("bmc", words([address, text(&bmc["mac"])]));
    }
}

fn processor(cpu: &Value) -> String {
    let threads = cpu["threads"].as_u64().map(|n| format!("({n} threads)"));
    let nodes = cpu["numa_nodes"].as_u64().filter(|nodes| *nodes > 1);
    words([
        text(&cpu["model"]),
        text(&cpu["architecture"]),
        threads.unwrap_or_default(),
        nodes
            .map(|nodes| format!("{nodes} NUMA nodes"))
            .unwrap_or_default(),
    ])
}

fn memory(inventory: &Value) -> String {
    let modules = list(&inventory["memory_modules"]);
    let full: Vec<&Value> = modules
        .iter()
        .filter(|module| module["size_bytes"].as_u64().is_some_and(|size| size > 0))
        .collect();
    let kind = full.first().map(|module| text(&module["kind"]));
    let sockets = if modules.is_empty() {
        String::new()
    } else {
        format!("({} of {} sockets full)", full.len(), modules.len())
    };
    words([
        size(&inventory["memory_bytes"]),
        kind.unwrap_or_default(),
        sockets,
    ])
}

fn firmware(firmware: &Value) -> String {
    let on = |name: &str, value: &Value| match value.as_bool() {
        Some(true) => format!("{name}=on"),
        Some(false) => format!("{name}=off"),
        None => String::new(),
    };
    words([
        text(&firmware["mode"]),
        text(&firmware["vendor"]),
        text(&firmware["version"]),
        text(&firmware["date"]),
        on("secure-boot", &firmware["secure_boot"]),
        if firmware["setup_mode"].as_bool() == Some(true) {
            "setup-mode=on".to_owned()
        } else {
            String::new()
        },
    ])
}

fn disk(disk: &Value) -> String {
    let sector = disk["logical_sector_bytes"].as_u64();
    let health = &disk["health"];
    let complaint = match text(&health["status"]).as_str() {
        "" | "ok" => String::new(),
        status => {
            let reasons: Vec<String> = list(&health["reasons"]).iter().map(text).collect();
            format!("{status}: {}", reasons.join("; "))
        }
    };
    let holders: Vec<String> = list(&disk["holders"]).iter().map(text).collect();
    words([
        text(&disk["kernel_name"]),
        text(&disk["transport"]),
        size(&disk["size_bytes"]),
        text(&disk["model"]),
        labelled("serial=", &disk["serial"]),
        labelled("volume=", &disk["volume_id"]),
        sector
            .map(|bytes| format!("{bytes} B sectors"))
            .unwrap_or_default(),
        labelled("path-of=", &disk["multipath"]),
        holders.join(" "),
        complaint,
    ])
}

fn content(content: &Value) -> String {
    let place = content["partition"].as_u64();
    words([
        place.map(|number| format!("p{number}")).unwrap_or_default(),
        text(&content["kind"]),
        labelled("label=", &content["label"]),
        text(&content["role"]),
        labelled("of=", &content["group"]),
    ])
}

fn nic(nic: &Value) -> String {
    let is_up = nic["link_up"].as_bool() == Some(true);
    let speed = nic["speed_mbps"].as_u64().filter(|_| is_up);
    let addresses: Vec<String> = list(&nic["addresses"]).iter().map(text).collect();
    let neighbour = &nic["lldp"];
    let switch = [&neighbour["system_name"], &neighbour["chassis"]]
        .map(text)
        .into_iter()
        .find(|name| !name.is_empty());
    words([
        text(&nic["kernel_name"]),
        text(&nic["mac"]),
        if is_up { "up" } else { "down" }.to_owned(),
        speed.map(|speed| format!("{speed} Mbit/s")).unwrap_or_default(),
        text(&nic["driver"]),
        addresses.join(" "),
        switch
            .map(|switch| format!("at {switch} {}", text(&neighbour["port"])))
            .unwrap_or_default(),
        neighbour["vlan"]
            .as_u64()
            .map(|vlan| format!("vlan={vlan}"))
            .unwrap_or_default(),
    ])
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn labelled(label: &str, value: &Value) -> String {
    let value = text(value);
    if value.is_empty() {
        value
    } else {
        format!("{label}{value}")
    }
}

fn size(value: &Value) -> String {
    value.as_u64().map(measure::bytes).unwrap_or_default()
}

fn words<const N: usize>(parts: [String; N]) -> String {
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}
