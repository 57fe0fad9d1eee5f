//! Where an image comes from: a file, standard input, or an HTTP server; and the proof that it came whole.

use std::{
    io,
    os::fd::AsFd as _,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::fault::{Fault, innermost};

const PIECE: usize = 256 << 10;
const CONNECT: Duration = Duration::from_secs(20);
/// A server that sends nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// An open source.
pub struct Source {
    /// How people call it.
    pub name: String,
    /// How much will come, where that is known.
    pub length: Option<u64>,
    pieces: Pieces,
}

/// Why a source ended early. The upload itself only shows that the controller got less than was announced.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<Option<Fault>>>);

impl Trouble {
    /// What happened, if anything did.
    pub fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, fault: Fault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }
}

/// Opens what the command line names: `-`, an `http://` or `https://` URL, or a file.
pub async fn open(named: &str) -> Result<Source, Fault> {
    if named == "-" {
        return standard_input();
    }
    match Url::parse(named) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => download(url).await,
        _ => file(Path::new(named)).await,
    }
}

fn standard_input() -> Result<Source, Fault> {
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(|error| {
        Fault::local(
            "Cannot read standard input",
            error.to_string(),
            "Name a file instead.",
        )
    })?;
    Ok(Source {
        name: "standard input".to_owned(),
        length: None,
        pieces: read(tokio::fs::File::from_std(input.into()), |error| {
            Fault::local(
                "Cannot read standard input",
                error.to_string(),
                "See what the program before the pipe says.",
            )
        }),
    })
}

async fn file(path: &Path) -> Result<Source, Fault> {
    let unreadable = |error| Fault::unreadable(path, &error);
    let opened = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let about = opened.metadata().await.map_err(unreadable)?;
    if about.is_dir() {
        return Err(Fault::local(
            format!("Cannot read {}", path.display()),
            "it is a folder",
            "Name the image file in it.",
        ));
    }
    let path = path.to_owned();
    Ok(Source {
        name: path.display().to_string(),
        // A block device has a size that its metadata does not tell.
        length: about.is_file().then_some(about.len()),
        pieces: read(opened, move |error| Fault::unreadable(&path, &error)),
    })
}

fn read(
    reader: impl AsyncRead + Send + 'static,
    fault: impl Fn(io::Error) -> Fault + Send + 'static,
) -> Pieces {
    Box::pin(ReaderStream::with_capacity(reader, PIECE).map_err(fault))
}

async fn download(url: Url) -> Result<Source, Fault> {
    let wrong = |detail: String, remedy: &str| Fault::local("Cannot fetch the image", detail, remedy);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "the URL holds a user name or a password, which would be seen in the list of processes"
                .to_owned(),
            "Fetch it with a program that reads them from a file, and pipe it into `imprint image import -`.",
        ));
    }
    // Its query may be a signature that gives access.
    let shown = {
        let mut shown = url.clone();
        shown.set_query(None);
        shown.to_string()
    };
    let http = reqwest::Client::builder()
        .user_agent(concat!("imprint/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .build()
        .map_err(|error| wrong(innermost(&error), "Check the certificates of this system."))?;
    let unanswered = {
        let shown = shown.clone();
        move |error: reqwest::Error| {
            wrong(
                format!("{shown}: {}", innermost(&error.without_url())),
                "Check the URL and the network to it; or fetch it with another program and import the file.",
            )
        }
    };
    let response = http.get(url).send().await.map_err(&unanswered)?;
    if !response.status().is_success() {
        return Err(wrong(
            format!("{shown} answered {}", response.status()),
            "Check the URL.",
        ));
    }
    Ok(Source {
        name: shown,
        length: response.content_length(),
        pieces: Box::pin(response.bytes_stream().map_err(unanswered)),
    })
}

impl Source {
    /// The bytes as the body of an upload. With a digest (SHA-256), the last piece is only sent when all pieces together
    /// have it: the controller keeps nothing of an upload that breaks off.
    pub fn body(
        self,
        sha256: Option<[u8; 32]>,
        trouble: &Trouble,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let proven: Pieces = match sha256 {
            Some(expected) => Box::pin(proven(self.name, self.pieces, expected)),
            None => self.pieces,
        };
        let trouble = trouble.clone();
        proven.map_err(move |fault| {
            let told = io::Error::other("the source broke off");
            trouble.put(fault);
            told
        })
    }
}

/// Passes pieces on, each one when the next one is there.
fn proven(
    name: String,
    pieces: Pieces,
    expected: [u8; 32],
) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    struct State {
        name: String,
        pieces: Pieces,
        hash: Sha256,
        held: Option<Bytes>,
        over: bool,
    }
    let start = State {
        name,
        pieces,
        hash: Sha256::new(),
        held: None,
        over: false,
    };
    futures::stream::try_unfold(start, move |mut state| async move {
        while !state.over {
            let Some(piece) = state.pieces.next().await.transpose()? else {
                state.over = true;
                let got: [u8; 32] = state.hash.finalize_reset().into();
                if got != expected {
                    return Err(Fault::local(
                        "The image is not the one that was meant",
                        format!(
                            "{} has the SHA-256 {}, expected {}",
                            state.name,
                            hex::encode(got),
                            hex::encode(expected)
                        ),
                        "Fetch it again, and compare the digest with its publisher's; nothing was imported.",
                    ));
                }
                break;
            };
            state.hash.update(&piece);
            if let Some(held) = state.held.replace(piece) {
                return Ok(Some((held, state)));
            }
        }
        Ok(state.held.take().map(|held| (held, state)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collected(digest: &str) -> (Vec<u8>, Option<Fault>) {
        let pieces: Vec<Result<Bytes, Fault>> = vec![Ok("ab".into()), Ok("c".into())];
        let source = Source {
            name: "x".to_owned(),
            length: None,
            pieces: Box::pin(futures::stream::iter(pieces)),
        };
        let trouble = Trouble::default();
        let digest: Vec<u8> = hex::decode(digest).unwrap();
        let body = source.body(Some(digest.try_into().unwrap()), &trouble);
        let sent = body.filter_map(|piece| async { piece.ok() }).concat_all().await;
        (sent, trouble.take())
    }

    trait ConcatAll: Stream<Item = Bytes> + Sized {
        async fn concat_all(self) -> Vec<u8> {
            self.fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                all
            })
            .await
        }
    }
    impl<S: Stream<Item = Bytes>> ConcatAll for S {}

    #[tokio::test]
    async fn the_last_piece_of_another_file_is_never_sent() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let (sent, trouble) = collected(abc).await;
        assert!(sent == b"abc" && trouble.is_none());
        let (sent, trouble) = collected(&"00".repeat(32)).await;
        assert_eq!(sent, b"ab");
        let text = trouble.unwrap().text();
        assert!(
            text.contains(abc) && text.contains("nothing was imported"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn passwords_in_a_url_are_refused_and_not_repeated() {
        let Err(fault) = open("https://me:secret@example.org/disk.raw").await else {
            panic!()
        };
        assert!(!fault.text().contains("secret"), "{}", fault.text());
    }
}
