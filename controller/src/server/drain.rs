//! The end of a server: requests in work are counted until their last byte is handed over, so that it ends as soon as
//! nobody waits for an answer, and not only when every peer has closed its connection.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::Response,
};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::timeout;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tower::ServiceExt as _;

/// For the last bytes of answers that are complete.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request was answered.
    Answered,
    /// Some were not, after all the time they had.
    Cut,
}

/// The connections of a server and the requests in work on them; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Open {
    pub(crate) connections: TaskTracker,
    requests: TaskTracker,
    pub(crate) at_once: CancellationToken,
}

impl Open {
    /// Answers one request, which is in work until its answer's body has ended.
    pub(crate) async fn answer(
        &self,
        router: Router,
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let token = self.requests.token();
        let response = router.oneshot(request.map(Body::new)).await?;
        Ok(response.map(|body| Body::new(Counted { body, _token: token })))
    }

    /// Waits until all requests are answered, but not longer than the limit, and ends all connections.
    pub(crate) async fn end(self, limit: Duration) -> Ended {
        self.connections.close();
        self.requests.close();
        let answered = timeout(limit, async {
            tokio::select! {
                () = self.connections.wait() => {}
                () = self.requests.wait() => {}
            }
        });
        let ended = match answered.await {
            Ok(()) => Ended::Answered,
            Err(_) => {
                tracing::info!(open = self.requests.len(), "requests that do not end are cut");
                Ended::Cut
            }
        };
        if ended == Ended::Answered && timeout(FLUSH_LIMIT, self.connections.wait()).await.is_ok() {
            return ended;
        }
        self.at_once.cancel();
        self.connections.wait().await;
        ended
    }
}

/// A body that counts as a request in work.
struct Counted {
    body: Body,
    _token: TaskTrackerToken,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
