//! The goals of the data path, and how far they are met in this session.

use super::contender::Group;
use super::floor::Floor;
use super::report::{Row, Section};

/// What the image is.
#[derive(Debug)]
pub struct Facts {
    /// Bytes in chunks that are not all zero.
    pub data_bytes: u64,
    /// Bytes of the artifact's frames.
    pub fetch_bytes: u64,
    /// The single zstd frame of the same level.
    pub zst_bytes: Option<u64>,
}

/// How much faster than whom.
const FASTER: &[(&str, f64)] = &[
    ("qemu-img", 4.0),
    ("bmaptool", 7.0),
    ("coreos-installer", 8.0),
    ("ironic", 8.0),
];

/// One goal.
struct Goal {
    what: String,
    bound: String,
    got: String,
    met: bool,
}

impl Goal {
    fn at_most(what: impl Into<String>, bound: f64, got: f64) -> Self {
        Self {
            what: what.into(),
            bound: format!("<= {bound}"),
            got: format!("{got:.2}"),
            met: got <= bound,
        }
    }

    fn at_least(what: impl Into<String>, bound: f64, got: f64) -> Self {
        Self {
            what: what.into(),
            bound: format!(">= {bound}"),
            got: format!("{got:.2}"),
            met: got >= bound,
        }
    }
}

/// Goals about rows that were measured.
pub fn section(rows: &[Row<'_>], floor: Option<Floor>, facts: &Facts) -> Section {
    let row = |name: &str| rows.iter().find(|row| row.contender.name == name);
    let wall = |name: &str| row(name).and_then(Row::wall);
    let gigabytes = facts.data_bytes as f64 / 1e9;
    let mut goals = Vec::new();
    if let Some(ours) = wall("artifact") {
        if let Some(floor) = floor {
            goals.push(Goal::at_most(
                "artifact: wall / slowest part",
                1.35,
                ours / floor.slowest().0,
            ));
            goals.push(Goal::at_most(
                "artifact: wall / what this machine allows",
                1.35,
                ours / floor.reachable(),
            ));
        }
        for (peer, bound) in FASTER {
            if let Some(theirs) = wall(peer) {
                goals.push(Goal::at_least(
                    format!("{peer}: wall / artifact's"),
                    *bound,
                    theirs / ours,
                ));
            }
        }
    }
    if let Some((ours, theirs)) = wall("zst").zip(wall("zstd-dc")) {
        goals.push(Goal::at_most(
            "foreign .zst: wall / zstd -dc to nowhere",
            1.15,
            ours / theirs,
        ));
    }
    for name in ["artifact", "artifact-tls"] {
        if let Some(cpu) = row(name).and_then(|row| row.median(|done| done.measured.cpu.total())) {
            goals.push(Goal::at_most(
                format!("{name}: CPU seconds for a GB of data"),
                if name == "artifact" { 1.2 } else { f64::INFINITY },
                cpu / gigabytes,
            ));
        }
    }
    let worst = |figure: fn(&super::session::Done) -> f64| {
        rows.iter()
            .filter(|row| row.contender.group == Group::Ours)
            .filter_map(|row| row.median(figure))
            .max_by(f64::total_cmp)
    };
    if let Some(mib) = worst(|done| done.measured.memory_kib as f64 / 1024.0) {
        goals.push(Goal::at_most("ours: RSS in MiB, the worst", 96.0, mib));
    }
    if let Some(mib) = worst(|done| done.measured.dirty_kib as f64 / 1024.0) {
        goals.push(Goal::at_most(
            "ours: dirty page cache in MiB, the worst",
            16.0,
            mib,
        ));
    }
    if let Some(at) =
        row("artifact").and_then(|row| row.median(|done| done.measured.data_ms.unwrap_or(f64::INFINITY)))
    {
        goals.push(Goal::at_most(
            "artifact: image data on the disk after ms",
            100.0,
            at,
        ));
    }
    if let Some(zst) = facts.zst_bytes {
        let ratio = facts.fetch_bytes as f64 / zst as f64;
        goals.push(Goal::at_most("artifact's bytes / one zstd frame's", 1.03, ratio));
    }
    Section {
        title: "Goals".to_owned(),
        head: vec!["goal", "bound", "measured", "met"],
        rows: goals
            .into_iter()
            .map(|goal| {
                let open = goal.bound.ends_with("inf");
                let bound = if open { "-".to_owned() } else { goal.bound };
                let met = match (open, goal.met) {
                    (true, _) => "-",
                    (false, true) => "yes",
                    (false, false) => "NO",
                };
                vec![goal.what, bound, goal.got, met.to_owned()]
            })
            .collect(),
        notes: Vec::new(),
    }
}
