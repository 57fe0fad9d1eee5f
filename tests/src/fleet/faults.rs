//! What goes wrong with which node: decided by the seed before the fleet is switched on.

use std::{fmt, time::Duration};

use super::dice::Dice;

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    None,
    /// Its disk takes four times as long, and its line delays every piece of data.
    Slow,
    /// Its line carries nothing for a while, in the middle of the work: neither end is told.
    Vanish,
    /// It loses its power in the middle of the work, and boots again.
    Reboot,
    /// Its agent is killed in the middle of the work, and started again by its service manager.
    AgentKilled,
    /// It says that it is another node: the same SMBIOS UUID, with NICs and a serial number of its own.
    Twin,
    /// Its agent says that it is of an older version.
    OldVersion,
}

/// All that can be wrong.
pub const ALL: [Fault; 6] = [
    Fault::Slow,
    Fault::Vanish,
    Fault::Reboot,
    Fault::AgentKilled,
    Fault::Twin,
    Fault::OldVersion,
];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Slow => "slow",
            Self::Vanish => "vanish",
            Self::Reboot => "reboot",
            Self::AgentKilled => "agent killed",
            Self::Twin => "twin",
            Self::OldVersion => "old version",
        })
    }
}

/// How much goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Misfortune {
    /// Nodes of a thousand that have one fault or another.
    pub per_mille: u32,
    /// How long a line that vanishes is gone.
    pub away: (Duration, Duration),
}

impl Default for Misfortune {
    fn default() -> Self {
        Self {
            per_mille: 60,
            away: (Duration::from_secs(20), Duration::from_secs(120)),
        }
    }
}

/// The plan of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What is wrong.
    pub fault: Fault,
    /// At which part of the write it happens, in percent.
    pub at_percent: u8,
    /// How long it is away, if that is its fault.
    pub away: Duration,
}

/// The plans of all nodes. Every fault comes at least once where there are nodes enough; a twin is never the twin of a
/// twin, and the first node has no fault, so that there is always one to be mistaken for.
#[must_use]
pub fn plans(seed: u64, nodes: u32, misfortune: &Misfortune) -> Vec<Plan> {
    let plan = |node: u32| {
        let mut dice = Dice::of(seed, node, 1);
        let struck = dice.below(1000) < u64::from(misfortune.per_mille);
        let fault = match struck && node > 0 {
            true => *dice.pick(&ALL),
            false => Fault::None,
        };
        let at_percent = 20 + u8::try_from(dice.below(60)).unwrap_or(0);
        let away = dice.between(misfortune.away.0, misfortune.away.1);
        Plan {
            fault,
            at_percent,
            away,
        }
    };
    let mut plans: Vec<Plan> = (0..nodes).map(plan).collect();
    if misfortune.per_mille > 0 && plans.len() > 2 * ALL.len() {
        for (place, fault) in (1..).zip(ALL) {
            if !plans.iter().any(|plan| plan.fault == fault) {
                plans[place].fault = fault;
            }
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_comes_and_the_seed_decides() {
        let all = |seed| plans(seed, 30, &Misfortune::default());
        let mut come = Vec::new();
        for seed in 0..50 {
            let made = all(seed);
            assert_eq!(made, all(seed));
            assert_eq!(made[0].fault, Fault::None);
            come.extend(made.into_iter().map(|plan| plan.fault));
        }
        // Thirty nodes are too few for each seed to have them all.
        for fault in ALL {
            assert!(come.contains(&fault), "{fault}");
        }
        let none = Misfortune {
            per_mille: 0,
            ..Misfortune::default()
        };
        assert!(plans(1, 30, &none).iter().all(|plan| plan.fault == Fault::None));
    }
}
