//! `imprint job …`

use serde_json::{Map, Value};

use crate::{
    answer::{Job, read},
    arguments::JobCommand,
    client::Client,
    fault::Fault,
    job_wait,
    output::{self, Output},
    table,
};

pub async fn run(client: &Client, command: JobCommand, output: &Output) -> Result<(), Fault> {
    match command {
        JobCommand::List { kind, state } => {
            let query: Vec<_> = [("kind", kind.as_deref()), ("state", state.as_deref())]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let jobs = client.list(&["v1", "jobs"], &query).await?;
            let rows: Vec<Job> = jobs.iter().map(read).collect();
            output.result(&Value::Array(jobs), || {
                output::render(&mut table::jobs(&rows, &output.moment()))
            })
        }
        JobCommand::Show { job } => show(&client.get(&["v1", "jobs", &job], &[]).await?, output),
        JobCommand::Cancel { job } => {
            let path = ["v1", "jobs", job.as_str(), "cancel"];
            show(&client.post(&path, &Map::new(), None).await?, output)
        }
        JobCommand::Wait { job, timeout } => {
            let job = client.get(&["v1", "jobs", &job], &[]).await?;
            show(
                &job_wait::until_ended(client, job, timeout, output).await?,
                output,
            )
        }
    }
}

fn show(job: &Value, output: &Output) -> Result<(), Fault> {
    output.result(job, || table::job(&read(job), &output.moment()).render())
}
