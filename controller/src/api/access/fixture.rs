//! A controller with two projects, one of each kind of caller, and one of each thing for each of them.

use std::path::Path;

use axum::Router;
use sqlx::AssertSqlSafe;

use crate::{
    api,
    app::App,
    clock::Clock,
    config::Config,
    identity::{Caller, PLATFORM, Permission, Project, Role, TokenRequest, Viewer},
    testing::{admin, token_of},
    webhooks::WantedWebhook,
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Nobody,
    Reader,
    /// A member of the project `other`.
    Other,
    Member,
    Operator,
    Admin,
}

impl Who {
    pub(super) const ALL: [Self; 6] = [
        Self::Nobody,
        Self::Reader,
        Self::Other,
        Self::Member,
        Self::Operator,
        Self::Admin,
    ];

    fn place(self) -> Option<(&'static str, Role)> {
        match self {
            Self::Nobody => None,
            Self::Reader => Some(("web", Role::Reader)),
            Self::Other => Some(("other", Role::Member)),
            Self::Member => Some(("web", Role::Member)),
            Self::Operator => Some(("platform", Role::Operator)),
            Self::Admin => Some(("platform", Role::Admin)),
        }
    }

    pub(super) fn may(self, permission: Permission) -> bool {
        self.place().is_some_and(|(_, role)| role.may(permission))
    }

    /// Whether what the project `web` has is there for him.
    pub(super) fn sees_web(self) -> bool {
        self != Self::Other
    }

    /// Part of the names of his things.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Reader => "reader",
            Self::Other => "other",
            Self::Member => "member",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Everything that a walk needs.
pub(super) struct World {
    pub(super) app: App,
    pub(super) router: Router,
    /// Of each caller but nobody, in the order of [`Who::ALL`].
    tokens: Vec<(Who, String)>,
    /// Ids of what belongs to the project `web`, for each caller its own: a walk may delete it.
    things: Vec<(Who, Things)>,
    _dir: tempfile::TempDir,
}

/// Ids that take the place of `{node}`, `{image}`, … in a route.
#[derive(Debug, Clone)]
pub(super) struct Things(Vec<(&'static str, String)>);

impl Things {
    /// The text with all ids in it. `{id}` is what the route is about.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (area, name) in [("/v1/deployments/", "{deployment}"), ("/v1/uploads/", "{upload}")] {
            filled = filled.replace(&format!("{area}{{id}}"), &format!("{area}{name}"));
        }
        for (area, name) in [("manifests", "{manifest}"), ("packs", "{pack}")] {
            filled = filled.replace(&format!("{area}/{{digest}}"), &format!("{area}/{name}"));
        }
        for (name, id) in &self.0 {
            filled = filled.replace(name, id);
        }
        filled
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::loopback(dir.path());
        config.webhooks.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        let app = App::for_test_with(config, Clock::fake(jiff::Timestamp::now())).await;
        let mut tokens = Vec::new();
        for who in Who::ALL {
            if let Some((project, role)) = who.place() {
                tokens.push((who, token_of(&app, project, role).await));
            }
        }
        let web = app.tenants.project(&Viewer::All, "web").await.unwrap();
        let mut things = Vec::new();
        for who in Who::ALL {
            things.push((who, things_of(&app, &web, who, &tokens).await));
        }
        let (grpc, _health) = api::grpc::router(&app).await.unwrap();
        let router = api::rest::router(app.clone(), grpc);
        Self {
            app,
            router,
            tokens,
            things,
            _dir: dir,
        }
    }

    pub(super) fn token(&self, who: Who) -> Option<&str> {
        let found = self.tokens.iter().find(|(of, _)| *of == who);
        found.map(|(_, token)| token.as_str())
    }

    pub(super) fn things(&self, who: Who) -> &Things {
        let found = self.things.iter().find(|(of, _)| *of == who);
        &found.expect("everybody has things").1
    }
}

/// A second token of the caller; for callers that are not of the project, one of its reader.
async fn spare_token(app: &App, who: Who, tokens: &[(Who, String)]) -> String {
    let of = match who {
        Who::Nobody | Who::Other => Who::Reader,
        who => who,
    };
    let secret = &tokens.iter().find(|(has, _)| *has == of).unwrap().1;
    let caller: Caller = app.api_tokens.check(secret).await.unwrap();
    let request = TokenRequest {
        name: format!("spare {}", who.word()),
        ..TokenRequest::default()
    };
    app.tenants.create_token(&caller, &request).await.unwrap().0.id
}

async fn things_of(app: &App, web: &Project, who: Who, tokens: &[(Who, String)]) -> Things {
    let word = who.word();
    let digest = |what: &str| {
        blake3::hash(format!("{what} {word}").as_bytes())
            .to_hex()
            .to_string()
    };
    let (manifest, pack) = (digest("manifest"), digest("pack"));
    let id = || ulid::Ulid::generate().to_string();
    let (node, free, image, deployment, job, upload) = (id(), id(), id(), id(), id(), id());
    let (transfer, volume) = (id(), id());
    let spare = format!("spare-{word}");
    app.tenants
        .create_project(&admin(), &spare, &Default::default())
        .await
        .unwrap();
    let user = format!("user-{word}");
    app.tenants.create_user(&admin(), &user).await.unwrap();
    app.tenants
        .grant(&admin(), &spare, &user, Role::Reader)
        .await
        .unwrap();
    let guest = app.tenants.project(&Viewer::All, "other").await.unwrap().id;
    let (project, name) = (&web.id, format!("debian-{word}"));
    for sql in [
        format!(
            "INSERT INTO nodes (id, name, state, created_at, project_id) VALUES ('{node}', 'busy-{word}', 'deploying', 0, '{project}')"
        ),
        format!(
            "INSERT INTO nodes (id, name, state, created_at, project_id) VALUES ('{free}', 'free-{word}', 'discovered', 0, '{project}')"
        ),
        format!(
            "INSERT INTO images (id, name, state, created_at, updated_at, project_id, created_by, kind, visibility, region, \
             source, source_format, disk_size_bytes, architecture, family) VALUES ('{image}', '{name}', 'active', 0, 0, '{project}', 'somebody', \
             'system-disk', 'private', 'default', 'upload', 'raw', 1048576, 'x86_64', 'linux-{word}')"
        ),
        format!(
            "INSERT INTO manifests (manifest, manifest_digest, image_digest, disk_size_bytes, data_bytes, stored_bytes, \
             logical_sector_bytes, created_at) VALUES ('{manifest}', '{manifest}', '{manifest}', 1048576, 0, 0, 512, 0)"
        ),
        format!("INSERT INTO manifest_packs (manifest, pack) VALUES ('{manifest}', '{pack}')"),
        format!(
            "INSERT INTO image_disks (image_id, position, role, manifest) VALUES ('{image}', 0, 'system', '{manifest}')"
        ),
        format!("UPDATE images SET visibility = 'shared' WHERE id = '{image}'"),
        format!(
            "INSERT INTO image_members (image_id, project_id, state, created_at, updated_at) \
             VALUES ('{image}', '{PLATFORM}', 'pending', 0, 0)"
        ),
        format!(
            "INSERT INTO deployments (id, node_id, state, phase, step, image_id, image_name, image_digest, manifest_digest, \
             disk_size_bytes, logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, task_id, phase_since, \
             moved_at, created_at, project_id, manifest) VALUES ('{deployment}', '{node}', 'running', 'await-agent', 'power', \
             '{image}', '{name}', '{manifest}', '{manifest}', 1048576, 512, '', 'h', 'network-first', 1, 1, '{deployment}', \
             {now}, {now}, {now}, '{project}', '{manifest}')",
            now = app.clock.now_ms()
        ),
        format!("UPDATE nodes SET deployment_id = '{deployment}' WHERE id = '{node}'"),
        // Of the same id as its deployment.
        format!(
            "INSERT INTO batches (id, project_id, requested_by, image_name, at_once, created_at) \
             VALUES ('{deployment}', '{project}', 'somebody', '{name}', 1, 0)"
        ),
        format!(
            "INSERT INTO guests (node_id, deployment_id, key_digest, created_at) VALUES ('{node}', '{deployment}', x'00', 0)"
        ),
        format!(
            "INSERT INTO volumes (id, name, project_id, size_bytes, backing, state, since, created_by, created_at) \
             VALUES ('{volume}', 'volume-{word}', '{project}', 512, '{{\"type\":\"named\",\"name\":\"x\"}}', 'available', 0, \
             'somebody', 0)"
        ),
        format!("INSERT INTO node_holds (node_id, taken_at, since) VALUES ('{free}', 0, 0)"),
        format!(
            "INSERT INTO deployment_tasks (task_id, deployment_id, node_id, attempt, created_at) \
             VALUES ('{deployment}', '{deployment}', '{node}', 1, 0)"
        ),
        format!(
            "INSERT INTO jobs (id, kind, project_id, state, request, requested_by, created_at) \
             VALUES ('{job}', 'import', '{project}', 'queued', '{{}}', 'somebody', 0)"
        ),
        format!(
            "INSERT INTO transfers (id, project_id, created_by, source_region, source_image, request, created_at, touched_at) \
             VALUES ('{transfer}', '{project}', 'somebody', 'r', 'i', '{{\"image\":{{\"name\":\"t-{word}\"}},\"source_region\":\"r\",\
             \"source_image\":\"i\",\"source_format\":\"raw\",\"disks\":[{{\"role\":\"system\",\"image_digest\":\"{manifest}\"}}]}}', \
             {now}, {now})",
            now = app.clock.now_ms()
        ),
        format!(
            "INSERT INTO uploads (id, project_id, length_bytes, request, requested_by, created_at, expires_at) \
             VALUES ('{upload}', '{project}', 10, '{{\"name\":\"upload-{word}\"}}', 'somebody', 0, {})",
            i64::MAX
        ),
    ] {
        sqlx::query(AssertSqlSafe(sql.clone()))
            .execute(&app.db)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let wanted = WantedWebhook {
        name: format!("hook-{word}"),
        url: "https://127.0.0.1:9/".to_owned(),
        ..WantedWebhook::default()
    };
    let webhook = app.webhooks.create(&admin(), &wanted).await.unwrap();
    let spool = app.config.data_dir.join("spool/uploads");
    std::fs::write(spool.join(&upload), "").unwrap();
    put_object(&app.config.data_dir, "manifests", &manifest);
    put_object(&app.config.data_dir, "packs", &pack);
    Things(vec![
        ("{node}", node),
        ("{free}", free),
        ("{image}", image),
        ("{deployment}", deployment),
        ("{job}", job),
        ("{upload}", upload),
        ("{transfer}", transfer),
        ("{volume}", volume),
        ("{manifest}", manifest),
        ("{pack}", pack),
        ("{project}", web.id.clone()),
        ("{spare}", spare),
        ("{user}", user),
        ("{token}", spare_token(app, who, tokens).await),
        ("{webhook}", webhook.webhook.id),
        ("{who}", word.to_owned()),
        ("{platform}", PLATFORM.to_owned()),
        ("{guest}", guest),
    ])
}

fn put_object(data: &Path, kind: &str, key: &str) {
    let folder = data.join("store").join(kind);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(key), b"content").unwrap();
}
