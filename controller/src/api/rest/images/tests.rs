//! Images through REST and gRPC: the same operations on the same types.

use imprint_proto::v1::{self as wire, images_client::ImagesClient};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::{Code, Request, metadata::MetadataValue, transport::Channel};

use crate::testing::{TestServer, problem};

async fn start() -> (tempfile::TempDir, TestServer) {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    for (name, more) in [
        ("debian-12.1", "&family=debian&tags=web"),
        ("debian-12.2", "&family=debian"),
        ("data", "&kind=data-disk"),
    ] {
        let file = name.repeat(512).into_bytes();
        let imported = server
            .client()
            .post(server.url(&format!("/v1/images?name={name}{more}")))
            .body(file)
            .send()
            .await
            .unwrap();
        assert_eq!(imported.status(), 201, "{name}");
    }
    (dir, server)
}

async fn ask(server: &TestServer, method: Method, path: &str, body: &Value) -> reqwest::Response {
    let request = server.client().request(method, server.url(path));
    let request = if body.is_null() {
        request
    } else {
        request.json(body)
    };
    request.send().await.unwrap()
}

async fn done(server: &TestServer, method: Method, path: &str, body: &Value) -> Value {
    let response = ask(server, method, path, body).await;
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.json().await.unwrap()
}

async fn refused(server: &TestServer, method: Method, path: &str, body: &Value) -> (u16, String) {
    let (status, kind, remedy) = problem(ask(server, method, path, body).await).await;
    assert!(remedy.len() > 10, "{path}: {remedy}");
    (status, kind)
}

#[tokio::test]
async fn row_1_and_65_what_is_said_changes_and_the_content_does_not() {
    let (_dir, server) = start().await;
    let path = "/v1/images/debian-12.1";
    let before = done(&server, Method::GET, path, &Value::Null).await;
    assert_eq!(
        (before["visibility"].as_str(), before["tags"][0].as_str()),
        (Some("private"), Some("web"))
    );
    for field in ["image_digest", "disks", "kind", "region", "disk_size_bytes"] {
        let (status, kind) = refused(&server, Method::PATCH, path, &json!({ field: "x" })).await;
        assert_eq!((status, kind.as_str()), (409, "image-immutable"), "{field}");
    }
    let (status, kind) = refused(&server, Method::PATCH, path, &json!({ "descriptoin": "x" })).await;
    assert_eq!((status, kind.as_str()), (400, "invalid-request"));
    let (status, kind) = refused(
        &server,
        Method::PATCH,
        path,
        &json!({ "description": "x".repeat(1025) }),
    )
    .await;
    assert_eq!((status, kind.as_str()), (400, "bad-image-field"));
    let after = done(
        &server,
        Method::PATCH,
        path,
        &json!({ "description": "x", "family": null }),
    )
    .await;
    assert_eq!(
        (after["description"].as_str(), &after["family"]),
        (Some("x"), &Value::Null)
    );
    for same in ["id", "image_digest", "disks", "created_at", "tags"] {
        assert_eq!(after[same], before[same], "{same}");
    }
}

#[tokio::test]
async fn row_9_and_69_states_families_and_the_end_through_rest() {
    let (_dir, server) = start().await;
    let newest =
        async || done(&server, Method::GET, "/v1/families/debian", &Value::Null).await["name"].clone();
    assert_eq!(newest().await, "debian-12.2");
    let wish = json!({ "replacement": "debian-12.1", "reason": "broken" });
    let image = done(&server, Method::POST, "/v1/images/debian-12.2/deprecate", &wish).await;
    assert_eq!(
        (image["state"].as_str(), image["state_reason"].as_str()),
        (Some("deprecated"), Some("broken"))
    );
    assert_eq!(newest().await, "debian-12.1");
    let image = done(
        &server,
        Method::POST,
        "/v1/images/debian-12.2/activate",
        &Value::Null,
    )
    .await;
    assert_eq!(
        (image["state"].as_str(), &image["replacement"]),
        (Some("active"), &Value::Null)
    );

    let later = json!({ "at": "2999-01-01T00:00:00Z" });
    let image = done(&server, Method::POST, "/v1/images/debian-12.2/obsolete", &later).await;
    assert_eq!(
        (
            image["state"].as_str(),
            image["transitions"][0]["to_state"].as_str()
        ),
        (Some("active"), Some("obsolete"))
    );
    let path = "/v1/images/debian-12.2/transitions";
    let planned = done(&server, Method::GET, path, &Value::Null).await;
    assert_eq!(planned["items"].as_array().unwrap().len(), 1);
    let one = format!("{path}/obsolete");
    done(&server, Method::DELETE, &one, &Value::Null).await;
    assert_eq!(
        refused(&server, Method::DELETE, &one, &Value::Null).await,
        (404, "no-such-transition".into())
    );
    let word = format!("{path}/asleep");
    assert_eq!(refused(&server, Method::DELETE, &word, &Value::Null).await.0, 400);

    let families = done(&server, Method::GET, "/v1/families", &Value::Null).await;
    assert_eq!(
        (
            families["items"][0]["family"].as_str(),
            families["items"][0]["images"].as_u64()
        ),
        (Some("debian"), Some(2))
    );
    for (query, names) in [
        ("family=debian&q=12.1", &["debian-12.1"][..]),
        ("kind=data-disk&state=active", &["data"]),
        ("tag=web&owner=own", &["debian-12.1"]),
    ] {
        let found = done(&server, Method::GET, &format!("/v1/images?{query}"), &Value::Null).await;
        let found: Vec<&str> = found["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{query}");
    }
    assert_eq!(
        refused(&server, Method::GET, "/v1/images?kind=floppy", &Value::Null)
            .await
            .0,
        400
    );

    let disks = json!({ "name": "shop", "disks": [{ "role": "system", "image": "debian-12.1" }, { "role": "db", "image": "data" }] });
    let shop = done(&server, Method::POST, "/v1/images/compose", &disks).await;
    assert_eq!(
        (shop["kind"].as_str(), shop["disks"].as_array().unwrap().len()),
        (Some("full-machine"), 2)
    );
    done(
        &server,
        Method::PATCH,
        "/v1/images/shop",
        &json!({ "protected": true }),
    )
    .await;
    assert_eq!(
        refused(&server, Method::DELETE, "/v1/images/shop", &Value::Null).await,
        (409, "image-protected".into())
    );
    done(
        &server,
        Method::PATCH,
        "/v1/images/shop",
        &json!({ "protected": false }),
    )
    .await;
    let gone = done(&server, Method::DELETE, "/v1/images/shop", &Value::Null).await;
    assert_eq!(gone["name"], "shop");
    assert_eq!(
        refused(&server, Method::GET, "/v1/images/shop", &Value::Null).await,
        (404, "image-not-found".into())
    );
}

struct Grpc {
    client: ImagesClient<Channel>,
    bearer: MetadataValue<tonic::metadata::Ascii>,
}

impl Grpc {
    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.bearer.clone());
        request
    }

    fn state(&self, image: &str) -> Request<wire::ChangeImageStateRequest> {
        self.with(wire::ChangeImageStateRequest {
            image: image.into(),
            replacement: "debian-12.1".into(),
            ..Default::default()
        })
    }
}

#[tokio::test]
async fn row_9_the_same_through_grpc() {
    let (_dir, server) = start().await;
    let grpc = Grpc {
        client: ImagesClient::new(server.channel().await),
        bearer: format!("Bearer {}", server.token).parse().unwrap(),
    };
    let mut client = grpc.client.clone();
    let query = wire::ListImagesRequest {
        family: "debian".into(),
        tags: vec!["web".into()],
        ..Default::default()
    };
    let found = client
        .list_images(grpc.with(query))
        .await
        .unwrap()
        .into_inner()
        .images;
    assert_eq!(
        (found.len(), found[0].name.as_str(), found[0].disks.len()),
        (1, "debian-12.1", 1)
    );
    let query = wire::ListImagesRequest {
        kind: "floppy".into(),
        ..Default::default()
    };
    let wrong = client.list_images(grpc.with(query)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);

    let change = wire::UpdateImageRequest {
        image: "debian-12.1".into(),
        description: Some("x".into()),
        family: Some(String::new()),
        tags: Some(wire::Words::default()),
        price: Some(wire::Price {
            amount: "1".into(),
            currency: "EUR".into(),
            per: "month".into(),
        }),
        ..Default::default()
    };
    let image = client.update_image(grpc.with(change)).await.unwrap().into_inner();
    assert_eq!(
        (
            image.description.as_str(),
            image.family.as_str(),
            image.tags.len()
        ),
        ("x", "", 0)
    );
    assert_eq!(image.price.unwrap().per, "month");

    let image = client
        .deprecate_image(grpc.state("debian-12.2"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (image.state.as_str(), &image.replacement),
        ("deprecated", &found[0].id)
    );
    let image = client
        .obsolete_image(grpc.state("debian-12.2"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(image.state, "obsolete");
    let family = wire::GetFamilyRequest {
        family: "debian".into(),
    };
    let none = client.get_family(grpc.with(family.clone())).await.unwrap_err();
    assert_eq!(none.code(), Code::FailedPrecondition);
    client.deactivate_image(grpc.state("debian-12.2")).await.unwrap();
    client.activate_image(grpc.state("debian-12.2")).await.unwrap();
    let newest = client.get_family(grpc.with(family)).await.unwrap().into_inner();
    assert_eq!(newest.name, "debian-12.2");
    let all = client
        .list_families(grpc.with(wire::ListFamiliesRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((all.families.len(), all.families[0].images), (1, 1));

    let mut later = grpc.state("debian-12.2");
    later.get_mut().at = Some(prost_types::Timestamp {
        seconds: 32_503_680_000,
        nanos: 0,
    });
    let planned = client.deprecate_image(later).await.unwrap().into_inner();
    assert_eq!((planned.state.as_str(), planned.transitions.len()), ("active", 1));
    let cancel = wire::CancelImageTransitionsRequest {
        image: "debian-12.2".into(),
        to_state: String::new(),
    };
    let image = client
        .cancel_image_transitions(grpc.with(cancel))
        .await
        .unwrap()
        .into_inner();
    assert!(image.transitions.is_empty());

    let part = |role: &str, image: &str| wire::compose_image_request::Part {
        role: role.into(),
        image: image.into(),
    };
    let compose = wire::ComposeImageRequest {
        spec: Some(wire::ImageSpec {
            name: "shop".into(),
            ..Default::default()
        }),
        disks: vec![part("system", "debian-12.1"), part("db", "data")],
    };
    let shop = client
        .compose_image(grpc.with(compose))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((shop.kind.as_str(), shop.disks.len()), ("full-machine", 2));
    let delete = wire::DeleteImageRequest { image: "shop".into() };
    client.delete_image(grpc.with(delete.clone())).await.unwrap();
    assert_eq!(
        client.delete_image(grpc.with(delete)).await.unwrap_err().code(),
        Code::NotFound
    );
}
