//! Projects, users and tokens by the command.

use std::os::unix::fs::PermissionsExt;

use axum::{
    Json, Router,
    extract::Path,
    http::StatusCode,
    response::IntoResponse,
    routing::{delete, get, post, put},
};
use serde_json::{Value, json};

use super::{
    fake::{Fake, Shared},
    problem,
};

const SECRET: &str = "imp_0123456789abcdef";

async fn makes_tokens(asked: Shared<Value>) -> Fake {
    let answer = async move |Json(body): Json<Value>| {
        asked.push(body.clone());
        if body["name"] == "refused" {
            return problem(StatusCode::FORBIDDEN, "A token cannot give more than there is").into_response();
        }
        let made = json!({"id": "01TOKEN", "name": body["name"], "user": "alice", "project": "web", "role": "member",
            "scopes": ["images:read"], "expires_at": null, "revoked_at": null, "secret": SECRET});
        (StatusCode::CREATED, Json(made)).into_response()
    };
    Fake::serve(Router::new().route("/v1/tokens", post(answer))).await
}

#[tokio::test]
async fn the_text_of_a_token_is_all_of_standard_output() {
    let asked = Shared::default();
    let fake = makes_tokens(asked.clone()).await;
    let line = [
        "token",
        "create",
        "ci",
        "--project",
        "web",
        "--scope",
        "images:read",
        "--scope",
        "jobs:read",
    ];
    let ran = fake
        .run(&[&line[..], &["--days", "7", "--role", "member", "--service"]].concat())
        .await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, format!("{SECRET}\n").as_str()),
        "{ran:?}"
    );
    assert!(ran.err.contains("alice") && ran.err.contains("images:read") && !ran.err.contains(SECRET));
    assert_eq!(
        asked.all(),
        [
            json!({"name": "ci", "project": "web", "role": "member", "service": true,
            "scopes": ["images:read", "jobs:read"], "expires_in_days": 7})
        ]
    );
    let ran = fake.run(&["token", "create", "ci", "--output", "json"]).await;
    assert_eq!(ran.json()["secret"], SECRET);
    assert!(!ran.err.contains(SECRET));
}

#[tokio::test]
async fn a_token_file_is_new_private_and_the_only_copy() {
    let asked = Shared::default();
    let fake = makes_tokens(asked.clone()).await;
    let path = fake.folder().join("ci.token");
    let out = path.to_str().unwrap();
    let ran = fake
        .run(&["token", "create", "ci", "--out", out, "--output", "json"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.json().get("secret").is_none() && !ran.out.contains(SECRET) && !ran.err.contains(SECRET));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{SECRET}\n"));
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // A file that is there is not overwritten, and no token is made for it.
    let ran = fake.run(&["token", "create", "ci", "--out", out]).await;
    assert!(ran.code == 1 && ran.err.contains("ci.token"), "{ran:?}");
    assert_eq!(asked.all().len(), 1);

    // A refusal leaves no file.
    let refused = fake.folder().join("refused.token");
    let ran = fake
        .run(&["token", "create", "refused", "--out", refused.to_str().unwrap()])
        .await;
    assert!(ran.code == 1 && ran.err.contains("more than there is"), "{ran:?}");
    assert!(!refused.exists());
}

#[tokio::test]
async fn roles_nodes_and_projects_are_changed_by_their_paths() {
    let asked: Shared<(String, Value)> = Shared::default();
    let (granted, assigned, patched) = (asked.clone(), asked.clone(), asked.clone());
    let router = Router::new()
        .route(
            "/v1/projects/{project}/users/{user}",
            put(
                async move |Path((project, user)): Path<(String, String)>, Json(body): Json<Value>| {
                    granted.push((format!("{project}/{user}"), body.clone()));
                    Json(json!({"user_id": "u", "name": user, "role": body["role"]}))
                },
            )
            .delete(async || Json(json!({"user_id": "u", "name": "alice", "role": "member"}))),
        )
        .route(
            "/v1/nodes/{node}/project",
            put(async move |Path(node): Path<String>, Json(body): Json<Value>| {
                assigned.push((node, body));
                Json(json!({"id": "n", "name": "web-07", "state": "available"}))
            }),
        )
        .route(
            "/v1/projects/{project}",
            get(async || Json(json!({"id": "p", "name": "web", "max_stored_bytes": 1_073_741_824_u64})))
                .patch(
                    async move |Path(project): Path<String>, Json(body): Json<Value>| {
                        patched.push((project, body));
                        Json(json!({"id": "p", "name": "web"}))
                    },
                )
                .delete(async || problem(StatusCode::CONFLICT, "The project still has something")),
        )
        .route(
            "/v1/users/{user}/disable",
            post(async || Json(json!({"id": "u", "name": "alice"}))),
        )
        .route(
            "/v1/tokens/{token}",
            delete(async || Json(json!({"id": "01T", "name": "ci"}))),
        )
        .route(
            "/v1/whoami",
            get(async || {
                Json(json!({"name": "alice", "project": "web", "role": "member", "may": ["images:read"]}))
            }),
        );
    let fake = Fake::serve(router).await;
    for (line, expected) in [
        (
            &["project", "grant", "web", "alice", "--role", "member"][..],
            "alice is member in web",
        ),
        (
            &["project", "withdraw", "web", "alice"],
            "alice is no longer member in web",
        ),
        (&["node", "assign", "web-07", "--project", "web"], "web-07"),
        (
            &[
                "project",
                "update",
                "web",
                "--max-bytes",
                "2GiB",
                "--max-images",
                "0",
            ],
            "web",
        ),
        (&["project", "show", "web"], "1.0 GiB"),
        (&["user", "disable", "alice"], "alice"),
        (&["token", "revoke", "01T"], "ci (01T) was revoked"),
        (&["whoami"], "images:read"),
    ] {
        let ran = fake.run(line).await;
        assert!(ran.code == 0 && ran.out.contains(expected), "{line:?}: {ran:?}");
    }
    assert_eq!(
        asked.all(),
        [
            ("web/alice".to_owned(), json!({"role": "member"})),
            ("web-07".to_owned(), json!({"project": "web"})),
            (
                "web".to_owned(),
                json!({"max_images_per_user": 0, "max_stored_bytes": 2_147_483_648_u64})
            ),
        ]
    );
    let ran = fake.run(&["project", "delete", "web"]).await;
    assert!(ran.code == 1 && ran.err.contains("remedy: "), "{ran:?}");
}
