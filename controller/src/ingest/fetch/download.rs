//! A file as a stream, continued where it broke off.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::Url;

use super::{Answer, Credential, FetchError, Fetcher, client::shown};

/// Breaks without any byte in between.
const MAX_BREAKS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Part of a file, or why there is no more.
pub type Piece = Result<Bytes, FetchError>;

/// A file that is being fetched.
#[derive(Debug)]
pub struct Download {
    fetcher: Fetcher,
    credential: Option<Credential>,
    url: Url,
    headers: HeaderMap,
    /// More is refused.
    limit: u64,
    /// What the server announced.
    length: Option<u64>,
    /// Proves that a continuation is of the same file.
    validator: Option<HeaderValue>,
    answer: Option<Answer>,
    got: u64,
    breaks: u32,
    over: bool,
}

impl Fetcher {
    /// Opens a file: the first answer is there, and its length is looked at.
    pub async fn open(
        &self,
        url: &Url,
        headers: HeaderMap,
        credential: Option<Credential>,
        limit: u64,
    ) -> Result<Download, FetchError> {
        let mut breaks = 0;
        let answer = loop {
            match self.whole(url, &headers, credential.as_ref()).await {
                Err(error) if error.is_transient() && breaks < MAX_BREAKS => {
                    tokio::time::sleep(FIRST_WAIT * 2_u32.pow(breaks)).await;
                    breaks += 1;
                }
                answer => break answer?,
            }
        };
        let length = length_of(&answer);
        if length.is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge {
                url: shown(url),
                limit,
            });
        }
        Ok(Download {
            fetcher: self.clone(),
            credential,
            url: url.clone(),
            headers,
            limit,
            length,
            validator: validator(&answer),
            answer: Some(answer),
            got: 0,
            breaks: 0,
            over: false,
        })
    }
}

impl Fetcher {
    /// The answer to a request for a whole file.
    async fn whole(
        &self,
        url: &Url,
        headers: &HeaderMap,
        credential: Option<&Credential>,
    ) -> Result<Answer, FetchError> {
        let answer = self.get(url, headers, credential).await?;
        match answer.response.status() {
            StatusCode::OK => Ok(answer),
            status => Err(FetchError::Status {
                url: shown(&answer.url),
                status,
            }),
        }
    }
}

impl Download {
    /// Length of the file, where the server says it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The file's bytes in order. After an error nothing more comes.
    pub fn pieces(self) -> impl Stream<Item = Piece> + Send {
        stream::unfold(self, |mut download| async {
            if download.over {
                return None;
            }
            let piece = download.next().await.transpose()?;
            download.over = piece.is_err();
            Some((piece, download))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let failed = match self.read().await {
                Ok(Some(piece)) => {
                    self.breaks = 0;
                    self.got += piece.len() as u64;
                    if self.got > self.limit {
                        return Err(FetchError::TooLarge {
                            url: shown(&self.url),
                            limit: self.limit,
                        });
                    }
                    return Ok(Some(piece));
                }
                Ok(None) => return Ok(None),
                Err(error) => error,
            };
            if !failed.is_transient() || self.breaks >= MAX_BREAKS {
                return Err(failed);
            }
            tracing::info!(url = shown(&self.url), got = self.got, error = %failed, "a download broke off and is continued");
            tokio::time::sleep(FIRST_WAIT * 2_u32.pow(self.breaks)).await;
            self.breaks += 1;
            self.answer = None;
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, FetchError> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            none => none.insert(
                continued(
                    &self.fetcher,
                    self.credential.as_ref(),
                    &self.url,
                    &self.headers,
                    (self.got, self.validator.as_ref()),
                )
                .await?,
            ),
        };
        let url = || shown(&self.url);
        let read = answer.response.chunk().await;
        match read.map_err(|error| FetchError::Broken {
            url: url(),
            source: error.without_url(),
        })? {
            Some(piece) => Ok(Some(piece)),
            None => match self.length {
                Some(expected) if self.got < expected => Err(FetchError::Short {
                    url: url(),
                    got: self.got,
                    expected,
                }),
                _ => Ok(None),
            },
        }
    }
}

/// Asks for the rest of a file. Without a proof that it is still the same file there is no rest.
async fn continued(
    fetcher: &Fetcher,
    credential: Option<&Credential>,
    url: &Url,
    headers: &HeaderMap,
    (got, validator): (u64, Option<&HeaderValue>),
) -> Result<Answer, FetchError> {
    let mut headers = headers.clone();
    let changed = || FetchError::Changed { url: shown(url), got };
    if got > 0 {
        let Some(validator) = validator else {
            return Err(changed());
        };
        let range = HeaderValue::try_from(format!("bytes={got}-")).expect("digits are a header");
        headers.insert(header::RANGE, range);
        headers.insert(header::IF_RANGE, validator.clone());
    }
    let answer = fetcher.get(url, &headers, credential).await?;
    match answer.response.status() {
        StatusCode::OK if got == 0 => Ok(answer),
        StatusCode::PARTIAL_CONTENT if got > 0 && begins_at(&answer, got) => Ok(answer),
        // The whole file: it is another one than before.
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Err(changed()),
        status => Err(FetchError::Status {
            url: shown(&answer.url),
            status,
        }),
    }
}

fn begins_at(answer: &Answer, got: u64) -> bool {
    let range = answer.response.headers().get(header::CONTENT_RANGE);
    range
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.starts_with(&format!("bytes {got}-")))
}

/// A strong ETag, else the date of the last change.
fn validator(answer: &Answer) -> Option<HeaderValue> {
    let headers = answer.response.headers();
    let etag = headers
        .get(header::ETAG)
        .filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    etag.or_else(|| headers.get(header::LAST_MODIFIED)).cloned()
}

fn length_of(answer: &Answer) -> Option<u64> {
    let length = answer.response.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}
