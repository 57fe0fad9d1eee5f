//! Whether an image can be deployed: every condition by its name, with what is in the way. The checks are those that a
//! deployment itself goes through.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Deployments,
    error::DeployError,
    image_rules::{self, Chosen},
    request::{DeployRequest, Refusal, Server, check},
};
use crate::{
    api::rest::problem::{Problem, sentence},
    catalog::{CatalogError, Image, ImageKind, Price, TermsError, right},
    events::doing,
    identity::Caller,
    inventory::Node,
};

/// The conditions that the image's own rules decide, with the refusals of each. What is not here is about the node.
const RULES: [(&str, &[&str]); 3] = [
    ("state", &["image-not-ready", "image-withdrawn", "image-damaged"]),
    ("region", &["image-in-other-region"]),
    (
        "kind",
        &[
            "image-for-virtual-machines",
            "image-is-iso",
            "image-has-several-disks",
            "no-such-image-disk",
            "image-holds-data",
        ],
    ),
];

/// One condition of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Condition {
    /// visible, accepted, state, region, kind, entitlement, key or node.
    pub condition: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// The slug of the refusal that a deployment would get.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// How it stands.
    pub detail: String,
    /// What to do when it does not hold.
    pub remedy: String,
}

impl Condition {
    fn met(condition: &'static str, detail: impl Into<String>) -> Self {
        Self {
            condition,
            holds: true,
            kind: None,
            detail: sentence(&detail.into()),
            remedy: String::new(),
        }
    }

    fn not_met(condition: &'static str, problem: Problem) -> Self {
        Self {
            condition,
            holds: false,
            kind: Some(problem.kind),
            detail: problem.detail,
            remedy: problem.remedy,
        }
    }

    fn refused(condition: &'static str, refusal: &Refusal) -> Self {
        Self {
            condition,
            holds: false,
            kind: Some(refusal.kind()),
            detail: refusal.to_string(),
            remedy: refusal.remedy(),
        }
    }
}

/// Whether an image can be deployed, and what is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Preflight {
    /// Whether all conditions hold.
    pub ready: bool,
    /// What was asked for, as it was named.
    pub image: String,
    /// The image, if it is seen.
    pub image_id: Option<String>,
    /// What its use costs, if it is seen and has a price.
    pub price: Option<Price>,
    /// The node, if one was named.
    pub node_id: Option<String>,
    /// All that was looked at.
    pub conditions: Vec<Condition>,
}

impl Deployments {
    /// Looks at everything that a deployment would refuse. Without a node that is what is known of the image alone. A
    /// server that runs a system is taken for one that may be installed anew.
    pub async fn preflight(
        &self,
        by: &Caller,
        wanted: &str,
        node: Option<&str>,
        role: Option<&str>,
    ) -> Result<Preflight, DeployError> {
        let node = match node.filter(|node| !node.is_empty()) {
            Some(node) => Some(self.nodes.find(&by.viewer(), node).await?),
            None => None,
        };
        let mut conditions = Vec::new();
        let image = match self.catalog.find(&by.viewer(), wanted).await {
            Ok(image) => image,
            Err(error) => {
                let error = self.explained(by, wanted, error).await;
                let DeployError::Terms(terms @ TermsError::NotAccepted { .. }) = error else {
                    return Err(error);
                };
                conditions.push(Condition::met("visible", "it is offered to the project"));
                conditions.push(Condition::not_met("accepted", terms.into()));
                return Ok(answer(wanted, None, node.as_ref(), conditions));
            }
        };
        let project = node.as_ref().map_or(&by.project_id, |node| &node.project_id);
        conditions.push(match &node {
            Some(node) => match self.check_shared(by, &image, node).await {
                Ok(()) => Condition::met("visible", right(&image, project)),
                Err(error @ DeployError::NotShared { .. }) => Condition::not_met("visible", error.into()),
                Err(error) => return Err(error),
            },
            None => Condition::met("visible", right(&image, project)),
        });
        conditions.push(Condition::met("accepted", "no invitation is open"));
        conditions.extend(self.rules(by, &image, node.as_ref(), role).await?);
        let unpaid = self.catalog.unpaid(&image, project).await?;
        conditions.push(match unpaid {
            Some(terms) => Condition::not_met("entitlement", terms.into()),
            None => Condition::met("entitlement", paid(&image, project)),
        });
        conditions.push(self.key_of(&image).await);
        Ok(answer(wanted, Some(&image), node.as_ref(), conditions))
    }

    /// Whether an encrypted image can be opened.
    async fn key_of(&self, image: &Image) -> Condition {
        for disk in image.disks.iter().filter(|disk| disk.encrypted) {
            if let Err(error) = self.image_keys.open(&disk.manifest).await {
                return Condition::not_met("key", DeployError::from(error).into());
            }
        }
        match image.encrypted {
            true => Condition::met("key", "its key is there"),
            false => Condition::met("key", "it is not encrypted"),
        }
    }

    /// What the image and the node themselves say.
    async fn rules(
        &self,
        by: &Caller,
        image: &Image,
        node: Option<&Node>,
        role: Option<&str>,
    ) -> Result<Vec<Condition>, DeployError> {
        let role = match (role, image.kind) {
            (None | Some(""), ImageKind::FullMachine) => Some("system"),
            (role, _) => role,
        };
        let request = DeployRequest {
            image: image.id.clone(),
            role: role.map(str::to_owned),
            finish: Some(image.kind != ImageKind::DataDisk),
            reinstall: Some(true),
            // Which model a server has is known of a node only.
            allow_unverified: Some(node.is_none()),
            ..DeployRequest::default()
        };
        let replacement = self.replacement_of(&by.viewer(), image).await?;
        let inventory = match node {
            Some(node) => self.nodes.inventory(&node.id).await?,
            None => None,
        };
        let fit = match node {
            Some(node) => self.fit(&request, node, inventory.as_ref(), image).await?,
            None => None,
        };
        let sealed = self.sealed_root(&request, image).await?;
        let chosen = Chosen {
            image,
            replacement: replacement.as_deref(),
            region: self.catalog.region(),
            fit: fit.as_ref(),
            sealed: sealed.as_deref(),
        };
        let refusals = match node {
            Some(node) => {
                let mut connection = self
                    .db
                    .acquire()
                    .await
                    .map_err(doing("look for the node's disks"))?;
                let policy = self.disk_policy(&mut connection, &node.id, &request.wipe).await?;
                let model = self.matching.hardware_model(inventory.as_ref()).await?;
                let server = Server {
                    node,
                    inventory: inventory.as_ref(),
                    model: model.as_ref(),
                };
                check(&request, server, Some(chosen), Vec::new(), policy).err()
            }
            None => image_rules::choose_disk(&request, chosen)
                .err()
                .map(|refusals| refusals.into_iter().map(Refusal::Image).collect()),
        };
        let refusals = refusals.unwrap_or_default();
        let mut conditions = Vec::new();
        for (condition, kinds) in RULES {
            let mut against = refusals.iter().filter(|r| kinds.contains(&r.kind())).peekable();
            if against.peek().is_none() {
                conditions.push(Condition::met(condition, held(condition, image)));
            }
            conditions.extend(against.map(|refusal| Condition::refused(condition, refusal)));
        }
        let of_rules = |refusal: &&Refusal| RULES.iter().any(|(_, kinds)| kinds.contains(&refusal.kind()));
        let mut against = refusals.iter().filter(|refusal| !of_rules(refusal)).peekable();
        if let (Some(node), None) = (node, against.peek()) {
            conditions.push(Condition::met("node", format!("{} can take it", node.name)));
        }
        conditions.extend(against.map(|refusal| Condition::refused("node", refusal)));
        Ok(conditions)
    }

    /// Why an image was not found: the project may have been offered it, and not have accepted.
    pub(super) async fn explained(&self, by: &Caller, wanted: &str, error: CatalogError) -> DeployError {
        if !matches!(error, CatalogError::NotFound { .. }) {
            return error.into();
        }
        match self.catalog.not_accepted(&by.project_id, wanted).await {
            Ok(Some(terms)) => terms.into(),
            Ok(None) => error.into(),
            Err(fault) => fault.into(),
        }
    }
}

fn held(condition: &str, image: &Image) -> String {
    match condition {
        "state" => format!("it is {}", image.state),
        "region" => format!("it belongs to this region, {}", image.region),
        _ => format!("a {} can be deployed", image.kind),
    }
}

fn paid(image: &Image, project: &str) -> String {
    match &image.price {
        Some(price) if !price.is_free() && image.project_id == project => {
            format!("it costs others {}, and is the project's own", price.text())
        }
        Some(price) if !price.is_free() => format!("it costs {}, and the project may use it", price.text()),
        _ => "it costs nothing".to_owned(),
    }
}

fn answer(wanted: &str, image: Option<&Image>, node: Option<&Node>, conditions: Vec<Condition>) -> Preflight {
    Preflight {
        ready: conditions.iter().all(|condition| condition.holds),
        image: image.map_or_else(|| wanted.to_owned(), |image| image.name.clone()),
        image_id: image.map(|image| image.id.clone()),
        price: image.and_then(|image| image.price.clone()),
        node_id: node.map(|node| node.id.clone()),
        conditions,
    }
}
