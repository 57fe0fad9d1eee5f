//! Images between projects, quotas and usage by the command.

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::{Path, Query},
    routing::{delete, get, post, put},
};
use serde_json::{Value, json};

use super::fake::{Fake, Shared};

#[tokio::test]
async fn sharing_and_publishing_say_what_the_line_says() {
    let asked: Shared<(String, Value)> = Shared::default();
    let (invited, answered, published, limited) =
        (asked.clone(), asked.clone(), asked.clone(), asked.clone());
    let member = || json!({"image_id": "i", "project_id": "p", "project": "web", "state": "pending"});
    let router = Router::new()
        .route(
            "/v1/images/{image}/members",
            post(async move |Path(image): Path<String>, Json(body): Json<Value>| {
                invited.push((image, body));
                Json(json!({"items": [member()], "next_page_token": null}))
            }),
        )
        .route(
            "/v1/images/{image}/members/{project}",
            put(
                async move |Path((image, project)): Path<(String, String)>, Json(body): Json<Value>| {
                    answered.push((format!("{image}/{project}"), body));
                    Json(member())
                },
            )
            .delete(async move || Json(member())),
        )
        .route(
            "/v1/images/{image}/publish",
            post(async move |Path(image): Path<String>, Json(body): Json<Value>| {
                published.push((image, body));
                Json(json!({"name": "shop", "visibility": "marketplace"}))
            }),
        )
        .route(
            "/v1/images/{image}/entitlements/{project}",
            put(async || Json(json!({"project": "web"}))).merge(delete(async || Json(json!({"project": "web"})))),
        )
        .route(
            "/v1/projects/{project}/quota",
            put(async move |Path(project): Path<String>, Json(body): Json<Value>| {
                limited.push((project, body));
                Json(json!({"stored_bytes": {"used": 1_073_741_824_u64}, "users": []}))
            }),
        )
        .route(
            "/v1/usage",
            get(async |Query(query): Query<HashMap<String, String>>| {
                assert_eq!(query["from"], "2026-11-01T00:00:00Z");
                Json(json!({"items": [], "logical_gib_hours": "2.000000", "deduplicated_gib_hours": "1.500000"}))
            }),
        );
    let fake = Fake::serve(router).await;
    for (line, expected) in [
        (&["image", "share", "shop", "01P", "02P"][..], "pending"),
        (&["image", "accept", "shop"], "shop is accepted"),
        (&["image", "unshare", "shop", "01P"], "no longer shared with web"),
        (
            &[
                "image",
                "publish",
                "shop",
                "--to",
                "marketplace",
                "--publisher",
                "Shops",
                "--license",
                "EULA",
                "--price",
                "0.05/EUR/hour",
            ],
            "shop is marketplace",
        ),
        (&["image", "entitle", "shop", "01P"], "web may use shop"),
        (
            &["image", "disentitle", "shop", "01P"],
            "web may no longer use shop",
        ),
        (&["quota", "set", "web", "--bytes", "2GiB"], "1.0 GiB"),
        (&["usage", "--from", "2026-11-01"], "1.500000"),
    ] {
        let ran = fake.run(line).await;
        assert!(ran.code == 0 && ran.out.contains(expected), "{line:?}: {ran:?}");
    }
    assert_eq!(
        asked.all(),
        [
            ("shop".to_owned(), json!({"projects": ["01P", "02P"]})),
            ("shop/own".to_owned(), json!({"state": "accepted"})),
            (
                "shop".to_owned(),
                json!({"to": "marketplace", "free": false, "publisher": "Shops",
                    "price": {"amount": "0.05", "currency": "EUR", "per": "hour"},
                    "license": {"name": "EULA", "included": true, "required": false, "reference": ""}})
            ),
            ("web".to_owned(), json!({"max_stored_bytes": 2_147_483_648_u64})),
        ]
    );
}

#[tokio::test]
async fn a_preflight_is_zero_only_when_all_holds() {
    for (holds, code) in [(true, 0), (false, 1)] {
        let answer = json!({"ready": holds, "image": "shop", "conditions": [
            {"condition": "state", "holds": true, "detail": "It is active.", "remedy": ""},
            {"condition": "entitlement", "holds": holds, "detail": "It costs 1 EUR.", "remedy": "Ask its publisher."}]});
        let router = Router::new().route("/v1/images/{image}/preflight", get(async move || Json(answer)));
        let fake = Fake::serve(router).await;
        let ran = fake
            .run(&["image", "preflight", "shop", "--node", "web-07"])
            .await;
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.out.contains("entitlement"));
        assert_eq!(ran.err.contains("Ask its publisher."), !holds, "{ran:?}");
    }
}
