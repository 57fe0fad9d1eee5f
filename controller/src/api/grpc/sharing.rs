//! `imprint.v1.Sharing`.

use imprint_proto::v1::{
    self as wire, AnswerInvitationRequest, GetMemberRequest, GrantEntitlementRequest, InviteMembersRequest,
    ListEntitlementsRequest, ListEntitlementsResponse, ListInvitationsRequest, ListInvitationsResponse,
    ListMembersRequest, ListMembersResponse, PreflightImageRequest, PreflightImageResponse,
    PublishImageRequest, RemoveMemberRequest, RevokeEntitlementRequest, UnpublishImageRequest,
    sharing_server::{Sharing, SharingServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{
    images::{self, timestamp},
    nodes::status,
};
use crate::{
    api::rest::{
        auth::Caller,
        problem::{Problem, sentence},
    },
    app::App,
    catalog::{
        Entitlement, Invitation, License, Member, MemberState, Price, Proofs, PublishRequest, TermsError,
        Visibility,
    },
    deploy::{Condition, DeployError},
    identity::Permission,
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(SharingServer::new(SharingService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
struct SharingService(App);

type Answer<T> = Result<Response<T>, Status>;

/// The caller, if it may do this at all, and what it asks for.
fn asked<T>(request: Request<T>, permission: Permission) -> Result<(Caller, T), Status> {
    let caller = super::caller(&request)?;
    caller.require(permission)?;
    Ok((caller, request.into_inner()))
}

fn answer<T, W>(result: Result<T, TermsError>, wire: impl FnOnce(T) -> W) -> Answer<W> {
    result
        .map(|value| Response::new(wire(value)))
        .map_err(status::<TermsError>)
}

/// A word of a request.
fn word<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: T::Err| {
        Problem::invalid(
            sentence(&error.to_string()),
            "The comments of the .proto file say which words there are.",
        )
        .to_status()
    })
}

fn member(member: Member) -> wire::ImageMember {
    wire::ImageMember {
        image_id: member.image_id,
        project_id: member.project_id,
        project: member.project,
        state: member.state.to_string(),
        created_at: Some(timestamp(member.created_at)),
        updated_at: Some(timestamp(member.updated_at)),
    }
}

fn members(all: Vec<Member>) -> ListMembersResponse {
    ListMembersResponse {
        members: all.into_iter().map(member).collect(),
    }
}

fn invitation(invitation: Invitation) -> wire::Invitation {
    wire::Invitation {
        image_id: invitation.image_id,
        image_name: invitation.image_name,
        description: invitation.description,
        kind: invitation.kind.to_string(),
        os_distribution: invitation.os_distribution,
        os_version: invitation.os_version,
        disk_size_bytes: invitation.disk_size_bytes,
        owner_id: invitation.owner_id,
        owner: invitation.owner,
        state: invitation.state.to_string(),
        created_at: Some(timestamp(invitation.created_at)),
    }
}

fn entitlement(entitlement: Entitlement) -> wire::Entitlement {
    wire::Entitlement {
        image_id: entitlement.image_id,
        project_id: entitlement.project_id,
        project: entitlement.project,
        granted_by: entitlement.granted_by,
        created_at: Some(timestamp(entitlement.created_at)),
    }
}

fn condition(condition: Condition) -> wire::Condition {
    wire::Condition {
        condition: condition.condition.to_owned(),
        holds: condition.holds,
        r#type: condition.kind.unwrap_or_default().to_owned(),
        detail: condition.detail,
        remedy: condition.remedy,
    }
}

fn publish_request(request: PublishImageRequest) -> Result<(String, PublishRequest), Status> {
    let price = request.price.map(|price| {
        Ok::<_, Status>(Price {
            amount: price.amount,
            currency: price.currency,
            per: word(&price.per)?,
        })
    });
    let wanted = PublishRequest {
        to: word::<Visibility>(&request.to)?,
        publisher: Some(request.publisher).filter(|publisher| !publisher.is_empty()),
        certified_for: Some(request.certified_for).filter(|models| !models.is_empty()),
        price: price.transpose()?,
        free: request.free,
        license: request.license.map(|license| License {
            name: license.name,
            included: license.included,
            required: license.required,
            reference: license.reference,
        }),
    };
    Ok((request.image, wanted))
}

#[tonic::async_trait]
impl Sharing for SharingService {
    async fn invite_members(&self, request: Request<InviteMembersRequest>) -> Answer<ListMembersResponse> {
        let (caller, request) = asked(request, Permission::WriteImages)?;
        let catalog = &self.0.catalog;
        answer(
            catalog.invite(&caller, &request.image, &request.projects).await,
            members,
        )
    }

    async fn list_members(&self, request: Request<ListMembersRequest>) -> Answer<ListMembersResponse> {
        let (caller, request) = asked(request, Permission::ReadImages)?;
        answer(self.0.catalog.members(&caller, &request.image).await, members)
    }

    async fn get_member(&self, request: Request<GetMemberRequest>) -> Answer<wire::ImageMember> {
        let (caller, request) = asked(request, Permission::ReadImages)?;
        let catalog = &self.0.catalog;
        answer(
            catalog.member(&caller, &request.image, &request.project).await,
            member,
        )
    }

    async fn answer_invitation(
        &self,
        request: Request<AnswerInvitationRequest>,
    ) -> Answer<wire::ImageMember> {
        let (caller, request) = asked(request, Permission::WriteImages)?;
        let state: MemberState = word(&request.state)?;
        let project = match request.project.as_str() {
            "" => "own",
            project => project,
        };
        let catalog = &self.0.catalog;
        answer(
            catalog
                .answer_invitation(&caller, &request.image, project, state)
                .await,
            member,
        )
    }

    async fn remove_member(&self, request: Request<RemoveMemberRequest>) -> Answer<wire::ImageMember> {
        let (caller, request) = asked(request, Permission::WriteImages)?;
        let catalog = &self.0.catalog;
        answer(
            catalog
                .remove_member(&caller, &request.image, &request.project)
                .await,
            member,
        )
    }

    async fn list_invitations(
        &self,
        request: Request<ListInvitationsRequest>,
    ) -> Answer<ListInvitationsResponse> {
        let (caller, request) = asked(request, Permission::ReadImages)?;
        let state = match request.state.as_str() {
            "" => None,
            state => Some(word(state)?),
        };
        let page = self
            .0
            .catalog
            .invitations(&caller, state, request.page_size, Some(&request.page_token))
            .await;
        answer(page, |page| ListInvitationsResponse {
            invitations: page.items.into_iter().map(invitation).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        })
    }

    async fn publish_image(&self, request: Request<PublishImageRequest>) -> Answer<wire::Image> {
        let (caller, request) = asked(request, Permission::WriteImages)?;
        let (image, wanted) = publish_request(request)?;
        let keys = self.0.authority.manifest_public_keys();
        let proofs = Proofs {
            store: &self.0.store,
            keys: &keys,
        };
        answer(
            self.0.catalog.publish(&caller, &image, &wanted, proofs).await,
            images::message::image,
        )
    }

    async fn unpublish_image(&self, request: Request<UnpublishImageRequest>) -> Answer<wire::Image> {
        let (caller, request) = asked(request, Permission::WriteImages)?;
        answer(
            self.0.catalog.unpublish(&caller, &request.image).await,
            images::message::image,
        )
    }

    async fn list_entitlements(
        &self,
        request: Request<ListEntitlementsRequest>,
    ) -> Answer<ListEntitlementsResponse> {
        let (caller, request) = asked(request, Permission::ReadImages)?;
        let has = self.0.catalog.entitlements(&caller, &request.image).await;
        answer(has, |has| ListEntitlementsResponse {
            entitlements: has.into_iter().map(entitlement).collect(),
        })
    }

    async fn grant_entitlement(
        &self,
        request: Request<GrantEntitlementRequest>,
    ) -> Answer<wire::Entitlement> {
        let (caller, request) = asked(request, Permission::WriteImages)?;
        let catalog = &self.0.catalog;
        answer(
            catalog.entitle(&caller, &request.image, &request.project).await,
            entitlement,
        )
    }

    async fn revoke_entitlement(
        &self,
        request: Request<RevokeEntitlementRequest>,
    ) -> Answer<wire::Entitlement> {
        let (caller, request) = asked(request, Permission::WriteImages)?;
        let catalog = &self.0.catalog;
        answer(
            catalog
                .disentitle(&caller, &request.image, &request.project)
                .await,
            entitlement,
        )
    }

    async fn preflight_image(
        &self,
        request: Request<PreflightImageRequest>,
    ) -> Answer<PreflightImageResponse> {
        let (caller, request) = asked(request, Permission::ReadImages)?;
        if !request.node.is_empty() {
            caller.require(Permission::ReadNodes)?;
        }
        let preflight = self
            .0
            .deployments
            .preflight(&caller, &request.image, Some(&request.node), Some(&request.role))
            .await
            .map_err(status::<DeployError>)?;
        Ok(Response::new(PreflightImageResponse {
            ready: preflight.ready,
            image: preflight.image,
            image_id: preflight.image_id.unwrap_or_default(),
            node_id: preflight.node_id.unwrap_or_default(),
            conditions: preflight.conditions.into_iter().map(condition).collect(),
            price: preflight.price.map(images::message::price),
        }))
    }
}
