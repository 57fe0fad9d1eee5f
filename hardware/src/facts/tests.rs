use imprint_proto::agent::v1 as wire;

use super::{limits, *};

#[test]
fn inventories_of_older_agents_are_read() {
    let kept = r#"{"system":{"vendor":"Dell Inc.","product":"PowerEdge R650"},"memory_bytes":1024,
        "disks":[{"kernel_name":"sda","serial":"S1","transport":"sata","holders":[]}],"nics":[{"mac":"52:54:00:00:00:01"}]}"#;
    let inventory: Inventory = serde_json::from_str(kept).unwrap();
    assert_eq!(inventory.hardware(), "Dell Inc. PowerEdge R650");
    assert!(
        !inventory.disks[0].contents_read,
        "nobody looked: not a blank disk"
    );
    assert_eq!((inventory.bmc, inventory.nics[0].lldp.clone()), (None, None));
}

#[test]
fn whatever_an_agent_sends_is_bounded() {
    let long = || "\u{7}x".repeat(limits::MAX_TEXT + 1);
    let content = wire::DiskContent::default();
    let disk = wire::Disk {
        serial: long(),
        holders: vec![String::new(); 1000],
        contents: vec![content; limits::MAX_CONTENTS * 2],
        ..Default::default()
    };
    let device = wire::PciDevice {
        modalias_modules: vec![String::new(); 100],
        ..Default::default()
    };
    let sent = wire::Inventory {
        disks: vec![disk; 64],
        nics: vec![wire::Nic::default(); 1000],
        pci: vec![device; 2000],
        cpu: Some(wire::Cpu {
            flags: vec![String::new(); 2000],
            ..Default::default()
        }),
        memory: Some(wire::Memory {
            modules: vec![wire::MemoryModule::default(); 2000],
            ..Default::default()
        }),
        ..Default::default()
    };
    let inventory = Inventory::from(sent);
    assert_eq!(inventory.nics.len(), limits::MAX_NICS);
    assert_eq!(inventory.pci.len(), limits::MAX_PCI);
    assert_eq!(
        inventory.pci[0].modalias_modules.len(),
        limits::MAX_MODALIAS_MODULES
    );
    assert_eq!(inventory.cpu.flags.len(), limits::MAX_CPU_FLAGS);
    assert_eq!(inventory.memory_modules.len(), limits::MAX_MEMORY_MODULES);
    let disk = &inventory.disks[0];
    assert_eq!(disk.serial, "x".repeat(limits::MAX_TEXT));
    assert_eq!(disk.holders.len(), limits::MAX_LIST);
    let counts = inventory.disks.iter().map(|disk| disk.contents.len());
    assert_eq!(counts.clone().max(), Some(limits::MAX_CONTENTS));
    assert_eq!(counts.sum::<usize>(), limits::MAX_CONTENTS_IN_ALL);
}

#[test]
fn health_and_neighbours_are_no_change_of_hardware() {
    let mut inventory = Inventory {
        disks: vec![Disk::default()],
        nics: vec![Nic::default()],
        ..Inventory::default()
    };
    let before = inventory.steady();
    inventory.disks[0].health = Some(DiskHealth::default());
    inventory.nics[0].lldp = Some(LldpNeighbour::default());
    inventory.nics[0].link_up = true;
    inventory.bmc = Some(Bmc::default());
    assert_eq!(inventory.steady(), before);
    inventory.disks[0].serial = "another".to_owned();
    assert_ne!(inventory.steady(), before);
}

#[test]
fn gpus_are_display_controllers() {
    let device = |class: &str| PciDevice {
        class: class.to_owned(),
        ..PciDevice::default()
    };
    let inventory = Inventory {
        pci: vec![device("010802"), device("030000"), device("030200")],
        ..Inventory::default()
    };
    let classes: Vec<&str> = inventory.gpus().map(|gpu| gpu.class.as_str()).collect();
    assert_eq!(classes, ["030000", "030200"]);
}
