//! Who is who: the controller's own CA, the certificates of nodes, the key that signs manifests, the keys of
//! encrypted images, and API tokens.
//!
//! Every caller acts for one project, with a role and perhaps narrowed by scopes ([`Caller`]): what he may do is decided
//! by one table ([`Role::may`]), what he may see by his [`Viewer`].
//!
//! Everything private lies in `<data>/identity`, mode 0600, and never leaves the process.

mod authority;
mod caller;
mod certificate;
pub mod image_keys;
mod keyfile;
mod password;
mod project_users;
mod projects;
mod request_key;
mod role;
mod scope;
mod server_certificate;
mod tenant_error;
#[cfg(test)]
mod tenant_tests;
mod tenants;
#[cfg(test)]
mod tests;
mod token_list;
mod token_rules;
mod tokens;
mod users;
mod who_am_i;

use std::path::PathBuf;

pub use authority::{Authority, IssuedCertificate, KeyDigest};
pub use caller::{Asker, Caller, PLATFORM, Viewer};
pub use certificate::{GuestId, guest_of, node_id_of};
pub use image_keys::{ImageKeyError, ImageKeys, WrappedKey};
pub(crate) use keyfile::write_whole;
pub use password::{PasswordError, new_password, sha512_crypt};
pub use project_users::ProjectUser;
pub use projects::{Project, ProjectChange};
pub use request_key::RequestKey;
pub use role::{Permission, Role};
pub use scope::{Scope, UnknownScope};
pub use server_certificate::ServerCertificate;
pub use tenant_error::{TenantError, Thing};
pub use tenants::{Page, Tenants};
pub use token_list::{Token, TokenQuery, TokenRequest};
pub(crate) use tokens::generate as generate_token;
pub use tokens::{ApiTokens, NewToken, TokenError};
pub use users::User;
pub use who_am_i::WhoAmI;

/// An identity could not be made, read or issued.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key or certificate file cannot be read.
    #[error("cannot read {}; run `imprint-controller init` or restore the data folder from a backup", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key or certificate file cannot be written.
    #[error("cannot write {}; check the permissions of the data folder and its free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key or certificate file does not hold what it should.
    #[error("{} is damaged; restore it from a backup of the data folder", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request for a certificate is none, or its signature does not prove the key.
    #[error("the certificate request is not valid")]
    Request(#[source] rcgen::Error),
    /// A name cannot be written into a certificate.
    #[error("`{name}` cannot be the name of a server; give a DNS name or an IP address")]
    Name {
        /// The name.
        name: String,
    },
    /// The cryptographic library refused.
    #[error("cannot make a key or a certificate")]
    Make(#[source] rcgen::Error),
    /// The manifest signing key could not be made.
    #[error("cannot make the manifest signing key")]
    SigningKey(#[source] imprint_image::KeyError),
}
