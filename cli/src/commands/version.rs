//! `imprint version`

use serde_json::{Value, json};

use crate::{arguments::ConnectionArguments, connection, fault::Fault, output::Output};

/// Our own version; the controller's too when one is named.
pub async fn show(arguments: &ConnectionArguments, output: &Output) -> Result<(), Fault> {
    let own = env!("CARGO_PKG_VERSION");
    let asked = if connection::is_named(arguments) {
        controller(arguments).await
    } else {
        Ok(Value::Null)
    };
    let theirs = asked.as_ref().map_or(&Value::Null, |version| version);
    output.result(&json!({"imprint": own, "controller": theirs}), || {
        let controller = theirs
            .as_str()
            .map(|version| format!("controller  {version}\n"))
            .unwrap_or_default();
        format!("imprint     {own}\n{controller}")
    })?;
    asked.map(|_| ())
}

async fn controller(arguments: &ConnectionArguments) -> Result<Value, Fault> {
    let mut description = connection::open(arguments)?.get(&["openapi.json"], &[]).await?;
    Ok(description["info"]["version"].take())
}
