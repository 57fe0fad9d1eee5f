//! URL, token and CA: what the connection to the controller needs, and where it comes from.

use std::{fs, path::PathBuf, time::Duration};

use reqwest::{
    Certificate,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    arguments::ConnectionArguments,
    client::Client,
    fault::{Fault, clean_token, innermost},
};

/// Answers that take longer than this are given up; uploads and streams are not limited by it.
const CONNECT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Makes a client of what the command line and the environment say. Nothing is sent yet.
pub fn open(arguments: &ConnectionArguments) -> Result<Client, Fault> {
    let named = arguments.url.clone().or_else(|| variable("IMPRINT_URL"));
    let base = base_url(named.as_deref())?;
    let mut headers = HeaderMap::new();
    if let Some(token) = token(arguments)? {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.as_str()))
            .map_err(|_| Fault::local("The API token cannot be used", "", "Check IMPRINT_TOKEN."))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("imprint/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .https_only(true)
        // The controller is inside; a proxy that the shell has for the outside would only be in the way.
        .no_proxy()
        // The token must not follow to wherever an answer points.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        // Finds out about a controller that vanished, also during uploads and streams that have no deadline.
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .tcp_keepalive(KEEP_ALIVE);
    if let Some(path) = arguments
        .ca
        .clone()
        .or_else(|| variable("IMPRINT_CA").map(PathBuf::from))
    {
        let pem = fs::read(&path).map_err(|error| Fault::unreadable(&path, &error))?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(Fault::local(
                "The CA file cannot be used",
                format!("{} holds no certificate in PEM form", path.display()),
                "Point --ca (IMPRINT_CA) to the ca.pem of the controller's data folder.",
            ));
        }
        builder = builder.tls_certs_only(certificates);
    }
    let http = builder.build().map_err(|error| {
        Fault::local(
            "TLS cannot be set up",
            innermost(&error),
            "Point --ca (IMPRINT_CA) to the ca.pem of the controller's data folder.",
        )
    })?;
    Ok(Client::new(http, base))
}

fn base_url(text: Option<&str>) -> Result<Url, Fault> {
    let text = text
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            Fault::local(
                "No controller is named",
                "neither --url nor IMPRINT_URL is set",
                "export IMPRINT_URL=https://ADDRESS:8443",
            )
        })?;
    let wrong = |why: &str| {
        Fault::local(
            "The controller's address cannot be used",
            // The address itself is not repeated when it may hold a password.
            why,
            "Write it like https://10.0.0.1:8443.",
        )
    };
    let url = Url::parse(text).map_err(|error| wrong(&format!("{text}: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "it holds a user name or password; the API takes a token only",
        ));
    }
    if url.scheme() != "https" {
        return Err(wrong(&format!(
            "{text} is not https; the token would be readable on the wire"
        )));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(&format!(
            "{text} has more than a scheme, a host and a port"
        )));
    }
    Ok(url)
}

fn token(arguments: &ConnectionArguments) -> Result<Option<Zeroizing<String>>, Fault> {
    let file = arguments
        .token_file
        .clone()
        .or_else(|| variable("IMPRINT_TOKEN_FILE").map(PathBuf::from));
    if let Some(path) = file {
        let text =
            Zeroizing::new(fs::read_to_string(&path).map_err(|error| Fault::unreadable(&path, &error))?);
        return clean_token(&text, &path.display().to_string()).map(Some);
    }
    // The controller says what needs a token; `version` does not.
    variable("IMPRINT_TOKEN")
        .map(Zeroizing::new)
        .map(|text| clean_token(&text, "IMPRINT_TOKEN"))
        .transpose()
}

/// A variable of the environment; an empty one is as good as none, as shell scripts expect.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a controller is named at all.
pub fn is_named(arguments: &ConnectionArguments) -> bool {
    arguments.url.is_some() || variable("IMPRINT_URL").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_addresses_without_secrets_are_taken() {
        assert_eq!(
            base_url(Some("https://10.0.0.1:8443")).unwrap().as_str(),
            "https://10.0.0.1:8443/"
        );
        assert!(base_url(Some(" https://controller/imprint/ ")).is_ok());
        for (text, expected) in [
            (None, "IMPRINT_URL"),
            (Some(""), "IMPRINT_URL"),
            (Some("10.0.0.1:8443"), "relative URL"),
            (Some("http://10.0.0.1:8443"), "not https"),
            (Some("https://admin:hunter2@10.0.0.1"), "token only"),
            (Some("https://10.0.0.1?a=b"), "more than"),
        ] {
            let said = base_url(text).unwrap_err().text();
            assert!(said.contains(expected), "{text:?}: {said}");
            assert!(!said.contains("hunter2"));
        }
    }
}
