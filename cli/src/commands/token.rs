//! `imprint token …` and `imprint whoami`

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    answer::{Token, read},
    arguments::{NewToken, TokenCommand},
    client::Client,
    fault::Fault,
    output::{self, Output},
    table::tenants as table,
};

pub async fn run(client: &Client, command: TokenCommand, output: &Output) -> Result<(), Fault> {
    match command {
        TokenCommand::List { user, project } => {
            let mut query = Vec::new();
            query.extend(user.as_deref().map(|user| ("user", user)));
            query.extend(project.as_deref().map(|project| ("project", project)));
            let tokens = client.list(&["v1", "tokens"], &query).await?;
            let rows: Vec<Token> = tokens.iter().map(read).collect();
            output.result(&Value::Array(tokens), || {
                output::render(&mut table::tokens(&rows, &output.moment()))
            })
        }
        TokenCommand::Create(new) => create(client, new, output).await,
        TokenCommand::Revoke { token } => {
            let revoked = client.delete(&["v1", "tokens", &token]).await?;
            output.result(&revoked, || {
                let revoked: Token = read(&revoked);
                format!("{} ({}) was revoked\n", revoked.name, revoked.id)
            })
        }
    }
}

/// Who the token of this command is.
pub async fn who_am_i(client: &Client, output: &Output) -> Result<(), Fault> {
    let who = client.get(&["v1", "whoami"], &[]).await?;
    output.result(&who, || table::who_am_i(&read(&who), &output.moment()).render())
}

/// The file is made before the token: a token that nobody could keep is not made.
async fn create(client: &Client, new: NewToken, output: &Output) -> Result<(), Fault> {
    let out = new.out.clone();
    let file = out.as_deref().map(private).transpose()?;
    let made = client.post(&["v1", "tokens"], &body(new), None).await;
    let secret = made.and_then(|mut made| {
        let secret = match made.as_object_mut().and_then(|made| made.remove("secret")) {
            Some(Value::String(secret)) => Zeroizing::new(secret),
            _ => {
                return Err(Fault::local(
                    "The answer is not understood",
                    "it has no secret",
                    "Check that the URL is that of an Imprint controller of the same version.",
                ));
            }
        };
        Ok((made, secret))
    });
    let (Some(path), Some(mut file)) = (out, file) else {
        let (mut made, secret) = secret?;
        if output.is_json() {
            made["secret"] = secret.as_str().into();
        } else {
            output::say(&facts(&made, output));
        }
        return output.result(&made, || format!("{}\n", secret.as_str()));
    };
    let written = secret.and_then(|(made, secret)| {
        file.write_all(format!("{}\n", secret.as_str()).as_bytes())
            .and_then(|()| file.sync_all())
            .map(|()| made)
            .map_err(|error| unwritable(&path, &error))
    });
    match written {
        Ok(made) => output.result(&made, || {
            format!("{}\nThe token is in {}.\n", facts(&made, output), path.display())
        }),
        Err(fault) => {
            // Nothing is in it; the fault is what matters.
            match std::fs::remove_file(&path) {
                Ok(()) | Err(_) => Err(fault),
            }
        }
    }
}

fn facts(made: &Value, output: &Output) -> String {
    table::token(&read(made), &output.moment()).render()
}

fn private(path: &Path) -> Result<File, Fault> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::local(
        format!("Cannot write the token to {}", path.display()),
        error.to_string(),
        "Name a new file in a folder that you may write to. If a token was made, `imprint token list` shows it; revoke it.",
    )
}

fn body(new: NewToken) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("name".into(), new.name.into());
    for (key, value) in [("project", new.project), ("user", new.user), ("role", new.role)] {
        if let Some(value) = value {
            body.insert(key.into(), value.into());
        }
    }
    if new.service {
        body.insert("service".into(), true.into());
    }
    if !new.scopes.is_empty() {
        body.insert("scopes".into(), new.scopes.into());
    }
    if let Some(days) = new.days {
        body.insert("expires_in_days".into(), days.into());
    }
    body
}
