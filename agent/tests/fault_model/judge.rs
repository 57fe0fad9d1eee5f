//! What must hold however a write ended, and how it must have ended.

use anyhow::{Context, Result, bail, ensure};
use imprint_agent::{
    stream::{FailureKind, WriteFailure},
    target::{
        END_BYTES, Operation,
        faulty::{Asked, DiskFault, Rule},
    },
};

use crate::{
    case::{Case, EAGAIN, EINTR, LONG_STALL, What},
    image::MIB,
    run::Ended,
    server::{Fault, Met},
};

/// What a fault allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The write goes on.
    Passes,
    /// Both ends are right.
    Either,
    /// The write can't succeed.
    Ends,
}

pub fn judge(case: &Case, ended: &Ended) -> Result<()> {
    match &ended.result {
        Ok(()) => succeeded(case, ended),
        Err(failure) => failed(case, ended, failure),
    }
    .with_context(|| {
        format!(
            "{:?}\nasked {:?}\nfired {:?}\nmet {:?}\nnotes {:?}",
            ended.result, ended.asked, ended.all_fired, ended.met, ended.notes
        )
    })?;
    match (expected(case, ended), &ended.result) {
        (Verdict::Passes, Err(failure)) => bail!(
            "only passing faults, but it failed: {failure}\nfired {:?}\nmet {:?}\nnotes {:?}",
            ended.fired,
            ended.met,
            ended.notes
        ),
        (Verdict::Ends, Ok(())) => bail!(
            "it succeeded in spite of a lasting fault\nfired {:?}\nmet {:?}",
            ended.fired,
            ended.met
        ),
        _ => Ok(()),
    }
}

/// Every byte is right, the head was written last and between two flushes, and the last thing was a flush.
fn succeeded(case: &Case, ended: &Ended) -> Result<()> {
    let Ended {
        image, before, after, ..
    } = ended;
    let mut expected = before.clone();
    let tail = expected.len() - MIB.min(expected.len());
    expected[tail..].fill(0);
    // A short image leaves the rest of the head as it was cleared.
    expected[..MIB.min(before.len())].fill(0);
    expected[..image.len()].copy_from_slice(image);
    // What lies behind the image in its last sector is nobody's.
    let padded = image.len().next_multiple_of(512);
    expected[image.len()..padded].fill(0);
    let mut got = after.clone();
    let reads_all = case.read_back && case.what == What::Artifact;
    for rule in &ended.all_fired {
        // A disk that lies is found by reading back; holes are not read back.
        let place = usize::try_from(rule.place)?;
        let hole = expected[place / MIB * MIB..]
            .iter()
            .take(MIB)
            .all(|&byte| byte == 0);
        if rule.fault == DiskFault::Flip && rule.operation != Operation::Read && (!reads_all || hole) {
            got[place] = expected[place];
        }
    }
    same(&got, &expected)?;

    let head = END_BYTES.min(after.len() as u64);
    let (last, earlier) = ended.asked.split_last().context("nothing was asked")?;
    ensure!(*last == Asked::Flush, "the last thing was no flush");
    let is_head = |asked: &Asked| matches!(asked, Asked::Write(range) if range.start < head);
    let body = earlier.iter().rposition(|asked| !is_head(asked));
    if body.is_none_or(|body| body + 1 == earlier.len()) {
        let is_hole = image[..MIB.min(image.len())].iter().all(|&byte| byte == 0);
        ensure!(is_hole, "the head was not the last thing written");
    } else {
        let flushed = body.is_some_and(|body| earlier[body] == Asked::Flush);
        ensure!(flushed, "the head was written without a flush before it");
    }
    let body = &earlier[..body.map_or(0, |body| body + 1)];
    ensure!(!body.iter().any(is_head), "the head was written too early");
    Ok(())
}

/// Nothing boots, and an operator learns why.
fn failed(case: &Case, ended: &Ended, failure: &WriteFailure) -> Result<()> {
    ensure!(
        !failure.cause.is_empty() && !failure.remedy.is_empty(),
        "no cause or no remedy"
    );
    ensure!(failure.kind != FailureKind::Internal, "the agent blames itself");
    if !failure.touched {
        ensure!(ended.asked.is_empty(), "it says that it did not touch the disk");
        ensure!(!failure.head_cleared, "it cleared what it did not touch");
        if ended.asked_before == 0 {
            ensure!(ended.after == ended.before, "the disk has changed");
        }
        return Ok(());
    }
    let head = &ended.after[..MIB.min(ended.after.len())];
    if failure.head_cleared {
        ensure!(head.iter().all(|&byte| byte == 0), "the head is not clear");
        let touches = |range: &std::ops::Range<u64>| range.start < head.len() as u64;
        let zeroed = ended
            .asked
            .iter()
            .position(|asked| matches!(asked, Asked::Zero(range) if touches(range)));
        let written = ended
            .asked
            .iter()
            .rposition(|asked| matches!(asked, Asked::Write(range) if touches(range)));
        let since = zeroed.max(written).context("the head was not cleared")?;
        ensure!(
            ended.asked[since..].contains(&Asked::Flush),
            "the head was cleared without a flush"
        );
    } else {
        let hinders = |rule: &Rule| {
            matches!(rule.operation, Operation::Zero | Operation::Flush)
                && matches!(rule.fault, DiskFault::Errno(_) | DiskFault::Stall(_))
        };
        ensure!(
            ended.fired.iter().any(hinders),
            "nothing hindered it to clear the head"
        );
    }
    if case.what == What::Artifact {
        innocent(ended)?;
    }
    Ok(())
}

/// No byte that was not proven has reached the disk: each sector is right, or zero, or as it was.
fn innocent(ended: &Ended) -> Result<()> {
    let Ended {
        image, before, after, ..
    } = ended;
    for at in (0..after.len()).step_by(512) {
        let end = (at + 512).min(after.len());
        let sector = &after[at..end];
        let turned = |rule: &Rule| (at..end).contains(&usize::try_from(rule.place).unwrap());
        let is_innocent = image.get(at..end) == Some(sector)
            || before[at..end] == *sector
            || sector.iter().all(|&byte| byte == 0)
            || ended.all_fired.iter().any(turned);
        ensure!(is_innocent, "the sector at {at} holds what nobody proved");
    }
    Ok(())
}

fn same(got: &[u8], expected: &[u8]) -> Result<()> {
    ensure!(got.len() == expected.len(), "the disk has another size");
    let wrong = (0..got.len()).step_by(512).filter(|&at| {
        let end = (at + 512).min(got.len());
        got[at..end] != expected[at..end]
    });
    let wrong: Vec<_> = wrong.take(8).collect();
    ensure!(
        wrong.is_empty(),
        "it succeeded, and these sectors are wrong: {wrong:?}"
    );
    Ok(())
}

/// What all faults that were met allow together.
fn expected(case: &Case, ended: &Ended) -> Verdict {
    let disk = ended.fired.iter().map(|rule| of_disk(case, rule));
    let source = ended.met.iter().map(|met| of_source(case, met));
    let worst = disk.chain(source).max().unwrap_or(Verdict::Passes);
    let flips = ended.met.iter().filter(|met| met.fault == Fault::Flip).count();
    let uncertain = ended.cancelled
        || case.is_impatient()
        || case.endless.is_some()
        || case.damaged.is_some()
        // The same chunk may have come wrong twice.
        || flips > 1;
    if uncertain {
        worst.max(Verdict::Either)
    } else {
        worst
    }
}

fn of_disk(case: &Case, rule: &Rule) -> Verdict {
    match (rule.operation, rule.fault) {
        (_, DiskFault::Stall(LONG_STALL)) => Verdict::Either,
        (_, DiskFault::Stall(_) | DiskFault::Short(_)) => Verdict::Passes,
        (Operation::Write, DiskFault::Errno(EINTR | EAGAIN)) => Verdict::Passes,
        // What can't be read is fetched; but then it can't be compared either.
        (Operation::Read, _) | (_, DiskFault::Flip) if case.read_back => Verdict::Either,
        (Operation::Read, _) | (_, DiskFault::Flip) => Verdict::Passes,
        (_, DiskFault::Errno(_)) => Verdict::Ends,
    }
}

fn of_source(case: &Case, met: &Met) -> Verdict {
    let plain = case.what != What::Artifact;
    if case.second_store {
        return Verdict::Passes;
    }
    if met.endless {
        return Verdict::Ends;
    }
    match met.fault {
        Fault::Status(404 | 403, _) | Fault::Long | Fault::Changed => Verdict::Ends,
        // The first request for a plain image is for all of it: no part of that can be wrong.
        Fault::Whole | Fault::WrongRange | Fault::OtherSize if met.part => Verdict::Ends,
        // A plain image has one digest, and it is known too late. And without a size it can't be gone on with.
        Fault::Flip if plain => Verdict::Ends,
        Fault::Short if plain && !met.part => Verdict::Ends,
        Fault::Chunked if plain => Verdict::Either,
        _ => Verdict::Passes,
    }
}
