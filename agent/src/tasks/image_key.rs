//! The data key of the image that the running task writes.
//!
//! It is in the memory of this process and nowhere else: it is taken out of the task before the task is kept. A restarted
//! agent goes on with the kept task, and has the key from the controller, which sends the task in every session anew. It
//! is forgotten as soon as the image is written.

use imprint_image::seal::{DataKey, KeyId};
use imprint_proto::agent::v1::{ImageSource, Task, task::Kind};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// What is known of the key.
#[derive(Debug, Clone, Default)]
enum State {
    /// No task needs one.
    #[default]
    Idle,
    /// The task with this id needs one that is not here.
    Wanted(String),
    /// It is here.
    Held(String, DataKey),
}

/// Holds the key of one task at a time.
#[derive(Debug, Default)]
pub struct KeyHolder(watch::Sender<State>);

/// Takes the key out of a task, so that nobody who keeps the task keeps the key.
pub fn take_out(task: &mut Task) -> Option<DataKey> {
    let Some(Kind::Deploy(deploy)) = &mut task.kind else {
        return None;
    };
    let bytes = Zeroizing::new(std::mem::take(&mut deploy.image.as_mut()?.data_key));
    DataKey::try_from(&bytes[..]).ok()
}

/// The id of the key that an image is encrypted with.
pub fn id_of(image: &ImageSource) -> Option<KeyId> {
    KeyId::try_from(&image.data_key_id[..]).ok()
}

impl KeyHolder {
    /// A task begins, or goes on, whose image is encrypted.
    pub fn begin(&self, task_id: &str, key: Option<DataKey>) {
        let task_id = task_id.to_owned();
        self.0.send_replace(match key {
            Some(key) => State::Held(task_id, key),
            None => State::Wanted(task_id),
        });
    }

    /// The running task has come once more, with the key that a restarted agent waits for.
    pub fn arrived(&self, task_id: &str, key: DataKey) {
        self.0.send_if_modified(|state| match state {
            State::Wanted(wanted) if wanted == task_id => {
                *state = State::Held(task_id.to_owned(), key);
                true
            }
            _ => false,
        });
    }

    /// Whether a key is needed and not here.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(*self.0.borrow(), State::Wanted(_))
    }

    /// The key of a task; waits until it is here.
    pub async fn key_of(&self, task_id: &str) -> DataKey {
        let mut changes = self.0.subscribe();
        loop {
            if let State::Held(holder, key) = &*changes.borrow_and_update()
                && holder == task_id
            {
                return key.clone();
            }
            changes
                .changed()
                .await
                .expect("the sender is borrowed for as long as this waits");
        }
    }

    /// Nobody needs the key any more; it is overwritten.
    pub fn forget(&self) {
        self.0.send_replace(State::Idle);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use imprint_proto::agent::v1::DeployTask;

    use super::*;

    fn key(byte: u8) -> DataKey {
        DataKey::from_bytes([byte; 32])
    }

    #[test]
    fn a_task_is_kept_without_its_key() {
        let key = key(7);
        let mut task = Task {
            task_id: "T".into(),
            kind: Some(Kind::Deploy(DeployTask {
                image: Some(ImageSource {
                    data_key: vec![7; 32],
                    data_key_id: key.id().as_bytes().to_vec(),
                    ..ImageSource::default()
                }),
                ..DeployTask::default()
            })),
        };
        assert_eq!(take_out(&mut task).unwrap().id(), key.id());
        assert!(take_out(&mut task).is_none());
        let Some(Kind::Deploy(deploy)) = task.kind else {
            panic!("it is still the task")
        };
        let image = deploy.image.unwrap();
        assert!(image.data_key.is_empty());
        assert_eq!(id_of(&image), Some(key.id()));
        assert_eq!(id_of(&ImageSource::default()), None);
    }

    #[test]
    fn a_restarted_agent_takes_the_key_of_its_task_and_no_other() {
        let holder = KeyHolder::default();
        assert!(!holder.is_wanted());
        holder.arrived("T", key(1));
        assert!(holder.key_of("T").now_or_never().is_none(), "nobody needs it");
        holder.begin("T", None);
        assert!(holder.is_wanted());
        holder.arrived("other", key(1));
        assert!(holder.is_wanted());
        holder.arrived("T", key(2));
        assert!(!holder.is_wanted());
        // What is here already is not replaced.
        holder.arrived("T", key(3));
        let held = holder.key_of("T").now_or_never().unwrap();
        assert_eq!(held.id(), key(2).id());
        assert!(holder.key_of("other").now_or_never().is_none());
        holder.forget();
        assert!(holder.key_of("T").now_or_never().is_none() && !holder.is_wanted());
        holder.begin("T", Some(held));
        assert!(holder.key_of("T").now_or_never().is_some());
        assert!(!format!("{holder:?}").contains("2, 2"), "{holder:?}");
    }
}
