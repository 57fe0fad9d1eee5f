use imprint_proto::agent::v1::{
    Fingerprint, RenewRequest, agent_client::AgentClient, enrollment_client::EnrollmentClient,
};
use rcgen::{CertificateParams, KeyPair};
use tonic::Code;

use super::rig::*;
use crate::deploy::DeployRequest;

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_token_works_once_and_its_second_use_is_an_alarm() {
    let rig = Rig::start().await;
    let token = rig.app().boot_tokens.issue(&facts()).await.unwrap();
    let machine = rig.enroll(&token.token, fingerprint()).await.unwrap();
    let refused = rig.enroll(&token.token, fingerprint()).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let alarm = rig.events().await.pop().unwrap();
    assert_eq!(alarm.kind, "alarm.boot-token-reused");
    assert_eq!(alarm.node_id.as_deref(), Some(machine.node_id.as_str()));
    assert!(!alarm.details.to_string().contains(token.token.as_str()));

    let refused = rig.enroll("made up", fingerprint()).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(rig.count("alarm.boot-token-reused").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_answer_was_lost_is_answered_again() {
    let rig = Rig::start().await;
    let token = rig.app().boot_tokens.issue(&facts()).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let first = rig.enroll_with(&key, &token.token, fingerprint()).await.unwrap();
    let again = rig.enroll_with(&key, &token.token, fingerprint()).await.unwrap();
    assert_eq!(first.node_id, again.node_id);
    drop(rig.connect(&again, hello("boot-1", "")).await);
    assert_eq!(rig.count("node.discovered").await, 1);
    assert_eq!(rig.count("alarm.boot-token-reused").await, 0);
    rig.enroll(&token.token, fingerprint()).await.err().unwrap();
    assert_eq!(rig.count("alarm.boot-token-reused").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_machine_does_not_spend_its_token() {
    let rig = Rig::start().await;
    rig.machine().await;
    let other = crate::boot::BootFacts::parse("52:54:00:ab:cd:09", "", "", "efi").unwrap();
    let token = rig.app().boot_tokens.issue(&other).await.unwrap();
    let contradicting = Fingerprint {
        smbios_uuid: UUID.replace("0001", "0002"),
        smbios_serial: String::new(),
        macs: vec!["52:54:00:ab:cd:09".to_owned(), MAC.to_owned()],
    };
    for _ in 0..3 {
        let refused = rig
            .enroll(&token.token, contradicting.clone())
            .await
            .err()
            .unwrap();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    assert_eq!(
        rig.count("alarm.identity-conflict").await,
        1,
        "told once in a while"
    );
    let mended = Fingerprint {
        macs: vec!["52:54:00:ab:cd:09".to_owned()],
        ..contradicting
    };
    rig.enroll(&token.token, mended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_came_too_late_are_told_once_in_a_while() {
    let rig = Rig::start().await;
    let machine = rig.machine().await;
    let first = rig.app().boot_tokens.issue(&facts()).await.unwrap();
    let second = rig.app().boot_tokens.issue(&facts()).await.unwrap();
    for _ in 0..2 {
        rig.enroll(&first.token, fingerprint()).await.err().unwrap();
    }
    rig.clock.advance(jiff::SignedDuration::from_mins(15));
    for _ in 0..2 {
        rig.enroll(&second.token, fingerprint()).await.err().unwrap();
    }
    for kind in ["boot-token.superseded", "boot-token.expired"] {
        let told: Vec<_> = rig
            .events()
            .await
            .into_iter()
            .filter(|event| event.kind == kind)
            .collect();
        assert_eq!(told.len(), 1, "{kind}");
        assert_eq!(told[0].node_id.as_deref(), Some(machine.node_id.as_str()));
    }
    rig.enroll(&first.token, fingerprint()).await.err().unwrap();
    assert_eq!(rig.count("boot-token.superseded").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_machine_is_an_alarm_and_makes_no_node() {
    let rig = Rig::start().await;
    let token = rig.app().boot_tokens.issue(&facts()).await.unwrap();
    let other = Fingerprint {
        macs: vec!["52:54:00:00:00:99".to_owned()],
        ..fingerprint()
    };
    assert_eq!(
        rig.enroll(&token.token, other).await.err().unwrap().code(),
        Code::Unauthenticated
    );
    assert_eq!(rig.count("alarm.boot-token-wrong-machine").await, 1);
    assert_eq!(rig.count("node.discovered").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_ones_own_nic_does_not_buy_another_nodes_identity() {
    let rig = Rig::start().await;
    rig.available().await;
    let own = crate::boot::BootFacts::parse("52:54:00:00:00:66", "", "", "efi").unwrap();
    let token = rig.app().boot_tokens.issue(&own).await.unwrap();
    let mut stolen = fingerprint();
    stolen.macs.push("52:54:00:00:00:66".to_owned());
    assert_eq!(
        rig.enroll(&token.token, stolen).await.err().unwrap().code(),
        Code::Unauthenticated
    );
    assert_eq!(rig.count("alarm.boot-token-wrong-machine").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_in_conflict_are_told_apart_or_refused() {
    let rig = Rig::start().await;
    rig.machine().await;
    let token = rig.app().boot_tokens.issue(&facts()).await.unwrap();
    let twin = Fingerprint {
        smbios_serial: "SN-2".to_owned(),
        smbios_uuid: String::new(),
        ..fingerprint()
    };
    // The MAC address of the node, another serial number: not the same machine, and not a new one either.
    let refused = rig
        .enroll(
            &token.token,
            Fingerprint {
                smbios_uuid: UUID.replace("0001", "0002"),
                ..twin
            },
        )
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused.code(), Code::Unauthenticated | Code::FailedPrecondition),
        "{refused}"
    );
    assert_eq!(rig.count("node.discovered").await, 1);
    let alarms = rig
        .events()
        .await
        .into_iter()
        .filter(|event| event.kind.starts_with("alarm."))
        .count();
    assert_eq!(alarms, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_certificate_opens_a_session_or_renews() {
    let rig = Rig::start().await;
    let machine = rig.machine().await;
    let mut stranger = AgentClient::new(rig.server.channel().await);
    let refused = stranger.session(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let key = KeyPair::generate().unwrap();
    let csr_der = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .der()
        .to_vec();
    let request = RenewRequest { csr_der };
    let refused = EnrollmentClient::new(rig.server.channel().await)
        .renew(request.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut client = EnrollmentClient::new(rig.node_channel(&machine).await);
    let renewed = client.renew(request).await.unwrap().into_inner();
    assert!(!renewed.certificate_chain_der.is_empty() && renewed.expires_at.is_some());
    let refused = client
        .renew(RenewRequest {
            csr_der: vec![1, 2, 3],
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_stranger_does_not_wait_for_writers() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    agent.task().await;
    let writer = rig.app().db.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let report = rig.report("made up", first_boot(&deployment, "b1"));
    let refused = tokio::time::timeout(std::time::Duration::from_secs(10), report)
        .await
        .expect("it needs no write lock")
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_soon_in_no_file_of_the_database() {
    const SECRET: &str = "correct horse battery staple";
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let request = DeployRequest {
        user_data: Some(format!("#cloud-config\npassword: {SECRET}\n")),
        ..request(&machine)
    };
    let deployment = rig
        .app()
        .deployments
        .create(&admin(), &request, None)
        .await
        .unwrap();
    let task = agent.task().await.task_id;
    agent.outcome(&task, success(&deployment)).await;
    let folder = rig.app().config.data_dir.clone();
    let is_kept = || {
        let files = std::fs::read_dir(&folder).unwrap().flatten();
        files
            .filter(|file| {
                file.file_name()
                    .to_string_lossy()
                    .starts_with(crate::db::FILE_NAME)
            })
            .any(|file| {
                let bytes = std::fs::read(file.path()).unwrap();
                bytes
                    .windows(SECRET.len())
                    .any(|window| window == SECRET.as_bytes())
            })
    };
    assert!(is_kept(), "the log has it, which is why it has to be emptied");
    // A reader in the way: it is tried again.
    let mut reader = rig.app().db.begin().await.unwrap();
    sqlx::query("SELECT COUNT(*) FROM events")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    rig.app()
        .events
        .append(crate::events::NewEvent {
            kind: "test",
            node_id: None,
            deployment_id: None,
            message: String::new(),
            details: serde_json::json!({}),
        })
        .await
        .unwrap();
    rig.app().deployments.scrub().await;
    drop(reader);
    for _ in 0..100 {
        rig.app().deployments.scrub().await;
        if !is_kept() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the secret is still there");
}
