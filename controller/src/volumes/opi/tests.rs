//! Cards that are newer, older, busy or broken. The card of the lab, which does all of it right, is in `tests/tests`.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{body::Body, extract::Request, response::Response};
use http::HeaderMap;
use http_body_util::{BodyExt as _, Full};
use imprint_proto::opi::{
    ListNvmeControllersResponse, NvmeController, NvmeControllerSpec, NvmeNamespaceStatus, PciEndpoint,
    VirtioBlk, nvme_controller_spec::Endpoint,
};
use prost::{Message as _, encoding};
use tokio::net::TcpListener;
use tonic::Code;

use super::*;
const ID: &str = "01K9ZZZZZZZZZZZZZZZZZZZZZZ";

type Called = Arc<Mutex<Vec<String>>>;

/// A card whose answers are made by hand: from a call's name and how many were before it, to bytes or a status.
async fn card(
    answer: impl Fn(&str, usize) -> Result<Vec<u8>, Code> + Clone + Send + Sync + 'static,
) -> (OpiCard, Called) {
    let called = Called::default();
    let calls = Arc::clone(&called);
    let app = axum::Router::new().fallback(async move |request: Request| {
        let path = request.uri().path().to_owned();
        let call = path.rsplit('/').next().unwrap_or_default().to_owned();
        let before = {
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.push(call.clone());
            calls.iter().filter(|known| **known == call).count() - 1
        };
        let head = Response::builder().header("content-type", "application/grpc");
        match answer(&call, before) {
            // What stands for no answer at all.
            Err(Code::Ok) => std::future::pending().await,
            Err(code) => head
                .header("grpc-status", (code as i32).to_string())
                .header("grpc-message", "because")
                .body(Body::empty()),
            Ok(message) => {
                let mut framed = vec![0];
                framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
                framed.extend(message);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                let body = Full::new(bytes::Bytes::from(framed)).with_trailers(async { Some(Ok(trailers)) });
                head.body(Body::new(body))
            }
        }
        .unwrap()
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (OpiCard::at(&address).unwrap(), called)
}

fn count(called: &Called, call: &str) -> usize {
    let called = called.lock().unwrap();
    called.iter().filter(|known| *known == call).count()
}

/// The message with fields that no version of ours knows.
fn newer(mut message: Vec<u8>) -> Vec<u8> {
    encoding::string::encode(999, &"of the next version".to_owned(), &mut message);
    encoding::uint64::encode(1000, &7, &mut message);
    message
}

/// A message with one field, which is a message.
fn around(tag: u32, inner: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    encoding::bytes::encode(tag, &inner.to_vec(), &mut message);
    message
}

fn named(name: &str) -> Vec<u8> {
    let mut message = Vec::new();
    encoding::string::encode(1, &name.to_owned(), &mut message);
    message
}

fn volume(backing: Backing) -> Volume {
    Volume {
        id: ID.to_owned(),
        size_bytes: 1 << 30,
        backing,
        limits: Limits::default(),
    }
}

fn seat(kind: DiskKind) -> Seat {
    Seat {
        function: PciFunction {
            physical: 2,
            ..PciFunction::default()
        },
        kind,
    }
}

fn over_the_network() -> Backing {
    Backing::NvmeTcp {
        subsystem: "nqn.2026-01.example:storage".to_owned(),
        namespace: 3,
        addresses: vec![(Ipv4Addr::LOCALHOST, 4420).into()],
    }
}

#[tokio::test]
async fn fields_and_values_of_newer_cards_do_no_harm() {
    let id = card_id(ID);
    let (card, _) = card(move |call, _| {
        let subsystem = format!("//storage.example.org/nvmeSubsystems/{id}");
        Ok(match call {
            "ListVirtioBlks" => {
                let blk = VirtioBlk {
                    name: "virtioBlks/somebodys".into(),
                    pcie_id: Some(PciEndpoint {
                        physical_function: Some(-5),
                        ..PciEndpoint::default()
                    }),
                    ..VirtioBlk::default()
                };
                newer(around(1, &newer(blk.encode_to_vec())))
            }
            "CreateVirtioBlk" => newer(named(&format!("//storage.example.org/virtioBlks/{id}"))),
            "ListNvmeSubsystems" => newer(around(1, &newer(named(&subsystem)))),
            "ListNvmeControllers" => {
                let spec = NvmeControllerSpec {
                    // A transport and an endpoint of the future.
                    trtype: 4711,
                    endpoint: Some(Endpoint::PcieId(PciEndpoint::default())),
                    ..NvmeControllerSpec::default()
                };
                let controller = NvmeController {
                    spec: Some(spec),
                    ..NvmeController::default()
                };
                let answer = ListNvmeControllersResponse {
                    nvme_controllers: vec![controller],
                    ..ListNvmeControllersResponse::default()
                };
                newer(answer.encode_to_vec())
            }
            "ListNvmeNamespaces" => {
                let status = NvmeNamespaceStatus {
                    state: 42,
                    oper_state: 77,
                };
                let namespace = around(3, &newer(status.encode_to_vec()));
                newer(around(1, &newer(namespace)))
            }
            _ => newer(Vec::new()),
        })
    })
    .await;
    assert_eq!(card.status(ID).await.unwrap(), Presence::Unclear(77));
    let listed = card.list().await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(listed[0].volume_id, None);
    assert_eq!(listed[0].seat.unwrap().function.physical, u16::MAX);
    assert_eq!(listed[1].volume_id.as_deref(), Some(ID));
    let shown = card
        .attach(
            &volume(Backing::Named {
                name: "export".into(),
            }),
            &seat(DiskKind::VirtioBlk),
        )
        .await
        .unwrap();
    assert!(shown.name.starts_with("//storage.example.org/"), "{shown:?}");
    assert_eq!(shown.serial, &card_id(ID)[..20]);
    // Found again under the card's own spelling.
    card.detach(ID).await.unwrap();
}

#[tokio::test]
async fn a_busy_card_is_asked_again_and_a_refusal_stays() {
    let (busy, called) = card(|call, before| match (call, before) {
        ("CreateVirtioBlk", 0) => Err(Code::Unavailable),
        ("CreateVirtioBlk", 1) => Err(Code::Ok),
        ("CreateVirtioBlk", _) => Ok(named("virtioBlks/x")),
        _ => Ok(Vec::new()),
    })
    .await;
    let named_volume = volume(Backing::Named {
        name: "export".into(),
    });
    busy.attach(&named_volume, &seat(DiskKind::VirtioBlk))
        .await
        .unwrap();
    assert_eq!(count(&called, "CreateVirtioBlk"), 3);

    let (full, called) = card(|call, _| match call {
        "CreateVirtioBlk" => Err(Code::ResourceExhausted),
        _ => Ok(Vec::new()),
    })
    .await;
    let refused = full.attach(&named_volume, &seat(DiskKind::VirtioBlk)).await;
    let refused = refused.unwrap_err();
    assert!(
        refused.to_string().ends_with("(ResourceExhausted): because"),
        "{refused}"
    );
    assert!(refused.remedy().contains("Detach"), "{}", refused.remedy());
    assert_eq!(count(&called, "CreateVirtioBlk"), 1);
}

#[tokio::test]
async fn a_card_that_never_answers_is_said() {
    let (silent, called) = card(|_, _| Err(Code::Unavailable)).await;
    let error = silent.status(ID).await.unwrap_err();
    assert!(
        matches!(
            error,
            ProviderError::Silent {
                call: "ListVirtioBlks",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        count(&called, "ListVirtioBlks"),
        4,
        "the first try and three more"
    );
    // Nobody listens at all.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let gone = OpiCard::at(&address).unwrap();
    let error = gone.list().await.unwrap_err();
    assert!(matches!(error, ProviderError::Silent { .. }), "{error}");
    assert!(
        error.to_string().contains(&address) && error.remedy().contains("powered"),
        "{error}"
    );
}

#[tokio::test]
async fn a_card_without_a_service_is_used_for_what_it_has() {
    let (card, _) = card(|call, _| match call {
        "ListVirtioBlks" => Ok(Vec::new()),
        "CreateVirtioBlk" => Ok(named("virtioBlks/x")),
        _ => Err(Code::Unimplemented),
    })
    .await;
    assert_eq!(card.list().await.unwrap(), vec![]);
    assert_eq!(card.status(ID).await.unwrap(), Presence::Absent);
    let known = volume(Backing::Named {
        name: "export".into(),
    });
    card.attach(&known, &seat(DiskKind::VirtioBlk)).await.unwrap();
    let far = volume(over_the_network());
    let error = card.attach(&far, &seat(DiskKind::VirtioBlk)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ProviderError::Unknown {
                call: "CreateNvmeRemoteController",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_not_found_behind_a_path_is_said() {
    let (card, called) = card(|call, _| match call {
        "CreateNvmeRemoteController" => Ok(named("nvmeRemoteControllers/x")),
        "ListNvmeRemoteNamespaces" => {
            let mut namespace = named("nvmeRemoteControllers/x/nvmeRemoteNamespaces/1");
            encoding::int32::encode(2, &1, &mut namespace);
            Ok(around(1, &namespace))
        }
        _ => Ok(Vec::new()),
    })
    .await;
    let error = card
        .attach(&volume(over_the_network()), &seat(DiskKind::Nvme))
        .await;
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains("namespace 3") && error.to_string().ends_with("it has 1"),
        "{error}"
    );
    assert!(
        count(&called, "ListNvmeRemoteNamespaces") > 1,
        "it was not waited for"
    );
    assert_eq!(count(&called, "CreateNvmeSubsystem"), 0);
}

#[tokio::test]
async fn answers_without_an_end_or_a_name_are_strange() {
    let (endless, _) = card(|_, _| {
        let mut page = Vec::new();
        encoding::string::encode(2, &"more".to_owned(), &mut page);
        Ok(page)
    })
    .await;
    let error = endless.status(ID).await.unwrap_err();
    assert!(matches!(error, ProviderError::Strange { .. }), "{error}");
    let (nameless, _) = card(|_, _| Ok(Vec::new())).await;
    let known = volume(Backing::Named {
        name: "export".into(),
    });
    let error = nameless
        .attach(&known, &seat(DiskKind::VirtioBlk))
        .await
        .unwrap_err();
    assert!(
        error.to_string().ends_with("something that has no name"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_there_before_a_failure_stays() {
    let (card, called) = card(|call, _| match call {
        "ListVirtioBlks" => {
            let blk = VirtioBlk {
                name: format!("virtioBlks/{}", card_id(ID)),
                volume_name_ref: "export".into(),
                pcie_id: Some(endpoint(PciFunction::default())),
                ..VirtioBlk::default()
            };
            Ok(around(1, &blk.encode_to_vec()))
        }
        "CreateVirtioBlk" => Err(Code::AlreadyExists),
        _ => Ok(Vec::new()),
    })
    .await;
    let known = volume(Backing::Named {
        name: "export".into(),
    });
    let error = card.attach(&known, &seat(DiskKind::VirtioBlk)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Different { .. }), "{error}");
    let same = Seat {
        function: PciFunction::default(),
        kind: DiskKind::VirtioBlk,
    };
    // A card that refuses what it has, although it is the same.
    card.attach(&known, &same).await.unwrap();
    assert_eq!(count(&called, "DeleteVirtioBlk"), 0);
}
