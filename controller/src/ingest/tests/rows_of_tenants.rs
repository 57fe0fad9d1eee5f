//! What users of several projects do with images, each with a token of their own; the numbers are those of
//! `docs/image-service.md`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    disk, manifest, qcow2, restored,
    rig::{controller, ext4},
};
use crate::{
    identity::Role,
    testing::{TestServer, token_of},
};

/// A user of a project.
struct User {
    client: reqwest::Client,
    base: String,
    /// What the token says its project is.
    project: String,
}

impl User {
    async fn of(server: &TestServer, project: &str) -> Self {
        let token = token_of(&server.app, project, Role::Member).await;
        let mut user = Self {
            client: server.client_with(&token),
            base: server.base.clone(),
            project: String::new(),
        };
        let me = user.done(Method::GET, "/v1/whoami", &Value::Null).await;
        me["project_id"].as_str().unwrap().clone_into(&mut user.project);
        user
    }

    async fn asks(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = if body.is_null() {
            request
        } else {
            request.json(body)
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn done(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.asks(method, path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    async fn imports(&self, query: &str, content: Vec<u8>) -> Value {
        let request = self.client.post(format!("{}/v1/images?{query}", self.base));
        let answer = request.body(content).send().await.unwrap();
        let status = answer.status();
        let image: Value = answer.json().await.unwrap();
        assert_eq!(status, 201, "{image}");
        image
    }

    async fn status(&self, path: &str) -> u16 {
        self.asks(Method::GET, path, &Value::Null).await.0
    }

    async fn lists(&self) -> Vec<String> {
        let list = self.done(Method::GET, "/v1/images", &Value::Null).await;
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|image| image["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn row_25_a_private_image_has_system_data_and_the_users_own_software() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let (owner, other) = (User::of(&server, "a").await, User::of(&server, "b").await);
    let status = "Package: nginx\nStatus: install ok installed\nVersion: 1.22.1-9\nArchitecture: amd64\n";
    let content = ext4(&[
        ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        ("etc/fstab", "UUID=1 / ext4 defaults 0 1\n"),
        ("var/lib/dpkg/status", status),
        ("srv/shop/orders.db", "what the business knows"),
        ("opt/shop/bin/shop", "what nobody else has"),
    ]);
    let image = owner.imports("name=shop", content.clone()).await;
    assert_eq!(
        (
            &image["visibility"],
            &image["project_id"],
            &image["os_distribution"]
        ),
        (&json!("private"), &json!(owner.project), &json!("debian"))
    );
    let found = owner
        .done(Method::GET, "/v1/images?software=nginx", &Value::Null)
        .await;
    assert_eq!(found["items"][0]["name"], "shop");
    // All of it is kept, and nobody else learns of it, not even by its software or its id.
    assert!(restored(&server, manifest(&image)) == content);
    let id = image["id"].as_str().unwrap();
    assert!(other.lists().await.is_empty());
    let found = other
        .done(Method::GET, "/v1/images?software=nginx", &Value::Null)
        .await;
    assert_eq!(found["items"], json!([]));
    for path in [
        format!("/v1/images/{id}"),
        format!("/v1/images/{id}/facts"),
        format!("/v1/images/{id}/sbom"),
        format!("/v1/images/{id}/content?format=raw"),
    ] {
        assert_eq!(other.status(&path).await, 404, "{path}");
    }
    // Business data alone is an image too.
    let data = owner.imports("name=orders&kind=data-disk", disk()).await;
    assert_eq!(
        (&data["kind"], &data["visibility"]),
        (&json!("data-disk"), &json!("private"))
    );
}

#[tokio::test]
async fn row_36_a_file_from_outside_becomes_a_private_image() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(&dir.path().join("data"), |_| {}).await;
    let (owner, other) = (User::of(&server, "a").await, User::of(&server, "b").await);
    let file = qcow2(dir.path(), &disk());
    let image = owner.imports("name=moved", file.clone()).await;
    assert_eq!(
        (
            &image["visibility"],
            &image["state"],
            &image["project_id"],
            &image["source"],
            &image["source_format"]
        ),
        (
            &json!("private"),
            &json!("active"),
            &json!(owner.project),
            &json!("upload"),
            &json!("qcow2")
        )
    );
    assert!(restored(&server, manifest(&image)) == disk());
    assert_eq!(owner.lists().await, ["moved"]);
    assert_eq!(other.status("/v1/images/moved").await, 404);
    // The name is each project's own, and so is the image; only administrators import for everybody.
    let theirs = other.imports("name=moved", file.clone()).await;
    assert_ne!(theirs["id"], image["id"]);
    let request = owner
        .client
        .post(format!("{}/v1/images?name=x&visibility=public", owner.base));
    let refused: Value = request.body(file).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        refused["type"], "urn:imprint:problem:bad-image-field",
        "{refused}"
    );
}

#[tokio::test]
async fn row_43_an_image_is_shared_from_account_to_account() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let (owner, guest, stranger) = (
        User::of(&server, "a").await,
        User::of(&server, "b").await,
        User::of(&server, "c").await,
    );
    let image = owner.imports("name=shop", disk()).await;
    let path = format!("/v1/images/{}", image["id"].as_str().unwrap());
    assert_eq!(guest.status(&path).await, 404);

    let invited = json!({"projects": [guest.project]});
    owner
        .done(Method::POST, "/v1/images/shop/members", &invited)
        .await;
    let invitations = guest.done(Method::GET, "/v1/invitations", &Value::Null).await;
    assert_eq!(
        (
            invitations["items"].as_array().unwrap().len(),
            &invitations["items"][0]["image_id"]
        ),
        (1, &image["id"])
    );
    let answer = json!({"state": "accepted"});
    assert_eq!(guest.status(&path).await, 404, "offered is not accepted");
    guest
        .done(Method::PUT, &format!("{path}/members/own"), &answer)
        .await;

    // It is used like an image of one's own, and stays somebody else's.
    assert_eq!(guest.lists().await, ["shop"]);
    let shared = guest.done(Method::GET, &path, &Value::Null).await;
    assert_eq!(
        (
            &shared["visibility"],
            &shared["project_id"],
            &shared["image_digest"]
        ),
        (&json!("shared"), &json!(owner.project), &image["image_digest"])
    );
    let preflight = guest
        .done(Method::GET, &format!("{path}/preflight"), &Value::Null)
        .await;
    assert_eq!(preflight["ready"], true, "{preflight}");
    for (method, path, body) in [
        (Method::PATCH, path.clone(), json!({"description": "mine"})),
        (Method::DELETE, path.clone(), Value::Null),
        (
            Method::POST,
            format!("{path}/members"),
            json!({"projects": [stranger.project]}),
        ),
        (Method::POST, format!("{path}/obsolete"), json!({})),
    ] {
        let (status, refused) = guest.asks(method.clone(), &path, &body).await;
        assert!(
            (400..500).contains(&status),
            "{method} {path}: {status} {refused}"
        );
    }
    assert_eq!(stranger.status(&path).await, 404);

    // Taken back: gone for the other account at once, and unchanged for its owner.
    owner
        .done(
            Method::DELETE,
            &format!("{path}/members/{}", guest.project),
            &Value::Null,
        )
        .await;
    assert_eq!(guest.status(&path).await, 404);
    assert!(guest.lists().await.is_empty());
    let kept = owner.done(Method::GET, &path, &Value::Null).await;
    assert_eq!(
        (&kept["visibility"], &kept["state"]),
        (&json!("private"), &json!("active"))
    );
}
