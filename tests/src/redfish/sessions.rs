//! Who is let in: sessions, or user and password with each request.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use super::{PASSWORD, USER};

/// Open sessions: their tokens, and for how many requests they still hold.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: HashMap<String, (u32, Option<u32>)>,
    made: u32,
}

/// How a request is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    Session,
    Password,
    Refused,
}

impl Sessions {
    /// The number of a new session and its token.
    pub fn open(&mut self, life: Option<u32>) -> (u32, String) {
        self.made += 1;
        let token = format!("token-{}", self.made);
        self.open.insert(token.clone(), (self.made, life));
        (self.made, token)
    }

    pub fn close(&mut self, number: u32) {
        self.open.retain(|_, (open, _)| *open != number);
    }

    pub fn count(&self) -> usize {
        self.open.len()
    }

    pub fn made(&self) -> u32 {
        self.made
    }

    pub fn entrance(&mut self, headers: &HeaderMap) -> Entrance {
        let text = |value: Option<&http::HeaderValue>| {
            value.and_then(|value| value.to_str().ok().map(str::to_owned))
        };
        if let Some(token) = text(headers.get("x-auth-token")) {
            let Some((_, life)) = self.open.get_mut(&token) else {
                return Entrance::Refused;
            };
            match life {
                Some(0) => {
                    self.open.remove(&token);
                    return Entrance::Refused;
                }
                Some(left) => *left -= 1,
                None => {}
            }
            return Entrance::Session;
        }
        let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        if text(headers.get(header::AUTHORIZATION)).as_ref() == Some(&expected) {
            Entrance::Password
        } else {
            Entrance::Refused
        }
    }
}
