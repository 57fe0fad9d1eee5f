//! `imprint image export` and `imprint image copy`

use serde_json::{Map, Value, json};

use crate::{
    answer::{Job, read},
    arguments::{CopyArguments, Destination, ExportArguments},
    client::Client,
    download::{self, Wanted},
    fault::Fault,
    job_wait,
    output::{self, Output},
    table,
};

pub async fn export(client: &Client, arguments: ExportArguments, output: &Output) -> Result<(), Fault> {
    let ExportArguments {
        image,
        file,
        to,
        format,
        disk,
        overwrite,
        wait,
        timeout,
    } = arguments;
    match (file, to) {
        (Some(file), None) => {
            let wanted = Wanted {
                format: format.unwrap_or_else(|| download::format_of(&file).to_owned()),
                image,
                disk,
                file,
                overwrite,
            };
            let fetched = download::run(client, &wanted, output).await?;
            output.result(&fetched, || {
                let sha256 = fetched["sha256"].as_str().unwrap_or_default();
                format!("{}  sha256 {sha256}\n", wanted.file.display())
            })
        }
        (None, Some(Destination { name, key })) => {
            let mut body = Map::new();
            body.insert(
                "format".to_owned(),
                json!(format.unwrap_or_else(|| "raw".to_owned())),
            );
            body.insert("destination".to_owned(), json!(name));
            body.insert("disk".to_owned(), json!(disk));
            body.insert("key".to_owned(), json!(key));
            body.insert("overwrite".to_owned(), json!(overwrite));
            let job = client
                .post(&["v1", "images", &image, "export"], &body, Some(&new_key()))
                .await?;
            ended(client, job, wait, timeout, output).await
        }
        _ => Err(Fault::local(
            "It is not said where the image goes",
            "neither a file nor --to is given",
            "Name a file, or a bucket with --to s3:NAME/KEY.",
        )),
    }
}

pub async fn copy(client: &Client, arguments: CopyArguments, output: &Output) -> Result<(), Fault> {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(arguments.name));
    body.insert("region".to_owned(), json!(arguments.to_region));
    body.insert("description".to_owned(), json!(arguments.description));
    body.insert("project".to_owned(), json!(arguments.project));
    body.insert("encrypt".to_owned(), json!(arguments.encrypt.word()));
    let path = ["v1", "images", arguments.image.as_str(), "copy"];
    let job = client.post(&path, &body, Some(&new_key())).await?;
    ended(client, job, arguments.wait, arguments.timeout, output).await
}

/// Of one command: a request that is repeated because its answer got lost starts no second job.
fn new_key() -> String {
    ulid::Ulid::generate().to_string()
}

async fn ended(
    client: &Client,
    job: Value,
    wait: bool,
    timeout: Option<std::time::Duration>,
    output: &Output,
) -> Result<(), Fault> {
    let job = if wait {
        job_wait::until_ended(client, job, timeout, output).await?
    } else {
        if !output.is_json() {
            let id = read::<Job>(&job).id;
            output::say(&format!("follow it with `imprint job wait {id}`\n"));
        }
        job
    };
    output.result(&job, || table::job(&read(&job), &output.moment()).render())
}
