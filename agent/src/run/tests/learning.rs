//! What the agent learns beside the session.

use super::*;
use crate::{inventory::lldp, sys::packet};

/// The loopback stands in for a NIC with a cable: frames that are sent there arrive like from a switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_announces_itself_comes_with_a_second_inventory() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let nic = world.folder.path().join("root/sys/class/net/lo");
    fs::create_dir_all(nic.join("device")).unwrap();
    for (name, value) in [("type", "1"), ("carrier", "1"), ("address", "52:54:00:00:00:01")] {
        fs::write(nic.join(name), value).unwrap();
    }
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;

    // Chassis, port, time to live, system name, end.
    let announcement = b"\x02\x04\x07sw1\x04\x03\x05p7\x06\x02\x00\x78\x0a\x04leaf\x00\x00";
    assert_eq!(lldp::parse(announcement).unwrap().system_name, "leaf");
    let index = nix::net::if_::if_nametoindex("lo").unwrap();
    let switch = packet::Listener::open(packet::LLDP, packet::LLDP_GROUP, &[]).unwrap();
    let announcing = tokio::spawn(async move {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        loop {
            again.tick().await;
            switch.send(index, announcement).unwrap();
        }
    });
    let Ours::Inventory(learned) = line.next().await else {
        panic!("nothing else is to be told")
    };
    announcing.abort();
    let neighbour = learned.nics[0].lldp.as_ref().unwrap();
    assert!(!neighbour.port.is_empty(), "{neighbour:?}");

    // A session that is opened again tells it from the beginning.
    drop(line);
    let mut line = world.line().await;
    assert!(matches!(line.next().await, Ours::Hello(_)));
    let Ours::Inventory(told) = line.next().await else {
        panic!("the inventory follows the greeting")
    };
    assert!(told.nics[0].lldp.is_some());
    stop.cancel();
    agent.await.unwrap().unwrap();
}
