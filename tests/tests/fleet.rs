//! A small fleet with every fault, for a controller in the same process: all end in a named state, and no event is lost.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use imprint_controller::{
    app::App, boot::BootServices, clock::Clock, config::Config, deploy, server::Server, setup,
};
use imprint_tests::fleet::{
    FleetOptions,
    api::Site,
    faults::Misfortune,
    run::{self, RunOptions},
};

/// The parts of a controller that a fleet needs, as its program starts them.
struct Controller {
    app: App,
    site: Site,
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a port has a number")
}

async fn controller(folder: &std::path::Path) -> Controller {
    imprint_agent::identity::tls::install_provider();
    let data = folder.join("data");
    setup::init(&data, &["127.0.0.1".to_owned()], &Clock::system())
        .await
        .expect("a data folder");
    let mut config = Config::loopback(&data);
    (config.listen, config.boot.listen) = (free_address(), free_address());
    config.public_url = format!("https://{}", config.listen).parse().expect("an address");
    config.boot.public_url = format!("http://{}", config.boot.listen)
        .parse()
        .expect("an address");
    // A line that vanishes is noticed within the test.
    config.timeouts.agent_silence_seconds = 6;
    let read = |name: &str| std::fs::read_to_string(data.join(name)).expect("what init has made");
    let site = Site {
        url: config.public_url.clone(),
        boot_url: config.boot.public_url.clone(),
        ca_pem: read("identity/ca.pem"),
        token: read("admin.token").trim().to_owned(),
    };
    let app = App::open(config, Clock::system()).await.expect("a controller");
    let server = Server::bind(&app).await.expect("its port");
    let boot = BootServices::bind(&app).await.expect("its boot services");
    tokio::spawn(server.run());
    tokio::spawn(async move { boot.run().await });
    tokio::spawn(deploy::run(app.clone()));
    Controller { app, site }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_nodes_with_every_fault_come_to_their_end_and_no_event_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let controller = controller(folder.path()).await;
    let options = RunOptions {
        fleet: FleetOptions {
            nodes: 30,
            seed: 2026,
            misfortune: Misfortune {
                per_mille: 500,
                away: (Duration::from_secs(1), Duration::from_secs(8)),
            },
            takes: (Duration::from_millis(200), Duration::from_millis(1500)),
            engine_of: 4,
            power_on_per_second: 100,
            folder: folder.path().join("fleet"),
        },
        // More than there are: every node that is no twin.
        deployments: 30,
        rest: Duration::ZERO,
        kill: false,
        kill_amid: false,
        patience: Duration::from_secs(100),
    };
    let outcome = run::run(&controller.site, None, &options, &|words| println!("{words}")).await;
    let outcome = outcome.unwrap();
    println!("{}", outcome.text());
    assert!(outcome.is_right(), "{:#?}", outcome.wrongs());
    let twins = outcome.faults["twin"];
    assert!(
        twins > 0 && outcome.deployments == 30 - twins,
        "{:?}",
        outcome.faults
    );
    assert_eq!(
        outcome.node_states["active"],
        30 - twins,
        "{:?}",
        outcome.node_states
    );
    assert!(
        outcome.attempts >= outcome.deployments + outcome.faults["reboot"],
        "who lost the power has begun anew: {outcome:?}"
    );
    assert!(outcome.proved > 0, "some were written with the agent's engine");
    assert!(outcome.comparison.numbered > 10 * outcome.deployments);
    assert!(outcome.progress > 0 && outcome.standings.contains("twin LeftAlone"));
    controller.app.shutdown.cancel();
}
