//! `[telemetry]`: where traces are sent.

use toml::Table;
use url::Url;

use super::{problems::ConfigProblem, table::Keys};

/// Where traces are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// A collector that speaks OTLP over gRPC, `http://…`; `None`: nothing is sent.
    pub otlp_endpoint: Option<Url>,
}

pub(super) fn read(table: Table, problems: &mut Vec<ConfigProblem>) -> TelemetryConfig {
    let mut keys = Keys::new("telemetry", table, problems);
    let otlp_endpoint: Option<Url> = keys.text("otlp_endpoint", "\"http://127.0.0.1:4317\"");
    let plain = |url: &Url| {
        url.scheme() == "http"
            && url.has_host()
            && url.path() == "/"
            && url.username().is_empty()
            && url.query().is_none()
    };
    if otlp_endpoint.as_ref().is_some_and(|url| !plain(url)) {
        keys.note(
            "otlp_endpoint",
            "has something other than http://, host and port",
            "Write it like \"http://127.0.0.1:4317\": a collector beside the controller, which passes traces on with TLS.",
        );
    }
    keys.finish();
    TelemetryConfig { otlp_endpoint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for (text, is_set, wrong) in [
            ("", false, false),
            ("otlp_endpoint = \"http://127.0.0.1:4317\"", true, false),
            ("otlp_endpoint = \"https://collector.example.net\"", true, true),
            (
                "otlp_endpoint = \"http://user:secret@127.0.0.1:4317\"",
                true,
                true,
            ),
            ("otlp_endpoint = \"http://127.0.0.1:4317/v1/traces\"", true, true),
            ("otlp_endpoint = \"127.0.0.1:4317\"", false, true),
            ("endpoint = \"http://127.0.0.1:4317\"", false, true),
        ] {
            let mut problems = Vec::new();
            let config = read(text.parse().unwrap(), &mut problems);
            assert_eq!(
                (config.otlp_endpoint.is_some(), !problems.is_empty()),
                (is_set, wrong),
                "{text}: {problems:?}"
            );
        }
    }
}
