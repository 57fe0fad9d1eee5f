//! The list of all routes of REST with what they need. A new one gets its row here.

use crate::identity::Permission::{self, *};

/// What a route needs of whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Not even a token.
    Nothing,
    /// Any good token.
    Token,
    /// A token that may do this.
    To(Permission),
}

/// What a request leaves in the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// It only reads.
    Nothing,
    /// At least one caller gets it done, and there is an event that names him.
    AnEvent,
    /// It writes, and another test looks at its event, or there is a reason why none is due.
    Otherwise(&'static str),
}

/// A route of REST.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Method and path as OpenAPI has them.
    pub(super) route: &'static str,
    /// The path that is asked for, when it is not that of the route; and a query.
    pub(super) asks: Option<&'static str>,
    pub(super) needs: Needs,
    /// It is about something of the project `web`: not there for others.
    pub(super) of_web: bool,
    /// JSON, or text where it does not begin with a brace.
    pub(super) body: Option<&'static str>,
    pub(super) leaves: Leaves,
}

impl Row {
    /// What it is about belongs to the project `web`.
    fn of_web(self) -> Self {
        Self { of_web: true, ..self }
    }

    fn asks(self, asks: &'static str) -> Self {
        Self {
            asks: Some(asks),
            ..self
        }
    }

    fn body(self, body: &'static str) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    fn leaves(self, leaves: Leaves) -> Self {
        Self { leaves, ..self }
    }
}

const UPLOADS: &str = "nothing has come of an upload before its import, which leaves its own";
const RESCUES: &str = "deploy::tests::rescues looks at its events";
const TRANSFERS: &str = "the image that comes of a transfer leaves one, and the sender's job";

fn row(route: &'static str, needs: Needs) -> Row {
    let leaves = match route.starts_with("GET ") {
        true => Leaves::Nothing,
        false => Leaves::AnEvent,
    };
    Row {
        route,
        asks: None,
        needs,
        of_web: false,
        body: None,
        leaves,
    }
}

fn to(route: &'static str, permission: Permission) -> Row {
    row(route, Needs::To(permission))
}

/// All routes.
pub(super) fn rest() -> Vec<Row> {
    vec![
        row("GET /healthz", Needs::Nothing),
        row("GET /openapi.json", Needs::Nothing),
        // images
        to("GET /v1/images", ReadImages),
        to("GET /v1/images/{image}", ReadImages).of_web(),
        to("GET /v1/images/{image}/facts", ReadImages).of_web(),
        to("GET /v1/images/{image}/lint", ReadImages).of_web(),
        to("GET /v1/images/{image}/sbom", ReadImages).of_web(),
        // sharing
        to("GET /v1/images/{image}/members", ReadImages).of_web(),
        to("GET /v1/images/{image}/members/{project}", ReadImages)
            .asks("/v1/images/{image}/members/{platform}")
            .of_web(),
        to("POST /v1/images/{image}/members", WriteImages)
            .body(r#"{"projects": ["{guest}"]}"#)
            .of_web(),
        to("PUT /v1/images/{image}/members/{project}", WriteImages)
            .asks("/v1/images/{image}/members/{platform}")
            .body(r#"{"state": "accepted"}"#)
            .of_web(),
        to("DELETE /v1/images/{image}/members/{project}", WriteImages)
            .asks("/v1/images/{image}/members/{platform}")
            .of_web(),
        to("GET /v1/invitations", ReadImages),
        to("POST /v1/images/{image}/publish", WriteImages)
            .body(r#"{"to": "community"}"#)
            .of_web()
            .leaves(Leaves::Otherwise("catalog::tests::publishing looks at its event")),
        to("POST /v1/images/{image}/unpublish", WriteImages)
            .of_web()
            .leaves(Leaves::Otherwise("only a published image is taken back")),
        to("GET /v1/images/{image}/entitlements", ReadImages).of_web(),
        to("PUT /v1/images/{image}/entitlements/{project}", WriteImages)
            .asks("/v1/images/{image}/entitlements/{platform}")
            .of_web(),
        to("DELETE /v1/images/{image}/entitlements/{project}", WriteImages)
            .asks("/v1/images/{image}/entitlements/{platform}")
            .of_web(),
        to("GET /v1/images/{image}/preflight", ReadImages).of_web(),
        to("POST /v1/images", WriteImages)
            .asks("/v1/images?name=walk-{who}")
            .body("not a disk")
            .leaves(Leaves::Otherwise("ingest::tests look at the events of imports")),
        to("PATCH /v1/images/{image}", WriteImages)
            .body(r#"{"description": "x"}"#)
            .of_web(),
        to("POST /v1/images/compose", WriteImages)
            .body(r#"{"name": "machine-{who}", "disks": [{"role": "system", "image": "{image}"}, {"role": "data", "image": "{image}"}]}"#)
            .of_web(),
        to("POST /v1/images/{image}/deprecate", WriteImages).of_web(),
        to("POST /v1/images/{image}/activate", WriteImages).of_web(),
        to("POST /v1/images/{image}/deactivate", WriteImages).of_web(),
        to("POST /v1/images/{image}/obsolete", WriteImages)
            .body(r#"{"at": "2999-01-01T00:00:00Z"}"#)
            .of_web(),
        to("GET /v1/images/{image}/transitions", ReadImages).of_web(),
        to("DELETE /v1/images/{image}/transitions/{state}", WriteImages)
            .asks("/v1/images/{image}/transitions/obsolete")
            .of_web(),
        to("DELETE /v1/images/{image}/transitions", WriteImages)
            .of_web()
            .leaves(Leaves::Otherwise("nothing is planned any more; each plan that is taken back leaves its own")),
        to("GET /v1/families", ReadImages),
        to("GET /v1/families/{family}", ReadImages).asks("/v1/families/linux-{who}").of_web(),
        // images as files, copies; a format that is none is refused after the image was looked for
        to("GET /v1/images/{image}/content", ReadImages)
            .asks("/v1/images/{image}/content?format=none")
            .of_web(),
        to("HEAD /v1/images/{image}/content", ReadImages)
            .asks("/v1/images/{image}/content?format=none")
            .of_web()
            .leaves(Leaves::Nothing),
        to("GET /v1/images/{image}/content/sum", ReadImages)
            .asks("/v1/images/{image}/content/sum?format=none")
            .of_web(),
        to("POST /v1/images/{image}/export", WriteJobs)
            .body(r#"{"format": "none", "destination": "none"}"#)
            .of_web()
            .leaves(Leaves::Otherwise("jobs::tests look at the events of jobs")),
        to("POST /v1/images/{image}/copy", WriteImages)
            .body("{}")
            .of_web()
            .leaves(Leaves::Otherwise("jobs::tests look at the events of jobs")),
        // transfers
        to("POST /v1/transfers", WriteImages)
            .body(r#"{"image": {"name": "t"}, "source_region": "r", "source_image": "i", "source_format": "raw", "disks": []}"#)
            .leaves(Leaves::Otherwise(TRANSFERS)),
        to("GET /v1/transfers/{transfer}", WriteImages).of_web(),
        to("PUT /v1/transfers/{transfer}/disks/{position}/manifest", WriteImages)
            .asks("/v1/transfers/{transfer}/disks/0/manifest")
            .of_web()
            .leaves(Leaves::Otherwise(TRANSFERS)),
        to("GET /v1/transfers/{transfer}/disks/{position}/missing", WriteImages)
            .asks("/v1/transfers/{transfer}/disks/0/missing")
            .of_web(),
        to("PUT /v1/transfers/{transfer}/packs/{digest}", WriteImages)
            .of_web()
            .leaves(Leaves::Otherwise(TRANSFERS)),
        to("POST /v1/transfers/{transfer}/complete", WriteImages)
            .of_web()
            .leaves(Leaves::Otherwise(TRANSFERS)),
        to("DELETE /v1/transfers/{transfer}", WriteImages)
            .of_web()
            .leaves(Leaves::Otherwise(TRANSFERS)),
        // store
        to("GET /v1/store/manifests/{digest}", ReadImages).of_web(),
        to("GET /v1/store/packs/{digest}", ReadImages).of_web(),
        to("GET /v1/store", ManageStore),
        to("POST /v1/store/verify", ManageStore).body("{}").leaves(Leaves::Otherwise("jobs::tests look at the events of jobs")),
        to("POST /v1/store/gc", ManageStore).body("{}").leaves(Leaves::Otherwise("jobs::tests look at the events of jobs")),
        // nodes
        to("GET /v1/nodes", ReadNodes),
        to("GET /v1/nodes/{node}", ReadNodes).of_web(),
        to("GET /v1/nodes/{node}/why", ReadNodes).of_web(),
        to("POST /v1/nodes/{node}/approve", WriteNodes).asks("/v1/nodes/{free}/approve"),
        to("POST /v1/nodes", WriteNodes)
            .body(r#"{"name": "announced-{who}", "macs": ["02:00:00:00:0a:01"]}"#),
        to("PUT /v1/nodes/{node}/maintenance", WriteNodes)
            .body(r#"{"reason": "of {who}"}"#)
            .of_web(),
        to("DELETE /v1/nodes/{node}/maintenance", WriteNodes).of_web(),
        to("POST /v1/nodes/{node}/console", WriteNodes)
            .body("login: ")
            .leaves(Leaves::Otherwise("what a server writes is in the log of a deployment")),
        to("POST /v1/nodes/{node}/retire", WriteNodes).asks("/v1/nodes/{free}/retire"),
        to("POST /v1/nodes/{node}/release", WriteDeployments)
            .of_web()
            .leaves(Leaves::Otherwise("deploy::tests::releases looks at its events")),
        // The walk's controller has no ramdisk for rescues.
        to("POST /v1/nodes/{node}/rescue", WriteDeployments).of_web().leaves(Leaves::Otherwise(RESCUES)),
        to("POST /v1/nodes/{node}/rescue/password", WriteDeployments).of_web().leaves(Leaves::Otherwise(RESCUES)),
        to("DELETE /v1/nodes/{node}/rescue", WriteDeployments).of_web().leaves(Leaves::Otherwise(RESCUES)),
        to("GET /v1/wipe-certificates", ReadNodes),
        to("POST /v1/nodes/{node}/confirm", WriteNodes).asks("/v1/nodes/{free}/confirm"),
        to("PUT /v1/nodes/{node}/project", WriteNodes)
            .asks("/v1/nodes/{free}/project")
            .body(r#"{"project": "platform"}"#),
        to("DELETE /v1/nodes/{node}", WriteNodes).asks("/v1/nodes/{free}"),
        // guest plugins
        to("GET /v1/nodes/{node}/guest", ReadNodes).of_web(),
        to("GET /v1/nodes/{node}/password-resets", ReadNodes).of_web(),
        to("POST /v1/nodes/{node}/password-resets", WriteDeployments)
            .body(r#"{"user": "root"}"#)
            .of_web()
            .leaves(Leaves::Otherwise("guests::tests look at the events of passwords")),
        // volumes and cards
        to("GET /v1/volumes", ReadNodes),
        to("GET /v1/volumes/{volume}", ReadNodes).of_web(),
        to("GET /v1/volumes/orphans", WriteNodes),
        to("POST /v1/volumes", WriteNodes).body(
            r#"{"name": "new-{who}", "size_bytes": 512, "backing": {"type": "named", "name": "x"}}"#,
        ),
        to("POST /v1/volumes/{volume}/attach", WriteDeployments)
            .body(r#"{"node": "{node}"}"#)
            .of_web()
            .leaves(Leaves::Otherwise("tests/tests/card/volumes.rs looks at the events of volumes")),
        to("POST /v1/volumes/{volume}/detach", WriteDeployments)
            .of_web()
            .leaves(Leaves::Otherwise("a volume that is nowhere stays there")),
        to("DELETE /v1/volumes/{volume}", WriteNodes),
        to("GET /v1/nodes/{node}/card", ReadNodes).of_web(),
        to("PUT /v1/nodes/{node}/card", WriteNodes).body(r#"{"address": "card-{who}:50051"}"#),
        // power
        to("GET /v1/nodes/{node}/bmc", ReadNodes).of_web(),
        to("GET /v1/nodes/{node}/bmc/hardware", ReadNodes).of_web(),
        to("GET /v1/nodes/{node}/power", ReadNodes).of_web(),
        to("PUT /v1/nodes/{node}/bmc", WriteNodes).body(r#"{"kind": "manual"}"#),
        to("PUT /v1/nodes/{node}/bmc/media", WriteNodes)
            .body(r#"{"url": null}"#)
            .leaves(Leaves::Otherwise("tests/tests/redfish looks at its event")),
        to("DELETE /v1/nodes/{node}/bmc", WriteNodes),
        to("POST /v1/nodes/{node}/power", WriteDeployments)
            .body(r#"{"action": "on"}"#)
            .of_web()
            .leaves(Leaves::Otherwise("tests/tests/redfish looks at the events of power")),
        // models and matching
        to("GET /v1/models", ReadNodes),
        to("GET /v1/models/{model}", ReadNodes).asks("/v1/models/qemu-q35"),
        to("POST /v1/models", WriteNodes).body(
            r#"{"document": "schema = 1\nname = \"of-web\"\nversion = 1\n[match]\nvendor = \"Example\"\n"}"#,
        )
        .leaves(Leaves::Otherwise("matching::tests looks at its event")),
        to("DELETE /v1/models/{model}", WriteNodes)
            .asks("/v1/models/qemu-q35")
            .leaves(Leaves::Otherwise("matching::tests looks at its event")),
        to("GET /v1/nodes/{node}/model-suggestion", ReadNodes).of_web(),
        to("GET /v1/nodes/{node}/match", ReadNodes).of_web(),
        to("GET /v1/images/{image}/match", ReadNodes).of_web(),
        // deployments
        to("GET /v1/deployments", ReadDeployments),
        to("GET /v1/deployments/{id}", ReadDeployments).of_web(),
        to("GET /v1/deployments/{id}/log", ReadDeployments).of_web(),
        to("POST /v1/deployments", WriteDeployments)
            .body(r#"{"node": "{node}", "image": "{image}"}"#)
            .of_web()
            .leaves(Leaves::Otherwise(
                "deploy::tests look at the events of deployments",
            )),
        to("POST /v1/batches", WriteDeployments)
            .body(r#"{"nodes": ["{node}"], "deployment": {"node": "", "image": "{image}"}}"#)
            .of_web()
            .leaves(Leaves::Otherwise("deploy::tests::batches looks at its events")),
        to("GET /v1/batches", ReadDeployments),
        to("GET /v1/batches/{id}", ReadDeployments)
            .asks("/v1/batches/{deployment}")
            .of_web(),
        to("POST /v1/batches/{id}/cancel", WriteDeployments)
            .asks("/v1/batches/{deployment}/cancel")
            .of_web()
            .leaves(Leaves::Otherwise("deploy::tests::batches looks at its events")),
        to("POST /v1/deployments/{id}/cancel", WriteDeployments).of_web(),
        to("POST /v1/deployments/{id}/accept", WriteDeployments)
            .of_web()
            .leaves(Leaves::Otherwise("deploy::tests look at its event")),
        // what others above still need
        to("DELETE /v1/images/{image}", WriteImages).of_web(),
        // events
        to("GET /v1/events", ReadEvents),
        to("GET /v1/events/stream", ReadEvents),
        to("GET /metrics", ReadMetrics),
        // webhooks
        to("GET /v1/webhooks", ManageWebhooks),
        to("GET /v1/webhooks/{webhook}", ManageWebhooks),
        to("POST /v1/webhooks", ManageWebhooks).body(r#"{"name": "new-{who}", "url": "https://127.0.0.1:9/"}"#),
        to("POST /v1/webhooks/{webhook}/disable", ManageWebhooks),
        to("POST /v1/webhooks/{webhook}/enable", ManageWebhooks).body("{}"),
        to("POST /v1/webhooks/{webhook}/test", ManageWebhooks)
            .leaves(Leaves::Otherwise("a test is sent once and changes nothing")),
        to("DELETE /v1/webhooks/{webhook}", ManageWebhooks),
        // imports, uploads, contents
        to("POST /v1/imports", WriteImages)
            .body(r#"{"spec": {"name": "i"}, "source": {"type": "url", "url": "ftp://x/"}}"#)
            .leaves(Leaves::Otherwise("ingest::tests look at the events of imports")),
        to("GET /v1/uploads", ReadImages),
        to("POST /v1/uploads", WriteImages)
            .body(r#"{"name": "u"}"#)
            .leaves(Leaves::Otherwise(UPLOADS)),
        to("GET /v1/uploads/{upload}", ReadImages).of_web(),
        to("HEAD /v1/uploads/{upload}", ReadImages)
            .of_web()
            .leaves(Leaves::Nothing),
        to("PATCH /v1/uploads/{upload}", WriteImages)
            .body("piece")
            .of_web()
            .leaves(Leaves::Otherwise(UPLOADS)),
        to("POST /v1/uploads/{upload}/complete", WriteImages)
            .of_web()
            .leaves(Leaves::Otherwise(UPLOADS)),
        to("DELETE /v1/uploads/{upload}", WriteImages)
            .of_web()
            .leaves(Leaves::Otherwise(UPLOADS)),
        // jobs
        to("GET /v1/jobs", ReadJobs),
        to("GET /v1/jobs/{job}", ReadJobs).of_web(),
        to("POST /v1/jobs/{job}/cancel", WriteJobs).of_web(),
        // projects
        row("GET /v1/projects", Needs::Token),
        row("GET /v1/projects/{project}", Needs::Token).of_web(),
        row("GET /v1/projects/{project}/users", Needs::Token).of_web(),
        to("POST /v1/projects", ManageTenants).body(r#"{"name": "new-{who}"}"#),
        to("PATCH /v1/projects/{project}", ManageTenants).body(r#"{"description": "x"}"#),
        to("PUT /v1/projects/{project}/users/{user}", ManageTenants)
            .asks("/v1/projects/{spare}/users/{user}")
            .body(r#"{"role": "member"}"#),
        to("DELETE /v1/projects/{project}/users/{user}", ManageTenants)
            .asks("/v1/projects/{spare}/users/{user}"),
        to("DELETE /v1/projects/{project}", ManageTenants).asks("/v1/projects/{spare}"),
        // quota and usage
        to("GET /v1/quota", ReadImages),
        to("PUT /v1/projects/{project}/quota", ManageTenants).body(r#"{"max_images_per_user": 60}"#),
        to("GET /v1/usage", ReadImages),
        to("GET /v1/usage/records", ReadImages),
        // users
        to("GET /v1/users", ManageTenants),
        to("GET /v1/users/{user}", ManageTenants),
        to("POST /v1/users", ManageTenants).body(r#"{"name": "new-{who}"}"#),
        to("POST /v1/users/{user}/disable", ManageTenants),
        to("POST /v1/users/{user}/enable", ManageTenants),
        // tokens
        row("GET /v1/whoami", Needs::Token),
        to("GET /v1/tokens", WriteTokens),
        to("GET /v1/tokens/{token}", WriteTokens).of_web(),
        to("POST /v1/tokens", WriteTokens).body(r#"{"name": "new"}"#),
        to("DELETE /v1/tokens/{token}", WriteTokens).of_web(),
    ]
}
