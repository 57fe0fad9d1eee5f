use sha2_of::sha256;

use super::*;
use crate::{
    export::ExportFault,
    identity::{Caller, Role, Viewer},
    testing::{problem, project},
};

mod sha2_of {
    pub(super) fn sha256(bytes: &[u8]) -> String {
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
    }
}

/// Row 37: an image that leaves in any format and comes back is the same, with all that was said of it.
#[tokio::test]
async fn row_37_an_image_that_leaves_and_comes_back_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let said = "name=golden&family=debian&version=12.1&description=all%20of%20it&tags=a,b&os_distribution=debian\
                &os_version=12&architecture=x86_64&min_memory_bytes=1073741824\
                &properties=%7B%22team%22:%22web%22%7D&license=%7B%22name%22:%22GPL-2.0%22%7D";
    let golden = import(&server, said, disk()).await;
    for format in ExportFormat::ALL {
        let response = get(&server, &content("golden", format)).await;
        assert_eq!(response.status(), 200, "{format}");
        let headers = response.headers().clone();
        let file = response.bytes().await.unwrap();
        if format == ExportFormat::Vmdk {
            assert!(!headers.contains_key("content-length"));
        } else {
            assert_eq!(headers["content-length"], file.len().to_string(), "{format}");
        }
        let name = format!("attachment; filename=\"golden.{}\"", format.extension());
        assert_eq!(headers["content-disposition"], name);
        // The digest is known from now on.
        let sum: Value = get(
            &server,
            &content("golden", format).replace("content?", "content/sum?"),
        )
        .await
        .json()
        .await
        .unwrap();
        assert_eq!(sum["sha256"], sha256(&file), "{format}");
        assert_eq!(sum["file_bytes"], file.len(), "{format}");
        let head = server
            .client()
            .head(server.url(&content("golden", format)))
            .send()
            .await
            .unwrap();
        assert!(
            head.headers()["repr-digest"]
                .to_str()
                .unwrap()
                .starts_with("sha-256=:"),
            "{format}"
        );
        assert_eq!(head.headers()["etag"], headers["etag"]);

        let mut spec = sum["image"].clone();
        spec["name"] = format!("from-{format}").into();
        let query: Vec<String> = spec
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Array(words) => {
                        let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
                        words.join(",")
                    }
                    other => other.to_string(),
                };
                format!(
                    "{key}={}",
                    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                )
            })
            .collect();
        let back = import(&server, &query.join("&"), file.to_vec()).await;
        for key in [
            "image_digest",
            "disk_size_bytes",
            "family",
            "version",
            "description",
            "tags",
            "os_distribution",
            "os_version",
            "architecture",
            "boot_modes",
            "min_memory_bytes",
            "properties",
            "license",
            "kind",
            "target",
        ] {
            assert_eq!(back[key], golden[key], "{format}: {key}");
        }
    }
}

#[tokio::test]
async fn the_rest_of_a_file_is_given_from_any_byte_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    import(&server, "name=golden", disk()).await;
    let ask = async |format: ExportFormat, range: &str, tag: Option<&str>| {
        let mut request = server
            .client()
            .get(server.url(&content("golden", format)))
            .header("range", range);
        if let Some(tag) = tag {
            request = request.header("if-range", tag);
        }
        request.send().await.unwrap()
    };
    for format in ExportFormat::ALL {
        let whole = get(&server, &content("golden", format)).await;
        let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
        let whole = whole.bytes().await.unwrap();
        let from = whole.len() / 3 * 2;
        let part = ask(format, &format!("bytes={from}-"), Some(&tag)).await;
        if format == ExportFormat::Vmdk {
            assert_eq!(part.status(), 200);
            assert!(part.bytes().await.unwrap() == whole);
            continue;
        }
        assert_eq!(part.status(), 206, "{format}");
        let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
        assert_eq!(part.headers()["content-range"], range);
        assert!(part.bytes().await.unwrap() == whole[from..], "{format}");
        // A part of it, and one of another file.
        let part = ask(format, "bytes=1000-400000", None).await;
        assert_eq!(
            (
                part.status().as_u16(),
                part.headers()["content-length"].to_str().unwrap()
            ),
            (206, "399001")
        );
        assert!(part.bytes().await.unwrap() == whole[1000..=400_000], "{format}");
        let all = ask(format, &format!("bytes={from}-"), Some("\"another\"")).await;
        assert_eq!(all.status(), 200, "{format}");
        let beyond = ask(format, &format!("bytes={}-", whole.len()), None).await;
        assert_eq!(problem(beyond).await.1, "range-outside");
    }
}

#[tokio::test]
async fn a_damaged_store_breaks_the_stream_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let disk = disk();
    import(&server, "name=golden", disk.clone()).await;
    let packs = dir.path().join("store/packs");
    let pack = std::fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[MIB + MIB / 2] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let mut response = get(&server, &content("golden", ExportFormat::Raw)).await;
    let mut got = Vec::new();
    let broken = loop {
        match response.chunk().await {
            Ok(Some(piece)) => got.extend_from_slice(&piece),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(
        broken && got.len() <= MIB && disk.starts_with(&got),
        "{}",
        got.len()
    );
    let (status, kind, remedy) = problem(get(&server, "/v1/images/golden/content/sum").await).await;
    assert_eq!((status, kind.as_str()), (500, "image-damaged"));
    assert!(remedy.contains("store verify"));
}

#[tokio::test]
async fn only_so_many_images_are_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    import(&server, "name=golden", disk()).await;
    let caller = Caller::for_test(crate::identity::PLATFORM, Role::Admin);
    let image = server.app.catalog.find(&Viewer::All, "golden").await.unwrap();
    let exports = &server.app.exports;
    let open = async || {
        exports
            .open(&image, &Viewer::All, None, ExportFormat::Raw)
            .await
            .unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(exports.stream(open().await, None, &caller).await.unwrap());
    }
    assert!(matches!(
        exports.stream(open().await, None, &caller).await,
        Err(ExportFault::Busy)
    ));
    let refused = get(&server, &content("golden", ExportFormat::Raw)).await;
    assert_eq!(problem(refused).await.1, "too-many-exports");
    // Whoever goes away leaves its place.
    drop(streams);
    loop {
        match exports.stream(open().await, None, &caller).await {
            Ok(_) => break,
            Err(ExportFault::Busy) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn what_may_not_be_read_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    import(&server, "name=golden", disk()).await;
    for (path, status, kind) in [
        ("/v1/images/none/content", 404, "image-not-found"),
        ("/v1/images/golden/content?format=vhdx", 400, "unknown-format"),
        ("/v1/images/golden/content?disk=data", 404, "disk-not-found"),
    ] {
        let refused = problem(get(&server, path).await).await;
        assert_eq!((refused.0, refused.1.as_str()), (status, kind), "{path}");
    }
    let anonymous = server.anonymous().build().unwrap();
    let refused = anonymous
        .get(server.url("/v1/images/golden/content"))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);

    // Another project sees nothing of a private image, and gets nothing of one that is sold.
    let other = Viewer::Project(project(&server.app, "other").await);
    assert!(server.app.catalog.find(&other, "golden").await.is_err());
    let mut image = server.app.catalog.find(&Viewer::All, "golden").await.unwrap();
    let open = async |image: &crate::catalog::Image, viewer: &Viewer| {
        server
            .app
            .exports
            .open(image, viewer, None, ExportFormat::Raw)
            .await
    };
    image.price = Some(crate::catalog::Price {
        amount: "1".into(),
        currency: "EUR".into(),
        per: crate::catalog::PricePer::Hour,
    });
    assert!(matches!(
        open(&image, &other).await,
        Err(ExportFault::Paid { .. })
    ));
    open(&image, &Viewer::All).await.unwrap();
    image.price = None;
    image.state = crate::catalog::ImageState::Deactivated;
    assert!(matches!(
        open(&image, &other).await,
        Err(ExportFault::State { .. })
    ));
    open(&image, &Viewer::All).await.unwrap();
    image.state = crate::catalog::ImageState::Importing;
    assert!(matches!(
        open(&image, &Viewer::All).await,
        Err(ExportFault::State { .. })
    ));

    // Who reads what is kept.
    get(&server, "/v1/images/golden/content")
        .await
        .bytes()
        .await
        .unwrap();
    let events: Value = get(&server, "/v1/events?page_size=100")
        .await
        .json()
        .await
        .unwrap();
    let read = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["kind"] == "image.content-read");
    assert_eq!(read.unwrap()["details"]["format"], "raw");
}

#[tokio::test]
async fn grpc_gives_the_same_bytes() {
    use imprint_proto::v1::{GetContentSumRequest, ReadContentRequest, copies_client::CopiesClient};

    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    import(&server, "name=golden", disk()).await;
    let whole = get(&server, &content("golden", ExportFormat::Qcow2))
        .await
        .bytes()
        .await
        .unwrap();
    let mut client = CopiesClient::new(server.channel().await);
    let with_token = |request: tonic::Request<ReadContentRequest>| {
        let mut request = request;
        let value = format!("Bearer {}", server.token).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    };
    for from in [0, 1_000_000] {
        let request = ReadContentRequest {
            image: "golden".into(),
            format: "qcow2".into(),
            disk: String::new(),
            from,
        };
        let mut stream = client
            .read_content(with_token(tonic::Request::new(request)))
            .await
            .unwrap()
            .into_inner();
        let (mut got, mut length) = (Vec::new(), 0);
        while let Some(piece) = stream.message().await.unwrap() {
            length = length.max(piece.file_bytes);
            got.extend_from_slice(&piece.data);
        }
        assert_eq!(length, whole.len() as u64);
        assert!(got == whole[usize::try_from(from).unwrap()..], "{from}");
    }
    let mut request = tonic::Request::new(GetContentSumRequest {
        image: "golden".into(),
        format: "qcow2".into(),
        disk: String::new(),
    });
    let value = format!("Bearer {}", server.token).parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let sum = client.get_content_sum(request).await.unwrap().into_inner();
    assert_eq!((sum.file_bytes, sum.sha256), (whole.len() as u64, sha256(&whole)));
}
