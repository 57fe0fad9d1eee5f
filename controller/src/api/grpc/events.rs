//! gRPC: events.

use futures::{Stream, StreamExt, future};
use imprint_proto::v1::{
    Event as WireEvent, ListEventsRequest, ListEventsResponse, WatchEventsRequest,
    events_server::{Events, EventsServer},
};
use std::pin::Pin;
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{
    caller,
    nodes::{status, timestamp},
};
use crate::{
    api::rest::problem::Problem,
    app::App,
    events::{DatabaseError, Event, EventQuery, Live, gone},
    identity::{Permission, Viewer},
    inventory::InventoryError,
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(EventsServer::new(EventsService(app.clone())));
}

/// `imprint.v1.Events`.
#[derive(Debug, Clone)]
struct EventsService(App);

fn wire(event: Event) -> WireEvent {
    WireEvent {
        id: event.id,
        at: Some(timestamp(event.at)),
        kind: event.kind,
        node_id: event.node_id.unwrap_or_default(),
        deployment_id: event.deployment_id.unwrap_or_default(),
        message: event.message,
        actor: event.actor.unwrap_or_default(),
        project_id: event.project_id.unwrap_or_default(),
        details_json: event.details.to_string(),
    }
}

impl EventsService {
    async fn node_id(&self, viewer: &Viewer, node: &str) -> Result<Option<String>, Status> {
        if node.is_empty() {
            return Ok(None);
        }
        self.0
            .nodes
            .find(viewer, node)
            .await
            .map(|node| Some(node.id))
            .map_err(status::<InventoryError>)
    }
}

#[tonic::async_trait]
impl Events for EventsService {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadEvents)?;
        let viewer = caller.viewer();
        let request = request.into_inner();
        let after = match request.page_token.as_str() {
            "" => 0,
            token => token
                .parse()
                .map_err(|_| Status::invalid_argument("The page token is not one of this list."))?,
        };
        let query = EventQuery {
            after,
            node_id: self.node_id(&viewer, &request.node).await?,
            project_id: viewer.project().map(ToOwned::to_owned),
            page_size: request.page_size,
            ..EventQuery::default()
        };
        let page = self
            .0
            .events
            .list(&query)
            .await
            .map_err(status::<DatabaseError>)?;
        if let Some(up_to) = page.gone {
            return Err(status(gone(up_to)));
        }
        Ok(Response::new(ListEventsResponse {
            events: page.items.into_iter().map(wire).collect(),
            next_page_token: page.next.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<WireEvent, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadEvents)?;
        let viewer = caller.viewer();
        let request = request.into_inner();
        let after = match request.after_id {
            0 => self.0.events.newest().await.map_err(status::<DatabaseError>)?,
            id => id,
        };
        self.0.events.require_kept(after).map_err(status::<Problem>)?;
        let query = EventQuery {
            after,
            node_id: self.node_id(&viewer, &request.node).await?,
            project_id: viewer.project().map(ToOwned::to_owned),
            ..EventQuery::default()
        };
        let live = self.0.events.follow(query, self.0.shutdown.child_token());
        // A token that is good no longer hears no more.
        let lapsed = {
            let tokens = self.0.api_tokens.clone();
            async move { tokens.lapse(caller).await }
        };
        let live = live.take_until(Box::pin(lapsed));
        let events = live.filter_map(|live| {
            future::ready(match live {
                Ok(Live::Event(event)) => Some(Ok(wire(event))),
                Ok(Live::Progress(_)) => None,
                Ok(Live::Gone(up_to)) => Some(Err(status(gone(up_to)))),
                Err(error) => Some(Err(status(error))),
            })
        });
        Ok(Response::new(Box::pin(events)))
    }
}
