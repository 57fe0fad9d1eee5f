//! The same through REST and gRPC.

use imprint_proto::v1::{
    CollectGarbageRequest, GetJobRequest, GetStoreRequest, VerifyStoreRequest, jobs_client::JobsClient,
    store_client::StoreClient,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    api::rest::upkeep::{self as rest, CollectRequest, VerifyRequest},
    testing::{TestServer, problem},
};

async fn ended(server: &TestServer, job: &Value) -> Value {
    let url = server.url(&format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
    loop {
        let job: Value = server
            .client()
            .get(&url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        if !job["ended_at"].is_null() {
            return job;
        }
        tokio::task::yield_now().await;
    }
}

async fn post(server: &TestServer, path: &str, body: &Value) -> reqwest::Response {
    server
        .client()
        .post(server.url(path))
        .json(body)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn operators_look_verify_and_collect_by_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let app = &server.app;
    let kept = import(app, &admin(), "kept", disk(&[1])).await;
    let gone = import(app, &admin(), "gone", disk(&[2])).await;
    delete(app, &gone).await;
    let_time_pass(app);

    let answer = post(&server, "/v1/store/verify", &json!({"image": "kept"})).await;
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let job: Value = answer.json().await.unwrap();
    assert_eq!(location, format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
    assert_eq!(
        (&job["kind"], &job["image_id"]),
        (&json!("verify"), &json!(kept.id))
    );
    let job = ended(&server, &job).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(
        (&job["result"]["packs"], &job["result"]["damaged_objects"]),
        (&json!(1), &json!(0))
    );

    let get = async || -> Value {
        let answer = server.client().get(server.url("/v1/store")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    };
    assert_eq!(
        (&get().await["objects"], &get().await["unused_objects"]),
        (&json!(4), &json!(2))
    );
    let dry: Value = post(&server, "/v1/store/gc", &json!({"dry_run": true}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(ended(&server, &dry).await["result"]["packs"], 1);
    assert_eq!(get().await["objects"], 4);
    let wet: Value = post(&server, "/v1/store/gc", &json!({}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(ended(&server, &wet).await["result"]["dry_run"], false);
    assert_eq!(get().await["objects"], 2);

    let (status, kind, _) = problem(post(&server, "/v1/store/verify", &json!({"image": "none"})).await).await;
    assert_eq!((status, kind.as_str()), (404, "image-not-found"));
    assert_eq!(
        problem(post(&server, "/v1/store/gc", &json!({"dry": true})).await)
            .await
            .0,
        400
    );
    for role in [Role::Member, Role::Reader] {
        let caller = Caller::for_test(PLATFORM, role);
        let verify = rest::verify(app, &caller, VerifyRequest::default(), None)
            .await
            .unwrap_err();
        let collect = rest::collect(app, &caller, &CollectRequest::default(), None)
            .await
            .unwrap_err();
        assert_eq!((verify.kind, collect.kind), ("forbidden", "forbidden"));
    }
}

#[tokio::test]
async fn grpc_gives_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let image = import(&server.app, &admin(), "a", disk(&[1])).await;
    let channel = server.channel().await;
    let token: tonic::metadata::MetadataValue<_> = format!("Bearer {}", server.token).parse().unwrap();
    let signed = move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", token.clone());
        Ok(request)
    };
    let mut store = StoreClient::with_interceptor(channel.clone(), signed.clone());
    let mut jobs = JobsClient::with_interceptor(channel, signed);
    let figures = store.get_store(GetStoreRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (figures.objects, figures.images, figures.damaged.len()),
        (2, 1, 0)
    );
    assert!(figures.place.ends_with("/store") && figures.free_bytes.is_some());
    let request = VerifyStoreRequest {
        image: image.name.clone(),
        idempotency_key: "once".into(),
    };
    let first = store.verify_store(request.clone()).await.unwrap().into_inner();
    let second = store.verify_store(request).await.unwrap().into_inner();
    assert_eq!(first.id, second.id);
    let request = CollectGarbageRequest {
        dry_run: true,
        idempotency_key: String::new(),
    };
    let collect = store.collect_garbage(request).await.unwrap().into_inner();
    for (id, part) in [(first.id, "\"packs\":1"), (collect.id, "\"dry_run\":true")] {
        let job = loop {
            let job = jobs
                .get_job(GetJobRequest { id: id.clone() })
                .await
                .unwrap()
                .into_inner();
            if job.ended_at.is_some() {
                break job;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(job.state, "succeeded");
        assert!(job.result_json.contains(part), "{}", job.result_json);
    }
    let mut stranger = StoreClient::new(server.channel().await);
    assert_eq!(
        stranger.get_store(GetStoreRequest {}).await.unwrap_err().code(),
        tonic::Code::Unauthenticated
    );
}
