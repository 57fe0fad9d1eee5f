use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sys::packet;

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let head = u16::from(kind) << 9 | u16::try_from(value.len()).unwrap();
    [&head.to_be_bytes(), value].concat()
}

/// What a switch of a data centre sends.
fn announcement() -> Vec<u8> {
    [
        field(1, &[4, 0x44, 0x4C, 0xA8, 0x11, 0x22, 0x33]),
        field(2, b"\x05Ethernet17/1"),
        field(3, &[0, 120]),
        field(4, b"rack 7 server 12 port 1"),
        field(5, b"leaf-07a.example"),
        field(6, b"a long description"),
        field(127, &[0x00, 0x80, 0xC2, 0x01, 0x0F, 0xA0]),
        field(127, &[0x00, 0x12, 0x0F, 0x04, 0x24, 0x14]),
        field(0, b""),
    ]
    .concat()
}

#[test]
fn a_switch_is_known_by_its_announcement() {
    let expected = LldpNeighbour {
        chassis: "44:4c:a8:11:22:33".to_owned(),
        port: "Ethernet17/1".to_owned(),
        port_description: "rack 7 server 12 port 1".to_owned(),
        system_name: "leaf-07a.example".to_owned(),
        vlan: Some(4000),
    };
    assert_eq!(parse(&announcement()), Some(expected.clone()));
    let padded = [announcement(), vec![0; 46]].concat();
    assert_eq!(parse(&padded), Some(expected), "behind the end is padding");
}

#[test]
fn ids_are_shown_by_their_kind() {
    type Case = (&'static [u8], &'static [u8], Option<(&'static str, &'static str)>);
    let cases: [Case; 6] = [
        (
            &[4, 1, 2, 3, 4, 5, 6],
            &[3, 1, 2, 3, 4, 5, 7],
            Some(("01:02:03:04:05:06", "01:02:03:04:05:07")),
        ),
        (
            &[5, 1, 10, 0, 0, 1],
            b"\x07 ge-0/0/1 ",
            Some(("10.0.0.1", "ge-0/0/1")),
        ),
        (b"\x07sw\x1b[2J1", &[4, 9, 1, 2], Some(("sw[2J1", "090102"))),
        (&[4, 1, 2, 3], b"\x05a", None),
        (&[7], b"\x05a", None),
        (&[], b"\x05a", None),
    ];
    for (chassis, port, expected) in cases {
        let sent = [field(1, chassis), field(2, port), field(3, &[0, 30])].concat();
        let found = parse(&sent).map(|found| (found.chassis, found.port));
        let found = found.as_ref().map(|found| (found.0.as_str(), found.1.as_str()));
        assert_eq!(found, expected, "{chassis:?} {port:?}");
    }
}

#[test]
fn what_is_no_announcement_is_nobody() {
    let good_bye = [
        field(1, b"\x07sw"),
        field(2, b"\x05a"),
        field(3, &[0, 0]),
        field(0, b""),
    ]
    .concat();
    let wrong_order = [field(2, b"\x05a"), field(1, b"\x07sw"), field(3, &[0, 9])].concat();
    let cut = announcement()[..20].to_vec();
    for sent in [good_bye, wrong_order, cut, vec![], vec![0; 60]] {
        assert_eq!(parse(&sent), None, "{sent:?}");
    }
}

proptest! {
    #[test]
    fn no_frame_makes_it_panic(frame in proptest::collection::vec(any::<u8>(), 0..MAX_FRAME)) {
        prop_assert!(parse(&frame).is_none_or(|found| !found.chassis.is_empty()));
    }

    #[test]
    fn damaged_announcements_stay_within_bounds(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = announcement();
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(cut.index(frame.len() + 1));
        if let Some(found) = parse(&frame) {
            prop_assert!(!found.chassis.is_empty() && !found.port.is_empty());
            prop_assert!(found.vlan.is_none_or(|vlan| vlan < 4095));
            for text in [&found.chassis, &found.port, &found.port_description, &found.system_name] {
                prop_assert!(text.chars().count() <= 512 && !text.chars().any(char::is_control));
            }
        }
    }
}

/// Over the loopback, which carries any frame: what is sent there arrives like from a cable.
#[tokio::test]
async fn frames_reach_the_listener() {
    let nics = ["lo".to_owned(), "no-such-nic".to_owned()];
    let listening = tokio::spawn(async move { listen(&nics, Duration::from_secs(20)).await });
    let index = nix::net::if_::if_nametoindex("lo").unwrap();
    let sender = packet::Listener::open(packet::LLDP, packet::LLDP_GROUP, &[]).unwrap();
    // Frames that come before the listener's socket is open are lost, as with a switch: it sends again.
    let mut again = tokio::time::interval(Duration::from_millis(10));
    while !listening.is_finished() {
        again.tick().await;
        sender.send(index, &[7; 40]).unwrap();
        sender.send(index, &announcement()).unwrap();
    }
    let found = listening.await.unwrap().unwrap();
    assert_eq!(found["lo"].system_name, "leaf-07a.example");
}

#[tokio::test]
async fn silence_ends_with_the_time() {
    let (nobody, gone) = ([], ["no-such-nic".to_owned()]);
    for nics in [&nobody[..], &gone[..]] {
        assert!(listen(nics, Duration::from_secs(3600)).await.unwrap().is_empty());
    }
    let began = std::time::Instant::now();
    let patience = Duration::from_millis(20);
    let found = listen(&["lo".to_owned()], patience).await.unwrap();
    // Another test may speak on the loopback at this moment.
    assert!(!found.is_empty() || began.elapsed() >= patience);
}
