//! The task that an agent is sent: complete in itself.

use imprint_proto::agent::v1 as wire;
use zeroize::Zeroizing;

use super::{
    Deployments, error::DeployError, finish_options::Console, record::Deployment, volume::DiskContent,
};
use crate::events::{DatabaseError, doing};

/// Bytes of randomness in a report token.
const TOKEN_BYTES: usize = 32;

impl Deployments {
    /// The deployment's present task. Each call makes a report token of its own; only its digest is kept.
    pub(super) async fn task_of(
        &self,
        deployment: &Deployment,
        ca_pem: &str,
    ) -> Result<wire::Task, DeployError> {
        if let Some(terms) = &deployment.terms {
            return self.task_of_terms(deployment, terms).await;
        }
        let digest = hex::decode(&deployment.image_digest)
            .map_err(|error| doing("read the deployment's image")(sqlx::Error::Decode(Box::new(error))))?;
        let finish = if deployment.finish {
            Some(self.finish_plan(deployment, ca_pem).await?)
        } else {
            None
        };
        let reboot = finish.is_some();
        let key = self.image_keys.open(&deployment.manifest).await?;
        let data_key_id = key.as_ref().map(|key| key.id().as_bytes().to_vec());
        let content = match deployment.content {
            DiskContent::Streamed => wire::DiskContentSource::Unspecified,
            DiskContent::Prepared => wire::DiskContentSource::Prepared,
            DiskContent::Kept => wire::DiskContentSource::Kept,
        };
        let task = wire::DeployTask {
            deployment_id: deployment.id.clone(),
            image: Some(wire::ImageSource {
                name: deployment.image_name.clone(),
                manifest_url: format!("/v1/store/manifests/{}", deployment.manifest),
                image_digest: digest,
                disk_size_bytes: deployment.disk_size_bytes,
                logical_sector_bytes: deployment.logical_sector_bytes,
                data_key: key.map(|key| key.expose().to_vec()).unwrap_or_default(),
                data_key_id: data_key_id.unwrap_or_default(),
            }),
            disk: Some(wire::DiskRule {
                volumes: self.volumes_of(&deployment.node_id).await?,
                ..deployment.disk_policy.to_wire(&deployment.disk_rule)
            }),
            finish,
            reboot,
            volume: self.expected_volume(deployment).await?,
            content: content.into(),
        };
        Ok(wire::Task {
            task_id: deployment.task_id.clone(),
            kind: Some(wire::task::Kind::Deploy(task)),
        })
    }

    async fn finish_plan(
        &self,
        deployment: &Deployment,
        ca_pem: &str,
    ) -> Result<wire::FinishPlan, DeployError> {
        let (user_data, network_config, meta_data): (Vec<u8>, Vec<u8>, Vec<u8>) = sqlx::query_as(
            "SELECT user_data, network_config, meta_data FROM deployment_secrets WHERE deployment_id = ?",
        )
        .bind(&deployment.id)
        .fetch_one(&self.db)
        .await
        .map_err(doing("read the seed"))?;
        let token = self.new_report_token(&deployment.id).await?;
        let boot_order = match deployment.boot_order.as_str() {
            "disk-first" => wire::BootOrderPolicy::DiskFirst,
            "next-boot-only" => wire::BootOrderPolicy::NextBootOnly,
            _ => wire::BootOrderPolicy::NetworkFirst,
        };
        Ok(wire::FinishPlan {
            grow_root: deployment.grow_root,
            seed: Some(wire::CloudInitSeed {
                meta_data,
                user_data,
                vendor_data: Vec::new(),
                network_config,
            }),
            guest: Some(wire::GuestPlan {
                deployment_id: deployment.id.clone(),
                controller_url: self.controller_url.as_str().trim_end_matches('/').to_owned(),
                ca_pem: ca_pem.to_owned(),
                report_token: token.to_string(),
                order_keys: self.order_keys.to_vec(),
            }),
            boot_order: boot_order.into(),
            hostname: deployment.hostname.clone(),
            remove_image_keys: deployment.image_users.removes_keys(),
            lock_image_passwords: deployment.image_users.locks_passwords(),
            seed_layout: deployment.finish_options.data_source.to_wire().into(),
            fresh_uuids: deployment.finish_options.fresh_uuids,
            kernel_arguments: deployment.finish_options.kernel_arguments.clone(),
            seed_partition: deployment.finish_options.seed_partition,
            firmware_console: deployment.finish_options.console == Console::Firmware,
        })
    }

    async fn new_report_token(&self, deployment_id: &str) -> Result<Zeroizing<String>, DatabaseError> {
        let mut bytes = Zeroizing::new([0_u8; TOKEN_BYTES]);
        getrandom::fill(bytes.as_mut_slice())
            .map_err(|error| doing("make a report token")(sqlx::Error::Io(std::io::Error::other(error))))?;
        let token = Zeroizing::new(hex::encode(bytes.as_slice()));
        let mut change = self.events.begin().await?;
        sqlx::query("INSERT INTO report_tokens (token_hash, deployment_id, created_at) VALUES (?, ?, ?)")
            .bind(blake3::hash(token.as_bytes()).as_bytes().as_slice())
            .bind(deployment_id)
            .bind(self.clock.now_ms())
            .execute(change.connection())
            .await
            .map_err(doing("keep the report token"))?;
        change.commit().await?;
        Ok(token)
    }
}
