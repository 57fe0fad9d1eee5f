//! gRPC: webhooks.

use imprint_proto::v1::{
    self as wire, CreateWebhookRequest, CreateWebhookResponse, DeleteWebhookRequest, DisableWebhookRequest,
    EnableWebhookRequest, GetWebhookRequest, ListWebhooksRequest, ListWebhooksResponse, TestWebhookRequest,
    TestWebhookResponse,
    webhooks_server::{Webhooks, WebhooksServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{
    caller,
    nodes::{status, timestamp},
};
use crate::{
    app::App,
    identity::{Caller, Permission, TenantError},
    webhooks::{WantedWebhook, Webhook, WebhookError},
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(WebhooksServer::new(WebhooksService(app.clone())));
}

/// `imprint.v1.Webhooks`.
#[derive(Debug, Clone)]
struct WebhooksService(App);

fn allowed<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = caller(request)?;
    caller.require(Permission::ManageWebhooks)?;
    Ok(caller)
}

fn answer(found: Result<Webhook, WebhookError>) -> Result<Response<wire::Webhook>, Status> {
    found
        .map(|webhook| Response::new(message(webhook)))
        .map_err(status)
}

fn message(webhook: Webhook) -> wire::Webhook {
    wire::Webhook {
        id: webhook.id,
        name: webhook.name,
        url: webhook.url,
        kinds: webhook.kinds,
        project_id: webhook.project_id.unwrap_or_default(),
        state: webhook.state.to_string(),
        why: webhook.why,
        cursor: webhook.cursor,
        failed_attempts: webhook.failed_attempts,
        failing_since: webhook.failing_since.map(timestamp),
        last_error: webhook.last_error,
        next_attempt_at: webhook.next_attempt_at.map(timestamp),
        delivered: webhook.delivered,
        delivered_at: webhook.delivered_at.map(timestamp),
        created_by: webhook.created_by,
        created_at: Some(timestamp(webhook.created_at)),
    }
}

#[tonic::async_trait]
impl Webhooks for WebhooksService {
    async fn list_webhooks(
        &self,
        request: Request<ListWebhooksRequest>,
    ) -> Result<Response<ListWebhooksResponse>, Status> {
        allowed(&request)?;
        let request = request.into_inner();
        let page = self
            .0
            .webhooks
            .list(request.page_size, Some(&request.page_token))
            .await
            .map_err(status::<WebhookError>)?;
        Ok(Response::new(ListWebhooksResponse {
            webhooks: page.items.into_iter().map(message).collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn get_webhook(
        &self,
        request: Request<GetWebhookRequest>,
    ) -> Result<Response<wire::Webhook>, Status> {
        allowed(&request)?;
        answer(self.0.webhooks.get(&request.into_inner().webhook).await)
    }

    async fn create_webhook(
        &self,
        request: Request<CreateWebhookRequest>,
    ) -> Result<Response<CreateWebhookResponse>, Status> {
        let caller = allowed(&request)?;
        let request = request.into_inner();
        let project_id = match request.project.as_str() {
            "" => None,
            project => {
                let found = self.0.tenants.project(&caller.viewer(), project).await;
                Some(found.map_err(status::<TenantError>)?.id)
            }
        };
        let wanted = WantedWebhook {
            name: request.name,
            url: request.url,
            kinds: request.kinds,
            project_id,
            after: request.after_id,
        };
        let created = self
            .0
            .webhooks
            .create(&caller, &wanted)
            .await
            .map_err(status::<WebhookError>)?;
        Ok(Response::new(CreateWebhookResponse {
            webhook: Some(message(created.webhook)),
            secret: created.secret.to_string(),
        }))
    }

    async fn delete_webhook(
        &self,
        request: Request<DeleteWebhookRequest>,
    ) -> Result<Response<wire::Webhook>, Status> {
        let caller = allowed(&request)?;
        let wanted = request.into_inner().webhook;
        answer(self.0.webhooks.delete(&caller, &wanted).await)
    }

    async fn enable_webhook(
        &self,
        request: Request<EnableWebhookRequest>,
    ) -> Result<Response<wire::Webhook>, Status> {
        let caller = allowed(&request)?;
        let request = request.into_inner();
        let enabled = self
            .0
            .webhooks
            .enable(&caller, &request.webhook, request.skip_missed);
        answer(enabled.await)
    }

    async fn disable_webhook(
        &self,
        request: Request<DisableWebhookRequest>,
    ) -> Result<Response<wire::Webhook>, Status> {
        let caller = allowed(&request)?;
        let wanted = request.into_inner().webhook;
        answer(self.0.webhooks.disable(&caller, &wanted).await)
    }

    async fn test_webhook(
        &self,
        request: Request<TestWebhookRequest>,
    ) -> Result<Response<TestWebhookResponse>, Status> {
        allowed(&request)?;
        let tested = self.0.webhooks.test(&request.into_inner().webhook).await;
        let result = tested.map_err(status::<WebhookError>)?;
        Ok(Response::new(TestWebhookResponse {
            delivered: result.delivered,
            error: result.error,
            duration_ms: result.duration_ms,
        }))
    }
}
