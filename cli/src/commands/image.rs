//! `imprint image …`

use serde_json::Value;

use super::{
    contents, image_change,
    import::{self, Imported},
    sharing,
};
use crate::{
    answer::{Image, read},
    arguments::ImageCommand,
    client::Client,
    commands::copies,
    fault::Fault,
    output::{self, Output},
    table,
};

pub async fn run(client: &Client, command: ImageCommand, output: &Output) -> Result<(), Fault> {
    match command {
        ImageCommand::Import(arguments) => match import::run(client, &arguments, output).await? {
            Imported::Image(image) => show(&image, output),
            Imported::Job(job) => output.result(&job, || table::job(&read(&job), &output.moment()).render()),
        },
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
        ImageCommand::Families { family: None } => image_change::families(client, output).await,
        ImageCommand::Families { family: Some(family) } => {
            show(&client.get(&["v1", "families", &family], &[]).await?, output)
        }
        ImageCommand::Compose(wanted) => image_change::compose(client, &wanted, output).await,
        ImageCommand::Facts { image } => contents::facts(client, &image, output).await,
        ImageCommand::Lint { image } => contents::lint(client, &image, output).await,
        ImageCommand::Sbom { image } => contents::sbom(client, &image, output).await,
    }
}

pub(super) fn show(image: &Value, output: &Output) -> Result<(), Fault> {
    output.result(image, || table::image(&read(image), &output.moment()).render())
}
