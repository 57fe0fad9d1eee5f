//! Calls to a card: each with a deadline, and made again while that can help. All of them may be made twice, as the
//! proposals that OPI follows have it: what is there is answered, what is gone is no error.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use imprint_proto::opi::{
    frontend_nvme_service_client::FrontendNvmeServiceClient,
    frontend_virtio_blk_service_client::FrontendVirtioBlkServiceClient,
    nvme_remote_controller_service_client::NvmeRemoteControllerServiceClient,
};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::volumes::ProviderError;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// DNS: a name has no more bytes; and a port.
const LONGEST_ADDRESS: usize = 253 + 6;
/// Most of a card's own words that are repeated.
const LONGEST_WORDS: usize = 300;

/// How long a step may take, and how often it is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Of one try.
    deadline: Duration,
    /// After the first one.
    retries: usize,
    first_wait: Duration,
    longest_wait: Duration,
}

const fn milliseconds(real: u64, in_tests: u64) -> Duration {
    Duration::from_millis(if cfg!(test) { in_tests } else { real })
}

/// What only reads.
pub(super) const ASK: Policy = Policy {
    deadline: milliseconds(10_000, 500),
    retries: 3,
    first_wait: milliseconds(250, 1),
    longest_wait: milliseconds(2_000, 5),
};

/// What plugs a disk in or out, for which a server may have to consent.
pub(super) const MAKE: Policy = Policy {
    deadline: milliseconds(60_000, 500),
    retries: 4,
    first_wait: milliseconds(500, 1),
    longest_wait: milliseconds(10_000, 5),
};

/// A card's services.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    channel: Channel,
    address: String,
}

impl Calls {
    /// To the card at HOST:PORT.
    pub(super) fn to(address: &str) -> Result<Self, ProviderError> {
        let bad = || ProviderError::Address {
            address: address.chars().take(LONGEST_WORDS).collect(),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        if address.len() > LONGEST_ADDRESS
            || host.is_empty()
            || host.contains(['/', '@', '?', '#'])
            || port.parse::<u16>().is_err()
        {
            return Err(bad());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| bad())?;
        Ok(Self {
            channel: endpoint.connect_timeout(CONNECT_LIMIT).connect_lazy(),
            address: address.to_owned(),
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn blks(&self) -> FrontendVirtioBlkServiceClient<Channel> {
        FrontendVirtioBlkServiceClient::new(self.channel.clone())
    }

    pub(super) fn nvme(&self) -> FrontendNvmeServiceClient<Channel> {
        FrontendNvmeServiceClient::new(self.channel.clone())
    }

    pub(super) fn remotes(&self) -> NvmeRemoteControllerServiceClient<Channel> {
        NvmeRemoteControllerServiceClient::new(self.channel.clone())
    }

    /// Makes a call, again and again if need be.
    pub(super) async fn call<T, F>(
        &self,
        policy: Policy,
        name: &'static str,
        make: impl Fn() -> F,
    ) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let waits = ExponentialBuilder::default()
            .with_min_delay(policy.first_wait)
            .with_max_delay(policy.longest_wait)
            .with_max_times(policy.retries)
            .with_jitter();
        let once = || async {
            match tokio::time::timeout(policy.deadline, make()).await {
                Ok(answer) => answer.map(Response::into_inner),
                Err(_) => Err(Status::deadline_exceeded(format!(
                    "no answer in {} s",
                    policy.deadline.as_secs_f32()
                ))),
            }
        };
        let answer = once
            .retry(waits)
            .when(|status| passes(status.code()))
            .notify(|status, wait| {
                tracing::info!(
                    card = self.address,
                    call = name,
                    code = ?status.code(),
                    wait = ?wait,
                    "a card is asked again"
                );
            })
            .await;
        answer.map_err(|status| self.refused(name, &status))
    }

    fn refused(&self, call: &'static str, status: &Status) -> ProviderError {
        let address = self.address.clone();
        let said = words(status.message());
        match status.code() {
            Code::Unimplemented => ProviderError::Unknown { address, call },
            code if passes(code) && code != Code::Aborted => ProviderError::Silent { address, call, said },
            code => ProviderError::Refused {
                address,
                call,
                code,
                said,
            },
        }
    }
}

/// Whether it can go better the next time. `Unknown` is what a connection that broke in the middle comes to.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled | Code::Unknown
    )
}

/// What a card said, on one line of a bounded length.
fn words(message: &str) -> String {
    let line: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_WORDS)
        .collect();
    match line.trim() {
        "" => "it gives no reason".to_owned(),
        said => said.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses() {
        for good in ["card-1:50051", "10.0.0.7:50051", "[fd00::7]:50051"] {
            assert_eq!(Calls::to(good).unwrap().address(), good);
        }
        for bad in [
            "",
            "card",
            "card:",
            ":50051",
            "http://card:50051",
            "card:70000",
            "a b:1",
            "u@card:1",
        ] {
            assert!(Calls::to(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cards_words_are_bounded() {
        assert_eq!(words("no\nsuch volume."), "no such volume");
        assert_eq!(words(" "), "it gives no reason");
        assert_eq!(words(&"x".repeat(5000)).len(), LONGEST_WORDS);
    }
}
