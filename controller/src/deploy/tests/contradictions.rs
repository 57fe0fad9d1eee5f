use jiff::SignedDuration;

use super::rig::*;
use crate::boot::{BootAction, BootFacts};

/// A machine with the node's NIC and another mainboard.
fn stranger(board: u8) -> BootFacts {
    let uuid = format!("{}{board:02x}", &UUID[..UUID.len() - 2]);
    BootFacts::parse(MAC, &uuid, "", "efi").unwrap()
}

async fn asks(rig: &Rig, facts: &BootFacts) {
    let action = rig.app().deployments.boot_action(facts).await.unwrap();
    assert!(matches!(action, BootAction::LocalDisk { .. }), "{action:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_contradicts_its_node_is_told_once_for_each_change() {
    const KIND: &str = "alarm.boot-contradiction";
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    let why = async || {
        rig.app()
            .deployments
            .why(&Viewer::All, &machine.node_id)
            .await
            .unwrap()
    };
    assert_eq!(why().await.problem, None);
    for _ in 0..3 {
        asks(&rig, &stranger(0xaa)).await;
        rig.clock.advance(SignedDuration::from_mins(20));
    }
    let told: Vec<_> = rig
        .events()
        .await
        .into_iter()
        .filter(|event| event.kind == KIND)
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].node_id.as_deref(), Some(machine.node_id.as_str()));
    assert!(told[0].message.contains(MAC), "{}", told[0].message);
    let asked = why().await;
    let problem = asked.problem.unwrap();
    assert_eq!(problem.step, "boot");
    assert!(
        problem.cause.contains(MAC) && problem.remedy.contains("mainboard"),
        "{problem:?}"
    );
    assert!(asked.summary.contains("contradicts"), "{}", asked.summary);

    // Changes are told, but whoever makes them up does not fill the log.
    for board in 0..20 {
        asks(&rig, &stranger(board + 0x10)).await;
    }
    assert_eq!(rig.count(KIND).await, 2);

    // Recognised again, and so it is over.
    rig.boots_ramdisk().await;
    assert_eq!(why().await.problem, None);

    rig.clock.advance(SignedDuration::from_mins(1));
    asks(&rig, &stranger(0xaa)).await;
    assert!(why().await.problem.is_some());
    rig.clock.advance(SignedDuration::from_hours(24));
    assert_eq!(why().await.problem, None, "nobody has seen it for a day");
}
