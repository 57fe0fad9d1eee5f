//! The walk over gRPC, by the descriptors that reflection serves.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Request, header};
use prost::Message;
use tonic::Code;
use tower::ServiceExt;

use super::{
    fixture::{Who, World},
    methods::{self, Method},
    table::Needs,
};

/// A request whose fields are all text.
fn frame(fields: &[(u8, String)]) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, text) in fields {
        // Wire type 2, length-delimited; all texts here are short.
        message.push(number << 3 | 2);
        message.push(u8::try_from(text.len()).unwrap());
        message.extend_from_slice(text.as_bytes());
    }
    assert!(fields.iter().all(|(_, text)| text.len() < 128));
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

async fn call(world: &World, method: &Method, who: Who) -> Code {
    let things = world.things(who);
    let fields: Vec<_> = method
        .fields
        .iter()
        .map(|(number, text)| (*number, things.fill(text)))
        .collect();
    let mut request = Request::post(format!("/imprint.v1.{}", method.name))
        .version(http::Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers");
    if let Some(token) = world.token(who) {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Body::from(frame(&fields))).unwrap();
    let answer = world.router.clone().oneshot(request).await.unwrap();
    // A refusal is in the headers; what is answered has its status behind the body, which may have no end.
    let status = answer.headers().get("grpc-status");
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

#[test]
fn every_method_has_a_row() {
    let files = prost_types::FileDescriptorSet::decode(imprint_proto::FILE_DESCRIPTOR_SET).unwrap();
    let methods: BTreeSet<String> = files
        .file
        .iter()
        .filter(|file| file.package() == "imprint.v1")
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            service
                .method
                .iter()
                .map(|method| format!("{}/{}", service.name(), method.name()))
        })
        .collect();
    let rows: BTreeSet<String> = methods::grpc()
        .iter()
        .map(|method| method.name.to_owned())
        .collect();
    let missing: Vec<_> = methods.difference(&rows).collect();
    let gone: Vec<_> = rows.difference(&methods).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "controller/src/api/access/methods.rs: without a row {missing:#?}; with a row and no method {gone:#?}"
    );
}

#[tokio::test]
async fn every_caller_is_let_in_where_the_table_says_and_nowhere_else() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for method in methods::grpc() {
        for who in Who::ALL {
            let code = call(&world, &method, who).await;
            let right = match method.needs {
                Needs::Nothing => code != Code::Unauthenticated,
                _ if who == Who::Nobody => code == Code::Unauthenticated,
                Needs::To(permission) if !who.may(permission) => code == Code::PermissionDenied,
                _ if method.of_web && !who.sees_web() => code == Code::NotFound,
                _ => {
                    use Code::{
                        Internal, NotFound, PermissionDenied, Unauthenticated, Unimplemented, Unknown,
                    };
                    let refused = [
                        Internal,
                        NotFound,
                        PermissionDenied,
                        Unauthenticated,
                        Unimplemented,
                        Unknown,
                    ];
                    !refused.contains(&code)
                }
            };
            if !right {
                wrong.push(format!("{} by {who:?}: {code:?}", method.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
