//! The same operations through gRPC.

use imprint_proto::v1::{
    self as wire, GetImageFactsRequest, GetImageLintRequest, GetImageSbomRequest, GetJobRequest,
    ImportFileBegin, ImportFileRequest, StartImportRequest, UrlSource,
    image_contents_client::ImageContentsClient, import_file_request::Part, imports_client::ImportsClient,
    jobs_client::JobsClient, start_import_request::Source,
};
use serde_json::Value;
use tonic::{Code, Request, metadata::MetadataValue};

use super::{
    disk, manifest, post as upload, restored,
    rig::{controller, debian, get, serve},
};
use crate::testing::TestServer;

fn request<T>(server: &TestServer, message: T) -> Request<T> {
    let bearer: MetadataValue<_> = format!("Bearer {}", server.token).parse().unwrap();
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", bearer);
    request
}

#[tokio::test]
async fn row_58_imports_and_jobs_are_the_same_through_grpc() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let address = serve(axum::Router::new().fallback(async || vec![1; 4096])).await;
    let channel = server.channel().await;
    let import = |source| StartImportRequest {
        spec: Some(wire::ImageSpec {
            name: "a".into(),
            family: "things".into(),
            boot_modes: vec!["bios".into()],
            tags: vec!["web".into()],
            kind: "data-disk".into(),
            ..wire::ImageSpec::default()
        }),
        source,
        ..StartImportRequest::default()
    };
    let mut imports = ImportsClient::new(channel.clone());
    let none = imports
        .start_import(request(&server, import(None)))
        .await
        .unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    let source = Source::Url(UrlSource {
        url: format!("http://{address}/disk.raw"),
        credential: String::new(),
    });
    let job = imports
        .start_import(request(&server, import(Some(source))))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (job.kind.as_str(), job.requested_by.as_str()),
        ("import", "admin")
    );
    let mut jobs = JobsClient::new(channel);
    let ended = loop {
        let question = GetJobRequest { id: job.id.clone() };
        let now = jobs
            .get_job(request(&server, question))
            .await
            .unwrap()
            .into_inner();
        if !matches!(now.state.as_str(), "queued" | "running") {
            break now;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!((ended.state.as_str(), ended.problem), ("succeeded", None));
    let result: Value = serde_json::from_str(&ended.result_json).unwrap();
    assert_eq!(
        (&result["name"], &result["image_id"]),
        (&"a".into(), &ended.image_id.into())
    );
}

#[tokio::test]
async fn row_58_a_file_is_sent_through_grpc() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let mut imports = ImportsClient::new(server.channel().await);
    let begin = |name: &str, encrypt| ImportFileRequest {
        part: Some(Part::Begin(ImportFileBegin {
            spec: Some(wire::ImageSpec {
                name: name.into(),
                encrypt: Some(encrypt),
                ..wire::ImageSpec::default()
            }),
            length: disk().len() as u64,
            ..ImportFileBegin::default()
        })),
    };
    let file = disk();
    let pieces: Vec<_> = file
        .chunks(1 << 20)
        .map(|piece| ImportFileRequest {
            part: Some(Part::Piece(piece.to_vec())),
        })
        .collect();
    for (name, encrypt) in [("plain", false), ("secret", true)] {
        let sent = tokio_stream::iter([vec![begin(name, encrypt)], pieces.clone()].concat());
        let image = imports
            .import_file(request(&server, sent))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (image.name.as_str(), image.state.as_str(), image.encrypted),
            (name, "active", encrypt)
        );
    }
    assert!(restored(&server, manifest(&get(&server, "/v1/images/plain").await)) == file);
    // Without a beginning, and with a second one in the middle.
    let nothing = imports
        .import_file(request(&server, tokio_stream::iter(pieces.clone())))
        .await
        .unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let twice = vec![begin("twice", false), pieces[0].clone(), begin("twice", false)];
    let twice = imports
        .import_file(request(&server, tokio_stream::iter(twice)))
        .await;
    assert!(twice.is_err());
    let gone = server
        .client()
        .get(server.url("/v1/images/twice"))
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn row_76_contents_are_the_same_through_grpc() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    upload(&server, "name=a", debian()).await;
    let mut contents = ImageContentsClient::new(server.channel().await);
    let image = || "a".to_owned();
    let facts = contents
        .get_image_facts(request(&server, GetImageFactsRequest { image: image() }))
        .await;
    let facts = facts.unwrap().into_inner();
    assert_eq!(
        (facts.disks[0].package_count, facts.disks[0].plugins.len()),
        (2, 3)
    );
    assert!(facts.disks[0].facts_json.contains("\"debian\""));
    let lint = contents
        .get_image_lint(request(&server, GetImageLintRequest { image: image() }))
        .await;
    let lint = lint.unwrap().into_inner();
    assert!(lint.errors > 0 && lint.disks[0].examined && lint.disks[0].findings[0].severity == "error");
    let sbom = contents
        .get_image_sbom(request(&server, GetImageSbomRequest { image: image() }))
        .await;
    let sbom: Value = serde_json::from_str(&sbom.unwrap().into_inner().spdx_json).unwrap();
    assert_eq!(sbom["spdxVersion"], "SPDX-2.3");
    let nobody = contents
        .get_image_facts(GetImageFactsRequest { image: image() })
        .await
        .unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
}
