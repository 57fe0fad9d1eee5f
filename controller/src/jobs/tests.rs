use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::{
    api::rest::problem::Problem,
    app::App,
    clock::Clock,
    config::Config,
    events::EventQuery,
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::{TestServer, admin, problem},
};

fn new(kind: JobKind, key: Option<&str>) -> NewJob {
    NewJob {
        kind,
        project_id: PLATFORM.to_owned(),
        image_id: None,
        request: json!({ "what": "it" }),
        by: "me".to_owned(),
        key: key.map(str::to_owned),
    }
}

fn failure() -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "broken",
        "It broke",
        "It broke here.",
        "Mend it.",
    )
}

/// Waits for a job to end; the runner's own limit ends a test in which it never does.
async fn ended(jobs: &Jobs, id: &str) -> Job {
    until(jobs, id, |job| job.state.is_end()).await
}

async fn until(jobs: &Jobs, id: &str, condition: impl Fn(&Job) -> bool) -> Job {
    loop {
        let job = jobs.get(&Viewer::All, id).await.unwrap();
        if condition(&job) {
            return job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn kinds_of_events(app: &App, job: &Job) -> Vec<String> {
    let page = app.events.list(&EventQuery::default()).await.unwrap();
    let of_it = page.items.into_iter().filter(|e| e.details["job_id"] == job.id);
    of_it.map(|event| event.kind).collect()
}

#[tokio::test]
async fn a_job_runs_and_its_end_is_kept_with_events() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let job = app
        .jobs
        .start(new(JobKind::Verify, None), async |context: JobContext| {
            context.progress("reads", 5, 10);
            Ok(json!({ "packs": 3 }))
        })
        .await
        .unwrap();
    assert_eq!((job.state, job.requested_by.as_str()), (JobState::Queued, "me"));
    let job = ended(&app.jobs, &job.id).await;
    assert_eq!(
        (job.state, job.result.clone()),
        (JobState::Succeeded, Some(json!({ "packs": 3 })))
    );
    assert_eq!(
        (job.progress.bytes_done, job.progress.step.as_str()),
        (5, "reads")
    );
    assert!(job.started_at.is_some() && job.ended_at.is_some());
    assert_eq!(
        kinds_of_events(&app, &job).await,
        ["job.started", "job.succeeded"]
    );

    let job = app
        .jobs
        .start(new(JobKind::Verify, None), async |_| Err(failure()))
        .await
        .unwrap();
    let job = ended(&app.jobs, &job.id).await;
    let problem = job.problem.clone().unwrap();
    assert_eq!(
        (job.state, problem.kind.as_str()),
        (JobState::Failed, "urn:imprint:problem:broken")
    );
    assert_eq!((problem.status, problem.remedy.as_str()), (502, "Mend it."));
    assert_eq!(kinds_of_events(&app, &job).await, ["job.started", "job.failed"]);
}

#[tokio::test]
async fn work_that_panics_fails_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let work = async |context: JobContext| -> Result<Value, Problem> {
        assert!(context.id.is_empty(), "a bug");
        pending().await
    };
    let job = app.jobs.start(new(JobKind::Gc, None), work).await.unwrap();
    let job = ended(&app.jobs, &job.id).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.problem.unwrap().kind, "urn:imprint:problem:internal");
}

#[tokio::test]
async fn only_so_many_of_a_kind_run_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let (running, most, go) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Semaphore::new(0)),
    );
    let mut ids = Vec::new();
    for _ in 0..5 {
        let (running, most, go) = (running.clone(), most.clone(), go.clone());
        let work = async move |_: JobContext| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            go.acquire().await.unwrap().forget();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Value::Null)
        };
        ids.push(app.jobs.start(new(JobKind::Import, None), work).await.unwrap().id);
    }
    // Another kind has slots of its own.
    let other = app
        .jobs
        .start(new(JobKind::Gc, None), async |_| Ok(Value::Null))
        .await
        .unwrap();
    ended(&app.jobs, &other.id).await;
    let queued = JobQuery {
        state: Some(JobState::Queued),
        kind: Some(JobKind::Import),
        ..JobQuery::default()
    };
    // Which two of them go first is nobody's promise.
    let waiting = async || app.jobs.list(&Viewer::All, &queued).await.unwrap().items.len();
    // A job's row says that it runs a moment before its work does.
    while waiting().await > 3 || running.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting().await, 3);
    go.add_permits(ids.len());
    for id in &ids {
        ended(&app.jobs, id).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn cancel_is_idempotent_waits_for_the_work_and_is_refused_by_what_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let cleaned = Arc::new(AtomicUsize::new(0));
    let counter = cleaned.clone();
    let work = async move |context: JobContext| {
        context.cancel.cancelled().await;
        counter.fetch_add(1, Ordering::SeqCst);
        Err(failure())
    };
    let job = app.jobs.start(new(JobKind::Verify, None), work).await.unwrap();
    until(&app.jobs, &job.id, |job| job.state == JobState::Running).await;
    // This one waits for the slot and never gets it.
    let work = async |context: JobContext| {
        assert!(context.cancel.is_cancelled(), "it was cancelled before its turn");
        Err(failure())
    };
    let waiting = app.jobs.start(new(JobKind::Verify, None), work).await.unwrap();
    app.jobs.cancel(&admin(), &waiting.id).await.unwrap();
    let waiting = ended(&app.jobs, &waiting.id).await;
    assert_eq!((waiting.state, waiting.started_at), (JobState::Cancelled, None));
    assert_eq!(
        kinds_of_events(&app, &waiting).await,
        ["job.cancel-requested", "job.cancelled"]
    );

    let asked = app.jobs.cancel(&admin(), &job.id).await.unwrap();
    assert!(asked.cancel_requested_at.is_some());
    let job = ended(&app.jobs, &job.id).await;
    assert_eq!(
        (job.state, job.problem.clone(), cleaned.load(Ordering::SeqCst)),
        (JobState::Cancelled, None, 1)
    );
    assert_eq!(app.jobs.cancel(&admin(), &job.id).await.unwrap(), job);

    let done = app
        .jobs
        .start(new(JobKind::Verify, None), async |_| Ok(Value::Null))
        .await
        .unwrap();
    ended(&app.jobs, &done.id).await;
    let refused = app.jobs.cancel(&admin(), &done.id).await.unwrap_err();
    assert_eq!(Problem::from(refused).kind, "job-ended");
}

#[tokio::test]
async fn a_key_makes_one_job() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let first = app
        .jobs
        .start(new(JobKind::Gc, Some("k")), async |_| Ok(json!(1)))
        .await
        .unwrap();
    ended(&app.jobs, &first.id).await;
    let work =
        async |_: JobContext| -> Result<Value, Problem> { unreachable!("the first request made the job") };
    let again = app.jobs.start(new(JobKind::Gc, Some("k")), work).await.unwrap();
    assert_eq!((&again.id, again.state), (&first.id, JobState::Succeeded));
    let mut other = new(JobKind::Gc, Some("k"));
    other.request = json!({ "what": "else" });
    let refused = app.jobs.start(other, work).await.unwrap_err();
    assert_eq!(Problem::from(refused).kind, "idempotency-key-reused");
}

#[tokio::test]
async fn a_project_has_a_bounded_number_of_jobs_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let work = async |context: JobContext| {
        context.cancel.cancelled().await;
        Err(failure())
    };
    for _ in 0..100 {
        app.jobs.start(new(JobKind::Gc, None), work).await.unwrap();
    }
    let refused = app.jobs.start(new(JobKind::Gc, None), work).await.unwrap_err();
    let refused = Problem::from(refused);
    assert_eq!((refused.status.as_u16(), refused.kind), (429, "too-many-jobs"));
}

#[tokio::test]
async fn row_58_a_controller_that_ends_leaves_jobs_that_the_next_one_ends_or_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let forever = async |_: JobContext| pending::<Result<Value, Problem>>().await;
    let failed = app.jobs.start(new(JobKind::Verify, None), forever).await.unwrap();
    let resumed = app.jobs.start(new(JobKind::Gc, None), forever).await.unwrap();
    let cancelled = app.jobs.start(new(JobKind::Copy, None), forever).await.unwrap();
    for job in [&failed, &resumed, &cancelled] {
        until(&app.jobs, &job.id, |job| job.state == JobState::Running).await;
    }
    app.jobs.cancel(&admin(), &cancelled.id).await.unwrap();
    // As after a kill: nobody writes an end, another controller opens the folder.
    let jobs = Jobs::new(
        app.db.clone(),
        app.events.clone(),
        app.clock.clone(),
        app.shutdown.clone(),
    );
    jobs.recover(|job| match job.kind {
        JobKind::Gc => Interrupted::resume(async |_| Ok(json!("again"))),
        _ => Interrupted::Fail,
    })
    .await
    .unwrap();
    let failed = ended(&jobs, &failed.id).await;
    let problem = failed.problem.clone().unwrap();
    assert_eq!(
        (failed.state, problem.kind.as_str()),
        (JobState::Failed, "urn:imprint:problem:interrupted")
    );
    assert!(
        problem.remedy.contains("imprint store verify"),
        "{}",
        problem.remedy
    );
    assert_eq!(ended(&jobs, &resumed.id).await.result, Some(json!("again")));
    assert_eq!(ended(&jobs, &cancelled.id).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn an_orderly_end_leaves_running_jobs_to_the_next_controller() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fake(jiff::Timestamp::now());
    let app = App::for_test_with(Config::loopback(dir.path()), clock.clone()).await;
    let (told, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, see) = (told.clone(), seen.clone());
    let work = async move |context: JobContext| {
        see.notify_one();
        context.cancel.cancelled().await;
        tell.notify_one();
        Err(failure())
    };
    let job = app.jobs.start(new(JobKind::Verify, None), work).await.unwrap();
    seen.notified().await;
    app.shutdown.cancel();
    told.notified().await;
    app.close().await;
    let again = App::open(Config::loopback(dir.path()), clock).await.unwrap();
    let job = ended(&again.jobs, &job.id).await;
    assert_eq!(job.problem.unwrap().kind, "urn:imprint:problem:interrupted");
}

#[tokio::test]
async fn jobs_are_seen_by_their_project_and_by_operators() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let app = &server.app;
    let work = async |_: JobContext| Ok(Value::Null);
    let mut ids = Vec::new();
    for kind in [JobKind::Gc, JobKind::Verify, JobKind::Verify] {
        let job = app.jobs.start(new(kind, None), work).await.unwrap();
        ended(&app.jobs, &job.id).await;
        ids.push(job.id);
    }
    let stranger = Viewer::Project("01JD3Y6N9M1V9S1M6V1M3B3W5T".to_owned());
    assert!(
        app.jobs
            .list(&stranger, &JobQuery::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    for refused in [
        app.jobs.get(&stranger, &ids[0]).await.unwrap_err(),
        app.jobs
            .cancel(
                &Caller::for_test("01JD3Y6N9M1V9S1M6V1M3B3W5T", Role::Member),
                &ids[0],
            )
            .await
            .unwrap_err(),
    ] {
        assert_eq!(Problem::from(refused).kind, "job-not-found");
    }

    let get = async |path: &str| server.client().get(server.url(path)).send().await.unwrap();
    let page: Value = get("/v1/jobs?page_size=2").await.json().await.unwrap();
    assert_eq!(
        (&page["items"][0]["id"], &page["items"][1]["id"]),
        (&json!(ids[2]), &json!(ids[1]))
    );
    let token = page["next_page_token"].as_str().unwrap();
    let page: Value = get(&format!("/v1/jobs?page_token={token}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (page["items"].as_array().unwrap().len(), &page["items"][0]["id"]),
        (1, &json!(ids[0]))
    );
    let page: Value = get("/v1/jobs?kind=gc&state=succeeded")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let job: Value = get(&format!("/v1/jobs/{}", ids[0])).await.json().await.unwrap();
    assert_eq!((&job["kind"], &job["state"]), (&json!("gc"), &json!("succeeded")));
    assert_eq!(problem(get("/v1/jobs/none").await).await.1, "job-not-found");
    assert_eq!(problem(get("/v1/jobs?kind=nonsense").await).await.0, 400);
    assert_eq!(problem(get("/v1/jobs?page_token=nonsense").await).await.0, 400);
    let cancel = server
        .client()
        .post(server.url(&format!("/v1/jobs/{}/cancel", ids[0])));
    let (status, kind, _) = problem(cancel.send().await.unwrap()).await;
    assert_eq!((status, kind.as_str()), (409, "job-ended"));
}
