//! `imprint store …`

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    answer::read, arguments::StoreCommand, client::Client, fault::Fault, job_wait, output::Output, table,
};

pub async fn run(client: &Client, command: StoreCommand, output: &Output) -> Result<(), Fault> {
    match command {
        StoreCommand::Show => {
            let figures = client.get(&["v1", "store"], &[]).await?;
            output.result(&figures, || table::store(&read(&figures)))
        }
        StoreCommand::Verify { image, timeout } => {
            let mut request = Map::new();
            if let Some(image) = image {
                request.insert("image".into(), json!(image));
            }
            let report = job(client, "verify", &request, timeout, output).await?;
            output.result(&report, || table::verification(&read(&report)))?;
            match report["damaged_objects"].as_u64() {
                Some(0) => Ok(()),
                count => Err(Fault::local(
                    "The store is damaged",
                    format!("{} objects are damaged or missing", count.unwrap_or(0)),
                    "Import the same files again, or restore the objects from a backup, and verify once more.",
                )),
            }
        }
        StoreCommand::Gc { dry_run, timeout } => {
            let request = [("dry_run".to_owned(), json!(dry_run))].into_iter().collect();
            let report = job(client, "gc", &request, timeout, output).await?;
            output.result(&report, || table::collection(&read(&report)))
        }
    }
}

/// Starts a job of the store and waits for its result.
async fn job(
    client: &Client,
    what: &str,
    request: &Map<String, Value>,
    timeout: Option<Duration>,
    output: &Output,
) -> Result<Value, Fault> {
    let job = client.post(&["v1", "store", what], request, None).await?;
    let mut ended = job_wait::until_ended(client, job, timeout, output).await?;
    Ok(ended["result"].take())
}
