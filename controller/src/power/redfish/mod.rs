//! BMCs that speak Redfish (DMTF DSP0266), newer and older ones: a thin client that asks for little and takes any answer with
//! care. Conversations are short: a session is opened with the first request and ended with the last.

mod answer;
mod boot;
mod client;
mod hardware;
mod media;
mod switch;
mod system;
mod task;
mod trust;

use std::{future::Future, sync::OnceLock, time::Duration};

use futures::future::BoxFuture;
use serde_json::Value;

pub(in crate::power) use answer::plain;
pub(in crate::power) use client::Access;
use client::Client;
pub(in crate::power) use system::WantedSystem;
pub(in crate::power) use trust::{Trust, certificates, parse_fingerprint};

use super::{
    BmcError,
    bmc::{Bmc, BootTarget, Hardware, Override, PowerState, Switch},
    quirks::{BmcQuirks, known},
};

/// How many answers one call may wait for.
const ANSWERS: u32 = 6;

/// A conversation with one BMC about one server.
#[derive(Debug)]
pub(in crate::power) struct Redfish {
    client: Client,
    wanted: WantedSystem,
    /// As an operator says, and as the vendor makes them that was found the last time.
    said: BmcQuirks,
    /// Where the system is, once it was found.
    system_path: OnceLock<String>,
    /// How long a task of the service is waited for.
    patience: Duration,
    limit: Duration,
}

impl Redfish {
    /// Nothing is sent yet.
    pub(in crate::power) fn new(
        access: Access,
        wanted: WantedSystem,
        said: BmcQuirks,
    ) -> Result<Self, BmcError> {
        Ok(Self {
            client: Client::new(access, &said)?,
            wanted,
            system_path: OnceLock::new(),
            patience: said.request() * 2,
            limit: said.request() * ANSWERS,
            said,
        })
    }

    /// With what is known of the vendor and model that a system names.
    fn quirks(&self, system: &Value) -> BmcQuirks {
        let (vendor, model) = (&system["Manufacturer"], &system["Model"]);
        self.said.or(&known(&answer::text(vendor), &answer::text(model)))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, BmcError>>) -> Result<T, BmcError> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(done) => done,
            Err(_) => Err(self
                .client
                .silent(format!("not done within {} s", self.limit.as_secs()))),
        }
    }
}

impl Bmc for Redfish {
    fn power(&self) -> BoxFuture<'_, Result<PowerState, BmcError>> {
        Box::pin(self.within(async { Ok(switch::state(&self.system().await?.body)) }))
    }

    fn switch(&self, switch: Switch) -> BoxFuture<'_, Result<(), BmcError>> {
        Box::pin(self.within(self.do_switch(switch)))
    }

    fn boot_once(&self, target: BootTarget) -> BoxFuture<'_, Result<Override, BmcError>> {
        Box::pin(self.within(self.override_boot(target)))
    }

    fn boot_as_ordered(&self) -> BoxFuture<'_, Result<(), BmcError>> {
        Box::pin(self.within(self.clear_boot()))
    }

    fn set_media<'a>(&'a self, url: Option<&'a str>) -> BoxFuture<'a, Result<(), BmcError>> {
        Box::pin(self.within(self.change_media(url)))
    }

    fn hardware(&self) -> BoxFuture<'_, Result<Hardware, BmcError>> {
        Box::pin(self.within(self.describe()))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.client.close())
    }
}
