//! Ids of traces and spans, and W3C Trace Context.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use ulid::Ulid;

/// The span that a request belongs to, by its `traceparent`; none when that is missing, not valid, or not sampled.
pub(super) fn parent(header: &str) -> Option<SpanContext> {
    let mut parts = header.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        (text.len() == length && text.chars().all(digit)).then_some(())
    };
    hex(version, 2)?;
    hex(trace, 32)?;
    hex(span, 16)?;
    hex(flags, 2)?;
    if version == "ff" || version == "00" && parts.next().is_some() {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::NONE,
    );
    (context.is_valid()).then_some(context)
}

/// A span of this process.
pub(super) fn span(trace: TraceId, span: SpanId) -> SpanContext {
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

/// Ids of a trace that nobody has begun.
pub(super) fn fresh() -> (TraceId, SpanId) {
    let bytes = *uuid::Uuid::new_v4().as_bytes();
    (TraceId::from_bytes(bytes), fresh_span())
}

/// The id of a span.
pub(super) fn fresh_span() -> SpanId {
    let [_, _, _, _, _, _, _, _, id @ ..] = *uuid::Uuid::new_v4().as_bytes();
    SpanId::from_bytes(id)
}

/// The trace of a deployment: its id, in hexadecimal. So whoever knows the one finds the other.
pub(super) fn trace_of(deployment: Ulid) -> TraceId {
    TraceId::from_bytes(deployment.0.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_or_left_aside() {
        let context = parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled() && context.is_remote());
        let unsampled = parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        assert!(!unsampled.is_sampled());
        // A later version may have more.
        assert!(parent("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
        for header in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(parent(header), None, "{header}");
        }
    }

    #[test]
    fn the_trace_of_a_deployment_is_its_id() {
        let id: Ulid = "01JD3Y6N9M1V9S1M6V1M3B3W5T".parse().unwrap();
        let trace = trace_of(id).to_string();
        assert_eq!(u128::from_str_radix(&trace, 16).unwrap(), id.0);
    }
}
