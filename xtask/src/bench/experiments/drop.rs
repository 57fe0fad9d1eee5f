//! What a dropped connection costs.

use anyhow::Result;

use super::{disk, mib, number};
use crate::bench::arguments::Write;
use crate::bench::forms::Form;
use crate::bench::lab::Lab;
use crate::bench::measure::End;
use crate::bench::proxy::Proxy;
use crate::bench::report::Section;
use crate::bench::session::Done;

pub(super) fn run(lab: &Lab, _options: &Write) -> Result<Section> {
    let mut rows = Vec::new();
    let mut whole = None;
    for (name, drop_at) in [
        ("undisturbed", u64::MAX),
        (
            "all connections dropped at 90 %",
            lab.forms.fetch_bytes() / 10 * 9,
        ),
    ] {
        lab.renew()?;
        lab.warm(Form::Artifact)?;
        let proxy = Proxy::start(lab.server.port(), drop_at)?;
        let path = lab.forms.manifest_path();
        let agent = lab.agent(&format!("http://127.0.0.1:{}/{path}", proxy.port()));
        let measured = lab.measure(agent)?;
        let passed = proxy.passed();
        let retries = measured.said.as_ref().and_then(|said| said["retries"].as_u64());
        let content = (measured.end == End::Success)
            .then(|| lab.compare())
            .transpose()?;
        let done = Done { measured, content };
        let more = whole.map(|whole: u64| mib(passed) - mib(whole));
        whole.get_or_insert(passed);
        rows.push(vec![
            name.to_owned(),
            number(Some(mib(passed)), 1),
            number(more, 1),
            number(retries.map(|retries| retries as f64), 0),
            number(Some(done.measured.wall), 2),
            disk(&done),
        ]);
    }
    Ok(Section {
        title: "drop: connections dropped at 90 %".to_owned(),
        head: vec![
            "run",
            "from the server MiB",
            "more MiB",
            "retries",
            "wall s",
            "disk",
        ],
        rows,
        notes: Vec::new(),
    })
}
