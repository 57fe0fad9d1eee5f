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

/// The machine does what it does in the next seconds.
async fn goes_on(machine: &mut Machine, rig: &Rig) {
    match machine.power {
        Power::Off => machine.boots(rig).await,
        Power::System => drop(machine.reports(rig).await),
        Power::Ramdisk(_) => machine.agent(rig).await,
    }
}

/// The next controller; the sessions of the one before are gone.
async fn starts_anew(rig: &mut Option<Rig>, machines: &mut [Machine]) {
    for ramdisk in machines.iter_mut().filter_map(Machine::ramdisk) {
        ramdisk.session = None;
    }
    *rig = Some(rig.take().unwrap().restart().await);
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
            goes_on(&mut machine, now).await;
            dead |= is_let_in(now, &machine).await && is_ended(now, &machine).await.is_err();
            dead |= now.app().deployments.reconcile().await.is_err();
            // In a rescue nobody may have anything to tell, who would notice it.
            dead |= crash::is_dead();
        }
        if dead || std::mem::take(&mut machine.alone) {
            died |= crash::never();
            starts_anew(rig, std::slice::from_mut(&mut machine)).await;
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

/// A batch of three, two at a time, with a controller that dies at the `n`th place; false when there are not so many.
async fn batch_dies_at(rig: &mut Option<Rig>, n: u64) -> bool {
    let mut machines = Vec::new();
    for index in 0..3 {
        machines.push(Machine::in_service(rig.as_ref().unwrap(), 3 * n + index).await);
    }
    let request = BatchRequest {
        nodes: machines.iter().map(|machine| machine.node_id.clone()).collect(),
        deployment: DeployRequest {
            image: "debian".to_owned(),
            ..DeployRequest::default()
        },
        at_once: Some(2),
        stop_after: Some(1),
    };
    let key = format!("batch-{n}");
    let mut asked = None;
    let mut died = false;
    crash::at(n);
    for _ in 0..200 {
        let now = rig.as_ref().unwrap();
        now.clock.advance(SignedDuration::from_secs(5));
        let deployments = &now.app().deployments;
        let mut dead = false;
        if asked.is_none() {
            // Whoever gets no answer asks again with the same key.
            match deployments.create_batch(&admin(), &request, Some(&key)).await {
                Ok(batch) => asked = Some(batch.id),
                Err(_) => dead = true,
            }
        } else {
            for machine in &mut machines {
                if machine.node(now).await.state.is_taken() {
                    goes_on(machine, now).await;
                }
            }
            dead |= deployments.reconcile().await.is_err();
        }
        for machine in &mut machines {
            dead |= std::mem::take(&mut machine.alone);
        }
        if dead || crash::is_dead() {
            died |= crash::never();
            starts_anew(rig, &mut machines).await;
            continue;
        }
        let mut taken = 0;
        for machine in &machines {
            machine.check(now).await;
            taken += u32::from(machine.node(now).await.state.is_taken());
        }
        if asked.is_some() && taken == 0 {
            break;
        }
    }
    died |= crash::never();
    let now = rig.as_ref().unwrap();
    let id = asked.expect("the batch was taken");
    let batch = now.app().deployments.batch(&Viewer::All, &id).await.unwrap();
    assert!(
        batch.ended && batch.counts.succeeded == 3 && batch.nodes.len() == 3,
        "killed at place {n}: {batch:?}"
    );
    for machine in &machines {
        let node = batch.nodes.iter().find(|node| node.node_id == machine.node_id);
        let node = node.expect("each node has its deployment");
        assert_eq!(
            machine.begun.get(&node.deployment_id),
            Some(&1),
            "killed at place {n}: {:?}",
            machine.begun
        );
    }
    let told: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE kind = 'batch.created' AND json_extract(details, '$.batch_id') = ?",
    )
    .bind(&id)
    .fetch_one(&now.app().db)
    .await
    .unwrap();
    assert_eq!(told, 1, "killed at place {n}");
    died
}

async fn a_batch_lives_on(first: u64) {
    let mut rig = Some(Rig::start().await);
    let mut n = first;
    while batch_dies_at(&mut rig, n).await {
        n += 2;
    }
    assert!(n > 40, "a batch has only {n} places");
    let rig = rig.unwrap();
    let batches: i64 = sqlx::query_scalar("SELECT count(*) FROM batches")
        .fetch_one(&rig.app().db)
        .await
        .unwrap();
    let asked = i64::try_from((n - first) / 2 + 1).unwrap();
    assert_eq!(batches, asked, "each request makes one batch");
}

// Two tests, since there are many places: one for those before something is written down, and for those after.

#[tokio::test(flavor = "current_thread")]
async fn a_controller_may_die_at_any_odd_place_of_a_batch() {
    a_batch_lives_on(1).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_controller_may_die_at_any_even_place_of_a_batch() {
    a_batch_lives_on(2).await;
}
