//! What there is: one field and one line for each metric.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{
    faults,
    labels::{
        AreaLabels, BuildLabels, JobLabels, KindLabels, PhaseLabels, RequestLabels, ResultLabels,
        StateLabels, StepEndLabels, StepLabels,
    },
};

/// Seconds of steps and deployments: from a step that only looks to a large image over a slow network.
const LONG: [f64; 14] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
];
/// Seconds of requests.
const SHORT: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

fn long() -> Histogram {
    Histogram::new(LONG)
}

fn short() -> Histogram {
    Histogram::new(SHORT)
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The figures. What each one is, is said where it is registered.
#[derive(Debug, Clone)]
pub struct Families {
    pub(super) build: Family<BuildLabels, Gauge>,
    pub(super) started: Gauge,
    pub(super) nodes: Family<StateLabels, Gauge>,
    pub(super) deployments: Family<PhaseLabels, Gauge>,
    pub(super) images: Family<StateLabels, Gauge>,
    pub(super) volumes: Family<StateLabels, Gauge>,
    pub(super) jobs: Family<JobLabels, Gauge>,
    pub(super) agent_sessions: Gauge,
    pub(super) guest_sessions: Gauge,
    pub(super) deployments_started: Counter,
    pub(super) deployment_seconds: Histograms<ResultLabels>,
    pub(super) step_seconds: Histograms<StepEndLabels>,
    pub(super) step_retries: Family<StepLabels, Counter>,
    pub(super) restarts: Counter,
    pub(super) deadlines_missed: Family<StepLabels, Counter>,
    pub(super) agent_received_bytes: Counter,
    pub(super) agent_written_bytes: Counter,
    pub(super) agent_fetch_retries: Counter,
    pub(super) events: Family<AreaLabels, Counter>,
    pub(super) alarms: Family<KindLabels, Counter>,
    pub(super) webhooks: Family<StateLabels, Gauge>,
    pub(super) webhook_deliveries: Family<ResultLabels, Counter>,
    pub(super) request_seconds: Histograms<RequestLabels>,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            build: Family::default(),
            started: Gauge::default(),
            nodes: Family::default(),
            deployments: Family::default(),
            images: Family::default(),
            volumes: Family::default(),
            jobs: Family::default(),
            agent_sessions: Gauge::default(),
            guest_sessions: Gauge::default(),
            deployments_started: Counter::default(),
            deployment_seconds: Histograms::new_with_constructor(long),
            step_seconds: Histograms::new_with_constructor(long),
            step_retries: Family::default(),
            restarts: Counter::default(),
            deadlines_missed: Family::default(),
            agent_received_bytes: Counter::default(),
            agent_written_bytes: Counter::default(),
            agent_fetch_retries: Counter::default(),
            events: Family::default(),
            alarms: Family::default(),
            webhooks: Family::default(),
            webhook_deliveries: Family::default(),
            request_seconds: Histograms::new_with_constructor(short),
        }
    }
}

impl Families {
    /// The library puts a full stop behind each help text, and `_total` behind the name of each counter.
    pub(super) fn register(&self, to: &mut Registry) {
        let of = self.clone();
        to.register("build_info", "Which controller this is; always 1", of.build);
        to.register(
            "start_time_seconds",
            "When the controller started, in Unix time",
            of.started,
        );
        to.register("nodes", "Nodes by their state", of.nodes);
        to.register(
            "deployments",
            "Deployments by their state and phase",
            of.deployments,
        );
        to.register("images", "Images by their state", of.images);
        to.register("volumes", "Network volumes by their state", of.volumes);
        to.register(
            "jobs",
            "Jobs that wait for their turn (queued) or run, by kind",
            of.jobs,
        );
        to.register(
            "agent_sessions",
            "Open sessions of agents in the ramdisk",
            of.agent_sessions,
        );
        to.register(
            "guest_sessions",
            "Open sessions of guest plugins in installed systems",
            of.guest_sessions,
        );
        to.register(
            "deployments_started",
            "Deployments that were asked for",
            of.deployments_started,
        );
        to.register(
            "deployment_duration_seconds",
            "From the request of a deployment to its end",
            of.deployment_seconds,
        );
        to.register(
            "deployment_step_duration_seconds",
            "From the start of a step to its end",
            of.step_seconds,
        );
        to.register(
            "deployment_step_retries",
            "Retries that agents have told, by step",
            of.step_retries,
        );
        to.register(
            "deployment_attempts_repeated",
            "Attempts that began anew because the server was restarted in the middle of the work",
            of.restarts,
        );
        to.register(
            "deployment_deadlines_missed",
            "Deployments that ended because nothing moved in time, by step",
            of.deadlines_missed,
        );
        to.register(
            "agent_received_bytes",
            "Bytes of images that agents have received",
            of.agent_received_bytes,
        );
        to.register(
            "agent_written_bytes",
            "Bytes of data that agents have written to disks",
            of.agent_written_bytes,
        );
        to.register(
            "agent_fetch_retries",
            "Fetches that agents had to repeat",
            of.agent_fetch_retries,
        );
        to.register(
            "events",
            "Events that were written, by the first word of their kind",
            of.events,
        );
        to.register("alarms", "Events that want somebody to look, by kind", of.alarms);
        to.register(
            "webhooks",
            "Webhooks by their state; active ones that refuse are failing",
            of.webhooks,
        );
        to.register(
            "webhook_deliveries",
            "Messages that were sent to webhooks, by what came of them",
            of.webhook_deliveries,
        );
        to.register(
            "api_request_duration_seconds",
            "From a request of REST or gRPC to the beginning of its answer, by route and status",
            of.request_seconds,
        );
        to.register(
            "database_errors",
            "Operations that the database refused",
            faults::database_errors(),
        );
        to.register(
            "store_errors",
            "Operations that the artifact store refused; what is not there is none",
            faults::store_errors(),
        );
    }
}
