//! What the card answers, over real connections.

use imprint_proto::opi::frontend_nvme_service_client::FrontendNvmeServiceClient;
use imprint_proto::opi::frontend_virtio_blk_service_client::FrontendVirtioBlkServiceClient;
use imprint_proto::opi::nvme_controller_spec::Endpoint;
use imprint_proto::opi::nvme_namespace_status::OperState;
use imprint_proto::opi::nvme_remote_controller_service_client::NvmeRemoteControllerServiceClient;
use imprint_proto::opi::{
    CreateNvmeControllerRequest, CreateNvmeNamespaceRequest, CreateNvmePathRequest,
    CreateNvmeRemoteControllerRequest, CreateNvmeSubsystemRequest, CreateVirtioBlkRequest,
    DeleteNvmeRemoteControllerRequest, DeleteNvmeSubsystemRequest, DeleteVirtioBlkRequest, FabricsPath,
    GetNvmeRemoteControllerRequest, GetVirtioBlkRequest, ListNvmeNamespacesRequest,
    ListNvmeRemoteNamespacesRequest, ListVirtioBlksRequest, NvmeController, NvmeControllerSpec,
    NvmeNamespace, NvmeNamespaceSpec, NvmePath, NvmeRemoteController, NvmeSubsystem, NvmeSubsystemSpec,
    PciEndpoint, QosLimit, StatsVirtioBlkRequest, TcpController, VirtioBlk,
};
use imprint_tests::card::control;
use imprint_tests::card::{CardOptions, Served, serve};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::Channel;

use super::options;

type Blks = FrontendVirtioBlkServiceClient<Channel>;

async fn card(options: &CardOptions) -> (Served, Channel) {
    let served = serve(options).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", served.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    (served, channel)
}

fn pci(function: i32) -> PciEndpoint {
    PciEndpoint {
        port_id: Some(0),
        physical_function: Some(function),
        virtual_function: Some(0),
    }
}

pub fn blk(id: &str, function: i32, volume: &str) -> CreateVirtioBlkRequest {
    CreateVirtioBlkRequest {
        virtio_blk: Some(VirtioBlk {
            pcie_id: Some(pci(function)),
            volume_name_ref: volume.to_owned(),
            max_limit: Some(QosLimit {
                rw_iops_kiops: 5,
                ..QosLimit::default()
            }),
            ..VirtioBlk::default()
        }),
        virtio_blk_id: id.to_owned(),
    }
}

fn delete(id: &str, allow_missing: bool) -> DeleteVirtioBlkRequest {
    DeleteVirtioBlkRequest {
        name: format!("virtioBlks/{id}"),
        allow_missing,
    }
}

#[tokio::test]
async fn a_disk_is_made_once_and_goes_once() {
    let (_card, channel) = card(&options()).await;
    let mut blks = Blks::new(channel);
    let made = blks
        .create_virtio_blk(blk("v1", 0, "a"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.name, "virtioBlks/v1");
    let again = blks
        .create_virtio_blk(blk("v1", 0, "a"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, made);
    let refused = async |mut blks: Blks, request| blks.create_virtio_blk(request).await.unwrap_err().code();
    assert_eq!(
        refused(blks.clone(), blk("v1", 0, "b")).await,
        Code::AlreadyExists
    );
    assert_eq!(
        refused(blks.clone(), blk("v2", 0, "b")).await,
        Code::FailedPrecondition
    );
    assert_eq!(
        refused(blks.clone(), blk("v2", 7, "b")).await,
        Code::InvalidArgument
    );
    assert_eq!(
        refused(blks.clone(), blk("V2", 1, "b")).await,
        Code::InvalidArgument
    );
    assert_eq!(
        refused(blks.clone(), blk("v2", 1, "")).await,
        Code::InvalidArgument
    );
    assert_eq!(
        refused(blks.clone(), CreateVirtioBlkRequest::default()).await,
        Code::InvalidArgument
    );

    let name = "virtioBlks/v1".to_owned();
    let got = blks
        .get_virtio_blk(GetVirtioBlkRequest { name: name.clone() })
        .await
        .unwrap();
    assert_eq!(got.into_inner(), made);
    assert!(
        blks.stats_virtio_blk(StatsVirtioBlkRequest { name })
            .await
            .is_ok()
    );

    blks.delete_virtio_blk(delete("v1", false)).await.unwrap();
    let gone = blks.delete_virtio_blk(delete("v1", false)).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    blks.delete_virtio_blk(delete("v1", true)).await.unwrap();
    // Without an id the card finds one.
    let named = blks
        .create_virtio_blk(blk("", 0, "b"))
        .await
        .unwrap()
        .into_inner();
    assert!(named.name.starts_with("virtioBlks/opi-"), "{named:?}");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let all = CardOptions {
        functions: 5,
        ..options()
    };
    let (_card, channel) = card(&all).await;
    let mut blks = Blks::new(channel);
    for function in 0..5 {
        blks.create_virtio_blk(blk(&format!("v{function}"), function, "a"))
            .await
            .unwrap();
    }
    let mut names = Vec::new();
    let mut request = ListVirtioBlksRequest {
        page_size: 2,
        page_token: String::new(),
    };
    loop {
        let page = blks.list_virtio_blks(request.clone()).await.unwrap().into_inner();
        assert!(page.virtio_blks.len() <= 2);
        names.extend(page.virtio_blks.into_iter().map(|blk| blk.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(
        names,
        (0..5).map(|n| format!("virtioBlks/v{n}")).collect::<Vec<_>>()
    );
    request.page_token = "made up".into();
    assert_eq!(
        blks.list_virtio_blks(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn an_nvme_disk_from_its_path_to_its_namespace() {
    let (served, channel) = card(&options()).await;
    let mut remotes = NvmeRemoteControllerServiceClient::new(channel.clone());
    let mut nvme = FrontendNvmeServiceClient::new(channel);
    let remote = CreateNvmeRemoteControllerRequest {
        nvme_remote_controller: Some(NvmeRemoteController {
            tcp: Some(TcpController {
                psk: b"secret".to_vec(),
                ..TcpController::default()
            }),
            ..NvmeRemoteController::default()
        }),
        nvme_remote_controller_id: "r".into(),
    };
    let made = remotes
        .create_nvme_remote_controller(remote.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(made.tcp.unwrap().psk.is_empty(), "a secret was answered");
    // Also the second time, when the card does not know it any more.
    remotes.create_nvme_remote_controller(remote).await.unwrap();
    let name = made.name;
    let namespaces = ListNvmeRemoteNamespacesRequest {
        parent: name.clone(),
        ..ListNvmeRemoteNamespacesRequest::default()
    };
    let none = remotes
        .list_nvme_remote_namespaces(namespaces.clone())
        .await
        .unwrap();
    assert!(none.into_inner().nvme_remote_namespaces.is_empty());
    let path = CreateNvmePathRequest {
        parent: name.clone(),
        nvme_path: Some(NvmePath {
            traddr: "127.0.0.1".into(),
            fabrics: Some(FabricsPath {
                trsvcid: 4420,
                subnqn: "export".into(),
                ..FabricsPath::default()
            }),
            ..NvmePath::default()
        }),
        nvme_path_id: "p".into(),
    };
    remotes.create_nvme_path(path.clone()).await.unwrap();
    let orphan = CreateNvmePathRequest {
        parent: "nvmeRemoteControllers/other".into(),
        ..path
    };
    assert_eq!(
        remotes.create_nvme_path(orphan).await.unwrap_err().code(),
        Code::NotFound
    );
    let volume = remotes
        .list_nvme_remote_namespaces(namespaces)
        .await
        .unwrap()
        .into_inner();
    let volume = volume.nvme_remote_namespaces[0].name.clone();

    let subsystem = CreateNvmeSubsystemRequest {
        nvme_subsystem: Some(NvmeSubsystem {
            spec: Some(NvmeSubsystemSpec {
                nqn: "nqn.2026-01.example:s".into(),
                ..NvmeSubsystemSpec::default()
            }),
            ..NvmeSubsystem::default()
        }),
        nvme_subsystem_id: "s".into(),
    };
    let parent = nvme
        .create_nvme_subsystem(subsystem.clone())
        .await
        .unwrap()
        .into_inner()
        .name;
    let twin = CreateNvmeSubsystemRequest {
        nvme_subsystem_id: "twin".into(),
        ..subsystem
    };
    assert_eq!(
        nvme.create_nvme_subsystem(twin).await.unwrap_err().code(),
        Code::AlreadyExists
    );
    let controller = CreateNvmeControllerRequest {
        parent: parent.clone(),
        nvme_controller: Some(NvmeController {
            spec: Some(NvmeControllerSpec {
                endpoint: Some(Endpoint::PcieId(pci(1))),
                ..NvmeControllerSpec::default()
            }),
            ..NvmeController::default()
        }),
        nvme_controller_id: "c".into(),
    };
    nvme.create_nvme_controller(controller).await.unwrap();
    let namespace = |volume: &str, id: &str| CreateNvmeNamespaceRequest {
        parent: parent.clone(),
        nvme_namespace: Some(NvmeNamespace {
            spec: Some(NvmeNamespaceSpec {
                volume_name_ref: volume.to_owned(),
                host_nsid: 1,
                ..NvmeNamespaceSpec::default()
            }),
            ..NvmeNamespace::default()
        }),
        nvme_namespace_id: id.to_owned(),
    };
    let unknown = format!("{name}/nvmeRemoteNamespaces/7");
    let refused = nvme
        .create_nvme_namespace(namespace(&unknown, "n"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    nvme.create_nvme_namespace(namespace(&volume, "n")).await.unwrap();
    let second = nvme
        .create_nvme_namespace(namespace(&volume, "n2"))
        .await
        .unwrap_err();
    assert_eq!(second.code(), Code::ResourceExhausted);

    // Nothing goes away under what uses it.
    let subsystem = DeleteNvmeSubsystemRequest {
        name: parent.clone(),
        allow_missing: false,
    };
    let used = nvme.delete_nvme_subsystem(subsystem).await.unwrap_err();
    assert_eq!(used.code(), Code::FailedPrecondition, "{used}");
    let remote = DeleteNvmeRemoteControllerRequest {
        name: name.clone(),
        allow_missing: false,
    };
    let used = remotes.delete_nvme_remote_controller(remote).await.unwrap_err();
    assert_eq!(used.code(), Code::FailedPrecondition, "{used}");
    assert!(
        remotes
            .get_nvme_remote_controller(GetNvmeRemoteControllerRequest { name })
            .await
            .is_ok()
    );

    let list = ListNvmeNamespacesRequest {
        parent,
        ..ListNvmeNamespacesRequest::default()
    };
    let mut states = Vec::new();
    for fault in ["backend lost", "backend back"] {
        served.faults.put(control::parse(fault).unwrap());
        let listed = nvme
            .list_nvme_namespaces(list.clone())
            .await
            .unwrap()
            .into_inner();
        states.push(listed.nvme_namespaces[0].status.unwrap().oper_state());
    }
    assert_eq!(states, [OperState::Offline, OperState::Online]);
}

#[tokio::test]
async fn it_is_told_what_to_do_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let told = CardOptions {
        control: Some(folder.path().join("control")),
        ..options()
    };
    let (mut served, channel) = card(&told).await;
    let mut blks = Blks::new(channel);
    let mut control = BufReader::new(UnixStream::connect(told.control.unwrap()).await.unwrap());
    let mut tell = async |line: &str| {
        control.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        control.read_line(&mut answer).await.unwrap();
        answer.trim().to_owned()
    };
    assert!(tell("explode").await.starts_with("error: "));

    assert_eq!(tell("fail 1 RESOURCE_EXHAUSTED").await, "ok");
    let refused = blks.create_virtio_blk(blk("v1", 0, "a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let list = ListVirtioBlksRequest::default();
    let listed = blks.list_virtio_blks(list.clone()).await.unwrap().into_inner();
    assert!(listed.virtio_blks.is_empty(), "a call that failed was done");

    assert_eq!(tell("lose 1").await, "ok");
    let lost = blks.create_virtio_blk(blk("v1", 0, "a")).await.unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable);
    let listed = blks.list_virtio_blks(list.clone()).await.unwrap().into_inner();
    assert_eq!(
        listed.virtio_blks.len(),
        1,
        "a call whose answer was lost was not done"
    );

    assert_eq!(tell("slow 300").await, "ok");
    let start = std::time::Instant::now();
    blks.list_virtio_blks(list).await.unwrap();
    assert!(start.elapsed().as_millis() >= 300);
    assert_eq!(tell("calls").await, "ok 5");

    assert_eq!(tell("restart 75").await, "ok");
    assert_eq!(served.ended().await.unwrap(), 75);
}

#[tokio::test]
async fn the_books_survive_the_card() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("books.json");
    let kept = CardOptions {
        state: Some(file.clone()),
        ..options()
    };
    let (first, channel) = card(&kept).await;
    let made = Blks::new(channel.clone())
        .create_virtio_blk(blk("v1", 1, "a"))
        .await
        .unwrap();
    let mut remotes = NvmeRemoteControllerServiceClient::new(channel);
    let remote = CreateNvmeRemoteControllerRequest {
        nvme_remote_controller: Some(NvmeRemoteController {
            tcp: Some(TcpController {
                psk: b"0123456789".to_vec(),
                ..TcpController::default()
            }),
            ..NvmeRemoteController::default()
        }),
        nvme_remote_controller_id: "r".into(),
    };
    remotes.create_nvme_remote_controller(remote).await.unwrap();
    drop(first);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("psk"), "a secret is in the books: {text}");

    let (_second, channel) = card(&kept).await;
    let name = "virtioBlks/v1".to_owned();
    let got = Blks::new(channel)
        .get_virtio_blk(GetVirtioBlkRequest { name })
        .await
        .unwrap();
    assert_eq!(got.into_inner(), made.into_inner());

    // Books of a card with more functions are not for one with fewer.
    let smaller = CardOptions {
        functions: 1,
        ..kept.clone()
    };
    assert!(serve(&smaller).await.is_err());
    std::fs::write(&file, "no JSON").unwrap();
    let error = serve(&kept).await.unwrap_err();
    assert!(format!("{error:#}").contains("holds no books"), "{error:#}");
}
