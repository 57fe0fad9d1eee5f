//! The report against a real gRPC server over TLS, in this process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::VecDeque,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use imprint_guest::{
    chain,
    report::{Policy, ReportError, Reported, run},
};
use imprint_proto::agent::v1::{
    FirstBootReport, FirstBootReportResponse,
    first_boot_server::{FirstBoot, FirstBootServer},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

const TOKEN: &str = "one-time-token";

/// Answers with the prepared refusals first, then takes reports that carry the right token.
#[derive(Clone, Default)]
struct Controller {
    refusals: Arc<Mutex<VecDeque<Status>>>,
    taken: Arc<Mutex<Vec<FirstBootReport>>>,
}

#[tonic::async_trait]
impl FirstBoot for Controller {
    async fn report(
        &self,
        request: Request<FirstBootReport>,
    ) -> Result<Response<FirstBootReportResponse>, Status> {
        if let Some(refusal) = self.refusals.lock().unwrap().pop_front() {
            return Err(refusal);
        }
        let shown = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if shown != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated(
                "the report token is unknown or has been withdrawn",
            ));
        }
        self.taken.lock().unwrap().push(request.into_inner());
        Ok(Response::new(FirstBootReportResponse::default()))
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority {
        issuer: Issuer::new(params, key),
        pem,
    }
}

fn server_identity(authority: &Authority, from_year: i32, to_year: i32) -> Identity {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from_year, 1, 1);
    params.not_after = date_time_ymd(to_year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    Identity::from_pem(certificate.pem(), key.serialize_pem())
}

async fn serve(controller: Controller, identity: Identity, address: &str) -> (SocketAddr, AbortHandle) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(
        Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap()
            .add_service(FirstBootServer::new(controller))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (address, task.abort_handle())
}

/// The controller with a certificate that is good, on a port of the kernel's choice.
async fn start(controller: &Controller, authority: &Authority) -> (SocketAddr, AbortHandle) {
    let identity = server_identity(authority, 2020, 2099);
    serve(controller.clone(), identity, "127.0.0.1:0").await
}

struct Machine {
    folder: tempfile::TempDir,
    config: PathBuf,
}

fn machine(address: SocketAddr, ca_pem: &str, token: &str) -> Machine {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("guest.json");
    let text = serde_json::json!({
        "version": 1, "deployment_id": "01DEPLOY", "controller_url": format!("https://{address}"),
        "ca_pem": ca_pem, "report_token": token,
    });
    fs::write(&config, text.to_string()).unwrap();
    fs::create_dir_all(folder.path().join("proc/sys/kernel")).unwrap();
    fs::write(folder.path().join("proc/sys/kernel/hostname"), "web-07\n").unwrap();
    Machine { folder, config }
}

fn quick(give_up: Duration) -> Policy {
    Policy {
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(40),
        give_up_after: give_up,
        attempt: Duration::from_secs(5),
        cloud_init: LONG,
        look: Duration::from_millis(5),
        repeat: LONG,
    }
}

const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn reports_once_and_forgets_the_token() {
    let (controller, authority) = (Controller::default(), authority());
    let (address, server) = start(&controller, &authority).await;
    let machine = machine(address, &authority.pem, TOKEN);

    let first = run(&machine.config, machine.folder.path(), quick(LONG))
        .await
        .unwrap();
    assert_eq!(first, Reported::Now { attempts: 1 });
    let second = run(&machine.config, machine.folder.path(), quick(LONG))
        .await
        .unwrap();
    assert_eq!(second, Reported::Earlier);

    let taken = controller.taken.lock().unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(
        (taken[0].deployment_id.as_str(), taken[0].hostname.as_str()),
        ("01DEPLOY", "web-07")
    );
    assert!(!fs::read_to_string(&machine.config).unwrap().contains(TOKEN));
    server.abort();
}

#[tokio::test]
async fn transient_faults_are_ridden_out() {
    let (controller, authority) = (Controller::default(), authority());
    controller.refusals.lock().unwrap().extend([
        Status::unavailable("starting"),
        Status::internal("database is locked"),
    ]);
    let (address, server) = start(&controller, &authority).await;
    let machine = machine(address, &authority.pem, TOKEN);
    let reported = run(&machine.config, machine.folder.path(), quick(LONG))
        .await
        .unwrap();
    assert_eq!(reported, Reported::Now { attempts: 3 });
    server.abort();
}

#[tokio::test]
async fn a_controller_that_comes_late_still_gets_the_report() {
    let (controller, authority) = (Controller::default(), authority());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let machine = machine(address, &authority.pem, TOKEN);
    let reporting = run(&machine.config, machine.folder.path(), quick(LONG));
    let late = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        serve(
            controller.clone(),
            server_identity(&authority, 2020, 2099),
            &address.to_string(),
        )
        .await
    };
    let (reported, (_, server)) = tokio::join!(reporting, late);
    assert!(matches!(reported.unwrap(), Reported::Now { attempts } if attempts > 1));
    server.abort();
}

#[tokio::test]
async fn a_withdrawn_token_ends_it_at_once_and_is_kept() {
    let (controller, authority) = (Controller::default(), authority());
    let (address, server) = start(&controller, &authority).await;
    let machine = machine(address, &authority.pem, "another-token");
    let failure = run(&machine.config, machine.folder.path(), quick(LONG))
        .await
        .unwrap_err();
    assert!(matches!(failure, ReportError::Refused { .. }), "{failure:?}");
    let said = chain(&failure);
    assert!(said.contains("withdrawn"), "{said}");
    assert!(failure.remedy().contains("deploy again"));
    assert!(!said.contains("another-token"));
    assert!(
        fs::read_to_string(&machine.config)
            .unwrap()
            .contains("another-token")
    );
    server.abort();
}

#[tokio::test]
async fn a_wrong_clock_is_named() {
    let authority = authority();
    for (from, to, expected) in [
        (2090, 2099, "before the beginning of the certificate's validity"),
        (2001, 2002, "expired"),
    ] {
        let (address, server) = serve(
            Controller::default(),
            server_identity(&authority, from, to),
            "127.0.0.1:0",
        )
        .await;
        let machine = machine(address, &authority.pem, TOKEN);
        let failure = run(&machine.config, machine.folder.path(), quick(SHORT))
            .await
            .unwrap_err();
        assert!(matches!(failure, ReportError::GaveUp { .. }), "{failure:?}");
        let said = chain(&failure);
        assert!(said.contains(expected), "{said}");
        assert!(failure.remedy().contains("clock"), "{}", failure.remedy());
        server.abort();
    }
}

#[tokio::test]
async fn only_the_ca_of_the_configuration_is_trusted() {
    let (controller, ours, theirs) = (Controller::default(), authority(), authority());
    let (address, server) = serve(
        controller.clone(),
        server_identity(&theirs, 2020, 2099),
        "127.0.0.1:0",
    )
    .await;
    let machine = machine(address, &ours.pem, TOKEN);
    let failure = run(&machine.config, machine.folder.path(), quick(SHORT))
        .await
        .unwrap_err();
    let said = chain(&failure);
    assert!(said.contains("not issued by the CA"), "{said}");
    assert!(controller.taken.lock().unwrap().is_empty());
    server.abort();
}

#[tokio::test]
async fn a_damaged_configuration_is_no_reason_to_retry() {
    let machine = machine("127.0.0.1:1".parse().unwrap(), "no certificate", TOKEN);
    let failure = run(&machine.config, machine.folder.path(), quick(LONG))
        .await
        .unwrap_err();
    assert!(matches!(failure, ReportError::Config(_)) && chain(&failure).contains("no certificate"));
    fs::write(&machine.config, "{").unwrap();
    let failure = run(&machine.config, machine.folder.path(), quick(LONG))
        .await
        .unwrap_err();
    assert!(matches!(failure, ReportError::Config(_)));
}

fn cloud_init(machine: &Machine, file: &str, content: &str) {
    let folder = machine.folder.path().join("run/cloud-init");
    fs::create_dir_all(&folder).unwrap();
    let fresh = folder.join("fresh");
    fs::write(&fresh, content).unwrap();
    fs::rename(fresh, folder.join(file)).unwrap();
}

/// What was said so far: what it waits for, and cloud-init's state.
fn said(controller: &Controller) -> Vec<(String, String)> {
    let taken = controller.taken.lock().unwrap();
    taken
        .iter()
        .map(|report| (report.waiting_for.clone(), report.cloud_init_status.clone()))
        .collect()
}

async fn until_said(controller: &Controller, count: usize) {
    while controller.taken.lock().unwrap().len() < count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn cloud_init_is_waited_for_and_each_stage_is_told() {
    let (controller, authority) = (Controller::default(), authority());
    let (address, server) = start(&controller, &authority).await;
    let machine = machine(address, &authority.pem, TOKEN);
    cloud_init(&machine, "status.json", r#"{"v1":{"stage":"init"}}"#);
    let boot = async {
        until_said(&controller, 1).await;
        cloud_init(&machine, "status.json", r#"{"v1":{"stage":"modules-final"}}"#);
        until_said(&controller, 2).await;
        assert!(fs::read_to_string(&machine.config).unwrap().contains(TOKEN));
        cloud_init(&machine, "result.json", r#"{"v1":{"errors":["boom"]}}"#);
    };
    let (reported, ()) = tokio::join!(run(&machine.config, machine.folder.path(), quick(LONG)), boot);
    assert_eq!(reported.unwrap(), Reported::Now { attempts: 3 });
    let expected = [
        ("cloud-init to end (stage init)", "running: init"),
        (
            "cloud-init to end (stage modules-final)",
            "running: modules-final",
        ),
        ("", "error: boom"),
    ];
    assert_eq!(
        said(&controller),
        expected.map(|(waits, status)| (waits.to_owned(), status.to_owned()))
    );
    let taken = controller.taken.lock().unwrap();
    let asks: Vec<bool> = taken.iter().map(|report| !report.csr_der.is_empty()).collect();
    assert_eq!(
        asks,
        [false, false, true],
        "a certificate is for a system that is done"
    );
    server.abort();
}

#[tokio::test]
async fn a_cloud_init_that_never_ends_is_reported_as_such() {
    let (controller, authority) = (Controller::default(), authority());
    let (address, server) = start(&controller, &authority).await;
    let machine = machine(address, &authority.pem, TOKEN);
    cloud_init(&machine, "status.json", r#"{"v1":{"stage":"modules-final"}}"#);
    let policy = Policy {
        cloud_init: Duration::from_millis(200),
        repeat: Duration::from_millis(50),
        // The time of waiting is none of failing.
        give_up_after: Duration::from_millis(50),
        ..quick(LONG)
    };
    let reported = run(&machine.config, machine.folder.path(), policy).await.unwrap();
    assert!(matches!(reported, Reported::Now { attempts } if attempts >= 2));
    let said = said(&controller);
    assert!(said[0].0.contains("cloud-init to end"));
    assert_eq!(
        said.last().unwrap(),
        &(String::new(), "running: modules-final".to_owned())
    );
    server.abort();
}
