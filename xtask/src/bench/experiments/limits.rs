//! Whatever limits is to be kept busy: with fewer cores, with a slow network, with a slow disk.

use std::process::Command;

use anyhow::{Result, ensure};

use super::disk_limit::DiskLimit;
use super::{delta, disk, number};
use crate::bench::arguments::Write;
use crate::bench::contender;
use crate::bench::forms::Form;
use crate::bench::lab::Lab;
use crate::bench::measure::{End, Measured};
use crate::bench::network::Network;
use crate::bench::report::{Section, median};
use crate::bench::server::Server;
use crate::bench::session::Done;

/// How much slower the limited part is.
const SLOWER: f64 = 4.0;

pub(super) fn run(lab: &Lab, options: &Write) -> Result<Section> {
    let plain = lab.agent_from(&lab.server);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get) as f64;
    let mut rows = Vec::new();
    let (free, wall) = row(
        lab,
        options,
        "nothing",
        "processors",
        &lab.server,
        &|| Ok(copy(&plain)),
        &|seen| (seen.cpu.total() + seen.server_cpu.total()) / (seen.wall * cores),
    )?;
    rows.push(free);
    let one = || {
        let mut pinned = Command::new("taskset");
        pinned
            .args(["-c", "0"])
            .arg(plain.get_program())
            .args(plain.get_args());
        Ok(pinned)
    };
    let (row_one, _) = row(
        lab,
        options,
        "one core",
        "processor",
        &lab.server,
        &one,
        &|seen| seen.cpu.total() / seen.wall,
    )?;
    rows.push(row_one);

    let rate = delta::slow_rate(lab)?;
    let (network, server) = lab.slow_server(rate)?;
    let slow = || Ok(network.wrap(&lab.agent_from(&server)));
    let alone = transfer_alone(lab, &network, &server)?;
    let name = format!("network at {:.0} MB/s", rate as f64 / 1e6);
    let (row_network, _) = row(lab, options, &name, "network", &server, &slow, &|seen| {
        alone * seen.wire_bytes as f64 / lab.forms.fetch_bytes() as f64 / seen.wall
    })?;
    rows.push(row_network);

    let disk_rate = (lab.forms.data_bytes() as f64 / (SLOWER * wall)) as u64;
    let limit = DiskLimit::new(&lab.target.number()?, disk_rate)?;
    let seconds_a_byte = write_alone(lab, &limit)?;
    let name = format!("disk at {:.0} MB/s", disk_rate as f64 / 1e6);
    let (row_disk, _) = row(
        lab,
        options,
        &name,
        "disk",
        &lab.server,
        &|| Ok(limit.wrap(&plain)),
        &|seen| seconds_a_byte * seen.device_bytes as f64 / seen.wall,
    )?;
    rows.push(row_disk);
    Ok(Section {
        title: "limits: how busy the limiting part is kept".to_owned(),
        head: vec!["limited", "limiting part", "wall s", "busy", "CPU s", "disk"],
        rows,
        notes: vec![
            "Busy: the share of the wall time that the limiting part needs by itself: curl for the same bytes through \
             the same network, a raw write to the same disk. Without a limit that is the \
             processor time of agent and server over all cores; the kernel's own work for the disk is not in it. Zeroing \
             counts for a limited disk like writing."
                .to_owned(),
        ],
    })
}

/// Seconds that curl needs for the artifact's packs.
fn transfer_alone(lab: &Lab, network: &Network, server: &Server) -> Result<f64> {
    lab.warm(Form::Artifact)?;
    let fetch = network.wrap(&contender::fetch(lab, server)?);
    let measured = lab.measure_with(fetch, server)?;
    ensure!(measured.end == End::Success, "curl fails: {:?}", measured.end);
    Ok(measured.wall)
}

/// Seconds for each byte of a raw write.
fn write_alone(lab: &Lab, limit: &DiskLimit) -> Result<f64> {
    let measured = lab.measure(limit.wrap(&contender::floor_disk(lab)?))?;
    ensure!(
        measured.end == End::Success,
        "the raw write fails: {:?}",
        measured.end
    );
    Ok(measured.wall / measured.device_bytes as f64)
}

fn copy(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    copy
}

/// A row and its median wall time.
fn row(
    lab: &Lab,
    options: &Write,
    limited: &str,
    part: &str,
    server: &Server,
    command: &dyn Fn() -> Result<Command>,
    busy: &dyn Fn(&Measured) -> f64,
) -> Result<(Vec<String>, f64)> {
    let mut runs = Vec::new();
    for _ in 0..options.runs() {
        lab.renew()?;
        lab.warm(Form::Artifact)?;
        let measured = lab.measure_with(command()?, server)?;
        let content = (measured.end == End::Success)
            .then(|| lab.compare())
            .transpose()?;
        runs.push(Done { measured, content });
    }
    let of = |figure: &dyn Fn(&Measured) -> f64| {
        median(&runs.iter().map(|done| figure(&done.measured)).collect::<Vec<_>>())
    };
    let wall = of(&|seen| seen.wall);
    let mut ends: Vec<String> = runs.iter().map(disk).collect();
    ends.dedup();
    let cells = vec![
        limited.to_owned(),
        part.to_owned(),
        number(wall, 2),
        number(of(busy), 2),
        number(of(&|seen| seen.cpu.total()), 2),
        ends.join("; "),
    ];
    Ok((cells, wall.unwrap_or_default()))
}
