//! `imprint image …`

use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Body;
use serde_json::Value;

use super::{image_change, sharing};
use crate::{
    answer::{Image, read},
    arguments::ImageCommand,
    client::Client,
    commands::copies,
    fault::Fault,
    live, measure,
    output::{self, Output},
    source::{self, Trouble},
    table,
};

pub async fn run(client: &Client, command: ImageCommand, output: &Output) -> Result<(), Fault> {
    match command {
        ImageCommand::Import {
            source,
            name,
            format,
            sha256,
        } => {
            let image = import(client, &source, &name, &format, sha256, output).await?;
            show(&image, output)
        }
        ImageCommand::List(which) => {
            let query = which.query();
            let query: Vec<_> = query
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let images = client.list(&["v1", "images"], &query).await?;
            let rows: Vec<Image> = images.iter().map(read).collect();
            output.result(&Value::Array(images), || {
                output::render(&mut table::images(&rows, &output.moment()))
            })
        }
        ImageCommand::Export(arguments) => copies::export(client, arguments, output).await,
        ImageCommand::Copy(arguments) => copies::copy(client, arguments, output).await,
        ImageCommand::Sharing(command) => sharing::run(client, command, output).await,
        ImageCommand::Show { image } => show(&client.get(&["v1", "images", &image], &[]).await?, output),
        ImageCommand::Update(wanted) => image_change::update(client, &wanted, output).await,
        ImageCommand::Delete { image } => image_change::delete(client, &image, output).await,
        ImageCommand::Activate(wanted) => image_change::state(client, "activate", &wanted, output).await,
        ImageCommand::Deactivate(wanted) => image_change::state(client, "deactivate", &wanted, output).await,
        ImageCommand::Deprecate(wanted) => image_change::state(client, "deprecate", &wanted, output).await,
        ImageCommand::Obsolete(wanted) => image_change::state(client, "obsolete", &wanted, output).await,
        ImageCommand::Unplan { image, state } => {
            image_change::unplan(client, &image, state.as_deref(), output).await
        }
        ImageCommand::Families => image_change::families(client, output).await,
        ImageCommand::Compose(wanted) => image_change::compose(client, &wanted, output).await,
    }
}

pub(super) fn show(image: &Value, output: &Output) -> Result<(), Fault> {
    output.result(image, || table::image(&read(image), &output.moment()).render())
}

async fn import(
    client: &Client,
    named: &str,
    name: &str,
    format: &str,
    sha256: Option<[u8; 32]>,
    output: &Output,
) -> Result<Value, Fault> {
    let source = source::open(named).await?;
    let length = source.length;
    if !output.live {
        let size = length
            .map(|length| format!(" ({})", measure::bytes(length)))
            .unwrap_or_default();
        output::say(&format!("uploading {}{size}\n", source.name));
    }
    let bar = live::transfer(output.live, name, length);
    let counting = bar.clone();
    let trouble = Trouble::default();
    let pieces = source
        .body(sha256, &trouble)
        .inspect_ok(move |piece| counting.inc(piece.len() as u64))
        .chain(futures::stream::once({
            let bar = bar.clone();
            async move {
                bar.set_message("sent; the controller finishes the conversion");
                Ok(Default::default())
            }
        }));
    let query = [("name", name), ("format", format)];
    let uploading = client.upload(&["v1", "images"], &query, Body::wrap_stream(pieces), length);
    let answer = tokio::select! {
        answer = uploading => answer,
        _ = tokio::signal::ctrl_c() => Err(Fault::Interrupted),
    };
    bar.finish_and_clear();
    // Where the source broke off, that is what happened, whatever became of the upload.
    answer.map_err(|fault| trouble.take().unwrap_or(fault))
}
