//! `imprint.v1.Billing`.

use imprint_proto::v1::{
    self as wire, GetQuotaRequest, GetUsageRequest, ListUsageRecordsRequest, ListUsageRecordsResponse,
    SetQuotaRequest,
    billing_server::{Billing, BillingServer},
};
use jiff::Timestamp;
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{
    caller,
    images::{message::price, timestamp},
    nodes::status,
};
use crate::{
    api::rest::{auth::Caller, problem::Problem},
    app::App,
    catalog::{CatalogError, Charge, Quota, QuotaUse, TermsError, UsageLine, UsageQuery, UsageRecord},
    identity::{Permission, ProjectChange, TenantError},
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(BillingServer::new(BillingService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
struct BillingService(App);

fn quota_use(of: QuotaUse) -> wire::QuotaUse {
    wire::QuotaUse {
        used: of.used,
        reserved: of.reserved,
        limit: of.limit,
    }
}

fn quota(quota: Quota) -> wire::Quota {
    wire::Quota {
        project_id: quota.project_id,
        max_images_per_user: quota.max_images_per_user,
        images_set: quota.images_set,
        stored_bytes: Some(quota_use(quota.stored_bytes)),
        bytes_set: quota.bytes_set,
        users: quota
            .users
            .into_iter()
            .map(|user| wire::UserQuota {
                user: user.user,
                images: Some(quota_use(user.images)),
            })
            .collect(),
    }
}

fn charge(charge: Charge) -> wire::Charge {
    wire::Charge {
        price: Some(price(charge.price)),
        deployments: charge.deployments,
    }
}

fn line(line: UsageLine) -> wire::UsageLine {
    wire::UsageLine {
        project_id: line.project_id,
        image_id: line.image_id,
        image_name: line.image_name,
        logical_gib_hours: line.logical_gib_hours,
        deduplicated_gib_hours: line.deduplicated_gib_hours,
        servers: line.servers,
        charges: line.charges.into_iter().map(charge).collect(),
    }
}

fn record(record: UsageRecord) -> wire::UsageRecord {
    wire::UsageRecord {
        id: record.id,
        kind: record.kind.to_string(),
        project_id: record.project_id,
        image_id: record.image_id,
        deployment_id: record.deployment_id.unwrap_or_default(),
        begins_at: Some(timestamp(record.begins_at)),
        ends_at: Some(timestamp(record.ends_at)),
        logical_bytes: record.logical_bytes,
        deduplicated_bytes: record.deduplicated_bytes,
        price: record.price.map(price),
    }
}

fn time(at: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Status> {
    let time = |at: prost_types::Timestamp| {
        Timestamp::new(at.seconds, at.nanos)
            .map_err(|_| Problem::invalid("There is no such time.", "Send one of this calendar.").to_status())
    };
    at.map(time).transpose()
}

impl BillingService {
    /// The id of a project that the caller may see; nothing when none is named.
    async fn project(&self, caller: &Caller, wanted: &str) -> Result<Option<String>, Status> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let found = self.0.tenants.project(&caller.viewer(), wanted).await;
        Ok(Some(found.map_err(status::<TenantError>)?.id))
    }

    async fn quota_of(&self, caller: &Caller, project_id: &str) -> Result<Response<wire::Quota>, Status> {
        let found = self.0.catalog.quota(caller, project_id).await;
        Ok(Response::new(quota(found.map_err(status::<CatalogError>)?)))
    }
}

#[tonic::async_trait]
impl Billing for BillingService {
    async fn get_quota(&self, request: Request<GetQuotaRequest>) -> Result<Response<wire::Quota>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadImages)?;
        let named = self.project(&caller, &request.into_inner().project).await?;
        self.quota_of(&caller, named.as_deref().unwrap_or(&caller.project_id))
            .await
    }

    async fn set_quota(&self, request: Request<SetQuotaRequest>) -> Result<Response<wire::Quota>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let request = request.into_inner();
        let change = ProjectChange {
            max_images_per_user: request.max_images_per_user,
            max_stored_bytes: request.max_stored_bytes,
            ..ProjectChange::default()
        };
        let project = self
            .0
            .tenants
            .update_project(&caller, &request.project, &change)
            .await
            .map_err(status::<TenantError>)?;
        self.quota_of(&caller, &project.id).await
    }

    async fn get_usage(&self, request: Request<GetUsageRequest>) -> Result<Response<wire::Usage>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadImages)?;
        let request = request.into_inner();
        let query = UsageQuery {
            from: time(request.from)?,
            to: time(request.to)?,
            project_id: self.project(&caller, &request.project).await?,
            ..UsageQuery::default()
        };
        let usage = self
            .0
            .catalog
            .usage(&caller.viewer(), &query)
            .await
            .map_err(status::<TermsError>)?;
        Ok(Response::new(wire::Usage {
            from: Some(timestamp(usage.from)),
            to: Some(timestamp(usage.to)),
            lines: usage.items.into_iter().map(line).collect(),
            logical_gib_hours: usage.logical_gib_hours,
            deduplicated_gib_hours: usage.deduplicated_gib_hours,
        }))
    }

    async fn list_usage_records(
        &self,
        request: Request<ListUsageRecordsRequest>,
    ) -> Result<Response<ListUsageRecordsResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadImages)?;
        let request = request.into_inner();
        let query = UsageQuery {
            from: time(request.from)?,
            to: time(request.to)?,
            project_id: self.project(&caller, &request.project).await?,
            page_size: request.page_size,
            page_token: Some(request.page_token),
        };
        let page = self
            .0
            .catalog
            .usage_records(&caller.viewer(), &query)
            .await
            .map_err(status::<TermsError>)?;
        Ok(Response::new(ListUsageRecordsResponse {
            records: page.items.into_iter().map(record).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }
}
