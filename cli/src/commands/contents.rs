//! `imprint image facts|lint|sbom`

use serde_json::Value;

use crate::{
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

pub async fn facts(client: &Client, image: &str, output: &Output) -> Result<(), Fault> {
    let facts = client.get(&["v1", "images", image, "facts"], &[]).await?;
    output.result(&facts, || table::image_facts(&facts))
}

pub async fn lint(client: &Client, image: &str, output: &Output) -> Result<(), Fault> {
    let lint = client.get(&["v1", "images", image, "lint"], &[]).await?;
    output.result(&lint, || output::render(&mut table::lint(&lint)))?;
    match lint["summary"]["errors"].as_u64() {
        Some(0) | None => Ok(()),
        Some(errors) => Err(Fault::local(
            "The image would not work on bare metal as it is",
            format!("the report has {errors} errors"),
            "Mend the image as the report says, and import it again.",
        )),
    }
}

pub async fn sbom(client: &Client, image: &str, output: &Output) -> Result<(), Fault> {
    let document: Value = client.get(&["v1", "images", image, "sbom"], &[]).await?;
    // A document for programs in either case.
    output.result(&document, || format!("{document:#}\n"))
}
