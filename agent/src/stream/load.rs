//! From counters at two moments to what limited the write between them. Pure.

use std::time::Duration;

use super::{
    clock::Time,
    figures::{Load, Loads},
    progress::Limit,
};

/// All counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) requests: Time,
    pub(super) held_up: Time,
    /// Workers without a frame.
    pub(super) idle: Time,
    /// Workers that compute.
    pub(super) cpu: Time,
    /// Workers without a buffer.
    pub(super) blocked: Time,
    pub(super) disk: Time,
    pub(super) zeroing: Time,
    pub(super) fetched: u64,
    pub(super) written: u64,
    pub(super) zeroed: u64,
}

/// What limits, by how workers spent their time: the largest part. Workers that wait while nothing is asked for have
/// done all their work, and only the disk is still busy.
pub(super) fn limit(before: &Sample, after: &Sample) -> Option<Limit> {
    let idle = after.idle.since(before.idle).sum;
    let cpu = after.cpu.since(before.cpu).sum;
    let blocked = after.blocked.since(before.blocked).sum;
    let asked = after.requests.since(before.requests).any;
    let disk = after.disk.since(before.disk).any;
    let waits_for = if asked.is_zero() && !disk.is_zero() {
        Limit::Disk
    } else {
        Limit::Network
    };
    let parts = [(idle, waits_for), (cpu, Limit::Cpu), (blocked, Limit::Disk)];
    let most = parts.into_iter().max_by_key(|(time, _)| *time)?;
    (!most.0.is_zero()).then_some(most.1)
}

/// How much each part had to do.
pub(super) fn loads(before: &Sample, after: &Sample) -> Loads {
    let time = after.at.saturating_sub(before.at);
    let load = |busy: Duration, of: Duration, bytes: u64| Load {
        busy_percent: percent(busy, of),
        bytes_per_second: per_second(bytes, time),
    };
    let any = |before: Time, after: Time| after.since(before).any;
    let asked = any(before.requests, after.requests);
    let held_up = any(before.held_up, after.held_up);
    let cpu = after.cpu.since(before.cpu).sum;
    let workers = cpu + after.idle.since(before.idle).sum + after.blocked.since(before.blocked).sum;
    let written = after.written - before.written;
    Loads {
        network: load(
            asked.saturating_sub(held_up),
            time,
            after.fetched - before.fetched,
        ),
        cpu: load(cpu, workers, written),
        disk: load(any(before.disk, after.disk), time, written),
        zeroes: load(
            any(before.zeroing, after.zeroing),
            time,
            after.zeroed - before.zeroed,
        ),
    }
}

fn percent(part: Duration, whole: Duration) -> u8 {
    let percent = (part.as_nanos() * 100).checked_div(whole.as_nanos()).unwrap_or(0);
    u8::try_from(percent.min(100)).expect("at most 100")
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = (u128::from(bytes) * 1000).checked_div(time.as_millis());
    rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: u64) -> Time {
        Time {
            any: Duration::from_secs(seconds),
            sum: Duration::from_secs(seconds),
        }
    }

    fn sample(idle: u64, cpu: u64, blocked: u64, requests: u64) -> Sample {
        Sample {
            idle: time(idle),
            cpu: time(cpu),
            blocked: time(blocked),
            requests: time(requests),
            disk: time(10),
            ..Sample::default()
        }
    }

    #[test]
    fn what_limits_is_where_the_workers_spend_their_time() {
        let before = Sample {
            disk: time(5),
            ..sample(100, 100, 100, 100)
        };
        let table = [
            (sample(190, 150, 120, 110), Some(Limit::Network)),
            // All came, and the rest is up to the disk.
            (sample(190, 150, 120, 100), Some(Limit::Disk)),
            (sample(110, 200, 120, 110), Some(Limit::Cpu)),
            (sample(110, 120, 130, 110), Some(Limit::Disk)),
            (sample(100, 100, 100, 110), None),
        ];
        for (after, expected) in table {
            assert_eq!(limit(&before, &after), expected, "{after:?}");
        }
    }

    #[test]
    fn shares_and_rates_are_those_of_the_time_between() {
        let before = Sample {
            at: Duration::from_secs(10),
            fetched: 1000,
            ..Sample::default()
        };
        let after = Sample {
            at: Duration::from_secs(14),
            requests: time(4),
            held_up: time(1),
            idle: time(3),
            cpu: time(1),
            blocked: time(1),
            disk: time(4),
            zeroing: time(2),
            fetched: 9000,
            written: 20_000,
            zeroed: 400,
        };
        let loads = loads(&before, &after);
        let load = |busy_percent, bytes_per_second| Load {
            busy_percent,
            bytes_per_second,
        };
        assert_eq!(loads.network, load(75, 2000));
        assert_eq!(loads.cpu, load(20, 5000));
        assert_eq!(loads.disk, load(100, 5000));
        assert_eq!(loads.zeroes, load(50, 100));
        assert_eq!(super::loads(&after, &after), Loads::default());
    }
}
