//! `imprint quota …`, `imprint usage`

use serde_json::{Map, Value};

use crate::{
    answer::{UsageRecord, read},
    arguments::{QuotaCommand, UsageArguments},
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

pub async fn quota(client: &Client, command: QuotaCommand, output: &Output) -> Result<(), Fault> {
    let quota = match command {
        QuotaCommand::Show { project } => {
            let query: Vec<_> = project
                .iter()
                .map(|project| ("project", project.as_str()))
                .collect();
            client.get(&["v1", "quota"], &query).await?
        }
        QuotaCommand::Set {
            project,
            images,
            bytes,
        } => {
            let body: Map<String, Value> = [("max_images_per_user", images), ("max_stored_bytes", bytes)]
                .into_iter()
                .filter_map(|(name, limit)| Some((name.to_owned(), limit?.into())))
                .collect();
            client.put(&["v1", "projects", &project, "quota"], &body).await?
        }
    };
    output.result(&quota, || output::render(&mut table::quota(&read(&quota))))
}

pub async fn usage(client: &Client, asked: UsageArguments, output: &Output) -> Result<(), Fault> {
    let (from, to) = (
        asked.from.map(|at| at.to_string()),
        asked.to.map(|at| at.to_string()),
    );
    let query: Vec<_> = [("from", &from), ("to", &to), ("project", &asked.project)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
    if asked.records {
        let records = client.list(&["v1", "usage", "records"], &query).await?;
        let rows: Vec<UsageRecord> = records.iter().map(read).collect();
        return output.result(&Value::Array(records), || {
            output::render(&mut table::usage_records(&rows, &output.moment()))
        });
    }
    let usage = client.get(&["v1", "usage"], &query).await?;
    output.result(&usage, || output::render(&mut table::usage(&read(&usage))))
}
