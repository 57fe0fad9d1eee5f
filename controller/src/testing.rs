//! A controller that really serves, for tests of all concerns.

pub(crate) mod crash;
mod disk;
pub(crate) mod garbage;
pub(crate) mod s3;

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

pub(crate) use disk::{debian, ext4, gpt};

use crate::{
    app::App,
    catalog::{
        CatalogError, Findings, Finished, Image, ImageKind, ImageSpec, ImageState, NewDisk, NewImage, Source,
    },
    identity::{Caller, PLATFORM, ProjectChange, Role, TokenRequest, Viewer},
    server::{Ended, Server},
    setup,
};

/// The TLS server of an [`App::for_test`], on a port of its own, until it is dropped.
pub(crate) struct TestServer {
    pub(crate) app: App,
    pub(crate) base: String,
    pub(crate) token: String,
    task: JoinHandle<Ended>,
}

impl TestServer {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::serve(App::for_test(dir).await).await
    }

    pub(crate) async fn serve(app: App) -> Self {
        let token = std::fs::read_to_string(app.config.data_dir.join(setup::ADMIN_TOKEN)).unwrap();
        let server = Server::bind(&app).await.unwrap();
        let base = format!("https://127.0.0.1:{}", server.address().port());
        Self {
            app,
            base,
            token: token.trim().to_owned(),
            task: tokio::spawn(server.run()),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A client that trusts the controller and is nobody.
    pub(crate) fn anonymous(&self) -> reqwest::ClientBuilder {
        // A second installation is refused, and the first one is the same.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let ca = reqwest::Certificate::from_pem(self.app.authority.ca_pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca])
    }

    /// A client with the first token.
    pub(crate) fn client(&self) -> reqwest::Client {
        self.client_with(&self.token)
    }

    pub(crate) fn client_with(&self, token: &str) -> reqwest::Client {
        let value = format!("Bearer {token}").parse().unwrap();
        self.anonymous()
            .default_headers([(http::header::AUTHORIZATION, value)].into_iter().collect())
            .build()
            .unwrap()
    }

    /// A client with the certificate of a node.
    pub(crate) fn node_client(&self, node_id: &str) -> reqwest::Client {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let issued = self
            .app
            .authority
            .issue_node_certificate(request.der(), node_id)
            .unwrap();
        let pem = format!("{}{}", as_pem(&issued.chain_der[0]), key.serialize_pem());
        self.anonymous()
            .identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap())
            .build()
            .unwrap()
    }

    /// A gRPC channel that trusts the controller.
    pub(crate) async fn channel(&self) -> Channel {
        let ca = Certificate::from_pem(self.app.authority.ca_pem().as_bytes());
        let endpoint = Endpoint::from_shared(self.base.clone()).unwrap();
        endpoint
            .tls_config(ClientTlsConfig::new().ca_certificate(ca))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// Ends the server as SIGTERM does, and waits for it.
    pub(crate) async fn stop(mut self) -> Ended {
        self.app.shutdown.cancel();
        (&mut self.task).await.unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whoever may do everything.
pub(crate) fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

/// A token of a new user with this role in the project (its name), which is made when it is not there.
pub(crate) async fn token_of(app: &App, project: &str, role: Role) -> String {
    let admin = admin();
    if app.tenants.project(&Viewer::All, project).await.is_err() {
        app.tenants
            .create_project(&admin, project, &ProjectChange::default())
            .await
            .unwrap();
    }
    let user = format!("{role}-{}", ulid::Ulid::generate().to_string().to_lowercase());
    app.tenants.create_user(&admin, &user).await.unwrap();
    app.tenants.grant(&admin, project, &user, role).await.unwrap();
    let request = TokenRequest {
        name: format!("{role} of {project}"),
        project: Some(project.to_owned()),
        user: Some(user),
        ..TokenRequest::default()
    };
    let (_, made) = app.tenants.create_token(&admin, &request).await.unwrap();
    made.secret.to_string()
}

fn as_pem(der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(der)
    )
}

/// A project with this name; its id.
pub(crate) async fn project(app: &App, name: &str) -> String {
    let id = ulid::Ulid::generate().to_string();
    sqlx::query("INSERT INTO projects (id, name, created_at) VALUES (?, ?, 0)")
        .bind(&id)
        .bind(name)
        .execute(&app.db)
        .await
        .unwrap();
    id
}

/// What the writer makes of a disk; its packs are thrown away.
pub(crate) fn manifest_of(content: &[u8]) -> imprint_image::Manifest {
    struct Forget;

    impl imprint_image::write::PackSink for Forget {
        fn put_pack(&mut self, _digest: imprint_image::Digest, _bytes: Vec<u8>) -> std::io::Result<()> {
            Ok(())
        }
    }

    let options = imprint_image::write::WriteOptions::default();
    let mut writer = imprint_image::write::ArtifactWriter::new(Forget, options);
    writer.import_stream(&mut &content[..]).unwrap()
}

/// An active image in the catalogue; the store has nothing of it.
pub(crate) async fn made(app: &App, by: &Caller, spec: &ImageSpec, content: &[u8]) -> Image {
    made_of(app, by, spec, &manifest_of(content)).await
}

/// As [`made`], of a manifest.
pub(crate) async fn made_of(
    app: &App,
    by: &Caller,
    spec: &ImageSpec,
    manifest: &imprint_image::Manifest,
) -> Image {
    made_with(app, by, spec, manifest, None).await.unwrap()
}

/// As [`made_of`], with what was read from the content.
pub(crate) async fn made_with(
    app: &App,
    by: &Caller,
    spec: &ImageSpec,
    manifest: &imprint_image::Manifest,
    findings: Option<&Findings>,
) -> Result<Image, CatalogError> {
    let new = NewImage {
        spec,
        by,
        source: Source::Upload,
        source_reference: "",
        idempotency_key: None,
    };
    let begun = app.catalog.begin_image(&new, ImageState::Importing).await?;
    let key = app
        .authority
        .sign_manifest(manifest)
        .manifest_digest()
        .to_string();
    let disk = NewDisk {
        role: match begun.kind {
            ImageKind::DataDisk => "data",
            _ => "system",
        },
        manifest,
        key: key.clone(),
        manifest_digest: key,
        fresh: true,
        wrapped_key: None,
        findings,
    };
    let done = Finished {
        image_id: &begun.id,
        import_id: "import",
        source_format: "raw",
        disks: &[disk],
    };
    app.catalog.finish_image(&done).await
}

/// The problem document of a refused request: its status, its type without the prefix, and its remedy.
pub(crate) async fn problem(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let document: serde_json::Value = response.json().await.unwrap();
    assert_eq!(document["status"], status);
    assert!(!document["detail"].as_str().unwrap().is_empty());
    let kind = document["type"]
        .as_str()
        .unwrap()
        .strip_prefix("urn:imprint:problem:")
        .unwrap();
    (
        status,
        kind.to_owned(),
        document["remedy"].as_str().unwrap().to_owned(),
    )
}

/// A page of the documentation with a table between its markers replaced.
pub(crate) fn generated(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name}: generated -->\n"),
        format!("<!-- {name}: end -->"),
    );
    let (before, rest) = page.split_once(&begin).expect("the page has the marker");
    let (_, after) = rest.split_once(&end).expect("the page has the end marker");
    format!("{before}{begin}{table}{end}{after}")
}
