//! What is measured while the fleet works: the controller's processor time and memory, by what the kernel tells, the
//! fleet's lines, and how long answers of the API take.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    api::{Api, Site},
    dice::Dice,
    machine::Shared,
};

/// Requests of the API while others work, in all.
const ASK_EVERY: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was seen at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Since the beginning.
    pub at: Duration,
    /// Processor time of the controller, user and kernel, in seconds; of this life of it.
    pub cpu_seconds: f64,
    /// What it has in memory.
    pub rss_kib: u64,
    /// Sessions that are open.
    pub open: i64,
    /// Attempts to open one, so far.
    pub dialled: u64,
    /// Sessions that were greeted, so far.
    pub opened: u64,
}

/// One request to the API.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Since the beginning.
    pub at: Duration,
    /// Which.
    pub what: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Whether there was an answer.
    pub answered: bool,
}

/// Everything that was seen.
#[derive(Debug)]
pub struct Figures {
    /// The beginning.
    pub began: Instant,
    samples: Mutex<Vec<Sample>>,
    asked: Mutex<Vec<Asked>>,
    pid: Mutex<Option<u32>>,
}

impl Figures {
    /// Nothing was seen yet. `pid`: of the controller, where it is a process of its own.
    #[must_use]
    pub fn of(pid: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            samples: Mutex::default(),
            asked: Mutex::default(),
            pid: Mutex::new(pid),
        })
    }

    /// The controller was started again.
    pub fn another(&self, pid: u32) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    }

    fn look(&self, shared: &Shared) {
        let pid = *self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        let (cpu_seconds, rss_kib) = pid.map(process).unwrap_or_default();
        let sample = Sample {
            at: self.began.elapsed(),
            cpu_seconds,
            rss_kib,
            open: shared.lines.open.load(Relaxed),
            dialled: shared.lines.dialled.load(Relaxed),
            opened: shared.lines.opened.load(Relaxed),
        };
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sample);
    }

    /// What was seen between two moments.
    #[must_use]
    pub fn samples(&self, from: Duration, to: Duration) -> Vec<Sample> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples
            .iter()
            .filter(|sample| (from..=to).contains(&sample.at))
            .copied()
            .collect()
    }

    /// The requests between two moments.
    #[must_use]
    pub fn asked(&self, from: Duration, to: Duration) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .iter()
            .filter(|asked| (from..=to).contains(&asked.at))
            .copied()
            .collect()
    }
}

/// Looks once a second until told to stop.
pub async fn look(figures: Arc<Figures>, shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => figures.look(&shared),
        }
    }
}

/// Seconds of all cores, and KiB in memory.
fn process(pid: u32) -> (f64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |place: usize| {
        fields
            .get(place)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or_default()
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    // USER_HZ is 100 on every architecture that Linux runs servers on.
    ((ticks(11) + ticks(12)) / 100.0, rss)
}

/// Asks the API again and again, on a thread and connections of its own, so that what is measured is the controller and
/// not the fleet beside it.
///
/// # Errors
/// When the thread cannot be started.
pub fn ask(
    site: Site,
    nodes: Vec<String>,
    figures: Arc<Figures>,
    seed: u64,
    stop: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("asker".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let (Ok(runtime), Ok(api)) = (runtime, Api::of(&site)) else {
                return;
            };
            runtime.block_on(asking(&api, &nodes, &figures, seed, &stop));
        })
}

async fn asking(api: &Api, nodes: &[String], figures: &Figures, seed: u64, stop: &CancellationToken) {
    let mut dice = Dice::of(seed, 0, 5);
    let mut tick = tokio::time::interval(ASK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut page = String::new();
    loop {
        for what in ["list nodes", "get a node", "list events"] {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let path = match what {
                "list nodes" => format!("/v1/nodes?page_size=100&page_token={page}"),
                "get a node" if nodes.is_empty() => continue,
                "get a node" => format!("/v1/nodes/{}", dice.pick(nodes)),
                _ => "/v1/events?order=desc&page_size=100".to_owned(),
            };
            let (at, begun) = (figures.began.elapsed(), Instant::now());
            let answer: anyhow::Result<Value> = api.get(&path).await;
            let asked = Asked {
                at,
                what,
                took: begun.elapsed(),
                answered: answer.is_ok(),
            };
            if let (Ok(answer), "list nodes") = (&answer, what) {
                page = answer["next_page_token"].as_str().unwrap_or_default().to_owned();
            }
            figures
                .asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(asked);
        }
    }
}

/// A part of a run in figures.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Part {
    /// What happened in it.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Cores that the controller kept busy, on average.
    pub cores: f64,
    /// The same in the busiest 10 seconds.
    pub busiest_cores: f64,
    /// The most that the controller had in memory, in MiB.
    pub rss_mib: f64,
    /// Requests of the API.
    pub asked: usize,
    /// Requests without an answer.
    pub unanswered: usize,
    /// Half of the answers took less than this.
    pub p50_ms: f64,
    /// 99 of 100 answers took less than this.
    pub p99_ms: f64,
    /// No answer took more than this.
    pub worst_ms: f64,
    /// For each kind of request, what 99 of 100 answers took less than, in ms.
    pub p99_of: std::collections::BTreeMap<String, f64>,
}

impl Part {
    /// Of what was seen between two moments.
    #[must_use]
    pub fn of(name: &str, figures: &Figures, from: Duration, to: Duration) -> Self {
        let samples = figures.samples(from, to);
        let spent = |one: &Sample, other: &Sample| {
            let seconds = (other.at - one.at).as_secs_f64();
            ((other.cpu_seconds - one.cpu_seconds) / seconds.max(0.001)).max(0.0)
        };
        let busiest = samples.windows(11).map(|window| spent(&window[0], &window[10]));
        let asked = figures.asked(from, to);
        let answered = |what: Option<&str>| -> Vec<f64> {
            let wanted = asked
                .iter()
                .filter(|asked| asked.answered && what.is_none_or(|what| asked.what == what));
            wanted.map(|asked| asked.took.as_secs_f64() * 1000.0).collect()
        };
        let mut all = answered(None);
        let mean = samples
            .first()
            .zip(samples.last())
            .map_or(0.0, |(one, other)| spent(one, other));
        Self {
            name: name.to_owned(),
            seconds: (to - from).as_secs_f64(),
            cores: mean,
            busiest_cores: busiest.fold(mean, f64::max),
            rss_mib: samples.iter().map(|sample| sample.rss_kib).max().unwrap_or(0) as f64 / 1024.0,
            asked: asked.len(),
            unanswered: asked.iter().filter(|asked| !asked.answered).count(),
            p50_ms: percentile(&mut all, 50.0),
            p99_ms: percentile(&mut all, 99.0),
            worst_ms: percentile(&mut all, 100.0),
            p99_of: ["list nodes", "get a node", "list events"]
                .into_iter()
                .map(|what| (what.to_owned(), percentile(&mut answered(Some(what)), 99.0)))
                .collect(),
        }
    }
}

/// The smallest value that so many percent of all are not above; 0 of none.
fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * percent / 100.0).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 50.0), 100.0);
        assert_eq!(percentile(&mut values, 99.0), 198.0);
        assert_eq!(percentile(&mut values, 100.0), 200.0);
        assert_eq!(percentile(&mut [], 99.0), 0.0);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(process(std::process::id()).1 > 1000);
    }
}
