//! The controller is killed at every place where it has written something down, or is just about to, and before each message to an
//! agent: nothing is lost, nothing is done twice.

use jiff::SignedDuration;

use super::{
    machine::{Machine, Power},
    rig::*,
};
use crate::{deploy::*, inventory::NodeState, testing::crash};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Install,
    Release,
    Rescue,
}

async fn order(rig: &Rig, machine: &Machine, what: Order, key: &str) -> Result<Deployment, DeployError> {
    let deployments = &rig.app().deployments;
    match what {
        Order::Install => {
            let request = DeployRequest {
                node: machine.node_id.clone(),
                image: "debian".to_owned(),
                ..DeployRequest::default()
            };
            deployments.create(&admin(), &request, Some(key)).await
        }
        Order::Release => {
            let request = ReleaseRequest::default();
            deployments.release(&admin(), &machine.node_id, &request).await
        }
        Order::Rescue => {
            // Whoever got no answer finds the rescue that he has begun, and asks for another password.
            let rescued = deployments.new_rescue_password(&admin(), &machine.node_id).await;
            let rescue = match rescued {
                Err(DeployError::NotRescued(_)) => {
                    let request = RescueRequest::default();
                    deployments
                        .begin_rescue(&admin(), &machine.node_id, &request)
                        .await
                }
                rescued => rescued,
            };
            rescue.map(|rescue| rescue.deployment)
        }
    }
}

/// Somebody can get into the server, and has not said that he is done.
async fn is_let_in(rig: &Rig, machine: &Machine) -> bool {
    let node = machine.node(rig).await;
    match node.deployment_id {
        Some(id) => {
            let rescue = rig.deployment(&id).await;
            let waits = rescue.cancel_requested_at.is_none();
            waits && matches!(&rescue.terms, Some(Terms::Rescue(terms)) if terms.access.is_some())
        }
        None => false,
    }
}

async fn is_ended(rig: &Rig, machine: &Machine) -> Result<(), DeployError> {
    let deployments = &rig.app().deployments;
    deployments.end_rescue(&admin(), &machine.node_id).await.map(drop)
}

/// One order, with a controller that dies at the `n`th place; false when there are not so many.
async fn dies_at(rig: &mut Option<Rig>, what: Order, n: u64, index: u64) -> bool {
    let mut machine = Machine::in_service(rig.as_ref().unwrap(), index).await;
    machine.pieces = 2;
    let mut asked = None;
    let mut died = false;
    crash::at(n);
    for _ in 0..200 {
        let now = rig.as_ref().unwrap();
        now.clock.advance(SignedDuration::from_secs(5));
        let mut dead = false;
        if asked.is_none() {
            // Whoever gets no answer asks again with the same key.
            match order(now, &machine, what, &format!("{what:?}-{n}")).await {
                Ok(deployment) => asked = Some(deployment.id),
                Err(_) => dead = true,
            }
        } else {
            match machine.power {
                Power::Off => machine.boots(now).await,
                Power::System => drop(machine.reports(now).await),
                Power::Ramdisk(_) => machine.agent(now).await,
            }
            dead |= is_let_in(now, &machine).await && is_ended(now, &machine).await.is_err();
            dead |= now.app().deployments.reconcile().await.is_err();
            // In a rescue nobody may have anything to tell, who would notice it.
            dead |= crash::is_dead();
        }
        if dead || std::mem::take(&mut machine.alone) {
            died |= crash::never();
            if let Some(ramdisk) = machine.ramdisk() {
                ramdisk.session = None;
            }
            *rig = Some(rig.take().unwrap().restart().await);
            continue;
        }
        machine.check(now).await;
        let node = machine.node(now).await;
        if asked.is_some() && !node.state.is_taken() {
            break;
        }
    }
    // Some places do not tell their caller: the reconciler logs what it could not do.
    died |= crash::never();
    let now = rig.as_ref().unwrap();
    let state = machine.node(now).await.state;
    let expected = match what {
        Order::Install => NodeState::Active,
        Order::Release | Order::Rescue => NodeState::Available,
    };
    let why = now
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert_eq!(state, expected, "{what:?}, killed at place {n}: {}", why.summary);
    let id = asked.expect("the order was taken");
    assert_eq!(
        machine.begun.get(&id),
        Some(&1),
        "{what:?}, killed at place {n}: {:?}",
        machine.begun
    );
    let all = now
        .app()
        .deployments
        .list(&Viewer::All, Some(&machine.node_id), 0, None)
        .await
        .unwrap();
    assert_eq!(
        all.items.len(),
        1,
        "{what:?}, killed at place {n}: {:?}",
        all.items
    );
    died
}

#[tokio::test(flavor = "current_thread")]
async fn a_controller_may_die_at_any_place() {
    let mut rig = Some(Rig::start().await);
    let mut index = 0;
    for (what, least) in [(Order::Install, 20), (Order::Release, 10), (Order::Rescue, 10)] {
        let mut n = 1;
        while dies_at(&mut rig, what, n, index).await {
            n += 1;
            index += 1;
        }
        index += 1;
        assert!(n > least, "{what:?} has only {n} places");
    }
}
