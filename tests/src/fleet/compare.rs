//! The controller's log against what the nodes know to have said. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{api::EventView, tally::Told};

/// Contradictions that are told one by one.
const MOST_TOLD: usize = 20;

/// What a node knows.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The controller's id of it.
    pub node_id: String,
    /// Its deployment, if it had one.
    pub deployment_id: Option<String>,
    /// Its tasks, in their order.
    pub told: Vec<Told>,
    /// Sessions that it was greeted in.
    pub opened: u64,
}

/// What the comparison has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Events of each kind: how many have to be there, and how many are.
    pub counts: BTreeMap<String, (u64, u64)>,
    /// Numbered messages of the nodes that were acknowledged: each has to be an event, once.
    pub numbered: u64,
    /// Of these, how many are not there.
    pub lost: u64,
    /// Events that are there twice.
    pub doubled: u64,
    /// Sessions that nodes were greeted in, and sessions of which an event tells. They may differ where the controller
    /// was killed, or a line was cut, in the middle of a greeting.
    pub sessions: (u64, u64),
    /// All events.
    pub events: u64,
    /// The first contradictions, in words.
    pub problems: Vec<String>,
}

impl Comparison {
    /// Whether nothing is lost, doubled or missing.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.counts.values().all(|(expected, got)| expected == got)
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(text);
        }
    }
}

/// Compares. `nodes`: those that are known to the controller.
#[must_use]
pub fn compare(nodes: &[Expected], events: &[EventView]) -> Comparison {
    let mut comparison = Comparison {
        events: events.len() as u64,
        ..Comparison::default()
    };
    let deployed = nodes.iter().filter(|node| node.deployment_id.is_some()).count() as u64;
    let known = nodes.len() as u64;
    for (kind, expected) in [
        ("node.discovered", known),
        ("node.inventory.taken", known),
        ("node.approved", known),
        ("deployment.created", deployed),
        ("deployment.written", deployed),
        ("deployment.first-boot", deployed),
        ("deployment.succeeded", deployed),
        ("deployment.failed", 0),
    ] {
        let got = events.iter().filter(|event| event.kind == kind).count() as u64;
        comparison.counts.insert(kind.to_owned(), (expected, got));
        if got != expected {
            comparison.problem(format!("{kind}: {expected} expected, {got} there"));
        }
    }
    let connected = events
        .iter()
        .filter(|event| event.kind == "agent.connected")
        .count() as u64;
    comparison.sessions = (nodes.iter().map(|node| node.opened).sum(), connected);
    compare_numbers(nodes, events, &mut comparison);
    comparison
}

/// By deployment and attempt, the numbers of the agent's messages that are events.
type Numbers<'a> = HashMap<(&'a str, u64), HashMap<u64, u64>>;

fn compare_numbers(nodes: &[Expected], events: &[EventView], comparison: &mut Comparison) {
    let mut numbers: Numbers<'_> = HashMap::new();
    for event in events {
        let (Some(deployment), Some(sequence), Some(attempt)) = (
            event.deployment_id.as_deref(),
            event.details["sequence"].as_u64(),
            event.details["attempt"].as_u64(),
        ) else {
            continue;
        };
        *numbers
            .entry((deployment, attempt))
            .or_default()
            .entry(sequence)
            .or_default() += 1;
    }
    for node in nodes {
        let Some(deployment) = node.deployment_id.as_deref() else {
            continue;
        };
        // A task of which the controller never said that it has anything may have come to nothing there.
        let counted = node.told.iter().filter(|told| told.acknowledged > 0);
        for (attempt, told) in (1..).zip(counted) {
            let got = numbers.remove(&(deployment, attempt)).unwrap_or_default();
            // The outcome has a number, and is no step.
            let last_step = if told.ended {
                told.last - 1
            } else {
                told.acknowledged
            };
            for sequence in 1..=last_step {
                comparison.numbered += 1;
                match got.get(&sequence) {
                    Some(1) => {}
                    Some(_) => {
                        comparison.doubled += 1;
                        comparison.problem(format!(
                            "{deployment}, attempt {attempt}: number {sequence} is there twice"
                        ));
                    }
                    None => {
                        comparison.lost += 1;
                        comparison.problem(format!(
                            "{deployment}, attempt {attempt}: number {sequence} is not there"
                        ));
                    }
                }
            }
            if let Some(invented) = got.keys().find(|sequence| **sequence > told.last) {
                comparison.doubled += 1;
                comparison.problem(format!(
                    "{deployment}, attempt {attempt}: number {invented}, and the node gave {} at most",
                    told.last
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: i64, kind: &str, sequence: Option<u64>) -> EventView {
        EventView {
            id,
            kind: kind.to_owned(),
            node_id: Some("N".to_owned()),
            deployment_id: Some("D".to_owned()),
            details: json!({ "sequence": sequence, "attempt": 1 }),
        }
    }

    fn whole() -> (Vec<Expected>, Vec<EventView>) {
        let told = Told {
            task_id: "T".to_owned(),
            last: 4,
            acknowledged: 4,
            ended: true,
        };
        let node = Expected {
            node_id: "N".to_owned(),
            deployment_id: Some("D".to_owned()),
            told: vec![told],
            opened: 1,
        };
        let kinds = [
            "node.discovered",
            "node.inventory.taken",
            "node.approved",
            "deployment.created",
            "deployment.written",
            "deployment.first-boot",
            "deployment.succeeded",
            "agent.connected",
        ];
        let mut events: Vec<EventView> = (1..).zip(kinds).map(|(id, kind)| event(id, kind, None)).collect();
        let steps = (1..=3).map(|sequence| {
            event(
                100 + sequence,
                "deployment.step.note",
                u64::try_from(sequence).ok(),
            )
        });
        events.extend(steps);
        (vec![node], events)
    }

    #[test]
    fn what_is_whole_agrees() {
        let (nodes, events) = whole();
        let comparison = compare(&nodes, &events);
        assert!(comparison.agrees(), "{:?}", comparison.problems);
        assert_eq!((comparison.numbered, comparison.sessions), (3, (1, 1)));
    }

    #[test]
    fn a_lost_a_doubled_and_a_missing_event_are_found() {
        let (nodes, events) = whole();
        for left_out in 0..events.len() {
            let mut fewer = events.clone();
            let gone = fewer.remove(left_out);
            let comparison = compare(&nodes, &fewer);
            assert_eq!(
                comparison.agrees(),
                gone.kind == "agent.connected",
                "without {}",
                gone.kind
            );
        }
        let mut more = events.clone();
        more.push(event(200, "deployment.step.note", Some(2)));
        assert_eq!(compare(&nodes, &more).doubled, 1);
        let mut invented = events;
        invented.push(event(200, "deployment.step.note", Some(9)));
        assert!(!compare(&nodes, &invented).agrees());
    }

    #[test]
    fn of_a_node_that_lost_its_power_only_the_acknowledged_has_to_be_there() {
        let (mut nodes, mut events) = whole();
        nodes[0].told[0] = Told {
            acknowledged: 2,
            ended: false,
            ..nodes[0].told[0].clone()
        };
        let comparison = compare(&nodes, &events);
        assert!(comparison.agrees() && comparison.numbered == 2, "{comparison:?}");
        events.retain(|event| event.details["sequence"] != 2);
        assert_eq!(compare(&nodes, &events).lost, 1);
    }
}
