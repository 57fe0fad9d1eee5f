use std::time::{Duration, Instant};

use imprint_proto::v1::{GetImageRequest, ListImagesRequest, images_client::ImagesClient};
use jiff::SignedDuration;
use tonic::{Code, Request, metadata::MetadataValue};

use super::*;
use crate::{
    identity::Role,
    testing::{TestServer, problem},
};

#[tokio::test]
async fn every_path_but_two_needs_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let anonymous = server.anonymous().build().unwrap();
    for open in ["/openapi.json", "/healthz"] {
        assert_eq!(
            anonymous.get(server.url(open)).send().await.unwrap().status(),
            200,
            "{open}"
        );
    }
    let life = SignedDuration::from_mins(1);
    let expiring = server
        .app
        .api_tokens
        .create("old", Role::Admin, Some(server.app.clock.now() + life))
        .await
        .unwrap();
    let old = server.client_with(&expiring.secret);
    assert_eq!(
        old.get(server.url("/v1/images")).send().await.unwrap().status(),
        200
    );
    server.app.clock.advance(life);

    let paths = crate::api::rest::openapi::document().paths.paths.keys();
    for path in paths.map(|p| p.replace(['{', '}'], "")) {
        for (client, why) in [
            (&anonymous, "missing"),
            (&server.client_with("imp_wrong"), "wrong"),
            (&old, "expired"),
        ] {
            let status = client.get(server.url(&path)).send().await.unwrap().status();
            // What only takes POST says so; it does not run either.
            assert!(
                [401, 405].contains(&status.as_u16()),
                "{path} with a {why} token: {status}"
            );
            let status = client
                .post(server.url(&path))
                .json(&serde_json::json!({}))
                .send()
                .await
                .unwrap()
                .status();
            assert!(
                [401, 405].contains(&status.as_u16()),
                "POST {path} with a {why} token: {status}"
            );
        }
    }
    let basic = anonymous
        .get(server.url("/v1/images"))
        .basic_auth("admin", Some("x"))
        .send()
        .await
        .unwrap();
    let (status, kind, remedy) = problem(basic).await;
    assert_eq!((status, kind.as_str()), (401, "unauthorized"));
    assert!(remedy.contains("admin.token"));
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_document() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let client = server.client();
    let missing = problem(client.get(server.url("/v2/images")).send().await.unwrap()).await;
    assert_eq!((missing.0, missing.1.as_str()), (404, "no-such-path"));
    let method = problem(client.patch(server.url("/v1/images")).send().await.unwrap()).await;
    assert_eq!((method.0, method.1.as_str()), (405, "no-such-method"));
    let query = problem(
        client
            .get(server.url("/v1/images?page_size=x"))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!((query.0, query.1.as_str()), (400, "invalid-request"));
    let image = problem(client.get(server.url("/v1/images/debian")).send().await.unwrap()).await;
    assert_eq!((image.0, image.1.as_str()), (404, "image-not-found"));
    assert!(image.2.contains("imprint image import"));
}

#[tokio::test]
async fn grpc_callers_need_a_token_and_find_images() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let mut client = ImagesClient::new(server.channel().await);
    let refused = client
        .list_images(ListImagesRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let import = server
        .client()
        .post(server.url("/v1/images?name=zeros"))
        .body(vec![0; 1 << 20])
        .send()
        .await
        .unwrap();
    assert_eq!(import.status(), 201);
    let bearer: MetadataValue<_> = format!("Bearer {}", server.token).parse().unwrap();
    let list = || {
        let mut request = Request::new(ListImagesRequest::default());
        request.metadata_mut().insert("authorization", bearer.clone());
        request
    };
    let listed = client.list_images(list()).await.unwrap().into_inner();
    assert_eq!(
        (listed.images.len(), listed.images[0].name.as_str()),
        (1, "zeros")
    );
    assert!(listed.images[0].created_at.is_some() && listed.next_page_token.is_empty());
    let mut wrong = Request::new(GetImageRequest { image: "zero".into() });
    wrong.metadata_mut().insert("authorization", bearer);
    let missing = client.get_image(wrong).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert!(
        missing.message().contains("Did you mean zeros?"),
        "{}",
        missing.message()
    );
}

#[tokio::test]
async fn health_and_reflection_answer() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let channel = server.channel().await;
    let health = HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(health.into_inner().status, 1);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for service in ["imprint.v1.Images", "imprint.agent.v1.Agent"] {
        assert!(names.contains(&service), "{names:?}");
    }
}

#[tokio::test]
async fn a_node_is_known_by_a_certificate_of_our_ca_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let path = format!("/v1/store/packs/{}", "0".repeat(64));
    let (status, kind, _) = problem(
        server
            .node_client("01NODE")
            .get(server.url(&path))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!((status, kind.as_str()), (403, "not-for-this-node"));
    let (status, ..) = problem(server.client().get(server.url(&path)).send().await.unwrap()).await;
    assert_eq!(status, 404);

    // A certificate of another controller's CA does not even get through the handshake.
    let other_dir = tempfile::tempdir().unwrap();
    let other = TestServer::start(other_dir.path()).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let foreign = other
        .app
        .authority
        .issue_node_certificate(request.der(), "01NODE")
        .unwrap();
    let chain = foreign
        .chain_der
        .into_iter()
        .map(rustls::pki_types::CertificateDer::from)
        .collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.app.authority.ca_der().clone()).unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                chain,
                rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .build()
        .unwrap();
    assert!(client.get(server.url("/healthz")).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shakes_hands_slowly_is_in_nobodys_way() {
    use tokio::io::AsyncWriteExt;

    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let port = server.base.rsplit(':').next().unwrap().to_owned();
    let mut slow = Vec::new();
    // If each kept its turn to the end of its handshake, the last would have theirs after the line's limit.
    for _ in 0..3 * HANDSHAKES {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        // The beginning of a handshake.
        stream.write_all(&[22]).await.unwrap();
        slow.push(stream);
    }
    let answer = server.client().get(server.url("/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(slow);
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = crate::config::Config::loopback(dir.path());
    config.listen = taken.local_addr().unwrap();
    let app = App::for_test_with(config, crate::clock::Clock::system()).await;
    let error = Server::bind(&app).await.unwrap_err();
    assert!(matches!(error, ServerError::InUse { .. }));
    assert!(error.to_string().contains("ss -ltnp"));
}

#[tokio::test]
async fn the_end_does_not_wait_for_streams_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    // An upload that never ends.
    let body = reqwest::Body::wrap_stream(futures::stream::pending::<Result<Vec<u8>, io::Error>>());
    let upload = server
        .client()
        .post(server.url("/v1/images?name=never"))
        .body(body)
        .send();
    let upload = tokio::spawn(upload);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!upload.is_finished());
    let begin = Instant::now();
    // The import is stopped, and its caller still gets to know why.
    assert_eq!(server.stop().await, Ended::Answered);
    assert!(begin.elapsed() < LAST_WORDS_LIMIT + Duration::from_secs(3));
    assert_eq!(upload.await.unwrap().unwrap().status(), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_comes_as_soon_as_nobody_waits_for_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let port = server.base.rsplit(':').next().unwrap().to_owned();
    // Somebody who says nothing, a connection that is kept, a stream of events, a watch over gRPC: none is a request
    // that has no answer yet and still could have one.
    let silent = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    let client = server.client();
    client.get(server.url("/healthz")).send().await.unwrap();
    let stream = client.get(server.url("/v1/events/stream")).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let channel = server.channel().await;
    let mut watch = tonic_health::pb::health_client::HealthClient::new(channel);
    let mut watched = watch
        .watch(tonic_health::pb::HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 1);
    assert_eq!(server.stop().await, Ended::Answered);
    drop((silent, stream));
}
