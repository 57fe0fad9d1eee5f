//! A model check: every state that a server, its agent, the connection and the controller can get into together, with a
//! bounded number of faults at every point. What decides is [`decide`] itself; the shell around it and the agent are
//! written down here in the fewest words that keep what matters: who holds which task, and what is on the disk.

use std::collections::{HashSet, VecDeque};

use super::*;

mod world;

use world::*;

fn beginnings() -> Vec<World> {
    let machines = [
        (Machine::Off, None),
        (Machine::System, None),
        (
            Machine::Ramdisk {
                works_on: None,
                outbox: None,
            },
            None,
        ),
        (
            Machine::Ramdisk {
                works_on: None,
                outbox: None,
            },
            Some(Session::default()),
        ),
        // Its former deployment was given up; the agent has not heard of that, or just hears of it.
        (
            Machine::Ramdisk {
                works_on: Some(0),
                outbox: None,
            },
            None,
        ),
        (
            Machine::Ramdisk {
                works_on: Some(0),
                outbox: None,
            },
            Some(Session {
                busy: true,
                cancel_on_its_way: Some(0),
                ..Session::default()
            }),
        ),
        (
            Machine::Ramdisk {
                works_on: None,
                outbox: Some((0, Ending::Success)),
            },
            None,
        ),
    ];
    let mut all = Vec::new();
    for kind in [Kind::System, Kind::AgentOnly, Kind::Rescue] {
        for (machine, session) in machines {
            let disk = match machine {
                Machine::Ramdisk {
                    works_on: Some(task), ..
                } => Disk::Part(task),
                Machine::Ramdisk {
                    outbox: Some((task, _)),
                    ..
                } => Disk::Whole(task),
                _ => Disk::Old,
            };
            let mut world = World {
                kind,
                machine,
                disk,
                session,
                end: None,
                phase: Phase::AwaitAgent,
                powered: false,
                attempt: 1,
                sent: false,
                accepted: false,
                cancel: false,
                late: false,
                faults: 0,
            };
            world.settle(News::default());
            all.push(world);
        }
    }
    all
}

fn reachable() -> HashSet<World> {
    let mut seen: HashSet<World> = beginnings().into_iter().collect();
    let mut open: VecDeque<World> = seen.iter().copied().collect();
    while let Some(world) = open.pop_front() {
        for next in EVENTS.into_iter().filter_map(|event| world.after(event)) {
            if seen.insert(next) {
                open.push_back(next);
            }
        }
    }
    seen
}

/// What is asserted on the way: a task leaves only under a claim that lives and for an agent that is free; no agent
/// is given a second one; what succeeds has a whole disk of its own; a cancellation that is certain is.
#[test]
fn no_fault_makes_it_stuck_or_writes_without_a_claim() {
    let worlds = reachable();
    assert!(
        worlds.len() > 5_000,
        "{} worlds are too few to be all",
        worlds.len()
    );
    let mut ends = HashSet::new();
    for world in &worlds {
        ends.extend(world.end);
        let alone = world.left_alone();
        assert!(
            alone.end.is_some(),
            "time alone does not end it: {world:?} becomes {alone:?}"
        );
    }
    for end in [
        End::Succeeded,
        End::Failed,
        End::Cancelled(true),
        End::Cancelled(false),
    ] {
        assert!(ends.contains(&end), "{end:?} is never reached");
    }
}

/// An agent that works for what has ended is told to stop as soon as it can be, and leaves nothing that boots.
#[test]
fn what_has_ended_is_worked_on_by_nobody() {
    for world in reachable() {
        if !matches!(world.end, Some(End::Failed | End::Cancelled(_))) {
            continue;
        }
        let rest = world.comes_to_rest();
        let works = matches!(
            rest.machine,
            Machine::Ramdisk {
                works_on: Some(_),
                ..
            }
        );
        assert!(!works, "it goes on: {world:?} becomes {rest:?}");
        // A whole disk of which nobody heard before the power was cut is not told from an old one.
        let ended_well = Some((world.attempt, Ending::Success));
        let knows = matches!(world.machine, Machine::Ramdisk { outbox, .. } if outbox == ended_well);
        let boots = knows && rest.disk == Disk::Whole(rest.attempt);
        assert!(
            !boots,
            "a disk that nobody wants is left whole: {world:?} becomes {rest:?}"
        );
    }
}
