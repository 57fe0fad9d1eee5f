//! `imprint image …`

use std::{os::fd::AsFd as _, path::Path};

use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Body;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use crate::{
    answer::{Image, read},
    arguments::ImageCommand,
    client::Client,
    fault::Fault,
    live, measure,
    output::{self, Output},
    table,
};

const PIECE: usize = 256 << 10;

pub async fn run(client: &Client, command: ImageCommand, output: &Output) -> Result<(), Fault> {
    match command {
        ImageCommand::Import { file, name, format } => {
            let image = import(client, &file, &name, &format, output).await?;
            show(&image, output)
        }
        ImageCommand::List => {
            let images = client.list(&["v1", "images"], &[]).await?;
            let rows: Vec<Image> = images.iter().map(read).collect();
            output.result(&Value::Array(images), || {
                output::render(&mut table::images(&rows, &output.moment()))
            })
        }
        ImageCommand::Show { image } => show(&client.get(&["v1", "images", &image], &[]).await?, output),
    }
}

fn show(image: &Value, output: &Output) -> Result<(), Fault> {
    output.result(image, || table::image(&read(image), &output.moment()).render())
}

async fn import(
    client: &Client,
    file: &Path,
    name: &str,
    format: &str,
    output: &Output,
) -> Result<Value, Fault> {
    let (reader, length): (Box<dyn AsyncRead + Send + Unpin>, _) = if file == Path::new("-") {
        let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| {
            Fault::local(
                "Cannot read standard input",
                error.to_string(),
                "Name a file instead.",
            )
        })?;
        (Box::new(tokio::fs::File::from_std(input.into())), None)
    } else {
        let unreadable = |error| Fault::unreadable(file, &error);
        let opened = tokio::fs::File::open(file).await.map_err(unreadable)?;
        let about = opened.metadata().await.map_err(unreadable)?;
        if about.is_dir() {
            return Err(Fault::local(
                format!("Cannot read {}", file.display()),
                "it is a folder",
                "Name the image file in it.",
            ));
        }
        // A block device has a size that its metadata does not tell.
        (Box::new(opened), about.is_file().then_some(about.len()))
    };
    if !output.live {
        let size = length
            .map(|length| format!(" ({})", measure::bytes(length)))
            .unwrap_or_default();
        output::say(&format!("uploading {}{size}\n", file.display()));
    }
    let bar = live::transfer(output.live, name, length);
    let counting = bar.clone();
    let pieces = ReaderStream::with_capacity(reader, PIECE)
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
    answer
}
