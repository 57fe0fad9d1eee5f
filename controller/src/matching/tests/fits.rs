//! Lists of images that fit something, and what gRPC tells of nodes.

use imprint_proto::v1::{
    GetNodeRequest, ListImagesRequest, WhyRequest, images_client::ImagesClient, nodes_client::NodesClient,
};
use tonic::Request;

use super::*;

const RACK: &str = "schema = 1\nname = \"rack-1\"\nversion = 1\n[match]\nvendor = \"Example\"\narchitecture = \"x86_64\"\n\
    [needs]\ndrivers = [\"nvme\"]\nfirmware = [\"uefi\"]\nsector_sizes = [512]\n";

/// A controller with the model rack-1, the nodes web (of that model) and old (BIOS, no model).
async fn started(dir: &std::path::Path) -> TestServer {
    let server = TestServer::start(dir).await;
    node(
        &server,
        "web",
        &machine(vec![disk("nvme0n1", "nvme", "nvme", 512)]),
    )
    .await;
    let mut old = machine(vec![disk("sda", "sata", "ahci", 512)]);
    old.system.vendor = "Other".to_owned();
    old.firmware.mode = "bios".to_owned();
    node(&server, "old", &old).await;
    let applied = post(&server, "/v1/models", &json!({ "document": RACK })).await;
    assert_eq!(applied.status(), 200);
    server
}

async fn names(server: &TestServer, query: &str) -> Vec<String> {
    let page = get(server, &format!("/v1/images?{query}")).await;
    assert_eq!(page["next_page_token"], Value::Null, "{query}");
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|image| image["name"].as_str().unwrap().to_owned())
        .collect()
}

fn with_token<T>(server: &TestServer, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", server.token).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn row_14_lists_have_the_images_that_fit_a_node_or_a_model() {
    use BootMode::{Bios, Uefi};
    let dir = tempfile::tempdir().unwrap();
    let server = started(dir.path()).await;
    let of_family = |name: &str, modes: &[BootMode]| ImageSpec {
        family: Some("debian".to_owned()),
        ..spec(name, "x86_64", modes)
    };
    image(&server, &of_family("both", &[Uefi, Bios]), 1).await;
    image(&server, &spec("bios", "x86_64", &[Bios]), 2).await;
    image(&server, &spec("arm", "arm64", &[Uefi]), 3).await;
    let bare = image(&server, &spec("no-nvme", "x86_64", &[Uefi]), 4).await;
    with_modules(&server, &bare, &["ahci", "sd_mod"]).await;
    let captured = ImageSpec {
        source_model: Some("Other Rack 1".to_owned()),
        ..spec("captured", "x86_64", &[Uefi, Bios])
    };
    image(&server, &captured, 5).await;
    let rows = [
        ("fits=web", vec!["both"]),
        ("fits=old", vec!["both", "bios", "captured"]),
        ("fits=rack-1", vec!["both"]),
        ("fits=web&family=debian", vec!["both"]),
        ("fits=old&q=bios", vec!["bios"]),
        ("fits=", vec!["both", "bios", "arm", "no-nvme", "captured"]),
    ];
    for (query, expected) in rows {
        assert_eq!(names(&server, query).await, expected, "{query}");
    }
    let id = get(&server, "/v1/nodes/web").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(names(&server, &format!("fits={id}")).await, ["both"]);
    let (status, kind, remedy) = problem_of(&server, "/v1/images?fits=wbe").await;
    assert_eq!((status, kind.as_str()), (404, "node-or-model-not-found"));
    assert!(remedy.contains("imprint model list"), "{remedy}");
    // A node that is called like a model is meant before it.
    node(
        &server,
        "qemu-q35",
        &machine(vec![disk("vda", "virtio", "virtio_blk", 4096)]),
    )
    .await;
    assert_eq!(names(&server, "fits=qemu-q35").await, [""; 0]);

    // The same over gRPC.
    let request = ListImagesRequest {
        fits: "rack-1".to_owned(),
        ..ListImagesRequest::default()
    };
    let mut client = ImagesClient::new(server.channel().await);
    let answer = client.list_images(with_token(&server, request)).await.unwrap();
    let images = answer.into_inner().images;
    assert_eq!(
        images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(),
        ["both"]
    );
    let request = ListImagesRequest {
        fits: "nothing".to_owned(),
        ..ListImagesRequest::default()
    };
    let refused = client
        .list_images(with_token(&server, request))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_14_a_list_of_fitting_images_is_whole_over_its_pages() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(dir.path()).await;
    let mut expected = Vec::new();
    for number in 0..9_u8 {
        let fits = number % 3 != 1;
        let mode = if fits { BootMode::Uefi } else { BootMode::Bios };
        let name = format!("image-{number}");
        image(&server, &spec(&name, "x86_64", &[mode]), number).await;
        expected.extend(fits.then_some(name));
    }
    for size in 1..=7 {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/images?fits=web&page_size={size}&page_token={token}");
            let page = get(&server, &path).await;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= size, "{path}");
            found.extend(
                items
                    .iter()
                    .map(|image| image["name"].as_str().unwrap().to_owned()),
            );
            match page["next_page_token"].as_str() {
                Some(next) => {
                    assert_eq!(items.len(), size, "only the last page is short");
                    token = next.to_owned();
                }
                None => break,
            }
        }
        assert_eq!(found, expected, "pages of {size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_tells_the_model_of_a_node_and_why_its_image_fits() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(dir.path()).await;
    image(&server, &spec("good", "x86_64", &[BootMode::Uefi]), 1).await;
    let body = json!({ "node": "web", "image": "good" });
    assert_eq!(post(&server, "/v1/deployments", &body).await.status(), 201);
    let mut client = NodesClient::new(server.channel().await);
    for (name, model) in [("web", Some("rack-1")), ("old", None)] {
        let request = GetNodeRequest {
            node: name.to_owned(),
        };
        let found = client
            .get_node(with_token(&server, request))
            .await
            .unwrap()
            .into_inner();
        let rest = get(&server, &format!("/v1/nodes/{name}")).await;
        assert_eq!(
            (found.model.as_deref(), rest["model"].as_str()),
            (model, model),
            "{name}"
        );
    }
    let request = WhyRequest {
        node: "web".to_owned(),
    };
    let why = client
        .why(with_token(&server, request))
        .await
        .unwrap()
        .into_inner();
    let rest = get(&server, "/v1/nodes/web/why").await;
    let fit = why.fit.expect("the deployment keeps it");
    assert_eq!(Some(fit.verdict.as_str()), rest["fit"]["verdict"].as_str());
    let codes = |notes: &Value| {
        let codes = notes.as_array().unwrap().iter().map(|note| note["code"].clone());
        codes.collect::<Vec<_>>()
    };
    let told: Vec<Value> = fit.notes.iter().map(|note| note.code.clone().into()).collect();
    assert_eq!(told, codes(&rest["fit"]["notes"]));
    assert_eq!(Some(why.waiting_for.as_str()), rest["waiting_for"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_read_once_for_each_state_of_their_table() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(dir.path()).await;
    let matching = server.app.deployments.matching();
    let first = matching.current().await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &matching.current().await.unwrap()));
    let second = RACK
        .replace("version = 1", "version = 2")
        .replace("[512]", "[4096]");
    let applied = post(&server, "/v1/models", &json!({ "document": second })).await;
    assert_eq!(applied.status(), 200);
    let now = matching.current().await.unwrap();
    let sectors = |models: &[HardwareModel]| {
        let rack = models.iter().find(|model| model.name == "rack-1").unwrap();
        rack.needs.sector_sizes.clone()
    };
    assert_eq!((sectors(&first), sectors(&now)), (vec![512], vec![4096]));
    let deleted = server
        .client()
        .delete(server.url("/v1/models/rack-1"))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.status(), 200);
    let after = matching.current().await.unwrap();
    assert!(after.iter().all(|model| model.name != "rack-1"));
}
