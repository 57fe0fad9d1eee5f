//! What a run has shown, and whether it is what is promised.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{compare::Comparison, figures::Part};

/// What is promised of a controller on two cores.
pub mod goal {
    /// Cores that the controller may keep busy, while all deploys and at rest.
    pub const CORES: f64 = 1.0;
    /// Its memory, in MiB.
    pub const RSS_MIB: f64 = 512.0;
    /// What 99 of 100 answers of the API may take, in ms.
    pub const P99_MS: f64 = 100.0;
    /// How long after `kill -9` the last agent may come back, in seconds.
    pub const RECONNECT_SECONDS: f64 = 60.0;
}

/// How a fleet came back after the controller was killed.
#[derive(Debug, Clone, Serialize)]
pub struct Reconnect {
    /// When that was.
    pub name: String,
    /// Sessions of agents that were open.
    pub sessions: i64,
    /// Until the controller answered again, in seconds from the kill.
    pub answers_seconds: f64,
    /// Until the last agent was connected.
    pub agents_seconds: f64,
    /// Until the last guest plugin was, where that was waited for.
    pub guests_seconds: Option<f64>,
    /// The most attempts to connect in one second, of all nodes together.
    pub most_dialled: u64,
    /// The most sessions that were opened in one second.
    pub most_opened: u64,
}

/// What a run has shown.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// What decided.
    pub seed: u64,
    /// Servers.
    pub nodes: u32,
    /// Deployments.
    pub deployments: u64,
    /// Attempts of all deployments together.
    pub attempts: u64,
    /// Nodes with each fault.
    pub faults: BTreeMap<String, u64>,
    /// Deployments in each state.
    pub deployment_states: BTreeMap<String, u64>,
    /// Nodes in each state, as the controller has them.
    pub node_states: BTreeMap<String, u64>,
    /// How the nodes themselves stand.
    pub standings: String,
    /// Images that the agent's engine wrote, and whose bytes were compared.
    pub proved: u64,
    /// Boots that came as far as a session.
    pub booted: u64,
    /// The parts of the run.
    pub parts: Vec<Part>,
    /// What followed each kill.
    pub reconnects: Vec<Reconnect>,
    /// The books.
    pub comparison: Comparison,
    /// Events that a follower of the live stream was told.
    pub followed: u64,
    /// Whether it was told all of them.
    pub followed_all: bool,
    /// Events that it was told twice or out of order.
    pub disordered: u64,
    /// Figures of progress that it was told.
    pub progress: u64,
}

impl Outcome {
    /// Every node and deployment is where it should be, and no event is lost: this has to hold on every machine.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.wrongs().is_empty()
    }

    /// What is not right.
    #[must_use]
    pub fn wrongs(&self) -> Vec<String> {
        let mut wrongs = self.comparison.problems.clone();
        let succeeded = self.deployment_states.get("succeeded").copied().unwrap_or(0);
        if succeeded != self.deployments {
            wrongs.push(format!(
                "{succeeded} of {} deployments succeeded",
                self.deployments
            ));
        }
        if !self.comparison.agrees() && wrongs.is_empty() {
            wrongs.push("the events do not agree with what the nodes have said".to_owned());
        }
        if !self.followed_all || self.disordered > 0 {
            wrongs.push(format!(
                "the live stream told {} of {} events, {} of them twice or out of order",
                self.followed, self.comparison.events, self.disordered
            ));
        }
        wrongs
    }

    /// What takes more than is promised.
    #[must_use]
    pub fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        for part in self
            .parts
            .iter()
            .filter(|part| matches!(part.name.as_str(), "at rest" | "deployments"))
        {
            let mut over = |what: &str, is: f64, goal: f64| {
                if is > goal {
                    misses.push(format!("{}: {what} {is:.2}, promised is {goal}", part.name));
                }
            };
            over("cores", part.cores, goal::CORES);
            over("p99 of the API in ms", part.p99_ms, goal::P99_MS);
        }
        for part in &self.parts {
            if part.rss_mib > goal::RSS_MIB {
                misses.push(format!(
                    "{}: {:.0} MiB, promised is {}",
                    part.name,
                    part.rss_mib,
                    goal::RSS_MIB
                ));
            }
        }
        for reconnect in &self.reconnects {
            let last = reconnect
                .guests_seconds
                .unwrap_or(0.0)
                .max(reconnect.agents_seconds);
            if last > goal::RECONNECT_SECONDS {
                misses.push(format!("{}: {last:.0} s until all were back", reconnect.name));
            }
        }
        misses
    }

    /// All of it, as Markdown that is also readable on a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| writeln!(text, "{words}").expect("a string takes everything");
        line(format!(
            "{} nodes, {} deployments, seed {}",
            self.nodes, self.deployments, self.seed
        ));
        line(String::new());
        line(
            "| part | s | cores | busiest 10 s | RSS MiB | API p50 ms | p99 ms | worst ms | asked |"
                .to_owned(),
        );
        line("|---|---|---|---|---|---|---|---|---|".to_owned());
        for part in &self.parts {
            line(format!(
                "| {} | {:.1} | {:.2} | {:.2} | {:.0} | {:.1} | {:.1} | {:.1} | {} |",
                part.name,
                part.seconds,
                part.cores,
                part.busiest_cores,
                part.rss_mib,
                part.p50_ms,
                part.p99_ms,
                part.worst_ms,
                part.asked
            ));
        }
        for one in &self.reconnects {
            line(String::new());
            let guests = one.guests_seconds.map_or(String::new(), |seconds| {
                format!(", all guest plugins after {seconds:.1} s")
            });
            line(format!(
                "{}: {} sessions; the controller answered after {:.1} s, all agents were back after {:.1} s{guests}; at most {} attempts \
                 and {} new sessions in a second.",
                one.name,
                one.sessions,
                one.answers_seconds,
                one.agents_seconds,
                one.most_dialled,
                one.most_opened
            ));
        }
        line(String::new());
        let books = &self.comparison;
        line(format!(
            "Events: {} in the log, {} by the live stream; {} numbered messages of agents, {} lost, {} twice. {} of {} deployments \
             succeeded, in {} attempts; {} images were compared byte by byte. {} figures of progress.",
            books.events,
            self.followed,
            books.numbered,
            books.lost,
            books.doubled,
            self.deployment_states.get("succeeded").copied().unwrap_or(0),
            self.deployments,
            self.attempts,
            self.proved,
            self.progress
        ));
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(fault, count)| format!("{count} {fault}"))
            .collect();
        line(format!("Faults: {}.", faults.join(", ")));
        for (name, found) in [("WRONG", self.wrongs()), ("missed", self.misses())] {
            for one in found {
                line(format!("{name}: {one}"));
            }
        }
        text
    }
}
