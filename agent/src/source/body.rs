//! A part of a file, on a server or on a disk of ours, read piece by piece with every length checked.

use std::{fs, io, ops::Range, os::unix::fs::FileExt, path::Path, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use tokio::time::timeout;
use url::Url;

use super::{HttpClient, SourceError, public_url};

/// How much of a local file is read at once.
const FILE_STEP: u64 = 1 << 20;

/// The bytes of one range, still to come.
#[derive(Debug)]
pub struct RangeBody {
    from: From,
    /// How many bytes it will have, if that is known.
    expected: Option<u64>,
    got: u64,
}

/// What a server says about a whole object, to be held against later parts of it.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Its size, if that is known.
    pub(crate) size: Option<u64>,
    /// Its version.
    pub(crate) validator: Option<header::HeaderValue>,
}

#[derive(Debug)]
enum From {
    Http {
        response: Response,
        url: String,
        read_timeout: Duration,
    },
    File {
        file: Arc<fs::File>,
        path: PathBuf,
        at: u64,
    },
}

impl RangeBody {
    /// Asks a server for a range of an object of `total` bytes, if that is known.
    pub(crate) async fn open_url(
        client: &HttpClient,
        url: &Url,
        range: Range<u64>,
        total: Option<u64>,
        read_timeout: Duration,
    ) -> Result<Self, SourceError> {
        Self::ask(client, url, HeaderMap::new(), range, total, read_timeout).await
    }

    /// Asks a server for the rest of an object, and for nothing if that has changed since.
    pub(crate) async fn open_rest(
        client: &HttpClient,
        url: &Url,
        from: u64,
        object: &Object,
        read_timeout: Duration,
    ) -> Result<Self, SourceError> {
        let Some(size) = object.size else {
            return Err(SourceError::RangeIgnored {
                url: public_url(url),
                status: StatusCode::OK,
            });
        };
        let mut headers = HeaderMap::new();
        if let Some(validator) = &object.validator {
            headers.insert(header::IF_RANGE, validator.clone());
        }
        Self::ask(client, url, headers, from..size, Some(size), read_timeout).await
    }

    /// Asks a server for a whole object.
    pub(crate) async fn open_whole(
        client: &HttpClient,
        url: &Url,
        read_timeout: Duration,
    ) -> Result<(Self, Object), SourceError> {
        let shown = public_url(url);
        let response = answer(client.get(url, HeaderMap::new()), &shown, read_timeout).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(&response, shown));
        }
        let expected = response.content_length();
        // A weak tag names versions that are only similar.
        let tag = response
            .headers()
            .get(header::ETAG)
            .filter(|tag| !tag.as_bytes().starts_with(b"W/"));
        let object = Object {
            size: expected,
            validator: tag.cloned(),
        };
        Ok((
            RangeBody {
                from: From::Http {
                    response,
                    url: shown,
                    read_timeout,
                },
                expected,
                got: 0,
            },
            object,
        ))
    }

    async fn ask(
        client: &HttpClient,
        url: &Url,
        mut headers: HeaderMap,
        range: Range<u64>,
        total: Option<u64>,
        read_timeout: Duration,
    ) -> Result<Self, SourceError> {
        let shown = public_url(url);
        let asked = format!("bytes={}-{}", range.start, range.end - 1);
        let asked = HeaderValue::try_from(asked).expect("digits and signs are valid in a header");
        headers.insert(header::RANGE, asked);
        let response = answer(client.get(url, headers), &shown, read_timeout).await?;
        let expected = range.end - range.start;
        let whole = range.start == 0 && total == Some(range.end);
        match response.status() {
            StatusCode::PARTIAL_CONTENT => check_range(&response, &shown, &range, total)?,
            StatusCode::OK if whole => {}
            status @ StatusCode::OK => return Err(SourceError::RangeIgnored { url: shown, status }),
            _ => return Err(refusal(&response, shown)),
        }
        check_length(&response, &shown, expected)?;
        Ok(RangeBody {
            from: From::Http {
                response,
                url: shown,
                read_timeout,
            },
            expected: Some(expected),
            got: 0,
        })
    }

    /// Opens a range of a local file.
    pub(crate) async fn open_file(path: &Path, range: Range<u64>) -> Result<Self, SourceError> {
        let path = path.to_owned();
        let opened = blocking({
            let path = path.clone();
            move || fs::File::open(path)
        });
        let file = match opened.await {
            Ok(file) => Arc::new(file),
            Err(source) => return Err(SourceError::File { path, source }),
        };
        let expected = range.end - range.start;
        Ok(RangeBody {
            from: From::File {
                file,
                path,
                at: range.start,
            },
            expected: Some(expected),
            got: 0,
        })
    }

    /// The next piece; `None` once all expected bytes came.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let expected = self.expected;
        let piece = match &mut self.from {
            From::Http {
                response,
                url,
                read_timeout,
            } => {
                let waited = *read_timeout;
                match timeout(waited, response.chunk()).await {
                    Err(_) => {
                        return Err(SourceError::Silent {
                            url: url.clone(),
                            waited,
                        });
                    }
                    // A connection that breaks in mid-body: how far it got matters more than what the library says.
                    Ok(Err(error)) if error.is_body() || error.is_decode() => {
                        let (url, place) = (url.clone(), url.clone());
                        return Err(match expected {
                            Some(expected) => SourceError::Short {
                                place,
                                expected,
                                got: self.got,
                                local: false,
                            },
                            None => SourceError::Request {
                                url,
                                source: error.without_url(),
                            },
                        });
                    }
                    Ok(Err(error)) => {
                        return Err(SourceError::Request {
                            url: url.clone(),
                            source: error.without_url(),
                        });
                    }
                    Ok(Ok(piece)) => piece,
                }
            }
            From::File { file, path, at } => {
                let step = FILE_STEP.min(expected.unwrap_or(u64::MAX) - self.got);
                let (file, offset) = (Arc::clone(file), *at);
                let piece = blocking(move || {
                    let mut piece = vec![0; usize::try_from(step).expect("a step is at most a MiB")];
                    let len = file.read_at(&mut piece, offset)?;
                    piece.truncate(len);
                    Ok(piece)
                });
                let piece = piece.await.map_err(|source| SourceError::File {
                    path: path.clone(),
                    source,
                })?;
                *at += piece.len() as u64;
                (!piece.is_empty()).then(|| Bytes::from(piece))
            }
        };
        let Some(piece) = piece else {
            return match expected {
                Some(expected) if self.got < expected => {
                    let local = matches!(self.from, From::File { .. });
                    Err(SourceError::Short {
                        place: self.place(),
                        expected,
                        got: self.got,
                        local,
                    })
                }
                _ => Ok(None),
            };
        };
        self.got += piece.len() as u64;
        match expected {
            Some(expected) if self.got > expected => Err(SourceError::Long {
                place: self.place(),
                expected,
            }),
            _ => Ok(Some(piece)),
        }
    }

    fn place(&self) -> String {
        match &self.from {
            From::Http { url, .. } => url.clone(),
            From::File { path, .. } => path.display().to_string(),
        }
    }
}

/// Runs a piece of file I/O where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Waits for the head of an answer, but not for ever.
pub(super) async fn answer(
    request: impl Future<Output = reqwest::Result<Response>>,
    url: &str,
    waited: Duration,
) -> Result<Response, SourceError> {
    match timeout(waited, request).await {
        Err(_) => Err(SourceError::Silent {
            url: url.to_owned(),
            waited,
        }),
        Ok(Err(error)) => Err(SourceError::Request {
            url: url.to_owned(),
            source: error.without_url(),
        }),
        Ok(Ok(response)) => Ok(response),
    }
}

/// The error for an answer that carries no content.
pub(super) fn refusal(response: &Response, url: String) -> SourceError {
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    SourceError::Status {
        url,
        status: response.status(),
        retry_after,
    }
}

fn check_range(
    response: &Response,
    url: &str,
    range: &Range<u64>,
    total: Option<u64>,
) -> Result<(), SourceError> {
    let got = response
        .headers()
        .get(header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let start = format!("bytes {}-{}/", range.start, range.end - 1);
    let right = match (got.strip_prefix(&start), total) {
        (Some("*"), _) | (Some(_), None) => true,
        (Some(size), Some(total)) => match size.parse() {
            Ok(size) if size != total => {
                return Err(SourceError::OtherSize {
                    url: url.to_owned(),
                    expected: total,
                    got: size,
                });
            }
            size => size.is_ok(),
        },
        (None, _) => false,
    };
    if right {
        return Ok(());
    }
    let expected = format!(
        "{start}{}",
        total.map_or("*".to_owned(), |total| total.to_string())
    );
    Err(SourceError::WrongRange {
        url: url.to_owned(),
        expected,
        got: got.to_owned(),
    })
}

fn check_length(response: &Response, url: &str, expected: u64) -> Result<(), SourceError> {
    match response.content_length() {
        Some(got) if got < expected => Err(SourceError::Short {
            place: url.to_owned(),
            expected,
            got,
            local: false,
        }),
        Some(got) if got > expected => Err(SourceError::Long {
            place: url.to_owned(),
            expected,
        }),
        _ => Ok(()),
    }
}
