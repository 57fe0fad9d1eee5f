//! `imprint.v1.ImageContents`.

use imprint_proto::v1::{
    DiskFacts, DiskLint, GetImageFactsRequest, GetImageLintRequest, GetImageSbomRequest, ImageFacts,
    ImageLint, ImagePlugin, ImageSbom, LintFinding,
    image_contents_server::{ImageContents, ImageContentsServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{caller, nodes::status};
use crate::{
    api::rest::problem::Problem,
    app::App,
    catalog::{CatalogError, Image},
    contents::{self, FindingSeverity, PluginState},
    identity::{Caller, Permission},
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(ImageContentsServer::new(ContentsService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
struct ContentsService(App);

impl ContentsService {
    async fn visible(&self, caller: &Caller, image: &str) -> Result<Image, Status> {
        caller.require(Permission::ReadImages)?;
        let found = self.0.catalog.find(&caller.viewer(), image).await;
        found.map_err(status::<CatalogError>)
    }
}

fn plugin(plugin: contents::Plugin) -> ImagePlugin {
    ImagePlugin {
        name: plugin.name,
        purpose: plugin.purpose,
        state: match plugin.state {
            PluginState::Present => "present",
            PluginState::Disabled => "disabled",
            PluginState::Absent => "absent",
            PluginState::Unknown => "unknown",
        }
        .to_owned(),
        version: plugin.version.unwrap_or_default(),
        note: plugin.note,
    }
}

fn finding(finding: contents::LintFinding) -> LintFinding {
    LintFinding {
        code: finding.code,
        severity: match finding.severity {
            FindingSeverity::Info => "info",
            FindingSeverity::Warning => "warning",
            FindingSeverity::Error => "error",
        }
        .to_owned(),
        what: finding.what,
        remedy: finding.remedy,
    }
}

#[tonic::async_trait]
impl ImageContents for ContentsService {
    async fn get_image_facts(
        &self,
        request: Request<GetImageFactsRequest>,
    ) -> Result<Response<ImageFacts>, Status> {
        let caller = caller(&request)?;
        let image = self.visible(&caller, &request.into_inner().image).await?;
        let facts = contents::facts(&self.0.db, &image).await.map_err(Problem::from)?;
        let disks = facts.disks.into_iter().map(|disk| DiskFacts {
            role: disk.role,
            image_digest: disk.image_digest,
            facts_json: disk.facts.map(|facts| facts.to_string()).unwrap_or_default(),
            plugins: disk.plugins.into_iter().map(plugin).collect(),
            package_count: disk.package_count,
        });
        Ok(Response::new(ImageFacts {
            image_id: facts.image_id,
            disks: disks.collect(),
        }))
    }

    async fn get_image_lint(
        &self,
        request: Request<GetImageLintRequest>,
    ) -> Result<Response<ImageLint>, Status> {
        let caller = caller(&request)?;
        let image = self.visible(&caller, &request.into_inner().image).await?;
        let lint = contents::lint(&self.0.db, &image).await.map_err(Problem::from)?;
        let disks = lint.disks.into_iter().map(|disk| DiskLint {
            role: disk.role,
            examined: disk.findings.is_some(),
            findings: disk
                .findings
                .unwrap_or_default()
                .into_iter()
                .map(finding)
                .collect(),
        });
        Ok(Response::new(ImageLint {
            image_id: lint.image_id,
            errors: lint.summary.errors,
            warnings: lint.summary.warnings,
            notes: lint.summary.notes,
            disks: disks.collect(),
        }))
    }

    async fn get_image_sbom(
        &self,
        request: Request<GetImageSbomRequest>,
    ) -> Result<Response<ImageSbom>, Status> {
        let caller = caller(&request)?;
        let image = self.visible(&caller, &request.into_inner().image).await?;
        let document = contents::sbom(&self.0.db, &image).await.map_err(Problem::from)?;
        let spdx_json =
            serde_json::to_string(&document).map_err(|error| Problem::internal(&error).to_status())?;
        Ok(Response::new(ImageSbom { spdx_json }))
    }
}
