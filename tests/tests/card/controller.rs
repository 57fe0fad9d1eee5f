//! The controller's own client with the card of the lab.

use imprint_controller::volumes::{
    Backing, DiskKind, Limits, OpiCard, PciFunction, Presence, ProviderError, Seat, Volume,
    VolumeProvider as _,
};
use imprint_tests::card::{CardOptions, Served, control, serve};
use tonic::Code;

use super::options;

async fn card(functions: u8) -> (Served, OpiCard) {
    let options = CardOptions {
        functions,
        ..options()
    };
    let served = serve(&options).await.unwrap();
    let client = OpiCard::at(&served.address.to_string()).unwrap();
    (served, client)
}

fn volume(number: u128, backing: Backing) -> Volume {
    Volume {
        id: ulid::Ulid::from_parts(1_790_000_000_000, number).to_string(),
        size_bytes: 1 << 30,
        backing,
        limits: Limits {
            kiops: Some(5),
            mb_per_s: None,
        },
    }
}

fn named() -> Backing {
    Backing::Named {
        name: "export".to_owned(),
    }
}

fn over_the_network() -> Backing {
    let address = |last| ([127, 0, 0, last], 4420).into();
    Backing::NvmeTcp {
        subsystem: "nqn.2026-01.example:storage".to_owned(),
        namespace: 1,
        addresses: vec![address(1), address(2)],
    }
}

fn seat(physical: u16, kind: DiskKind) -> Seat {
    let function = PciFunction {
        physical,
        ..PciFunction::default()
    };
    Seat { function, kind }
}

#[tokio::test]
async fn volumes_of_all_kinds_come_and_go_and_leave_nothing() {
    let (_served, card) = card(4).await;
    let all = [
        (named(), DiskKind::VirtioBlk),
        (named(), DiskKind::Nvme),
        (over_the_network(), DiskKind::VirtioBlk),
        (over_the_network(), DiskKind::Nvme),
    ];
    let mut volumes = Vec::new();
    for (number, (backing, kind)) in (0..).zip(all) {
        let volume = volume(number.into(), backing);
        let seat = seat(number, kind);
        assert_eq!(card.status(&volume.id).await.unwrap(), Presence::Absent);
        let shown = card.attach(&volume, &seat).await.unwrap();
        // Asked twice, it is the same.
        assert_eq!(card.attach(&volume, &seat).await.unwrap(), shown);
        assert_eq!(
            (shown.function, shown.size_bytes),
            (seat.function, volume.size_bytes)
        );
        assert_eq!(card.status(&volume.id).await.unwrap(), Presence::Shown);
        let listed = card.list().await.unwrap();
        let mine = |seat: Option<Seat>| {
            let mut of_volume = listed
                .iter()
                .filter(|one| one.volume_id.as_ref() == Some(&volume.id));
            of_volume.any(|one| one.seat == seat)
        };
        assert!(mine(Some(seat)), "{listed:?}");
        assert_eq!(mine(None), matches!(volume.backing, Backing::NvmeTcp { .. }));
        volumes.push(volume);
    }
    for volume in volumes {
        card.detach(&volume.id).await.unwrap();
        card.detach(&volume.id).await.unwrap();
        assert_eq!(card.status(&volume.id).await.unwrap(), Presence::Absent);
    }
    assert_eq!(card.list().await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_lost_answer_is_no_second_disk() {
    let (served, card) = card(2).await;
    let volume = volume(1, over_the_network());
    for lost in 0..3 {
        served
            .faults
            .put(control::parse(&format!("lose {lost}")).unwrap());
        card.attach(&volume, &seat(0, DiskKind::Nvme)).await.unwrap();
    }
    served.faults.put(control::parse("lose 2").unwrap());
    card.detach(&volume.id).await.unwrap();
    assert_eq!(card.list().await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_failure_leaves_nothing_and_takes_nothing_that_was_there() {
    let (_served, card) = card(2).await;
    let first = volume(1, named());
    card.attach(&first, &seat(0, DiskKind::VirtioBlk)).await.unwrap();
    // The function is taken: the remote controller and its paths go again.
    let second = volume(2, over_the_network());
    for kind in [DiskKind::VirtioBlk, DiskKind::Nvme] {
        let refused = card.attach(&second, &seat(0, kind)).await.unwrap_err();
        let code = Code::FailedPrecondition;
        assert!(
            matches!(refused, ProviderError::Refused { code: said, .. } if said == code),
            "{refused}"
        );
    }
    assert_eq!(card.list().await.unwrap().len(), 1);
    // The first one again, elsewhere.
    let other = card
        .attach(&first, &seat(1, DiskKind::VirtioBlk))
        .await
        .unwrap_err();
    assert!(matches!(other, ProviderError::Different { .. }), "{other}");
    assert_eq!(card.status(&first.id).await.unwrap(), Presence::Shown);
}

#[tokio::test]
async fn a_storage_that_is_gone_is_said() {
    let (served, card) = card(2).await;
    let volume = volume(1, over_the_network());
    card.attach(&volume, &seat(0, DiskKind::Nvme)).await.unwrap();
    served.faults.put(control::parse("backend lost").unwrap());
    assert_eq!(card.status(&volume.id).await.unwrap(), Presence::Offline);
    served.faults.put(control::parse("backend back").unwrap());
    assert_eq!(card.status(&volume.id).await.unwrap(), Presence::Shown);
}
