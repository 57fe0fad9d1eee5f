//! `imprint guest …`

use std::io::{self, BufRead as _, Read as _};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    answer::{Guest, PasswordReset, read},
    arguments::GuestCommand,
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

/// Longer than any password that the controller takes.
const MAX_PASSWORD: u64 = 4096;

pub async fn run(client: &Client, command: GuestCommand, output: &Output) -> Result<(), Fault> {
    match command {
        GuestCommand::Show { node } => {
            let guest = client.get(&["v1", "nodes", &node, "guest"], &[]).await?;
            output.result(&guest, || {
                table::guest(&read::<Guest>(&guest), &output.moment()).render()
            })
        }
        GuestCommand::ResetPassword {
            node,
            user,
            password_stdin,
            life,
        } => {
            let mut body = Map::new();
            body.insert("user".into(), user.into());
            body.insert("life_seconds".into(), life.into());
            if password_stdin {
                body.insert("password".into(), from_stdin()?.as_str().into());
            }
            let answer = client
                .post(&["v1", "nodes", &node, "password-resets"], &body, None)
                .await?;
            reset(&answer, output)
        }
        GuestCommand::Resets { node } => {
            let orders = client
                .list(&["v1", "nodes", &node, "password-resets"], &[])
                .await?;
            let rows: Vec<PasswordReset> = orders.iter().map(read).collect();
            output.result(&Value::Array(orders), || {
                output::render(&mut table::password_resets(&rows, &output.moment()))
            })
        }
    }
}

/// The password is printed whatever has become of the order: without an answer it may be set or not.
fn reset(answer: &Value, output: &Output) -> Result<(), Fault> {
    let order: PasswordReset = read(answer);
    output.result(answer, || {
        let mut text = match order.state.as_str() {
            "done" => format!("The password of {} is set.\n", order.user),
            _ => String::new(),
        };
        if let Some(password) = &order.password
            && order.state != "refused"
        {
            text.push_str(&format!("{password}\n"));
        }
        text
    })?;
    match order.state.as_str() {
        "done" => Ok(()),
        "refused" => Err(Fault::local(
            "The password was not set",
            format!("The system answered: {}.", order.reason),
            "Correct what it says and ask again; the old password is still good.",
        )),
        _ => Err(Fault::local(
            "The system has not answered yet",
            format!("The order {} was sent; the password may be set or not.", order.id),
            "`imprint guest resets` shows what came of it; if nothing did, ask again.",
        )),
    }
}

fn from_stdin() -> Result<Zeroizing<String>, Fault> {
    let mut line = Zeroizing::new(String::new());
    io::stdin()
        .lock()
        .take(MAX_PASSWORD)
        .read_line(&mut line)
        .map_err(|error| {
            Fault::local(
                "Cannot read the password",
                error.to_string(),
                "Send it on standard input, as one line.",
            )
        })?;
    let password = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if password.is_empty() {
        return Err(Fault::local(
            "There is no password on standard input",
            "The first line is empty.",
            "Send it as one line, or leave --password-stdin out: then one is made.",
        ));
    }
    Ok(password)
}
