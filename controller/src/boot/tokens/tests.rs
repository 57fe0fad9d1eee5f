use tempfile::TempDir;

use super::*;
use crate::app::App;

const MAC: &str = "52:54:00:00:00:01";
const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
/// The same table read with its first three fields in the other byte order.
const SWAPPED: &str = "33221100-5544-7766-8899-aabbccddeeff";
/// The configured life of a token.
const LIFE: SignedDuration = SignedDuration::from_secs(900);

async fn controller() -> (TempDir, App, Clock) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fake("2026-01-01T00:00:00Z".parse().unwrap());
    let app = App::for_test_with(Config::loopback(dir.path()), clock.clone()).await;
    assert_eq!(app.config.timeouts.boot_token_seconds, 900);
    (dir, app, clock)
}

fn facts(mac: &str, uuid: &str) -> BootFacts {
    BootFacts::parse(mac, uuid, "", "efi").unwrap()
}

fn machine(macs: &[&str], uuid: &str) -> Fingerprint {
    Fingerprint {
        smbios_uuid: uuid.to_owned(),
        smbios_serial: String::new(),
        macs: macs.iter().map(|m| (*m).to_owned()).collect(),
    }
}

#[tokio::test]
async fn a_token_is_good_once() {
    let (_dir, app, clock) = controller().await;
    let tokens = &app.boot_tokens;
    let issued_at = clock.now();
    let issued = tokens.issue(&facts(MAC, UUID)).await.unwrap();
    clock.advance(SignedDuration::from_secs(60));
    let spent = clock.now();
    let own = machine(&["52:54:00:00:00:09", MAC], UUID);
    let redeemed = tokens.redeem_by_anybody(&issued.token, &own).await.unwrap();
    assert_eq!((redeemed.mac.as_str(), redeemed.issued_at), (MAC, issued_at));

    clock.advance(SignedDuration::from_secs(60));
    match tokens.redeem_by_anybody(&issued.token, &own).await.unwrap_err() {
        RedeemError::Spent {
            token_id,
            mac,
            spent_at,
        } => assert_eq!(
            (token_id, mac.as_str(), spent_at),
            (redeemed.token_id, MAC, spent)
        ),
        other => panic!("{other}"),
    }
    // It stays known as spent, even long after it would have expired.
    clock.advance(LIFE);
    let error = tokens.redeem_by_anybody(&issued.token, &own).await.unwrap_err();
    assert!(matches!(error, RedeemError::Spent { .. }), "{error}");
}

#[tokio::test]
async fn the_key_that_spent_it_may_ask_again_for_a_day() {
    let (_dir, app, clock) = controller().await;
    let tokens = &app.boot_tokens;
    let own = machine(&[MAC], UUID);
    let key = KeyDigest([7; 32]);
    let issued = tokens.issue(&facts(MAC, UUID)).await.unwrap();
    let first = tokens.redeem_by(&issued.token, &own, &key).await.unwrap();
    // Its answer was lost; in the meantime the token would have expired.
    clock.advance(LIFE + LIFE);
    tokens.check(&issued.token, &own, &key).await.unwrap();
    assert_eq!(tokens.redeem_by(&issued.token, &own, &key).await.unwrap(), first);
    for (token, machine, key) in [
        (&issued.token, &own, KeyDigest([8; 32])),
        (&issued.token, &machine(&["52:54:00:00:00:02"], UUID), key),
    ] {
        tokens.redeem_by(token, machine, &key).await.unwrap_err();
    }
    clock.advance(REPEAT);
    let error = tokens.redeem_by(&issued.token, &own, &key).await.unwrap_err();
    assert!(matches!(error, RedeemError::Spent { .. }), "{error}");
}

#[tokio::test]
async fn a_check_spends_nothing() {
    let (_dir, app, _clock) = controller().await;
    let issued = app.boot_tokens.issue(&facts(MAC, UUID)).await.unwrap();
    let own = machine(&[MAC], UUID);
    let key = KeyDigest([7; 32]);
    // A writer that never ends does not hold up those who only ask.
    let mut writer = app.db.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query("DELETE FROM boot_tokens WHERE id = ''")
        .execute(&mut *writer)
        .await
        .unwrap();
    app.boot_tokens.check(&issued.token, &own, &key).await.unwrap();
    let error = app.boot_tokens.check("made up", &own, &key).await.unwrap_err();
    assert!(matches!(error, RedeemError::Unknown), "{error}");
    drop(writer);
    assert!(app.boot_tokens.pending(&issued.nonce).is_some());
}

#[tokio::test]
async fn of_two_at_the_same_time_one_wins() {
    let (_dir, app, _clock) = controller().await;
    let issued = app.boot_tokens.issue(&facts(MAC, "")).await.unwrap();
    let own = machine(&[MAC], UUID);
    let redeem = || app.boot_tokens.redeem_by_anybody(&issued.token, &own);
    let (a, b, c) = tokio::join!(redeem(), redeem(), redeem());
    let (won, lost): (Vec<_>, Vec<_>) = [a, b, c].into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 2));
    for result in lost {
        assert!(matches!(result, Err(RedeemError::Spent { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let (_dir, app, clock) = controller().await;
    let own = machine(&[MAC], UUID);
    let early = app.boot_tokens.issue(&facts(MAC, UUID)).await.unwrap();
    clock.advance(LIFE - SignedDuration::from_secs(1));
    app.boot_tokens
        .redeem_by_anybody(&early.token, &own)
        .await
        .unwrap();

    let late = app.boot_tokens.issue(&facts(MAC, UUID)).await.unwrap();
    clock.advance(LIFE);
    match app
        .boot_tokens
        .redeem_by_anybody(&late.token, &own)
        .await
        .unwrap_err()
    {
        RedeemError::Expired { mac, expired_at, .. } => {
            assert_eq!((mac.as_str(), expired_at), (MAC, clock.now()));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_was_never_issued_is_unknown() {
    let (_dir, app, _clock) = controller().await;
    let issued = app.boot_tokens.issue(&facts(MAC, UUID)).await.unwrap();
    let upper = issued.token.to_uppercase();
    for token in [
        "",
        "ab",
        upper.as_str(),
        issued.nonce.as_str(),
        &issued.token[..63],
    ] {
        let error = app
            .boot_tokens
            .redeem_by_anybody(token, &machine(&[MAC], UUID))
            .await
            .unwrap_err();
        assert!(matches!(error, RedeemError::Unknown), "{error}");
    }
}

#[tokio::test]
async fn only_the_machine_that_was_booted_can_use_it() {
    let (_dir, app, _clock) = controller().await;
    let issued = app.boot_tokens.issue(&facts(MAC, UUID)).await.unwrap();
    let other = "11112233-4455-6677-8899-aabbccddeeff";
    for (machine, named) in [
        (machine(&["52:54:00:00:00:02"], UUID), MAC),
        (machine(&[], UUID), MAC),
        (machine(&[MAC], other), UUID),
    ] {
        match app
            .boot_tokens
            .redeem_by_anybody(&issued.token, &machine)
            .await
            .unwrap_err()
        {
            RedeemError::WrongMachine { expected, .. } => assert!(expected.contains(named), "{expected}"),
            other => panic!("{other}"),
        }
    }
    // The attempts of others do not use it up.
    app.boot_tokens
        .redeem_by_anybody(&issued.token, &machine(&[MAC], UUID))
        .await
        .unwrap();
}

#[tokio::test]
async fn boot_loader_and_kernel_may_read_the_uuid_differently() {
    let (_dir, app, _clock) = controller().await;
    for (booted, shown) in [(UUID, SWAPPED), (SWAPPED, UUID), (UUID, ""), ("", UUID), ("", "")] {
        let issued = app.boot_tokens.issue(&facts(MAC, booted)).await.unwrap();
        let redeemed = app
            .boot_tokens
            .redeem_by_anybody(&issued.token, &machine(&[MAC], shown))
            .await;
        assert!(redeemed.is_ok(), "{booted:?} {shown:?} {redeemed:?}");
    }
}

#[tokio::test]
async fn a_newer_token_replaces_those_of_the_same_machine() {
    let (_dir, app, clock) = controller().await;
    let tokens = &app.boot_tokens;
    let own = machine(&[MAC], UUID);
    let neighbour = tokens.issue(&facts("52:54:00:00:00:02", "")).await.unwrap();
    let first = tokens.issue(&facts(MAC, UUID)).await.unwrap();
    clock.advance(SignedDuration::from_secs(30));
    let second = tokens.issue(&facts(MAC, UUID)).await.unwrap();
    match tokens.redeem_by_anybody(&first.token, &own).await.unwrap_err() {
        RedeemError::Superseded { superseded_at, .. } => assert_eq!(superseded_at, clock.now()),
        other => panic!("{other}"),
    }
    assert!(tokens.pending(&first.nonce).is_none());
    assert!(tokens.pending(&second.nonce).is_some());
    tokens.redeem_by_anybody(&second.token, &own).await.unwrap();
    let other = machine(&["52:54:00:00:00:02"], "");
    tokens.redeem_by_anybody(&neighbour.token, &other).await.unwrap();
}

#[tokio::test]
async fn an_identity_waits_until_its_token_is_used_or_expires() {
    let (_dir, app, clock) = controller().await;
    let tokens = &app.boot_tokens;
    assert!(tokens.pending("").is_none());
    let issued = tokens.issue(&facts(MAC, UUID)).await.unwrap();
    for _ in 0..2 {
        let pending = tokens.pending(&issued.nonce).unwrap();
        assert_eq!((&pending.token, pending.issued_at), (&issued.token, clock.now()));
    }
    assert!(tokens.pending(&issued.token).is_none(), "the token is no nonce");
    tokens
        .redeem_by_anybody(&issued.token, &machine(&[MAC], UUID))
        .await
        .unwrap();
    assert!(tokens.pending(&issued.nonce).is_none());

    let late = tokens.issue(&facts(MAC, UUID)).await.unwrap();
    clock.advance(LIFE);
    assert!(tokens.pending(&late.nonce).is_none());
}

#[tokio::test]
async fn the_database_has_the_digest_and_not_the_secret() {
    let (dir, app, _clock) = controller().await;
    let issued = app.boot_tokens.issue(&facts(MAC, UUID)).await.unwrap();
    let mut stored = Vec::new();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(crate::db::FILE_NAME)
        {
            stored.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    let holds = |secret: &[u8]| stored.windows(secret.len()).any(|w| w == secret);
    assert!(holds(&hash(&issued.token)), "the digest is where this test looks");
    for secret in [&*issued.token, &issued.nonce] {
        assert!(!holds(secret.as_bytes()));
        assert!(!holds(&hex::decode(secret).unwrap()));
    }
    let shown = format!(
        "{:?} {issued:?} {:?}",
        app.boot_tokens,
        app.boot_tokens.pending(&issued.nonce)
    );
    assert!(!shown.contains(issued.token.as_str()), "{shown}");
}

#[tokio::test]
async fn old_tokens_are_forgotten_in_the_end() {
    let (_dir, app, clock) = controller().await;
    let own = machine(&[MAC], UUID);
    let first = app.boot_tokens.issue(&facts(MAC, UUID)).await.unwrap();
    clock.advance(LIFE + REMEMBER + SignedDuration::from_secs(1));
    drop(app.boot_tokens.issue(&facts(MAC, UUID)).await.unwrap());
    let error = app
        .boot_tokens
        .redeem_by_anybody(&first.token, &own)
        .await
        .unwrap_err();
    assert!(matches!(error, RedeemError::Unknown), "{error}");
}
