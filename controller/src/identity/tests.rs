use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use x509_parser::prelude::FromDer;

use super::*;
use crate::{clock::Clock, setup};

fn authority(clock: &Clock) -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::init(dir.path(), clock).unwrap();
    (dir, authority)
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn a_node_gets_a_day_under_its_own_name_whatever_it_asks_for() {
    let clock = Clock::fake(Timestamp::now());
    let (_dir, authority) = authority(&clock);
    let key = KeyPair::generate().unwrap();
    let asks_for = CertificateParams::new(vec!["controller.example.net".into()]).unwrap();
    let request = asks_for.serialize_request(&key).unwrap();
    let issued = authority.issue_node_certificate(request.der(), "01NODE").unwrap();
    assert_eq!(issued.expires_at, clock.now() + SignedDuration::from_hours(24));
    assert_eq!(issued.chain_der.len(), 2);
    assert_eq!(node_id_of(&issued.chain_der[0]).as_deref(), Some("01NODE"));
    assert_eq!(node_id_of(authority.ca_der()), None);
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&issued.chain_der[0]).unwrap();
    assert_eq!(
        leaf.validity().not_before.timestamp(),
        (clock.now() - SignedDuration::from_hours(24)).as_second()
    );
    assert_eq!(
        leaf.subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .len(),
        1
    );
    assert!(!leaf.is_ca());

    let mut forged = request.der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bad in [&forged[..], b"", b"nonsense"] {
        assert!(matches!(
            authority.issue_node_certificate(bad, "01NODE"),
            Err(IdentityError::Request(_))
        ));
    }
}

#[test]
fn the_server_certificate_is_kept_while_it_suits() {
    let clock = Clock::fake(Timestamp::now());
    let (dir, authority) = authority(&clock);
    let leaf = |list: &[&str]| authority.server_certificate(&names(list)).unwrap().chain[0].clone();
    let first = leaf(&["localhost", "127.0.0.1", "a.example.net"]);
    assert_eq!(leaf(&["localhost"]), first);
    let second = leaf(&["localhost", "10.0.0.1"]);
    assert_ne!(second, first, "a new name needs a new certificate");
    assert_eq!(
        leaf(&["a.example.net", "10.0.0.1", "127.0.0.1"]),
        second,
        "earlier names stay"
    );
    clock.advance(SignedDuration::from_hours(370 * 24));
    let third = leaf(&["localhost"]);
    assert_ne!(third, second, "half of its life is over");
    std::fs::remove_file(dir.path().join("identity/server.key")).unwrap();
    assert_ne!(leaf(&["localhost"]), third);
    assert!(matches!(
        authority.server_certificate(&names(&["größe"])),
        Err(IdentityError::Name { .. })
    ));
}

#[test]
fn missing_and_damaged_files_are_told_apart() {
    let clock = Clock::system();
    let (dir, authority) = authority(&clock);
    let again = Authority::open(dir.path(), &clock).unwrap();
    assert_eq!(again.ca_pem(), authority.ca_pem());
    assert_eq!(again.manifest_public_keys(), authority.manifest_public_keys());
    let key = dir.path().join("identity/ca.key");
    std::fs::write(&key, "not a key").unwrap();
    assert!(matches!(
        Authority::open(dir.path(), &clock),
        Err(IdentityError::Damaged { .. })
    ));
    std::fs::remove_file(&key).unwrap();
    // A CA whose key is gone is not silently replaced by another one.
    assert!(matches!(
        Authority::init(dir.path(), &clock),
        Err(IdentityError::Read { .. })
    ));
}

#[tokio::test]
async fn tokens_are_known_until_they_expire() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fake(Timestamp::now());
    setup::init(dir.path(), &[], &clock).await.unwrap();
    let db = crate::db::open(dir.path(), false).await.unwrap();
    let tokens = ApiTokens::new(db.clone(), clock.clone());
    let hour = SignedDuration::from_hours(1);
    let token = tokens
        .create("ci", Role::Admin, Some(clock.now() + hour))
        .await
        .unwrap();
    assert_eq!(tokens.check(&token.secret).await.unwrap().name, "ci");
    assert!(!format!("{token:?}").contains(token.secret.as_str()));
    assert!(matches!(tokens.check("imp_00").await, Err(TokenError::Unknown)));
    clock.advance(hour);
    assert!(matches!(
        tokens.check(&token.secret).await,
        Err(TokenError::Expired { .. })
    ));
    let kept: Vec<Vec<u8>> = sqlx::query_scalar("SELECT token_hash FROM api_tokens")
        .fetch_all(&db)
        .await
        .unwrap();
    assert!(kept.iter().all(|hash| hash.len() == 32), "only hashes are kept");
}
