//! gRPC: hardware models, and which images fit which nodes.

use imprint_hardware::matching::Reason;
use imprint_proto::v1::{
    ApplyModelRequest, ApplyModelResponse, DeleteModelRequest, DeleteModelResponse, GetModelRequest,
    ListModelsRequest, ListModelsResponse, MatchCandidate, MatchCodeCount, MatchCounts, MatchImageRequest,
    MatchImageResponse, MatchModelCount, MatchNodeAnswer, MatchNodeRequest, MatchNodeResponse, MatchReason,
    Model, SuggestModelRequest, SuggestModelResponse,
    matching_server::{Matching, MatchingServer},
    models_server::{Models, ModelsServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{caller, nodes::status};
use crate::{
    app::App,
    identity::Permission,
    matching::{Candidate, Counts, FleetQuery, MatchError, MatchQuery, ModelView, NodeAnswer},
};

/// Adds the services to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes
        .add_service(ModelsServer::new(MatchingService(app.clone())))
        .add_service(MatchingServer::new(MatchingService(app.clone())));
}

/// `imprint.v1.Models` and `imprint.v1.Matching`.
#[derive(Debug, Clone)]
struct MatchingService(App);

fn model(view: ModelView) -> Model {
    Model {
        name: view.name,
        version: view.version,
        description: view.description,
        origin: view.origin.to_string(),
        document: view.document,
        made_by: view.made_by,
    }
}

pub(super) fn reasons(list: Vec<Reason>) -> Vec<MatchReason> {
    let wire = |reason: Reason| MatchReason {
        code: reason.code,
        text: reason.text,
        remedy: reason.remedy,
        image_fact: reason.image_fact,
        node_fact: reason.node_fact,
    };
    list.into_iter().map(wire).collect()
}

fn counts(counts: Counts) -> MatchCounts {
    MatchCounts {
        fits: counts.fits,
        unverified: counts.unverified,
        refused: counts.refused,
    }
}

fn candidate(candidate: Candidate) -> MatchCandidate {
    MatchCandidate {
        rank: candidate.rank,
        image_id: candidate.image_id,
        image: candidate.image,
        family: candidate.family.unwrap_or_default(),
        version: candidate.version.unwrap_or_default(),
        visibility: candidate.visibility,
        price: candidate.price.unwrap_or_default(),
        verdict: candidate.verdict.to_string(),
        reasons: reasons(candidate.reasons),
        notes: reasons(candidate.notes),
    }
}

fn node_answer(answer: NodeAnswer) -> MatchNodeAnswer {
    MatchNodeAnswer {
        node_id: answer.node_id,
        node: answer.node,
        hardware: answer.hardware,
        model: answer.model.unwrap_or_default(),
        verdict: answer.verdict.to_string(),
        reasons: reasons(answer.reasons),
        notes: reasons(answer.notes),
    }
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[tonic::async_trait]
impl Models for MatchingService {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        caller(&request)?.require(Permission::ReadNodes)?;
        let page = self.0.deployments.matching().models().await;
        let models = page.map_err(status::<MatchError>)?.items;
        Ok(Response::new(ListModelsResponse {
            models: models.into_iter().map(model).collect(),
        }))
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Result<Response<Model>, Status> {
        caller(&request)?.require(Permission::ReadNodes)?;
        let name = request.into_inner().name;
        let found = self.0.deployments.matching().model(&name).await;
        Ok(Response::new(model(found.map_err(status::<MatchError>)?)))
    }

    async fn apply_model(
        &self,
        request: Request<ApplyModelRequest>,
    ) -> Result<Response<ApplyModelResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let document = request.into_inner().document;
        let applied = self.0.deployments.matching().apply(&caller, &document).await;
        let applied = applied.map_err(status::<MatchError>)?;
        Ok(Response::new(ApplyModelResponse {
            model: Some(model(applied.model)),
            summary: applied.change.summary,
            changed_nodes: applied.change.changed,
            first: applied.change.first,
        }))
    }

    async fn delete_model(
        &self,
        request: Request<DeleteModelRequest>,
    ) -> Result<Response<DeleteModelResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let name = request.into_inner().name;
        let deleted = self.0.deployments.matching().delete_model(&caller, &name).await;
        deleted.map_err(status::<MatchError>)?;
        Ok(Response::new(DeleteModelResponse {}))
    }

    async fn suggest_model(
        &self,
        request: Request<SuggestModelRequest>,
    ) -> Result<Response<SuggestModelResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let node = request.into_inner().node;
        let document = self.0.deployments.matching().suggestion(&caller, &node).await;
        Ok(Response::new(SuggestModelResponse {
            document: document.map_err(status::<MatchError>)?,
        }))
    }
}

#[tonic::async_trait]
impl Matching for MatchingService {
    async fn match_node(
        &self,
        request: Request<MatchNodeRequest>,
    ) -> Result<Response<MatchNodeResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        caller.require(Permission::ReadImages)?;
        let request = request.into_inner();
        let query = MatchQuery {
            family: given(request.family),
            image: given(request.image),
            intent: given(request.intent),
            all: request.all,
            limit: request.limit,
        };
        let answer = self
            .0
            .deployments
            .matching()
            .of_node(&caller, &request.node, &query)
            .await;
        let answer = answer.map_err(status::<MatchError>)?;
        Ok(Response::new(MatchNodeResponse {
            node_id: answer.node_id,
            node: answer.node,
            hardware: answer.hardware,
            model: answer.model.unwrap_or_default(),
            chosen: answer.chosen.unwrap_or_default(),
            counts: Some(counts(answer.counts)),
            candidates: answer.items.into_iter().map(candidate).collect(),
            more: answer.more,
        }))
    }

    async fn match_image(
        &self,
        request: Request<MatchImageRequest>,
    ) -> Result<Response<MatchImageResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        caller.require(Permission::ReadImages)?;
        let request = request.into_inner();
        let query = FleetQuery {
            verdict: given(request.verdict),
            page_size: request.page_size,
            page_token: given(request.page_token),
        };
        let answer = self
            .0
            .deployments
            .matching()
            .of_image(&caller, &request.image, &query)
            .await;
        let answer = answer.map_err(status::<MatchError>)?;
        let by_model = answer.by_model.into_iter().map(|row| MatchModelCount {
            model: row.model,
            counts: Some(counts(row.counts)),
        });
        let by_code = answer.by_code.into_iter().map(|row| MatchCodeCount {
            code: row.code,
            nodes: row.nodes,
        });
        Ok(Response::new(MatchImageResponse {
            image_id: answer.image_id,
            image: answer.image,
            counts: Some(counts(answer.counts)),
            by_model: by_model.collect(),
            by_code: by_code.collect(),
            nodes: answer.items.into_iter().map(node_answer).collect(),
            next_page_token: answer.next_page_token.unwrap_or_default(),
        }))
    }
}
