//! The password of a BMC at rest: sealed with a key of its own, which is wrapped as the keys of images are.
//!
//! It opens for the node, the address and the user that it was given for: who can write the database, but has no keys, does
//! not have the controller send it elsewhere.

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use imprint_image::seal::DataKey;
use zeroize::Zeroizing;

use super::{BmcError, record::BmcKind};
use crate::identity::{ImageKeys, WrappedKey};

const CONTEXT: &str = "imprint.bmc.password.aes-256-gcm.v1";
const NONCE_BYTES: usize = 12;

/// A password as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Nonce, then what is sealed.
    pub bytes: Vec<u8>,
    /// Its key.
    pub key: WrappedKey,
}

/// What a password is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct For<'a> {
    pub node_id: &'a str,
    pub kind: BmcKind,
    pub address: &'a str,
    pub user: &'a str,
}

impl For<'_> {
    fn bound_to(self) -> Vec<u8> {
        let Self {
            node_id,
            kind,
            address,
            user,
        } = self;
        format!("imprint.bmc\0{node_id}\0{kind}\0{address}\0{user}").into_bytes()
    }
}

fn aead(key: &DataKey) -> Result<RandomizedNonceKey, BmcError> {
    let derived = Zeroizing::new(blake3::derive_key(CONTEXT, key.expose()));
    RandomizedNonceKey::new(&AES_256_GCM, derived.as_slice())
        .map_err(|_| BmcError::Secret("the algorithm does not take its key".to_owned()))
}

fn unusable(error: &(dyn std::error::Error + 'static)) -> BmcError {
    BmcError::Secret(crate::api::rest::problem::chain(error))
}

/// Seals a password.
pub(super) async fn seal(keys: &ImageKeys, what: For<'_>, password: &str) -> Result<Sealed, BmcError> {
    let key = DataKey::generate();
    let mut bytes = Zeroizing::new(password.as_bytes().to_vec());
    let sealed = || BmcError::Secret("it cannot be sealed".to_owned());
    let nonce = aead(&key)?
        .seal_in_place_append_tag(Aad::from(what.bound_to()), &mut *bytes)
        .map_err(|_| sealed())?;
    let wrapped = keys.wrap_bmc_key(&key, what.node_id).await;
    let mut kept = nonce.as_ref().to_vec();
    kept.extend_from_slice(&bytes);
    Ok(Sealed {
        bytes: kept,
        key: wrapped.map_err(|error| unusable(&error))?,
    })
}

/// Opens a password.
pub(super) async fn open(
    keys: &ImageKeys,
    what: For<'_>,
    sealed: &Sealed,
) -> Result<Zeroizing<String>, BmcError> {
    let key = keys.unwrap_bmc_key(&sealed.key, what.node_id).await;
    let key = key.map_err(|error| unusable(&error))?;
    let changed =
        || BmcError::Secret("it was changed, or belongs to another node, address or user".to_owned());
    let (nonce, content) = sealed
        .bytes
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or_else(changed)?;
    let mut content = Zeroizing::new(content.to_vec());
    let opened = aead(&key)?
        .open_in_place(nonce.into(), Aad::from(what.bound_to()), &mut content)
        .map_err(|_| changed())?;
    let text = std::str::from_utf8(opened).map_err(|_| changed())?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app::App, identity::image_keys::rewrap};

    #[tokio::test]
    async fn it_opens_for_its_place_alone_and_after_the_keys_were_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let app = App::for_test(folder.path()).await;
        let here = For {
            node_id: "N1",
            kind: BmcKind::Redfish,
            address: "https://192.0.2.1",
            user: "root",
        };
        let sealed = seal(&app.image_keys, here, "calvin").await.unwrap();
        assert!(!sealed.bytes.windows(6).any(|bytes| bytes == b"calvin"));
        assert_eq!(*open(&app.image_keys, here, &sealed).await.unwrap(), "calvin");
        for there in [
            For {
                node_id: "N2",
                ..here
            },
            For {
                address: "https://192.0.2.66",
                ..here
            },
            For {
                user: "admin",
                ..here
            },
            For {
                kind: BmcKind::Ipmi,
                ..here
            },
        ] {
            let refused = open(&app.image_keys, there, &sealed).await.unwrap_err();
            assert!(matches!(refused, BmcError::Secret(_)), "{refused}");
        }
        let mut changed = sealed.clone();
        *changed.bytes.last_mut().unwrap() ^= 1;
        assert!(open(&app.image_keys, here, &changed).await.is_err());
        // With other keys it is gone, unless it was wrapped anew.
        sqlx::query("INSERT INTO nodes (id, name, state, created_at) VALUES ('N1', 'n', 'available', 0)")
            .execute(&app.db)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO bmcs (node_id, kind, address, user_name, sealed, wrapped_key, wrapped_by, set_by, set_at) \
             VALUES ('N1', 'redfish', 'https://192.0.2.1', 'root', ?, ?, ?, 'x', 0)",
        )
        .bind(&sealed.bytes)
        .bind(&sealed.key.bytes)
        .bind(&sealed.key.by)
        .execute(&app.db)
        .await
        .unwrap();
        let done = rewrap(&app.db, folder.path()).await.unwrap();
        let keys = ImageKeys::open_folder(app.db.clone(), folder.path()).unwrap();
        assert!(open(&keys, here, &sealed).await.is_err(), "the older key is gone");
        let (bytes, by): (Vec<u8>, String) = sqlx::query_as("SELECT wrapped_key, wrapped_by FROM bmcs")
            .fetch_one(&app.db)
            .await
            .unwrap();
        assert_eq!(by, done.by);
        let anew = Sealed {
            key: WrappedKey { bytes, by },
            ..sealed
        };
        assert_eq!(*open(&keys, here, &anew).await.unwrap(), "calvin");
    }
}
