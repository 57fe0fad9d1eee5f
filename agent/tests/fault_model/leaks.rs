//! What a write leaves behind in the process: nothing.

use std::{
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use imprint_agent::target::{
    Operation,
    faulty::{DiskFault, Rule},
};
use tokio::runtime::Runtime;

use crate::{
    case::{Case, EIO},
    image::MIB,
    judge::judge,
    run::run,
};

static ALONE: Mutex<()> = Mutex::new(());

/// Threads are counted in the whole process, so only one test at a time may have some.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime for one case.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Threads that belong to a write, by their names.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        // A thread may end meanwhile.
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| {
            let own = ["write", "zero", "ring", "read-back", "sha256"];
            own.contains(&name.as_str()) || name.starts_with("decode") || name.starts_with("look-")
        })
        .collect()
}

/// All threads of writes leave soon: they have left the disk before, and only have to end.
pub fn no_thread_is_left() -> Result<()> {
    let begun = Instant::now();
    loop {
        let left = threads();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(10),
            "threads are left: {left:?}"
        );
        std::thread::yield_now();
    }
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn failures_leave_no_thread_and_no_memory() {
    let _alone = alone();
    let mut case = Case::sound();
    case.disk_faults = vec![Rule {
        operation: Operation::Write,
        place: 5 << 20,
        skip: 0,
        times: u32::MAX,
        fault: DiskFault::Errno(EIO),
    }];
    let case = Arc::new(case);
    let fail = || {
        let runtime = runtime();
        let ended = runtime.block_on(run(&case)).unwrap();
        judge(&case, &ended).unwrap();
        assert!(ended.result.is_err());
        drop(runtime);
        no_thread_is_left().unwrap();
    };
    (0..5).for_each(|_| fail());
    let before = resident_bytes();
    (0..15).for_each(|_| fail());
    let grown = resident_bytes().saturating_sub(before);
    // The buffers of one write are more than 10 MiB.
    assert!(grown < 60 * MIB, "{grown} bytes are left of 15 writes");
}
