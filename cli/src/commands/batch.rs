//! `imprint batch …`

use serde_json::{Map, Value};

use crate::{
    answer::{Batch, read},
    arguments::BatchCommand,
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

pub async fn run(client: &Client, command: BatchCommand, output: &Output) -> Result<(), Fault> {
    match command {
        BatchCommand::List => {
            let batches = client.list(&["v1", "batches"], &[]).await?;
            let rows: Vec<Batch> = batches.iter().map(read).collect();
            output.result(&Value::Array(batches), || {
                output::render(&mut table::batches(&rows, &output.moment()))
            })
        }
        BatchCommand::Show { batch } => show(&client.get(&["v1", "batches", &batch], &[]).await?, output),
        BatchCommand::Cancel { batch, running } => {
            let body = Map::from_iter([("running".to_owned(), running.into())]);
            let path = ["v1", "batches", batch.as_str(), "cancel"];
            show(&client.post(&path, &body, None).await?, output)
        }
    }
}

fn show(batch: &Value, output: &Output) -> Result<(), Fault> {
    output.result(batch, || {
        let (facts, mut nodes) = table::batch(&read(batch), &output.moment());
        format!("{}\n{}", facts.render(), output::render(&mut nodes))
    })
}
