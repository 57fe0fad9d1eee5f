//! What messages with secrets show of themselves: everything but those. Of a secret, only whether it is there is told.

use std::fmt::{Debug, Formatter, Result};

use crate::{
    agent::v1::{CloudInitSeed, GuestPlan, ImageSource, RescueTask},
    opi::{NvmeSubsystemSpec, TcpController},
    v1::{CreateWebhookResponse, RescueResponse, ResetPasswordRequest, ResetPasswordResponse, SetBmcRequest},
};

/// Stands for a secret.
struct Secret(bool);

impl Secret {
    fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(!bytes.as_ref().is_empty())
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(if self.0 { "<secret>" } else { "<none>" })
    }
}

impl Debug for ImageSource {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("ImageSource")
            .field("name", &self.name)
            .field("manifest_url", &self.manifest_url)
            .field("image_digest", &self.image_digest)
            .field("disk_size_bytes", &self.disk_size_bytes)
            .field("logical_sector_bytes", &self.logical_sector_bytes)
            .field("data_key", &Secret::of(&self.data_key))
            .field("data_key_id", &self.data_key_id)
            .finish()
    }
}

impl Debug for CloudInitSeed {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("CloudInitSeed")
            .field("meta_data", &self.meta_data)
            .field("user_data", &Secret::of(&self.user_data))
            .field("vendor_data", &Secret::of(&self.vendor_data))
            .field("network_config", &Secret::of(&self.network_config))
            .finish()
    }
}

impl Debug for GuestPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("GuestPlan")
            .field("deployment_id", &self.deployment_id)
            .field("controller_url", &self.controller_url)
            .field("ca_pem", &self.ca_pem)
            .field("report_token", &Secret::of(&self.report_token))
            .field("order_keys", &self.order_keys.len())
            .finish()
    }
}

impl Debug for RescueTask {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("RescueTask")
            .field("rescue_id", &self.rescue_id)
            .field("password_hash", &Secret::of(&self.password_hash))
            .field("password_number", &self.password_number)
            .field("ssh_keys", &self.ssh_keys)
            .field("until", &self.until)
            .field("remaining_seconds", &self.remaining_seconds)
            .finish()
    }
}

impl Debug for RescueResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("RescueResponse")
            .field("rescue", &self.rescue)
            .field("password", &Secret::of(&self.password))
            .finish()
    }
}

impl Debug for ResetPasswordRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("ResetPasswordRequest")
            .field("node", &self.node)
            .field("user", &self.user)
            .field("password", &Secret::of(&self.password))
            .field("life_seconds", &self.life_seconds)
            .finish()
    }
}

impl Debug for SetBmcRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("SetBmcRequest")
            .field("node", &self.node)
            .field("kind", &self.kind)
            .field("address", &self.address)
            .field("user", &self.user)
            .field("password", &Secret::of(&self.password))
            .field("system", &self.system)
            .field("fingerprint", &self.fingerprint)
            .field("plain_http", &self.plain_http)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

impl Debug for ResetPasswordResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("ResetPasswordResponse")
            .field("order", &self.order)
            .field("password", &Secret::of(&self.password))
            .finish()
    }
}

impl Debug for CreateWebhookResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("CreateWebhookResponse")
            .field("webhook", &self.webhook)
            .field("secret", &Secret::of(&self.secret))
            .finish()
    }
}

impl Debug for NvmeSubsystemSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("NvmeSubsystemSpec")
            .field("nqn", &self.nqn)
            .field("serial_number", &self.serial_number)
            .field("model_number", &self.model_number)
            .field("max_namespaces", &self.max_namespaces)
            .field("hostnqn", &self.hostnqn)
            .field("psk", &Secret::of(&self.psk))
            .finish()
    }
}

impl Debug for TcpController {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("TcpController")
            .field("hdgst", &self.hdgst)
            .field("ddgst", &self.ddgst)
            .field("psk", &Secret::of(&self.psk))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        agent::v1::{
            CloudInitSeed, ControllerMessage, DeployTask, FinishPlan, GuestPlan, ImageSource, RescueTask,
            Task, controller_message::Message, task::Kind,
        },
        opi::{NvmeRemoteController, NvmeSubsystem, NvmeSubsystemSpec, TcpController},
    };

    #[test]
    fn a_card_gets_its_keys_and_nobody_else() {
        let remote = NvmeRemoteController {
            tcp: Some(TcpController {
                psk: vec![123; 32],
                ..TcpController::default()
            }),
            ..NvmeRemoteController::default()
        };
        let subsystem = NvmeSubsystem {
            spec: Some(NvmeSubsystemSpec {
                psk: vec![123; 32],
                ..NvmeSubsystemSpec::default()
            }),
            ..NvmeSubsystem::default()
        };
        for shown in [format!("{remote:?}"), format!("{subsystem:?}")] {
            assert!(!shown.contains("123") && shown.contains("<secret>"), "{shown}");
        }
    }

    #[test]
    fn no_message_shows_its_secrets() {
        let deploy = DeployTask {
            image: Some(ImageSource {
                name: "debian".into(),
                data_key: vec![123; 32],
                ..ImageSource::default()
            }),
            finish: Some(FinishPlan {
                seed: Some(CloudInitSeed {
                    user_data: vec![123; 9],
                    ..CloudInitSeed::default()
                }),
                guest: Some(GuestPlan {
                    report_token: "token-123".into(),
                    ..GuestPlan::default()
                }),
                ..FinishPlan::default()
            }),
            ..DeployTask::default()
        };
        let task = Task {
            task_id: "T".into(),
            kind: Some(Kind::Deploy(deploy)),
        };
        let message = ControllerMessage {
            message: Some(Message::Task(task)),
        };
        let rescue = RescueTask {
            password_hash: "$6$123".into(),
            ..RescueTask::default()
        };
        for shown in [
            format!("{message:?}"),
            format!("{message:#?}"),
            format!("{rescue:?}"),
        ] {
            assert!(!shown.contains("123") && shown.contains("<secret>"), "{shown}");
        }
        assert!(format!("{:?}", ImageSource::default()).contains("data_key: <none>"));
    }
}
