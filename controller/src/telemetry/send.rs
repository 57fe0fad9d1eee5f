//! From the queue to the collector.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use jiff::SignedDuration;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use tokio::{sync::mpsc, time::timeout};

use super::{Inner, deployments};
use crate::{app::App, events::Seldom};

/// Spans of one message.
const AT_ONCE: usize = 512;
/// How long the first one of them waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A span of this process; its kind, attributes and parent are still to be said.
pub(super) fn span(
    context: SpanContext,
    name: impl Into<Cow<'static, str>>,
    from: SystemTime,
    to: SystemTime,
) -> SpanData {
    SpanData {
        span_context: context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: from,
        end_time: to.max(from),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("imprint-controller")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// Makes spans of deployments and sends all spans until the controller ends.
pub async fn run(app: App) {
    let Some((inner, waiting)) = app.telemetry.take_waiting() else {
        return app.shutdown.cancelled().await;
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(inner.endpoint.as_str())
        .with_timeout(PATIENCE)
        .build();
    let mut exporter = match exporter {
        Ok(exporter) => exporter,
        Err(error) => {
            tracing::error!(%error, "no traces are sent: the exporter cannot be made");
            return app.shutdown.cancelled().await;
        }
    };
    let resource = Resource::builder_empty()
        .with_service_name("imprint-controller")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", app.config.region.clone()),
        ]);
    exporter.set_resource(&resource.build());
    tracing::info!(endpoint = %inner.endpoint, "traces are sent");
    tokio::join!(
        deployments::follow(&app),
        export(&app, &inner, waiting, &exporter)
    );
}

async fn export(
    app: &App,
    inner: &Arc<Inner>,
    mut waiting: mpsc::Receiver<SpanData>,
    exporter: &SpanExporter,
) {
    let told = Seldom::every(SignedDuration::from_mins(10));
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => {}
            count = waiting.recv_many(&mut batch, AT_ONCE) => if count == 0 { return },
        }
        let ends = app.shutdown.is_cancelled();
        if !ends && batch.len() < AT_ONCE {
            tokio::select! {
                () = app.shutdown.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        }
        while batch.len() < AT_ONCE {
            match waiting.try_recv() {
                Ok(span) => batch.push(span),
                Err(_) => break,
            }
        }
        let spans = batch.len() as u64;
        let sent = match spans {
            0 => Ok(()),
            _ => match timeout(PATIENCE, exporter.export(std::mem::take(&mut batch))).await {
                Ok(sent) => sent.map_err(|error| error.to_string()),
                Err(_) => Err("the collector does not answer".to_owned()),
            },
        };
        let mut dropped = inner.dropped.swap(0, Ordering::Relaxed);
        let cause = sent.err();
        if cause.is_some() {
            dropped += spans;
        }
        if dropped > 0 {
            inner.lost.fetch_add(dropped, Ordering::Relaxed);
            if told.may_tell("lost", app.clock.now()) {
                let lost = inner.lost.load(Ordering::Relaxed);
                tracing::warn!(endpoint = %inner.endpoint, lost, cause, "spans are lost: the collector cannot be reached, or is too slow");
            }
        }
        if ends {
            return;
        }
    }
}
