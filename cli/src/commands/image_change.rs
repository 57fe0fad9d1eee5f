//! `imprint image update`, `delete`, `families`, `compose` and the verbs of states.

use serde_json::{Map, Value, json};
use ulid::Ulid;

use super::image::show;
use crate::{
    answer::{Family, read},
    arguments::{ComposeArguments, StateArguments, UpdateArguments, When},
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

pub async fn update(client: &Client, wanted: &UpdateArguments, output: &Output) -> Result<(), Fault> {
    let body = change(wanted)?;
    if body.is_empty() {
        return Err(Fault::local(
            "Nothing is to change",
            "the command names an image and nothing else",
            "`imprint image update --help` shows what can be changed.",
        ));
    }
    show(
        &client.patch(&["v1", "images", &wanted.image], &body).await?,
        output,
    )
}

pub async fn delete(client: &Client, image: &str, output: &Output) -> Result<(), Fault> {
    let gone = client.delete(&["v1", "images", image]).await?;
    output.result(&gone, || {
        let text = |key: &str| gone[key].as_str().unwrap_or_default();
        format!("image {} ({}) is deleted\n", text("name"), text("id"))
    })
}

pub async fn state(
    client: &Client,
    verb: &str,
    wanted: &StateArguments,
    output: &Output,
) -> Result<(), Fault> {
    let mut body = Map::new();
    if let Some(at) = wanted.at {
        body.insert("at".into(), at.to_string().into());
    }
    for (key, text) in [("replacement", &wanted.replacement), ("reason", &wanted.reason)] {
        if let Some(text) = text {
            body.insert(key.into(), text.as_str().into());
        }
    }
    let path = ["v1", "images", wanted.image.as_str(), verb];
    show(&client.post(&path, &body, None).await?, output)
}

pub async fn unplan(client: &Client, image: &str, state: Option<&str>, output: &Output) -> Result<(), Fault> {
    let mut path = vec!["v1", "images", image, "transitions"];
    path.extend(state);
    show(&client.delete(&path).await?, output)
}

pub async fn families(client: &Client, output: &Output) -> Result<(), Fault> {
    let families = client.list(&["v1", "families"], &[]).await?;
    let rows: Vec<Family> = families.iter().map(read).collect();
    output.result(&Value::Array(families), || {
        output::render(&mut table::families(&rows, &output.moment()))
    })
}

pub async fn compose(client: &Client, wanted: &ComposeArguments, output: &Output) -> Result<(), Fault> {
    let mut body = Map::new();
    body.insert("name".into(), wanted.name.as_str().into());
    let disk = |(role, image): &(String, String)| json!({ "role": role, "image": image });
    body.insert("disks".into(), wanted.disks.iter().map(disk).collect());
    for (key, text) in [
        ("family", &wanted.family),
        ("version", &wanted.version),
        ("description", &wanted.description),
    ] {
        if let Some(text) = text {
            body.insert(key.into(), text.as_str().into());
        }
    }
    let key = Ulid::generate().to_string();
    let image = client
        .post(&["v1", "images", "compose"], &body, Some(&key))
        .await?;
    show(&image, output)
}

/// Only what was said.
fn change(wanted: &UpdateArguments) -> Result<Map<String, Value>, Fault> {
    let mut body = Map::new();
    let texts = [
        ("name", &wanted.name),
        ("family", &wanted.family),
        ("version", &wanted.version),
        ("description", &wanted.description),
        ("os_distribution", &wanted.os),
        ("os_version", &wanted.os_version),
        ("architecture", &wanted.arch),
        ("target", &wanted.target),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            body.insert(key.into(), text.as_str().into());
        }
    }
    let numbers = [
        ("min_disk_bytes", wanted.min_disk),
        ("min_memory_bytes", wanted.min_memory),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            body.insert(key.into(), number.into());
        }
    }
    let flags = [
        ("protected", wanted.protect, wanted.unprotect),
        ("exclude_from_latest", wanted.exclude, wanted.include),
    ];
    for (key, yes, no) in flags {
        if yes || no {
            body.insert(key.into(), yes.into());
        }
    }
    if !wanted.tags.is_empty() {
        let tags = wanted.tags.iter().filter(|tag| !tag.is_empty());
        body.insert("tags".into(), tags.map(String::as_str).collect());
    }
    if !wanted.properties.is_empty() {
        let pairs = wanted.properties.iter().filter(|(key, _)| !key.is_empty());
        let pairs = pairs.map(|(key, value)| (key.clone(), value.as_str().into()));
        body.insert("properties".into(), Value::Object(pairs.collect()));
    }
    if let Some(modes) = &wanted.boot {
        let modes = modes.split(',').map(str::trim).filter(|mode| !mode.is_empty());
        body.insert("boot_modes".into(), modes.collect());
    }
    if let Some(license) = &wanted.license {
        body.insert("license".into(), read_license(license)?);
    }
    if let Some(price) = &wanted.price {
        body.insert("price".into(), read_price(price)?);
    }
    match wanted.expires {
        None => {}
        Some(When::Never) => drop(body.insert("expires_at".into(), Value::Null)),
        Some(When::At(at)) => drop(body.insert("expires_at".into(), at.to_string().into())),
    }
    Ok(body)
}

fn read_license(text: &str) -> Result<Value, Fault> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| {
        Fault::local(
            "The licence cannot be read",
            error.to_string(),
            r#"Write it like '{"name": "RHEL", "required": true, "reference": "https://…"}'."#,
        )
    })
}

/// "0.05EUR/hour"
fn read_price(text: &str) -> Result<Value, Fault> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let wrong = || {
        Fault::local(
            "The price cannot be read",
            format!("`{text}` is no amount with a currency and a unit"),
            "Write it like 0.05EUR/hour; per deployment, hour or month.",
        )
    };
    let (sum, per) = text.split_once('/').ok_or_else(wrong)?;
    let letters = sum.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (amount, currency) = sum.split_at(letters);
    Ok(json!({ "amount": amount.trim(), "currency": currency, "per": per }))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::{Arguments, Command, ImageCommand};

    fn body(line: &[&str]) -> Result<Value, String> {
        let line = ["imprint", "image", "update", "i"].iter().chain(line);
        let Command::Image(ImageCommand::Update(wanted)) = Arguments::try_parse_from(line).unwrap().command
        else {
            panic!("the line is an update")
        };
        change(&wanted).map(Value::Object).map_err(|fault| fault.text())
    }

    #[test]
    fn only_what_was_said_changes() {
        assert_eq!(body(&[]), Ok(json!({})));
        assert_eq!(
            body(&[
                "--tag",
                "a",
                "--tag",
                "b",
                "--protect",
                "--min-memory",
                "2GiB",
                "--boot",
                "uefi,bios"
            ]),
            Ok(
                json!({ "tags": ["a", "b"], "protected": true, "min_memory_bytes": 2_147_483_648_u64,
                "boot_modes": ["uefi", "bios"] })
            )
        );
        assert_eq!(
            body(&[
                "--tag",
                "",
                "--family",
                "",
                "--price",
                "",
                "--license",
                "",
                "--expires",
                "never",
                "--include"
            ]),
            Ok(
                json!({ "tags": [], "family": "", "price": null, "license": null, "expires_at": null,
                "exclude_from_latest": false })
            )
        );
        assert_eq!(
            body(&["--price", "0.05EUR/hour", "--property", "team=web=1"]),
            Ok(
                json!({ "price": { "amount": "0.05", "currency": "EUR", "per": "hour" },
                "properties": { "team": "web=1" } })
            )
        );
        for wrong in [&["--price", "5"][..], &["--license", "GPL"]] {
            assert!(body(wrong).unwrap_err().contains("Write it like"), "{wrong:?}");
        }
    }
}
