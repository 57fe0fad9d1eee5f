//! The rules of the BMC: a request in, an answer out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::machine::{Machine, Power};
use super::oddities::{Etags, Oddities, Overrides, take};
use super::resources::{CD, RESET, SESSIONS, SETTINGS, SYSTEM, Shown, is_listed, is_reset};
use super::sessions::{Entrance, Sessions};
use super::{PASSWORD, USER};

/// What the BMC says of its server.
#[derive(Debug, Clone)]
pub struct Identity {
    /// SMBIOS UUID.
    pub uuid: String,
    /// Serial number.
    pub serial: String,
    /// Who made it.
    pub vendor: String,
    /// The product.
    pub model: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            uuid: "4c4c4544-0051-3610-8034-b7c04f4d3233".to_owned(),
            serial: "LAB-7X2M3".to_owned(),
            vendor: "Imprint".to_owned(),
            model: "Lab server".to_owned(),
        }
    }
}

/// The override of the boot order.
#[derive(Debug, Clone)]
pub(super) struct Boot {
    pub enabled: String,
    pub target: String,
    pub mode: String,
}

/// A task of the BMC.
#[derive(Debug, Clone, Copy)]
struct Task {
    looks_left: u32,
}

struct State {
    identity: Identity,
    machine: Box<dyn Machine>,
    oddities: Oddities,
    sessions: Sessions,
    boot: Boot,
    media: Option<String>,
    version: u64,
    tasks: Vec<Task>,
    /// A change of power that does not show yet: looks left, and what is shown until then.
    lag: Option<(u32, &'static str)>,
    log: Vec<String>,
}

/// A BMC that can be asked. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Mutex<State>>);

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({:?})", self.locked().identity)
    }
}

/// An answer of the BMC.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    pub manner: Manner,
}

/// How an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Plain,
    /// Never.
    Silent,
    Garbage,
    Endless,
}

impl Reply {
    fn of(status: StatusCode, body: Option<Value>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
            manner: Manner::Plain,
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn refused(status: StatusCode, message: &str) -> Self {
        let body = json!({
            "error": {
                "code": "Base.1.8.GeneralError", "message": "A general error has occurred. See ExtendedInfo.",
                "@Message.ExtendedInfo": [{ "MessageId": "Base.1.8.GeneralError", "Message": message }],
            },
        });
        Self::of(status, Some(body))
    }
}

impl Service {
    /// A BMC of a machine.
    pub fn of(machine: impl Machine + 'static, identity: Identity, oddities: Oddities) -> Self {
        Self(Arc::new(Mutex::new(State {
            identity,
            machine: Box::new(machine),
            oddities,
            sessions: Sessions::default(),
            boot: Boot {
                enabled: "Disabled".to_owned(),
                target: "None".to_owned(),
                mode: "UEFI".to_owned(),
            },
            media: None,
            version: 1,
            tasks: Vec::new(),
            lag: None,
            log: Vec::new(),
        })))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is odd about it.
    pub fn change(&self, work: impl FnOnce(&mut Oddities)) {
        work(&mut self.locked().oddities);
    }

    /// What was asked: method and path; of changes what was asked for.
    pub fn log(&self) -> Vec<String> {
        self.locked().log.clone()
    }

    /// How often something was asked.
    pub fn count(&self, what: &str) -> usize {
        self.locked()
            .log
            .iter()
            .filter(|line| line.contains(what))
            .count()
    }

    /// Sessions that are open, and how many there have been.
    pub fn sessions(&self) -> (usize, u32) {
        let state = self.locked();
        (state.sessions.count(), state.sessions.made())
    }

    /// The override of the boot order: for how long, and what.
    pub fn boot(&self) -> (String, String) {
        let state = self.locked();
        (state.boot.enabled.clone(), state.boot.target.clone())
    }

    /// Whether nobody reaches it.
    pub fn is_away(&self) -> bool {
        self.locked().oddities.away
    }

    /// What is in the virtual CD.
    pub fn media(&self) -> Option<String> {
        self.locked().media.clone()
    }

    pub(super) fn answer(&self, method: &Method, path: &str, headers: &HeaderMap, body: &Value) -> Reply {
        self.locked().answer(method, path, headers, body)
    }
}

impl State {
    fn answer(&mut self, method: &Method, asked: &str, headers: &HeaderMap, body: &Value) -> Reply {
        let path = asked.trim_end_matches('/');
        if self.oddities.away {
            let mut reply = Reply::of(StatusCode::OK, None);
            reply.manner = Manner::Silent;
            return reply;
        }
        self.log.push(match (method, path) {
            (&Method::GET | &Method::DELETE, _) | (_, SESSIONS) => format!("{method} {path}"),
            _ => format!("{method} {path} {body}"),
        });
        if let Some(to) = &self.oddities.redirects_to {
            return Reply::of(StatusCode::TEMPORARY_REDIRECT, None).with("location", to.clone());
        }
        if self.oddities.redirects && !asked.ends_with('/') {
            return Reply::of(StatusCode::PERMANENT_REDIRECT, None).with("location", format!("{asked}/"));
        }
        if take(&mut self.oddities.busy) {
            return Reply::refused(StatusCode::SERVICE_UNAVAILABLE, "Not now.").with("retry-after", "0");
        }
        let number = u32::try_from(self.log.len() - 1).unwrap_or(u32::MAX);
        let silent = take(&mut self.oddities.silent) || self.oddities.silent_at == Some(number);
        let mut reply = self.let_in(method, path, headers, body);
        if silent {
            reply.manner = Manner::Silent;
        } else if self.oddities.garbage {
            reply.manner = Manner::Garbage;
        } else if self.oddities.endless {
            reply.manner = Manner::Endless;
        }
        reply
    }

    fn let_in(&mut self, method: &Method, path: &str, headers: &HeaderMap, body: &Value) -> Reply {
        if (method, path) == (&Method::GET, "/redfish/v1") {
            return self.read(path);
        }
        if path == SESSIONS && self.oddities.no_sessions {
            return Reply::refused(StatusCode::NOT_FOUND, "There are no sessions.");
        }
        if (method, path) == (&Method::POST, SESSIONS) {
            return self.log_in(body);
        }
        if self.sessions.entrance(headers) == Entrance::Refused {
            return Reply::refused(StatusCode::UNAUTHORIZED, "Who are you?");
        }
        if method != Method::GET && method != Method::DELETE && self.oddities.read_only {
            return Reply::refused(StatusCode::FORBIDDEN, "You may not.");
        }
        if let Some(number) = path.strip_prefix("/redfish/v1/TaskService/Monitors/") {
            return self.task(number);
        }
        match (method, path) {
            (&Method::GET, _) => self.read(path),
            (&Method::DELETE, _) => match path
                .strip_prefix(SESSIONS)
                .and_then(|rest| rest.strip_prefix('/'))
            {
                Some(number) => {
                    self.sessions.close(number.parse().unwrap_or(0));
                    Reply::of(StatusCode::NO_CONTENT, None)
                }
                None => Reply::refused(StatusCode::METHOD_NOT_ALLOWED, "That stays."),
            },
            (&Method::PATCH, SYSTEM | SETTINGS) => self.patch(path, headers, body),
            (&Method::POST, RESET) => self.reset(body),
            (&Method::POST, _) if path.starts_with(CD) => self.media(path, body),
            _ => Reply::refused(StatusCode::NOT_FOUND, "There is nothing."),
        }
    }

    fn log_in(&mut self, body: &Value) -> Reply {
        if (body["UserName"].as_str(), body["Password"].as_str()) != (Some(USER), Some(PASSWORD)) {
            return Reply::refused(StatusCode::UNAUTHORIZED, "The user name or password is wrong.");
        }
        let (number, token) = self.sessions.open(self.oddities.session_life);
        Reply::of(StatusCode::CREATED, Some(json!({ "Id": number.to_string() })))
            .with("x-auth-token", token)
            .with("location", format!("{SESSIONS}/{number}"))
    }

    fn shown_power(&mut self) -> &'static str {
        if let Some((left, shown)) = &mut self.lag
            && *left > 0
        {
            *left -= 1;
            return shown;
        }
        self.lag = None;
        match self.machine.power() {
            Ok(Power::On) => "On",
            Ok(Power::Off) => "Off",
            Err(error) => {
                eprintln!("the BMC cannot ask its server: {error:#}");
                "Unknown"
            }
        }
    }

    fn read(&mut self, path: &str) -> Reply {
        let power = if path == SYSTEM { self.shown_power() } else { "" };
        let shown = Shown {
            identity: &self.identity,
            oddities: &self.oddities,
            boot: &self.boot,
            media: self.media.as_deref(),
            power,
            version: self.version,
        };
        match shown.at(path) {
            None => Reply::refused(StatusCode::NOT_FOUND, "There is nothing."),
            Some(document) => {
                let reply = Reply::of(StatusCode::OK, Some(document));
                match shown.etag().filter(|_| path == SYSTEM) {
                    Some(etag) => reply.with("etag", etag),
                    None => reply,
                }
            }
        }
    }

    /// Whether a change is of the version that there is.
    fn is_current(&self, headers: &HeaderMap) -> Option<Reply> {
        let given = headers.get("if-match").and_then(|value| value.to_str().ok());
        let strong = format!("\"{}\"", self.version);
        let failed = |status| Some(Reply::refused(status, "The version is another one."));
        match (self.oddities.etags, given) {
            (Etags::None, _) | (Etags::Never, None) => None,
            (Etags::Never, Some(_)) => failed(StatusCode::PRECONDITION_FAILED),
            (_, None) => failed(StatusCode::PRECONDITION_REQUIRED),
            (Etags::Secret, Some(_)) => None,
            (Etags::Needed | Etags::Weak, Some(given)) if given == strong || given == "*" => None,
            _ => failed(StatusCode::PRECONDITION_FAILED),
        }
    }

    fn patch(&mut self, path: &str, headers: &HeaderMap, body: &Value) -> Reply {
        if path == SYSTEM
            && let Some(refused) = self.is_current(headers)
        {
            return refused;
        }
        let boot = &body["Boot"];
        let bad = |message: &str| Reply::refused(StatusCode::BAD_REQUEST, message);
        let Some(enabled) = boot["BootSourceOverrideEnabled"].as_str() else {
            return bad("BootSourceOverrideEnabled is missing.");
        };
        let target = boot["BootSourceOverrideTarget"]
            .as_str()
            .unwrap_or(&self.boot.target);
        let mode = boot["BootSourceOverrideMode"].as_str();
        if !is_listed(&self.oddities, target) {
            return bad("The value for BootSourceOverrideTarget is not in the list of acceptable values.");
        }
        match self.oddities.overrides {
            Overrides::None => return bad("BootSourceOverrideEnabled is read-only."),
            Overrides::ContinuousOnly if enabled == "Once" => {
                return bad("The value Once for BootSourceOverrideEnabled is not in the list.");
            }
            Overrides::WithMode if mode.is_none() => {
                return bad("The property BootSourceOverrideMode is a required property.");
            }
            Overrides::WithoutMode if mode.is_some() => return bad("BootSourceOverrideMode is read-only."),
            Overrides::AtSettings if path == SYSTEM => {
                return bad("This is moved to the FutureState URI.");
            }
            Overrides::Forgotten => return Reply::of(StatusCode::NO_CONTENT, None),
            _ => {}
        }
        let stays = self.oddities.overrides == Overrides::Continuous && enabled == "Once";
        let target = target.to_owned();
        self.boot.enabled = if stays {
            "Continuous".to_owned()
        } else {
            enabled.to_owned()
        };
        self.boot.target = target;
        self.version += 1;
        self.done()
    }

    /// The answer to a change that is taken.
    fn done(&mut self) -> Reply {
        let Some(looks_left) = self.oddities.tasks else {
            return Reply::of(StatusCode::NO_CONTENT, None);
        };
        self.tasks.push(Task { looks_left });
        let place = format!("/redfish/v1/TaskService/Monitors/{}", self.tasks.len());
        Reply::of(StatusCode::ACCEPTED, Some(json!({ "TaskState": "New" }))).with("location", place)
    }

    fn task(&mut self, number: &str) -> Reply {
        let fails = self.oddities.tasks_fail;
        let task = number
            .parse::<usize>()
            .ok()
            .and_then(|number| self.tasks.get_mut(number.checked_sub(1)?));
        let Some(task) = task else {
            return Reply::refused(StatusCode::NOT_FOUND, "There is no such task.");
        };
        if take(&mut task.looks_left) {
            return Reply::of(StatusCode::ACCEPTED, Some(json!({ "TaskState": "Running" })));
        }
        let ended = if fails {
            json!({ "TaskState": "Exception", "TaskStatus": "Critical", "Messages": [{ "Message": "A fuse has blown." }] })
        } else {
            json!({ "TaskState": "Completed", "TaskStatus": "OK" })
        };
        Reply::of(StatusCode::OK, Some(ended))
    }

    fn reset(&mut self, body: &Value) -> Reply {
        let Some(reset) = body["ResetType"]
            .as_str()
            .filter(|reset| is_reset(&self.oddities, reset))
        else {
            return Reply::refused(
                StatusCode::BAD_REQUEST,
                "The value for ResetType is not in the list.",
            );
        };
        if take(&mut self.oddities.forgets_resets) || self.oddities.tasks_fail {
            return self.done();
        }
        let shown = self.shown_power();
        let done = match (reset, shown) {
            ("On" | "ForceOn", "On") | ("ForceOff" | "GracefulShutdown", "Off") => {
                return Reply::refused(StatusCode::CONFLICT, "The server is so already.");
            }
            ("On" | "ForceOn" | "PushPowerButton", "Off") => self.power_on(),
            ("ForceOff", _) => self.machine.power_off(),
            ("GracefulShutdown" | "PushPowerButton", _) => self.machine.shut_down(),
            ("ForceRestart", "On") => self.machine.power_off().and_then(|()| self.power_on()),
            _ => return Reply::refused(StatusCode::CONFLICT, "The server is off."),
        };
        if let Err(error) = done {
            return Reply::refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}"));
        }
        self.lag = Some((self.oddities.slow, shown));
        self.done()
    }

    fn power_on(&mut self) -> anyhow::Result<()> {
        let boot = (self.boot.enabled != "Disabled").then(|| self.boot.target.clone());
        self.machine.power_on(boot.as_deref())?;
        if self.boot.enabled == "Once" {
            self.boot.enabled = "Disabled".to_owned();
            self.boot.target = "None".to_owned();
        }
        Ok(())
    }

    fn media(&mut self, path: &str, body: &Value) -> Reply {
        if path.ends_with("VirtualMedia.EjectMedia") {
            self.media = None;
            return self.done();
        }
        match body["Image"].as_str() {
            _ if self.media.is_some() => Reply::refused(StatusCode::BAD_REQUEST, "A CD is inside."),
            Some(image) => {
                self.media = Some(image.to_owned());
                self.done()
            }
            None => Reply::refused(StatusCode::BAD_REQUEST, "Image is missing."),
        }
    }
}
