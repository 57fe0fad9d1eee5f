//! `imprint node set-bmc`, `bmc` and `power`

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    time::Duration,
};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    arguments::{BmcKind, NewBmc, PowerAct, PowerArguments},
    client::Client,
    fault::Fault,
    output::Output,
    table,
};

/// Longer than any password that the controller takes.
const MAX_PASSWORD_BYTES: u64 = 4096;
const ASK_EVERY: Duration = Duration::from_secs(1);

pub async fn set_bmc(client: &Client, new: NewBmc, output: &Output) -> Result<(), Fault> {
    let node = new.node.clone();
    let path = ["v1", "nodes", node.as_str(), "bmc"];
    if new.none {
        let was = client.delete(&path).await?;
        return output.result(&was, || format!("{node} has no BMC\n"));
    }
    let set = client.put(&path, &body(new)?).await?;
    output.result(&set, || table::bmc(&set).render())
}

fn body(new: NewBmc) -> Result<Map<String, Value>, Fault> {
    let mut body = Map::new();
    let kind = match new.address {
        Some(_) => new.kind,
        None => BmcKind::Manual,
    };
    body.insert("kind".into(), kind.as_str().into());
    if let Some(password) = password(&new)? {
        body.insert("password".into(), password.as_str().into());
    }
    let texts = [
        ("address", new.address),
        ("user", new.user),
        ("fingerprint", new.fingerprint),
        ("system", new.system),
        ("instructions", new.instructions),
        ("boot", new.boot.map(|how| how.as_str().to_owned())),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            body.insert(key.into(), text.into());
        }
    }
    if let Some(path) = new.bmc_ca {
        let pem = std::fs::read_to_string(&path).map_err(|error| Fault::unreadable(&path, &error))?;
        body.insert("ca_pem".into(), pem.into());
    }
    body.insert("plain_http".into(), new.plain_http.into());
    body.insert("serial_over_lan".into(), new.serial_over_lan.into());
    let quirks = new.quirks.iter().map(|text| quirk(text));
    body.insert("quirks".into(), Value::Object(quirks.collect::<Result<_, _>>()?));
    Ok(body)
}

/// KEY=VALUE: the key with dashes or underscores, the value a number, true, false, or a text.
fn quirk(text: &str) -> Result<(String, Value), Fault> {
    let (key, value) = text.split_once('=').ok_or_else(|| {
        Fault::local(
            format!("`{text}` is not KEY=VALUE"),
            "A quirk has a key and a value.",
            "Write it like --quirk power-seconds=300 or --quirk basic-auth=true.",
        )
    })?;
    let value = match serde_json::from_str(value) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(value.to_owned()),
    };
    Ok((key.replace('-', "_"), value))
}

fn password(new: &NewBmc) -> Result<Option<Zeroizing<String>>, Fault> {
    match &new.password_file {
        Some(path) => {
            let file = File::open(path).map_err(|error| Fault::unreadable(path, &error))?;
            first_line(file).map(Some)
        }
        None if new.password_stdin => first_line(io::stdin().lock()).map(Some),
        None => Ok(None),
    }
}

fn first_line(from: impl Read) -> Result<Zeroizing<String>, Fault> {
    let unreadable = |why: String| {
        Fault::local(
            "Cannot read the password",
            why,
            "Put it into the first line of the file, or send it on standard input.",
        )
    };
    let mut line = Zeroizing::new(String::new());
    BufReader::new(from.take(MAX_PASSWORD_BYTES))
        .read_line(&mut line)
        .map_err(|error| unreadable(error.to_string()))?;
    let password = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if password.is_empty() {
        return Err(unreadable("It is empty.".to_owned()));
    }
    Ok(password)
}

pub async fn bmc(client: &Client, node: &str, hardware: bool, output: &Output) -> Result<(), Fault> {
    if hardware {
        let found = client.get(&["v1", "nodes", node, "bmc", "hardware"], &[]).await?;
        return output.result(&found, || table::bmc_hardware(&found));
    }
    let bmc = client.get(&["v1", "nodes", node, "bmc"], &[]).await?;
    output.result(&bmc, || table::bmc(&bmc).render())
}

pub async fn media(
    client: &Client,
    node: &str,
    url: Option<String>,
    ramdisk: bool,
    output: &Output,
) -> Result<(), Fault> {
    let body = Map::from_iter([
        ("url".to_owned(), url.into()),
        ("ramdisk".to_owned(), ramdisk.into()),
    ]);
    let media = client.put(&["v1", "nodes", node, "bmc", "media"], &body).await?;
    output.result(&media, || match media["url"].as_str() {
        Some(url) => format!("the virtual CD of {node} holds {url}\n"),
        None if media["ramdisk"] == true => format!("the virtual CD of {node} holds the ramdisk\n"),
        None => format!("the virtual CD of {node} is empty\n"),
    })
}

pub async fn power(client: &Client, wanted: PowerArguments, output: &Output) -> Result<(), Fault> {
    let node = wanted.node;
    let path = ["v1", "nodes", node.as_str(), "power"];
    if wanted.act == PowerAct::Status {
        let power = client.get(&path, &[]).await?;
        return output.result(&power, || table::power(&power).render());
    }
    let mut body = Map::new();
    body.insert("action".into(), wanted.act.as_str().into());
    body.insert("force".into(), wanted.force.into());
    if let Some(target) = wanted.boot {
        body.insert("boot".into(), target.as_str().into());
    }
    let mut action = client.post(&path, &body, None).await?;
    let id = action["id"].clone();
    while !wanted.no_wait && action["state"] == "running" {
        tokio::time::sleep(ASK_EVERY).await;
        let power = client.patient_get(&path, &[]).await?;
        if power["action"]["id"] != id {
            return Err(Fault::local(
                "Something else is done with the power of the server",
                format!("{node} was told something else in the meantime."),
                "`imprint events` tells by whom; ask again if it is still wanted.",
            ));
        }
        action = power["action"].clone();
    }
    if action["state"] == "failed" {
        return Err(Fault::local(
            format!("The power of {node} was not changed"),
            action["why"].as_str().unwrap_or_default(),
            action["remedy"].as_str().unwrap_or_default(),
        ));
    }
    output.result(&action, || told(&node, &action))
}

fn told(node: &str, action: &Value) -> String {
    let why = action["why"].as_str().unwrap_or_default();
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(" ({why})")
    };
    match (action["state"].as_str(), action["action"].as_str()) {
        (Some("done"), Some("off")) => format!("{node} is off{why}\n"),
        (Some("done"), _) => format!("{node} is on{why}\n"),
        _ => format!("{node} is being switched{why}; follow it with `imprint node power {node} status`\n"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quirks_have_a_key_and_a_value_of_their_kind() {
        for (text, key, value) in [
            ("power-seconds=300", "power_seconds", json!(300)),
            ("basic-auth=true", "basic_auth", json!(true)),
            ("cd-target=UsbCd", "cd_target", json!("UsbCd")),
        ] {
            assert_eq!(quirk(text).unwrap(), (key.to_owned(), value));
        }
        assert!(quirk("basic-auth").is_err());
    }

    #[test]
    fn a_password_is_the_first_line() {
        assert_eq!(*first_line(&b"hunter2\r\nmore\n"[..]).unwrap(), "hunter2");
        assert!(first_line(&b"\nhunter2"[..]).is_err());
    }
}
