//! What a service does later: 202 and a task that tells how it goes on.

use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    answer::{Answer, link, said, text},
    client::Client,
};
use crate::power::BmcError;

const POLL: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 1 });

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    UnderWay,
    Done,
    Failed,
}

fn standing(task: &Value) -> Standing {
    match task["TaskState"].as_str() {
        Some("Completed") if matches!(task["TaskStatus"].as_str(), Some("Critical")) => Standing::Failed,
        // A monitor that answers with something else has the result of the operation itself.
        Some("Completed") | None => Standing::Done,
        Some("Exception" | "Killed" | "Cancelled" | "Interrupted") => Standing::Failed,
        Some(_) => Standing::UnderWay,
    }
}

impl Client {
    /// An error unless it is done. What the service does later is waited for, but not for longer than `patience`: then it
    /// goes on by itself, and whoever asked looks at what becomes of it.
    pub async fn completed(&self, answer: Answer, patience: Duration) -> Result<Answer, BmcError> {
        let mut answer = answer.done(self.address())?;
        if answer.status != StatusCode::ACCEPTED {
            return Ok(answer);
        }
        let call = answer.call.clone();
        let told = answer.header(header::LOCATION).map(str::to_owned);
        let monitor = told
            .or_else(|| answer.body["TaskMonitor"].as_str().map(str::to_owned))
            .or_else(|| link(&answer.body));
        let Some(monitor) = monitor else {
            return Ok(answer);
        };
        let until = Instant::now() + patience;
        while Instant::now() < until {
            answer = self.ask(Method::GET, &monitor, None, None).await?;
            match answer.status {
                // Forgotten as soon as it is done.
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(answer),
                StatusCode::ACCEPTED if answer.body["TaskState"].is_null() => {}
                status if status.is_success() => match standing(&answer.body) {
                    Standing::Done => return Ok(answer),
                    Standing::UnderWay => {}
                    Standing::Failed => return Err(self.failed(&call, &answer)),
                },
                _ => return Err(self.failed(&call, &answer)),
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(answer)
    }

    fn failed(&self, call: &str, answer: &Answer) -> BmcError {
        let messages = answer.body["Messages"].as_array().into_iter().flatten();
        let texts: Vec<String> = messages.take(4).map(|one| text(&one["Message"])).collect();
        let texts = texts.join(" ");
        BmcError::Refused {
            address: self.address().to_owned(),
            call: call.to_owned(),
            // The operation was taken, and has failed: asking again may help as little as not.
            status: 400,
            said: if texts.trim().is_empty() {
                said(&answer.body)
            } else {
                texts
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_ends_well_or_not() {
        for (task, expected) in [
            (json!({"TaskState": "Running"}), Standing::UnderWay),
            (json!({"TaskState": "SomethingNew"}), Standing::UnderWay),
            (json!({"TaskState": "Completed"}), Standing::Done),
            (
                json!({"TaskState": "Completed", "TaskStatus": "OK"}),
                Standing::Done,
            ),
            (
                json!({"TaskState": "Completed", "TaskStatus": "Critical"}),
                Standing::Failed,
            ),
            (json!({"TaskState": "Exception"}), Standing::Failed),
            (json!({}), Standing::Done),
        ] {
            assert_eq!(standing(&task), expected, "{task}");
        }
    }
}
