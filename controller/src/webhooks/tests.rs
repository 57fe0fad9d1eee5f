use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::{
    app::App,
    clock::Clock,
    config::Config,
    events::{EventQuery, NewEvent},
    testing::admin,
};

/// What a receiver was sent, and what it answers next; 200 when nothing is said.
#[derive(Debug, Default)]
struct Inbox {
    got: Vec<(HeaderMap, Bytes)>,
    answers: VecDeque<u16>,
    always: Option<u16>,
}

#[derive(Debug, Clone, Default)]
struct Receiver(Arc<Mutex<Inbox>>);

impl Receiver {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let take = async |State(this): State<Self>, headers: HeaderMap, body: Bytes| {
            let mut inner = this.0.lock().unwrap();
            let next = inner.answers.pop_front().or(inner.always).unwrap_or(200);
            inner.got.push((headers, body));
            StatusCode::from_u16(next).unwrap()
        };
        let router = Router::new().route("/in", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/in")
    }

    fn answers(&self, answers: &[u16]) {
        self.0.lock().unwrap().answers = answers.iter().copied().collect();
    }

    fn always(&self, answer: Option<u16>) {
        self.0.lock().unwrap().always = answer;
    }

    fn got(&self) -> Vec<(HeaderMap, Bytes)> {
        self.0.lock().unwrap().got.clone()
    }

    /// Ids of events, in the order in which they came.
    fn ids(&self) -> Vec<i64> {
        let id = |(_, body): &(HeaderMap, Bytes)| {
            let body: Value = serde_json::from_slice(body).unwrap();
            body["id"].as_str().unwrap().parse().unwrap()
        };
        self.got().iter().map(id).collect()
    }
}

struct Rig {
    app: App,
    config: Config,
    running: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::loopback(dir.path());
        config.webhooks.allow_http = true;
        config.webhooks.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        // No test waits for a clock.
        config.webhooks.retry_seconds = 0;
        let app = App::for_test_with(config.clone(), Clock::fake(jiff::Timestamp::now())).await;
        Self {
            running: tokio::spawn(run(app.clone())),
            app,
            config,
            dir,
        }
    }

    /// Ends the controller and starts it again over the same data.
    async fn restart(self) -> Self {
        self.app.shutdown.cancel();
        self.running.await.unwrap();
        self.app.close().await;
        let app = App::open(self.config.clone(), self.app.clock.clone())
            .await
            .unwrap();
        Self {
            running: tokio::spawn(run(app.clone())),
            app,
            config: self.config,
            dir: self.dir,
        }
    }

    async fn hook(&self, url: &str, kinds: &[&str]) -> Created {
        let wanted = WantedWebhook {
            name: "pager".to_owned(),
            url: url.to_owned(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..WantedWebhook::default()
        };
        self.app.webhooks.create(&admin(), &wanted).await.unwrap()
    }

    async fn tell(&self, kind: &str) -> i64 {
        let event = NewEvent {
            kind,
            node_id: None,
            deployment_id: None,
            message: format!("{kind} happened."),
            details: json!({}),
        };
        self.app.events.append(event).await.unwrap().id
    }

    async fn until(&self, what: &str, is: impl AsyncFn() -> bool) {
        for _ in 0..2000 {
            if is().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not happen within 20 seconds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_signed_and_only_those_that_are_wanted() {
    let rig = Rig::start().await;
    let receiver = Receiver::default();
    let created = rig
        .hook(&receiver.start().await, &["deployment.*", "node.deleted"])
        .await;
    let mut wanted = Vec::new();
    for n in 0..40 {
        for kind in ["deployment.failed", "node.discovered", "node.deleted"] {
            let id = rig.tell(kind).await;
            if kind != "node.discovered" {
                wanted.push(id);
            }
        }
        // Now and then the other side keeps up.
        if n == 20 {
            rig.until("the first half", async || receiver.ids().len() == wanted.len())
                .await;
        }
    }
    rig.until("all of them", async || receiver.ids().len() >= wanted.len())
        .await;
    assert_eq!(receiver.ids(), wanted);

    let secret = STANDARD
        .decode(created.secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    for (headers, body) in receiver.got() {
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(
            text("content-type"),
            "application/cloudevents+json; charset=utf-8"
        );
        let signed = [
            text("webhook-id").as_bytes(),
            b".",
            text("webhook-timestamp").as_bytes(),
            b".",
            &body,
        ]
        .concat();
        let signature = STANDARD
            .decode(text("webhook-signature").strip_prefix("v1,").unwrap())
            .unwrap();
        hmac::verify(&key, &signed, &signature).unwrap();
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (event["id"].as_str(), event["specversion"].as_str()),
            (Some(&*text("webhook-id")), Some("1.0"))
        );
    }
    // Noted once the other side has answered.
    rig.until("the last one to be noted", async || {
        rig.app.webhooks.get("pager").await.unwrap().delivered == 80
    })
    .await;
    let row: (Vec<u8>,) = sqlx::query_as("SELECT secret FROM webhooks")
        .fetch_one(&rig.app.db)
        .await
        .unwrap();
    let is_in = row.0.windows(secret.len()).any(|part| part == secret);
    assert!(!is_in, "the secret is wrapped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_sent_again_before_anything_else() {
    let rig = Rig::start().await;
    let receiver = Receiver::default();
    receiver.answers(&[500, 302, 429]);
    rig.hook(&receiver.start().await, &["test.*"]).await;
    let first = rig.tell("test.one").await;
    let second = rig.tell("test.two").await;
    rig.until("both", async || receiver.ids().len() >= 5).await;
    assert_eq!(receiver.ids(), [first, first, first, first, second]);
    let bodies: Vec<Bytes> = receiver.got().into_iter().map(|(_, body)| body).collect();
    assert!(
        bodies[..4].windows(2).all(|pair| pair[0] == pair[1]),
        "the same bytes each time"
    );
    rig.until("the row", async || {
        let webhook = rig.app.webhooks.get("pager").await.unwrap();
        (
            webhook.delivered,
            webhook.failed_attempts,
            webhook.last_error.as_str(),
        ) == (2, 0, "")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_behind_the_last_one_that_was_taken() {
    let rig = Rig::start().await;
    let receiver = Receiver::default();
    rig.hook(&receiver.start().await, &["test.*"]).await;
    let first = rig.tell("test.one").await;
    rig.until("the first", async || {
        rig.app.webhooks.get("pager").await.unwrap().cursor == first
    })
    .await;
    receiver.always(Some(503));
    let second = rig.tell("test.two").await;
    rig.until("a refusal", async || {
        rig.app.webhooks.get("pager").await.unwrap().failed_attempts > 0
    })
    .await;
    let rig = rig.restart().await;
    let third = rig.tell("test.three").await;
    receiver.always(None);
    rig.until("the rest", async || receiver.ids().last() == Some(&third))
        .await;
    let mut ids = receiver.ids();
    ids.dedup();
    assert_eq!(ids, [first, second, third]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_for_too_long_is_disabled_and_loses_nothing() {
    let rig = Rig::start().await;
    let receiver = Receiver::default();
    receiver.always(Some(500));
    rig.hook(&receiver.start().await, &["test.*"]).await;
    let first = rig.tell("test.one").await;
    rig.until("refusals", async || receiver.got().len() > 8).await;
    assert_eq!(
        rig.app.webhooks.get("pager").await.unwrap().state,
        WebhookState::Active
    );
    rig.app.clock.advance(jiff::SignedDuration::from_hours(73));
    rig.until("the end", async || {
        rig.app.webhooks.get("pager").await.unwrap().state == WebhookState::Disabled
    })
    .await;
    let webhook = rig.app.webhooks.get("pager").await.unwrap();
    assert!(webhook.why.contains("500"), "{}", webhook.why);
    let events = rig
        .app
        .events
        .list(&EventQuery {
            page_size: 1000,
            ..EventQuery::default()
        })
        .await
        .unwrap();
    let told: Vec<_> = events
        .items
        .iter()
        .filter(|event| event.kind == "webhook.disabled")
        .collect();
    assert_eq!(
        (told.len(), told[0].details["why"].as_str()),
        (1, Some(webhook.why.as_str()))
    );

    receiver.always(None);
    let before = receiver.ids().len();
    let second = rig.tell("test.two").await;
    rig.app.webhooks.enable(&admin(), "PAGER", false).await.unwrap();
    rig.until("both", async || receiver.ids().len() == before + 2)
        .await;
    assert_eq!(receiver.ids()[before..], [first, second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_is_gone_and_missed_events_can_be_left_out() {
    let rig = Rig::start().await;
    let receiver = Receiver::default();
    receiver.answers(&[410]);
    rig.hook(&receiver.start().await, &["test.*"]).await;
    let first = rig.tell("test.one").await;
    rig.until("the end", async || {
        rig.app.webhooks.get("pager").await.unwrap().state == WebhookState::Disabled
    })
    .await;
    rig.tell("test.two").await;
    rig.app.webhooks.enable(&admin(), "pager", true).await.unwrap();
    let third = rig.tell("test.three").await;
    rig.until("the third", async || receiver.ids().len() == 2).await;
    assert_eq!(receiver.ids(), [first, third]);
    rig.app.webhooks.delete(&admin(), "pager").await.unwrap();
    rig.tell("test.four").await;
    assert!(matches!(
        rig.app.webhooks.get("pager").await,
        Err(WebhookError::NotFound(_))
    ));
    assert!(matches!(
        rig.app.webhooks.test("pager").await,
        Err(WebhookError::NotFound(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_what_came_of_it_and_is_no_event() {
    let rig = Rig::start().await;
    let receiver = Receiver::default();
    let url = receiver.start().await;
    rig.hook(&url, &["test.*"]).await;
    let before = rig.app.events.newest().await.unwrap();
    let good = rig.app.webhooks.test("pager").await.unwrap();
    assert!(good.delivered && good.error.is_empty(), "{good:?}");
    receiver.answers(&[404]);
    let bad = rig.app.webhooks.test("pager").await.unwrap();
    assert!(!bad.delivered && bad.error.contains("404"), "{bad:?}");
    assert_eq!(rig.app.events.newest().await.unwrap(), before);
    let body: Value = serde_json::from_slice(&receiver.got()[0].1).unwrap();
    assert_eq!(body["type"], "imprint.webhook.test");
}

#[tokio::test]
async fn nothing_is_sent_to_where_callers_may_not_reach() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    for (url, kind) in [
        ("http://192.0.43.8/", "bad-webhook"),
        ("https://127.0.0.1/", "webhook-address-refused"),
        ("https://[::1]/", "webhook-address-refused"),
        (
            "https://169.254.169.254/latest/meta-data/",
            "webhook-address-refused",
        ),
        ("https://10.0.0.1/", "webhook-address-refused"),
        ("gopher://example.org/", "bad-webhook"),
    ] {
        let wanted = WantedWebhook {
            name: "inner".to_owned(),
            url: url.to_owned(),
            ..WantedWebhook::default()
        };
        let error = app.webhooks.create(&admin(), &wanted).await.unwrap_err();
        let problem = crate::api::rest::problem::Problem::from(error);
        assert_eq!(problem.kind, kind, "{url}: {}", problem.detail);
    }
    assert!(app.webhooks.list(0, None).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_a_project_hears_of_no_other() {
    let rig = Rig::start().await;
    let receiver = Receiver::default();
    let project = rig
        .app
        .tenants
        .create_project(&admin(), "web", &Default::default())
        .await
        .unwrap();
    let wanted = WantedWebhook {
        name: "web".to_owned(),
        url: receiver.start().await,
        project_id: Some(project.id.clone()),
        after: Some(0),
        ..WantedWebhook::default()
    };
    rig.app.webhooks.create(&admin(), &wanted).await.unwrap();
    let tell = async |project: &str| {
        let author = crate::events::Author {
            actor: None,
            project_id: Some(project.to_owned()),
        };
        let event = NewEvent {
            kind: "test.one",
            node_id: None,
            deployment_id: None,
            message: String::new(),
            details: json!({}),
        };
        rig.app.events.append_by(author, event).await.unwrap().id
    };
    tell("other").await;
    let own = tell(&project.id).await;
    rig.until("the own one", async || receiver.ids().last() == Some(&own))
        .await;
    for (_, body) in receiver.got() {
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["data"]["project_id"].as_str(), Some(project.id.as_str()));
    }
    rig.until("its cursor", async || {
        rig.app.webhooks.get("web").await.unwrap().cursor == own
    })
    .await;
}

#[tokio::test]
async fn a_new_wrapping_key_keeps_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::loopback(dir.path());
    config.webhooks.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let app = App::for_test_with(config.clone(), Clock::fake(jiff::Timestamp::now())).await;
    let wanted = WantedWebhook {
        name: "pager".to_owned(),
        url: "https://127.0.0.1:1/".to_owned(),
        ..WantedWebhook::default()
    };
    let created = app.webhooks.create(&admin(), &wanted).await.unwrap();
    app.close().await;
    let done = crate::image_key_commands::rewrap_keys(dir.path()).await.unwrap();
    assert_eq!(done.keys, 1);
    let app = App::open(config, Clock::fake(jiff::Timestamp::now()))
        .await
        .unwrap();
    let secret = app.webhooks.secret(&created.webhook.id).await.unwrap();
    assert_eq!(message::shown(&secret), *created.secret);
}

#[tokio::test]
async fn what_is_gone_before_it_was_sent_is_told() {
    let rig = Rig::start().await;
    let receiver = Receiver::default();
    let url = receiver.start().await;
    rig.hook(&url, &["wanted.*"]).await;
    rig.app.webhooks.disable(&admin(), "pager").await.unwrap();
    rig.tell("wanted.long-ago").await;
    let gone = rig.tell("other").await;
    rig.app.clock.advance(jiff::SignedDuration::from_hours(48));
    let kept = rig.tell("wanted.since").await;
    let yesterday = rig.app.clock.now() - jiff::SignedDuration::from_hours(24);
    while rig.app.events.delete_some(yesterday, 500).await.unwrap() > 0 {}
    rig.app.webhooks.enable(&admin(), "pager", false).await.unwrap();
    rig.until("both messages", async || receiver.got().len() == 2)
        .await;
    assert_eq!(receiver.ids()[0], kept);
    let told: Value = serde_json::from_slice(&receiver.got()[1].1).unwrap();
    assert_eq!(told["type"], "imprint.webhook.events-missed");
    let details = &told["data"]["details"];
    assert_eq!(
        (&details["to"], &details["name"]),
        (&json!(gone), &json!("pager"))
    );
    assert!(details["from"].as_i64().unwrap() < gone);
    // It is told once.
    let rig = rig.restart().await;
    let last = rig.tell("wanted.last").await;
    rig.until("the last one", async || receiver.ids().last() == Some(&last))
        .await;
    assert_eq!(receiver.got().len(), 3);
}
