//! A request with everything that it is judged by, and what is against it before the judgement: a deployment and its plan
//! begin with the same look, and every reason is kept until all are known.

use imprint_hardware::{matching::Answer, model::HardwareModel};

use super::{
    Deployments,
    disk_policy::DiskPolicy,
    error::DeployError,
    image_rules::{Chosen, ImageRefusal},
    request::{Checked, DeployRequest, Refusal, Server, check},
    volume::VolumeTarget,
};
use crate::{
    api::rest::problem::Problem,
    backup::hold_of,
    catalog::{Catalog, Content, Image, ImageState},
    events::doing,
    identity::Caller,
    inventory::{Inventory, Node},
};

/// What is known of a request.
#[derive(Debug)]
pub(super) struct Subject {
    pub node: Node,
    /// What its agent read.
    pub inventory: Option<Inventory>,
    /// The node's model.
    pub model: Option<HardwareModel>,
    /// Unset when it cannot be found or used; then `against` has the reason.
    pub image: Option<Image>,
    /// Name of the image to use instead, if there is one that the caller may use.
    pub replacement: Option<String>,
    /// How the image stands to the node.
    pub fit: Option<Answer>,
    /// Why its root cannot be written, when that is certain.
    pub sealed: Option<String>,
    /// What is known to be against it already.
    pub against: Vec<Refusal>,
}

impl Subject {
    /// The judgement, with all that is against it. `node` as it is now.
    pub(super) fn check(
        &self,
        request: &DeployRequest,
        node: &Node,
        region: &str,
        policy: DiskPolicy,
    ) -> Result<(&Image, Checked), DeployError> {
        let chosen = self.image.as_ref().map(|image| Chosen {
            image,
            replacement: self.replacement.as_deref(),
            region,
            fit: self.fit.as_ref(),
            sealed: self.sealed.as_deref(),
        });
        let server = Server {
            node,
            inventory: self.inventory.as_ref(),
            model: self.model.as_ref(),
        };
        match check(request, server, chosen, self.against.clone(), policy) {
            Ok(checked) => self
                .image
                .as_ref()
                .map(|image| (image, checked))
                .ok_or(DeployError::Refused(Vec::new())),
            Err(refusals) => Err(DeployError::Refused(refusals)),
        }
    }
}

/// What the caller can do something about is one reason among others; a fault of the controller is the answer.
fn reason(error: impl Into<Problem>) -> Result<Refusal, DeployError> {
    let problem: Problem = error.into();
    if problem.status.is_server_error() {
        return Err(DeployError::Fault(Box::new(problem)));
    }
    Ok(Refusal::Other(Box::new(problem)))
}

impl Deployments {
    /// Looks at everything that a request names; `target`: the volume that it is to go onto.
    pub(super) async fn subject(
        &self,
        by: &Caller,
        request: &DeployRequest,
        target: Option<&VolumeTarget>,
    ) -> Result<Subject, DeployError> {
        let node = self.nodes.find(&by.viewer(), &request.node).await?;
        let inventory = self.nodes.inventory(&node.id).await?;
        let inventory = match (inventory, target) {
            (Some(inventory), Some(target)) => Some(target.alone(inventory)),
            (Some(inventory), None) => Some(self.with_volumes(&node.id, inventory).await?),
            (None, _) => None,
        };
        let model = self.matching.hardware_model(inventory.as_ref()).await?;
        let mut subject = Subject {
            node,
            inventory,
            model,
            image: None,
            replacement: None,
            fit: None,
            sealed: None,
            against: Vec::new(),
        };
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the hold of a node"))?;
        if let Some(hold) = hold_of(&mut connection, &subject.node.id).await? {
            let problem = hold.problem(&subject.node.name);
            subject.against.push(Refusal::Other(Box::new(problem)));
        }
        drop(connection);
        let image = match self.image_of(&by.viewer(), request).await {
            Ok(image) => image,
            Err(DeployError::Refused(refusals)) => {
                subject.against.extend(refusals);
                return Ok(subject);
            }
            Err(DeployError::Image(error)) => {
                let explained = self.explained(by, &request.image, error).await;
                subject.against.push(reason(explained)?);
                return Ok(subject);
            }
            Err(error) => return Err(error),
        };
        let image = match request.family.as_deref().filter(|family| !family.is_empty()) {
            Some(_) => {
                self.best_of(&by.viewer(), image, &subject.node, subject.inventory.as_ref())
                    .await?
            }
            None => image,
        };
        self.against_image(by, request, &image, &mut subject).await?;
        subject.replacement = self.replacement_of(&by.viewer(), &image).await?;
        subject.fit = self
            .fit(request, &subject.node, subject.inventory.as_ref(), &image)
            .await?;
        subject.sealed = self.sealed_root(request, &image).await?;
        subject.image = Some(image);
        Ok(subject)
    }

    /// Whether the node's project may use it, and whether its content can be read.
    async fn against_image(
        &self,
        by: &Caller,
        request: &DeployRequest,
        image: &Image,
        subject: &mut Subject,
    ) -> Result<(), DeployError> {
        if let Err(error) = self.check_shared(by, image, &subject.node).await {
            subject.against.push(reason(error)?);
        }
        match self.catalog.unpaid(image, &subject.node.project_id).await {
            Ok(None) => {}
            Ok(Some(terms)) => subject.against.push(reason(DeployError::from(terms))?),
            Err(error) => return Err(error.into()),
        }
        for disk in image.disks.iter().filter(|disk| disk.encrypted) {
            // Before anything is begun: without its key the image cannot be written.
            if let Err(error) = self.image_keys.open(&disk.manifest).await {
                subject.against.push(reason(DeployError::from(error))?);
                break;
            }
        }
        let usable = matches!(image.state, ImageState::Active | ImageState::Deprecated);
        let role = request.role.as_deref().filter(|role| !role.is_empty());
        if let (true, Some(disk)) = (usable, image.disk(role)) {
            let read = || doing("look for the image's content");
            let mut connection = self.db.acquire().await.map_err(read())?;
            let content = Catalog::content_of(&mut connection, &image.id, &disk.manifest).await;
            if content.map_err(read())? == Content::Damaged {
                let name = image.name.clone();
                let damaged = Refusal::Image(ImageRefusal::Damaged { name });
                subject.against.push(damaged);
            }
        }
        Ok(())
    }
}
