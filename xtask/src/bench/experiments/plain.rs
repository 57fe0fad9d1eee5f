//! Questions that rows of the table answer when they are looked at more closely.

use anyhow::{Context, Result};

use super::{mib, number};
use crate::bench::arguments::Write;
use crate::bench::contender::{self, Contender};
use crate::bench::forms::{Form, Forms};
use crate::bench::lab::Lab;
use crate::bench::report::{Row, Section};
use crate::bench::session::{self, Run};

fn rounds(lab: &Lab, options: &Write, names: &[&str]) -> Result<Vec<Run>> {
    let all = contender::all();
    let chosen: Vec<Contender> = names
        .iter()
        .map(|name| {
            let found = all.iter().find(|contender| contender.name == *name);
            found.copied().with_context(|| format!("no contender {name}"))
        })
        .collect::<Result<_>>()?;
    let forms: Vec<Form> = chosen.iter().filter_map(|contender| contender.form).collect();
    Forms::prepare(&lab.tools, &lab.workload, &forms)?;
    session::run(lab, options, &chosen)
}

pub(super) fn tls(lab: &Lab, options: &Write) -> Result<Section> {
    let runs = rounds(lab, options, &["artifact", "artifact-tls"])?;
    let data = lab.forms.data_bytes() as f64 / 1e9;
    let fetched = lab.forms.fetch_bytes() as f64 / 1e9;
    let rows = Row::all(&runs);
    let cpu = |row: &Row<'_>| row.median(|done| done.measured.cpu.total());
    let cells = |row: &Row<'_>| {
        vec![
            row.contender.name.to_owned(),
            number(row.wall(), 2),
            number(cpu(row), 2),
            number(cpu(row).map(|cpu| cpu / data), 2),
            number(row.median(|done| done.measured.server_cpu.total()), 2),
            number(row.median(|done| done.measured.memory_kib as f64 / 1024.0), 0),
        ]
    };
    let added = match rows.as_slice() {
        [plain, tls] => cpu(tls).zip(cpu(plain)).map(|(tls, plain)| tls - plain),
        _ => None,
    };
    Ok(Section {
        title: "tls: what TLS adds".to_owned(),
        head: vec![
            "contender",
            "wall s",
            "CPU s",
            "CPU s/GB of data",
            "server's CPU s",
            "RSS MiB",
        ],
        rows: rows.iter().map(cells).collect(),
        notes: vec![format!(
            "TLS adds {} CPU seconds for a GB of data, {} for a GB on the wire.",
            number(added.map(|added| added / data), 3),
            number(added.map(|added| added / fetched), 3)
        )],
    })
}

pub(super) fn first_byte(lab: &Lab, options: &Write) -> Result<Section> {
    let runs = rounds(lab, options, &["artifact", "artifact-tls", "zst"])?;
    let cells = |row: &Row<'_>| {
        vec![
            row.contender.name.to_owned(),
            number(
                row.median(|done| done.measured.first_write_ms.unwrap_or(f64::NAN)),
                0,
            ),
            number(row.median(|done| done.measured.data_ms.unwrap_or(f64::NAN)), 0),
        ]
    };
    Ok(Section {
        title: "first-byte: from the program's start".to_owned(),
        head: vec!["contender", "first write ms", "image data ms"],
        rows: Row::all(&runs).iter().map(cells).collect(),
        notes: vec![
            "The first write clears the ends of the disk; image data is there once more than these 2 MiB is written. \
             Looked at every 5 ms."
                .to_owned(),
        ],
    })
}

pub(super) fn wire(lab: &Lab, _options: &Write) -> Result<Section> {
    let forms = [
        Form::Artifact,
        Form::Zst,
        Form::Frames,
        Form::Gz,
        Form::Xz,
        Form::Qcow2,
    ];
    Forms::prepare(&lab.tools, &lab.workload, &forms)?;
    let one = lab.forms.bytes(Form::Zst).context("there is no .zst")? as f64;
    let names = [
        "artifact, 1 MiB chunks, zstd -3",
        "one zstd -3 frame",
        "many zstd -3 frames (pzstd)",
        "gzip -6",
        "xz -3",
        "qcow2, zstd clusters",
    ];
    let rows = forms.iter().zip(names).map(|(form, name)| {
        let bytes = lab.forms.bytes(*form);
        vec![
            name.to_owned(),
            number(bytes.map(mib), 0),
            number(bytes.map(|bytes| bytes as f64 / one), 3),
            number(
                bytes.map(|bytes| bytes as f64 / lab.forms.data_bytes() as f64 * 100.0),
                1,
            ),
        ]
    });
    Ok(Section {
        title: "wire: bytes of each form".to_owned(),
        head: vec!["form", "MiB", "x one frame", "% of the data"],
        rows: rows.collect(),
        notes: Vec::new(),
    })
}
