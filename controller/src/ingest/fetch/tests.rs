use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap as Headers, Uri},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use url::Url;

use super::*;

fn open() -> AddressPolicy {
    AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()])
}

fn fetcher(policy: AddressPolicy) -> Fetcher {
    Fetcher::new(policy, Resolver::system(), Vec::new())
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

fn url(address: SocketAddr, path: &str) -> Url {
    Url::parse(&format!("http://{address}{path}")).unwrap()
}

async fn all(download: Download) -> (Vec<u8>, Option<FetchError>) {
    let mut bytes = Vec::new();
    let mut pieces = std::pin::pin!(download.pieces());
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes, Some(error)),
        }
    }
    (bytes, None)
}

async fn refusal(fetcher: &Fetcher, url: &str, limit: u64) -> FetchError {
    let url = Url::parse(url).unwrap();
    match fetcher.open(&url, HeaderMap::new(), None, limit).await {
        Err(error) => error,
        Ok(download) => all(download).await.1.expect("it is refused"),
    }
}

/// A server whose answers break off after some bytes, as often as it is told to.
#[derive(Debug, Clone)]
struct Breaking {
    content: Arc<Vec<u8>>,
    breaks: Arc<AtomicUsize>,
    etag: Option<&'static str>,
    ranges: Arc<Mutex<Vec<String>>>,
    /// The content is another one after the first break.
    changes: bool,
}

async fn break_off(State(server): State<Breaking>, headers: Headers) -> Response {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let range = text("range");
    server.ranges.lock().unwrap().extend(range.clone());
    let whole = server.content.len();
    let etag = if server.changes && range.is_some() {
        Some("\"other\"")
    } else {
        server.etag
    };
    let from: usize = match range {
        Some(range) if text("if-range").as_deref() == etag => range
            .trim_start_matches("bytes=")
            .trim_end_matches('-')
            .parse()
            .unwrap(),
        _ => 0,
    };
    let rest = server.content[from..].to_vec();
    let breaks = server
        .breaks
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok();
    let now = if breaks { rest.len() / 2 } else { rest.len() };
    let piece = Ok::<_, std::io::Error>(rest[..now].to_vec());
    // What came before a break has to be on its way when the connection ends.
    let end = async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Err(std::io::Error::other("gone"))
    };
    let end = stream::once(end).take(usize::from(breaks));
    let mut response = Response::new(Body::from_stream(stream::iter([piece]).chain(end)));
    let out = response.headers_mut();
    out.insert("content-length", rest.len().into());
    if let Some(etag) = etag {
        out.insert("etag", etag.parse().unwrap());
    }
    if from > 0 {
        let range = format!("bytes {from}-{}/{whole}", whole - 1);
        out.insert("content-range", range.parse().unwrap());
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

fn breaking(breaks: usize, etag: Option<&'static str>, changes: bool) -> Breaking {
    let mut content = vec![0; 300_000];
    blake3::Hasher::new()
        .update(b"file")
        .finalize_xof()
        .fill(&mut content);
    Breaking {
        content: Arc::new(content),
        breaks: Arc::new(AtomicUsize::new(breaks)),
        etag,
        ranges: Arc::default(),
        changes,
    }
}

#[tokio::test]
async fn row_58_a_download_that_breaks_off_goes_on_where_it_was() {
    let server = breaking(3, Some("\"one\""), false);
    let address = serve(Router::new().fallback(get(break_off)).with_state(server.clone())).await;
    let download = fetcher(open())
        .open(&url(address, "/disk.raw"), HeaderMap::new(), None, u64::MAX)
        .await
        .unwrap();
    assert_eq!(download.length(), Some(300_000));
    let (bytes, error) = all(download).await;
    assert!(error.is_none(), "{error:?}");
    assert!(bytes == *server.content);
    let ranges = server.ranges.lock().unwrap().clone();
    assert!(
        ranges.len() == 3 && !ranges.contains(&"bytes=0-".to_owned()),
        "{ranges:?}"
    );
}

#[tokio::test]
async fn row_58_a_file_that_changes_or_cannot_be_proven_is_never_patched_together() {
    for (etag, changes) in [
        (Some("\"one\""), true),
        (None, false),
        (Some("W/\"weak\""), false),
    ] {
        let server = breaking(1, etag, changes);
        let address = serve(Router::new().fallback(get(break_off)).with_state(server)).await;
        let error = refusal(&fetcher(open()), url(address, "/disk.raw").as_str(), u64::MAX).await;
        assert!(
            matches!(error, FetchError::Changed { got, .. } if got > 0),
            "{etag:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn row_58_what_is_too_large_is_refused_before_and_during_its_transfer() {
    let announced = async || vec![7; 1000];
    let unannounced = async || {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![7; 4096]));
        Body::from_stream(endless).into_response()
    };
    let router = Router::new()
        .route("/announced", get(announced))
        .route("/endless", get(unannounced));
    let address = serve(router).await;
    for path in ["/announced", "/endless"] {
        let error = refusal(&fetcher(open()), url(address, path).as_str(), 999).await;
        assert!(
            matches!(error, FetchError::TooLarge { limit: 999, .. }),
            "{path}: {error:?}"
        );
    }
}

#[tokio::test]
async fn row_58_addresses_are_looked_at_before_anything_is_sent_and_again_at_every_redirect() {
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let record = seen.clone();
    let answer = async move |uri: Uri| {
        record.lock().unwrap().push(uri.path().to_owned());
        match uri.path() {
            "/to-metadata" => Redirect::temporary("http://169.254.169.254/latest").into_response(),
            "/to-file" => Redirect::temporary("file:///etc/passwd").into_response(),
            "/to-password" => Redirect::temporary("http://me:secret@example.net/").into_response(),
            "/to-itself" => Redirect::temporary("/to-itself").into_response(),
            "/to-good" => Redirect::permanent("good").into_response(),
            "/missing" => StatusCode::NOT_FOUND.into_response(),
            _ => "content".into_response(),
        }
    };
    let address = serve(Router::new().fallback(answer)).await;
    let port = address.port();
    // Closed: nothing reaches the server, however its address is written.
    let closed = fetcher(AddressPolicy::default());
    for text in [
        format!("http://127.0.0.1:{port}/a"),
        format!("http://2130706433:{port}/a"),
        format!("http://0x7f.1:{port}/a"),
        format!("http://[::ffff:127.0.0.1]:{port}/a"),
        format!("http://localhost:{port}/a"),
    ] {
        let error = refusal(&closed, &text, 100).await;
        assert!(matches!(error, FetchError::Address { .. }), "{text}: {error:?}");
    }
    assert!(seen.lock().unwrap().is_empty());

    let fetcher = fetcher(open());
    for (path, what) in [
        ("/to-metadata", "link-local"),
        ("/to-file", "only http and https"),
        ("/to-password", "password"),
        ("/to-itself", "more than 5 redirects"),
        ("/missing", "answered 404"),
    ] {
        let error = refusal(&fetcher, url(address, path).as_str(), 100).await;
        let text = error.to_string();
        assert!(text.contains(what) && !text.contains("secret"), "{path}: {text}");
    }
    for text in [
        "ftp://127.0.0.1/a",
        "file:///etc/passwd",
        "http://me:secret@127.0.0.1/a",
    ] {
        let error = refusal(&fetcher, text, 100).await;
        assert!(matches!(error, FetchError::Url { .. }), "{text}: {error:?}");
        assert!(!error.to_string().contains("secret"));
    }
    let good = fetcher
        .open(&url(address, "/to-good"), HeaderMap::new(), None, 100)
        .await
        .unwrap();
    assert_eq!(all(good).await.0, b"content");
}

#[tokio::test]
async fn row_58_a_name_is_resolved_once_and_the_address_is_pinned() {
    let answer = async |headers: Headers| headers["host"].to_str().unwrap().to_owned();
    let address = serve(Router::new().fallback(answer)).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // A name that is a good address for the check and another one for whoever asks again.
    let resolver = Resolver::new(move |_, _| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            Ok(if first {
                vec!["10.0.0.1:1".parse().unwrap(), address]
            } else {
                vec!["169.254.169.254:80".parse().unwrap()]
            })
        }
        .boxed()
    });
    let fetcher = Fetcher::new(open(), resolver, Vec::new());
    let named = Url::parse(&format!("http://files.example.net:{}/a", address.port())).unwrap();
    let download = fetcher.open(&named, HeaderMap::new(), None, 100).await.unwrap();
    assert_eq!(
        all(download).await.0,
        format!("files.example.net:{}", address.port()).as_bytes()
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let error = refusal(&fetcher, named.as_str(), 100).await;
    assert!(
        matches!(
            error,
            FetchError::Address {
                what: "a link-local address",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn row_58_credentials_do_not_follow_a_redirect_to_another_server() {
    let seen = async |headers: Headers| format!("{:?}", headers.get("authorization"));
    let other = serve(Router::new().fallback(seen)).await;
    let away = async move |uri: Uri, headers: Headers| match uri.path() {
        "/away" => Redirect::temporary(&format!("http://{other}/")).into_response(),
        _ => headers["authorization"]
            .to_str()
            .unwrap()
            .to_owned()
            .into_response(),
    };
    let own = serve(Router::new().fallback(away)).await;
    let origin = Origin::of(&url(own, "/")).unwrap();
    let credential = Credential::new(vec![origin], "Bearer hunter2".to_owned().into());
    let fetcher = fetcher(open());
    for (path, got) in [("/here", "Bearer hunter2"), ("/away", "None")] {
        let download = fetcher
            .open(&url(own, path), HeaderMap::new(), Some(credential.clone()), 100)
            .await
            .unwrap();
        assert_eq!(String::from_utf8(all(download).await.0).unwrap(), got, "{path}");
    }
}
