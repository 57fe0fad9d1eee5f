//! Memory that the agent takes, whatever the size of the disk.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{disk, number};
use crate::bench::arguments::Write;
use crate::bench::forms::Form;
use crate::bench::lab::Lab;
use crate::bench::measure::{self, End, Surroundings};
use crate::bench::report::Section;
use crate::bench::session::Done;
use crate::bench::target::{self, Content};
use crate::tool;

const WIDE_BYTES: u64 = 200 << 30;
const DATA_BYTES: u64 = 1 << 30;

pub(super) fn run(lab: &Lab, _options: &Write) -> Result<Section> {
    let mut rows = Vec::new();
    for (name, url, tls) in [
        (
            "this image, HTTP",
            lab.server.url(&lab.forms.manifest_path()),
            false,
        ),
        (
            "this image, HTTPS",
            lab.server.tls_url(&lab.forms.manifest_path()),
            true,
        ),
    ] {
        lab.renew()?;
        lab.warm(Form::Artifact)?;
        let mut agent = lab.agent(&url);
        if tls {
            agent.arg("--ca").arg(lab.server.ca());
        }
        let measured = lab.measure(agent)?;
        let content = (measured.end == End::Success)
            .then(|| lab.compare())
            .transpose()?;
        rows.push(cells(name, &Done { measured, content }));
    }
    for (name, tls) in [("200 GiB, sparse, HTTP", false), ("200 GiB, sparse, HTTPS", true)] {
        rows.push(cells(name, &wide(lab, tls)?));
    }
    Ok(Section {
        title: "memory: peak RSS of the agent".to_owned(),
        head: vec!["image", "RSS MiB", "dirty MiB", "wall s", "disk"],
        rows,
        notes: vec![
            "The image of 200 GiB has 1 GiB of data spread over all of it, and is written into a sparse file: a loop \
             device would need all its room on the disk below."
                .to_owned(),
        ],
    })
}

/// A write of an image whose disk is larger than this machine's.
fn wide(lab: &Lab, tls: bool) -> Result<Done> {
    let folder = lab.forms.folder();
    let raw = folder.join("wide.raw");
    let facts = folder.join("wide.json");
    if !facts.exists() {
        let mut spread = lab.tools.yardstick("spread");
        spread
            .arg(&lab.workload.raw)
            .arg(&raw)
            .arg(WIDE_BYTES.to_string());
        spread.args(["--data", &DATA_BYTES.to_string()]);
        tool::run(&mut spread)?;
        let mut publish = lab.tools.yardstick("publish");
        publish.arg(&raw).arg(folder.join("store"));
        let text = tool::output(&mut publish)?;
        std::fs::write(&facts, text).context("cannot keep the artifact's facts")?;
    }
    let text = std::fs::read_to_string(&facts).context("cannot read the artifact's facts")?;
    let known: Value = serde_json::from_str(&text).context("the artifact's facts are damaged")?;
    let digest = known["image_digest"]
        .as_str()
        .context("the artifact has no digest")?;
    let path = format!("store/manifests/{digest}");
    let file = lab.work.join("wide");
    if file.exists() {
        std::fs::remove_file(&file).context("cannot clear the target")?;
    }
    let mut agent = std::process::Command::new(&lab.tools.agent);
    agent.args([
        "write",
        "--json",
        "--pubkey",
        lab.forms.public_key(),
        "--manifest",
    ]);
    if tls {
        agent
            .arg(lab.server.tls_url(&path))
            .arg("--ca")
            .arg(lab.server.ca());
    } else {
        agent.arg(lab.server.url(&path));
    }
    agent.arg("--target").arg(&file);
    let around = Surroundings {
        target: None,
        server: Some(&lab.server),
        work: &lab.work,
        limit: lab.limit,
    };
    let measured = measure::run(agent, &around)?;
    let content: Option<Content> = (measured.end == End::Success)
        .then(|| target::compare_files(&lab.tools, &raw, &file))
        .transpose()?;
    std::fs::remove_file(&file).context("cannot clear the target")?;
    Ok(Done { measured, content })
}

fn cells(name: &str, done: &Done) -> Vec<String> {
    vec![
        name.to_owned(),
        number(Some(done.measured.memory_kib as f64 / 1024.0), 0),
        number(Some(done.measured.dirty_kib as f64 / 1024.0), 0),
        number(Some(done.measured.wall), 2),
        disk(done),
    ]
}
