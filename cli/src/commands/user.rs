//! `imprint user …`

use serde_json::{Map, Value};

use crate::{
    answer::{User, read},
    arguments::UserCommand,
    client::Client,
    fault::Fault,
    output::{self, Output},
    table::tenants as table,
};

pub async fn run(client: &Client, command: UserCommand, output: &Output) -> Result<(), Fault> {
    let change = async |user: &str, what: &str| {
        let path = ["v1", "users", user, what];
        client.post(&path, &Map::new(), None).await
    };
    let user = match command {
        UserCommand::List => {
            let users = client.list(&["v1", "users"], &[]).await?;
            let rows: Vec<User> = users.iter().map(read).collect();
            return output.result(&Value::Array(users), || {
                output::render(&mut table::users(&rows, &output.moment()))
            });
        }
        UserCommand::Show { user } => client.get(&["v1", "users", &user], &[]).await?,
        UserCommand::Create { name } => {
            let body = Map::from_iter([("name".to_owned(), name.into())]);
            client.post(&["v1", "users"], &body, None).await?
        }
        UserCommand::Disable { user } => change(&user, "disable").await?,
        UserCommand::Enable { user } => change(&user, "enable").await?,
    };
    output.result(&user, || table::user(&read(&user), &output.moment()).render())
}
