//! What a BMC switches.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// Whether a server is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// A server that can be switched. Calls may block for a moment.
pub trait Machine: fmt::Debug + Send {
    /// Whether it is on.
    fn power(&mut self) -> Result<Power>;

    /// Powers it on. `boot`: what it boots this once, as Redfish calls it; else its boot order says.
    fn power_on(&mut self, boot: Option<&str>) -> Result<()>;

    /// Takes the power away.
    fn power_off(&mut self) -> Result<()>;

    /// Asks its system to shut down.
    fn shut_down(&mut self) -> Result<()>;
}

/// A server in memory: it is on or off, and remembers what was done with it.
#[derive(Debug, Clone, Default)]
pub struct Model(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    on: bool,
    deaf: bool,
    boots: Vec<String>,
}

impl Model {
    /// One that is on.
    pub fn running() -> Self {
        let model = Self::default();
        model.with(|state| state.on = true);
        model
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its system does not listen when it is asked to shut down.
    pub fn make_deaf(&self) {
        self.with(|state| state.deaf = true);
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.with(|state| state.on)
    }

    /// What it has booted: names of Redfish, `order` for its boot order.
    pub fn boots(&self) -> Vec<String> {
        self.with(|state| state.boots.clone())
    }
}

impl Machine for Model {
    fn power(&mut self) -> Result<Power> {
        Ok(if self.is_on() { Power::On } else { Power::Off })
    }

    fn power_on(&mut self, boot: Option<&str>) -> Result<()> {
        self.with(|state| {
            if !state.on {
                state.on = true;
                state.boots.push(boot.unwrap_or("order").to_owned());
            }
        });
        Ok(())
    }

    fn power_off(&mut self) -> Result<()> {
        self.with(|state| state.on = false);
        Ok(())
    }

    fn shut_down(&mut self) -> Result<()> {
        self.with(|state| state.on = state.on && state.deaf);
        Ok(())
    }
}
