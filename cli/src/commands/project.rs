//! `imprint project …`

use serde_json::{Map, Value};

use crate::{
    answer::{Project, ProjectUser, read},
    arguments::{ProjectCommand, ProjectSettings},
    client::Client,
    fault::Fault,
    output::{self, Output},
    table::tenants as table,
};

pub async fn run(client: &Client, command: ProjectCommand, output: &Output) -> Result<(), Fault> {
    match command {
        ProjectCommand::List => {
            let projects = client.list(&["v1", "projects"], &[]).await?;
            let rows: Vec<Project> = projects.iter().map(read).collect();
            output.result(&Value::Array(projects), || {
                output::render(&mut table::projects(&rows, &output.moment()))
            })
        }
        ProjectCommand::Show { project } => {
            show(&client.get(&["v1", "projects", &project], &[]).await?, output)
        }
        ProjectCommand::Create { name, settings } => {
            let mut body = said(settings);
            body.insert("name".into(), name.into());
            show(&client.post(&["v1", "projects"], &body, None).await?, output)
        }
        ProjectCommand::Update { project, settings } => {
            let path = ["v1", "projects", project.as_str()];
            show(&client.patch(&path, &said(settings)).await?, output)
        }
        ProjectCommand::Delete { project } => {
            let deleted = client.delete(&["v1", "projects", &project]).await?;
            output.result(&deleted, || {
                let name = deleted["name"].as_str().unwrap_or(&project);
                format!("{name} was deleted\n")
            })
        }
        ProjectCommand::Users { project } => {
            let users = client.list(&["v1", "projects", &project, "users"], &[]).await?;
            let rows: Vec<ProjectUser> = users.iter().map(read).collect();
            output.result(&Value::Array(users), || {
                output::render(&mut table::project_users(&rows, &output.moment()))
            })
        }
        ProjectCommand::Grant { project, user, role } => {
            let path = ["v1", "projects", project.as_str(), "users", user.as_str()];
            let body = Map::from_iter([("role".to_owned(), role.into())]);
            let granted = client.put(&path, &body).await?;
            output.result(&granted, || {
                let granted: ProjectUser = read(&granted);
                format!("{} is {} in {project}\n", granted.name, granted.role)
            })
        }
        ProjectCommand::Withdraw { project, user } => {
            let former = client
                .delete(&["v1", "projects", &project, "users", &user])
                .await?;
            output.result(&former, || {
                let former: ProjectUser = read(&former);
                format!("{} is no longer {} in {project}\n", former.name, former.role)
            })
        }
    }
}

fn said(settings: ProjectSettings) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(description) = settings.description {
        body.insert("description".into(), description.into());
    }
    if let Some(images) = settings.max_images {
        body.insert("max_images_per_user".into(), images.into());
    }
    if let Some(bytes) = settings.max_bytes {
        body.insert("max_stored_bytes".into(), bytes.into());
    }
    body
}

fn show(project: &Value, output: &Output) -> Result<(), Fault> {
    output.result(project, || {
        table::project(&read(project), &output.moment()).render()
    })
}
