//! What is fetched for a disk that holds the image already, or an older one.

use anyhow::{Result, bail, ensure};

use super::update::{self, Update};
use super::{disk, mib, number};
use crate::bench::arguments::Write;
use crate::bench::forms::Form;
use crate::bench::lab::Lab;
use crate::bench::measure::End;
use crate::bench::network::Network;
use crate::bench::report::{Section, median};
use crate::bench::server::Server;
use crate::bench::session::Done;

/// A network this many times slower than the disk.
const SLOWER: f64 = 4.0;

pub(super) fn run(lab: &Lab, options: &Write) -> Result<Section> {
    if !lab.tools.agent_knows("--delta")? {
        bail!("this agent's write has no --delta");
    }
    let update = update::prepare(lab)?;
    let rate = slow_rate(lab)?;
    let slow = lab.slow_server(rate)?;
    let mut rows = Vec::new();
    for (scenario, newer) in [("the same image", false), ("an image updated in place", true)] {
        for (network, limited) in [("loopback", None), ("limited", Some(&slow))] {
            for mode in ["off", "auto"] {
                rows.push(row(
                    lab, options, &update, newer, scenario, network, limited, mode,
                )?);
            }
        }
    }
    Ok(Section {
        title: "delta: onto a disk that holds the older image".to_owned(),
        head: vec![
            "written",
            "network",
            "--delta",
            "wall s",
            "wire MiB",
            "% of all",
            "x changed chunks",
            "disk",
        ],
        rows,
        notes: vec![format!(
            "The limited network passes {:.0} MB/s, a quarter of what the disk takes, in bytes of image data. The update \
             changes {:.1} MiB of the artifact's {:.1} MiB.",
            rate as f64 / 1e6,
            mib(update.changed_bytes),
            mib(update.fetch_bytes)
        )],
    })
}

#[expect(clippy::too_many_arguments, reason = "one for each column of the table")]
fn row(
    lab: &Lab,
    options: &Write,
    update: &Update,
    newer: bool,
    scenario: &str,
    network: &str,
    limited: Option<&(Network, Server)>,
    mode: &str,
) -> Result<Vec<String>> {
    let mut runs = Vec::new();
    for _ in 0..options.runs() {
        runs.push(one(lab, update, newer, limited, mode)?);
    }
    let wall: Vec<f64> = runs.iter().map(|done| done.measured.wall).collect();
    let wire: Vec<f64> = runs.iter().map(|done| done.measured.wire_bytes as f64).collect();
    let wire = median(&wire);
    let whole = if newer {
        update.fetch_bytes
    } else {
        lab.forms.fetch_bytes()
    };
    let of_changed = wire
        .filter(|_| newer)
        .map(|wire| wire / update.changed_bytes as f64);
    let mut ends: Vec<String> = runs.iter().map(disk).collect();
    ends.dedup();
    Ok(vec![
        scenario.to_owned(),
        network.to_owned(),
        mode.to_owned(),
        number(median(&wall), 2),
        number(wire.map(|wire| wire / f64::from(1 << 20)), 1),
        number(wire.map(|wire| wire / whole as f64 * 100.0), 1),
        number(of_changed, 2),
        ends.join("; "),
    ])
}

fn one(
    lab: &Lab,
    update: &Update,
    newer: bool,
    limited: Option<&(Network, Server)>,
    mode: &str,
) -> Result<Done> {
    lab.renew()?;
    let before = lab.measure(lab.agent_from(&lab.server))?;
    ensure!(
        before.end == End::Success,
        "the older image cannot be written: {:?}",
        before.end
    );
    lab.warm(Form::Artifact)?;
    let path = if newer {
        update.path.clone()
    } else {
        lab.forms.manifest_path()
    };
    let server = limited.map_or(&lab.server, |(_, server)| server);
    let mut agent = lab.agent(&server.url(&path));
    agent.args(["--delta", mode]);
    let agent = match limited {
        Some((network, _)) => network.wrap(&agent),
        None => agent,
    };
    let measured = lab.measure_with(agent, server)?;
    let raw = if newer { &update.raw } else { &lab.workload.raw };
    let content = match measured.end {
        End::Success => Some(lab.target.compare(&lab.tools, raw)?),
        _ => None,
    };
    Ok(Done { measured, content })
}

/// Bytes a second of the artifact that take four times as long as the disk needs for the data.
pub(super) fn slow_rate(lab: &Lab) -> Result<u64> {
    lab.renew()?;
    let mut write = lab.tools.yardstick("write-same");
    write.arg(lab.forms.manifest()).arg(lab.target.device());
    let measured = lab.measure(write)?;
    let seconds = measured.said.as_ref().and_then(|said| said["seconds"].as_f64());
    let Some(seconds) = seconds else {
        bail!("the disk cannot be measured: {:?}", measured.end)
    };
    Ok((lab.forms.fetch_bytes() as f64 / (SLOWER * seconds)) as u64)
}
